//! A thread that sends: its own runtime, connections and share of the schedule.

use std::{cell::RefCell, io, rc::Rc, time::Duration};

use gipfel_model::{Phase, Slo, Timeouts};
use gipfel_stream_client::{Client, Clock, DeadlineTimer, Limits, Watch};
use tokio::{sync::mpsc, task::LocalSet, time::MissedTickBehavior};

use crate::{
    board::nanos,
    compose::Planned,
    cpu,
    load::Load,
    messages::{Gaps, Order, Report, Source},
    reach::Reach,
    upcoming::{Prepared, Renderer, Upcoming},
    writer::{Recorder, WriterMessage},
};

#[cfg(target_os = "linux")]
mod by_reactor;

/// Tasks that are polled before the sockets and the timer are looked at again; tokio's 61 would hold a due request back.
const EVENT_INTERVAL: u32 = 8;
/// How often a worker reports and hands its records over.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);
/// Records that a worker holds while too many wait for a slow disk, before they are given up, and the level with them.
const MAX_PENDING_RECORDS: usize = 20_000;
/// A rank that slept for so long is given up by rank 0: what it then finds overdue belongs to no level any more.
const OVERSLEPT_NS: i64 = 4_000_000_000;
/// Connections that a worker keeps open while idle.
const MAX_IDLE_CONNECTIONS: usize = 1024;

/// What a worker needs to begin.
pub(crate) struct WorkerSetup {
    pub(crate) index: usize,
    pub(crate) clock: Clock,
    pub(crate) reach: Reach,
    pub(crate) renderer: Renderer,
    pub(crate) slos: Vec<Slo>,
    pub(crate) timeouts: Timeouts,
    pub(crate) orders: mpsc::UnboundedReceiver<Order>,
    pub(crate) reports: mpsc::UnboundedSender<Report>,
    pub(crate) rows: Recorder,
    /// So many connections may be open at one time.
    pub(crate) max_connections: usize,
}

/// Runs the worker until nobody orders anything any more.
pub(crate) fn run(setup: WorkerSetup) {
    let alarm = PanicAlarm(setup.reports.clone());
    let outcome = send(setup);
    if let Err(error) = outcome {
        // The controller has left if nobody listens.
        let _ = alarm
            .0
            .send(Report::Failed(format!("a worker could not go on: {error:#}")));
    }
}

/// By a reactor where one reaches the servers, which costs less and keeps time better; else by tasks of a runtime.
fn send(setup: WorkerSetup) -> anyhow::Result<()> {
    #[cfg(target_os = "linux")]
    if let Some(reactor) = setup
        .reach
        .reactor(setup.clock, MAX_IDLE_CONNECTIONS, setup.max_connections)?
    {
        return by_reactor::serve(setup, reactor);
    }
    Ok(send_by_tasks(setup)?)
}

fn send_by_tasks(setup: WorkerSetup) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .build()?;
    let outcome = runtime.block_on(LocalSet::new().run_until(serve(setup)));
    // Not by dropping it, which would wait for a name server that does not answer.
    runtime.shutdown_background();
    outcome
}

/// Reports a panic of its thread, so that nobody waits for a worker that is gone.
struct PanicAlarm(mpsc::UnboundedSender<Report>);

impl Drop for PanicAlarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.0.send(Report::Failed("a worker panicked".to_owned()));
        }
    }
}

async fn serve(setup: WorkerSetup) -> io::Result<()> {
    let clients = setup
        .reach
        .clients(setup.clock, MAX_IDLE_CONNECTIONS)
        .map_err(io::Error::other)?;
    let mut timer = DeadlineTimer::new(setup.clock)?;
    let mut ticker = tokio::time::interval(REPORT_INTERVAL);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut sender, mut orders) = Sender::new(setup);
    loop {
        let deadline = sender.next_deadline();
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(order) => sender.obey(order),
                None => return Ok(()),
            },
            // Before the timer: a worker that is always behind must still say so.
            _ = ticker.tick() => sender.report(),
            () = timer.until(deadline.unwrap_or(0)), if deadline.is_some() => sender.send_due(&clients),
            () = std::future::ready(()), if sender.upcoming.wants_more() => {
                sender.prepare_one();
                // Rendering must not keep the readers of the same thread waiting.
                tokio::task::yield_now().await;
            }
        }
    }
}

struct Sender {
    index: usize,
    clock: Clock,
    renderer: Renderer,
    timeouts: Timeouts,
    reports: mpsc::UnboundedSender<Report>,
    rows: Recorder,
    /// Open at one time, at most, since the last report, and dialled so far; 0 where that is not known.
    connections: (u64, u64),
    upcoming: Upcoming,
    load: Rc<RefCell<Load>>,
}

impl Sender {
    fn new(setup: WorkerSetup) -> (Self, mpsc::UnboundedReceiver<Order>) {
        let sender = Self {
            index: setup.index,
            clock: setup.clock,
            upcoming: Upcoming::new(&setup.renderer.workload),
            load: Rc::new(RefCell::new(Load::new(setup.slos.into()))),
            timeouts: setup.timeouts,
            reports: setup.reports,
            rows: setup.rows,
            connections: (0, 0),
            renderer: setup.renderer,
        };
        (sender, setup.orders)
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Append(piece, share) => {
                self.load.borrow_mut().expect(&piece);
                self.upcoming.append(piece, share);
            }
            Order::Shed => self.load.borrow_mut().shed_waiting(self.clock.now_ns()),
            Order::Close(level) => {
                let gaps = self.load.borrow_mut().close(self.index, level);
                self.tell(gaps);
            }
            Order::Cut => self.cut(),
        }
    }

    /// The controller has left if nobody listens; the worker's orders end then too.
    fn tell(&self, report: Report) {
        let _ = self.reports.send(report);
    }

    fn next_deadline(&mut self) -> Option<i64> {
        self.upcoming.next_deadline(&self.renderer)
    }

    fn prepare_one(&mut self) {
        self.upcoming.prepare(&self.renderer);
    }

    fn send_due(&mut self, clients: &[Client]) {
        let now = self.clock.now_ns();
        while let Some(prepared) = self.next_due(now) {
            self.dispatch(prepared, clients);
        }
    }

    /// Takes the next request that is due.
    fn next_due(&mut self, now_ns: i64) -> Option<Prepared> {
        loop {
            let prepared = self.upcoming.pop_due(now_ns)?;
            let overslept = now_ns - prepared.planned.scheduled_ns > OVERSLEPT_NS;
            if self.renderer.rank == 0 || !overslept {
                return Some(prepared);
            }
        }
    }

    /// Enters a request that is being sent.
    fn admit(&mut self, planned: Planned) -> Admitted {
        let watch = Rc::new(Watch::default());
        let limits = Limits {
            scheduled_ns: planned.scheduled_ns,
            first_token_ns: planned.scheduled_ns + nanos(self.timeouts.first_token),
            between_tokens: self.timeouts.between_tokens,
            total_ns: planned.scheduled_ns + nanos(self.timeouts.total),
        };
        let now_ns = self.clock.now_ns();
        let (key, gaps) = self.load.borrow_mut().admit(planned, Rc::clone(&watch), now_ns);
        Admitted {
            key,
            watch,
            limits,
            gaps: GapTap {
                gaps: (planned.phase == Phase::Measured).then_some(gaps),
            },
        }
    }

    fn path(&self) -> &'static str {
        self.renderer
            .engine
            .api_path(self.renderer.workload.requests.endpoint)
    }

    fn dispatch(&mut self, prepared: Prepared, clients: &[Client]) {
        let Prepared { planned, body } = prepared;
        let Admitted {
            key,
            watch,
            limits,
            mut gaps,
        } = self.admit(planned);
        let client = clients[planned.endpoint as usize].clone();
        let load = Rc::clone(&self.load);
        let path = self.path();
        let task = tokio::task::spawn_local(async move {
            let on_gap = move |gap_ns| gaps.take(gap_ns);
            let exchange = client.stream(path, body, limits, watch, on_gap).await;
            load.borrow_mut().finish(key, exchange);
        });
        self.load.borrow_mut().remember_abort(key, task.abort_handle());
    }

    /// What is new, as the worker's own report.
    fn news(&self, load: &mut Load) -> Report {
        let mut news = load.news(self.clock.now_ns());
        (news.in_flight.connections, news.in_flight.dialled) = self.connections;
        news.threads
            .extend(cpu::of_this_thread(self.clock.now_ns()).map(|time| (self.index, time)));
        Report::News(Source::Worker(self.index), news)
    }

    /// Tells the controller how the load stands and hands finished records to the writer.
    fn report(&mut self) {
        let mut load = self.load.borrow_mut();
        self.tell(self.news(&mut load));
        if load.has_lost_a_task() {
            self.tell(lost_task());
        }
        for gaps in load.take_over(self.index, false) {
            self.tell(gaps);
        }
        self.rows.offer(&mut load.records);
        if load.records.len() > MAX_PENDING_RECORDS {
            load.lose_records();
        }
    }

    /// Cancels what is in flight, and hands everything over before it says so.
    fn cut(&mut self) {
        self.upcoming.clear();
        let (news, records, lost, gaps) = {
            let mut load = self.load.borrow_mut();
            let lost = load.has_lost_a_task();
            load.shed_all(self.clock.now_ns());
            let news = self.news(&mut load);
            let records = std::mem::take(&mut load.records);
            (news, records, lost, load.take_over(self.index, true))
        };
        if !records.is_empty() {
            // An error means that the writer has failed, which it reports itself.
            let _ = self.rows.write(WriterMessage::Requests(records));
        }
        self.tell(news);
        if lost {
            self.tell(lost_task());
        }
        for gaps in gaps {
            self.tell(gaps);
        }
        self.tell(Report::Flushed(Source::Worker(self.index)));
    }
}

/// A request that the load knows of, and what its exchange needs.
struct Admitted {
    key: u64,
    watch: Rc<Watch>,
    limits: Limits,
    gaps: GapTap,
}

/// Where the gaps of a request go: nowhere unless it is measured.
struct GapTap {
    gaps: Option<Rc<RefCell<Gaps>>>,
}

impl GapTap {
    fn take(&mut self, gap_ns: i64) {
        if let Some(gaps) = &self.gaps {
            gaps.borrow_mut().saturating_record(gap_ns.max(0) as u64);
        }
    }
}

fn lost_task() -> Report {
    Report::Failed("a request's task panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_reported() {
        let (reports, mut received) = mpsc::unbounded_channel();
        let thread = std::thread::spawn(move || {
            let _alarm = PanicAlarm(reports);
            std::panic::resume_unwind(Box::new("a test's panic"));
        });
        thread.join().expect_err("it panics");
        assert!(matches!(received.try_recv(), Ok(Report::Failed(text)) if text == "a worker panicked"));
    }
}
