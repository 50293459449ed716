//! A worker's side of the load: what is in flight, what has ended, and how the levels stand.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap, HashSet},
    rc::Rc,
};

use gipfel_model::{
    Decided, LatencyMetric, Outcome, Phase, RequestRecord, Second, Slo,
    record::{Decision, Latency},
};
use gipfel_peak_search::decide_in_flight;
use gipfel_stream_client::{Ending, Exchange, Watch};
use tokio::task::AbortHandle;

use crate::{
    compose::{self, Planned},
    messages::{Append, Gaps, InFlightCount, LevelNews, News, Report, Rows, Tally, no_gaps},
};

/// Objectives that are decided while a request runs; any more are decided at its end.
const DECIDED_IN_FLIGHT: usize = 64;

/// What the request tasks and the worker share; one thread, so a cell is enough.
pub(crate) struct Load {
    slos: Rc<[Slo]>,
    levels: BTreeMap<u32, LevelLoad>,
    next_key: u64,
    in_flight: HashMap<u64, InFlight>,
    /// Rows that the writer has not been given yet.
    pub(crate) records: Rows,
    /// What was cancelled, for whoever drives the exchanges to give up.
    cancelled: HashSet<u64>,
}

/// A level of which something is in flight, or may still be sent.
struct LevelLoad {
    /// The measured window so far.
    window: Option<(i64, i64)>,
    in_flight: u64,
    closed: bool,
    news: LevelNews,
    seconds: BTreeMap<u32, Second>,
    gaps: Rc<RefCell<Gaps>>,
}

impl LevelLoad {
    fn new() -> Self {
        Self {
            window: None,
            in_flight: 0,
            closed: false,
            news: LevelNews::default(),
            seconds: BTreeMap::new(),
            gaps: Rc::new(RefCell::new(no_gaps())),
        }
    }

    /// Counts a request as sent.
    fn count_sent(&mut self, planned: &Planned) {
        self.news.tally.dispatched += 1;
        if planned.phase == Phase::Measured {
            self.news.tally.measured_dispatched += 1;
        }
        // The tail is no evidence: it is cut before it is decided.
        if planned.phase != Phase::Tail {
            let second = self.seconds.entry(planned.second).or_default();
            second.arrivals += 1;
            second.input_tokens += u64::from(planned.input);
            second.output_tokens += u64::from(planned.output);
        }
    }

    /// Adds to how the requests stand to an objective.
    fn count(&mut self, planned: &Planned, objective: usize, objectives: usize, add: Decided) {
        if planned.phase != Phase::Tail {
            let counts = &mut self.seconds.entry(planned.second).or_default().objectives;
            counts.resize(objectives, Decided::default());
            counts[objective].add(add);
        }
    }

    /// What is new, unless nothing is.
    fn take_news(&mut self, level: u32) -> Option<LevelNews> {
        let news = LevelNews {
            level,
            seconds: std::mem::take(&mut self.seconds).into_iter().collect(),
            ..std::mem::take(&mut self.news)
        };
        let nothing = LevelNews {
            level,
            ..LevelNews::default()
        };
        (news != nothing).then_some(news)
    }
}

struct InFlight {
    planned: Planned,
    dispatched_ns: i64,
    watch: Rc<Watch>,
    abort: Option<AbortHandle>,
    /// Whether it is counted as sent: at the next report, not between its deadline and the socket.
    counted: bool,
    /// Whether it is counted as written to a socket.
    written: bool,
    /// The objectives that it is known to meet, and to violate, one bit each.
    met: u64,
    violated: u64,
}

impl Load {
    /// Nothing has been sent.
    pub(crate) fn new(slos: Rc<[Slo]>) -> Self {
        Self {
            slos,
            levels: BTreeMap::new(),
            next_key: 0,
            in_flight: HashMap::new(),
            records: Vec::new(),
            cancelled: HashSet::new(),
        }
    }

    /// Takes note of a piece of the schedule.
    pub(crate) fn expect(&mut self, append: &Append) {
        let level = self.levels.entry(append.level).or_insert_with(LevelLoad::new);
        if append.phase == Phase::Measured {
            let (from, to) = append.span;
            level.window = Some(level.window.map_or((from, to), |window| (window.0, to)));
        }
    }

    /// Enters a request that is being sent; the key names it from now on. Its gaps between tokens go to the histogram.
    pub(crate) fn admit(
        &mut self,
        planned: Planned,
        watch: Rc<Watch>,
        dispatched_ns: i64,
    ) -> (u64, Rc<RefCell<Gaps>>) {
        let key = self.next_key;
        self.next_key += 1;
        let level = self.levels.entry(planned.level).or_insert_with(LevelLoad::new);
        level.in_flight += 1;
        let gaps = Rc::clone(&level.gaps);
        self.in_flight.insert(
            key,
            InFlight {
                planned,
                dispatched_ns,
                watch,
                abort: None,
                counted: false,
                written: false,
                met: 0,
                violated: 0,
            },
        );
        (key, gaps)
    }

    pub(crate) fn remember_abort(&mut self, key: u64, abort: AbortHandle) {
        if let Some(in_flight) = self.in_flight.get_mut(&key) {
            in_flight.abort = Some(abort);
        }
    }

    /// Records an exchange that ended by itself.
    pub(crate) fn finish(&mut self, key: u64, exchange: Exchange) {
        let Some(in_flight) = self.in_flight.remove(&key) else {
            return;
        };
        let out_of_sockets = matches!(exchange.ending, Ending::OutOfSockets);
        let record = compose::ended(&in_flight.planned, &in_flight.watch, exchange);
        let delay_ns = match record.send_ns {
            // The time for a connection is the network's and the server's, not the client's lateness.
            Some(send_ns) => send_ns - record.connect_ns.unwrap_or(0),
            None => in_flight.dispatch_delay_ns(),
        };
        if let Some(level) = self.levels.get_mut(&in_flight.planned.level) {
            level.news.tally.out_of_sockets += u64::from(out_of_sockets);
        }
        self.count_end(&in_flight, record.scheduled_ns + record.end_ns);
        self.account(&in_flight, record, delay_ns);
    }

    /// Cancels and records the requests in flight that have no first token.
    pub(crate) fn shed_waiting(&mut self, now_ns: i64) {
        let waits = |_: &u64, one: &mut InFlight| one.waits();
        let waiting: Vec<_> = self.in_flight.extract_if(waits).collect();
        for (key, in_flight) in waiting {
            self.count_end(&in_flight, now_ns);
            self.cancel(key, &in_flight, now_ns);
        }
    }

    /// Cancels and records what is in flight.
    pub(crate) fn shed_all(&mut self, now_ns: i64) {
        for (key, in_flight) in std::mem::take(&mut self.in_flight) {
            self.cancel(key, &in_flight, now_ns);
        }
    }

    fn cancel(&mut self, key: u64, in_flight: &InFlight, now_ns: i64) {
        match &in_flight.abort {
            Some(abort) => abort.abort(),
            None => {
                self.cancelled.insert(key);
            }
        }
        let record = compose::shed(&in_flight.planned, &in_flight.watch, now_ns);
        // How long it took to connect is not known of a cancelled exchange.
        self.account(in_flight, record, in_flight.dispatch_delay_ns());
    }

    /// Whether nothing is in flight.
    #[cfg(target_os = "linux")]
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// The keys of what was cancelled and has no task of its own.
    #[cfg(target_os = "linux")]
    pub(crate) fn take_cancelled(&mut self) -> HashSet<u64> {
        std::mem::take(&mut self.cancelled)
    }

    /// Whether a request's task is over without having said how: it panicked.
    pub(crate) fn has_lost_a_task(&self) -> bool {
        self.in_flight
            .values()
            .any(|one| one.abort.as_ref().is_some_and(AbortHandle::is_finished))
    }

    /// Gives up the rows that the writer did not take; the levels that they belong to say so.
    pub(crate) fn lose_records(&mut self) {
        for record in self.records.drain(..) {
            if let Some(level) = self.levels.get_mut(&record.level) {
                level.news.tally.records_lost += 1;
            }
        }
    }

    fn account(&mut self, in_flight: &InFlight, record: RequestRecord, delay_ns: i64) {
        if let (Outcome::Ok, Some(last)) = (record.outcome, record.last_token_ns) {
            self.count_completion(record.scheduled_ns + last);
        }
        if let (false, Some(send_ns)) = (in_flight.written, record.send_ns) {
            self.count_sending(record.scheduled_ns + send_ns);
        }
        let Some(level) = self.levels.get_mut(&record.level) else {
            return;
        };
        level.in_flight -= 1;
        if !in_flight.counted {
            level.count_sent(&in_flight.planned);
        }
        for (index, slo) in self.slos.iter().enumerate() {
            let add = in_flight.last_word(index, record.decide(slo));
            if add != Decided::default() {
                level.count(&in_flight.planned, index, self.slos.len(), add);
            }
        }
        let news = &mut level.news;
        news.tally.ended += 1;
        news.tally.dialled += u64::from(record.connect_ns.is_some());
        match record.outcome {
            Outcome::Ok | Outcome::Shed => {}
            outcome => {
                news.tally.failed += 1;
                if matches!(outcome, Outcome::ConnectError | Outcome::TimeoutConnect) {
                    news.tally.connect_errors += 1;
                }
            }
        }
        if record.outcome == Outcome::Ok {
            news.e2e_ns.extend(record.last_token_ns);
        }
        match record.phase {
            Phase::Measured => {
                news.tally.measured_ended += 1;
                match record.latency(LatencyMetric::Ttft) {
                    Latency::Finite(nanos) => news.ttfts_ns.push(Some(nanos)),
                    Latency::Infinite => news.ttfts_ns.push(None),
                    Latency::Undefined => {}
                }
                news.delays_ns.push(delay_ns);
                news.lags_ns.extend(record.first_token_lag_ns);
                news.tally.first_tokens += u64::from(record.first_token_ns.is_some());
                news.tally.uncertain_stamps += u64::from(record.first_token_uncertain);
            }
            Phase::Warmup => news.warmup_delays_ns.push(delay_ns),
            Phase::Tail => {}
        }
        self.records.push(record);
    }

    /// A completion counts for the level that was measured then, whichever it was sent for.
    fn count_completion(&mut self, at_ns: i64) {
        for tally in self.measured_at(at_ns) {
            tally.completed_in_window += 1;
        }
    }

    /// So does what was written to a socket then; what found none was never sent.
    fn count_sending(&mut self, at_ns: i64) {
        for tally in self.measured_at(at_ns) {
            tally.sent_in_window += 1;
        }
    }

    /// And what ended, in any way but by the cut, which is after the last look at what is in flight.
    fn count_end(&mut self, in_flight: &InFlight, at_ns: i64) {
        for tally in self.measured_at(at_ns) {
            tally.time_in_flight_ns += at_ns - in_flight.dispatched_ns;
        }
    }

    /// The tallies of the levels whose measured window holds this time.
    fn measured_at(&mut self, at_ns: i64) -> impl Iterator<Item = &mut Tally> {
        let measured =
            move |level: &&mut LevelLoad| level.window.is_some_and(|(from, to)| (from..to).contains(&at_ns));
        let levels = self.levels.values_mut().filter(measured);
        levels.map(|level| &mut level.news.tally)
    }

    /// What is new since the last time.
    pub(crate) fn news(&mut self, now_ns: i64) -> News {
        let mut in_flight = InFlightCount::default();
        let mut sent_ns = Vec::new();
        for one in self.in_flight.values_mut() {
            sent_ns.extend(one.newly_written());
            if let Some(level) = self.levels.get_mut(&one.planned.level) {
                one.tell(level, &self.slos, now_ns);
            }
            let waits = one.waits();
            in_flight.add(InFlightCount {
                all: 1,
                waiting: u64::from(waits),
                oldest_waiting_ns: waits.then_some(one.planned.scheduled_ns),
                age_ns: now_ns - one.dispatched_ns,
                ..InFlightCount::default()
            });
        }
        for at_ns in sent_ns {
            self.count_sending(at_ns);
        }
        let levels = self.levels.iter_mut();
        News {
            in_flight,
            levels: levels
                .filter_map(|(level, load)| load.take_news(*level))
                .collect(),
            ..News::default()
        }
    }

    /// Notes that a level is closed, and hands over its gaps so far.
    pub(crate) fn close(&mut self, worker: usize, level: u32) -> Report {
        let load = self.levels.entry(level).or_insert_with(LevelLoad::new);
        load.closed = true;
        Report::Gaps {
            worker,
            level,
            gaps: Box::new(load.gaps.borrow().clone()),
            last: false,
        }
    }

    /// The gaps of the closed levels of which nothing is in flight any more; of all levels when `all`. They are forgotten.
    pub(crate) fn take_over(&mut self, worker: usize, all: bool) -> Vec<Report> {
        let over = |_: &u32, load: &mut LevelLoad| all || (load.closed && load.in_flight == 0);
        let over = self.levels.extract_if(.., over);
        over.map(|(level, load)| Report::Gaps {
            worker,
            level,
            gaps: Box::new(load.gaps.replace(no_gaps())),
            last: true,
        })
        .collect()
    }
}

impl InFlight {
    fn dispatch_delay_ns(&self) -> i64 {
        self.dispatched_ns - self.planned.scheduled_ns
    }

    /// When it was written to a socket, once.
    fn newly_written(&mut self) -> Option<i64> {
        let send_ns = self.watch.send_ns.get();
        let is_new = !self.written && send_ns >= 0;
        self.written |= is_new;
        is_new.then_some(send_ns)
    }

    fn waits(&self) -> bool {
        self.watch.first_token_ns.get() < 0
    }

    /// Adds what has become certain since the last time.
    fn tell(&mut self, level: &mut LevelLoad, slos: &[Slo], now_ns: i64) {
        if !self.counted {
            self.counted = true;
            level.count_sent(&self.planned);
        }
        for (index, slo) in slos.iter().enumerate().take(DECIDED_IN_FLIGHT) {
            let bit = 1 << index;
            if (self.met | self.violated) & bit != 0 {
                continue;
            }
            let mut add = Decided::default();
            let decision = self.decide(slo, now_ns);
            match decision {
                Decision::Met => self.met |= bit,
                Decision::Violated => self.violated |= bit,
                Decision::Undecided => continue,
            }
            add.count(decision);
            level.count(&self.planned, index, slos.len(), add);
        }
    }

    /// What the end of the request adds to what was told of an objective: a violation is final, and what was met is
    /// violated after all when the request failed.
    fn last_word(&self, index: usize, decision: Decision) -> Decided {
        let bit = if index < DECIDED_IN_FLIGHT { 1 << index } else { 0 };
        let mut add = Decided::default();
        if self.violated & bit != 0 {
            return add;
        }
        add.count(decision);
        if self.met & bit != 0 {
            add.decided = 0;
        }
        add
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

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULED_NS: i64 = 1_000;

    fn loaded() -> (Load, u64, Rc<Watch>) {
        let mut load = Load::new(Rc::from([]));
        load.expect(&Append {
            level: 0,
            phase: Phase::Measured,
            span: (0, 10_000),
            seconds_from_ns: 0,
            segment: None,
            first_request: 0,
        });
        let planned = Planned {
            rank: 0,
            level: 0,
            phase: Phase::Measured,
            request: 0,
            scheduled_ns: SCHEDULED_NS,
            second: 0,
            input: 1,
            output: 1,
            endpoint: 0,
        };
        let watch = Rc::new(Watch::new());
        let (key, _) = load.admit(planned, Rc::clone(&watch), SCHEDULED_NS);
        (load, key, watch)
    }

    fn exchange(ending: Ending) -> Exchange {
        Exchange {
            ending,
            http_status: None,
            connect_ns: None,
            end_ns: 2_000,
            input_tokens: None,
            output_tokens: None,
            cached_tokens: None,
            finish_reason: None,
            error: None,
        }
    }

    fn sent(news: &News) -> (u64, u64) {
        news.levels.iter().fold((0, 0), |(dispatched, sent), level| {
            let tally = &level.tally;
            (dispatched + tally.dispatched, sent + tally.sent_in_window)
        })
    }

    #[test]
    fn what_found_no_socket_was_never_sent() {
        let (mut load, key, _) = loaded();
        assert_eq!(sent(&load.news(1_500)), (1, 0));
        load.finish(key, exchange(Ending::OutOfSockets));
        assert_eq!(sent(&load.news(3_000)), (0, 0));
    }

    #[test]
    fn what_was_written_is_counted_as_sent_once() {
        let check = |looks: &[i64], send_ns: i64, expected: u64| {
            let (mut load, key, watch) = loaded();
            let mut counted = 0;
            for now_ns in looks {
                counted += sent(&load.news(*now_ns)).1;
                watch.send_ns.set(send_ns);
            }
            watch.send_ns.set(send_ns);
            load.finish(key, exchange(Ending::Ok));
            counted += sent(&load.news(30_000)).1;
            assert_eq!(counted, expected, "{looks:?} {send_ns}");
        };
        check(&[], 1_100, 1);
        check(&[1_200], 1_100, 1);
        check(&[1_200, 1_300, 1_400], 1_100, 1);
        // After the window.
        check(&[1_200, 1_300], 10_001, 0);
    }
}
