//! Answers about runs.

use gipfel_backend::{Effect as StartEffect, Failure, FailureReason, Found, Handle, RunStatus};

use gipfel_model::{Progress, RunState};

use super::Step;
use crate::{
    event::{Effect, RunEvent, SubmitFailure},
    run::{Life, RunOutcome, RunPhase},
};

impl Step<'_> {
    pub(super) fn on_run(&mut self, d: usize, r: usize, event: RunEvent) {
        use RunEvent as E;
        use RunPhase as P;
        match (self.load(d, r).phase.clone(), event) {
            (P::Submitting { call_off }, E::Submitted(handle)) => self.load_started(d, r, handle, call_off),
            (P::Submitting { call_off }, E::SubmitFailed(failed)) => {
                self.load_not_submitted(d, r, call_off, failed);
            }
            (P::Settling { call_off, failure }, E::Found(found)) => match found {
                // The load generator of the attempt before is no sign of this one, which was settled as absent.
                Found::Started(handle)
                    if call_off.is_none() && self.load(d, r).earlier.as_ref() == Some(&handle) =>
                {
                    self.load_not_started(d, r, None, failure, true);
                }
                Found::Started(handle) => self.load_started(d, r, handle, call_off),
                Found::Absent => self.load_not_started(d, r, call_off, failure, true),
                Found::Unsettled => {}
            },
            (P::Running { handle, .. }, E::Observed { handle: of, status }) if handle == of => {
                self.load_observed(d, r, handle, status);
            }
            (P::Running { handle, .. }, E::ObserveFailed { handle: of }) if handle == of => {
                let most = self.limits.unreachable_after;
                if let P::Running { failures, .. } = &mut self.load_mut(d, r).phase {
                    *failures = failures.saturating_add(1).min(most);
                }
            }
            (P::Stopping { handle, outcome, .. }, E::Observed { handle: of, status }) if handle == of => {
                self.load_leaving(d, r, handle, outcome, &status);
            }
            (
                P::Stopping {
                    handle,
                    outcome,
                    give_up_at,
                    ..
                },
                E::StopAsked { handle: of },
            ) if handle == of => {
                self.load_mut(d, r).phase = P::Stopping {
                    handle,
                    outcome,
                    asked: true,
                    give_up_at,
                };
            }
            (P::Ending { handle, outcome, .. }, E::Ended { handle: of, usage }) if handle == of => {
                let run = self.load_mut(d, r);
                if let Some(usage) = usage {
                    run.usage.retain(|known| known.job != usage.job);
                    run.usage.push(usage);
                }
                self.load_over(d, r, handle, outcome, Life::Over);
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
                if !retryable || self.end_is_hopeless(failures, since) {
                    self.call_off_beside(d, r);
                    self.load_over(d, r, handle, outcome, Life::Lost(message));
                } else {
                    self.load_mut(d, r).phase = P::Ending {
                        handle,
                        outcome,
                        since,
                        failures,
                    };
                }
            }
            (
                P::Collecting {
                    handle,
                    outcome,
                    life,
                    ..
                },
                E::Fetched { handle: of, database },
            ) if handle == of => {
                let run = self.load_mut(d, r);
                run.database = Some(database);
                run.collect_error = None;
                run.uncollected = false;
                self.load_collected(d, r, handle, outcome, life);
            }
            (
                P::Collecting {
                    handle,
                    outcome,
                    life,
                    failures,
                },
                E::FetchFailed {
                    handle: of,
                    message,
                    retryable,
                },
            ) if handle == of => {
                let failures = failures.saturating_add(1);
                if !retryable || failures >= self.limits.collect_attempts {
                    let run = self.load_mut(d, r);
                    run.collect_error = Some(message);
                    run.uncollected = false;
                    self.load_collected(d, r, handle, outcome, life);
                } else {
                    self.load_mut(d, r).phase = P::Collecting {
                        handle,
                        outcome,
                        life,
                        failures,
                    };
                }
            }
            _ => {}
        }
    }

    pub(super) fn repeat_run(&mut self, d: usize, r: usize) {
        let run = self.load(d, r);
        let id = run.id.clone();
        match run.phase.clone() {
            RunPhase::Settling { .. } => self.emit(Effect::FindRun(id)),
            RunPhase::Running { handle, .. } => self.emit(Effect::ObserveRun(id, handle)),
            RunPhase::Checking { .. } => self.observe_server(d),
            RunPhase::Stopping {
                handle,
                outcome,
                give_up_at,
                ..
            } if self.now >= give_up_at => {
                self.end_load(d, r, handle, outcome);
            }
            RunPhase::Stopping { handle, asked, .. } => {
                if !asked {
                    self.emit(Effect::StopRun(id.clone(), handle.clone()));
                }
                self.emit(Effect::ObserveRun(id, handle));
            }
            RunPhase::Ending { handle, .. } => self.emit(Effect::EndRun(id, handle)),
            RunPhase::Collecting { handle, .. } => self.emit(Effect::FetchRun(id, handle)),
            RunPhase::Waiting | RunPhase::Submitting { .. } | RunPhase::Lost { .. } | RunPhase::Ended(_) => {}
        }
    }

    /// Decides what the end of a load generator means, now that its server is known to live.
    pub(super) fn resolve_check(&mut self, d: usize, r: usize) {
        let attempts = self.limits.attempts;
        let run = self.load_mut(d, r);
        let RunPhase::Checking { handle, outcome, .. } = run.phase.clone() else {
            return;
        };
        let died = matches!(
            &outcome,
            RunOutcome::Failed(Failure {
                reason: FailureReason::LoadFailed | FailureReason::TimeLimit,
                ..
            })
        );
        if died && run.attempt + 1 < attempts {
            run.attempt += 1;
            run.earlier = Some(handle);
            run.phase = RunPhase::Waiting;
        } else {
            self.collect(d, r, handle, outcome, Life::Left);
        }
    }

    fn load_started(&mut self, d: usize, r: usize, handle: Handle, call_off: Option<RunOutcome>) {
        let run = self.load_mut(d, r);
        run.uncollected = true;
        if let Some(outcome) = call_off {
            self.stop_load(d, r, handle, outcome);
        } else {
            run.phase = RunPhase::Running {
                handle: handle.clone(),
                queued: !run.experiment.load.is_local(),
                failures: 0,
            };
            let id = run.id.clone();
            self.emit(Effect::ObserveRun(id, handle));
        }
    }

    fn load_not_submitted(
        &mut self,
        d: usize,
        r: usize,
        call_off: Option<RunOutcome>,
        failed: SubmitFailure,
    ) {
        match failed.effect {
            StartEffect::Started(handle) => self.load_started(d, r, handle, call_off),
            StartEffect::Unknown => {
                let run = self.load_mut(d, r);
                run.phase = RunPhase::Settling {
                    call_off,
                    failure: failed.failure,
                };
                let id = run.id.clone();
                self.emit(Effect::FindRun(id));
            }
            StartEffect::NotStarted => {
                self.load_not_started(d, r, call_off, failed.failure, failed.retryable);
            }
        }
    }

    fn load_not_started(
        &mut self,
        d: usize,
        r: usize,
        call_off: Option<RunOutcome>,
        failure: Failure,
        retryable: bool,
    ) {
        let attempts = self.limits.attempts;
        let run = self.load_mut(d, r);
        match call_off {
            Some(outcome) => self.never_started(d, r, outcome),
            None if retryable && run.attempt + 1 < attempts => {
                run.attempt += 1;
                run.phase = RunPhase::Waiting;
            }
            None => self.never_started(d, r, RunOutcome::Failed(failure)),
        }
    }

    fn load_observed(&mut self, d: usize, r: usize, handle: Handle, status: RunStatus) {
        let outcome = match status {
            RunStatus::Queued | RunStatus::Running(_) => {
                let queued = match &status {
                    RunStatus::Running(progress) => {
                        let waits = |progress: &Progress| progress.state == RunState::Waiting;
                        !self.load(d, r).experiment.load.is_local() && progress.as_deref().is_none_or(waits)
                    }
                    _ => true,
                };
                self.load_mut(d, r).phase = RunPhase::Running {
                    handle,
                    queued,
                    failures: 0,
                };
                return;
            }
            RunStatus::Completed(_) => RunOutcome::Completed,
            RunStatus::Stopped(_) => RunOutcome::Stopped,
            RunStatus::Failed(failure) => RunOutcome::Failed(failure),
        };
        self.load_mut(d, r).phase = RunPhase::Checking {
            handle,
            outcome,
            since: self.now,
        };
        self.observe_server(d);
    }

    fn load_leaving(&mut self, d: usize, r: usize, handle: Handle, outcome: RunOutcome, status: &RunStatus) {
        match status {
            RunStatus::Queued | RunStatus::Running(_) => {}
            // It was done before the request reached it. With a server that is seen to have failed since then, only
            // a run that nobody watched gets the benefit of the doubt.
            RunStatus::Completed(_) if outcome == RunOutcome::Stopped || self.load(d, r).again => {
                self.collect(d, r, handle, RunOutcome::Completed, Life::Left);
            }
            RunStatus::Completed(_) | RunStatus::Stopped(_) | RunStatus::Failed(_) => {
                self.collect(d, r, handle, outcome, Life::Left);
            }
        }
    }
}
