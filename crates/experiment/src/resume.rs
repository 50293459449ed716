//! Taking a campaign up again after its driver is gone.

use gipfel_backend::{Failure, FailureReason};
use gipfel_model::{DeploymentId, DeploymentSpec};

use crate::{
    campaign::Campaign,
    deployment::{Deployment, DeploymentPhase},
    event::Event,
    limits::{Limits, milliseconds},
    run::{Run, RunPhase},
};

impl Campaign {
    /// Puts what was open when the driver died in doubt: submissions are settled by the finder, ends and stops are
    /// asked for anew, what could not be ended is tried again. It starts nothing and ends nothing else.
    pub fn recover(&mut self, now: i64, limits: &Limits) {
        for deployment in &mut self.deployments {
            deployment.attempt = 0;
            recover_deployment(deployment, now);
            for run in &mut deployment.runs {
                run.attempt = 0;
                recover_run(run, now, limits);
            }
        }
    }

    /// Takes up the whole campaign: after [`Campaign::recover`], an interrupt is taken back, runs that were stopped
    /// or failed for a passing reason are open again, and a server that turns out to be gone is replaced by a fresh
    /// one, whose name `fresh_id` makes.
    pub fn resume(
        &mut self,
        now: i64,
        limits: &Limits,
        fresh_id: &mut dyn FnMut(&DeploymentSpec) -> DeploymentId,
    ) {
        self.recover(now, limits);
        self.interrupted = false;
        for deployment in &mut self.deployments {
            let in_use = deployment.phase.is_of_use();
            for run in &mut deployment.runs {
                reopen(run, in_use);
            }
            let open = deployment.has_open_runs();
            if let (true, DeploymentPhase::Kept { handle, endpoint }) = (open, &deployment.phase) {
                deployment.phase = DeploymentPhase::Ready {
                    handle: handle.clone(),
                    endpoint: endpoint.clone(),
                    failures: 0,
                };
            }
            deployment.successor = (open && deployment.phase != DeploymentPhase::Pending).then(|| {
                deployment
                    .successor
                    .take()
                    .unwrap_or_else(|| fresh_id(&deployment.spec))
            });
        }
    }
}

impl Campaign {
    /// Takes up the whole campaign to end it: after [`Campaign::recover`], everything is called off as by an interrupt.
    /// The driver then starts nothing and ends what lives.
    pub fn call_off(&mut self, now: i64, limits: &Limits) {
        self.recover(now, limits);
        // What follows from the phases is asked for again when the driver begins.
        drop(self.step(Event::Interrupt, now, limits));
    }
}

fn left_open(reason: FailureReason) -> Failure {
    Failure {
        reason,
        message: "gipfel left before the submission was answered".to_owned(),
        log_tail: String::new(),
    }
}

fn recover_deployment(deployment: &mut Deployment, now: i64) {
    use DeploymentPhase as P;
    match &mut deployment.phase {
        P::Submitting { .. } => {
            deployment.phase = P::Settling {
                since: None,
                failure: left_open(FailureReason::ServerFailed),
            }
        }
        P::Settling { since, .. } => *since = None,
        // It may have been ready for long, so its time to load is not known and its time to answer begins anew.
        P::Starting {
            since,
            give_up_at,
            failures,
            ..
        } => {
            *since = None;
            *give_up_at = None;
            *failures = 0;
        }
        P::Ready { failures, .. } => *failures = 0,
        P::Ending { since, failures, .. } => {
            *since = now;
            *failures = 0;
        }
        P::Lost { handle, outcome, .. } => {
            deployment.phase = P::Ending {
                handle: handle.clone(),
                outcome: outcome.clone(),
                since: now,
                failures: 0,
            };
        }
        P::Pending | P::Diagnosing { .. } | P::Kept { .. } | P::Ended(_) => {}
    }
}

fn recover_run(run: &mut Run, now: i64, limits: &Limits) {
    use RunPhase as P;
    match &mut run.phase {
        P::Submitting { call_off } => {
            run.phase = P::Settling {
                call_off: call_off.take(),
                failure: left_open(FailureReason::LoadFailed),
            };
        }
        P::Running { failures, .. } | P::Collecting { failures, .. } => *failures = 0,
        P::Checking { since, .. } => *since = now,
        P::Stopping {
            asked, give_up_at, ..
        } => {
            *asked = false;
            *give_up_at = now + milliseconds(limits.stop_grace);
        }
        P::Ending { since, failures, .. } => {
            *since = now;
            *failures = 0;
        }
        P::Lost { handle, outcome, .. } => {
            run.phase = P::Ending {
                handle: handle.clone(),
                outcome: outcome.clone(),
                since: now,
                failures: 0,
            };
        }
        P::Waiting | P::Settling { .. } | P::Ended(_) => {}
    }
}

/// Opens a run that ended short of its end; one that is still being ended is marked to be opened then.
fn reopen(run: &mut Run, server_in_use: bool) {
    use RunPhase as P;
    match &mut run.phase {
        P::Settling { call_off, .. } if call_off.is_some() => {
            if server_in_use {
                *call_off = None;
            } else {
                run.again = true;
            }
        }
        P::Stopping { outcome, .. }
        | P::Ending { outcome, .. }
        | P::Collecting { outcome, .. }
        | P::Ended(outcome)
            if outcome.is_worth_resuming() =>
        {
            run.again = true;
        }
        _ => {}
    }
}
