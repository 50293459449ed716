//! The backends of a campaign and the time that their calls get.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use gipfel_backend::{Deployer, Finder, LoadRunner};
use gipfel_model::{BenchmarkerKind, DeploymentKind};

use crate::event::Effect;

/// Who serves one kind of deployment. Server and load generator may live on different systems.
#[derive(Clone)]
pub struct System {
    /// Starts and ends servers.
    pub deployer: Arc<dyn Deployer>,
    /// Finds servers.
    pub deployment_finder: Arc<dyn Finder>,
    /// Starts and ends load generators.
    pub runner: Arc<dyn LoadRunner>,
    /// Finds load generators.
    pub run_finder: Arc<dyn Finder>,
}

impl System {
    /// One backend for everything.
    pub fn whole<B: Deployer + LoadRunner + Finder + 'static>(backend: &Arc<B>) -> Self {
        Self::split(backend, backend)
    }

    /// One backend for the server, another for the load generator.
    pub fn split<S, L>(server: &Arc<S>, load: &Arc<L>) -> Self
    where
        S: Deployer + Finder + 'static,
        L: LoadRunner + Finder + 'static,
    {
        Self {
            deployer: Arc::<S>::clone(server),
            deployment_finder: Arc::<S>::clone(server),
            runner: Arc::<L>::clone(load),
            run_finder: Arc::<L>::clone(load),
        }
    }
}

/// Who starts and finds load generators somewhere else than the system of the server does.
#[derive(Clone)]
pub struct Load {
    /// Starts and ends them.
    pub runner: Arc<dyn LoadRunner>,
    /// Finds them.
    pub finder: Arc<dyn Finder>,
}

impl Load {
    /// One backend for both.
    pub fn whole<B: LoadRunner + Finder + 'static>(backend: &Arc<B>) -> Self {
        Self {
            runner: Arc::<B>::clone(backend),
            finder: Arc::<B>::clone(backend),
        }
    }
}

/// The backends that are there, by the kind of deployment they serve and by where the load generator runs.
#[derive(Clone, Default)]
pub struct Backends {
    systems: BTreeMap<DeploymentKind, System>,
    loads: BTreeMap<BenchmarkerKind, Load>,
}

impl Backends {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// These and one more.
    pub fn with(mut self, kind: DeploymentKind, system: System) -> Self {
        self.systems.insert(kind, system);
        self
    }

    /// These and one for load generators that run there, whatever they send to.
    pub fn with_load(mut self, kind: BenchmarkerKind, load: Load) -> Self {
        self.loads.insert(kind, load);
        self
    }

    /// Who serves load generators that run there and send to a deployment of this kind.
    pub fn load(&self, deployment: DeploymentKind, load: BenchmarkerKind) -> Option<Load> {
        let of_system = |system: &System| Load {
            runner: Arc::clone(&system.runner),
            finder: Arc::clone(&system.run_finder),
        };
        match load {
            BenchmarkerKind::Local => self.get(deployment).map(of_system),
            BenchmarkerKind::Slurm | BenchmarkerKind::SameJob | BenchmarkerKind::InCluster => {
                self.loads.get(&load).cloned()
            }
        }
    }

    /// Who serves this kind.
    pub fn get(&self, kind: DeploymentKind) -> Option<&System> {
        self.systems.get(&kind)
    }
}

/// How long each kind of call may take. A submission that takes longer is settled by the finder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Starting something.
    pub submit: Duration,
    /// Looking at something, finding it, reading its log, asking it to stop.
    pub ask: Duration,
    /// Ending something.
    pub end: Duration,
    /// Fetching a database.
    pub fetch: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            submit: Duration::from_mins(3),
            ask: Duration::from_mins(1),
            end: Duration::from_mins(2),
            fetch: Duration::from_mins(15),
        }
    }
}

impl Deadlines {
    pub(super) fn of(&self, effect: &Effect) -> Duration {
        match effect {
            Effect::SubmitDeployment(_) | Effect::SubmitRun(_) => self.submit,
            Effect::FindDeployment(_)
            | Effect::ObserveDeployment(..)
            | Effect::ReadDeploymentLog(..)
            | Effect::FindRun(_)
            | Effect::ObserveRun(..)
            | Effect::StopRun(..) => self.ask,
            Effect::EndDeployment(..) | Effect::EndRun(..) => self.end,
            Effect::FetchRun(..) => self.fetch,
        }
    }
}
