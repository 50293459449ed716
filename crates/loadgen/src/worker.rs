//! A thread that sends: its own runtime, connections and share of the schedule.

use std::{cell::RefCell, io, rc::Rc, time::Duration};

use gipfel_model::{Phase, Slo, Timeouts};
use gipfel_stream_client::{Client, ClientOptions, Clock, DeadlineTimer, Limits, Target, Watch};
use gipfel_workload::Share;
use tokio::{sync::mpsc, task::LocalSet, time::MissedTickBehavior};

use crate::{
    board::nanos,
    messages::{LevelOrder, Order, Report, no_gaps},
    open_level::OpenLevel,
    upcoming::{Prepared, Renderer, Upcoming},
    writer::WriterMessage,
};

/// Tasks that are polled before the sockets and the timer are looked at again; tokio's 61 would hold a due request back.
const EVENT_INTERVAL: u32 = 8;
/// How often a worker reports and hands its records over.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);
/// Records that wait for a slow disk before they are given up, and the level with them.
const MAX_PENDING_RECORDS: usize = 200_000;
/// Connections that a worker keeps open while idle.
pub(crate) const MAX_IDLE_CONNECTIONS: usize = 1024;

/// What a worker needs to begin.
pub(crate) struct WorkerSetup {
    pub(crate) share: Share,
    pub(crate) clock: Clock,
    pub(crate) target: Target,
    pub(crate) options: ClientOptions,
    pub(crate) renderer: Renderer,
    pub(crate) slos: Vec<Slo>,
    pub(crate) timeouts: Timeouts,
    pub(crate) orders: mpsc::UnboundedReceiver<Order>,
    pub(crate) reports: mpsc::UnboundedSender<Report>,
    pub(crate) rows: mpsc::Sender<WriterMessage>,
}

/// Runs the worker until nobody orders anything any more.
pub(crate) fn run(setup: WorkerSetup) {
    let alarm = PanicAlarm(setup.reports.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .build();
    let outcome = runtime.and_then(|runtime| {
        let outcome = runtime.block_on(LocalSet::new().run_until(serve(setup)));
        // Not by dropping it, which would wait for a name server that does not answer.
        runtime.shutdown_background();
        outcome
    });
    if let Err(error) = outcome {
        // The controller has left if nobody listens.
        let _ = alarm
            .0
            .send(Report::Failed(format!("a worker could not start: {error}")));
    }
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
    let WorkerSetup {
        share,
        clock,
        target,
        options,
        renderer,
        slos,
        timeouts,
        mut orders,
        reports,
        rows,
    } = setup;
    let client = Client::new(clock, target, options).map_err(io::Error::other)?;
    let mut timer = DeadlineTimer::new(clock)?;
    let mut ticker = tokio::time::interval(REPORT_INTERVAL);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sender = Sender {
        index: share.worker as usize,
        clock,
        client,
        renderer,
        slos: slos.into(),
        timeouts,
        reports,
        rows,
        level: None,
    };
    loop {
        let deadline = sender.next_deadline();
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(Order::Begin(order)) => sender.begin(order, share),
                Some(Order::Cut) => sender.cut().await,
                None => return Ok(()),
            },
            // Before the timer: a worker that is always behind must still say so.
            _ = ticker.tick() => sender.report(),
            () = timer.until(deadline.unwrap_or(0)), if deadline.is_some() => sender.send_due(),
            () = std::future::ready(()), if sender.wants_more() => sender.prepare_one().await,
        }
    }
}

/// The worker's side of the level that is being sent.
struct LevelWork {
    upcoming: Upcoming,
    open: Rc<RefCell<OpenLevel>>,
}

struct Sender {
    index: usize,
    clock: Clock,
    client: Client,
    renderer: Renderer,
    slos: Rc<[Slo]>,
    timeouts: Timeouts,
    reports: mpsc::UnboundedSender<Report>,
    rows: mpsc::Sender<WriterMessage>,
    level: Option<LevelWork>,
}

impl Sender {
    fn begin(&mut self, order: LevelOrder, share: Share) {
        let open = OpenLevel::new(&order, self.slos.len());
        let upcoming = Upcoming::new(order, &self.renderer.workload, share);
        self.level = Some(LevelWork {
            upcoming,
            open: Rc::new(RefCell::new(open)),
        });
    }

    fn next_deadline(&mut self) -> Option<i64> {
        let level = self.level.as_mut()?;
        level.upcoming.next_deadline(&self.renderer)
    }

    fn wants_more(&self) -> bool {
        self.level
            .as_ref()
            .is_some_and(|level| level.upcoming.wants_more())
    }

    async fn prepare_one(&mut self) {
        if let Some(level) = &mut self.level {
            level.upcoming.prepare(&self.renderer);
        }
        // Rendering must not keep the readers of the same thread waiting.
        tokio::task::yield_now().await;
    }

    fn send_due(&mut self) {
        let now = self.clock.now_ns();
        while let Some(prepared) = self.level.as_mut().and_then(|level| level.upcoming.pop_due(now)) {
            self.dispatch(prepared);
        }
    }

    fn dispatch(&mut self, prepared: Prepared) {
        let Some(level) = &self.level else { return };
        let Prepared { planned, body } = prepared;
        let watch = Rc::new(Watch::default());
        let limits = Limits {
            scheduled_ns: planned.scheduled_ns,
            first_token_ns: planned.scheduled_ns + nanos(self.timeouts.first_token),
            between_tokens: self.timeouts.between_tokens,
            total_ns: planned.scheduled_ns + nanos(self.timeouts.total),
        };
        let now_ns = self.clock.now_ns();
        let key = level.open.borrow_mut().admit(planned, Rc::clone(&watch), now_ns);
        let (client, open, slos) = (self.client.clone(), Rc::clone(&level.open), Rc::clone(&self.slos));
        let path = self.renderer.engine.chat_path();
        let task = tokio::task::spawn_local(async move {
            let measured = planned.phase == Phase::Measured;
            let gaps = Rc::clone(&open);
            let on_gap = move |gap_ns: i64| {
                if measured {
                    gaps.borrow_mut().gaps.saturating_record(gap_ns.max(0) as u64);
                }
            };
            let exchange = client.stream(path, body, limits, watch, on_gap).await;
            open.borrow_mut().finish(key, exchange, &slos);
        });
        level.open.borrow_mut().remember_abort(key, task.abort_handle());
    }

    /// Tells the controller where the level stands and hands finished records to the writer.
    fn report(&mut self) {
        let Some(level) = &self.level else { return };
        let mut open = level.open.borrow_mut();
        let update = open.update(self.index, self.clock.now_ns(), &self.slos);
        // The controller has left if nobody listens; the worker's orders end then too.
        let _ = self.reports.send(update);
        if open.has_lost_a_task() {
            let _ = self.reports.send(lost_task());
        }
        if open.records.is_empty() {
            return;
        }
        match self.rows.try_reserve() {
            Ok(permit) => permit.send(WriterMessage::Requests(std::mem::take(&mut open.records))),
            Err(_) if open.records.len() > MAX_PENDING_RECORDS => {
                open.tally.records_lost += open.records.len() as u64;
                open.records.clear();
            }
            Err(_) => {}
        }
    }

    /// Ends the level: cancels what is in flight, and hands everything over before it says so.
    async fn cut(&mut self) {
        let Some(level) = self.level.take() else { return };
        let now = self.clock.now_ns();
        let (update, records, lost, flushed) = {
            let mut open = level.open.borrow_mut();
            let lost = open.has_lost_a_task();
            open.shed_all(now, &self.slos);
            let update = open.update(self.index, now, &self.slos);
            let gaps = std::mem::replace(&mut open.gaps, Box::new(no_gaps()));
            let level = open.level;
            let flushed = Report::Flushed { level, gaps };
            (update, std::mem::take(&mut open.records), lost, flushed)
        };
        if !records.is_empty() {
            // An error means that the writer has failed, which it reports itself.
            let _ = self.rows.send(WriterMessage::Requests(records)).await;
        }
        let _ = self.reports.send(update);
        if lost {
            let _ = self.reports.send(lost_task());
        }
        let _ = self.reports.send(flushed);
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
