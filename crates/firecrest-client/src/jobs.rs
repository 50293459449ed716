//! Jobs of a system.

mod adopt;
mod mark;
mod nodes;
mod settle;
mod spec;
mod state;
mod submit;
mod types;
mod wait;

use serde::Deserialize;

pub use self::{
    adopt::AdoptError,
    mark::Mark,
    nodes::{NodesError, expand_nodes},
    settle::{AdoptPolicy, Adoption, Earlier, Look, MarkSeen, Settling, Verdict},
    spec::{JobSpec, Script, SpecError},
    state::{JobState, PendingReason},
    submit::{Outcome, SubmitError, SubmitFault, Submitted},
    types::{Cancelled, Job, JobFilter, JobMetadata, JobStatus, JobTime, Task, TimeWindow},
    wait::{WaitError, WaitOptions},
};
use crate::{
    call::{Call, path},
    client::Client,
    error::Error,
    names::{JobId, SystemName},
};

/// The calls below `/compute/{system}/jobs`.
#[derive(Debug, Clone)]
pub struct Jobs {
    client: Client,
    system: SystemName,
}

#[derive(Deserialize)]
struct JobList<T> {
    jobs: Option<Vec<T>>,
}

impl<T> JobList<T> {
    fn into_jobs(self) -> Vec<T> {
        self.jobs.unwrap_or_default()
    }
}

/// Refusals of a cancellation that say that there is nothing left to cancel.
const GONE: &[&str] = &["already completing or completed", "Invalid job id"];

impl Jobs {
    pub(crate) fn new(client: Client, system: SystemName) -> Self {
        Self { client, system }
    }

    /// The job of this id: one entry, or one for each task of an array.
    ///
    /// A job that was submitted a moment ago may be unknown (404), and so may every job while the
    /// scheduler's accounting is away: wait a minute before a job counts as lost.
    pub async fn get(&self, id: &JobId) -> Result<Vec<Job>, Error> {
        self.get_call(id, false).await
    }

    async fn get_call(&self, id: &JobId, is_single: bool) -> Result<Vec<Job>, Error> {
        let call = Call::get(path::job(&self.system, &id.submitted())).single(is_single);
        let jobs = self.client.run(call).await?.json::<JobList<Job>>()?.into_jobs();
        Ok(of_job(id, jobs))
    }

    /// The user's jobs that the filter lets through.
    ///
    /// Older servers ignore the name, so name and account are compared here, too. A job that is missing from the list may
    /// exist all the same: the server is known to lose some.
    pub async fn list(&self, filter: &JobFilter) -> Result<Vec<Job>, Error> {
        self.list_call(filter, false).await
    }

    async fn list_call(&self, filter: &JobFilter, is_single: bool) -> Result<Vec<Job>, Error> {
        let mut call = Call::get(path::jobs(&self.system))
            .flag("allusers", filter.all_users)
            .single(is_single);
        if let Some(name) = &filter.name {
            call = call.query("name", name);
        }
        if let Some(account) = &filter.account {
            call = call.query("account", account);
        }
        if let Some(window) = filter.window {
            call = call.query("time_window", window);
        }
        let jobs = self.client.run(call).await?.json::<JobList<Job>>()?.into_jobs();
        Ok(jobs.into_iter().filter(|job| filter.lets_through(job)).collect())
    }

    /// The script of a job and where its output goes, for each task of an array.
    ///
    /// Once the scheduler has forgotten a job, its paths are as they were asked for, with only `%j` filled in.
    pub async fn metadata(&self, id: &JobId) -> Result<Vec<JobMetadata>, Error> {
        let call = Call::get(format!("{}/metadata", path::job(&self.system, &id.submitted())));
        self.client
            .run(call)
            .await?
            .json::<JobList<JobMetadata>>()
            .map(JobList::into_jobs)
    }

    /// Ends a job. A job that has ended already, or that is not known any more, is no error.
    ///
    /// The server does not end single tasks of an array: it refuses their ids.
    pub async fn cancel(&self, id: &JobId) -> Result<Cancelled, Error> {
        match self.client.run(Call::delete(path::job(&self.system, id))).await {
            Ok(_) => Ok(Cancelled::Requested),
            Err(error) if is_gone(&error) => Ok(Cancelled::AlreadyGone),
            Err(error) => Err(error),
        }
    }
}

/// The entries of this job, or of this task: the server takes no ids of tasks, and adds entries of tasks under
/// the ids that they have inside of the scheduler.
fn of_job(id: &JobId, mut jobs: Vec<Job>) -> Vec<Job> {
    let is_task = *id != id.submitted();
    jobs.retain(|job| {
        if is_task {
            job.id == *id
        } else {
            job.id.submitted() == *id
        }
    });
    jobs
}

fn is_gone(error: &Error) -> bool {
    error
        .refusal()
        .is_some_and(|refusal| GONE.iter().any(|text| refusal.mentions(text)))
}
