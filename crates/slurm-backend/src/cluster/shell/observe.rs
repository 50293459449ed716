//! What Slurm's commands tell of jobs.

use std::sync::atomic::Ordering;

use firecrest_client::{JobId, TimeWindow};

use super::{
    super::{ClusterError, JobFacts, words},
    CommandError, ShellCluster,
    commands::{self, Accounted},
    output::{self, merge, read_accounting, read_queue},
};

impl ShellCluster {
    /// The user's jobs that the controller knows, and those of this window that the accounting knows.
    pub(super) async fn listed(&self, window: TimeWindow) -> Result<Vec<JobFacts>, CommandError> {
        let (queue, accounting) = tokio::join!(self.queue(None), self.accounted(Accounted::Window(window)));
        Ok(merge(queue?, accounting))
    }

    pub(super) async fn job_now(&self, id: &JobId) -> Result<Option<JobFacts>, ClusterError> {
        let (queue, accounting) = tokio::join!(self.queue(Some(id)), self.accounted(Accounted::Job(id)));
        let queue = queue.map_err(|error| self.error(format!("look at job {id}"), error))?;
        let found = merge(queue, accounting).into_iter().find(|job| job.id == *id);
        match found {
            Some(job) if job.state.is_ended() && job.exit_code.is_none() => {
                Ok(Some(self.with_exit(job).await))
            }
            found => Ok(found),
        }
    }

    async fn queue(&self, job: Option<&JobId>) -> Result<Vec<JobFacts>, CommandError> {
        match self.repeat(&self.command(commands::queue(job))).await {
            Ok(output) => Ok(read_queue(&String::from_utf8_lossy(&output.stdout))),
            Err(CommandError::Exit { text, .. }) if words::is_unknown_job(&text) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The accounting may be away, or not be there at all, while the controller answers: nothing is known from it then.
    async fn accounted(&self, which: Accounted<'_>) -> Vec<JobFacts> {
        if !self.keeps_accounts() {
            return Vec::new();
        }
        match self.once(&self.command(commands::accounting(which))).await {
            Ok(output) => read_accounting(&String::from_utf8_lossy(&output.stdout)),
            Err(CommandError::Exit { text, .. }) if words::has_no_accounting(&text) => {
                self.lacks_accounting.store(true, Ordering::Relaxed);
                Vec::new()
            }
            Err(error) => {
                tracing::debug!(cluster = self.name, %error, "the accounting does not answer");
                Vec::new()
            }
        }
    }

    /// How a job ended, as the controller still remembers it.
    async fn with_exit(&self, mut job: JobFacts) -> JobFacts {
        match self.once(&self.command(commands::details(&job.id))).await {
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout);
                (job.exit_code, job.signal) = output::read_exit(&text, &job.state);
            }
            Err(error) => {
                tracing::debug!(cluster = self.name, job = %job.id, %error, "the job's exit code is not told");
            }
        }
        job
    }
}
