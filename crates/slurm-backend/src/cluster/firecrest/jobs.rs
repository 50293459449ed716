//! Jobs by FirecREST.

use std::time::Duration;

use firecrest_client::{Earlier, Job, JobId, JobSpec, JobState, Outcome, Script};

use super::{
    super::{ClusterError, JobFacts, JobRequest, SubmitEffect, SubmitFailure},
    FirecrestCluster,
};

impl FirecrestCluster {
    pub(super) async fn submit_once(
        &self,
        request: &JobRequest,
        earlier: Earlier,
    ) -> Result<JobId, SubmitFailure> {
        let script = Script::Inline(request.script.clone());
        let mut spec = JobSpec::new(request.directory.clone(), script);
        spec.name = Some(request.name.clone());
        let policy = &self.options.adopt;
        let submitted = self
            .jobs
            .submit_or_adopt(&spec, &request.mark, earlier, policy)
            .await;
        match submitted {
            Ok(submitted) => Ok(submitted.id().clone()),
            Err(error) => {
                let effect = match &error.outcome {
                    Outcome::NotStarted => SubmitEffect::NotStarted,
                    Outcome::Started(id) => SubmitEffect::Started(id.clone()),
                    Outcome::Unknown => SubmitEffect::Unknown,
                };
                let source = self.error(format!("submit {}", request.name), error);
                Err(SubmitFailure { effect, source })
            }
        }
    }

    pub(super) async fn job_now(&self, id: &JobId) -> Result<Option<JobFacts>, ClusterError> {
        match self.jobs.get(id).await {
            Ok(jobs) => Ok(jobs.into_iter().next().map(facts_of)),
            Err(error) if error.status() == Some(404) && is_unknown_job(&error) => Ok(None),
            Err(error) => Err(self.error(format!("look at job {id}"), error)),
        }
    }
}

/// Whether the job is missing, and not the system.
fn is_unknown_job(error: &firecrest_client::Error) -> bool {
    error
        .refusal()
        .is_some_and(|refusal| refusal.message.contains("Job not found"))
}

/// A job as the server tells it. It does not tell comments.
pub(super) fn facts_of(job: Job) -> JobFacts {
    let nodes = job
        .node_names()
        .unwrap_or_else(|_| job.nodes.iter().cloned().collect());
    let has_begun = !matches!(
        job.status.state,
        JobState::Pending | JobState::Configuring | JobState::Requeued
    );
    let has_ended = job.status.state.is_ended();
    let seconds = |value: Option<i64>| {
        value
            .and_then(|value| u64::try_from(value).ok())
            .map(Duration::from_secs)
    };
    let number = |value: Option<i64>| {
        value
            .filter(|_| has_ended)
            .and_then(|value| i32::try_from(value).ok())
    };
    JobFacts {
        waits: job.status.pending_reason(),
        id: job.id,
        name: job.name,
        comment: None,
        nodes,
        partition: job.partition,
        elapsed: seconds(job.time.elapsed_s),
        limit: seconds(job.time.limit_s),
        started: job.time.start_s.filter(|_| has_begun),
        exit_code: number(job.status.exit_code),
        signal: number(job.status.interrupt_signal).filter(|signal| *signal != 0),
        state: job.status.state,
    }
}
