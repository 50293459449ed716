//! The whole state of one `gipfel run`.

use std::fmt;

use gipfel_backend::Handle;
use gipfel_model::{CampaignId, DeploymentId, FormatHeader, RunId, format::Format};
use serde::{Deserialize, Serialize};

use crate::{
    deployment::{Deployment, DeploymentPhase},
    run::Run,
};

/// The format of `state.json`.
pub const STATE_FORMAT: Format = Format {
    name: "gipfel-state",
    major: 1,
    minor: 2,
};

/// One `gipfel run`: its deployments and, under each, its runs. Serialised, it is the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Campaign {
    /// The format and its version.
    pub header: FormatHeader,
    /// Its name.
    pub campaign_id: CampaignId,
    /// ISO 8601, UTC.
    pub created_at: String,
    /// The version that planned it.
    pub gipfel_version: String,
    /// SHA-256 of the configuration that it was planned from.
    pub config_digest: String,
    /// How many deployments live at once.
    pub max_parallel: u32,
    /// SHA-256 of the load generator that it began with, when that is not gipfel's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_generator: Option<String>,
    /// The user asked to end it; `resume` takes that back.
    pub interrupted: bool,
    /// Whether what was collected is in the merged results. A journal that does not say so is of a campaign whose results
    /// are, or of one that is older than the question.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub results_merged: bool,
    /// In the order of the configuration; those that took another's place come last.
    pub deployments: Vec<Deployment>,
}

fn yes() -> bool {
    true
}

impl Campaign {
    /// Every run with its deployment.
    pub fn runs(&self) -> impl Iterator<Item = (&Deployment, &Run)> {
        self.deployments
            .iter()
            .flat_map(|deployment| deployment.runs.iter().map(move |run| (deployment, run)))
    }

    /// The deployment of that name.
    pub fn deployment(&self, id: &DeploymentId) -> Option<&Deployment> {
        self.deployments.iter().find(|deployment| deployment.id == *id)
    }

    /// The run of that name and its deployment.
    pub fn run(&self, id: &RunId) -> Option<(&Deployment, &Run)> {
        self.runs().find(|(_, run)| run.id == *id)
    }

    /// Nothing is left to do: every run and deployment is over, kept or given up as lost.
    pub fn is_settled(&self) -> bool {
        self.deployments.iter().all(|deployment| {
            deployment.phase.is_over()
                && deployment.successor.is_none()
                && deployment.runs.iter().all(|run| run.phase.is_over())
        })
    }

    /// Whether `resume` would find something to do: a run to go on with, an object to end, or results to merge.
    pub fn is_unfinished(&self) -> bool {
        !self.is_settled()
            || self
                .deployments
                .iter()
                .any(|deployment| matches!(deployment.phase, DeploymentPhase::Lost { .. }))
            || self.runs().any(|(_, run)| run.is_worth_resuming())
            || (!self.results_merged && self.runs().any(|(_, run)| run.database.is_some()))
    }

    /// What may live and is ours, kept servers included.
    pub fn live(&self) -> Vec<LiveObject> {
        let mut live = Vec::new();
        for deployment in &self.deployments {
            if deployment.owned && deployment.phase.may_live() {
                live.push(LiveObject {
                    kind: ObjectKind::Deployment,
                    name: deployment.id.to_string(),
                    handle: deployment.phase.handle().cloned(),
                    kept: matches!(deployment.phase, DeploymentPhase::Kept { .. }),
                });
            }
            live.extend(
                deployment
                    .runs
                    .iter()
                    .filter(|run| run.phase.may_live())
                    .map(|run| LiveObject {
                        kind: ObjectKind::Run,
                        name: run.id.to_string(),
                        handle: run.phase.handle().cloned(),
                        kept: false,
                    }),
            );
        }
        live
    }
}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// A server.
    Deployment,
    /// A load generator.
    Run,
}

/// Something of ours that may live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveObject {
    /// What it is.
    pub kind: ObjectKind,
    /// The deployment's or the run's id, which is in its name on every system.
    pub name: String,
    /// Absent while its submission is not answered.
    pub handle: Option<Handle>,
    /// The user asked to keep it.
    pub kept: bool,
}

impl fmt::Display for LiveObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            ObjectKind::Deployment => "server ",
            ObjectKind::Run => "load generator ",
        })?;
        match &self.handle {
            Some(handle) => write!(f, "{handle}")?,
            None => write!(f, "{} (its submission is not answered)", self.name)?,
        }
        f.write_str(if self.kept { ", kept" } else { "" })
    }
}
