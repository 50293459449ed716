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
    disturbance::Disturbance,
    metrics::Gauges,
    model::{EngineModel, Step},
    stream::{Handover, TokenStream, Work},
};

/// The rest of a wait that is spent looking at the clock: a thread wakes up to about this much after its timeout.
const SPIN: Duration = Duration::from_micros(80);

/// What the server tells the engine, stamped with the time at which it happened.
#[derive(Debug)]
pub(crate) enum Command {
    Submit {
        id: u64,
        work: Work,
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

/// A request in the engine.
struct Living {
    work: Work,
    at_ns: i64,
    stream: Arc<TokenStream>,
}

/// The engine's thread.
pub(crate) struct Engine<C> {
    model: EngineModel,
    clock: C,
    commands: Receiver<Command>,
    /// Received, but later than the boundary of the steps so far.
    pending: VecDeque<Command>,
    living: HashMap<u64, Living>,
    gauges: Arc<Gauges>,
    handover: Arc<Handover>,
    /// The end of the last step by the schedule.
    boundary_ns: i64,
    /// The hand-over of the last step's tokens by the clock, or the arrival that started the engine.
    observed_ns: i64,
    emitted: Vec<(Arc<TokenStream>, u32)>,
    /// When the requests came that get their first token with the step in progress.
    started_ns: Vec<i64>,
    /// Requests that end with the step in progress.
    ended: Vec<u64>,
    disturbance: Disturbance,
    /// When the first request came: the origin of the disturbance.
    origin_ns: Option<i64>,
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
            living: HashMap::new(),
            gauges,
            handover,
            boundary_ns: 0,
            observed_ns: 0,
            emitted: Vec::new(),
            started_ns: Vec::new(),
            ended: Vec::new(),
            disturbance: Disturbance::default(),
            origin_ns: None,
        }
    }

    pub(crate) fn with_disturbance(self, disturbance: Disturbance) -> Self {
        Self { disturbance, ..self }
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
                work,
                stream,
                at_ns,
            } => self.submit(id, Living { work, at_ns, stream }),
            Command::Cancel { id, .. } => {
                if self.living.remove(&id).is_some() {
                    self.model.cancel(id);
                }
            }
        }
    }

    fn submit(&mut self, id: u64, request: Living) {
        let Work {
            prompt,
            cached,
            output,
        } = request.work;
        self.origin_ns.get_or_insert(request.at_ns);
        match self.model.submit_with_prefix(id, prompt, cached, output) {
            Ok(()) => drop(self.living.insert(id, request)),
            Err(error) => tracing::error!(id, %error, "the server let an impossible request through"),
        }
    }

    /// Carries out one step; false when the engine is idle.
    fn step(&mut self) -> bool {
        let Some(step) = self.compute() else { return false };
        let begin_ns = self.boundary_ns;
        self.count_admissions(begin_ns);
        let origin_ns = self.origin_ns.unwrap_or_default();
        self.boundary_ns = origin_ns + self.disturbance.end_ns(begin_ns - origin_ns, step.duration_ns);
        self.clock.wait_until(self.boundary_ns);
        self.record(self.boundary_ns - begin_ns);
        self.handover.publish(&mut self.emitted);
        true
    }

    /// The next step, and the tokens that it emits at its end.
    fn compute(&mut self) -> Option<Step> {
        let (living, emitted, gauges) = (&self.living, &mut self.emitted, &self.gauges);
        let (started_ns, ended) = (&mut self.started_ns, &mut self.ended);
        self.model.step(|token| {
            let Some(request) = living.get(&token.request) else {
                return;
            };
            if token.number == 1 {
                gauges.count_prompt(request.work);
                started_ns.push(request.at_ns);
            }
            emitted.push((Arc::clone(&request.stream), token.number));
            if token.last {
                ended.push(token.request);
            }
        })
    }

    /// A request has waited until the step that admits it began.
    fn count_admissions(&mut self, begin_ns: i64) {
        for request in self.model.admitted().iter().filter_map(|id| self.living.get(id)) {
            self.gauges.queue.observe(begin_ns - request.at_ns);
        }
        for id in self.ended.drain(..) {
            self.living.remove(&id);
        }
    }

    fn record(&mut self, modelled_ns: i64) {
        let now_ns = self.clock.now_ns();
        let add = |counter: &AtomicU64, value: i64| {
            counter.fetch_add(value.max(0) as u64, Ordering::Relaxed);
        };
        for at_ns in self.started_ns.drain(..) {
            self.gauges.ttft.observe(now_ns - at_ns);
        }
        add(&self.gauges.steps, 1);
        add(&self.gauges.modelled_ns, modelled_ns);
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
        clocked::SimClockServer,
        disturbance::{Slowdown, Stall},
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
            work: Work {
                prompt: request.input,
                cached: 0,
                output: request.output,
            },
            stream: Arc::default(),
            at_ns: request.arrival_ns,
        };
        commands.send(command).expect("the receiver lives");
    }

    fn run(law: StepLaw, disturbance: Disturbance, requests: &[Scheduled]) -> (Arc<Gauges>, i64) {
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
        engine.with_disturbance(disturbance).run();
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
        let (gauges, ended_ns) = run(millisecond_law(), Disturbance::default(), &requests);
        let count = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let read = |value: &AtomicU64| count(value) as f64;
        assert!(ended_ns > 60_000_000_000, "{ended_ns}");
        assert!(read(&gauges.steps) > 4000.0);
        let share = read(&gauges.elapsed_ns) / read(&gauges.modelled_ns);
        assert!((share - 1.0).abs() < 0.005, "{share}");
        assert!(read(&gauges.latest_ns) >= 80e6);
        assert_eq!(count(&gauges.generation_tokens), 15_000);
        assert_eq!(count(&gauges.prompt_tokens), 45_000);
        assert_eq!((gauges.ttft.count(), gauges.queue.count()), (1500, 1500));
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
    fn the_disturbance_is_the_simulated_one() {
        let disturbance = Disturbance {
            slower: Some(Slowdown {
                after_ns: 5_000_000_000,
                share: 0.5,
            }),
            stall: Some(Stall {
                every_ns: 2_000_000_000,
                for_ns: 300_000_000,
            }),
        };
        let requests: Vec<Scheduled> = (0..200)
            .map(|i| Scheduled {
                arrival_ns: 1_000_000_000 + i * 40_000_000,
                input: 30,
                output: 10,
            })
            .collect();
        let (_, ended_ns) = run(millisecond_law(), disturbance, &requests);
        let mut server = SimClockServer::new(millisecond_law(), 5).with_disturbance(disturbance);
        for (id, request) in requests.iter().enumerate() {
            server
                .submit(request.arrival_ns, id as u64, request.input, request.output)
                .expect("the request fits");
        }
        let mut last_ns = 0;
        server.advance_to(i64::MAX, |event| last_ns = event.at_ns);
        assert!(last_ns > 9_200_000_000, "{last_ns}");
        assert!(
            (0..300_000).contains(&(ended_ns - last_ns)),
            "{ended_ns} {last_ns}"
        );
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
