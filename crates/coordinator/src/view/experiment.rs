//! An experiment as people see it.

use std::collections::BTreeMap;

use gipfel_experiment::{Campaign, Deployment, DeploymentPhase, Run};
use gipfel_model::{BackendKind, DeploymentId, DeploymentKind, ExperimentSpec, Progress, RunId};
use serde::Serialize;

use super::{figures::Figures, standing};

/// A campaign as it stands now.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// The journal.
    pub(crate) campaign: Campaign,
    /// What the load generators said last.
    pub(crate) progress: BTreeMap<RunId, Progress>,
    /// The last line that a server printed while it loads.
    pub(crate) last_lines: BTreeMap<DeploymentId, String>,
}

/// What can be expected of an experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Group {
    /// Its server loads, or it is measured.
    Running,
    /// Nothing of it has begun.
    Waiting,
    /// Nothing more happens to it.
    Over,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Experiment {
    pub(crate) run: RunId,
    #[serde(rename = "server")]
    pub(crate) deployment_id: DeploymentId,
    pub(crate) model: String,
    pub(crate) backend: BackendKind,
    pub(crate) deployment: DeploymentKind,
    pub(crate) repeat: u32,
    pub(crate) group: Group,
    /// Where it stands, and what it waits for.
    pub(crate) state: String,
    /// It ended otherwise than it should.
    pub(crate) failed: bool,
    /// What is measured; absent while nothing is.
    pub(crate) figures: Option<Figures>,
}

impl Snapshot {
    /// A campaign of which nothing is known but its journal.
    pub(crate) fn new(campaign: Campaign) -> Self {
        Self {
            campaign,
            progress: BTreeMap::new(),
            last_lines: BTreeMap::new(),
        }
    }

    /// The experiments, in the order of the configuration; `now` is Unix time in milliseconds.
    pub(crate) fn experiments(&self, now: i64) -> Vec<Experiment> {
        let mut experiments = Vec::new();
        for deployment in &self.campaign.deployments {
            for (place, run) in deployment.runs.iter().enumerate() {
                experiments.push(self.experiment(deployment, place, run, now));
            }
        }
        experiments
    }

    fn experiment(&self, deployment: &Deployment, place: usize, run: &Run, now: i64) -> Experiment {
        let progress = self.progress.get(&run.id);
        let spec = &run.experiment.deployment;
        let standing = standing::of(&standing::Subject {
            snapshot: self,
            deployment,
            place,
            run,
            progress,
            now,
        });
        Experiment {
            run: run.id.clone(),
            deployment_id: deployment.id.clone(),
            model: spec.model.clone(),
            backend: spec.backend,
            deployment: deployment.kind(),
            repeat: run.experiment.repeat,
            group: standing.group,
            state: standing.words,
            failed: standing.failed,
            figures: progress
                .filter(|_| standing.measures)
                .map(|progress| Figures::of(progress, &run.experiment.slos)),
        }
    }

    /// How many deployments wait for their turn before this one, and itself.
    pub(crate) fn turn(&self, id: &DeploymentId) -> usize {
        let deployments = &self.campaign.deployments;
        let before = deployments.iter().take_while(|deployment| deployment.id != *id);
        1 + before.filter(|other| is_pending(other)).count()
    }

    /// Whether as many servers live as may live at once.
    pub(crate) fn is_full(&self) -> bool {
        let live = self.campaign.deployments.iter();
        let live = live.filter(|other| !other.phase.is_over() && !is_pending(other));
        live.count() >= self.campaign.max_parallel.max(1) as usize
    }
}

fn is_pending(deployment: &Deployment) -> bool {
    deployment.phase == DeploymentPhase::Pending
}

impl Experiment {
    /// `model on backend`, with the repeat where it is not the first.
    pub(crate) fn label(&self) -> String {
        format!("{} on {}", self.name(), self.backend)
    }

    /// The model, with the repeat where it is not the first.
    pub(crate) fn name(&self) -> String {
        name(&self.model, self.repeat)
    }
}

/// `model on backend`, with the repeat where it is not the first.
pub(crate) fn label(experiment: &ExperimentSpec) -> String {
    let spec = &experiment.deployment;
    format!("{} on {}", name(&spec.model, experiment.repeat), spec.backend)
}

/// A model and the repeat of its experiment, counted from 0.
pub(crate) fn name(model: &str, repeat: u32) -> String {
    if repeat == 0 {
        model.to_owned()
    } else {
        format!("{model} #{}", repeat + 1)
    }
}
