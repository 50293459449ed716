//! One effect as a call to a backend, and its answer as an event.

use std::{error::Error, path::PathBuf};

use gipfel_backend::{
    BackendError, BoxFuture, DeploymentStatus, Effect as StartEffect, EnsureError, Failure, FailureReason,
    Found, Handle, RunStatus,
};
use gipfel_model::{DeploymentId, DeploymentKind, EndpointSpec, Progress, RunId, Usage, format_duration};

use super::{Backends, Deadlines, Load, RunConfigBuilder, System};
use crate::{
    campaign::Campaign,
    event::{DeploymentEvent, Effect, Event, RunEvent, SubmitFailure},
};

/// How many lines of a server's log go into a failure.
const LOG_LINES: usize = 40;

/// What a call came to.
pub(super) struct Answer {
    pub(super) event: Event,
    /// What failed, for people.
    pub(super) trouble: Option<String>,
    pub(super) progress: Option<(RunId, Box<Progress>)>,
}

impl From<Event> for Answer {
    fn from(event: Event) -> Self {
        Self {
            event,
            trouble: None,
            progress: None,
        }
    }
}

/// Makes calls of effects.
pub(super) struct Caller {
    pub(super) backends: Backends,
    pub(super) deadlines: Deadlines,
    pub(super) run_config: RunConfigBuilder,
    /// The campaign's directory.
    pub(super) directory: PathBuf,
}

impl Caller {
    /// The call that carries out `effect`, bounded in time; it is sent at `now`.
    pub(super) fn call(&self, campaign: &Campaign, effect: &Effect, now: i64) -> BoxFuture<'static, Answer> {
        let deadline = self.deadlines.of(effect);
        let late = unanswered(effect, &format!("no answer within {}", format_duration(deadline)));
        let call = match effect {
            Effect::SubmitDeployment(id)
            | Effect::FindDeployment(id)
            | Effect::ObserveDeployment(id, _)
            | Effect::ReadDeploymentLog(id, _)
            | Effect::EndDeployment(id, _) => self.deployment_call(campaign, id, effect.clone(), now),
            Effect::SubmitRun(id)
            | Effect::FindRun(id)
            | Effect::ObserveRun(id, _)
            | Effect::StopRun(id, _)
            | Effect::FetchRun(id, _)
            | Effect::EndRun(id, _) => self.run_call(campaign, id, effect.clone()),
        };
        let Some(call) = call else {
            // Neither campaign nor backends lose what they have, so this is an effect of another campaign.
            let stray = unanswered(effect, "the campaign does not know it");
            return Box::pin(std::future::ready(stray));
        };
        Box::pin(async move { tokio::time::timeout(deadline, call).await.unwrap_or(late) })
    }

    fn system(&self, kind: DeploymentKind) -> Option<System> {
        self.backends.get(kind).cloned()
    }

    fn deployment_call(
        &self,
        campaign: &Campaign,
        id: &DeploymentId,
        effect: Effect,
        now: i64,
    ) -> Option<BoxFuture<'static, Answer>> {
        let deployment = campaign.deployment(id)?;
        let System {
            deployer,
            deployment_finder: finder,
            ..
        } = self.system(deployment.kind())?;
        let id = id.clone();
        Some(match effect {
            Effect::SubmitDeployment(_) => {
                let (campaign, spec) = (campaign.campaign_id.clone(), deployment.spec.clone());
                Box::pin(async move {
                    match deployer.ensure(&campaign, &id, &spec).await {
                        Ok(handle) => Event::Deployment(id, DeploymentEvent::Submitted(handle)).into(),
                        Err(error) => troubled(&error, |_| {
                            Event::Deployment(id, DeploymentEvent::SubmitFailed(submit_failure(&error)))
                        }),
                    }
                })
            }
            Effect::ObserveDeployment(_, handle) => Box::pin(async move {
                let answer = deployer.observe(&handle).await;
                observed_deployment(id, handle, now, answer)
            }),
            Effect::ReadDeploymentLog(_, handle) => Box::pin(async move {
                let (text, trouble) = match deployer.logs(&handle, LOG_LINES).await {
                    Ok(text) => (text, None),
                    Err(error) => (String::new(), Some(describe(&error))),
                };
                let event = Event::Deployment(id, DeploymentEvent::Log { handle, text });
                Answer {
                    trouble,
                    ..event.into()
                }
            }),
            Effect::EndDeployment(_, handle) => Box::pin(async move {
                match deployer.end(&handle).await {
                    Ok(()) => {
                        let usage = known_usage(deployer.usage(&handle).await);
                        Event::Deployment(id, DeploymentEvent::Ended { handle, usage }).into()
                    }
                    Err(error) => troubled(&error, |message| {
                        let retryable = error.retryable;
                        Event::Deployment(
                            id,
                            DeploymentEvent::EndFailed {
                                handle,
                                message,
                                retryable,
                            },
                        )
                    }),
                }
            }),
            _ => Box::pin(async move {
                match finder.find_deployment(&id).await {
                    Ok(found) => Answer {
                        trouble: unsettled(&found),
                        ..Event::Deployment(id, DeploymentEvent::Found(found)).into()
                    },
                    Err(error) => troubled(&error, |_| Event::Deployment(id, DeploymentEvent::FindFailed)),
                }
            }),
        })
    }

    fn run_call(
        &self,
        campaign: &Campaign,
        id: &RunId,
        effect: Effect,
    ) -> Option<BoxFuture<'static, Answer>> {
        let (deployment, run) = campaign.run(id)?;
        let place = run.experiment.load.clone();
        let Load { runner, finder } = self.backends.load(deployment.kind(), place.kind())?;
        let id = id.clone();
        Some(match effect {
            Effect::SubmitRun(_) => {
                let endpoint = match deployment.phase.endpoint() {
                    Some(endpoint) => endpoint.clone(),
                    None if place.waits_for(&deployment.spec.placement) => EndpointSpec::awaited(),
                    None => return None,
                };
                let config = (self.run_config)(campaign, deployment, &endpoint, run);
                Box::pin(async move {
                    match runner.ensure(&config, &place).await {
                        Ok(handle) => Event::Run(id, RunEvent::Submitted(handle)).into(),
                        Err(error) => troubled(&error, |_| {
                            Event::Run(id, RunEvent::SubmitFailed(submit_failure(&error)))
                        }),
                    }
                })
            }
            Effect::ObserveRun(_, handle) => Box::pin(async move {
                let answer = runner.observe(&handle).await;
                observed_run(id, handle, answer)
            }),
            Effect::StopRun(_, handle) => Box::pin(async move {
                match runner.stop(&handle).await {
                    Ok(()) => Event::Run(id, RunEvent::StopAsked { handle }).into(),
                    Err(error) => troubled(&error, |_| Event::Run(id, RunEvent::StopFailed { handle })),
                }
            }),
            Effect::FetchRun(_, handle) => {
                let campaign_directory = self.directory.clone();
                Box::pin(async move {
                    let directory = campaign_directory.join(id.as_str());
                    let fetched = match tokio::fs::create_dir_all(&directory).await {
                        Ok(()) => runner.fetch(&handle, &directory).await,
                        Err(error) => Err(BackendError::transient("create the run's directory", error)),
                    };
                    match fetched {
                        Ok(file) => {
                            let database = file
                                .strip_prefix(&campaign_directory)
                                .map(PathBuf::from)
                                .unwrap_or(file);
                            Event::Run(id, RunEvent::Fetched { handle, database }).into()
                        }
                        Err(error) => troubled(&error, |message| {
                            let retryable = error.retryable;
                            Event::Run(
                                id,
                                RunEvent::FetchFailed {
                                    handle,
                                    message,
                                    retryable,
                                },
                            )
                        }),
                    }
                })
            }
            Effect::EndRun(_, handle) => Box::pin(async move {
                match runner.end(&handle).await {
                    Ok(()) => {
                        let usage = known_usage(runner.usage(&handle).await);
                        Event::Run(id, RunEvent::Ended { handle, usage }).into()
                    }
                    Err(error) => troubled(&error, |message| {
                        let retryable = error.retryable;
                        Event::Run(
                            id,
                            RunEvent::EndFailed {
                                handle,
                                message,
                                retryable,
                            },
                        )
                    }),
                }
            }),
            _ => Box::pin(async move {
                match finder.find_run(&id).await {
                    Ok(found) => Answer {
                        trouble: unsettled(&found),
                        ..Event::Run(id, RunEvent::Found(found)).into()
                    },
                    Err(error) => troubled(&error, |_| Event::Run(id, RunEvent::FindFailed)),
                }
            }),
        })
    }
}

/// What an object has used is good to know; that nothing of it lives does not wait for it.
fn known_usage(usage: Result<Option<Usage>, BackendError>) -> Option<Usage> {
    usage.unwrap_or_else(|error| {
        tracing::debug!(error = describe(&error), "what it has used is not known");
        None
    })
}

fn observed_deployment(
    id: DeploymentId,
    handle: Handle,
    asked_at: i64,
    answer: Result<DeploymentStatus, BackendError>,
) -> Answer {
    match answer {
        Ok(status) => Event::Deployment(
            id,
            DeploymentEvent::Observed {
                handle,
                asked_at,
                status,
            },
        )
        .into(),
        Err(error) => troubled(&error, |_| {
            Event::Deployment(id, DeploymentEvent::ObserveFailed { handle })
        }),
    }
}

fn observed_run(id: RunId, handle: Handle, answer: Result<RunStatus, BackendError>) -> Answer {
    match answer {
        Ok(status) => {
            let progress = match &status {
                RunStatus::Running(progress)
                | RunStatus::Completed(progress)
                | RunStatus::Stopped(progress) => progress.clone().map(|progress| (id.clone(), progress)),
                RunStatus::Queued | RunStatus::Failed(_) => None,
            };
            Answer {
                progress,
                ..Event::Run(id, RunEvent::Observed { handle, status }).into()
            }
        }
        Err(error) => troubled(&error, |_| Event::Run(id, RunEvent::ObserveFailed { handle })),
    }
}

fn troubled(error: &dyn Error, event: impl FnOnce(String) -> Event) -> Answer {
    let message = describe(error);
    Answer {
        trouble: Some(message.clone()),
        ..event(message).into()
    }
}

fn unsettled(found: &Found) -> Option<String> {
    (*found == Found::Unsettled).then(|| "it is not known yet whether it was started".to_owned())
}

fn submit_failure(error: &EnsureError) -> SubmitFailure {
    SubmitFailure {
        effect: error.effect.clone(),
        failure: Failure {
            reason: error.reason,
            // The error itself only says that the object could not be started, which everybody knows by then.
            message: describe(&error.source),
            log_tail: String::new(),
        },
        retryable: error.source.retryable,
    }
}

/// An error and its causes in one line.
fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    // What a program has said may be several lines.
    text.trim_end().replace('\n', "; ")
}

/// The answer in place of one that never came.
pub(super) fn unanswered(effect: &Effect, why: &str) -> Answer {
    let message = why.to_owned();
    let event = match effect.clone() {
        Effect::SubmitDeployment(id) => Event::Deployment(
            id,
            DeploymentEvent::SubmitFailed(unknown_submission(FailureReason::ServerFailed, why)),
        ),
        Effect::FindDeployment(id) => Event::Deployment(id, DeploymentEvent::FindFailed),
        Effect::ObserveDeployment(id, handle) => {
            Event::Deployment(id, DeploymentEvent::ObserveFailed { handle })
        }
        Effect::ReadDeploymentLog(id, handle) => Event::Deployment(
            id,
            DeploymentEvent::Log {
                handle,
                text: String::new(),
            },
        ),
        Effect::EndDeployment(id, handle) => Event::Deployment(
            id,
            DeploymentEvent::EndFailed {
                handle,
                message,
                retryable: true,
            },
        ),
        Effect::SubmitRun(id) => Event::Run(
            id,
            RunEvent::SubmitFailed(unknown_submission(FailureReason::LoadFailed, why)),
        ),
        Effect::FindRun(id) => Event::Run(id, RunEvent::FindFailed),
        Effect::ObserveRun(id, handle) => Event::Run(id, RunEvent::ObserveFailed { handle }),
        Effect::StopRun(id, handle) => Event::Run(id, RunEvent::StopFailed { handle }),
        Effect::FetchRun(id, handle) => Event::Run(
            id,
            RunEvent::FetchFailed {
                handle,
                message,
                retryable: true,
            },
        ),
        Effect::EndRun(id, handle) => Event::Run(
            id,
            RunEvent::EndFailed {
                handle,
                message,
                retryable: true,
            },
        ),
    };
    Answer {
        trouble: Some(format!("the call was not answered: {why}")),
        ..event.into()
    }
}

fn unknown_submission(reason: FailureReason, why: &str) -> SubmitFailure {
    SubmitFailure {
        effect: StartEffect::Unknown,
        failure: Failure {
            reason,
            message: format!("the submission was not answered: {why}"),
            log_tail: String::new(),
        },
        retryable: true,
    }
}
