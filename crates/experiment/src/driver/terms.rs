//! What a driver is told and tells.

use std::time::Duration;

use gipfel_model::{DeploymentId, DeploymentKind, Progress, RunId};

use super::Deadlines;
use crate::{
    campaign::{Campaign, LiveObject},
    deployment::DeploymentPhase,
    journal::JournalError,
    limits::Limits,
    run::RunPhase,
};

/// How often and how long.
#[derive(Clone, Debug)]
pub struct DriverOptions {
    /// Between two looks at everything.
    pub poll_interval: Duration,
    /// Between two looks at what is on this machine while it is about to change; a second at most otherwise.
    pub near_interval: Duration,
    /// Bounds of retries.
    pub limits: Limits,
    /// How long each kind of call may take.
    pub deadlines: Deadlines,
}

impl Default for DriverOptions {
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_secs(15),
            near_interval: Duration::from_millis(200),
            limits: Limits::default(),
            deadlines: Deadlines::default(),
        }
    }
}

/// What the user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// End what runs and keep what was measured; the second time, leave at once.
    Interrupt,
    /// Leave and let everything live.
    Detach,
}

/// Something for the display.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// A deployment entered a phase, or is looked at for the first time.
    Deployment {
        /// Which.
        id: DeploymentId,
        /// The phase.
        phase: DeploymentPhase,
    },
    /// A run entered a phase, or is looked at for the first time.
    Run {
        /// Which.
        id: RunId,
        /// The phase.
        phase: RunPhase,
    },
    /// A run has got on.
    Progress {
        /// Which.
        id: RunId,
        /// How far.
        progress: Box<Progress>,
    },
    /// A call failed. What it is about may be well; where that helps, the call is tried again.
    Trouble {
        /// The deployment or run.
        about: String,
        /// What failed and why.
        message: String,
    },
    /// A deployment or run could not be observed for a while. It is still owned and still looked for.
    Unreachable {
        /// The deployment or run.
        about: String,
    },
}

/// How the driver left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing is left to do.
    Finished,
    /// The user ended it; [`Campaign::live`] is empty but for kept servers unless the user did not wait.
    Interrupted,
    /// Everything lives on.
    Detached,
}

/// The campaign as the driver left it.
#[derive(Clone, Debug, PartialEq)]
pub struct Departure {
    /// The campaign; it is in the journal like this.
    pub campaign: Campaign,
    /// How.
    pub left: Left,
}

/// Why the driver cannot go on. Everything that lived lives on, and `resume` takes it up.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// Nothing is carried out that is not in the journal first.
    #[error(
        "cannot write the journal, so nothing more can be started or ended; {} of ours may live",
        count(live)
    )]
    Journal {
        /// Why.
        #[source]
        source: JournalError,
        /// What may live.
        live: Vec<LiveObject>,
    },
    /// A deployment's system has no backend.
    #[error("no backend is there for `{kind}` deployments")]
    NoBackend {
        /// The system.
        kind: DeploymentKind,
    },
}

fn count(live: &[LiveObject]) -> String {
    match live.len() {
        0 => "nothing".to_owned(),
        1 => "1 process or job".to_owned(),
        n => format!("{n} processes or jobs"),
    }
}
