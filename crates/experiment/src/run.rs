//! A run and its phases.

use std::path::PathBuf;

use gipfel_backend::{Failure, FailureReason, Handle};
use gipfel_model::{ExperimentSpec, RunId, Usage};
use serde::{Deserialize, Serialize};

/// One workload against one deployment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Its name.
    pub id: RunId,
    /// What the user asked for.
    pub experiment: ExperimentSpec,
    /// Where it stands.
    pub phase: RunPhase,
    /// Starts that came to nothing: not started, or a load generator that died.
    pub attempt: u32,
    /// Start it again as soon as it is over, because the user resumed it while it was being ended.
    pub again: bool,
    /// The load generator of an earlier attempt, which has ended.
    pub earlier: Option<Handle>,
    /// A load generator was started since the last collection.
    pub uncollected: bool,
    /// The collected database, relative to the campaign's directory where it lies within.
    pub database: Option<PathBuf>,
    /// Why the last collection was given up.
    pub collect_error: Option<String>,
    /// What its load generators have used, one entry a job.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usage: Vec<Usage>,
}

impl Run {
    /// A run that waits for its turn.
    pub fn new(id: RunId, experiment: ExperimentSpec) -> Self {
        Self {
            id,
            experiment,
            phase: RunPhase::Waiting,
            attempt: 0,
            again: false,
            earlier: None,
            uncollected: false,
            database: None,
            collect_error: None,
            usage: Vec::new(),
        }
    }

    /// What it came to; absent while it goes on.
    pub fn outcome(&self) -> Option<&RunOutcome> {
        match &self.phase {
            RunPhase::Ended(outcome) | RunPhase::Lost { outcome, .. } => Some(outcome),
            _ => None,
        }
    }

    /// Whether `resume` has something to do for it, given that it is over.
    pub(crate) fn is_worth_resuming(&self) -> bool {
        match &self.phase {
            RunPhase::Lost { .. } => true,
            RunPhase::Ended(outcome) => outcome.is_worth_resuming(),
            _ => false,
        }
    }
}

/// Where a run stands. Times are milliseconds of the step's clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum RunPhase {
    /// Waits for its server and for its turn.
    Waiting,
    /// Its submission is open.
    Submitting {
        /// What it comes to when it is known; it is then ended instead of used.
        call_off: Option<RunOutcome>,
    },
    /// Its submission failed without saying whether the load generator was started.
    Settling {
        /// What it comes to when it is known; it is then ended instead of used.
        call_off: Option<RunOutcome>,
        /// Why the submission failed.
        failure: Failure,
    },
    /// Its load generator queues or measures.
    Running {
        /// Its load generator.
        handle: Handle,
        /// It waits, as far as was seen: for its place, or for its server.
        #[serde(default)]
        queued: bool,
        /// Failed observations in a row.
        failures: u32,
    },
    /// Its load generator has ended; whether the server outlived it decides what that means.
    Checking {
        /// Its load generator.
        handle: Handle,
        /// What it comes to if the server lives.
        outcome: RunOutcome,
        /// Only an observation of the server from then on tells.
        since: i64,
    },
    /// Its load generator was asked to leave.
    Stopping {
        /// Its load generator.
        handle: Handle,
        /// What it comes to.
        outcome: RunOutcome,
        /// The request has been delivered.
        asked: bool,
        /// From then on it is ended instead.
        give_up_at: i64,
    },
    /// Its load generator is being ended.
    Ending {
        /// Its load generator.
        handle: Handle,
        /// What it comes to.
        outcome: RunOutcome,
        /// When this began.
        since: i64,
        /// Ends that failed.
        failures: u32,
    },
    /// Its database is fetched.
    Collecting {
        /// Its load generator.
        handle: Handle,
        /// What it comes to.
        outcome: RunOutcome,
        /// What is known of the load generator.
        life: Life,
        /// Fetches that failed.
        failures: u32,
    },
    /// Its load generator could not be ended and may live; `resume` tries again.
    Lost {
        /// Its load generator.
        handle: Handle,
        /// What it came to otherwise.
        outcome: RunOutcome,
        /// The last refusal.
        message: String,
    },
    /// Nothing of it lives.
    Ended(RunOutcome),
}

impl RunPhase {
    /// The word for tables and messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Submitting { .. } => "submitting",
            Self::Settling { .. } => "settling",
            Self::Running { .. } => "running",
            Self::Checking { .. } => "checking",
            Self::Stopping { .. } => "stopping",
            Self::Ending { .. } => "ending",
            Self::Collecting { .. } => "collecting",
            Self::Lost { .. } => "lost",
            Self::Ended(RunOutcome::Completed) => "completed",
            Self::Ended(RunOutcome::Stopped) => "stopped",
            Self::Ended(RunOutcome::Failed(_)) => "failed",
        }
    }

    /// The load generator, where it is known.
    pub fn handle(&self) -> Option<&Handle> {
        match self {
            Self::Waiting | Self::Submitting { .. } | Self::Settling { .. } | Self::Ended(_) => None,
            Self::Running { handle, .. }
            | Self::Checking { handle, .. }
            | Self::Stopping { handle, .. }
            | Self::Ending { handle, .. }
            | Self::Collecting { handle, .. }
            | Self::Lost { handle, .. } => Some(handle),
        }
    }

    /// Nothing more happens to it in this process.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Ended(_))
    }

    /// A load generator may be there.
    pub fn may_live(&self) -> bool {
        self.may_load()
            || matches!(
                self,
                Self::Lost { .. }
                    | Self::Collecting {
                        life: Life::Lost(_),
                        ..
                    }
            )
    }

    /// Observations in a row that failed.
    pub fn missed(&self) -> u32 {
        match self {
            Self::Running { failures, .. } => *failures,
            _ => 0,
        }
    }

    /// A load generator may be sending.
    pub(crate) fn may_load(&self) -> bool {
        match self {
            Self::Submitting { .. }
            | Self::Settling { .. }
            | Self::Running { .. }
            | Self::Stopping { .. }
            | Self::Ending { .. } => true,
            Self::Waiting
            | Self::Checking { .. }
            | Self::Collecting { .. }
            | Self::Lost { .. }
            | Self::Ended(_) => false,
        }
    }

    /// It waits for the server, uses it, or waits to hear of it.
    pub(crate) fn needs_server(&self) -> bool {
        match self {
            Self::Waiting | Self::Running { .. } | Self::Checking { .. } => true,
            Self::Submitting { call_off } | Self::Settling { call_off, .. } => call_off.is_none(),
            Self::Stopping { .. }
            | Self::Ending { .. }
            | Self::Collecting { .. }
            | Self::Lost { .. }
            | Self::Ended(_) => false,
        }
    }
}

/// What is known of a load generator while its database is fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Life {
    /// It was seen to have ended; its end is made sure after the collection.
    Left,
    /// Its backend has confirmed that nothing of it lives.
    Over,
    /// It could not be ended, and this was the last refusal.
    Lost(String),
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOutcome {
    /// Every level is measured.
    Completed,
    /// Ended early on request.
    Stopped,
    /// It could not start, its server failed, or its load generator did.
    Failed(Failure),
}

impl RunOutcome {
    /// Whether doing it again can come to something else.
    pub fn is_worth_resuming(&self) -> bool {
        match self {
            Self::Completed => false,
            Self::Stopped => true,
            Self::Failed(failure) => match failure.reason {
                FailureReason::ServerFailed
                | FailureReason::LoadFailed
                | FailureReason::TimeLimit
                | FailureReason::ReadyTimeout
                | FailureReason::PortTaken
                | FailureReason::Cancelled => true,
                FailureReason::OutOfMemory
                | FailureReason::ModelNotFound
                | FailureReason::CommandNotFound => false,
            },
        }
    }
}
