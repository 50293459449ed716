//! Servers as jobs.

use std::time::{Duration, Instant};

use firecrest_client::{Earlier, JobId, RemotePath};
use gipfel_backend::{
    BackendError, BoxFuture, Deployer, DeploymentStatus, EnsureError, Failure, FailureReason, Handle,
    cause_by_log, load_steps_by_log,
};
use gipfel_model::{
    CampaignId, DeploymentId, DeploymentSpec, EndpointSpec, Provenance, Usage, deployment::Placement,
};

use super::{
    Ready, SlurmBackend,
    detail::Detail,
    ending::{Ending, Standing, standing},
    failed, handle, not_submitted,
    place::{Place, mark, within},
    refused,
    runner::has_ended,
    usage,
    watch::Known,
    whose::Whose,
    why,
};
use crate::{
    cluster::{JobFacts, JobRequest, offers::Asked, refusal::JobRole},
    render::{self, RenderedJob, ServerJob},
};

/// How much of a log is looked at.
const LOG_BYTES: u64 = 64 * 1024;
/// What an engine writes until it answers is mostly less.
const START_BYTES: u64 = 512 * 1024;
/// The lines of a log in a failure.
const TAIL_LINES: usize = 30;
/// What the first rank of the engine writes.
const ENGINE_LOG: &str = "rank-0.log";
/// What the job's script writes.
const JOB_LOG: &str = "server.log";
/// `endpoint.txt` holds one URL.
const ENDPOINT_BYTES: u64 = 1024;
/// A job that is cancelled gets 30 seconds from Slurm, and its node a moment.
const END: Duration = Duration::from_secs(90);
const END_PAUSE: Duration = Duration::from_secs(2);

impl SlurmBackend {
    async fn ensure_server(
        &self,
        campaign: &CampaignId,
        id: &DeploymentId,
        spec: &DeploymentSpec,
    ) -> Result<Handle, Box<EnsureError>> {
        let refuse = |source| refused(id.as_str(), source, FailureReason::ServerFailed);
        let Placement::Slurm(slurm) = &spec.placement else {
            let message = format!("its place is `{}`, not a Slurm cluster", spec.placement.kind());
            return Err(refuse(BackendError::permanent(
                format!("start the server `{id}`"),
                message,
            )));
        };
        let (index, place) = self.place(&slurm.reach).map_err(refuse)?;
        let directory = place.directory(id.as_str()).await.map_err(refuse)?;
        let marked = self.marked(place, &directory).await.map_err(refuse)?;
        let detail = |attempt: u32, job: JobId| Detail {
            reach: slurm.reach.clone(),
            job,
            directory: directory.clone(),
            attempt,
            within: None,
        };
        // A server has one life: who ends has ended.
        if let Some(job) = marked.job {
            return Ok(handle(id.as_str(), &detail(marked.attempt, job)));
        }
        let attempt = marked.attempt + 1;
        let job = ServerJob {
            id,
            campaign,
            spec,
            slurm,
            site: &place.site,
            directory: &directory,
            attempt,
        };
        let rendered = render::server(&job)
            .map_err(|error| refuse(BackendError::permanent(format!("write the job of `{id}`"), error)))?;
        let whose = Whose::server(campaign, id.as_str(), spec, self.kept.contains(id));
        let request = self
            .prepare(place, &whose, &directory, rendered, attempt)
            .await
            .map_err(refuse)?;
        match place.cluster.submit(&request, Earlier::Never).await {
            Ok(job) => {
                self.forget_list(index);
                Ok(handle(id.as_str(), &detail(attempt, job)))
            }
            Err(failure) => {
                let asked = Asked::of_server(place.cluster.name(), spec, slurm, &place.site);
                Err(not_submitted(
                    id.as_str(),
                    why::explained(place, &asked, failure).await,
                    |job| detail(attempt, job),
                    FailureReason::ServerFailed,
                ))
            }
        }
    }

    /// Writes down whose it is, then its files, and gives what is to be submitted.
    pub(super) async fn prepare(
        &self,
        place: &Place,
        whose: &Whose,
        directory: &RemotePath,
        rendered: RenderedJob,
        attempt: u32,
    ) -> Result<JobRequest, BackendError> {
        place.note(&whose.campaign, &whose.id).await?;
        place.make_directory(directory).await?;
        place.sign(directory, whose).await?;
        for file in &rendered.files {
            place
                .write_with(
                    &within(directory, &file.name)?,
                    file.content.as_bytes(),
                    file.mode,
                )
                .await?;
        }
        Ok(JobRequest {
            name: rendered.name,
            mark: mark(directory, attempt)?,
            directory: directory.clone(),
            script: rendered.script,
        })
    }

    async fn observe_server(&self, handle: &Handle) -> Result<DeploymentStatus, BackendError> {
        let (index, place, detail) = self.job_of(handle)?;
        let facts = match self.known(index, &detail.job).await? {
            Known::Facts(facts) => facts,
            // Slurm without accounts forgets a job some minutes after its end: its own last word tells that it is over.
            Known::NotYet if !has_ended(place, &detail).await? => {
                return Err(not_known_yet(handle, &detail));
            }
            Known::NotYet | Known::Gone => {
                let failure = server_failure(&handle.name, place, &detail, forgotten()).await?;
                return Ok(DeploymentStatus::Ended(failure));
            }
        };
        Ok(match standing(&facts) {
            Standing::Queued => DeploymentStatus::Queued,
            Standing::Never(reason) => {
                place.cluster.cancel(&detail.job).await.map_err(failed)?;
                DeploymentStatus::Ended(
                    why::never(place, JobRole::Server, &detail.job, Some(&facts), &reason).await,
                )
            }
            Standing::Runs => self.server_that_runs(handle, place, &detail, &facts).await?,
            Standing::Over(ending) => {
                DeploymentStatus::Ended(server_failure(&handle.name, place, &detail, ending).await?)
            }
        })
    }

    async fn server_that_runs(
        &self,
        handle: &Handle,
        place: &Place,
        detail: &Detail,
        facts: &JobFacts,
    ) -> Result<DeploymentStatus, BackendError> {
        let key = detail.directory.to_string();
        let known = self.memory().ready.get(&key).cloned();
        let ready = if let Some(known) = known {
            known
        } else {
            let path = within(&detail.directory, "endpoint.txt")?;
            let text = place.text(&path, ENDPOINT_BYTES).await?.unwrap_or_default();
            // An upload that is being written is read again.
            let Some(url) = text.lines().next().filter(|url| url.starts_with("http://")) else {
                return Ok(DeploymentStatus::Starting);
            };
            let file = place.cluster.stat(&path).await.map_err(failed)?;
            let found = Ready {
                url: url.to_owned(),
                load_time: file.and_then(|file| usage::until(facts, &file)),
                load_steps: load_steps(place, detail, handle).await?,
            };
            self.memory().ready.insert(key, found.clone());
            found
        };
        let mut provenance = Provenance::default();
        provenance.set(Provenance::SERVER_NODES, facts.nodes.join(","));
        provenance.set(Provenance::SERVER_JOB, detail.job.to_string());
        provenance.set(Provenance::SERVER_LOAD_STEPS, ready.load_steps);
        Ok(DeploymentStatus::Ready {
            endpoint: EndpointSpec::new(&ready.url),
            provenance,
            load_time: ready.load_time,
        })
    }

    /// Cancels a job and waits until nothing of it lives.
    pub(super) async fn end_job(&self, handle: &Handle) -> Result<(), BackendError> {
        let (index, place, detail) = self.job_of(handle)?;
        place.cluster.cancel(&detail.job).await.map_err(failed)?;
        let give_up = Instant::now() + END;
        loop {
            self.forget_list(index);
            match self.known(index, &detail.job).await? {
                Known::Facts(facts) if matches!(standing(&facts), Standing::Over(_)) => return Ok(()),
                // Slurm forgets none that lives.
                Known::Gone => return Ok(()),
                Known::NotYet if has_ended(place, &detail).await? => return Ok(()),
                Known::Facts(_) | Known::NotYet => {}
            }
            if Instant::now() > give_up {
                return Err(BackendError::transient(
                    format!("end the job {} of `{}`", detail.job, handle.name),
                    "it was cancelled and lives still",
                ));
            }
            tokio::time::sleep(END_PAUSE).await;
        }
    }

    /// The last lines of a log in the object's directory.
    pub(super) async fn read_log(
        &self,
        handle: &Handle,
        name: &str,
        lines: usize,
    ) -> Result<String, BackendError> {
        let (_, place, detail) = self.job_of(handle)?;
        let log = place
            .cluster
            .tail(&within(&detail.directory, name)?, LOG_BYTES)
            .await;
        Ok(last_lines(&log.map_err(failed)?.unwrap_or_default(), lines))
    }
}

/// How long the steps of its start took, by the engine's own word, as JSON; empty where it says nothing.
async fn load_steps(place: &Place, detail: &Detail, handle: &Handle) -> Result<String, BackendError> {
    let path = within(&detail.directory, ENGINE_LOG)?;
    let log = place.cluster.tail(&path, START_BYTES).await.map_err(failed)?;
    Ok(load_steps_by_log(&handle.name, &log.unwrap_or_default()))
}

/// Why a server is gone, by Slurm's word, its own and its log.
async fn server_failure(
    id: &str,
    place: &Place,
    detail: &Detail,
    ending: Ending,
) -> Result<Failure, BackendError> {
    let tail = async |name: &str| {
        let path = within(&detail.directory, name)?;
        let text = place.cluster.tail(&path, LOG_BYTES).await.map_err(failed)?;
        Ok::<_, BackendError>(text.unwrap_or_default())
    };
    let (engine_log, job_log) = (tail(ENGINE_LOG).await?, tail(JOB_LOG).await?);
    let ended = place
        .text(&within(&detail.directory, "ended.txt")?, ENDPOINT_BYTES)
        .await?;
    let log = format!("{engine_log}{job_log}");
    let finding = cause_by_log(id, &log);
    let said = finding
        .as_ref()
        .map_or_else(String::new, |finding| format!("; its log says: {}", finding.line));
    // Its first word is the exit code, which Slurm tells as well.
    let own = ended.as_deref().and_then(|text| text.split_once(' '));
    let own = own.map_or_else(String::new, |(_, what)| format!(" ({what})"));
    let message = format!("the server's job {} {}{own}{said}", detail.job, ending.words);
    let told = finding.map(|finding| finding.reason.into());
    Ok(Failure {
        reason: ending.reason.or(told).unwrap_or(FailureReason::ServerFailed),
        message,
        // The job's own words matter where the engine has said nothing.
        log_tail: last_lines(
            if engine_log.trim().is_empty() {
                &job_log
            } else {
                &engine_log
            },
            TAIL_LINES,
        ),
    })
}

pub(super) fn not_known_yet(handle: &Handle, detail: &Detail) -> BackendError {
    BackendError::transient(
        format!("observe the job {} of `{}`", detail.job, handle.name),
        "Slurm does not know it yet, or its accounting is away",
    )
}

/// The ending of a job of which Slurm knows nothing any more.
pub(super) fn forgotten() -> Ending {
    Ending {
        reason: None,
        by_slurm: false,
        words: "is one that Slurm no longer knows".to_owned(),
    }
}

pub(super) fn last_lines(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

impl Deployer for SlurmBackend {
    fn ensure<'a>(
        &'a self,
        campaign: &'a CampaignId,
        id: &'a DeploymentId,
        spec: &'a DeploymentSpec,
    ) -> BoxFuture<'a, Result<Handle, EnsureError>> {
        Box::pin(async move {
            let ensured = self.ensure_server(campaign, id, spec).await;
            ensured.map_err(|error| *error)
        })
    }

    fn observe<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<DeploymentStatus, BackendError>> {
        Box::pin(self.observe_server(handle))
    }

    fn logs<'a>(&'a self, handle: &'a Handle, lines: usize) -> BoxFuture<'a, Result<String, BackendError>> {
        Box::pin(self.read_log(handle, ENGINE_LOG, lines))
    }

    fn end<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<(), BackendError>> {
        Box::pin(self.end_job(handle))
    }

    fn usage<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<Option<Usage>, BackendError>> {
        Box::pin(self.usage_of(handle, render::RANK_SCRIPT))
    }
}
