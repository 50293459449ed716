//! The way out of a run: stop, end, collect.
//!
//! A load generator that was seen to leave is collected first and then made sure of; one that has to be ended is
//! collected after that. No run is over before both are done or given up.

use gipfel_backend::{Failure, FailureReason, Handle};

use super::Step;
use crate::{
    event::Effect,
    limits::milliseconds,
    run::{Life, RunOutcome, RunPhase},
};

impl Step<'_> {
    /// Ends a run that goes on, whatever it is doing, as `outcome`. One that is on its way out already stays there.
    pub(super) fn call_off(&mut self, d: usize, r: usize, outcome: RunOutcome) {
        match self.load(d, r).phase.clone() {
            RunPhase::Waiting => self.never_started(d, r, outcome),
            RunPhase::Submitting { call_off: None } => {
                self.load_mut(d, r).phase = RunPhase::Submitting {
                    call_off: Some(outcome),
                };
            }
            RunPhase::Settling {
                call_off: None,
                failure,
            } => {
                self.load_mut(d, r).phase = RunPhase::Settling {
                    call_off: Some(outcome),
                    failure,
                };
            }
            #[cfg(test)]
            RunPhase::Running { .. }
                if matches!(outcome, RunOutcome::Failed(_))
                    && self
                        .limits
                        .mutated(crate::limits::Mutation::ForgetRunHandleOnServerDeath) =>
            {
                self.load_mut(d, r).phase = RunPhase::Ended(outcome);
            }
            RunPhase::Running { handle, .. } => self.stop_load(d, r, handle, outcome),
            // An interrupt changes nothing of what a load generator came to that has ended.
            RunPhase::Checking {
                handle,
                outcome: seen,
                ..
            } => {
                let outcome = if outcome == RunOutcome::Stopped {
                    seen
                } else {
                    outcome
                };
                self.collect(d, r, handle, outcome, Life::Left);
            }
            RunPhase::Submitting { .. }
            | RunPhase::Settling { .. }
            | RunPhase::Stopping { .. }
            | RunPhase::Ending { .. }
            | RunPhase::Collecting { .. }
            | RunPhase::Lost { .. }
            | RunPhase::Ended(_) => {}
        }
    }

    /// Ends a run of which nothing lives; an earlier attempt of it may have left something to collect.
    pub(super) fn never_started(&mut self, d: usize, r: usize, outcome: RunOutcome) {
        match self.load(d, r).earlier.clone() {
            Some(handle) if self.load(d, r).uncollected => self.collect(d, r, handle, outcome, Life::Left),
            _ => self.finish(d, r, RunPhase::Ended(outcome)),
        }
    }

    pub(super) fn stop_load(&mut self, d: usize, r: usize, handle: Handle, outcome: RunOutcome) {
        let give_up_at = self.now + milliseconds(self.limits.stop_grace);
        let run = self.load_mut(d, r);
        run.phase = RunPhase::Stopping {
            handle: handle.clone(),
            outcome,
            asked: false,
            give_up_at,
        };
        let id = run.id.clone();
        self.emit(Effect::StopRun(id, handle));
    }

    pub(super) fn end_load(&mut self, d: usize, r: usize, handle: Handle, outcome: RunOutcome) {
        let since = self.now;
        let run = self.load_mut(d, r);
        run.phase = RunPhase::Ending {
            handle: handle.clone(),
            outcome,
            since,
            failures: 0,
        };
        let id = run.id.clone();
        self.emit(Effect::EndRun(id, handle));
    }

    pub(super) fn collect(&mut self, d: usize, r: usize, handle: Handle, outcome: RunOutcome, life: Life) {
        let run = self.load_mut(d, r);
        run.phase = RunPhase::Collecting {
            handle: handle.clone(),
            outcome,
            life,
            failures: 0,
        };
        let id = run.id.clone();
        self.emit(Effect::FetchRun(id, handle));
    }

    /// The load generator is ended or lost: what it has written is collected if that was not done before.
    pub(super) fn load_over(&mut self, d: usize, r: usize, handle: Handle, outcome: RunOutcome, life: Life) {
        if self.load(d, r).uncollected {
            self.collect(d, r, handle, outcome, life);
        } else {
            self.load_collected(d, r, handle, outcome, life);
        }
    }

    /// Keeps the other runs of the server from being measured beside a load generator that cannot be ended. One whose
    /// database was collected had been seen to leave.
    pub(super) fn call_off_beside(&mut self, d: usize, r: usize) {
        if !self.load(d, r).uncollected {
            return;
        }
        let failure = Failure {
            reason: FailureReason::LoadFailed,
            message: format!(
                "the load generator of `{}` could not be ended and may still send",
                self.load(d, r).id
            ),
            log_tail: String::new(),
        };
        for other in (0..self.server(d).runs.len()).filter(|other| *other != r) {
            self.call_off(d, other, RunOutcome::Failed(failure.clone()));
        }
    }

    pub(super) fn load_collected(
        &mut self,
        d: usize,
        r: usize,
        handle: Handle,
        outcome: RunOutcome,
        life: Life,
    ) {
        match life {
            Life::Left => self.end_load(d, r, handle, outcome),
            Life::Over => {
                self.load_mut(d, r).earlier = Some(handle);
                self.finish(d, r, RunPhase::Ended(outcome));
            }
            Life::Lost(message) => {
                // It may go on writing until it is ended after all.
                self.load_mut(d, r).uncollected = true;
                self.finish(
                    d,
                    r,
                    RunPhase::Lost {
                        handle,
                        outcome,
                        message,
                    },
                );
            }
        }
    }

    fn finish(&mut self, d: usize, r: usize, phase: RunPhase) {
        let run = self.load_mut(d, r);
        run.again &= matches!(&phase, RunPhase::Ended(outcome) if *outcome != RunOutcome::Completed);
        run.phase = phase;
    }
}
