//! Load generators as jobs of their own, or in the server's job.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use firecrest_client::{Earlier, JobId, PendingReason, RemotePath, Sha256};
use gipfel_backend::{
    BackendError, BoxFuture, EnsureError, Failure, FailureReason, Handle, LoadRunner, RunStatus,
    unpack_database,
};
use gipfel_model::{
    DeploymentKind, LoadPlacement, Published, RunConfig, SlurmLoad, SlurmReach, Usage,
    published::PUBLISHED_FILE,
};

use super::{
    SlurmBackend,
    deployer::{forgotten, not_known_yet},
    detail::Detail,
    ending::{Ending, Standing, standing},
    failed, handle, not_submitted,
    outcome::{over, progress},
    place::{Place, attempts, mark, within},
    refused,
    watch::Known,
    whose::Whose,
    why,
};
use crate::{
    cluster::{
        FilePiece, JobFacts,
        offers::Asked,
        refusal::{JobRole, Refusal},
    },
    render::{self, BenchmarkerJob, QueuedRun},
};

/// A server that is ready has published its endpoint; a shared directory may be late to show it.
const ENDPOINT: Duration = Duration::from_mins(5);
/// What files that the load generator writes may have at most.
pub(super) const PROGRESS_BYTES: u64 = 4 << 20;
const SMALL: u64 = 1024;
pub(super) const LOG: &str = "benchmarker.log";
/// What the load generator reads.
const CONFIG: &str = "run_config.json";
pub(super) const PROGRESS: &str = "progress.json";
/// Runs that the server's job is to carry out.
const QUEUE: &str = "queue";
/// The file of a run in its server's job that names the server's directory.
pub(super) const SERVER: &str = "server";
/// A file by which the load generator is asked to leave.
const STOP: &str = "stop";

/// The last of the jobs of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marked {
    /// Its number, from 1; 0 for none.
    pub(super) attempt: u32,
    /// Its id; absent when its mark was taken in its place, so that it cannot come to life.
    pub(super) job: Option<JobId>,
}

impl SlurmBackend {
    async fn ensure_run(&self, config: &RunConfig, load: &LoadPlacement) -> Result<Handle, Box<EnsureError>> {
        let id = config.run_id.as_str();
        let refuse = |source| refused(id, source, FailureReason::LoadFailed);
        match load {
            LoadPlacement::Slurm(load) => self.ensure_job(config, load).await,
            LoadPlacement::SameJob => self.ensure_within(config).await.map_err(refuse),
            LoadPlacement::Local | LoadPlacement::InCluster(_) => {
                let message = format!("its place is `{}`, not a Slurm cluster", load.kind());
                let operation = format!("start the load generator of `{id}`");
                Err(refuse(BackendError::permanent(operation, message)))
            }
        }
    }

    async fn ensure_job(&self, config: &RunConfig, load: &SlurmLoad) -> Result<Handle, Box<EnsureError>> {
        let id = config.run_id.as_str();
        let refuse = |source| refused(id, source, FailureReason::LoadFailed);
        let (index, place) = self.place(&load.reach).map_err(refuse)?;
        let directory = place.directory(id).await.map_err(refuse)?;
        let marked = self.marked(place, &directory).await.map_err(refuse)?;
        if let Some(job) = &marked.job
            && self.lives(index, job).await.map_err(refuse)?
        {
            self.remember_server(config, job);
            let detail = detail(&load.reach, &directory, marked.attempt, job.clone());
            return Ok(handle(id, &detail));
        }
        let attempt = marked.attempt + 1;
        let program = place.store_load_generator().await.map_err(refuse)?;
        let deployment = place
            .directory(config.deployment_id.as_str())
            .await
            .map_err(refuse)?;
        let job = BenchmarkerJob {
            id: &config.run_id,
            campaign: &config.campaign_id,
            load,
            site: &place.site,
            directory: &directory,
            program: &program,
            attempt,
            endpoint_timeout: load.endpoint_timeout,
            deployment: (config.deployment == DeploymentKind::Slurm).then_some(&deployment),
        };
        let rendered = render::benchmarker(&job)
            .map_err(|error| refuse(BackendError::permanent(format!("write the job of `{id}`"), error)))?;
        let config = place.site.through_proxy(config.clone());
        self.write_run(place, &directory, &config).await.map_err(refuse)?;
        let request = self
            .prepare(
                place,
                &Whose::run(&config.campaign_id, id),
                &directory,
                rendered,
                attempt,
            )
            .await
            .map_err(refuse)?;
        let of = |job: JobId| detail(&load.reach, &directory, attempt, job);
        match place.cluster.submit(&request, Earlier::Never).await {
            Ok(job) => {
                self.forget_list(index);
                self.remember_server(&config, &job);
                Ok(handle(id, &of(job)))
            }
            Err(failure) => {
                let asked = Asked::of_load(place.cluster.name(), load);
                let failure = why::explained(place, &asked, failure).await;
                Err(not_submitted(id, failure, of, FailureReason::LoadFailed))
            }
        }
    }

    fn remember_server(&self, config: &RunConfig, job: &JobId) {
        if config.deployment == DeploymentKind::Slurm {
            let server = format!("gipfel-{}", config.deployment_id);
            self.memory().servers.insert(job.clone(), server);
        }
    }

    /// Why a load generator waits for ever: only so many jobs of the user may run at once, and its own server, which waits
    /// for it, is the only one.
    fn held_up(&self, index: usize, facts: &JobFacts) -> Option<Failure> {
        let Some(PendingReason::Limit(reason)) = &facts.waits else {
            return None;
        };
        let server = self.memory().servers.get(&facts.id).cloned()?;
        let running = self.running(index);
        let is_only = !running.is_empty() && running.iter().all(|name| name.starts_with(&server));
        let is_of_jobs = Refusal::of_text(reason) == Some(Refusal::RunningJobs);
        (is_only && is_of_jobs).then(|| why::held_up(facts, reason))
    }

    /// The run in the server's job, which looks for it in its queue.
    async fn ensure_within(&self, config: &RunConfig) -> Result<Handle, BackendError> {
        let id = config.run_id.as_str();
        let (place, deployment, job) = self.server_of(config).await?;
        let directory = place.directory(id).await?;
        let marked = self.marked(place, &directory).await?;
        let of = |attempt| Detail {
            within: Some(deployment.clone()),
            ..detail(&place.reach, &directory, attempt, job.clone())
        };
        let entry = within(&within(&deployment, QUEUE)?, id)?;
        let waits = place.cluster.stat(&entry).await.map_err(failed)?.is_some();
        let runs = marked.job.as_ref() == Some(&job) && !has_ended(place, &of(marked.attempt)).await?;
        if waits || runs {
            return Ok(handle(id, &of(marked.attempt.max(1))));
        }
        let attempt = marked.attempt + 1;
        let program = place.store_load_generator().await?;
        self.write_run(place, &directory, config).await?;
        place.note(&config.campaign_id, id).await?;
        place
            .sign(&directory, &Whose::run(&config.campaign_id, id))
            .await?;
        place
            .write(&within(&directory, SERVER)?, format!("{deployment}\n").as_bytes())
            .await?;
        let queued = render::queued_run(&QueuedRun {
            id: &config.run_id,
            site: &place.site,
            directory: &directory,
            attempt,
            program: &program,
            deployment: &deployment,
            endpoint_timeout: ENDPOINT,
        })
        .map_err(|error| BackendError::permanent(format!("write the run of `{id}`"), error))?;
        place.make_directory(&within(&deployment, QUEUE)?).await?;
        place
            .write_with(&entry, queued.content.as_bytes(), queued.mode)
            .await?;
        Ok(handle(id, &of(attempt)))
    }

    /// The cluster, directory and job of a run's server.
    pub(super) async fn server_of(
        &self,
        config: &RunConfig,
    ) -> Result<(&Place, RemotePath, JobId), BackendError> {
        for place in &self.places {
            let directory = place.directory(config.deployment_id.as_str()).await?;
            if let Some(job) = self.marked(place, &directory).await?.job {
                return Ok((place, directory, job));
            }
        }
        Err(BackendError::permanent(
            format!("find the job of the server `{}`", config.deployment_id),
            "no job has left its mark there",
        ))
    }

    /// What the load generator reads; what an earlier attempt has said of itself is taken away.
    async fn write_run(
        &self,
        place: &Place,
        directory: &RemotePath,
        config: &RunConfig,
    ) -> Result<(), BackendError> {
        let operation = || format!("write the configuration of `{}`", config.run_id);
        place.make_directory(directory).await?;
        for name in [STOP, PROGRESS, "ended.txt"] {
            place
                .cluster
                .remove(&within(directory, name)?)
                .await
                .map_err(failed)?;
        }
        let text =
            serde_json::to_vec_pretty(config).map_err(|error| BackendError::permanent(operation(), error))?;
        place.write(&within(directory, CONFIG)?, &text).await
    }

    /// The last mark in a directory.
    pub(super) async fn marked(&self, place: &Place, directory: &RemotePath) -> Result<Marked, BackendError> {
        let names = place
            .cluster
            .list(directory)
            .await
            .map_err(failed)?
            .unwrap_or_default();
        let attempt = attempts(&names);
        if attempt == 0 {
            return Ok(Marked::default());
        }
        let path = mark(directory, attempt)?;
        let text = place.text(path.path(), SMALL).await?.unwrap_or_default();
        let job = JobId::try_new(text).ok();
        Ok(Marked { attempt, job })
    }

    /// Whether a job may live; one of which Slurm knows nothing does not.
    pub(super) async fn lives(&self, index: usize, job: &JobId) -> Result<bool, BackendError> {
        Ok(match self.known(index, job).await? {
            Known::Facts(facts) => !matches!(standing(&facts), Standing::Over(_)),
            Known::NotYet | Known::Gone => false,
        })
    }

    async fn observe_run(&self, handle: &Handle) -> Result<RunStatus, BackendError> {
        let (index, place, detail) = self.job_of(handle)?;
        let (standing, facts) = match self.known(index, &detail.job).await? {
            Known::Facts(facts) => (standing(&facts), Some(facts)),
            // Slurm without accounts forgets a job some minutes after its end: its own last word tells that it is over.
            Known::NotYet if detail.within.is_some() || !has_ended(place, &detail).await? => {
                return Err(not_known_yet(handle, &detail));
            }
            Known::NotYet | Known::Gone => (Standing::Over(forgotten()), None),
        };
        // In this order: what a job that is over has written is final.
        let progress = progress(place, &detail).await?.map(Box::new);
        let ended_within = detail.within.is_some() && has_ended(place, &detail).await?;
        match standing {
            Standing::Queued => match facts.as_ref().and_then(|facts| self.held_up(index, facts)) {
                Some(failure) => {
                    place.cluster.cancel(&detail.job).await.map_err(failed)?;
                    Ok(RunStatus::Failed(failure))
                }
                None => Ok(RunStatus::Queued),
            },
            Standing::Never(reason) => {
                place.cluster.cancel(&detail.job).await.map_err(failed)?;
                // The load generator in the server's job waits with that.
                let role = match detail.within {
                    Some(_) => JobRole::Server,
                    None => JobRole::Load,
                };
                Ok(RunStatus::Failed(
                    why::never(place, role, &detail.job, facts.as_deref(), &reason).await,
                ))
            }
            Standing::Runs if ended_within => {
                let words = "goes on, but the load generator in it has ended".to_owned();
                let ending = Ending {
                    reason: None,
                    by_slurm: false,
                    words,
                };
                over(place, &detail, progress, ending).await
            }
            Standing::Runs => Ok(RunStatus::Running(progress)),
            Standing::Over(ending) => over(place, &detail, progress, ending).await,
        }
    }

    async fn fetch_run(&self, handle: &Handle, directory: &Path) -> Result<PathBuf, BackendError> {
        let operation = || format!("fetch the database of `{}`", handle.name);
        let (_, place, detail) = self.job_of(handle)?;
        let path = within(&detail.directory, PUBLISHED_FILE)?;
        let manifest = place.cluster.read(&path, PROGRESS_BYTES).await.map_err(failed)?;
        let manifest = manifest.ok_or_else(|| {
            BackendError::permanent(operation(), "the load generator has published nothing")
        })?;
        let manifest =
            Published::parse(&manifest).map_err(|error| BackendError::transient(operation(), error))?;
        let sum = |text: &str| {
            text.parse::<Sha256>()
                .map_err(|error| BackendError::permanent(operation(), error))
        };
        let piece = |piece: &gipfel_model::published::Piece| {
            Ok(FilePiece {
                path: within(&detail.directory, &piece.name)?,
                sha256: sum(&piece.sha256)?,
            })
        };
        let pieces: Vec<FilePiece> = manifest
            .pieces
            .iter()
            .map(piece)
            .collect::<Result<_, BackendError>>()?;
        let packed = directory.join(format!("run_{}.db.gz", handle.name));
        let fetched = place
            .cluster
            .fetch(&pieces, sum(&manifest.sha256)?, &packed)
            .await;
        fetched.map_err(failed)?;
        let database = directory.join(format!("run_{}.db", handle.name));
        unpack_database(&packed, &database).map_err(|error| BackendError::permanent(operation(), error))?;
        Ok(database)
    }

    async fn stop_run(&self, handle: &Handle) -> Result<(), BackendError> {
        let (index, place, detail) = self.job_of(handle)?;
        place.write(&within(&detail.directory, STOP)?, b"stop\n").await?;
        // One that has no node yet reads nothing, and has nothing to publish.
        if detail.within.is_none()
            && let Known::Facts(facts) = self.known(index, &detail.job).await?
            && standing(&facts) == Standing::Queued
        {
            place.cluster.cancel(&detail.job).await.map_err(failed)?;
        }
        self.forget_list(index);
        Ok(())
    }

    /// Ends the load generator; the server's job goes on when it is in it.
    async fn end_run(&self, handle: &Handle) -> Result<(), BackendError> {
        let (index, place, detail) = self.job_of(handle)?;
        let Some(deployment) = &detail.within else {
            return self.end_job(handle).await;
        };
        let entry = within(&within(deployment, QUEUE)?, &handle.name)?;
        place.cluster.remove(&entry).await.map_err(failed)?;
        self.stop_run(handle).await?;
        if has_ended(place, &detail).await? || !self.lives(index, &detail.job).await? {
            return Ok(());
        }
        let operation = format!("end the load generator of `{}`", handle.name);
        Err(BackendError::transient(
            operation,
            "it was asked to leave and has not yet",
        ))
    }
}

fn detail(reach: &SlurmReach, directory: &RemotePath, attempt: u32, job: JobId) -> Detail {
    Detail {
        reach: reach.clone(),
        job,
        directory: directory.clone(),
        attempt,
        within: None,
    }
}

pub(super) async fn has_ended(place: &Place, detail: &Detail) -> Result<bool, BackendError> {
    let path = within(&detail.directory, "ended.txt")?;
    Ok(place.cluster.stat(&path).await.map_err(failed)?.is_some())
}

impl LoadRunner for SlurmBackend {
    fn ensure<'a>(
        &'a self,
        config: &'a RunConfig,
        load: &'a LoadPlacement,
    ) -> BoxFuture<'a, Result<Handle, EnsureError>> {
        Box::pin(async move { self.ensure_run(config, load).await.map_err(|error| *error) })
    }

    fn observe<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<RunStatus, BackendError>> {
        Box::pin(self.observe_run(handle))
    }

    fn fetch<'a>(
        &'a self,
        handle: &'a Handle,
        directory: &'a Path,
    ) -> BoxFuture<'a, Result<PathBuf, BackendError>> {
        Box::pin(self.fetch_run(handle, directory))
    }

    fn stop<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<(), BackendError>> {
        Box::pin(self.stop_run(handle))
    }

    fn logs<'a>(&'a self, handle: &'a Handle, lines: usize) -> BoxFuture<'a, Result<String, BackendError>> {
        Box::pin(self.read_log(handle, LOG, lines))
    }

    fn end<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<(), BackendError>> {
        Box::pin(self.end_run(handle))
    }

    fn usage<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<Option<Usage>, BackendError>> {
        Box::pin(self.usage_of(handle, CONFIG))
    }
}
