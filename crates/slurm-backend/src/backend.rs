//! Servers and load generators as jobs: the traits of `gipfel-backend` over a [`Cluster`](crate::Cluster).
//!
//! What a job does is read from the files that it writes itself; what Slurm says of it is asked once for all jobs.

mod deployer;
mod detail;
mod ending;
mod finder;
mod from_here;
mod inventory;
mod outcome;
mod pack;
mod place;
mod runner;
mod usage;
mod watch;
mod whose;
mod why;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use firecrest_client::{AdoptPolicy, JobId};
use gipfel_backend::{BackendError, Effect, EnsureError, FailureReason, Handle};
use gipfel_model::{DeploymentId, SlurmReach};

use self::{detail::Detail, finder::Search, watch::Watch};
pub use self::{
    from_here::TunnelWay,
    inventory::{FoundServer, Leftover, Living, Purpose},
    place::{LoadGenerator, Place},
    whose::Whose,
};
use crate::cluster::{ClusterError, ClusterErrorKind, SubmitEffect, SubmitFailure};

/// What handles of this backend say that they are of.
const SYSTEM: &str = "slurm";

/// Servers and load generators on the clusters of a campaign.
pub struct SlurmBackend {
    places: Vec<Place>,
    policy: AdoptPolicy,
    kept: BTreeSet<DeploymentId>,
    memory: Mutex<Memory>,
}

/// What one process has learned; another learns it anew.
#[derive(Default)]
struct Memory {
    /// The jobs of each place, by its index.
    watches: BTreeMap<usize, Watch>,
    /// Servers that were seen to answer, by the directory.
    ready: BTreeMap<String, Ready>,
    /// What was looked for and not found yet, by its id.
    searches: BTreeMap<String, Search>,
    /// How the servers' jobs are called that load generators wait for, by the load generator's job.
    servers: BTreeMap<JobId, String>,
}

/// What is known of a server since it answered.
#[derive(Clone)]
struct Ready {
    url: String,
    /// From the begin of its job.
    load_time: Option<Duration>,
    /// The steps of its start, as JSON; empty where its engine does not tell.
    load_steps: String,
}

impl SlurmBackend {
    /// A backend for these clusters.
    pub fn new(places: Vec<Place>, policy: AdoptPolicy) -> Self {
        Self {
            places,
            policy,
            kept: BTreeSet::new(),
            memory: Mutex::default(),
        }
    }

    /// These servers are to outlive their campaign; their directories say so to whoever cleans up.
    #[must_use]
    pub fn keeping(mut self, kept: impl IntoIterator<Item = DeploymentId>) -> Self {
        self.kept.extend(kept);
        self
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Nothing here panics halfway through a change.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, reach: &SlurmReach) -> Result<(usize, &Place), BackendError> {
        let found = self
            .places
            .iter()
            .enumerate()
            .find(|(_, place)| place.reach == *reach);
        found.ok_or_else(|| {
            BackendError::permanent(
                "find the cluster",
                "the campaign was begun with another cluster than it is gone on with",
            )
        })
    }

    /// The place and the job of a handle.
    fn job_of(&self, handle: &Handle) -> Result<(usize, &Place, Detail), BackendError> {
        let operation = || format!("read the handle of `{}`", handle.name);
        let detail: Detail = handle
            .detail
            .parse()
            .map_err(|error| BackendError::permanent(operation(), error))?;
        let (index, place) = self.place(&detail.reach)?;
        Ok((index, place, detail))
    }
}

/// The job of a handle; nothing for one of another system.
pub fn job_of(handle: &Handle) -> Option<JobId> {
    let detail: Option<Detail> = handle.detail.parse().ok();
    detail
        .filter(|_| handle.system == SYSTEM)
        .map(|detail| detail.job)
}

fn handle(name: &str, detail: &Detail) -> Handle {
    Handle {
        system: SYSTEM.to_owned(),
        name: name.to_owned(),
        detail: detail.to_string(),
    }
}

/// The cluster's error in the words of the traits.
fn failed(error: ClusterError) -> BackendError {
    BackendError {
        operation: format!("{} ({})", error.operation, error.cluster),
        retryable: error.kind.is_retryable(),
        source: error.source,
    }
}

fn refused(id: &str, source: BackendError, reason: FailureReason) -> Box<EnsureError> {
    Box::new(EnsureError {
        name: id.to_owned(),
        effect: Effect::NotStarted,
        reason,
        source,
    })
}

fn not_submitted(
    id: &str,
    failure: SubmitFailure,
    detail: impl FnOnce(firecrest_client::JobId) -> Detail,
    reason: FailureReason,
) -> Box<EnsureError> {
    let effect = match failure.effect {
        SubmitEffect::NotStarted => Effect::NotStarted,
        SubmitEffect::Started(job) => Effect::Started(handle(id, &detail(job))),
        SubmitEffect::Unknown => Effect::Unknown,
    };
    let reason = match failure.source.kind {
        ClusterErrorKind::Walltime => FailureReason::TimeLimit,
        _ => reason,
    };
    Box::new(EnsureError {
        name: id.to_owned(),
        effect,
        reason,
        source: failed(failure.source),
    })
}
