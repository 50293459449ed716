//! A server and its phases.

use std::time::Duration;

use gipfel_backend::{Failure, Handle};
use gipfel_model::{
    DeploymentId, DeploymentKind, DeploymentSpec, EndpointSpec, Provenance, Usage,
    run_config::optional_seconds,
};
use serde::{Deserialize, Serialize};

use crate::run::Run;

/// A server with the runs that go against it, one after another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// Its name.
    pub id: DeploymentId,
    /// What it is.
    pub spec: DeploymentSpec,
    /// Leave it when its runs are done.
    pub keep: bool,
    /// Gipfel started it and ends it; false for a URL and for a server of another campaign.
    pub owned: bool,
    /// The other campaign's server that is used in place of a new one.
    pub borrowed: Option<Handle>,
    /// Where it stands.
    pub phase: DeploymentPhase,
    /// Submissions that failed without effect.
    pub attempt: u32,
    /// The name under which unfinished runs go on when the server turns out to be gone after `resume`.
    pub successor: Option<DeploymentId>,
    /// From the start of the server to its first answer, where that was seen.
    #[serde(rename = "load_time_s", with = "optional_seconds")]
    pub load_time: Option<Duration>,
    /// What its backend told of engine and hardware.
    pub provenance: Provenance,
    /// What it has used, once nothing of it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// In the order in which they go.
    pub runs: Vec<Run>,
}

impl Deployment {
    /// A server that is yet to be started.
    pub fn new(id: DeploymentId, spec: DeploymentSpec) -> Self {
        let owned = spec.placement.kind() != DeploymentKind::External;
        Self {
            id,
            spec,
            keep: false,
            owned,
            borrowed: None,
            phase: DeploymentPhase::Pending,
            attempt: 0,
            successor: None,
            load_time: None,
            provenance: Provenance::default(),
            usage: None,
            runs: Vec::new(),
        }
    }

    /// The name under which the server was started: another campaign's for one that is borrowed.
    pub fn server_id(&self) -> DeploymentId {
        let borrowed = self.borrowed.as_ref().and_then(|handle| handle.name.parse().ok());
        borrowed.unwrap_or_else(|| self.id.clone())
    }

    /// The system that it lives on.
    pub fn kind(&self) -> DeploymentKind {
        self.spec.placement.kind()
    }

    /// On this machine or behind a URL, so that looking at it costs nothing.
    pub(crate) fn is_near(&self) -> bool {
        matches!(self.kind(), DeploymentKind::Local | DeploymentKind::External)
    }

    /// Whether a run is yet to use the server.
    pub(crate) fn has_open_runs(&self) -> bool {
        self.runs.iter().any(|run| run.again || run.phase.needs_server())
    }

    /// Whether a load generator may be sending.
    pub(crate) fn is_loaded(&self) -> bool {
        self.runs.iter().any(|run| run.phase.may_load())
    }

    /// Brings a borrowed server to its first look, any other to its start.
    pub(crate) fn first_phase(&self) -> DeploymentPhase {
        match &self.borrowed {
            None => DeploymentPhase::Pending,
            Some(handle) => DeploymentPhase::Starting {
                handle: handle.clone(),
                queued_since: None,
                since: None,
                give_up_at: None,
                failures: 0,
            },
        }
    }
}

/// Where a deployment stands. Times are milliseconds of the step's clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum DeploymentPhase {
    /// Nothing was started.
    Pending,
    /// Its submission is open.
    Submitting {
        /// When it was sent.
        since: i64,
    },
    /// Its submission failed without saying whether the server was started; the finder is asked until it knows.
    Settling {
        /// When it was sent, unless another process sent it.
        since: Option<i64>,
        /// Why.
        failure: Failure,
    },
    /// It was started and does not answer yet.
    Starting {
        /// Its handle.
        handle: Handle,
        /// Since when it waits for its place, while it does.
        #[serde(default)]
        queued_since: Option<i64>,
        /// When it began to load, where that is known.
        since: Option<i64>,
        /// Its time to answer runs from the moment at which it leaves the queue.
        give_up_at: Option<i64>,
        /// Failed observations in a row.
        failures: u32,
    },
    /// It answers.
    Ready {
        /// Its handle.
        handle: Handle,
        /// Where it answers.
        endpoint: EndpointSpec,
        /// Failed observations in a row.
        failures: u32,
    },
    /// It did not answer in time; its log is read before it is ended.
    Diagnosing {
        /// Its handle.
        handle: Handle,
        /// Why it is ended.
        failure: Failure,
    },
    /// It is being ended.
    Ending {
        /// Its handle.
        handle: Handle,
        /// What it will have come to.
        outcome: DeploymentOutcome,
        /// When this began.
        since: i64,
        /// Ends that failed.
        failures: u32,
    },
    /// Its runs are done and the user wants it to stay.
    Kept {
        /// Its handle.
        handle: Handle,
        /// Where it answers.
        endpoint: EndpointSpec,
    },
    /// It could not be ended and may live; `resume` tries again.
    Lost {
        /// Its handle.
        handle: Handle,
        /// What it came to otherwise.
        outcome: DeploymentOutcome,
        /// The last refusal.
        message: String,
    },
    /// Nothing of it lives.
    Ended(DeploymentOutcome),
}

impl DeploymentPhase {
    /// The word for tables and messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Submitting { .. } => "submitting",
            Self::Settling { .. } => "settling",
            Self::Starting { .. } => "starting",
            Self::Ready { .. } => "ready",
            Self::Diagnosing { .. } => "diagnosing",
            Self::Ending { .. } => "ending",
            Self::Kept { .. } => "kept",
            Self::Lost { .. } => "lost",
            Self::Ended(DeploymentOutcome::Done) => "done",
            Self::Ended(DeploymentOutcome::Stopped) => "stopped",
            Self::Ended(DeploymentOutcome::Failed(_)) => "failed",
        }
    }

    /// The server, where it is known.
    pub fn handle(&self) -> Option<&Handle> {
        match self {
            Self::Pending | Self::Submitting { .. } | Self::Settling { .. } | Self::Ended(_) => None,
            Self::Starting { handle, .. }
            | Self::Ready { handle, .. }
            | Self::Diagnosing { handle, .. }
            | Self::Ending { handle, .. }
            | Self::Kept { handle, .. }
            | Self::Lost { handle, .. } => Some(handle),
        }
    }

    /// Where it answers.
    pub fn endpoint(&self) -> Option<&EndpointSpec> {
        match self {
            Self::Ready { endpoint, .. } | Self::Kept { endpoint, .. } => Some(endpoint),
            _ => None,
        }
    }

    /// Why it failed or is being ended for a failure.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Diagnosing { failure, .. }
            | Self::Ending {
                outcome: DeploymentOutcome::Failed(failure),
                ..
            }
            | Self::Lost {
                outcome: DeploymentOutcome::Failed(failure),
                ..
            }
            | Self::Ended(DeploymentOutcome::Failed(failure)) => Some(failure),
            _ => None,
        }
    }

    /// Nothing more happens to it in this process.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Kept { .. } | Self::Lost { .. } | Self::Ended(_))
    }

    /// A server may be there.
    pub fn may_live(&self) -> bool {
        !matches!(self, Self::Pending | Self::Ended(_))
    }

    /// It has a use or will get one, as opposed to one that is over or on its way there.
    pub(crate) fn is_of_use(&self) -> bool {
        match self {
            Self::Pending
            | Self::Submitting { .. }
            | Self::Settling { .. }
            | Self::Starting { .. }
            | Self::Ready { .. }
            | Self::Kept { .. } => true,
            Self::Diagnosing { .. } | Self::Ending { .. } | Self::Lost { .. } | Self::Ended(_) => false,
        }
    }

    /// Observations in a row that failed.
    pub fn missed(&self) -> u32 {
        match self {
            Self::Starting { failures, .. } | Self::Ready { failures, .. } => *failures,
            _ => 0,
        }
    }

    /// It counts against the deployments that live at once.
    pub(crate) fn takes_place(&self) -> bool {
        !self.is_over() && *self != Self::Pending
    }
}

/// What a deployment came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeploymentOutcome {
    /// Its runs are over.
    Done,
    /// The user interrupted it.
    Stopped,
    /// It did not start, did not answer in time, or died.
    Failed(Failure),
}
