//! What jobs have taken of the cluster, by Slurm's account.

use std::time::Duration;

use gipfel_backend::{BackendError, Handle};
use gipfel_model::Usage;

use super::{SlurmBackend, failed, place::within};
use crate::cluster::{FileFacts, JobFacts};

impl SlurmBackend {
    /// What the job of a handle has taken; nothing for a load generator in the server's job, or for a job that Slurm has
    /// forgotten. `written` is a file of its directory that is written just before a job is submitted.
    pub(super) async fn usage_of(
        &self,
        handle: &Handle,
        written: &str,
    ) -> Result<Option<Usage>, BackendError> {
        let (_, place, detail) = self.job_of(handle)?;
        if detail.within.is_some() {
            return Ok(None);
        }
        let Some(facts) = place.cluster.job(&detail.job).await.map_err(failed)? else {
            return Ok(None);
        };
        let path = within(&detail.directory, written)?;
        let file = place.cluster.stat(&path).await.map_err(failed)?;
        Ok(Some(Usage {
            job: detail.job.to_string(),
            nodes: u32::try_from(facts.nodes.len()).unwrap_or(u32::MAX),
            queued: file.and_then(|file| since(&file, &facts)),
            ran: facts.elapsed,
        }))
    }
}

/// From a file's last change to the job's begin, both by the cluster's clock.
fn since(file: &FileFacts, facts: &JobFacts) -> Option<Duration> {
    let seconds = facts.started?.checked_sub(file.modified)?;
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

/// From the job's begin to a file's last change, both by the cluster's clock.
pub(super) fn until(facts: &JobFacts, file: &FileFacts) -> Option<Duration> {
    let seconds = file.modified.checked_sub(facts.started?)?;
    u64::try_from(seconds).ok().map(Duration::from_secs)
}
