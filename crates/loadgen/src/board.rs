//! Where a level stands, put together from the workers' reports; pure, so that its decisions are tested.

use std::time::Duration;

use gipfel_model::{Attainment, LatencyMetric, Slo, Validity, ValidityFault, Verdict, record::Latency};
use gipfel_peak_search::{certain_reject, judge};
use gipfel_statistics::{OrderStatistic, Sample};

use crate::messages::{SloTally, Tally};

/// The lead between the decision for a level and its first request.
pub(crate) const LEAD_NS: i64 = 200_000_000;
/// Share of the scheduled requests that the client must have sent.
const DELIVERY_LIMIT: f64 = 0.995;
/// Share of the tightest latency limit that the schedule delay's p99 may reach (rule W3).
const DELAY_SHARE: f64 = 0.05;
/// What the schedule delay's p99 may reach when no objective counts from the schedule.
const DEFAULT_DELAY_LIMIT_NS: i64 = 25_000_000;
/// The wall clock may differ by this much from the monotonic clock over a level before it counts as a step.
const CLOCK_STEP_LIMIT_NS: i64 = 10_000_000;

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

impl Timing {
    /// The times of a level that begins at `start_ns`.
    pub(crate) fn new(start_ns: i64, warmup: Duration, measured: Duration, drain: Duration) -> Self {
        let measured_from_ns = start_ns + nanos(warmup);
        let measured_to_ns = measured_from_ns + nanos(measured);
        Self {
            start_ns,
            measured_from_ns,
            measured_to_ns,
            drain_until_ns: measured_to_ns + nanos(drain),
        }
    }
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
}

/// The sum of the workers' reports of one level.
#[derive(Debug)]
pub(crate) struct Board {
    slos: Vec<Slo>,
    scheduled: u64,
    workers: Vec<Tally>,
    pub(crate) ttfts: Sample,
    delays: Sample,
}

impl Board {
    /// A board for a level whose measured window holds `scheduled` arrivals.
    pub(crate) fn new(slos: &[Slo], scheduled: u64, workers: usize) -> Self {
        Self {
            slos: slos.to_vec(),
            scheduled,
            workers: vec![Tally::default(); workers],
            ttfts: Sample::new(),
            delays: Sample::new(),
        }
    }

    /// Takes a worker's report.
    pub(crate) fn apply(&mut self, worker: usize, tally: Tally, ttfts: &[Latency], delays_ns: &[i64]) {
        self.workers[worker] = tally;
        for ttft in ttfts {
            match *ttft {
                Latency::Finite(nanos) => self.ttfts.push_finite(nanos),
                Latency::Infinite => self.ttfts.push_infinite(),
                Latency::Undefined => {}
            }
        }
        for delay in delays_ns {
            self.delays.push_finite(*delay);
        }
    }

    /// The sum over the workers; its `slos` are left to [`Board::attainments`].
    pub(crate) fn total(&self) -> Tally {
        let sum = |field: fn(&Tally) -> u64| self.workers.iter().map(field).sum();
        Tally {
            dispatched: sum(|tally| tally.dispatched),
            measured_dispatched: sum(|tally| tally.measured_dispatched),
            ended: sum(|tally| tally.ended),
            measured_ended: sum(|tally| tally.measured_ended),
            failed: sum(|tally| tally.failed),
            connect_errors: sum(|tally| tally.connect_errors),
            in_flight: sum(|tally| tally.in_flight),
            completed_in_window: sum(|tally| tally.completed_in_window),
            out_of_sockets: sum(|tally| tally.out_of_sockets),
            records_lost: sum(|tally| tally.records_lost),
            slos: Vec::new(),
        }
    }

    /// How the measured requests stand to each objective.
    pub(crate) fn attainments(&self) -> Vec<Attainment> {
        let tally = |index: usize, field: fn(&SloTally) -> u64| -> u64 {
            self.workers
                .iter()
                .filter_map(|worker| worker.slos.get(index))
                .map(field)
                .sum()
        };
        self.slos
            .iter()
            .enumerate()
            .map(|(index, slo)| Attainment {
                slo: *slo,
                scheduled: self.scheduled,
                decided: tally(index, |slo| slo.decided),
                violated: tally(index, |slo| slo.violated),
                n_eff: None,
                interval: None,
            })
            .collect()
    }

    /// Decides whether the level goes on at `now_ns`.
    pub(crate) fn step(&self, timing: &Timing, now_ns: i64) -> Step {
        let attainments = self.attainments();
        if certain_reject(&attainments).is_some() {
            return Step::CutRejected;
        }
        if now_ns < timing.measured_to_ns {
            return Step::Continue;
        }
        if now_ns >= timing.drain_until_ns {
            return Step::CutDrain;
        }
        // What has ended undecided stays so: a server that counts no tokens leaves every TPOT open.
        if self.total().measured_ended >= self.scheduled {
            return Step::CutDecided;
        }
        if attainments.iter().any(|one| one.decided < one.scheduled) {
            return Step::Continue;
        }
        // A rejected or unresolved level is not worth the drain; an accepted one shows all its latencies.
        let accepted = judge(&attainments, &Validity::default()) == Verdict::Accept;
        if accepted {
            Step::Continue
        } else {
            Step::CutDecided
        }
    }

    /// Judges the client: `due` measured arrivals should have been sent, the wall clock stepped by `step_ns`.
    pub(crate) fn validity(&mut self, due: u64, step_ns: i64) -> Validity {
        let total = self.total();
        let delay = |delays: &mut Sample, numerator: usize| match delays
            .at_rank((delays.len() * numerator).div_ceil(100))
        {
            Some(OrderStatistic::Finite(nanos)) => nanos,
            _ => 0,
        };
        let mut validity = Validity {
            schedule_delay_p50_ns: delay(&mut self.delays, 50),
            schedule_delay_p99_ns: delay(&mut self.delays, 99),
            schedule_delay_max_ns: delay(&mut self.delays, 100),
            faults: Vec::new(),
            client: gipfel_model::ClientHealth::default(),
        };
        let limit_ns = delay_limit_ns(&self.slos);
        if validity.schedule_delay_p99_ns > limit_ns {
            let (p99_ms, limit_ms) = (validity.schedule_delay_p99_ns as f64 / 1e6, limit_ns as f64 / 1e6);
            validity
                .faults
                .push(ValidityFault::ScheduleDelay { p99_ms, limit_ms });
        }
        let share = if due == 0 {
            1.0
        } else {
            total.measured_dispatched as f64 / due as f64
        };
        if share < DELIVERY_LIMIT {
            validity.faults.push(ValidityFault::Underdelivered {
                share,
                limit: DELIVERY_LIMIT,
            });
        }
        if total.out_of_sockets > 0 {
            validity.faults.push(ValidityFault::Sockets {
                count: total.out_of_sockets,
            });
        }
        if step_ns.abs() > CLOCK_STEP_LIMIT_NS {
            validity.faults.push(ValidityFault::Clock {
                step_ms: step_ns as f64 / 1e6,
            });
        }
        if total.records_lost > 0 {
            validity.faults.push(ValidityFault::RecordsLost {
                count: total.records_lost,
            });
        }
        validity
    }
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
pub(crate) fn ttft_p95_ms(ttfts: &mut Sample) -> Option<f64> {
    match ttfts.at_rank(gipfel_model::Quantile::P95.rank(ttfts.len()))? {
        OrderStatistic::Finite(nanos) => Some(nanos as f64 / 1e6),
        OrderStatistic::Infinite => None,
    }
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

    fn board(decided: u64, violated: u64, ended: u64) -> Board {
        let slos: Vec<Slo> = vec!["ttft p95 <= 500ms".parse().expect("an objective")];
        let mut board = Board::new(&slos, 200, 2);
        let half = |n: u64, worker: u64| if worker == 0 { n / 2 } else { n - n / 2 };
        for worker in 0..2 {
            let slo = SloTally {
                decided: half(decided, worker),
                violated: half(violated, worker),
            };
            let tally = Tally {
                measured_ended: half(ended, worker),
                measured_dispatched: 100,
                slos: vec![slo],
                ..Tally::default()
            };
            board.apply(worker as usize, tally, &[], &[1_000_000, 2_000_000]);
        }
        board
    }

    #[test]
    fn a_level_ends_when_nothing_more_can_be_learnt() {
        let check = |decided, violated, ended, now_ns, step| {
            assert_eq!(board(decided, violated, ended).step(&TIMING, now_ns), step);
        };
        check(50, 10, 50, 50, Step::Continue);
        check(50, 11, 50, 50, Step::CutRejected);
        check(200, 5, 200, 99, Step::Continue);
        check(199, 5, 199, 150, Step::Continue);
        check(199, 5, 199, 200, Step::CutDrain);
        check(200, 5, 190, 150, Step::Continue);
        check(200, 5, 200, 150, Step::CutDecided);
        check(200, 5, 190, 200, Step::CutDrain);
    }

    #[test]
    fn the_client_judges_itself() {
        let mut good = board(200, 0, 200);
        assert!(good.validity(200, 0).is_valid());
        assert_eq!(good.validity(200, 0).schedule_delay_p99_ns, 2_000_000);
        assert_eq!(
            good.validity(202, 20_000_000).reason().as_deref(),
            Some(
                "the client sent 99.01 % of the scheduled requests, at least 99.5 % are asked; \
                 the wall clock stepped by 20.0 ms during the level"
            )
        );
        let mut late = board(200, 0, 200);
        late.apply(0, Tally::default(), &[], &[26_000_000; 10]);
        assert_eq!(
            late.validity(100, 0).reason().as_deref(),
            Some("the client was late: schedule delay p99 26.0 ms, allowed 25.0 ms")
        );
    }
}
