//! Where a level stands, put together from the workers' reports; pure, so that its decisions are tested.

use std::{collections::BTreeMap, time::Duration};

use gipfel_model::{
    Attainment, ClientHealth, Decided, Evidence, LatencyMetric, Phase, ReaderLag, Second, Slo, Validity,
    ValidityFault, Verdict,
};
use gipfel_peak_search::{attainment, certain_reject, judge};

use crate::{
    looks::{Looks, MIN_SPAN_NS, larger},
    messages::{InFlightCount, LevelNews, ProcessLook, Source, Tally, ThreadTime},
    spread::Spread,
};

/// Share of the scheduled requests that the client must have sent.
const DELIVERY_LIMIT: f64 = 0.995;
/// Share of the tightest latency limit that the schedule delay's p99 may reach (rule W3).
const DELAY_SHARE: f64 = 0.05;
/// What the schedule delay's p99 may reach when no objective counts from the schedule.
const DEFAULT_DELAY_LIMIT_NS: i64 = 25_000_000;
/// The wall clock may differ by this much from the monotonic clock over a level before it counts as a step.
const CLOCK_STEP_LIMIT_NS: i64 = 10_000_000;
/// The share of its time that a sending thread may wait for a core before gaps between tokens are not believed.
const RUN_QUEUE_LIMIT: f64 = 0.2;
/// A level is cut short only when its interval lies so many times above what an objective allows.
const HOPELESS: f64 = 1.5;
/// So many first tokens may have an uncertain stamp while the reader lags.
const UNCERTAIN_LIMIT: f64 = 0.01;

/// The times of a level, after the process's anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_field_names,
    reason = "every number of nanoseconds says its unit"
)]
pub(crate) struct Timing {
    pub(crate) start_ns: i64,
    pub(crate) measured_from_ns: i64,
    pub(crate) measured_to_ns: i64,
    pub(crate) drain_until_ns: i64,
}

/// A duration in nanoseconds; one far beyond any run is shortened, so that sums stay within range.
pub(crate) fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos())
        .unwrap_or(i64::MAX)
        .min(i64::MAX / 8)
}

/// What to do with the level now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Keep offering.
    Continue,
    /// More violations than the whole window allows.
    CutRejected,
    /// Every measured request is decided, and ended if the level is accepted.
    CutDecided,
    /// The drain's time is up.
    CutDrain,
    /// A rank is lost, so that its part of the window stays unsent.
    CutLost,
}

/// The sum of what the workers have reported of one level.
#[derive(Debug)]
pub(crate) struct Board {
    slos: Vec<Slo>,
    /// Arrivals of the measured window, as far as it is appended.
    pub(crate) scheduled: u64,
    /// Begin and end of the measured window so far; of all that is appended while there is none.
    watched: (i64, i64),
    has_window: bool,
    total: Tally,
    /// The seconds of warm-up and measured window.
    pub(crate) seconds: Vec<Second>,
    pub(crate) ttfts: Spread,
    delays: Spread,
    /// Those of the warm-up, for a level that has no measured window.
    warmup_delays: Spread,
    /// E2E latencies of all requests of the level that ended well.
    e2e: Spread,
    lags: Spread,
    looks: Looks,
    /// The longest time that the disk took while the level was open.
    commit_ns: i64,
    /// The first and the last look at each sending thread within the measured window.
    threads: BTreeMap<(Source, usize), (ThreadTime, ThreadTime)>,
    /// Ranks that were lost while the level was open.
    pub(crate) lost_ranks: Vec<u32>,
}

impl Board {
    /// A board for a level of which nothing is known.
    pub(crate) fn new(slos: &[Slo]) -> Self {
        Self {
            slos: slos.to_vec(),
            scheduled: 0,
            watched: (0, 0),
            has_window: false,
            total: Tally::default(),
            seconds: Vec::new(),
            ttfts: Spread::new(),
            delays: Spread::new(),
            warmup_delays: Spread::new(),
            e2e: Spread::new(),
            lags: Spread::new(),
            looks: Looks::default(),
            commit_ns: 0,
            threads: BTreeMap::new(),
            lost_ranks: Vec::new(),
        }
    }

    /// A piece of the schedule follows. What was seen before the measured window does not count once it is there.
    pub(crate) fn watch(&mut self, phase: Phase, span: (i64, i64)) {
        if phase == Phase::Measured && !self.has_window {
            self.has_window = true;
            self.watched = span;
            self.looks = Looks::default();
            self.threads.clear();
        } else if phase == Phase::Measured || !self.has_window {
            let (from, to) = self.watched;
            self.watched = (if from == to { span.0 } else { from }, span.1);
        }
    }

    /// Takes a worker's news.
    pub(crate) fn apply(&mut self, news: &LevelNews) {
        self.total.add(&news.tally);
        for (second, add) in &news.seconds {
            let second = *second as usize;
            if self.seconds.len() <= second {
                self.seconds.resize(second + 1, Second::default());
            }
            self.seconds[second].add(add);
        }
        for ttft in &news.ttfts_ns {
            match *ttft {
                Some(nanos) => self.ttfts.push(nanos),
                None => self.ttfts.push_infinite(),
            }
        }
        for delay in &news.delays_ns {
            self.delays.push(*delay);
        }
        for delay in &news.warmup_delays_ns {
            self.warmup_delays.push(*delay);
        }
        for e2e in &news.e2e_ns {
            self.e2e.push(*e2e);
        }
        for lag in &news.lags_ns {
            self.lags.push(*lag);
        }
    }

    /// Takes a look at a sending thread; only those within the measured window count.
    pub(crate) fn look_at_thread(&mut self, source: Source, thread: usize, time: ThreadTime) {
        if self.is_watched_at(time.at_ns) {
            let looks = self.threads.entry((source, thread)).or_insert((time, time));
            looks.1 = time;
        }
    }

    /// Takes a look at the requests in flight and at this process; of most only what is within the measured window counts.
    pub(crate) fn look(&mut self, in_flight: &InFlightCount, process: &ProcessLook) {
        self.commit_ns = self.commit_ns.max(process.commit_ns);
        if self.is_watched_at(process.at_ns) {
            self.looks.add(in_flight, process);
        }
    }

    fn is_watched_at(&self, at_ns: i64) -> bool {
        (self.watched.0..self.watched.1).contains(&at_ns)
    }

    /// The mean number of requests in flight over the measured window.
    pub(crate) fn mean_in_flight(&self) -> Option<f64> {
        self.looks.mean_in_flight()
    }

    /// The sum of the workers' tallies.
    pub(crate) fn total(&self) -> Tally {
        self.total
    }

    /// The median E2E latency so far, of the requests that ended well.
    pub(crate) fn e2e_p50_ns(&self) -> Option<i64> {
        self.e2e.at_rank(self.e2e.len().div_ceil(2))
    }

    /// What the estimate of the peak takes from the level, of whose seconds the first `settle_s` do not count.
    pub(crate) fn evidence(&self, settle_s: u32, stands_for_s: u32) -> Evidence {
        let mut seconds = self.seconds.clone();
        let length = settle_s.saturating_add(stands_for_s) as usize;
        seconds.resize(length, Second::default());
        for second in &mut seconds {
            second.objectives.resize(self.slos.len(), Decided::default());
        }
        Evidence {
            settle_s,
            stands_for_s,
            seconds,
            overloaded: None,
            e2e_p50_s: self.e2e_p50_ns().map(|nanos| nanos as f64 / 1e9),
            in_flight: self.mean_in_flight(),
        }
    }

    /// How the measured requests stand to each objective, of `scheduled` in all.
    pub(crate) fn attainments(&self, evidence: &Evidence, scheduled: u64) -> Vec<Attainment> {
        let slos = self.slos.iter().enumerate();
        slos.map(|(index, slo)| attainment(slo, index, evidence, scheduled))
            .collect()
    }

    /// Decides whether a level that stands so goes on at `now_ns`; the timing is there once its measured window is
    /// appended to the end.
    pub(crate) fn step(&self, attainments: &[Attainment], timing: Option<&Timing>, now_ns: i64) -> Step {
        if !self.lost_ranks.is_empty() {
            return Step::CutLost;
        }
        if attainments.iter().any(is_hopeless) {
            return Step::CutRejected;
        }
        let Some(timing) = timing.filter(|timing| now_ns >= timing.measured_to_ns) else {
            return Step::Continue;
        };
        if now_ns >= timing.drain_until_ns {
            return Step::CutDrain;
        }
        // What has ended undecided stays so: a server that counts no tokens leaves every TPOT open.
        if self.total.measured_ended >= self.scheduled {
            return Step::CutDecided;
        }
        if attainments.iter().any(|one| one.decided < one.scheduled) {
            return Step::Continue;
        }
        // A rejected or unresolved level is not worth the drain; an accepted one shows all its latencies.
        let accepted = judge(attainments, &Validity::default()) == Verdict::Accept;
        if accepted {
            Step::Continue
        } else {
            Step::CutDecided
        }
    }

    /// Judges the client: `due` measured arrivals should have been sent, the wall clock stepped by `step_ns`.
    pub(crate) fn validity(&self, attainments: &[Attainment], due: u64, step_ns: i64) -> Validity {
        let delays = if self.has_window {
            &self.delays
        } else {
            &self.warmup_delays
        };
        let at = |rank| delays.at_rank(rank).unwrap_or(0);
        let n = delays.len();
        let step_ns = larger(step_ns, self.looks.clock_step_ns().unwrap_or(0));
        let percent = |numerator: usize| (n * numerator).div_ceil(100);
        // A step of a ramp has few requests, and is a look for a quarter of violations: one late request spoils none.
        let judged = if self.has_window {
            percent(99)
        } else {
            n - (n / 20).max(1).min(n)
        };
        let late_ns = at(judged);
        let mut validity = Validity {
            schedule_delay_p50_ns: at(percent(50)),
            schedule_delay_p99_ns: at(percent(99)),
            schedule_delay_max_ns: at(n),
            faults: Vec::new(),
            client: self.client(step_ns),
        };
        validity.faults = self.faults(&validity, late_ns, due, step_ns);
        validity
            .faults
            .extend(starved(attainments, validity.client.run_queue));
        validity
    }

    fn faults(&self, validity: &Validity, late_ns: i64, due: u64, step_ns: i64) -> Vec<ValidityFault> {
        let mut faults = Vec::new();
        let limit_ns = delay_limit_ns(&self.slos);
        if late_ns > limit_ns {
            let (p99_ms, limit_ms) = (validity.schedule_delay_p99_ns as f64 / 1e6, limit_ns as f64 / 1e6);
            faults.push(ValidityFault::ScheduleDelay { p99_ms, limit_ms });
        }
        faults.extend(read_late(&validity.client, limit_ns));
        let share = match due {
            0 => 1.0,
            due => self.total.measured_dispatched as f64 / due as f64,
        };
        if share < DELIVERY_LIMIT {
            let limit = DELIVERY_LIMIT;
            faults.push(ValidityFault::Underdelivered { share, limit });
        }
        if self.total.out_of_sockets > 0 {
            let count = self.total.out_of_sockets;
            faults.push(ValidityFault::Sockets { count });
        }
        if step_ns.abs() > CLOCK_STEP_LIMIT_NS {
            let step_ms = step_ns as f64 / 1e6;
            faults.push(ValidityFault::Clock { step_ms });
        }
        if self.total.records_lost > 0 {
            let count = self.total.records_lost;
            faults.push(ValidityFault::RecordsLost { count });
        }
        faults.extend(
            self.lost_ranks
                .iter()
                .map(|rank| ValidityFault::RankLost { rank: *rank }),
        );
        faults
    }

    fn client(&self, step_ns: i64) -> ClientHealth {
        let worst = |field: fn(&ThreadTime) -> u64| {
            let shares = self.threads.values().filter_map(|(first, last)| {
                let span_ns = last.at_ns - first.at_ns;
                let used_ns = field(last).saturating_sub(field(first));
                (span_ns >= MIN_SPAN_NS).then(|| used_ns as f64 / span_ns as f64)
            });
            shares.max_by(f64::total_cmp)
        };
        let (sockets, dialled) = self.looks.sockets();
        ClientHealth {
            busiest_thread: worst(|time| time.run_ns),
            run_queue: worst(|time| time.wait_ns),
            process: self.looks.cores(),
            reader_lag: self.reader_lag(),
            uncertain_stamps: (self.total.first_tokens > 0)
                .then(|| self.total.uncertain_stamps as f64 / self.total.first_tokens as f64),
            open_files: self.looks.open_files(),
            sockets,
            dialled: dialled.or(Some(self.total.dialled)),
            // The time in flight is counted within a measured window, which a ramp has not.
            little: self
                .looks
                .little(self.total.time_in_flight_ns)
                .filter(|_| self.has_window),
            clock_step_ns: self.looks.clock_step_ns().map(|_| step_ns),
            clock_slew_ppm: self.looks.slew_ppm(),
            slowest_commit_s: Some(self.commit_ns as f64 / 1e9),
        }
    }

    fn reader_lag(&self) -> Option<ReaderLag> {
        let n = self.lags.len();
        Some(ReaderLag {
            p50_ns: self.lags.at_rank(n.div_ceil(2))?,
            p99_ns: self.lags.at_rank((n * 99).div_ceil(100))?,
            max_ns: self.lags.at_rank(n)?,
        })
    }
}

/// Whether no further request of the window can turn the rejection, and the interval will hardly either: the requests in
/// flight still count, and what is cut short must not be left without an answer for their sake.
fn is_hopeless(one: &Attainment) -> bool {
    let target = one.slo.allowed_share();
    let by_counts = Attainment {
        n_eff: None,
        interval: None,
        ..one.clone()
    };
    let is_clear = |(low, _): (f64, f64)| low >= HOPELESS * target;
    certain_reject(&[by_counts]).is_some()
        && certain_reject(std::slice::from_ref(one)).is_some()
        && one.interval.is_none_or(is_clear)
}

/// Whether the client's own wait for a core may have made gaps between tokens too long.
///
/// It makes latencies look longer, never shorter, so it cannot pass a bad server; it might fail a good one. Of latencies
/// that count from the schedule the delay's limit says how much, since requests are sent and answers read by the same
/// threads out of the same queue. Of gaps between tokens nothing does, so a violation of theirs by a starved client is
/// not believed.
fn starved(attainments: &[Attainment], run_queue: Option<f64>) -> Option<ValidityFault> {
    let run_queue = run_queue.filter(|share| *share > RUN_QUEUE_LIMIT)?;
    let of_gaps = |slo: &Slo| match slo {
        Slo::Latency { metric, .. } => matches!(metric, LatencyMetric::Tpot | LatencyMetric::Itl),
        Slo::ErrorRate { .. } => false,
    };
    let violated = |one: &Attainment| one.violating_share() > Some(one.slo.allowed_share());
    attainments
        .iter()
        .any(|one| of_gaps(&one.slo) && violated(one))
        .then_some(ValidityFault::Starved {
            run_queue,
            limit: RUN_QUEUE_LIMIT,
        })
}

/// Whether the client's late reading may be in the latencies.
///
/// A stamp of the kernel is right however late it is read, unless more came in the same read: then it is that of what came
/// last. So a lag alone is worth a warning, and a fault only where stamps are uncertain, too.
fn read_late(client: &ClientHealth, limit_ns: i64) -> Option<ValidityFault> {
    let uncertain = client.uncertain_stamps.filter(|share| *share > UNCERTAIN_LIMIT)?;
    let p99_ns = client.reader_lag?.p99_ns;
    (p99_ns > limit_ns).then_some(ValidityFault::ReaderLag {
        p99_ms: p99_ns as f64 / 1e6,
        limit_ms: limit_ns as f64 / 1e6,
        uncertain,
    })
}

/// What the schedule delay's p99 may reach: 5 % of the tightest limit that counts from the schedule.
fn delay_limit_ns(slos: &[Slo]) -> i64 {
    slos.iter()
        .filter_map(|slo| match slo {
            Slo::Latency {
                metric: LatencyMetric::Ttft | LatencyMetric::E2e,
                limit,
                ..
            } => Some((limit.as_nanos() as f64 * DELAY_SHARE) as i64),
            _ => None,
        })
        .min()
        .unwrap_or(DEFAULT_DELAY_LIMIT_NS)
}

/// The 95th percentile of TTFT in milliseconds; absent when infinite or unknown.
pub(crate) fn ttft_p95_ms(ttfts: &Spread) -> Option<f64> {
    let nanos = ttfts.at_rank(gipfel_model::Quantile::P95.rank(ttfts.len()))?;
    Some(nanos as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing {
        start_ns: 0,
        measured_from_ns: 10,
        measured_to_ns: 100,
        drain_until_ns: 200,
    };

    fn board(decided: u32, violated: u32, ended: u64) -> Board {
        let slos: Vec<Slo> = vec!["ttft p95 <= 500ms".parse().expect("an objective")];
        let mut board = Board::new(&slos);
        board.scheduled = 200;
        board.watch(Phase::Measured, (10, 100));
        let half = |n: u32, worker: u32| if worker == 0 { n / 2 } else { n - n / 2 };
        for worker in 0..2 {
            let counts = Decided {
                decided: half(decided, worker),
                violated: half(violated, worker),
            };
            let second = Second {
                objectives: vec![counts],
                ..Second::default()
            };
            let tally = Tally {
                measured_ended: u64::from(half(ended as u32, worker)),
                measured_dispatched: 100,
                ..Tally::default()
            };
            board.apply(&LevelNews {
                tally,
                seconds: vec![(1, second)],
                delays_ns: vec![1_000_000, 2_000_000],
                ..LevelNews::default()
            });
        }
        board
    }

    fn step(board: Board, expected: u64, timing: Option<&Timing>, now_ns: i64) -> Step {
        let evidence = board.evidence(1, 1);
        let attainments = board.attainments(&evidence, expected);
        board.step(&attainments, timing, now_ns)
    }

    fn validity(board: &Board, due: u64, step_ns: i64) -> Validity {
        let evidence = board.evidence(1, 1);
        let attainments = board.attainments(&evidence, due);
        board.validity(&attainments, due, step_ns)
    }

    #[test]
    fn a_level_ends_when_nothing_more_can_be_learnt() {
        let check = |decided, violated, ended, now_ns, expected| {
            assert_eq!(
                step(board(decided, violated, ended), 200, Some(&TIMING), now_ns),
                expected
            );
        };
        check(50, 50, 50, 50, Step::Continue);
        check(120, 8, 120, 50, Step::Continue);
        check(120, 12, 120, 50, Step::Continue);
        check(120, 24, 120, 50, Step::CutRejected);
        check(200, 1, 200, 99, Step::Continue);
        check(199, 1, 199, 150, Step::Continue);
        check(199, 1, 199, 200, Step::CutDrain);
        check(200, 1, 190, 150, Step::Continue);
        check(200, 5, 190, 150, Step::CutDecided);
        check(200, 1, 200, 150, Step::CutDecided);
        check(200, 1, 190, 200, Step::CutDrain);
    }

    #[test]
    fn a_window_that_is_still_stretched_is_not_judged_by_its_present_length() {
        assert_eq!(step(board(200, 5, 200), 200, Some(&TIMING), 200), Step::CutDrain);
        assert_eq!(step(board(200, 5, 200), 200, None, 200), Step::Continue);
    }

    #[test]
    fn a_lost_rank_ends_the_level() {
        let mut board = board(200, 0, 200);
        board.lost_ranks.push(3);
        let reason = validity(&board, 200, 0).reason();
        assert_eq!(reason.as_deref(), Some("rank 3 of the load generator was lost"));
        assert_eq!(step(board, 200, None, 50), Step::CutLost);
    }

    #[test]
    fn one_late_request_spoils_no_step_of_a_ramp() {
        let check = |delays_ms: &[i64], valid: bool| {
            let mut board = Board::new(&["ttft p95 <= 500ms".parse().expect("an objective")]);
            board.watch(Phase::Warmup, (0, 100));
            board.apply(&LevelNews {
                warmup_delays_ns: delays_ms.iter().map(|delay| delay * 1_000_000).collect(),
                ..LevelNews::default()
            });
            assert_eq!(validity(&board, 0, 0).is_valid(), valid, "{delays_ms:?}");
        };
        check(&[], true);
        check(&[90], true);
        check(&[1, 1, 1, 90], true);
        check(&[1, 1, 90, 90], false);
        check(&[[1; 57].as_slice(), &[90; 3]].concat(), true);
        check(&[[1; 56].as_slice(), &[90; 4]].concat(), false);
    }

    /// A level of one second, of which a thread waits the given part for a core.
    fn starved(slo: &str, violated: u32, waited_ns: u64) -> Validity {
        let mut board = Board::new(&[slo.parse().expect("an objective")]);
        board.watch(Phase::Measured, (0, 1_000_000_000));
        for (at_ns, wait_ns) in [(0, 0), (900_000_000, waited_ns), (2_000_000_000, u64::MAX)] {
            let time = ThreadTime {
                at_ns,
                run_ns: 0,
                wait_ns,
            };
            board.look_at_thread(Source::Worker(0), 0, time);
        }
        let counts = Decided {
            decided: 100,
            violated,
        };
        let second = Second {
            objectives: vec![counts],
            ..Second::default()
        };
        board.apply(&LevelNews {
            seconds: vec![(1, second)],
            ..LevelNews::default()
        });
        validity(&board, 0, 0)
    }

    #[test]
    fn a_starved_client_condemns_no_gaps() {
        let check = |slo: &str, violated, waited_ns, valid: bool| {
            let validity = starved(slo, violated, waited_ns);
            assert_eq!(validity.is_valid(), valid, "{validity:?}");
        };
        check("itl p95 <= 50ms", 6, 450_000_000, false);
        check("itl p95 <= 50ms", 6, 90_000_000, true);
        check("itl p95 <= 50ms", 5, 450_000_000, true);
        check("ttft p95 <= 50ms", 6, 450_000_000, true);
        let health = starved("itl p95 <= 50ms", 0, 450_000_000).client;
        assert_eq!((health.busiest_thread, health.run_queue), (Some(0.0), Some(0.5)));
    }

    #[test]
    fn the_client_judges_itself() {
        let good = board(200, 0, 200);
        assert!(validity(&good, 200, 0).is_valid());
        assert_eq!(validity(&good, 200, 0).schedule_delay_max_ns, 2_000_000);
        assert_eq!(
            validity(&good, 202, 20_000_000).reason().as_deref(),
            Some(
                "the client sent 99.01 % of the scheduled requests, at least 99.5 % are asked; \
                 the wall clock stepped by 20.0 ms during the level"
            )
        );
        let mut late = board(200, 0, 200);
        late.apply(&LevelNews {
            delays_ns: vec![26_000_000; 10],
            ..LevelNews::default()
        });
        assert_eq!(
            validity(&late, 100, 0).reason().as_deref(),
            Some("the client was late: schedule delay p99 26.0 ms, allowed 25.0 ms")
        );
        let mut slow = board(200, 0, 200);
        slow.apply(&LevelNews {
            tally: Tally {
                records_lost: 3,
                ..Tally::default()
            },
            ..LevelNews::default()
        });
        assert_eq!(
            validity(&slow, 200, 0).reason().as_deref(),
            Some("3 records were lost because the disk was too slow")
        );
    }

    /// A level of ten seconds at `rate`, which a client that can send `capacity` requests a second sends as fast as it can;
    /// answers take 50 ms. It is cut `after_s` after its window.
    fn past_capacity(rate: f64, capacity: f64, after_s: f64) -> (Board, u64) {
        let window_s = 10.0;
        let mut board = Board::new(&["ttft p95 <= 500ms".parse().expect("an objective")]);
        board.watch(Phase::Measured, (0, 10_000_000_000));
        let scheduled = (rate * window_s) as u64;
        board.scheduled = scheduled;
        let mut news = LevelNews::default();
        for number in 0..scheduled {
            let due_s = number as f64 / rate;
            let sent_s = due_s.max(number as f64 / capacity);
            if sent_s > window_s + after_s {
                break;
            }
            news.delays_ns.push(((sent_s - due_s) * 1e9) as i64);
            news.tally.measured_dispatched += 1;
            news.tally.sent_in_window += u64::from(sent_s < window_s);
        }
        board.apply(&news);
        (board, scheduled)
    }

    #[test]
    fn past_its_capacity_the_client_says_so() {
        let check = |factor: f64, after_s: f64, sent: f64, expected: Option<&str>| {
            let (board, due) = past_capacity(1_000.0 * factor, 1_000.0, after_s);
            let evidence = board.evidence(0, 10);
            let attainments = board.attainments(&evidence, due);
            let validity = board.validity(&attainments, due, 0);
            let reason = validity.reason().unwrap_or_default();
            assert!(
                expected.map_or(reason.is_empty(), |words| reason.contains(words)),
                "{factor}: {reason}"
            );
            let verdict = judge(&attainments, &validity);
            assert_eq!(
                matches!(verdict, Verdict::Invalid { .. }),
                expected.is_some(),
                "{verdict}"
            );
            let sent_rate = board.total().sent_in_window as f64 / 10.0;
            assert!((sent_rate - sent).abs() < 2.0, "{factor}: {sent_rate}");
        };
        check(0.9, 0.1, 900.0, None);
        // Whatever is sent after the window is no part of its rate, also when all of it is sent in the end.
        check(1.2, 0.1, 1_000.0, Some("the client sent 84"));
        check(
            1.2,
            60.0,
            1_000.0,
            Some("the client was late: schedule delay p99 19"),
        );
        check(2.0, 0.1, 1_000.0, Some("the client sent 50"));
        check(10.0, 0.1, 1_000.0, Some("the client sent 10"));
        check(10.0, 0.1, 1_000.0, Some("the client was late"));
    }

    #[test]
    fn a_lag_alone_spoils_no_stamp() {
        let check = |lag_ms: i64, uncertain: u64, valid: bool| {
            let mut board = board(200, 0, 200);
            board.apply(&LevelNews {
                lags_ns: vec![lag_ms * 1_000_000; 100],
                tally: Tally {
                    first_tokens: 100,
                    uncertain_stamps: uncertain,
                    ..Tally::default()
                },
                ..LevelNews::default()
            });
            let validity = validity(&board, 200, 0);
            assert_eq!(validity.is_valid(), valid, "{validity:?}");
            let lag = validity.client.reader_lag.expect("a lag");
            assert_eq!(lag.max_ns, lag_ms * 1_000_000);
        };
        check(1, 100, true);
        check(60, 1, true);
        check(60, 2, false);
    }

    /// A window of ten seconds with a look each second; the clocks drift and step by so much at each of them.
    fn watched(in_flight: u64, slew_ns: i64, step_ns: i64, ended_ns: i64) -> ClientHealth {
        watched_in(Phase::Measured, in_flight, slew_ns, step_ns, ended_ns)
    }

    fn watched_in(phase: Phase, in_flight: u64, slew_ns: i64, step_ns: i64, ended_ns: i64) -> ClientHealth {
        let mut board = Board::new(&["ttft p95 <= 500ms".parse().expect("an objective")]);
        board.watch(phase, (0, 10_000_000_000));
        for second in 0..12 {
            let process = ProcessLook {
                at_ns: second * 1_000_000_000,
                run_ns: Some(second * 250_000_000),
                raw_offset_ns: Some(-second * slew_ns),
                wall_offset_ns: Some(if second == 5 { step_ns } else { 0 }),
                open_files: Some(20 + second as u64),
                commit_ns: second * 1_000_000,
            };
            let count = InFlightCount {
                all: in_flight,
                age_ns: 7,
                connections: 900 + second as u64 % 7,
                dialled: 3 * second as u64,
                ..InFlightCount::default()
            };
            board.look(&count, &process);
        }
        board.apply(&LevelNews {
            tally: Tally {
                time_in_flight_ns: ended_ns,
                ..Tally::default()
            },
            ..LevelNews::default()
        });
        validity(&board, 0, 0).client
    }

    #[test]
    fn a_level_knows_its_process_and_its_clocks() {
        let health = watched(4, 600_000, 60_000, 36_000_000_000);
        assert_eq!((health.process, health.open_files), (Some(0.25), Some(29)));
        assert_eq!((health.sockets, health.dialled), (Some(906), Some(27)));
        assert_eq!(
            (health.clock_step_ns, health.slowest_commit_s),
            (Some(60_000), Some(0.011))
        );
        assert!(
            health
                .clock_slew_ppm
                .is_some_and(|ppm| (ppm - 600.0).abs() < 1e-6),
            "{health:?}"
        );
    }

    #[test]
    fn requests_in_flight_obey_littles_law() {
        let check = |in_flight, ended_s: i64, holds: bool| {
            let little = watched(in_flight, 0, 0, ended_s * 1_000_000_000)
                .little
                .expect("a law");
            assert_eq!(little.holds(), holds, "{little:?}");
        };
        check(1_000, 9_000, true);
        check(1_000, 8_800, true);
        check(1_000, 7_000, false);
        check(1_000, 11_500, false);
        // A step of a ramp has no measured window, in which alone the time is counted.
        assert_eq!(watched_in(Phase::Warmup, 1_000, 0, 0, 0).little, None);
    }
}
