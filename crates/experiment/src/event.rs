//! What the step takes and gives.

use std::path::PathBuf;

use gipfel_backend::{DeploymentStatus, Effect as StartEffect, Failure, Found, Handle, RunStatus};
use gipfel_model::{DeploymentId, RunId, Usage};

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The driver begins or goes on.
    Start,
    /// It is time to look.
    Tick(Scope),
    /// The user wants to end everything.
    Interrupt,
    /// An answer about a deployment.
    Deployment(DeploymentId, DeploymentEvent),
    /// An answer about a run.
    Run(RunId, RunEvent),
}

/// What a tick reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// What costs nothing to look at: the runs of this machine, and its servers until they are ready.
    Near,
}

/// A submission that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmitFailure {
    /// What is known of its effect.
    pub effect: StartEffect,
    /// Why.
    pub failure: Failure,
    /// Whether trying again can help.
    pub retryable: bool,
}

/// An answer about a deployment. One that names another handle than the present one's comes too late and is ignored.
#[derive(Clone, Debug, PartialEq)]
pub enum DeploymentEvent {
    /// It was started.
    Submitted(Handle),
    /// It was not started, as far as is known.
    SubmitFailed(SubmitFailure),
    /// The finder answered.
    Found(Found),
    /// The finder could not be asked.
    FindFailed,
    /// Its state.
    Observed {
        /// Whose.
        handle: Handle,
        /// When the question was sent.
        asked_at: i64,
        /// The state.
        status: DeploymentStatus,
    },
    /// Its state could not be learned.
    ObserveFailed {
        /// Whose.
        handle: Handle,
    },
    /// The tail of its log; empty when it could not be read.
    Log {
        /// Whose.
        handle: Handle,
        /// The tail.
        text: String,
    },
    /// Nothing of it lives.
    Ended {
        /// Whose end.
        handle: Handle,
        /// What it has used, where that is known.
        usage: Option<Usage>,
    },
    /// It could not be ended, or lives still.
    EndFailed {
        /// Whose end.
        handle: Handle,
        /// Why.
        message: String,
        /// Whether trying again can help.
        retryable: bool,
    },
}

/// An answer about a run.
#[derive(Clone, Debug, PartialEq)]
pub enum RunEvent {
    /// Its load generator was started.
    Submitted(Handle),
    /// It was not started, as far as is known.
    SubmitFailed(SubmitFailure),
    /// The finder answered.
    Found(Found),
    /// The finder could not be asked.
    FindFailed,
    /// Its state.
    Observed {
        /// Whose.
        handle: Handle,
        /// The state.
        status: RunStatus,
    },
    /// Its state could not be learned.
    ObserveFailed {
        /// Whose.
        handle: Handle,
    },
    /// It was asked to stop.
    StopAsked {
        /// Which.
        handle: Handle,
    },
    /// It could not be asked to stop.
    StopFailed {
        /// Which.
        handle: Handle,
    },
    /// Its database is here.
    Fetched {
        /// Whose.
        handle: Handle,
        /// The file.
        database: PathBuf,
    },
    /// Its database could not be fetched.
    FetchFailed {
        /// Whose.
        handle: Handle,
        /// Why.
        message: String,
        /// Whether trying again can help.
        retryable: bool,
    },
    /// Nothing of it lives.
    Ended {
        /// Whose end.
        handle: Handle,
        /// What it has used, where that is known.
        usage: Option<Usage>,
    },
    /// It could not be ended, or lives still.
    EndFailed {
        /// Whose end.
        handle: Handle,
        /// Why.
        message: String,
        /// Whether trying again can help.
        retryable: bool,
    },
}

/// Something to carry out. Each is answered by an event of the same object.
///
/// All but the submissions are repeated with every tick until their answer has changed the phase: who carries them
/// out drops one that is on its way already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start the server.
    SubmitDeployment(DeploymentId),
    /// Ask the finder for the server.
    FindDeployment(DeploymentId),
    /// Look at the server.
    ObserveDeployment(DeploymentId, Handle),
    /// Read the tail of the server's log.
    ReadDeploymentLog(DeploymentId, Handle),
    /// End the server.
    EndDeployment(DeploymentId, Handle),
    /// Start the load generator.
    SubmitRun(RunId),
    /// Ask the finder for the load generator.
    FindRun(RunId),
    /// Look at the load generator.
    ObserveRun(RunId, Handle),
    /// Ask the load generator to stop.
    StopRun(RunId, Handle),
    /// Fetch the run's database.
    FetchRun(RunId, Handle),
    /// End the load generator.
    EndRun(RunId, Handle),
}

impl Effect {
    /// The name of the deployment or run that it is about.
    pub fn object(&self) -> &str {
        match self {
            Self::SubmitDeployment(id)
            | Self::FindDeployment(id)
            | Self::ObserveDeployment(id, _)
            | Self::ReadDeploymentLog(id, _)
            | Self::EndDeployment(id, _) => id.as_str(),
            Self::SubmitRun(id)
            | Self::FindRun(id)
            | Self::ObserveRun(id, _)
            | Self::StopRun(id, _)
            | Self::FetchRun(id, _)
            | Self::EndRun(id, _) => id.as_str(),
        }
    }
}
