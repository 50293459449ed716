//! A state of driver and world together, and every way that it can go on.

use gipfel_backend::{Effect as StartEffect, FailureReason, Found, Handle};

use super::world::{Load, Manner, Server, ServerState, Turn, World, failure};
use crate::{
    campaign::Campaign,
    event::{DeploymentEvent, Effect, Event, RunEvent, Scope, SubmitFailure},
    limits::Limits,
    run::RunPhase,
};

/// A time at which every deadline has passed that was set at time 0.
const LATE: i64 = 1_000_000_000;

/// How an effect in flight is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Success,
    /// As a success, but after every deadline.
    LateSuccess,
    /// A submission that did not happen.
    Refused,
    /// A submission that failed after it took effect, and says so.
    FailedStarted,
    /// It took effect and the answer was lost.
    LostAnswer,
    /// The answer was lost; it may take effect later.
    LostRequest,
    /// The finder does not know yet.
    Unsettled,
    /// No effect, and an error.
    Failed,
    /// As a failure, but after every deadline.
    LateFailed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Answer(usize, Reply),
    Turn(Turn),
    /// A submission that nobody waits for takes effect.
    Stray(usize),
    Tick,
    LateTick,
    Interrupt,
    /// The driver dies and the campaign is resumed from its journal.
    Crash,
}

#[derive(Clone)]
pub(super) struct State {
    pub(super) campaign: Campaign,
    pub(super) world: World,
    pub(super) crashes_left: u8,
    pub(super) interrupts_left: u8,
    fresh: u8,
}

impl State {
    pub(super) fn new(campaign: Campaign, manner: Manner, crashes: u8, limits: &Limits) -> Self {
        let world = World::new(manner);
        let mut state = Self {
            campaign,
            world,
            crashes_left: crashes,
            interrupts_left: 1,
            fresh: 0,
        };
        state.step(Event::Start, 0, limits);
        state
    }

    fn step(&mut self, event: Event, now: i64, limits: &Limits) {
        for effect in self.campaign.step(event, now, limits) {
            if !self.world.flights.contains(&effect) {
                self.world.flights.push(effect);
            }
        }
    }

    pub(super) fn choices(&self) -> Vec<Choice> {
        let mut choices = Vec::new();
        for (place, effect) in self.world.flights.iter().enumerate() {
            choices.extend(
                self.replies(effect)
                    .iter()
                    .map(|reply| Choice::Answer(place, *reply)),
            );
        }
        choices.extend(self.world.turns().into_iter().map(Choice::Turn));
        choices.extend((0..self.world.strays.len()).map(Choice::Stray));
        choices.push(Choice::Tick);
        if self
            .campaign
            .runs()
            .any(|(_, run)| matches!(run.phase, RunPhase::Stopping { .. }))
        {
            choices.push(Choice::LateTick);
        }
        if self.interrupts_left > 0 {
            choices.push(Choice::Interrupt);
        }
        if self.crashes_left > 0 {
            choices.push(Choice::Crash);
        }
        choices
    }

    fn replies(&self, effect: &Effect) -> &'static [Reply] {
        use Reply as R;
        match effect {
            Effect::SubmitDeployment(_) | Effect::SubmitRun(_) => &[
                R::Success,
                R::Refused,
                R::FailedStarted,
                R::LostAnswer,
                R::LostRequest,
            ],
            Effect::FindDeployment(_) | Effect::FindRun(_) => &[R::Success, R::Unsettled, R::Failed],
            Effect::ObserveDeployment(id, _) => {
                match self.world.server(id.as_str()).map(|server| server.state) {
                    Some(ServerState::Loading) => &[R::Success, R::LateSuccess, R::Failed, R::LateFailed],
                    _ => &[R::Success, R::Failed, R::LateFailed],
                }
            }
            Effect::EndDeployment(..) | Effect::EndRun(..) => &[R::Success, R::LostAnswer, R::Failed],
            Effect::ObserveRun(..) | Effect::StopRun(..) | Effect::FetchRun(..) => &[R::Success, R::Failed],
            Effect::ReadDeploymentLog(..) => &[R::Success],
        }
    }

    pub(super) fn after(&self, choice: Choice, limits: &Limits) -> Self {
        let mut next = self.clone();
        match choice {
            Choice::Answer(place, reply) => {
                let effect = next.world.flights.remove(place);
                let late = matches!(reply, Reply::LateSuccess | Reply::LateFailed);
                let now = if late { LATE } else { 0 };
                let event = next.answer(effect, reply);
                next.step(event, now, limits);
            }
            Choice::Turn(turn) => next.world.turn(turn),
            Choice::Stray(place) => {
                let effect = next.world.strays.remove(place);
                next.world.submit(&effect);
            }
            Choice::Tick => next.step(Event::Tick(Scope::All), 0, limits),
            Choice::LateTick => next.step(Event::Tick(Scope::All), LATE, limits),
            Choice::Interrupt => {
                next.interrupts_left -= 1;
                next.step(Event::Interrupt, 0, limits);
            }
            Choice::Crash => {
                next.crashes_left -= 1;
                next.crash(limits);
            }
        }
        next
    }

    /// Only the journal survives. Submissions on their way may take effect later or never.
    pub(super) fn crash(&mut self, limits: &Limits) {
        let submissions = std::mem::take(&mut self.world.flights)
            .into_iter()
            .filter(is_submission);
        self.world.strays.extend(submissions);
        let journal = serde_json::to_vec(&self.campaign).unwrap();
        self.campaign = serde_json::from_slice(&journal).unwrap();
        let fresh = &mut self.fresh;
        self.campaign.resume(0, limits, &mut |_| {
            *fresh += 1;
            format!("d-fresh-{fresh}").parse().unwrap()
        });
        self.step(Event::Start, 0, limits);
    }

    fn answer(&mut self, effect: Effect, reply: Reply) -> Event {
        use DeploymentEvent as D;
        use RunEvent as R;
        let failed = matches!(reply, Reply::Failed | Reply::LateFailed);
        match effect {
            Effect::SubmitDeployment(ref id) => {
                let id = id.clone();
                match self.submit(effect, reply) {
                    Ok(handle) => Event::Deployment(id, D::Submitted(handle)),
                    Err(failure) => Event::Deployment(id, D::SubmitFailed(failure)),
                }
            }
            Effect::SubmitRun(ref id) => {
                let id = id.clone();
                match self.submit(effect, reply) {
                    Ok(handle) => Event::Run(id, R::Submitted(handle)),
                    Err(failure) => Event::Run(id, R::SubmitFailed(failure)),
                }
            }
            Effect::FindDeployment(id) if failed => Event::Deployment(id, D::FindFailed),
            Effect::FindRun(id) if failed => Event::Run(id, R::FindFailed),
            Effect::FindDeployment(id) => {
                let found = self.world.server(id.as_str()).map(Server::handle);
                let found = self.settle(id.as_str(), found, reply);
                Event::Deployment(id, D::Found(found))
            }
            Effect::FindRun(id) => {
                let found = self.world.load(id.as_str()).map(Load::handle);
                let found = self.settle(id.as_str(), found, reply);
                Event::Run(id, R::Found(found))
            }
            Effect::ObserveDeployment(id, handle) => {
                let event = match self.world.server_of(&handle) {
                    Some(server) if !failed => D::Observed {
                        handle,
                        asked_at: 0,
                        status: server.status(),
                    },
                    _ => D::ObserveFailed { handle },
                };
                Event::Deployment(id, event)
            }
            Effect::ReadDeploymentLog(id, handle) => Event::Deployment(
                id,
                D::Log {
                    handle,
                    text: String::new(),
                },
            ),
            Effect::EndDeployment(id, handle) => {
                let over = !failed && self.world.end_server(&handle) && reply == Reply::Success;
                let message = String::new();
                let failure = D::EndFailed {
                    handle: handle.clone(),
                    message,
                    retryable: true,
                };
                Event::Deployment(
                    id,
                    if over {
                        D::Ended { handle, usage: None }
                    } else {
                        failure
                    },
                )
            }
            Effect::ObserveRun(id, handle) => {
                let event = match self.world.load_of(&handle) {
                    Some(load) if !failed => R::Observed {
                        handle,
                        status: load.status(),
                    },
                    _ => R::ObserveFailed { handle },
                };
                Event::Run(id, event)
            }
            Effect::StopRun(id, handle) if failed => Event::Run(id, R::StopFailed { handle }),
            Effect::StopRun(id, handle) => {
                if let Some(load) = self.world.load_of(&handle) {
                    load.asked_to_stop |= load.lives();
                }
                Event::Run(id, R::StopAsked { handle })
            }
            Effect::FetchRun(id, handle) if failed => Event::Run(
                id,
                R::FetchFailed {
                    handle,
                    message: String::new(),
                    retryable: true,
                },
            ),
            Effect::FetchRun(id, handle) => {
                self.world.fetch(&handle);
                Event::Run(
                    id,
                    R::Fetched {
                        handle,
                        database: "run.db".into(),
                    },
                )
            }
            Effect::EndRun(id, handle) => {
                if !failed {
                    self.world.end_load(&handle);
                }
                let message = String::new();
                let failure = R::EndFailed {
                    handle: handle.clone(),
                    message,
                    retryable: true,
                };
                Event::Run(
                    id,
                    if reply == Reply::Success {
                        R::Ended { handle, usage: None }
                    } else {
                        failure
                    },
                )
            }
        }
    }

    #[expect(clippy::result_large_err, reason = "it becomes an event at once")]
    fn submit(&mut self, effect: Effect, reply: Reply) -> Result<Handle, SubmitFailure> {
        let known = match reply {
            Reply::Refused => StartEffect::NotStarted,
            Reply::LostRequest => {
                self.world.strays.push(effect);
                StartEffect::Unknown
            }
            Reply::LostAnswer => {
                self.world.submit(&effect);
                StartEffect::Unknown
            }
            Reply::FailedStarted => StartEffect::Started(self.world.submit(&effect)),
            _ => return Ok(self.world.submit(&effect)),
        };
        Err(SubmitFailure {
            effect: known,
            failure: failure(FailureReason::ServerFailed),
            retryable: true,
        })
    }

    /// An answer other than unsettled keeps earlier submissions of the name from coming to life.
    fn settle(&mut self, name: &str, found: Option<Handle>, reply: Reply) -> Found {
        if reply == Reply::Unsettled {
            return Found::Unsettled;
        }
        self.world.strays.retain(|stray| stray.object() != name);
        found.map_or(Found::Absent, Found::Started)
    }
}

fn is_submission(effect: &Effect) -> bool {
    matches!(effect, Effect::SubmitDeployment(_) | Effect::SubmitRun(_))
}
