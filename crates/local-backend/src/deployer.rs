//! Servers.

use std::io;

use gipfel_backend::{
    BackendError, BoxFuture, Deployer, DeploymentStatus, Effect, EnsureError, Failure, FailureReason, Handle,
};
use gipfel_engine::{Engine, engine};
use gipfel_model::{
    BackendKind, CampaignId, DeploymentId, DeploymentSpec, EndpointSpec, LocalSpec, Provenance,
    deployment::Placement,
};

use crate::{
    LocalBackend, files,
    launch::{self, Launch, LaunchError},
    machine::{Log, host},
    mark::{self, Attempt, Mark, Marks},
    port,
    probe::{Probe, ProbeError, lists_a_model},
    process, refusal,
};

/// Servers listen here only: a benchmark's server is nobody else's.
const HOST: &str = "127.0.0.1";

/// The lines of a log in a failure.
const TAIL_LINES: usize = 30;

/// The place of the running executable in an engine's command.
const GIPFEL_PLACE: &str = "{gipfel}";

impl LocalBackend {
    /// The command that starts a server on this port, as `ensure` will run it.
    pub fn command(
        &self,
        spec: &DeploymentSpec,
        local: &LocalSpec,
        port: u16,
    ) -> Result<Vec<String>, BackendError> {
        let operation = || format!("make the command of `{}`", spec.backend);
        let command = engine(spec.backend).command(spec, local, HOST, port);
        let command = command.map_err(|error| BackendError::permanent(operation(), error))?;
        let mut command = command.ok_or_else(|| {
            let message = format!(
                "`{}` has no command of its own: give it by `command`",
                spec.backend
            );
            BackendError::permanent(operation(), message)
        })?;
        if let Some(program) = command.first_mut().filter(|program| *program == GIPFEL_PLACE) {
            *program = self.gipfel.to_string_lossy().into_owned();
        }
        Ok(command)
    }

    async fn ensure_deployment(
        &self,
        campaign: &CampaignId,
        id: &str,
        spec: &DeploymentSpec,
    ) -> Result<Handle, Box<EnsureError>> {
        let operation = || format!("start the server `{id}` on this machine");
        let refuse = |reason, source| refusal(id, Effect::NotStarted, reason, source);
        let failed = |error| {
            refuse(
                FailureReason::ServerFailed,
                BackendError::transient(operation(), error),
            )
        };
        let permanent =
            |reason, message: String| refuse(reason, BackendError::permanent(operation(), message));
        let Placement::Local(local) = &spec.placement else {
            let message = format!("its place is `{}`, not this machine", spec.placement.kind());
            return Err(permanent(FailureReason::ServerFailed, message));
        };
        let marks = self.marks(id).await?;
        if let Some(mark) = marks.started {
            return Ok(self.machine.handle(id, &mark));
        }
        let port = match local.port {
            0 => port::pick(&mut self.memory().ports).map_err(failed)?,
            port => port,
        };
        let command = self
            .command(spec, local, port)
            .map_err(|source| refuse(FailureReason::CommandNotFound, source))?;
        let mut environment = engine(spec.backend).environment(HOST, port);
        environment.extend(
            local
                .environment
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        if !launch::is_runnable(&command[0], &environment) {
            let message = format!("`{}` is no program in PATH that can be run", command[0]);
            return Err(permanent(FailureReason::CommandNotFound, message));
        }
        if port::is_taken(port).map_err(failed)? {
            // It may be this very server, started meanwhile by another gipfel.
            if let Some(mark) = self.marks(id).await?.started {
                return Ok(self.machine.handle(id, &mark));
            }
            let message =
                format!("port {port} is taken by another process; choose another, or 0 for a free one");
            return Err(permanent(FailureReason::PortTaken, message));
        }
        let number = marks.highest + 1;
        let facts = Facts {
            number,
            campaign,
            backend: Some(spec.backend),
            port: Some(port),
            log: Log::Server,
        };
        let mark = self
            .start(id, &facts, &command, &environment, FailureReason::ServerFailed)
            .await?;
        Ok(self.machine.handle(id, &mark))
    }

    /// The marks of a name. Whoever starts the next attempt takes the number from the very marks that showed that
    /// nothing lives: then of two starts at once only one succeeds.
    pub(crate) async fn marks(&self, id: &str) -> Result<Marks, Box<EnsureError>> {
        mark::read_settled(&self.machine.directory(id), id)
            .await
            .map_err(|error| {
                let source = BackendError::transient(format!("look for `{id}`"), error);
                refusal(id, Effect::Unknown, FailureReason::ServerFailed, source)
            })
    }

    /// Starts an attempt of a name.
    pub(crate) async fn start(
        &self,
        id: &str,
        facts: &Facts<'_>,
        command: &[String],
        environment: &[(String, String)],
        reason: FailureReason,
    ) -> Result<Mark, Box<EnsureError>> {
        let operation = || format!("start `{id}` on this machine");
        let failed = |error: io::Error| {
            refusal(
                id,
                Effect::NotStarted,
                reason,
                BackendError::transient(operation(), error),
            )
        };
        let directory = self.machine.make_directory(id).map_err(failed)?;
        let log = directory.join(facts.log.name());
        let launch = Launch {
            directory: &directory,
            log: &log,
            id,
            number: facts.number,
            attempt: Attempt {
                campaign: facts.campaign.clone(),
                backend: facts.backend,
                port: facts.port,
                host: host(),
                boot: process::boot().map_err(failed)?,
                log_from: launch::length(&log),
            },
            command,
            environment,
        };
        launch::launch(&self.machine.children, &launch)
            .await
            .map_err(|error| {
                let effect = match &error {
                    LaunchError::Spawn(_)
                    | LaunchError::Shell(_)
                    | LaunchError::Settled
                    | LaunchError::Opening(_) => Effect::NotStarted,
                    LaunchError::Mark(_) | LaunchError::Unmarked => Effect::Unknown,
                };
                refusal(id, effect, reason, BackendError::transient(operation(), error))
            })
    }

    async fn observe_deployment(&self, handle: &Handle) -> Result<DeploymentStatus, BackendError> {
        let operation = || format!("observe the server `{}`", handle.name);
        let (detail, mark) = self.machine.mark(handle)?;
        let Some(mark) = mark else {
            // Found by its environment: its shell has not made its mark yet, or the mark's file was removed.
            let status = process::status(&detail.leader)
                .map_err(|error| BackendError::transient(operation(), error))?;
            return Ok(if status == process::Status::Lives {
                DeploymentStatus::Starting
            } else {
                self.machine.end_leftovers(handle).await?;
                let message = format!("process {} is gone and left no mark", detail.leader.pid);
                DeploymentStatus::Ended(Failure {
                    reason: FailureReason::ServerFailed,
                    message,
                    log_tail: self.machine.logs(handle, Log::Server, TAIL_LINES)?,
                })
            });
        };
        let (Some(kind), Some(port)) = (mark.attempt.backend, mark.attempt.port) else {
            return Err(BackendError::permanent(
                operation(),
                "its mark names no engine: it is no server",
            ));
        };
        if !self.machine.lives(&handle.name, &mark)? {
            self.machine.end_leftovers(handle).await?;
            return Ok(DeploymentStatus::Ended(self.failure(handle, &mark, kind)?));
        }
        let endpoint = EndpointSpec::new(&format!("http://{HOST}:{port}"));
        let known = self.memory().ready.get(&handle.detail).cloned();
        let provenance = match known {
            // A server under load may be slow to say that it is healthy; that it lives is enough.
            Some(provenance) => Some(provenance),
            None => probe(engine(kind), &endpoint)
                .await
                .map_err(|error| BackendError::permanent(operation(), error))?,
        };
        Ok(match provenance {
            Some(provenance) => {
                self.memory()
                    .ready
                    .insert(handle.detail.clone(), provenance.clone());
                DeploymentStatus::Ready {
                    endpoint,
                    provenance,
                    load_time: None,
                }
            }
            None => DeploymentStatus::Starting,
        })
    }

    /// Why a server that is gone has ended.
    fn failure(&self, handle: &Handle, mark: &Mark, kind: BackendKind) -> Result<Failure, BackendError> {
        let log = self.machine.log_of(handle, Log::Server, mark.attempt.log_from);
        let log = log
            .map_err(|error| BackendError::transient(format!("read the log of `{}`", handle.name), error))?;
        let log_tail = files::last_lines(&log, TAIL_LINES);
        let ending = self.machine.ending(mark);
        if self.machine.was_ended_by_us(handle, mark) {
            let message = format!("the server was ended on request; {ending}");
            return Ok(Failure {
                reason: FailureReason::Cancelled,
                message,
                log_tail,
            });
        }
        Ok(match engine(kind).classify_log(&log) {
            Some(finding) => Failure {
                reason: finding.reason.into(),
                message: format!("the server's {ending}; its log says: {}", finding.line),
                log_tail,
            },
            None => Failure {
                reason: FailureReason::ServerFailed,
                message: format!("the server's {ending}"),
                log_tail,
            },
        })
    }
}

/// What tells attempts apart.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) number: u32,
    pub(crate) campaign: &'a CampaignId,
    pub(crate) backend: Option<BackendKind>,
    pub(crate) port: Option<u16>,
    pub(crate) log: Log,
}

/// What is known of a server once it is ready.
async fn probe(engine: &Engine, endpoint: &EndpointSpec) -> Result<Option<Provenance>, ProbeError> {
    let probe = Probe::new(&endpoint.url)?;
    let healthy = probe
        .get(engine.health_path())
        .await
        .is_ok_and(|answer| answer.status.is_success());
    if !healthy {
        return Ok(None);
    }
    if engine.lists_models_when_ready() {
        let models = probe.get(engine.models_path()).await;
        if !models.is_ok_and(|answer| answer.status.is_success() && lists_a_model(&answer.body)) {
            return Ok(None);
        }
    }
    let mut provenance = Provenance::default();
    provenance.set(Provenance::SERVER_NODES, host());
    provenance.set(
        Provenance::ENGINE_VERSION,
        probe.version(engine).await.unwrap_or_default(),
    );
    Ok(Some(provenance))
}

impl Deployer for LocalBackend {
    fn ensure<'a>(
        &'a self,
        campaign: &'a CampaignId,
        id: &'a DeploymentId,
        spec: &'a DeploymentSpec,
    ) -> BoxFuture<'a, Result<Handle, EnsureError>> {
        Box::pin(async move {
            self.ensure_deployment(campaign, id.as_str(), spec)
                .await
                .map_err(|error| *error)
        })
    }

    fn observe<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<DeploymentStatus, BackendError>> {
        Box::pin(self.observe_deployment(handle))
    }

    fn logs<'a>(&'a self, handle: &'a Handle, lines: usize) -> BoxFuture<'a, Result<String, BackendError>> {
        Box::pin(async move { self.machine.logs(handle, Log::Server, lines) })
    }

    fn end<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<(), BackendError>> {
        Box::pin(self.machine.end(handle))
    }
}
