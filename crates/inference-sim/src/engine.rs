//! The model in real time: a thread that carries out the step loop on absolute deadlines.
//!
//! Step k + 1 starts when step k ends by the schedule, or when a request arrives at an idle engine; never when the
//! thread happened to wake. A late wake delays the tokens of one step and changes no later step, so the mean step is
//! the model's. After a stall of the machine the steps follow each other at once until the schedule is caught up.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, TryRecvError},
    },
    time::{Duration, Instant},
};

use crate::{
    metrics::Gauges,
    model::{EngineModel, Step},
    stream::{Handover, TokenStream},
};

/// The rest of a wait that is spent looking at the clock: a thread wakes up to about this much after its timeout.
const SPIN: Duration = Duration::from_micros(80);

/// What the server tells the engine, stamped with the time at which it happened.
#[derive(Debug)]
pub(crate) enum Command {
    Submit {
        id: u64,
        prompt: u32,
        output: u32,
        stream: Arc<TokenStream>,
        at_ns: i64,
    },
    Cancel {
        id: u64,
        at_ns: i64,
    },
}

impl Command {
    fn at_ns(&self) -> i64 {
        match self {
            Self::Submit { at_ns, .. } | Self::Cancel { at_ns, .. } => *at_ns,
        }
    }
}

/// Time as the engine sees it; tests own theirs.
pub(crate) trait Clock {
    /// Nanoseconds after the clock's anchor.
    fn now_ns(&self) -> i64;

    /// Returns at the deadline, or as soon after it as can be.
    fn wait_until(&self, deadline_ns: i64);
}

/// The machine's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MonotonicClock(Instant);

impl MonotonicClock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for MonotonicClock {
    fn now_ns(&self) -> i64 {
        self.0.elapsed().as_nanos() as i64
    }

    fn wait_until(&self, deadline_ns: i64) {
        let deadline = self.0 + Duration::from_nanos(deadline_ns.max(0) as u64);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            match left.checked_sub(SPIN) {
                // May return early; the loop looks again.
                Some(sleep) if !sleep.is_zero() => std::thread::park_timeout(sleep),
                _ => std::hint::spin_loop(),
            }
        }
    }
}

/// The engine's thread.
pub(crate) struct Engine<C> {
    model: EngineModel,
    clock: C,
    commands: Receiver<Command>,
    /// Received, but later than the boundary of the steps so far.
    pending: VecDeque<Command>,
    /// The prompt's length of each living request, and where its tokens go.
    streams: HashMap<u64, (u32, Arc<TokenStream>)>,
    gauges: Arc<Gauges>,
    handover: Arc<Handover>,
    /// The end of the last step by the schedule.
    boundary_ns: i64,
    /// The hand-over of the last step's tokens by the clock, or the arrival that started the engine.
    observed_ns: i64,
    emitted: Vec<(Arc<TokenStream>, u32)>,
}

impl<C: Clock> Engine<C> {
    pub(crate) fn new(
        model: EngineModel,
        clock: C,
        commands: Receiver<Command>,
        gauges: Arc<Gauges>,
        handover: Arc<Handover>,
    ) -> Self {
        Self {
            model,
            clock,
            commands,
            pending: VecDeque::new(),
            streams: HashMap::new(),
            gauges,
            handover,
            boundary_ns: 0,
            observed_ns: 0,
            emitted: Vec::new(),
        }
    }

    /// Runs until every sender of commands is gone and no request is left.
    pub(crate) fn run(mut self) {
        loop {
            self.receive();
            self.apply_due();
            self.gauges.set_load(self.model.load());
            if !self.step() && !self.wait_for_command() {
                return;
            }
        }
    }

    fn receive(&mut self) {
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.pending.push_back(command),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }

    /// A command that came after the boundary belongs to a later step, also when this thread woke after it.
    fn apply_due(&mut self) {
        let boundary_ns = self.boundary_ns;
        while let Some(command) = self
            .pending
            .pop_front_if(|command| command.at_ns() <= boundary_ns)
        {
            self.apply(command);
        }
    }

    fn apply(&mut self, command: Command) {
        match command {
            Command::Submit {
                id,
                prompt,
                output,
                stream,
                ..
            } => match self.model.submit(id, prompt, output) {
                Ok(()) => drop(self.streams.insert(id, (prompt, stream))),
                Err(error) => tracing::error!(id, %error, "the server let an impossible request through"),
            },
            Command::Cancel { id, .. } => {
                if self.streams.remove(&id).is_some() {
                    self.model.cancel(id);
                }
            }
        }
    }

    /// Carries out one step; false when the engine is idle.
    fn step(&mut self) -> bool {
        let (streams, emitted, gauges) = (&mut self.streams, &mut self.emitted, &self.gauges);
        let step = self.model.step(|token| {
            let Some((prompt, stream)) = streams.get(&token.request) else {
                return;
            };
            if token.number == 1 {
                gauges
                    .prompt_tokens
                    .fetch_add(u64::from(*prompt), Ordering::Relaxed);
            }
            emitted.push((Arc::clone(stream), token.number));
            if token.last {
                streams.remove(&token.request);
            }
        });
        let Some(step) = step else { return false };
        self.boundary_ns += step.duration_ns;
        self.clock.wait_until(self.boundary_ns);
        self.record(step);
        self.handover.publish(&mut self.emitted);
        true
    }

    fn record(&mut self, step: Step) {
        let now_ns = self.clock.now_ns();
        let add = |counter: &AtomicU64, value: i64| {
            counter.fetch_add(value.max(0) as u64, Ordering::Relaxed);
        };
        add(&self.gauges.steps, 1);
        add(&self.gauges.modelled_ns, step.duration_ns);
        add(&self.gauges.elapsed_ns, now_ns - self.observed_ns);
        add(&self.gauges.generation_tokens, self.emitted.len() as i64);
        let late_ns = (now_ns - self.boundary_ns).max(0);
        add(&self.gauges.late_ns, late_ns);
        self.gauges.latest_ns.fetch_max(late_ns as u64, Ordering::Relaxed);
        self.observed_ns = now_ns;
    }

    /// Idle: the next command's time is the next step's start. False when none can come any more.
    fn wait_for_command(&mut self) -> bool {
        let command = match self.pending.pop_front() {
            Some(command) => command,
            None => match self.commands.recv() {
                Ok(command) => command,
                Err(_) => return false,
            },
        };
        self.boundary_ns = self.boundary_ns.max(command.at_ns());
        self.observed_ns = self.boundary_ns;
        self.apply(command);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        sync::mpsc::{Sender, channel},
    };

    use super::*;
    use crate::{
        model::{StepLaw, tests::law},
        simulate::{Scheduled, simulate},
    };

    /// Moves only when it is waited for, and oversleeps each time by another amount up to 300 µs; once by 80 ms.
    struct LateClock {
        now_ns: Cell<i64>,
        waits: Cell<i64>,
    }

    impl Clock for &LateClock {
        fn now_ns(&self) -> i64 {
            self.now_ns.get()
        }

        fn wait_until(&self, deadline_ns: i64) {
            let wait = self.waits.get() + 1;
            self.waits.set(wait);
            let late_ns = if wait == 1000 {
                80_000_000
            } else {
                wait * 7919 % 300_000
            };
            self.now_ns.set(self.now_ns.get().max(deadline_ns + late_ns));
        }
    }

    fn millisecond_law() -> StepLaw {
        StepLaw {
            base_ns: 10e6,
            token_ns: 10e3,
            noise: 0.05,
            ..law()
        }
    }

    fn submit(commands: &Sender<Command>, id: u64, request: Scheduled) {
        let command = Command::Submit {
            id,
            prompt: request.input,
            output: request.output,
            stream: Arc::default(),
            at_ns: request.arrival_ns,
        };
        commands.send(command).expect("the receiver lives");
    }

    fn run(law: StepLaw, requests: &[Scheduled]) -> (Arc<Gauges>, i64) {
        let (sender, receiver) = channel();
        for (id, &request) in requests.iter().enumerate() {
            submit(&sender, id as u64, request);
        }
        drop(sender);
        let clock = LateClock {
            now_ns: Cell::new(0),
            waits: Cell::new(0),
        };
        let gauges = Arc::new(Gauges::default());
        let model = EngineModel::new(law, 5);
        let engine = Engine::new(model, &clock, receiver, Arc::clone(&gauges), Arc::default());
        engine.run();
        (gauges, clock.now_ns.get())
    }

    #[test]
    fn late_wakes_do_not_change_the_mean_step() {
        let requests: Vec<Scheduled> = (0..1500)
            .map(|i| Scheduled {
                arrival_ns: i * 40_000_000,
                input: 30,
                output: 10,
            })
            .collect();
        let (gauges, ended_ns) = run(millisecond_law(), &requests);
        let count = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let read = |value: &AtomicU64| count(value) as f64;
        assert!(ended_ns > 60_000_000_000, "{ended_ns}");
        assert!(read(&gauges.steps) > 4000.0);
        let share = read(&gauges.elapsed_ns) / read(&gauges.modelled_ns);
        assert!((share - 1.0).abs() < 0.005, "{share}");
        assert!(read(&gauges.latest_ns) >= 80e6);
        assert_eq!(count(&gauges.generation_tokens), 15_000);
        assert_eq!(count(&gauges.prompt_tokens), 45_000);
        // The schedule is the simulated one: lateness moved nothing but the last hand-over.
        let simulated = simulate(millisecond_law(), 5, &requests).expect("the requests fit");
        let late_ns = ended_ns
            - simulated
                .iter()
                .map(|r| r.last_token_ns)
                .max()
                .unwrap_or_default();
        assert!((0..300_000).contains(&late_ns), "{late_ns}");
    }

    #[test]
    fn a_cancelled_request_leaves_at_the_next_boundary() {
        let (sender, receiver) = channel();
        let request = Scheduled {
            arrival_ns: 0,
            input: 10,
            output: 80,
        };
        submit(&sender, 0, request);
        let at_ns = 25_000_000;
        sender
            .send(Command::Cancel { id: 0, at_ns })
            .expect("the receiver lives");
        drop(sender);
        let clock = LateClock {
            now_ns: Cell::new(0),
            waits: Cell::new(0),
        };
        let gauges = Arc::new(Gauges::default());
        let model = EngineModel::new(
            StepLaw {
                noise: 0.0,
                ..millisecond_law()
            },
            5,
        );
        Engine::new(model, &clock, receiver, Arc::clone(&gauges), Arc::default()).run();
        // Steps end at 10.1, 20.1 and 30.1 ms.
        assert_eq!(gauges.steps.load(Ordering::Relaxed), 3);
        assert_eq!(gauges.running.load(Ordering::Relaxed), 0);
    }
}
