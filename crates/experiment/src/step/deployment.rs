//! Answers about deployments.

use gipfel_backend::{DeploymentStatus, Effect as StartEffect, Failure, FailureReason, Found, Handle};
use gipfel_model::format_duration;

use super::Step;
use crate::{
    deployment::{DeploymentOutcome, DeploymentPhase},
    event::{DeploymentEvent, Effect, Scope, SubmitFailure},
    limits::milliseconds,
    run::{RunOutcome, RunPhase},
};

impl Step<'_> {
    pub(super) fn on_deployment(&mut self, d: usize, event: DeploymentEvent) {
        use DeploymentEvent as E;
        use DeploymentPhase as P;
        match (self.server(d).phase.clone(), event) {
            (P::Submitting { since }, E::Submitted(handle)) => self.server_started(d, handle, Some(since)),
            (P::Submitting { since }, E::SubmitFailed(failed)) => self.server_not_submitted(d, since, failed),
            (P::Settling { since, failure }, E::Found(found)) => match found {
                Found::Started(handle) => self.server_started(d, handle, since),
                Found::Absent => self.server_not_started(d, failure, true),
                Found::Unsettled => {}
            },
            (
                P::Starting { handle, .. } | P::Ready { handle, .. },
                E::Observed {
                    handle: of,
                    asked_at,
                    status,
                },
            ) if handle == of => {
                self.server_observed(d, handle, status);
                self.resolve_checks(d, asked_at);
            }
            (P::Starting { handle, .. } | P::Ready { handle, .. }, E::ObserveFailed { handle: of })
                if handle == of =>
            {
                self.server_unreachable(d, handle);
            }
            (P::Diagnosing { handle, failure }, E::Log { handle: of, text }) if handle == of => {
                self.server_failed(
                    d,
                    handle,
                    Failure {
                        log_tail: text,
                        ..failure
                    },
                );
            }
            (P::Ending { handle, outcome, .. }, E::Ended { handle: of, usage }) if handle == of => {
                let deployment = self.server_mut(d);
                deployment.usage = usage;
                deployment.phase = P::Ended(outcome);
            }
            (
                P::Ending {
                    handle,
                    outcome,
                    since,
                    failures,
                },
                E::EndFailed {
                    handle: of,
                    message,
                    retryable,
                },
            ) if handle == of => {
                let failures = failures.saturating_add(1).min(self.limits.end_attempts);
                self.server_mut(d).phase = if !retryable || self.end_is_hopeless(failures, since) {
                    P::Lost {
                        handle,
                        outcome,
                        message,
                    }
                } else {
                    P::Ending {
                        handle,
                        outcome,
                        since,
                        failures,
                    }
                };
            }
            _ => {}
        }
    }

    pub(super) fn repeat_deployment(&mut self, d: usize, scope: Scope) {
        let deployment = self.server(d);
        let id = deployment.id.clone();
        let effect = match &deployment.phase {
            DeploymentPhase::Settling { .. } => Effect::FindDeployment(id),
            DeploymentPhase::Starting { handle, .. } => Effect::ObserveDeployment(id, handle.clone()),
            // Looking at a server takes a request, which a server that is being measured gets seldom.
            DeploymentPhase::Ready { handle, .. }
                if scope == Scope::All || deployment.successor.is_some() =>
            {
                Effect::ObserveDeployment(id, handle.clone())
            }
            DeploymentPhase::Diagnosing { handle, .. } => Effect::ReadDeploymentLog(id, handle.clone()),
            DeploymentPhase::Ending { handle, .. } => Effect::EndDeployment(id, handle.clone()),
            DeploymentPhase::Pending
            | DeploymentPhase::Submitting { .. }
            | DeploymentPhase::Ready { .. }
            | DeploymentPhase::Kept { .. }
            | DeploymentPhase::Lost { .. }
            | DeploymentPhase::Ended(_) => return,
        };
        self.emit(effect);
    }

    fn server_started(&mut self, d: usize, handle: Handle, since: Option<i64>) {
        let deployment = self.server_mut(d);
        deployment.phase = DeploymentPhase::Starting {
            handle: handle.clone(),
            queued_since: None,
            since,
            give_up_at: None,
            failures: 0,
        };
        let id = deployment.id.clone();
        self.emit(Effect::ObserveDeployment(id, handle));
    }

    fn server_not_submitted(&mut self, d: usize, since: i64, failed: SubmitFailure) {
        match failed.effect {
            StartEffect::Started(handle) => self.server_started(d, handle, Some(since)),
            StartEffect::Unknown => {
                let deployment = self.server_mut(d);
                deployment.phase = DeploymentPhase::Settling {
                    since: Some(since),
                    failure: failed.failure,
                };
                let id = deployment.id.clone();
                self.emit(Effect::FindDeployment(id));
            }
            StartEffect::NotStarted => self.server_not_started(d, failed.failure, failed.retryable),
        }
    }

    fn server_not_started(&mut self, d: usize, failure: Failure, retryable: bool) {
        let attempts = self.limits.attempts;
        let deployment = self.server_mut(d);
        if retryable && deployment.attempt + 1 < attempts {
            deployment.attempt += 1;
            deployment.phase = DeploymentPhase::Pending;
        } else {
            self.fail_runs(d, &failure);
            self.server_mut(d).phase = DeploymentPhase::Ended(DeploymentOutcome::Failed(failure));
        }
    }

    fn server_observed(&mut self, d: usize, handle: Handle, status: DeploymentStatus) {
        let now = self.now;
        let was_ready = matches!(self.server(d).phase, DeploymentPhase::Ready { .. });
        if !matches!(status, DeploymentStatus::Ended(_)) {
            self.server_mut(d).successor = None;
            self.server_reachable(d);
        }
        match status {
            DeploymentStatus::Ended(failure) => self.server_failed(d, handle, failure),
            DeploymentStatus::Ready {
                endpoint,
                provenance,
                load_time,
            } => {
                let deployment = self.server_mut(d);
                if load_time.is_some() {
                    deployment.load_time = load_time;
                } else if let DeploymentPhase::Starting {
                    since: Some(since), ..
                } = deployment.phase
                    && deployment.owned
                {
                    deployment.load_time = Some(std::time::Duration::from_millis(
                        u64::try_from(now - since).unwrap_or(0),
                    ));
                }
                deployment.provenance = provenance;
                deployment.phase = DeploymentPhase::Ready {
                    handle,
                    endpoint,
                    failures: 0,
                };
            }
            // A server under load may miss a health check; only its end is an end.
            DeploymentStatus::Queued | DeploymentStatus::Starting if was_ready => {}
            DeploymentStatus::Queued => {
                let earlier = match self.server(d).phase {
                    DeploymentPhase::Starting {
                        queued_since, since, ..
                    } => queued_since.or(since),
                    _ => None,
                };
                self.server_mut(d).phase = DeploymentPhase::Starting {
                    handle,
                    queued_since: earlier.or(Some(now)),
                    since: Some(now),
                    give_up_at: None,
                    failures: 0,
                };
            }
            DeploymentStatus::Starting => self.server_starting(d, handle),
        }
    }

    fn server_starting(&mut self, d: usize, handle: Handle) {
        if let DeploymentPhase::Starting { queued_since, .. } = &mut self.server_mut(d).phase {
            *queued_since = None;
        }
        if self.now >= self.ready_deadline(d) {
            self.server_late(d, handle);
        }
    }

    /// When the time to answer is up of a server that is known to have left the queue.
    fn ready_deadline(&mut self, d: usize) -> i64 {
        let deadline = self.now + milliseconds(self.server(d).spec.server_ready_timeout);
        match &mut self.server_mut(d).phase {
            DeploymentPhase::Starting { give_up_at, .. } => *give_up_at.get_or_insert(deadline),
            _ => deadline,
        }
    }

    fn server_late(&mut self, d: usize, handle: Handle) {
        let deployment = self.server_mut(d);
        let timeout = format_duration(deployment.spec.server_ready_timeout);
        deployment.phase = DeploymentPhase::Diagnosing {
            handle: handle.clone(),
            failure: Failure {
                reason: FailureReason::ReadyTimeout,
                message: format!("the server was not ready within {timeout}"),
                log_tail: String::new(),
            },
        };
        let id = deployment.id.clone();
        self.emit(Effect::ReadDeploymentLog(id, handle));
    }

    fn server_reachable(&mut self, d: usize) {
        if let DeploymentPhase::Starting { failures, .. } | DeploymentPhase::Ready { failures, .. } =
            &mut self.server_mut(d).phase
        {
            *failures = 0;
        }
    }

    fn server_unreachable(&mut self, d: usize, handle: Handle) {
        let most = self.limits.unreachable_after;
        let deployment = self.server_mut(d);
        if let DeploymentPhase::Starting { failures, .. } | DeploymentPhase::Ready { failures, .. } =
            &mut deployment.phase
        {
            *failures = failures.saturating_add(1).min(most);
        }
        let unseen = deployment.phase.missed() >= most;
        match deployment.phase {
            // One that was never seen may still be queued, unless it lives where nothing queues.
            DeploymentPhase::Starting { give_up_at, .. } if give_up_at.is_some() || deployment.is_near() => {
                let deadline = self.ready_deadline(d);
                if unseen && self.now >= deadline {
                    self.server_late(d, handle);
                }
            }
            DeploymentPhase::Ready { .. } if unseen => self.give_up_checks(d, handle),
            _ => {}
        }
    }

    /// Fails the runs that have waited long enough to hear of a server that does not answer. A server of ours stays
    /// ours and may answer again; any other is given up with them.
    fn give_up_checks(&mut self, d: usize, handle: Handle) {
        let patience = milliseconds(self.limits.check_patience);
        let mut given_up = false;
        for r in 0..self.server(d).runs.len() {
            if let RunPhase::Checking { outcome, since, .. } = &self.load(d, r).phase
                && self.now >= since + patience
            {
                let failure = silent_server(Some(outcome));
                self.fail_run(d, r, failure);
                given_up = true;
            }
        }
        if given_up && !self.server(d).owned {
            self.server_failed(d, handle, silent_server(None));
        }
    }

    /// Fails the runs and makes sure that nothing of the server is left: its leader may have died without the rest.
    fn server_failed(&mut self, d: usize, handle: Handle, failure: Failure) {
        self.fail_runs(d, &failure);
        let since = self.now;
        let deployment = self.server_mut(d);
        let outcome = DeploymentOutcome::Failed(failure);
        if deployment.owned {
            deployment.phase = DeploymentPhase::Ending {
                handle: handle.clone(),
                outcome,
                since,
                failures: 0,
            };
            let id = deployment.id.clone();
            self.emit(Effect::EndDeployment(id, handle));
        } else {
            deployment.phase = DeploymentPhase::Ended(outcome);
        }
    }

    fn fail_runs(&mut self, d: usize, failure: &Failure) {
        for r in 0..self.server(d).runs.len() {
            self.fail_run(d, r, failure.clone());
        }
    }

    /// Ends what goes on against a server that failed. Where that server was resumed and is seen to be gone, its
    /// unfinished runs will go on with its successor.
    fn fail_run(&mut self, d: usize, r: usize, failure: Failure) {
        let passed_on = self.server(d).successor.is_some();
        let run = self.load_mut(d, r);
        if run.phase.needs_server() {
            run.again = passed_on;
        }
        // A server that ended while nobody watched may have ended after the run completed.
        if passed_on
            && matches!(
                &run.phase,
                RunPhase::Checking {
                    outcome: RunOutcome::Completed,
                    ..
                }
            )
        {
            run.again = false;
            self.resolve_check(d, r);
        } else {
            self.call_off(d, r, RunOutcome::Failed(failure));
        }
    }

    /// Decides the runs that waited to hear whether the server lives, by an observation that was sent at `asked_at`.
    fn resolve_checks(&mut self, d: usize, asked_at: i64) {
        let mut ask_again = false;
        for r in 0..self.server(d).runs.len() {
            match self.load(d, r).phase {
                RunPhase::Checking { since, .. } if since <= asked_at => self.resolve_check(d, r),
                RunPhase::Checking { .. } => ask_again = true,
                _ => {}
            }
        }
        if ask_again {
            self.observe_server(d);
        }
    }

    pub(super) fn observe_server(&mut self, d: usize) {
        let deployment = self.server(d);
        if let Some(handle) = deployment.phase.handle() {
            let effect = Effect::ObserveDeployment(deployment.id.clone(), handle.clone());
            self.emit(effect);
        }
    }
}

/// Why runs end whose server does not answer any more, with what the load generator of the run came to.
fn silent_server(seen: Option<&RunOutcome>) -> Failure {
    let message = "the server does not answer any more";
    let (message, log_tail) = match seen {
        Some(RunOutcome::Failed(own)) => (format!("{message}: {}", own.message), own.log_tail.clone()),
        _ => (message.to_owned(), String::new()),
    };
    Failure {
        reason: FailureReason::ServerFailed,
        message,
        log_tail,
    }
}
