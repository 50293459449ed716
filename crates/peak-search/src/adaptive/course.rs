//! The course of the search: what a level says when it is looked at, and which level comes next.

use gipfel_model::{ArrivalRate, SearchSpec, Second, Slo, Stage};
use gipfel_statistics::{Batch, clopper_pearson, effective_sample_size};

use super::live::Live;
use crate::{evidence::batches, fit::Fit};

/// The ramp begins here unless the bounds lie elsewhere, in requests per second.
const RAMP_FROM: f64 = 1.0;
const RAMP_FACTOR: f64 = 1.5;
/// A step of the ramp lasts for so many arrivals, within these seconds.
const RAMP_ARRIVALS: f64 = 20.0;
const RAMP_STEP_S: (f64, f64) = (5.0, 12.0);
/// A step goes on until so much of it is decided.
const RAMP_SEEN: f64 = 0.5;
/// The ramp ends at a step with a larger violating share, when so many requests are decided.
const RAMP_SHARE: f64 = 0.25;
const RAMP_DECIDED: f64 = 8.0;

/// The server is overloaded for certain when this share of the requests of the last seconds violates.
const HARD_SHARE: f64 = 0.70;
const HARD_SECONDS: usize = 6;
const HARD_DECIDED: f64 = 15.0;

/// The first test of the bracket, relative to the geometric mean of the ramp's last two steps.
const FIRST_TEST: f64 = 0.85;
const UP: f64 = 1.25;
const DOWN: f64 = 0.72;
/// The bracket is narrow enough.
const NARROW: f64 = 1.12;
/// The confidence of the sequential tests.
const CONFIDENCE: f64 = 0.95;
/// An undecided test ends after this many seconds, or so many E2E latencies.
const CAP_S: f64 = 70.0;
const CAP_E2E: f64 = 5.0;
const ACCEPT_E2E: f64 = 3.0;
/// A test rejects no earlier than this, or an E2E latency.
const REJECT_S: f64 = 10.0;

/// A block of the track lasts so many seconds, or so many E2E latencies.
const BLOCK_S: f64 = 100.0;
const BLOCK_E2E: f64 = 3.0;
/// Consecutive blocks lie so far above and below the estimate that the logit of the violating share differs by this on
/// each side, within these bounds: the slope is to be seen too.
const DITHER_LOGIT: f64 = 0.6;
const DITHER: (f64, f64) = (0.008, 0.03);
/// A block's rate differs by no more than this from the one before.
const STEP_UP: f64 = 0.05;
const STEP_DOWN: f64 = 0.10;
/// After a block with more than half of its requests violating, the rate falls at least by this.
const STEP_AFTER_BAD: f64 = 0.03;
const BAD_SHARE: f64 = 0.5;
/// E2E latencies until a step, a shed and a cold start are forgotten.
const SETTLE_STEP_E2E: f64 = 1.0;
const SETTLE_SHED_E2E: f64 = 2.0;
const SETTLE_COLD_E2E: f64 = 6.0;
/// And no less than this, so that it is seen whether the requests in flight still fall.
const LEAST_SETTLE_S: f64 = 8.0;
/// A block with a bad episode at its end goes on until it is over, for at most so many blocks; one whose requests in flight
/// still grow for at most so many.
const EPISODE_BLOCKS: f64 = 1.0;
const GROWTH_BLOCKS: f64 = 1.5;
const EPISODE_SHARE: f64 = 0.2;
const EPISODE_SECONDS: usize = 5;
/// A block far below the estimate and without any violation ends after this, or so many E2E latencies.
const FAR_S: f64 = 30.0;
const FAR_E2E: f64 = 3.0;
/// Waiting requests are shed when the oldest has waited for so long, or for an E2E latency.
const SHED_S: f64 = 20.0;

/// A level to come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) stage: Stage,
    pub(super) rate: ArrivalRate,
    pub(super) settle_s: u32,
    pub(super) measured_s: u32,
}

impl Plan {
    /// Shorter than this it is not worth beginning.
    pub(super) fn least_s(&self) -> f64 {
        let share = if self.stage == Stage::Track { 0.5 } else { 0.3 };
        f64::from(self.settle_s) + share * f64::from(self.measured_s)
    }
}

/// How a level ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Every objective is met.
    Accepted,
    /// An objective is violated.
    Rejected,
    /// So much is violated, or waits so long, that load is shed.
    Overloaded {
        /// The objective that it is laid to.
        objective: usize,
    },
    /// A test could not decide: the rate lies at the knee. A block has come to its end.
    Undecided,
    /// The budget is used.
    TimeOver,
}

impl Outcome {
    pub(super) fn sheds(self) -> bool {
        matches!(self, Self::Overloaded { .. } | Self::Rejected)
    }
}

/// The level that is offered, at a moment.
pub(super) struct View<'a> {
    pub(super) level: &'a Live,
    pub(super) slos: &'a [Slo],
    pub(super) e2e_s: f64,
    pub(super) now_ns: i64,
    /// More load has to be asked for now, of this level or the next.
    pub(super) is_due: bool,
    pub(super) oldest_waiting_s: f64,
    /// The mean of the estimate so far.
    pub(super) estimate: Option<f64>,
}

/// Whether the level is over, and how.
pub(super) fn look(view: &View<'_>) -> Option<Outcome> {
    let decided = view.level.decided(view.slos, view.now_ns, view.e2e_s);
    let settle_s = match view.level.stage {
        Stage::Ramp => 0,
        Stage::Bracket | Stage::Track | Stage::Level => view.level.settle_s as usize,
    };
    let measured: Vec<&[Second]> = decided
        .iter()
        .map(|seconds| seconds.get(settle_s..).unwrap_or_default())
        .collect();
    match view.level.stage {
        Stage::Ramp => look_at_ramp(view, &measured),
        Stage::Bracket => look_at_test(view, &measured),
        Stage::Track | Stage::Level => look_at_block(view, &measured),
    }
}

/// How a level of an earlier process had ended.
pub(super) fn outcome_of(level: &Live, slos: &[Slo]) -> Outcome {
    if let Some(slo) = level.overloaded {
        let objective = slos.iter().position(|one| *one == slo).unwrap_or(0);
        return Outcome::Overloaded { objective };
    }
    let seconds = crate::evidence::measured(&level.evidence);
    match level.stage {
        Stage::Ramp => Outcome::Accepted,
        Stage::Bracket => test(&vec![seconds; slos.len()], slos).unwrap_or(Outcome::Undecided),
        Stage::Track | Stage::Level => Outcome::Undecided,
    }
}

fn look_at_ramp(view: &View<'_>, decided: &[&[Second]]) -> Option<Outcome> {
    if let Some(objective) = overload(decided, view.slos) {
        return Some(Outcome::Overloaded { objective });
    }
    let is_offered = view.is_due && view.level.passed_s(i64::MAX) as u32 >= view.level.planned_s;
    // An objective that is decided late would let the ramp run away from what it has seen.
    let decided_s = decided.iter().map(|seconds| seconds.len()).min().unwrap_or(0);
    let is_over = is_offered && decided_s as f64 >= RAMP_SEEN * f64::from(view.level.planned_s);
    for (objective, (slo, seconds)) in view.slos.iter().zip(decided).enumerate() {
        let total = Batch::sum(batches(seconds, objective));
        let share = slo.allowed_share().max(RAMP_SHARE);
        if is_over && total.trials >= RAMP_DECIDED && total.events > share * total.trials {
            return Some(Outcome::Overloaded { objective });
        }
    }
    is_over.then_some(Outcome::Accepted)
}

/// The first objective that the last seconds violate for certain.
fn overload(decided: &[&[Second]], slos: &[Slo]) -> Option<usize> {
    slos.iter().enumerate().find_map(|(objective, slo)| {
        let total = Batch::sum(batches(last(decided[objective], HARD_SECONDS), objective));
        let share = slo.allowed_share().max(HARD_SHARE);
        (total.trials >= HARD_DECIDED && total.events >= share * total.trials).then_some(objective)
    })
}

fn last(seconds: &[Second], count: usize) -> &[Second] {
    &seconds[seconds.len().saturating_sub(count)..]
}

fn look_at_test(view: &View<'_>, measured: &[&[Second]]) -> Option<Outcome> {
    let seen_s = measured.iter().map(|seconds| seconds.len()).min().unwrap_or(0);
    if seen_s < HARD_SECONDS {
        return None;
    }
    if let Some(objective) = overload(measured, view.slos) {
        return Some(Outcome::Overloaded { objective });
    }
    let found = test(measured, view.slos);
    if found == Some(Outcome::Rejected) && seen_s as f64 >= REJECT_S.max(view.e2e_s) {
        return found;
    }
    let passed_s = view.level.passed_s(view.now_ns);
    let is_accepted = found == Some(Outcome::Accepted)
        && passed_s as f64 > ACCEPT_E2E * view.e2e_s
        && is_stationary(view.level, passed_s);
    if is_accepted {
        return found;
    }
    let cap_s = CAP_S.max(CAP_E2E * view.e2e_s);
    (view.is_due && passed_s as f64 >= cap_s).then(|| undecided(measured, view.slos))
}

/// A test that has seen no violation is no knee.
fn undecided(measured: &[&[Second]], slos: &[Slo]) -> Outcome {
    let is_clean = (0..slos.len()).all(|objective| violating(measured[objective], objective) <= 0.0);
    if is_clean {
        Outcome::Accepted
    } else {
        Outcome::Undecided
    }
}

/// The sequential test of all objectives.
fn test(measured: &[&[Second]], slos: &[Slo]) -> Option<Outcome> {
    let mut accepts = true;
    for (objective, slo) in slos.iter().enumerate() {
        let batches = batches(measured[objective], objective);
        let total = Batch::sum(batches.iter().copied());
        let n_eff = effective_sample_size(&batches);
        let share = total.events / total.trials;
        let target = slo.allowed_share();
        let Some((low, high)) = clopper_pearson(share * n_eff, n_eff, CONFIDENCE) else {
            accepts = false;
            continue;
        };
        if low > target {
            return Some(Outcome::Rejected);
        }
        accepts &= high < target || target <= 0.0 && total.events <= 0.0;
    }
    accepts.then_some(Outcome::Accepted)
}

/// Whether the requests in flight have stopped growing: by the means of the last and the middle third.
fn is_stationary(level: &Live, passed_s: usize) -> bool {
    let third = passed_s / 3;
    let (middle, last) = (
        level.mean_in_flight(third, 2 * third),
        level.mean_in_flight(2 * third, passed_s),
    );
    match (middle, last) {
        (Some(middle), Some(last)) => last <= 1.05 * middle + 1.0,
        _ => true,
    }
}

fn look_at_block(view: &View<'_>, measured: &[&[Second]]) -> Option<Outcome> {
    let ttft_limit_s = view.slos.iter().filter_map(ttft_limit_s).fold(0.0, f64::max);
    if view.oldest_waiting_s > SHED_S.max(view.e2e_s).max(1.5 * ttft_limit_s) {
        return Some(Outcome::Overloaded {
            objective: worst(measured, view.slos),
        });
    }
    let planned_s = view.level.planned_s;
    let offered_s = (view.level.passed_s(i64::MAX) as u32).saturating_sub(view.level.settle_s);
    if !view.is_due {
        return None;
    }
    if offered_s < planned_s {
        let is_far = f64::from(offered_s) > FAR_S.max(FAR_E2E * view.e2e_s)
            && view
                .estimate
                .is_some_and(|mean| mean > (1.0 + STEP_UP) * view.level.rate.get())
            && (0..view.slos.len()).all(|objective| violating(measured[objective], objective) <= 0.0);
        return is_far.then_some(Outcome::Undecided);
    }
    if !is_in_episode(measured, view.slos) {
        return Some(Outcome::Undecided);
    }
    let beyond = f64::from(offered_s) / f64::from(planned_s.max(1)) - 1.0;
    let passed_s = view.level.passed_s(view.now_ns);
    let grows = beyond < GROWTH_BLOCKS && !is_stationary(view.level, passed_s);
    let is_bad = (0..view.slos.len()).any(|objective| violating(measured[objective], objective) > BAD_SHARE);
    // A block that is bad for the most part tells no more; what waits must not spoil the next one.
    if is_bad || beyond >= EPISODE_BLOCKS && !grows {
        return Some(Outcome::Overloaded {
            objective: worst(measured, view.slos),
        });
    }
    None
}

/// The violating share of what is decided; 0 when nothing is.
fn violating(seconds: &[Second], objective: usize) -> f64 {
    let total = Batch::sum(batches(seconds, objective));
    if total.trials > 0.0 {
        total.events / total.trials
    } else {
        0.0
    }
}

fn ttft_limit_s(slo: &Slo) -> Option<f64> {
    match slo {
        Slo::Latency {
            metric: gipfel_model::LatencyMetric::Ttft,
            limit,
            ..
        } => Some(limit.as_secs_f64()),
        _ => None,
    }
}

/// The objective that is violated most, relative to what it allows.
fn worst(measured: &[&[Second]], slos: &[Slo]) -> usize {
    let severity = |objective: usize| {
        violating(measured[objective], objective) / slos[objective].allowed_share().max(1e-9)
    };
    (0..slos.len())
        .max_by(|one, other| severity(*one).total_cmp(&severity(*other)))
        .unwrap_or(0)
}

fn is_in_episode(measured: &[&[Second]], slos: &[Slo]) -> bool {
    slos.iter().enumerate().any(|(objective, slo)| {
        let total = Batch::sum(batches(last(measured[objective], EPISODE_SECONDS), objective));
        total.events > slo.allowed_share().max(EPISODE_SHARE) * total.trials
    })
}

/// Where the search stands between two levels.
#[derive(Clone, Debug)]
pub(super) struct Course {
    stage: Stage,
    /// The next rate; `None` when there is no further level.
    next: Option<f64>,
    /// The highest rate that passed and the lowest that did not.
    good: Option<f64>,
    bad: Option<f64>,
    bounds: (f64, f64),
    /// What the next level has to forget, in E2E latencies.
    settle_e2e: f64,
    blocks: u32,
    /// The half-width of the interval.
    half_width: f64,
    /// The mean of the latest estimate.
    mean: Option<f64>,
    e2e_s: f64,
}

impl Course {
    pub(super) fn new(spec: &SearchSpec) -> Self {
        let bounds = (
            spec.min_rate.get(),
            spec.max_rate.map_or(f64::INFINITY, ArrivalRate::get),
        );
        Self {
            stage: Stage::Ramp,
            next: Some(RAMP_FROM.clamp(bounds.0, bounds.1.max(bounds.0))),
            good: None,
            bad: None,
            bounds,
            settle_e2e: SETTLE_COLD_E2E,
            blocks: 0,
            half_width: f64::INFINITY,
            mean: None,
            e2e_s: 0.0,
        }
    }

    pub(super) fn is_tracking(&self) -> bool {
        self.stage == Stage::Track
    }

    pub(super) fn is_precise(&self, precision: f64) -> bool {
        self.is_tracking() && self.blocks >= 2 && self.half_width < precision
    }

    pub(super) fn bracket(&self) -> Option<(f64, f64)> {
        Some((self.good?, self.bad?))
    }

    pub(super) fn mean(&self) -> Option<f64> {
        self.mean
    }

    pub(super) fn e2e_s(&self) -> f64 {
        self.e2e_s
    }

    /// The server has no load: a block has to wait until it is as busy as its rate makes it.
    pub(super) fn begin_cold(&mut self) {
        self.settle_e2e = SETTLE_COLD_E2E;
    }

    /// The level to come.
    pub(super) fn plan(&self) -> Option<Plan> {
        let rate = self.next?;
        let e2e_s = self.e2e_s;
        let (settle_s, measured_s) = match self.stage {
            Stage::Ramp => (0.0, (RAMP_ARRIVALS / rate).clamp(RAMP_STEP_S.0, RAMP_STEP_S.1)),
            Stage::Bracket => (e2e_s.max(LEAST_SETTLE_S), CAP_S.max(CAP_E2E * e2e_s)),
            Stage::Track | Stage::Level => (
                (self.settle_e2e * e2e_s).max(LEAST_SETTLE_S),
                BLOCK_S.max(BLOCK_E2E * e2e_s),
            ),
        };
        Some(Plan {
            stage: self.stage,
            rate: ArrivalRate::per_second(rate).ok()?,
            settle_s: settle_s.ceil() as u32,
            measured_s: measured_s.ceil() as u32,
        })
    }

    /// Goes on after a level.
    pub(super) fn advance(&mut self, level: &Live, outcome: Outcome, fit: Option<&Fit>) {
        self.e2e_s = match level.evidence.e2e_p50_s {
            // The steps of the ramp are so short that only short requests end.
            Some(e2e_s) if level.stage == Stage::Ramp => self.e2e_s.max(e2e_s),
            Some(e2e_s) if !outcome.sheds() || self.e2e_s <= 0.0 => e2e_s,
            _ => self.e2e_s,
        };
        self.settle_e2e = if outcome.sheds() {
            SETTLE_SHED_E2E
        } else {
            SETTLE_STEP_E2E
        };
        let rate = level.rate.get();
        match level.stage {
            Stage::Ramp => self.after_ramp(rate, outcome),
            Stage::Bracket => self.after_test(rate, outcome),
            Stage::Track | Stage::Level => self.after_block(level, fit),
        }
    }

    fn after_ramp(&mut self, rate: f64, outcome: Outcome) {
        if outcome.sheds() {
            self.stage = Stage::Bracket;
            // What the ramp calls good was only not bad yet.
            self.next = match self.good.take() {
                Some(good) => Some(self.bounded(FIRST_TEST * (good * rate).sqrt())),
                None => Some(self.bounded(rate * DOWN)),
            };
            self.bad = Some(rate);
        } else if rate >= self.bounds.1 {
            self.stage = Stage::Bracket;
            self.next = Some(rate);
        } else {
            self.good = Some(rate);
            self.next = Some(self.bounded(rate * RAMP_FACTOR));
        }
    }

    fn after_test(&mut self, rate: f64, outcome: Outcome) {
        match outcome {
            Outcome::Accepted => {
                self.good = Some(rate);
                self.bad = self.bad.filter(|bad| *bad > rate);
            }
            Outcome::Rejected | Outcome::Overloaded { .. } => {
                self.bad = Some(rate);
                self.good = self.good.filter(|good| *good < rate);
            }
            Outcome::Undecided => {
                self.track_at(rate);
                return;
            }
            Outcome::TimeOver => return,
        }
        match (self.good, self.bad) {
            (Some(good), Some(bad)) if bad / good < NARROW => self.track_at((good * bad).sqrt()),
            (Some(good), Some(bad)) => self.next = Some((good * bad).sqrt()),
            // The answer lies beyond the bounds.
            (Some(good), None) if good >= self.bounds.1 => self.next = None,
            (Some(good), None) => self.next = Some(self.bounded(good * UP)),
            (None, _) => self.next = self.downwards(rate),
        }
    }

    /// The next rate below one that does not pass; nothing below the bounds.
    fn downwards(&self, rate: f64) -> Option<f64> {
        (rate > self.bounds.0).then(|| self.bounded(rate * DOWN))
    }

    fn track_at(&mut self, rate: f64) {
        self.stage = Stage::Track;
        self.next = Some(self.bounded(rate));
    }

    fn after_block(&mut self, level: &Live, fit: Option<&Fit>) {
        self.blocks += 1;
        let rate = level.rate.get();
        let Some(Fit {
            peak: estimate,
            slope,
        }) = fit
        else {
            return;
        };
        self.half_width = estimate.half_width();
        self.mean = Some(estimate.mean);
        let highest = if share(level) > BAD_SHARE {
            1.0 - STEP_AFTER_BAD
        } else {
            1.0 + STEP_UP
        };
        let dither = (DITHER_LOGIT / slope).clamp(DITHER.0, DITHER.1);
        let dither = if self.blocks.is_multiple_of(2) {
            1.0 - dither
        } else {
            1.0 + dither
        };
        let next = (estimate.mean * dither).clamp(rate * (1.0 - STEP_DOWN), rate * highest);
        self.next = Some(self.bounded(next));
    }

    fn bounded(&self, rate: f64) -> f64 {
        rate.clamp(self.bounds.0, self.bounds.1.max(self.bounds.0))
    }
}

/// The largest violating share of a block's objectives.
fn share(level: &Live) -> f64 {
    let seconds = crate::evidence::measured(&level.evidence);
    let objectives = seconds.first().map_or(0, |second| second.objectives.len());
    (0..objectives)
        .map(|objective| violating(seconds, objective))
        .fold(0.0, f64::max)
}
