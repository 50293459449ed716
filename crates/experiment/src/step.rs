//! The pure step: an event in, effects out.
//!
//! Answers change the phase of their object (`step/deployment.rs`, `step/run.rs`); then [`Step::advance`] draws what
//! follows for the deployments from what their runs still need. Ticks repeat the question or the order that a phase
//! stands for, so a lost answer is asked for again and nothing depends on an effect arriving exactly once.

mod deployment;
mod run;
mod way_out;

use gipfel_model::{DeploymentId, RunId};

use crate::{
    campaign::Campaign,
    deployment::{Deployment, DeploymentOutcome, DeploymentPhase},
    event::{Effect, Event, Scope},
    limits::{Limits, milliseconds},
    run::{Run, RunOutcome, RunPhase},
};

impl Campaign {
    /// Takes an event at the time `now`, in milliseconds of any clock that keeps its origin over restarts, and gives
    /// what is to be carried out. The caller writes the campaign to its journal before it carries anything out.
    pub fn step(&mut self, event: Event, now: i64, limits: &Limits) -> Vec<Effect> {
        let mut step = Step {
            campaign: self,
            now,
            limits,
            effects: Vec::new(),
        };
        step.apply(event);
        step.effects
    }
}

/// One step under way. Deployments and runs are named by their places, `d` and `r`.
struct Step<'a> {
    campaign: &'a mut Campaign,
    now: i64,
    limits: &'a Limits,
    effects: Vec<Effect>,
}

impl Step<'_> {
    fn apply(&mut self, event: Event) {
        let mut tick = None;
        match event {
            Event::Start => {
                self.repeat(Scope::All);
                tick = Some(Scope::All);
            }
            Event::Tick(scope) => {
                self.repeat(scope);
                tick = Some(scope);
            }
            Event::Interrupt => self.interrupt(),
            Event::Deployment(id, event) => {
                if let Some(d) = self.find_deployment(&id) {
                    self.on_deployment(d, event);
                }
            }
            Event::Run(id, event) => {
                if let Some((d, r)) = self.find_run(&id) {
                    self.on_run(d, r, event);
                }
            }
        }
        self.advance(tick);
    }

    fn find_deployment(&self, id: &DeploymentId) -> Option<usize> {
        self.campaign
            .deployments
            .iter()
            .position(|deployment| deployment.id == *id)
    }

    fn find_run(&self, id: &RunId) -> Option<(usize, usize)> {
        self.campaign
            .deployments
            .iter()
            .enumerate()
            .find_map(|(d, deployment)| {
                deployment
                    .runs
                    .iter()
                    .position(|run| run.id == *id)
                    .map(|r| (d, r))
            })
    }

    fn server(&self, d: usize) -> &Deployment {
        &self.campaign.deployments[d]
    }

    fn server_mut(&mut self, d: usize) -> &mut Deployment {
        &mut self.campaign.deployments[d]
    }

    fn load(&self, d: usize, r: usize) -> &Run {
        &self.campaign.deployments[d].runs[r]
    }

    fn load_mut(&mut self, d: usize, r: usize) -> &mut Run {
        &mut self.campaign.deployments[d].runs[r]
    }

    fn emit(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Whether the time of an end that was refused `failures` times is up.
    fn end_is_hopeless(&self, failures: u32, since: i64) -> bool {
        failures >= self.limits.end_attempts && self.now >= since + milliseconds(self.limits.end_patience)
    }

    /// Sends again what each phase stands for.
    fn repeat(&mut self, scope: Scope) {
        for d in 0..self.campaign.deployments.len() {
            if scope == Scope::Near && !self.server(d).is_near() {
                continue;
            }
            self.repeat_deployment(d, scope);
            for r in 0..self.server(d).runs.len() {
                self.repeat_run(d, r);
            }
        }
    }

    fn interrupt(&mut self) {
        self.campaign.interrupted = true;
        for d in 0..self.campaign.deployments.len() {
            #[cfg(test)]
            self.forget_open_submission(d);
            self.server_mut(d).successor = None;
            for r in 0..self.server(d).runs.len() {
                self.load_mut(d, r).again = false;
                self.call_off(d, r, RunOutcome::Stopped);
            }
        }
    }

    #[cfg(test)]
    fn forget_open_submission(&mut self, d: usize) {
        use crate::limits::Mutation;
        if !self.limits.mutated(Mutation::IgnoreOpenSubmission) {
            return;
        }
        for run in &mut self.server_mut(d).runs {
            if matches!(run.phase, RunPhase::Submitting { .. }) {
                run.phase = RunPhase::Ended(RunOutcome::Stopped);
            }
        }
    }

    /// Draws what follows from the present state; `tick` is what a tick reaches now.
    fn advance(&mut self, tick: Option<Scope>) {
        // Deployments that take another's place are appended while this goes on, so the end is looked at each time.
        let mut d = 0;
        while d < self.campaign.deployments.len() {
            self.reopen_runs(d);
            self.pass_on_runs(d);
            self.advance_deployment(d, tick);
            d += 1;
        }
    }

    fn advance_deployment(&mut self, d: usize, tick: Option<Scope>) {
        let wanted = !self.campaign.interrupted && self.server(d).has_open_runs();
        match (&self.server(d).phase, wanted) {
            (DeploymentPhase::Pending, true) => self.start_deployment(d, tick),
            (DeploymentPhase::Ready { .. }, true) => self.start_next_run(d, tick, |_| true),
            // It has left the queue. What waits for it by itself spends its own time in the queue meanwhile.
            (
                DeploymentPhase::Starting {
                    give_up_at: Some(_), ..
                },
                true,
            ) => {
                let server = self.server(d).spec.placement.clone();
                self.start_next_run(d, tick, |run| run.experiment.load.waits_for(&server));
            }
            (
                DeploymentPhase::Pending | DeploymentPhase::Starting { .. } | DeploymentPhase::Ready { .. },
                false,
            ) if !self.server(d).is_loaded() => {
                self.close(d);
            }
            _ => {}
        }
    }

    /// What was tried before is tried again at the pace of ticks only.
    fn may_try(&self, d: usize, attempt: u32, tick: Option<Scope>) -> bool {
        attempt == 0
            || match tick {
                None => false,
                Some(Scope::All) => true,
                Some(Scope::Near) => self.server(d).is_near(),
            }
    }

    fn start_deployment(&mut self, d: usize, tick: Option<Scope>) {
        let places = self
            .campaign
            .deployments
            .iter()
            .filter(|deployment| deployment.phase.takes_place())
            .count();
        if places < self.campaign.max_parallel.max(1) as usize
            && self.may_try(d, self.server(d).attempt, tick)
        {
            self.server_mut(d).phase = DeploymentPhase::Submitting { since: self.now };
            self.emit(Effect::SubmitDeployment(self.server(d).id.clone()));
        }
    }

    /// Starts the first run that waits, if it may be started now.
    fn start_next_run(&mut self, d: usize, tick: Option<Scope>, may_start: impl Fn(&Run) -> bool) {
        let deployment = self.server(d);
        // After a resume the server is looked at before it is used.
        let unseen = deployment.successor.is_some();
        let checking = deployment
            .runs
            .iter()
            .any(|run| matches!(run.phase, RunPhase::Checking { .. }));
        if unseen || checking || deployment.is_loaded() {
            return;
        }
        let Some(r) = deployment
            .runs
            .iter()
            .position(|run| run.phase == RunPhase::Waiting)
        else {
            return;
        };
        if may_start(self.load(d, r)) && self.may_try(d, self.load(d, r).attempt, tick) {
            self.load_mut(d, r).phase = RunPhase::Submitting { call_off: None };
            self.emit(Effect::SubmitRun(self.load(d, r).id.clone()));
        }
    }

    /// Leaves a server that nobody needs: ends it if it is ours and not to be kept.
    fn close(&mut self, d: usize) {
        let now = self.now;
        let deployment = self.server_mut(d);
        let stopped = deployment
            .runs
            .iter()
            .any(|run| run.outcome() == Some(&RunOutcome::Stopped));
        let outcome = if stopped {
            DeploymentOutcome::Stopped
        } else {
            DeploymentOutcome::Done
        };
        deployment.successor = None;
        match (&deployment.phase, deployment.owned) {
            (DeploymentPhase::Ready { handle, endpoint, .. }, true) if deployment.keep => {
                deployment.phase = DeploymentPhase::Kept {
                    handle: handle.clone(),
                    endpoint: endpoint.clone(),
                };
            }
            (DeploymentPhase::Starting { handle, .. } | DeploymentPhase::Ready { handle, .. }, true) => {
                let handle = handle.clone();
                deployment.phase = DeploymentPhase::Ending {
                    handle: handle.clone(),
                    outcome,
                    since: now,
                    failures: 0,
                };
                let id = deployment.id.clone();
                self.emit(Effect::EndDeployment(id, handle));
            }
            _ => deployment.phase = DeploymentPhase::Ended(outcome),
        }
    }

    /// Runs that were resumed while they were being ended wait for their turn again.
    fn reopen_runs(&mut self, d: usize) {
        let deployment = self.server_mut(d);
        if !deployment.phase.is_of_use() {
            return;
        }
        for run in &mut deployment.runs {
            if run.again && matches!(run.phase, RunPhase::Ended(_)) {
                run.again = false;
                run.phase = RunPhase::Waiting;
            }
        }
    }

    /// Gives the unfinished runs of a server that is gone to a fresh one.
    fn pass_on_runs(&mut self, d: usize) {
        let deployment = self.server_mut(d);
        let over = matches!(
            deployment.phase,
            DeploymentPhase::Ended(_) | DeploymentPhase::Lost { .. }
        );
        if !over || !deployment.runs.iter().all(|run| run.phase.is_over()) {
            return;
        }
        let Some(id) = deployment.successor.take() else {
            return;
        };
        let (mut passed, stay): (Vec<Run>, Vec<Run>) = std::mem::take(&mut deployment.runs)
            .into_iter()
            .partition(|run| run.again);
        deployment.runs = stay;
        if passed.is_empty() {
            return;
        }
        for run in &mut passed {
            run.again = false;
            run.attempt = 0;
            run.phase = RunPhase::Waiting;
        }
        let mut fresh = Deployment::new(id, deployment.spec.clone());
        fresh.keep = deployment.keep;
        fresh.owned = deployment.owned;
        fresh.borrowed.clone_from(&deployment.borrowed);
        fresh.phase = fresh.first_phase();
        fresh.runs = passed;
        self.campaign.deployments.push(fresh);
    }
}
