//! Load generators.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use gipfel_backend::{
    BackendError, BoxFuture, Effect, EnsureError, Failure, FailureReason, Handle, LoadRunner, RunStatus,
};
use gipfel_model::{FormatHeader, LoadPlacement, Progress, RunConfig, RunState, progress::PROGRESS_FORMAT};
use serde::Deserialize;

use crate::{LocalBackend, deployer::Facts, files, launch, machine::Log, mark::Mark, process, refusal};

/// The lines of a log in a failure.
const TAIL_LINES: usize = 30;

/// Only the header of a file, of whatever version.
#[derive(Deserialize)]
struct Versioned {
    header: FormatHeader,
}

impl LocalBackend {
    async fn ensure_run(&self, config: &RunConfig) -> Result<Handle, Box<EnsureError>> {
        let id = config.run_id.as_str();
        let operation = || format!("start the load generator of `{id}` on this machine");
        let refuse = |effect, source| refusal(id, effect, FailureReason::LoadFailed, source);
        let failed =
            |error: io::Error| refuse(Effect::NotStarted, BackendError::transient(operation(), error));
        let marks = self.marks(id).await?;
        if let Some(mark) = marks.started
            && self
                .machine
                .lives(id, &mark)
                .map_err(|source| refuse(Effect::Unknown, source))?
        {
            return Ok(self.machine.handle(id, &mark));
        }
        let program = self.load_generator.as_ref().unwrap_or(&self.gipfel);
        let program = program.to_string_lossy().into_owned();
        if !launch::is_runnable(&program, &[]) {
            let source =
                BackendError::permanent(operation(), format!("`{program}` is no program that can be run"));
            return Err(refusal(
                id,
                Effect::NotStarted,
                FailureReason::CommandNotFound,
                source,
            ));
        }
        let directory = self.machine.make_directory(id).map_err(failed)?;
        let path = directory.join("run_config.json");
        let text = serde_json::to_vec_pretty(config).map_err(|error| failed(error.into()))?;
        files::replace(&path, &text).map_err(failed)?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut command = vec![program];
        if self.load_generator.is_none() {
            command.push("loadgen".to_owned());
        }
        command.extend([
            "--config".to_owned(),
            text(&path),
            "--directory".to_owned(),
            text(&directory),
            // Not what a Slurm job around us says of its own tasks.
            "--of".to_owned(),
            "1".to_owned(),
        ]);
        let number = marks.highest + 1;
        let campaign = &config.campaign_id;
        let facts = Facts {
            number,
            campaign,
            backend: None,
            port: None,
            log: Log::Benchmarker,
        };
        let mark = self
            .start(id, &facts, &command, &[], FailureReason::LoadFailed)
            .await?;
        Ok(self.machine.handle(id, &mark))
    }

    async fn observe_run(&self, handle: &Handle) -> Result<RunStatus, BackendError> {
        let (detail, mark) = self.machine.mark(handle)?;
        let Some(mark) = mark else {
            let status = process::status(&detail.leader).map_err(|error| {
                BackendError::transient(format!("observe the run `{}`", handle.name), error)
            })?;
            return Ok(if status == process::Status::Lives {
                RunStatus::Running(None)
            } else {
                let message = format!("process {} is gone and left no mark", detail.leader.pid);
                RunStatus::Failed(self.load_failure(handle, FailureReason::LoadFailed, message, 0)?)
            });
        };
        // In this order: what a process that is gone has written is final.
        let lives = self.machine.lives(&handle.name, &mark)?;
        let progress = self.progress(handle, &mark)?.map(Box::new);
        if lives {
            return Ok(RunStatus::Running(progress));
        }
        self.machine.end_leftovers(handle).await?;
        let from = mark.attempt.log_from;
        Ok(match progress.as_ref().map(|progress| progress.state) {
            Some(RunState::Completed) => RunStatus::Completed(progress),
            Some(RunState::Stopped) => RunStatus::Stopped(progress),
            Some(RunState::Failed) => {
                let error = progress.and_then(|progress| progress.error);
                let message =
                    error.unwrap_or_else(|| "the load generator gave up and does not say why".to_owned());
                RunStatus::Failed(self.load_failure(handle, FailureReason::LoadFailed, message, from)?)
            }
            Some(RunState::Waiting | RunState::Running) | None => {
                let (reason, what) = if self.machine.was_ended_by_us(handle, &mark) {
                    (
                        FailureReason::Cancelled,
                        "the load generator was ended on request",
                    )
                } else {
                    (FailureReason::LoadFailed, "the load generator died")
                };
                let message = format!("{what}; {}", self.machine.ending(&mark));
                RunStatus::Failed(self.load_failure(handle, reason, message, from)?)
            }
        })
    }

    fn load_failure(
        &self,
        handle: &Handle,
        reason: FailureReason,
        message: String,
        log_from: u64,
    ) -> Result<Failure, BackendError> {
        let log = self.machine.log_of(handle, Log::Benchmarker, log_from);
        let log = log
            .map_err(|error| BackendError::transient(format!("read the log of `{}`", handle.name), error))?;
        Ok(Failure {
            reason,
            message,
            log_tail: files::last_lines(&log, TAIL_LINES),
        })
    }

    /// The progress that this attempt has written; that of an earlier one does not count.
    fn progress(&self, handle: &Handle, mark: &Mark) -> Result<Option<Progress>, BackendError> {
        let path = self.machine.directory_of(handle).join("progress.json");
        let operation = || format!("read {}", path.display());
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(BackendError::transient(operation(), error)),
        };
        let permanent = |error: serde_json::Error| BackendError::permanent(operation(), error);
        let Versioned { header } = serde_json::from_slice(&text).map_err(permanent)?;
        PROGRESS_FORMAT
            .check(&header)
            .map_err(|error| BackendError::permanent(operation(), error))?;
        let progress: Progress = serde_json::from_slice(&text).map_err(permanent)?;
        Ok((progress.pid == mark.leader.pid).then_some(progress))
    }

    /// Copies the database to where it is wanted, with what its journal holds and the database not yet.
    fn fetch_run(&self, handle: &Handle, directory: &Path) -> Result<PathBuf, BackendError> {
        let operation = || format!("fetch the database of `{}`", handle.name);
        let failed = |error: io::Error| BackendError::permanent(operation(), error);
        let own = self.machine.directory_of(handle);
        let name = format!("run_{}.db", handle.name);
        let source = own.join(&name);
        if !source.try_exists().map_err(failed)? {
            return Err(BackendError::permanent(
                operation(),
                format!("there is no {}", source.display()),
            ));
        }
        fs::create_dir_all(directory).map_err(failed)?;
        if own.canonicalize().map_err(failed)? == directory.canonicalize().map_err(failed)? {
            return Ok(directory.join(name));
        }
        let (_, mark) = self.machine.mark(handle)?;
        if let Some(mark) = mark
            && self.machine.lives(&handle.name, &mark)?
        {
            return Err(BackendError::transient(
                operation(),
                "the load generator still writes to it",
            ));
        }
        // The journal first: a database without it would be older than what was measured, and look whole.
        for suffix in ["-wal", ""] {
            let from = own.join(format!("{name}{suffix}"));
            let to = directory.join(format!("{name}{suffix}"));
            let temporary = directory.join(format!(".{name}{suffix}.copy"));
            if from.try_exists().map_err(failed)? {
                fs::copy(&from, &temporary)
                    .and_then(|_| fs::rename(&temporary, &to))
                    .map_err(failed)?;
            } else if to.try_exists().map_err(failed)? {
                fs::remove_file(&to).map_err(failed)?;
            }
        }
        Ok(directory.join(name))
    }
}

impl LoadRunner for LocalBackend {
    fn ensure<'a>(
        &'a self,
        config: &'a RunConfig,
        _: &'a LoadPlacement,
    ) -> BoxFuture<'a, Result<Handle, EnsureError>> {
        Box::pin(async move { self.ensure_run(config).await.map_err(|error| *error) })
    }

    fn observe<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<RunStatus, BackendError>> {
        Box::pin(self.observe_run(handle))
    }

    fn fetch<'a>(
        &'a self,
        handle: &'a Handle,
        directory: &'a Path,
    ) -> BoxFuture<'a, Result<PathBuf, BackendError>> {
        Box::pin(async move { self.fetch_run(handle, directory) })
    }

    fn stop<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<(), BackendError>> {
        Box::pin(async move { self.machine.ask_to_end(handle) })
    }

    fn logs<'a>(&'a self, handle: &'a Handle, lines: usize) -> BoxFuture<'a, Result<String, BackendError>> {
        Box::pin(async move { self.machine.logs(handle, Log::Benchmarker, lines) })
    }

    fn end<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<(), BackendError>> {
        Box::pin(self.machine.end(handle))
    }
}
