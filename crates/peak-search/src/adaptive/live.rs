//! A level of the search while it is offered, and until all its requests are decided.

use gipfel_model::{ArrivalRate, Evidence, LatencyMetric, LevelRecord, Phase, Second, Slo, Stage};

use super::{Directive, SECOND_NS, course::Plan};
use crate::evidence::median;

/// A request that has not ended after so many median E2E latencies is no longer waited for when only its end decides.
const PATIENCE_E2E: f64 = 3.0;
/// Seconds that tell whether the server is overloaded just now.
const OVERLOAD_SECONDS: usize = 6;
/// The requests in flight fall when their mean over so many seconds is below this share of that of the seconds before.
const FALL_SECONDS: usize = 3;
const FALLING: f64 = 0.97;
/// Settling is prolonged to so many times its plan, and so many seconds.
const SETTLE_FACTOR: u32 = 3;
const SETTLE_MORE_S: u32 = 10;
/// Until then a request may have been sent without having been reported.
const REPORT_S: f64 = 0.15;
const LEAST_PATIENCE_S: f64 = 5.0;

/// A level.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) level: u32,
    pub(super) stage: Stage,
    pub(super) rate: ArrivalRate,
    pub(super) start_ns: i64,
    /// The end of the load that was asked for.
    pub(super) end_ns: i64,
    pub(super) settle_s: u32,
    planned_settle_s: u32,
    /// Measured seconds that were planned.
    pub(super) planned_s: u32,
    /// Measured seconds that it counts for; 0 until an overload cuts it short.
    pub(super) stands_for_s: u32,
    pub(super) overloaded: Option<Slo>,
    /// All seconds, as counted so far.
    seconds: Vec<Second>,
    /// Sum and count of the looks at the requests in flight, for each second.
    in_flight: Vec<(f64, u32)>,
    pub(super) ended_e2e_ns: Vec<i64>,
    /// What is known of it: only seconds whose requests are decided.
    pub(super) evidence: Evidence,
    pub(super) is_offered: bool,
    pub(super) is_closed: bool,
    pub(super) is_valid: bool,
}

impl Live {
    pub(super) fn new(level: u32, plan: &Plan, start_ns: i64) -> Self {
        Self {
            level,
            stage: plan.stage,
            rate: plan.rate,
            start_ns,
            end_ns: start_ns,
            settle_s: plan.settle_s,
            planned_settle_s: plan.settle_s,
            planned_s: plan.measured_s,
            stands_for_s: 0,
            overloaded: None,
            seconds: Vec::new(),
            in_flight: Vec::new(),
            ended_e2e_ns: Vec::new(),
            evidence: Evidence::default(),
            is_offered: true,
            is_closed: false,
            is_valid: true,
        }
    }

    /// A level of an earlier process.
    pub(super) fn from_record(record: &LevelRecord) -> Option<Self> {
        let evidence = record.evidence.clone()?;
        let length_ns = evidence.seconds.len() as i64 * SECOND_NS;
        Some(Self {
            level: record.level,
            stage: record.stage,
            rate: record.rate,
            start_ns: record.start_ns,
            end_ns: record.start_ns + length_ns,
            settle_s: evidence.settle_s,
            planned_settle_s: evidence.settle_s,
            planned_s: evidence.stands_for_s,
            stands_for_s: evidence.stands_for_s,
            overloaded: evidence.overloaded,
            seconds: evidence.seconds.clone(),
            in_flight: Vec::new(),
            ended_e2e_ns: Vec::new(),
            evidence,
            is_offered: false,
            is_closed: true,
            is_valid: true,
        })
    }

    /// Lets the server settle for one more second while it still works off an overload: as long as the requests in flight
    /// fall, what violates is the load before.
    pub(super) fn settle_on(&mut self, now_ns: i64) {
        let is_settling = self.stage != Stage::Ramp && self.seconds.len() as u32 == self.settle_s;
        let longest_s = self.planned_settle_s * SETTLE_FACTOR + SETTLE_MORE_S;
        if is_settling && self.settle_s < longest_s && self.is_falling(now_ns) {
            self.settle_s += 1;
        }
    }

    /// Whether the requests in flight of the last seconds are fewer than those of the seconds before.
    fn is_falling(&self, now_ns: i64) -> bool {
        let passed = self.passed_s(now_ns);
        let Some(from) = passed.checked_sub(2 * FALL_SECONDS) else {
            return false;
        };
        let middle = passed - FALL_SECONDS;
        match (
            self.mean_in_flight(from, middle),
            self.mean_in_flight(middle, passed),
        ) {
            (Some(before), Some(last)) => last < FALLING * before - 1.0,
            _ => false,
        }
    }

    /// Asks for the next second of load.
    pub(super) fn append(&mut self) -> Directive {
        let from_ns = self.end_ns;
        self.end_ns += SECOND_NS;
        self.seconds.push(Second::default());
        self.in_flight.push((0.0, 0));
        let at = self.seconds.len() as u32;
        let settles = at <= self.settle_s || self.stage == Stage::Ramp;
        Directive::Append {
            level: self.level,
            phase: if settles { Phase::Warmup } else { Phase::Measured },
            rate: self.rate,
            from_ns,
            to_ns: self.end_ns,
        }
    }

    pub(super) fn count(&mut self, second: u32, add: &Second) {
        if self.is_closed {
            return;
        }
        if let Some(mine) = self.seconds.get_mut(second as usize) {
            mine.add(add);
        }
    }

    pub(super) fn see_in_flight(&mut self, now_ns: i64, in_flight: u64) {
        let at = (now_ns - self.start_ns).div_euclid(SECOND_NS);
        if let Some(look) = usize::try_from(at).ok().and_then(|at| self.in_flight.get_mut(at)) {
            look.0 += in_flight as f64;
            look.1 += 1;
        }
    }

    /// Whether most of what is decided of the last seconds violates an objective.
    pub(super) fn is_overloaded_now(&self, slos: &[Slo]) -> bool {
        let last = &self.seconds[self.seconds.len().saturating_sub(OVERLOAD_SECONDS)..];
        (0..slos.len()).any(|index| {
            let counts = last.iter().filter_map(|second| second.objectives.get(index));
            let (decided, violated) =
                counts.fold((0, 0), |sum, one| (sum.0 + one.decided, sum.1 + one.violated));
            2 * violated > decided
        })
    }

    /// The mean number of requests in flight between two seconds of the level.
    pub(super) fn mean_in_flight(&self, from: usize, to: usize) -> Option<f64> {
        let looks = self.in_flight.get(from..to.min(self.in_flight.len()))?;
        let (sum, count) = looks
            .iter()
            .fold((0.0, 0), |(sum, count), look| (sum + look.0, count + look.1));
        (count > 0).then(|| sum / f64::from(count))
    }

    /// Whole seconds of it that lie before `now_ns`.
    pub(super) fn passed_s(&self, now_ns: i64) -> usize {
        ((now_ns - self.start_ns).max(0) / SECOND_NS).min(self.seconds.len() as i64) as usize
    }

    /// How many seconds from its start have nothing but requests that are decided for one objective. What only the end of
    /// a request decides is waited for a few median E2E latencies.
    fn decided_s_for(&self, index: usize, slo: &Slo, now_ns: i64, e2e_s: f64) -> usize {
        let passed = self.passed_s(now_ns);
        let is_decided = |at: &usize| {
            let age_s = (now_ns - self.start_ns) as f64 / 1e9 - (at + 1) as f64;
            let second = &self.seconds[*at];
            let decided = second.objectives.get(index).map_or(0, |one| one.decided);
            decided >= second.arrivals && age_s > REPORT_S || age_s > patience_s(slo, e2e_s)
        };
        // From the end, since the youngest seconds are the undecided ones.
        (0..passed).rev().find(is_decided).map_or(0, |at| at + 1)
    }

    /// How many seconds from its start have nothing but requests that are decided for every objective.
    pub(super) fn decided_s(&self, slos: &[Slo], now_ns: i64, e2e_s: f64) -> usize {
        let of = |(index, slo)| self.decided_s_for(index, slo, now_ns, e2e_s);
        slos.iter().enumerate().map(of).min().unwrap_or(0)
    }

    /// For each objective the seconds that are decided, the settling ones included.
    pub(super) fn decided(&self, slos: &[Slo], now_ns: i64, e2e_s: f64) -> Vec<&[Second]> {
        let of = |(index, slo)| &self.seconds[..self.decided_s_for(index, slo, now_ns, e2e_s)];
        slos.iter().enumerate().map(of).collect()
    }

    pub(super) fn is_decided(&self, slos: &[Slo], now_ns: i64, e2e_s: f64) -> bool {
        now_ns >= self.end_ns && self.decided_s(slos, now_ns, e2e_s) == self.seconds.len()
    }

    /// Brings the evidence up to date.
    pub(super) fn refresh(&mut self, slos: &[Slo], now_ns: i64, e2e_s: f64) {
        let seconds = self.seconds[..self.decided_s(slos, now_ns, e2e_s)].to_vec();
        let settle_s = if self.stage == Stage::Ramp {
            0
        } else {
            self.settle_s
        };
        let measured = (seconds.len() as u32).saturating_sub(settle_s);
        self.evidence = Evidence {
            settle_s,
            stands_for_s: self.stands_for_s.max(measured),
            overloaded: self.overloaded,
            e2e_p50_s: median(&mut self.ended_e2e_ns.clone()).map(|nanos| nanos / 1e9),
            in_flight: self.mean_in_flight(settle_s as usize, seconds.len()),
            seconds,
        };
    }

    pub(super) fn close(&mut self, slos: &[Slo], now_ns: i64, e2e_s: f64) -> Directive {
        self.refresh(slos, now_ns, e2e_s);
        self.is_closed = true;
        self.is_offered = false;
        Directive::Close {
            level: self.level,
            evidence: self.evidence.clone(),
        }
    }
}

/// How long after its scheduled arrival a request's decision is waited for.
fn patience_s(slo: &Slo, e2e_s: f64) -> f64 {
    let by_end_s = (PATIENCE_E2E * e2e_s).max(LEAST_PATIENCE_S);
    match slo {
        Slo::Latency {
            metric: LatencyMetric::Ttft | LatencyMetric::E2e,
            limit,
            ..
        } => limit.as_secs_f64() + 1.0,
        Slo::Latency { .. } | Slo::ErrorRate { .. } => by_end_s,
    }
}
