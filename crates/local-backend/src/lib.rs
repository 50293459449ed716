//! Engines and the load generator as processes of this machine.
//!
//! Each object has a directory under one root, which its id names. Its process makes a mark there before it becomes
//! the engine, so at most one process of a name comes to life, whatever happens to those who start it; the mark
//! holds what a later gipfel needs to find it again. Processes are started in a group of their own and outlive the
//! gipfel that started them: [`LocalBackend`] ends them when it is asked to, never by being dropped.
//!
//! [`UrlDeployer`] stands for a server that gipfel does not own.

mod deployer;
mod detail;
mod files;
mod finder;
mod identity;
mod launch;
mod machine;
mod mark;
mod port;
mod probe;
mod process;
mod runner;
mod url;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gipfel_backend::{BackendError, Effect, EnsureError, FailureReason};
use gipfel_model::Provenance;

use crate::{launch::Children, machine::Machine};

pub use identity::ProcessIdentity;
pub use url::{UrlDeployer, listed_models};

/// Starts, observes and ends servers and load generators on this machine.
#[derive(Debug)]
pub struct LocalBackend {
    machine: Machine,
    gipfel: PathBuf,
    load_generator: Option<PathBuf>,
    memory: Mutex<Memory>,
}

/// What is nice to know and can be found out again.
#[derive(Debug, Default)]
struct Memory {
    /// Free ports that were given away.
    ports: BTreeSet<u16>,
    /// Servers that were ready once, by their handle's detail.
    ready: BTreeMap<String, Provenance>,
}

impl LocalBackend {
    /// A backend whose objects have their directories under `root`, and whose load generator and simulator are the
    /// executable `gipfel`. Objects of another root are reached by their handles.
    pub fn new(root: PathBuf, gipfel: PathBuf) -> Self {
        // Processes are told by absolute paths. Without a current directory the path stays as it is.
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        Self {
            machine: Machine {
                root: absolute(root),
                children: Children::default(),
                grace: Duration::from_secs(10),
            },
            gipfel: absolute(gipfel),
            load_generator: None,
            memory: Mutex::default(),
        }
    }

    /// Runs are carried out by the program `gipfel-loadgen` at this path, not by `gipfel loadgen`.
    #[must_use]
    pub fn with_load_generator(mut self, program: PathBuf) -> Self {
        self.load_generator = Some(std::path::absolute(&program).unwrap_or(program));
        self
    }

    /// Sets how long processes may take to end when they are asked to, before they are killed.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.machine.grace = grace;
        self
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Every change is a single insertion, so what a panicking thread left is whole.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Builds the error of an `ensure` that started nothing, or of which that is not known.
fn refusal(name: &str, effect: Effect, reason: FailureReason, source: BackendError) -> Box<EnsureError> {
    Box::new(EnsureError {
        name: name.to_owned(),
        effect,
        reason,
        source,
    })
}
