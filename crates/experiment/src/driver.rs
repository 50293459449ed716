//! The driver: carries effects out, feeds the answers back, keeps the journal ahead of the world.

mod backends;
mod call;
mod changes;
mod terms;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gipfel_model::{EndpointSpec, RunConfig};
use tokio::{
    sync::mpsc,
    task::{Id, JoinError, JoinSet},
    time::Instant,
};

use self::call::{Answer, Caller, unanswered};
pub use self::{
    backends::{Backends, Deadlines, Load, System},
    terms::{Command, Departure, DriverError, DriverOptions, Left, Update},
};
use crate::{
    campaign::Campaign,
    deployment::{Deployment, DeploymentPhase},
    event::{Effect, Event, Scope},
    journal::Journal,
    limits::milliseconds,
    run::{Run, RunPhase},
};

/// Makes the run configuration of a run whose server answers at the endpoint.
pub type RunConfigBuilder =
    Box<dyn Fn(&Campaign, &Deployment, &EndpointSpec, &Run) -> RunConfig + Send + Sync>;

/// Drives one campaign to its end.
pub struct Driver {
    campaign: Campaign,
    journal: Arc<Journal>,
    options: DriverOptions,
    caller: Caller,
}

impl Driver {
    /// A driver for a campaign that is planned, or resumed, and in the journal.
    pub fn new(
        campaign: Campaign,
        journal: impl Into<Arc<Journal>>,
        backends: Backends,
        options: DriverOptions,
        run_config: RunConfigBuilder,
    ) -> Result<Self, DriverError> {
        for deployment in &campaign.deployments {
            if backends.get(deployment.kind()).is_none() {
                return Err(DriverError::NoBackend {
                    kind: deployment.kind(),
                });
            }
        }
        let journal = journal.into();
        let caller = Caller {
            backends,
            deadlines: options.deadlines.clone(),
            run_config,
            directory: journal.directory().to_owned(),
        };
        Ok(Self {
            campaign,
            journal,
            options,
            caller,
        })
    }

    /// The time of steps, for [`Campaign::resume`] before the driver begins: Unix time in milliseconds.
    pub fn unix_now_ms() -> i64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, milliseconds)
    }

    /// Drives until everything is over or a command makes it leave. The end of `commands` is no command.
    pub async fn run(
        self,
        commands: mpsc::Receiver<Command>,
        updates: impl Fn(Update),
    ) -> Result<Departure, DriverError> {
        let shift = Shift {
            origin: (Self::unix_now_ms(), Instant::now()),
            campaign: self.campaign,
            journal: self.journal,
            options: self.options,
            caller: self.caller,
            updates,
            calls: JoinSet::new(),
            in_flight: HashMap::new(),
            troubles: BTreeMap::new(),
        };
        shift.work(commands).await
    }
}

/// A driver at work. It alone owns the campaign; calls only bring answers.
struct Shift<U> {
    origin: (i64, Instant),
    campaign: Campaign,
    journal: Arc<Journal>,
    options: DriverOptions,
    caller: Caller,
    updates: U,
    calls: JoinSet<Answer>,
    in_flight: HashMap<Id, Effect>,
    /// The last trouble of each object, so that one that stays is told once.
    troubles: BTreeMap<String, String>,
}

impl<U: Fn(Update)> Shift<U> {
    async fn work(mut self, mut commands: mpsc::Receiver<Command>) -> Result<Departure, DriverError> {
        self.report(None);
        self.take(Event::Start).await?;
        let mut listening = true;
        let mut look_at_all = Instant::now() + self.options.poll_interval;
        let mut looked_near = Instant::now();
        while !self.campaign.is_settled() {
            let look_near = looked_near + self.near_interval();
            tokio::select! {
                biased;
                command = commands.recv(), if listening => match command {
                    None => listening = false,
                    Some(Command::Detach) => return Ok(self.leave(Left::Detached)),
                    Some(Command::Interrupt) if self.campaign.interrupted => break,
                    Some(Command::Interrupt) => self.take(Event::Interrupt).await?,
                },
                Some(joined) = self.calls.join_next_with_id() => self.answered(joined).await?,
                () = tokio::time::sleep_until(look_at_all) => {
                    look_at_all = Instant::now() + self.options.poll_interval;
                    looked_near = Instant::now();
                    self.take(Event::Tick(Scope::All)).await?;
                }
                () = tokio::time::sleep_until(look_near) => {
                    looked_near = Instant::now();
                    self.take(Event::Tick(Scope::Near)).await?;
                }
            }
        }
        let left = if self.campaign.interrupted {
            Left::Interrupted
        } else {
            Left::Finished
        };
        Ok(self.leave(left))
    }

    fn leave(self, left: Left) -> Departure {
        Departure {
            campaign: self.campaign,
            left,
        }
    }

    fn now(&self) -> i64 {
        self.origin.0 + milliseconds(self.origin.1.elapsed())
    }

    /// What is near is looked at often while it is about to change.
    fn near_interval(&self) -> Duration {
        let near = || {
            self.campaign
                .deployments
                .iter()
                .filter(|deployment| deployment.is_near())
        };
        let about_to_change = near().any(|deployment| {
            let server = match deployment.phase {
                DeploymentPhase::Pending => deployment.attempt > 0,
                DeploymentPhase::Ready { .. } => false,
                _ => deployment.phase.takes_place(),
            };
            let load = deployment.runs.iter().any(|run| match run.phase {
                RunPhase::Waiting => run.attempt > 0,
                RunPhase::Running { .. } => false,
                _ => !run.phase.is_over(),
            });
            server || load
        });
        let idle = self.options.poll_interval.min(Duration::from_secs(1));
        match (about_to_change, near().next().is_some()) {
            (true, _) => self.options.near_interval.min(idle),
            (false, true) => idle,
            (false, false) => self.options.poll_interval,
        }
    }

    /// One step: the state, then the journal, then the effects.
    async fn take(&mut self, event: Event) -> Result<(), DriverError> {
        tracing::debug!(?event, "step");
        let before = self.campaign.clone();
        let now = self.now();
        let effects = self.campaign.step(event, now, &self.options.limits);
        if self.campaign != before {
            self.write_journal().await?;
            self.report(Some(&before));
        }
        for effect in effects {
            self.call(effect, now);
        }
        Ok(())
    }

    async fn write_journal(&self) -> Result<(), DriverError> {
        let journal = Arc::clone(&self.journal);
        let campaign = self.campaign.clone();
        let written = tokio::task::spawn_blocking(move || journal.write(&campaign)).await;
        let written = written.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        written.map_err(|source| DriverError::Journal {
            source,
            live: self.campaign.live(),
        })
    }

    fn call(&mut self, effect: Effect, now: i64) {
        if self.in_flight.values().any(|other| *other == effect) {
            return;
        }
        tracing::debug!(?effect, "call");
        let call = self.caller.call(&self.campaign, &effect, now);
        let id = self.calls.spawn(call).id();
        self.in_flight.insert(id, effect);
    }

    async fn answered(&mut self, joined: Result<(Id, Answer), JoinError>) -> Result<(), DriverError> {
        let (id, answer) = match joined {
            Ok((id, answer)) => (id, Some(answer)),
            Err(error) => {
                tracing::error!(%error, "a call to a backend panicked");
                (error.id(), None)
            }
        };
        let Some(effect) = self.in_flight.remove(&id) else {
            return Ok(());
        };
        let answer = answer.unwrap_or_else(|| unanswered(&effect, "the backend panicked"));
        self.tell(&effect, &answer);
        if let Some((id, progress)) = answer.progress {
            (self.updates)(Update::Progress { id, progress });
        }
        self.take(answer.event).await
    }

    fn tell(&mut self, effect: &Effect, answer: &Answer) {
        let about = effect.object().to_owned();
        match &answer.trouble {
            None => {
                self.troubles.remove(&about);
            }
            Some(message) if self.troubles.get(&about) == Some(message) => {}
            Some(message) => {
                self.troubles.insert(about.clone(), message.clone());
                (self.updates)(Update::Trouble {
                    about,
                    message: message.clone(),
                });
            }
        }
    }

    /// Tells the display what has changed since `before`; everything without it.
    fn report(&self, before: Option<&Campaign>) {
        self.campaign
            .changes_since(before, &self.options.limits)
            .into_iter()
            .for_each(&self.updates);
    }
}
