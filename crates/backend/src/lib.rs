//! The traits between backends and their users, a fake, and the contract suite that every backend passes.
//!
//! A backend knows one system (this machine, Slurm, Kubernetes). Its users see a deployment or a run by a reduced
//! status and never the system's own words. Calls are seconds apart, so the traits are object-safe and their
//! futures boxed.
//!
//! An object (a server or a load generator) has a name, which is its id. Whatever happens to a call, the object can
//! be found by that name again, so a user that was interrupted goes on with what lives:
//!
//! - `ensure` starts it or takes it up. When it fails, its error says whether something was started, and
//!   [`Effect::Unknown`] is settled by a [`Finder`] before anything else is done.
//! - `observe` tells what is; its error tells nothing of the object.
//! - `end` returns once nothing of it lives.
//!
//! With the feature `fake` there is a backend without a system behind it, whose faults are scripted; with `contract`
//! the suite of promises that every backend keeps.

#[cfg(feature = "contract")]
pub mod contract;
mod database;
#[cfg(feature = "fake")]
pub mod fake;
mod redirect;
mod server_log;

use std::{
    fmt,
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    time::Duration,
};

use gipfel_model::{
    CampaignId, DeploymentId, DeploymentSpec, EndpointSpec, LoadPlacement, Progress, Provenance, RunConfig,
    RunId, Usage,
};
use serde::{Deserialize, Serialize};

pub use database::unpack_database;
pub use redirect::{Redirected, Way};
pub use server_log::{cause_by_log, load_steps_by_log};

/// A boxed future, so that backends can be chosen at run time.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Names a remote object for later calls, also those of another process after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handle {
    /// The backend that made it, such as `local`.
    pub system: String,
    /// The deployment's or the run's id.
    pub name: String,
    /// What only that backend reads, such as a process id and its start time.
    pub detail: String,
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} {})", self.name, self.system, self.detail)
    }
}

/// Starts, observes and ends servers.
pub trait Deployer: Send + Sync {
    /// Starts the server `id`, or takes up the one of that name that lives already.
    ///
    /// Idempotent by name: of two calls with one id at most one server comes to life. The error says what is known
    /// of the effect.
    fn ensure<'a>(
        &'a self,
        campaign: &'a CampaignId,
        id: &'a DeploymentId,
        spec: &'a DeploymentSpec,
    ) -> BoxFuture<'a, Result<Handle, EnsureError>>;

    /// The server's state now. An error says nothing of the server.
    fn observe<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<DeploymentStatus, BackendError>>;

    /// The last `lines` lines of the server's log; also after its end.
    fn logs<'a>(&'a self, handle: &'a Handle, lines: usize) -> BoxFuture<'a, Result<String, BackendError>>;

    /// Ends the server and all its processes. `Ok` means that nothing of it lives; one that had ended is no error.
    fn end<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<(), BackendError>>;

    /// What it has used by its system's account, where that tells: of a job, once it has ended.
    fn usage<'a>(&'a self, _: &'a Handle) -> BoxFuture<'a, Result<Option<Usage>, BackendError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// Starts, observes and ends load generators.
pub trait LoadRunner: Send + Sync {
    /// Starts the run that `config` names, at this place, or takes up the one of that name that lives already.
    ///
    /// A run whose load generator has ended is started again on the same files: it keeps its completed levels.
    fn ensure<'a>(
        &'a self,
        config: &'a RunConfig,
        place: &'a LoadPlacement,
    ) -> BoxFuture<'a, Result<Handle, EnsureError>>;

    /// The run's state now. An error says nothing of the run.
    fn observe<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<RunStatus, BackendError>>;

    /// Brings the run's database into `directory` and names its file; whole, also when the run did not complete.
    fn fetch<'a>(
        &'a self,
        handle: &'a Handle,
        directory: &'a Path,
    ) -> BoxFuture<'a, Result<PathBuf, BackendError>>;

    /// Asks the load generator to stop, flush and leave; returns at once.
    fn stop<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<(), BackendError>>;

    /// The last `lines` lines of the load generator's log.
    fn logs<'a>(&'a self, handle: &'a Handle, lines: usize) -> BoxFuture<'a, Result<String, BackendError>>;

    /// Ends the load generator. `Ok` means that nothing of it lives; one that had ended is no error.
    fn end<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<(), BackendError>>;

    /// What it has used by its system's account, where that tells: of a job, once it has ended.
    fn usage<'a>(&'a self, _: &'a Handle) -> BoxFuture<'a, Result<Option<Usage>, BackendError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// Finds what lives, by name and by the job's own mark, after a crash or a lost answer.
pub trait Finder: Send + Sync {
    /// What is known of a deployment. Settles an unknown submit: after `Absent` a late arrival of that submit
    /// cannot come to life any more.
    fn find_deployment<'a>(&'a self, id: &'a DeploymentId) -> BoxFuture<'a, Result<Found, BackendError>>;

    /// The same for a run.
    fn find_run<'a>(&'a self, id: &'a RunId) -> BoxFuture<'a, Result<Found, BackendError>>;

    /// Everything of a campaign that lives.
    fn find_campaign<'a>(&'a self, id: &'a CampaignId) -> BoxFuture<'a, Result<Vec<Handle>, BackendError>>;
}

/// What a [`Finder`] found of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It was started; it may have ended since, which `observe` tells.
    Started(Handle),
    /// It was never started and will not be by an earlier call.
    Absent,
    /// Not known yet: one empty list proves nothing. Ask again.
    Unsettled,
}

/// A server's state, reduced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum DeploymentStatus {
    /// Waits for its place.
    Queued,
    /// Loads.
    Starting,
    /// Answers requests.
    Ready {
        /// Where.
        endpoint: EndpointSpec,
        /// What the backend knows of engine and hardware.
        provenance: Provenance,
        /// From the start of its processes to its first answer, where the backend knows it better than who asks.
        load_time: Option<Duration>,
    },
    /// Lives no more.
    Ended(Failure),
}

/// A load generator's state, reduced.
#[derive(Clone, Debug, PartialEq)]
pub enum RunStatus {
    /// Waits for its place.
    Queued,
    /// Runs; the progress is absent until it has written one.
    Running(Option<Box<Progress>>),
    /// Ended by itself with all levels measured.
    Completed(Option<Box<Progress>>),
    /// Ended early on request; what was measured is kept.
    Stopped(Option<Box<Progress>>),
    /// Ended otherwise.
    Failed(Failure),
}

/// Why something ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The class.
    pub reason: FailureReason,
    /// One sentence for people.
    pub message: String,
    /// The log's tail, empty when there is none.
    pub log_tail: String,
}

/// The class of a failure; `--retry` and exit codes go by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureReason {
    /// GPU or host memory ran out.
    OutOfMemory,
    /// Another process listens on the port.
    PortTaken,
    /// The model is not where the engine looks.
    ModelNotFound,
    /// The command does not exist or cannot be run.
    CommandNotFound,
    /// Not ready within its time.
    ReadyTimeout,
    /// A walltime or another limit of the system ended it.
    TimeLimit,
    /// It died while in use, or for no reason that is known.
    ServerFailed,
    /// The load generator died or gave up.
    LoadFailed,
    /// Ended by us.
    Cancelled,
}

impl FailureReason {
    /// The name in messages and databases, such as `server-failed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OutOfMemory => "out-of-memory",
            Self::PortTaken => "port-taken",
            Self::ModelNotFound => "model-not-found",
            Self::CommandNotFound => "command-not-found",
            Self::ReadyTimeout => "ready-timeout",
            Self::TimeLimit => "time-limit",
            Self::ServerFailed => "server-failed",
            Self::LoadFailed => "load-failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A call to a backend that failed. It says nothing of the object that the call was about.
#[derive(Debug, thiserror::Error)]
#[error("failed to {operation}")]
pub struct BackendError {
    /// What was tried, as it completes "failed to …".
    pub operation: String,
    /// Whether trying again can help.
    pub retryable: bool,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl BackendError {
    /// An error that trying again cannot mend.
    pub fn permanent(
        operation: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            operation: operation.into(),
            retryable: false,
            source: source.into(),
        }
    }

    /// An error that may pass.
    pub fn transient(
        operation: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            operation: operation.into(),
            retryable: true,
            source: source.into(),
        }
    }
}

/// What is known of the effect of a failed `ensure`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing was started.
    NotStarted,
    /// It was started and may live.
    Started(Handle),
    /// Not known; a [`Finder`] settles it.
    Unknown,
}

/// A failed `ensure`.
#[derive(Debug, thiserror::Error)]
#[error("failed to start `{name}`")]
pub struct EnsureError {
    /// The deployment's or the run's id.
    pub name: String,
    /// What is known of the effect.
    pub effect: Effect,
    /// The class of the failure, for messages and retries.
    pub reason: FailureReason,
    /// Why.
    #[source]
    pub source: BackendError,
}
