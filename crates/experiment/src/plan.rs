//! From what the user asked for to a campaign.

use gipfel_backend::Handle;
use gipfel_model::{
    CampaignId, DeploymentId, DeploymentSpec, EndpointSpec, ExperimentSpec, RunId, deployment::Placement,
};

use crate::{
    campaign::{Campaign, STATE_FORMAT},
    deployment::Deployment,
    run::Run,
};

/// What a campaign knows of itself.
#[derive(Clone, Debug)]
pub struct CampaignFacts {
    /// Its name.
    pub campaign_id: CampaignId,
    /// ISO 8601, UTC.
    pub created_at: String,
    /// The version that plans it.
    pub gipfel_version: String,
    /// SHA-256 of the configuration.
    pub config_digest: String,
    /// How many deployments live at once.
    pub max_parallel: u32,
    /// SHA-256 of the load generator, when it is not gipfel's own.
    pub load_generator: Option<String>,
}

/// Makes names; time and randomness are the caller's.
pub trait MakeIds {
    /// A name that no deployment has yet.
    fn deployment(&mut self, spec: &DeploymentSpec) -> DeploymentId;
    /// A name that no run has yet.
    fn run(&mut self, experiment: &ExperimentSpec) -> RunId;
}

/// Which server the runs go to.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerChoice {
    /// One for each different specification.
    Fresh {
        /// Leave it when its runs are done.
        keep: bool,
    },
    /// The one behind this URL.
    Url(EndpointSpec),
    /// One that another campaign started and keeps.
    Borrowed {
        /// Its handle.
        handle: Handle,
        /// What it is.
        spec: Box<DeploymentSpec>,
    },
}

/// Why there is no campaign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Nothing was asked for.
    #[error("there is no experiment to run")]
    Empty,
    /// The borrowed server serves something else.
    #[error(
        "the server `{name}` serves `{served}`, the experiment asks for `{wanted}`: choose a server of that model"
    )]
    OtherModel {
        /// The server.
        name: String,
        /// Its model.
        served: String,
        /// The experiment's model.
        wanted: String,
    },
}

/// Makes a run of each experiment and lets those with equal deployment specifications share a server.
pub fn plan_campaign(
    facts: CampaignFacts,
    experiments: Vec<ExperimentSpec>,
    choice: &ServerChoice,
    ids: &mut dyn MakeIds,
) -> Result<Campaign, PlanError> {
    if experiments.is_empty() {
        return Err(PlanError::Empty);
    }
    let mut deployments: Vec<Deployment> = Vec::new();
    for mut experiment in experiments {
        redirect(&mut experiment, choice)?;
        let run = Run::new(ids.run(&experiment), experiment);
        let spec = &run.experiment.deployment;
        if let Some(deployment) = deployments.iter_mut().find(|deployment| deployment.spec == *spec) {
            deployment.runs.push(run);
        } else {
            let mut deployment = new_deployment(ids.deployment(spec), spec.clone(), choice);
            deployment.runs.push(run);
            deployments.push(deployment);
        }
    }
    Ok(Campaign {
        header: STATE_FORMAT.header(),
        campaign_id: facts.campaign_id,
        created_at: facts.created_at,
        gipfel_version: facts.gipfel_version,
        config_digest: facts.config_digest,
        max_parallel: facts.max_parallel,
        load_generator: facts.load_generator,
        interrupted: false,
        results_merged: false,
        deployments,
    })
}

/// Points the experiments at the server that the user chose, as [`plan_campaign`] does too.
pub fn redirect_all(experiments: &mut [ExperimentSpec], choice: &ServerChoice) -> Result<(), PlanError> {
    experiments
        .iter_mut()
        .try_for_each(|experiment| redirect(experiment, choice))
}

/// Points an experiment at the server that the user chose.
fn redirect(experiment: &mut ExperimentSpec, choice: &ServerChoice) -> Result<(), PlanError> {
    match choice {
        ServerChoice::Fresh { .. } => {}
        ServerChoice::Url(endpoint) => {
            let mut endpoint = endpoint.clone();
            if let Placement::External(own) = &experiment.deployment.placement {
                endpoint.api_key = own.api_key.clone();
            }
            experiment.deployment.placement = Placement::External(endpoint);
        }
        ServerChoice::Borrowed { handle, spec } if spec.model != experiment.deployment.model => {
            return Err(PlanError::OtherModel {
                name: handle.name.clone(),
                served: spec.model.clone(),
                wanted: experiment.deployment.model.clone(),
            });
        }
        ServerChoice::Borrowed { spec, .. } => experiment.deployment = (**spec).clone(),
    }
    Ok(())
}

fn new_deployment(id: DeploymentId, spec: DeploymentSpec, choice: &ServerChoice) -> Deployment {
    let mut deployment = Deployment::new(id, spec);
    match choice {
        ServerChoice::Fresh { keep } => deployment.keep = *keep && deployment.owned,
        ServerChoice::Url(_) => {}
        ServerChoice::Borrowed { handle, .. } => {
            deployment.owned = false;
            deployment.borrowed = Some(handle.clone());
            deployment.phase = deployment.first_phase();
        }
    }
    deployment
}
