//! A worker's side of the level that is being sent: what is in flight, what has ended, and how both stand.

use std::{collections::HashMap, rc::Rc};

use gipfel_model::{Outcome, Phase, RequestRecord, Slo, record::Decision};
use gipfel_peak_search::decide_in_flight;
use gipfel_stream_client::{Ending, Exchange, Watch};
use tokio::task::AbortHandle;

use crate::{
    compose::{self, Planned},
    messages::{Gaps, LevelOrder, Report, Rows, SloTally, Tally, no_gaps},
};

/// What the request tasks and the worker share; one thread, so a cell is enough.
pub(crate) struct OpenLevel {
    pub(crate) level: u32,
    window: (i64, i64),
    next_key: u64,
    in_flight: HashMap<u64, InFlight>,
    /// Rows that the writer has not been given yet.
    pub(crate) records: Rows,
    ttfts: Vec<gipfel_model::record::Latency>,
    delays_ns: Vec<i64>,
    pub(crate) tally: Tally,
    /// Decisions of the requests that have ended.
    ended_slos: Vec<SloTally>,
    pub(crate) gaps: Box<Gaps>,
}

struct InFlight {
    planned: Planned,
    dispatched_ns: i64,
    watch: Rc<Watch>,
    abort: Option<AbortHandle>,
}

impl OpenLevel {
    /// A level of which nothing has been sent.
    pub(crate) fn new(order: &LevelOrder, objectives: usize) -> Self {
        Self {
            level: order.level,
            window: measured_window(order),
            next_key: 0,
            in_flight: HashMap::new(),
            records: Vec::new(),
            ttfts: Vec::new(),
            delays_ns: Vec::new(),
            tally: Tally::default(),
            ended_slos: vec![SloTally::default(); objectives],
            gaps: Box::new(no_gaps()),
        }
    }

    /// Enters a request that is being sent; the key names it from now on.
    pub(crate) fn admit(&mut self, planned: Planned, watch: Rc<Watch>, dispatched_ns: i64) -> u64 {
        let key = self.next_key;
        self.next_key += 1;
        self.tally.dispatched += 1;
        if planned.phase == Phase::Measured {
            self.tally.measured_dispatched += 1;
        }
        self.in_flight.insert(
            key,
            InFlight {
                planned,
                dispatched_ns,
                watch,
                abort: None,
            },
        );
        key
    }

    pub(crate) fn remember_abort(&mut self, key: u64, abort: AbortHandle) {
        if let Some(in_flight) = self.in_flight.get_mut(&key) {
            in_flight.abort = Some(abort);
        }
    }

    /// Records an exchange that ended by itself.
    pub(crate) fn finish(&mut self, key: u64, exchange: Exchange, slos: &[Slo]) {
        let Some(in_flight) = self.in_flight.remove(&key) else {
            return;
        };
        if matches!(exchange.ending, Ending::OutOfSockets) {
            self.tally.out_of_sockets += 1;
        }
        let record = compose::ended(&in_flight.planned, &in_flight.watch, exchange);
        let delay_ns = match record.send_ns {
            // The time for a connection is the network's and the server's, not the client's lateness.
            Some(send_ns) => send_ns - record.connect_ns.unwrap_or(0),
            None => in_flight.dispatch_delay_ns(),
        };
        self.account(record, delay_ns, slos);
    }

    /// Cancels and records what is in flight.
    pub(crate) fn shed_all(&mut self, now_ns: i64, slos: &[Slo]) {
        for (_, in_flight) in std::mem::take(&mut self.in_flight) {
            if let Some(abort) = &in_flight.abort {
                abort.abort();
            }
            let record = compose::shed(&in_flight.planned, &in_flight.watch, now_ns);
            // How long it took to connect is not known of a cancelled exchange.
            self.account(record, in_flight.dispatch_delay_ns(), slos);
        }
    }

    /// Whether a request's task is over without having said how: it panicked.
    pub(crate) fn has_lost_a_task(&self) -> bool {
        self.in_flight
            .values()
            .any(|one| one.abort.as_ref().is_some_and(AbortHandle::is_finished))
    }

    fn account(&mut self, record: RequestRecord, delay_ns: i64, slos: &[Slo]) {
        self.tally.ended += 1;
        match record.outcome {
            Outcome::Ok | Outcome::Shed => {}
            outcome => {
                self.tally.failed += 1;
                if matches!(outcome, Outcome::ConnectError | Outcome::TimeoutConnect) {
                    self.tally.connect_errors += 1;
                }
            }
        }
        let (from, to) = self.window;
        if record.outcome == Outcome::Ok
            && record
                .last_token_ns
                .is_some_and(|last| (from..to).contains(&(record.scheduled_ns + last)))
        {
            self.tally.completed_in_window += 1;
        }
        if record.phase == Phase::Measured {
            self.tally.measured_ended += 1;
            self.ttfts.push(record.latency(gipfel_model::LatencyMetric::Ttft));
            self.delays_ns.push(delay_ns);
            for (slo, tally) in slos.iter().zip(&mut self.ended_slos) {
                tally.count(record.decide(slo));
            }
        }
        self.records.push(record);
    }

    /// Where the level stands, with what is new since the last time.
    pub(crate) fn update(&mut self, worker: usize, now_ns: i64, slos: &[Slo]) -> Report {
        self.tally.in_flight = self.in_flight.len() as u64;
        self.tally.slos.clone_from(&self.ended_slos);
        for in_flight in self
            .in_flight
            .values()
            .filter(|one| one.planned.phase == Phase::Measured)
        {
            for (slo, tally) in slos.iter().zip(&mut self.tally.slos) {
                tally.count(in_flight.decide(slo, now_ns));
            }
        }
        Report::Update {
            worker,
            level: self.level,
            tally: self.tally.clone(),
            ttfts: std::mem::take(&mut self.ttfts),
            delays_ns: std::mem::take(&mut self.delays_ns),
        }
    }
}

impl InFlight {
    fn dispatch_delay_ns(&self) -> i64 {
        self.dispatched_ns - self.planned.scheduled_ns
    }

    fn decide(&self, slo: &Slo, now_ns: i64) -> Decision {
        let scheduled = self.planned.scheduled_ns;
        let offset = |at: i64| (at >= 0).then(|| at - scheduled);
        let gap = (self.watch.chunks.get() > 1).then(|| self.watch.itl_max_ns.get());
        decide_in_flight(
            slo,
            now_ns - scheduled,
            offset(self.watch.first_token_ns.get()),
            offset(self.watch.last_token_ns.get()),
            gap,
            self.planned.output,
        )
    }
}

impl SloTally {
    pub(crate) fn count(&mut self, decision: Decision) {
        match decision {
            Decision::Met => self.decided += 1,
            Decision::Violated => {
                self.decided += 1;
                self.violated += 1;
            }
            Decision::Undecided => {}
        }
    }
}

/// Begin and end of the measured window, after the process's anchor.
fn measured_window(order: &LevelOrder) -> (i64, i64) {
    for (phase, segment) in &order.segments {
        if let (Phase::Measured, gipfel_workload::SegmentEnd::At(end)) = (phase, segment.end) {
            return (segment.start_ns, end);
        }
    }
    (0, 0)
}
