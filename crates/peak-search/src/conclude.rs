//! From levels to the answer.

use gipfel_model::{
    Evidence, LevelRecord, LevelState, PeakAnswer, PeakEstimate, SearchSpec, Slo, Stage, Validated, Verdict,
};
use gipfel_statistics::Batch;

use crate::{
    evidence::{attainment, batches, measured, median},
    posterior::{Point, Posterior, weight},
};

/// A spell lasts so many median E2E latencies, times the spread of the requests' work, and at least so many seconds: what
/// comes within it is one event. Chosen on simulated servers, by the coverage of the interval.
const SPELL_E2E: f64 = 2.0;
const LEAST_SPELL_S: f64 = 12.0;
/// The tests of the bracket are short and follow an overload: each counts at most as much as half an independent request.
const BRACKET_WEIGHT: f64 = 0.5;
/// Share of the prompt in what a request asks of the server; the rest is the answer's.
const INPUT_SHARE: f64 = 0.4;
/// How much of what chance made of a stretch's work is put down to its rate. All of it would be right if every request
/// asked its share of the same resource; chosen on simulated servers, by the errors.
const CHANCE_SHARE: f64 = 0.6;
/// The headline's quantile of the posterior: the peak is at least this with 80 % confidence.
const HEADLINE: f64 = 0.2;
const INTERVAL: (f64, f64) = (0.05, 0.95);
/// An interval wider than this share of the mean, from end to end, is no answer.
const WIDEST: f64 = 0.10;
/// A rate is validated when it was held for this long, and for so many E2E latencies.
const HELD_S: f64 = 600.0;
const HELD_E2E: f64 = 15.0;
/// Halves of the track differ when their means do by more than this, and by so many standard deviations.
const DRIFT: f64 = 0.05;
const DRIFT_DEVIATIONS: f64 = 2.5;
const LEAST_TO_DRIFT: usize = 4;
/// A normal distribution's 90 % interval is so many standard deviations wide.
const INTERVAL_DEVIATIONS: f64 = 3.29;
/// Blocks belong to one stretch when their rates differ by no more than this.
const SAME_RATE: f64 = 0.03;

/// A level with what was learnt from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Learnt<'a> {
    pub(crate) stage: Stage,
    pub(crate) rate: f64,
    /// When it began, in seconds on an axis that all levels share.
    pub(crate) start_s: f64,
    pub(crate) evidence: &'a Evidence,
}

/// The answer that these levels give, those of an adaptive search or of listed and doubling rates. Levels that are not
/// complete, have no evidence or are invalid do not count.
pub fn conclude(spec: &SearchSpec, slos: &[Slo], levels: &[LevelRecord]) -> PeakAnswer {
    let learnt: Vec<Learnt<'_>> = levels
        .iter()
        .filter(|level| level.state == LevelState::Complete)
        .filter(|level| !matches!(level.verdict, Some(Verdict::Invalid { .. })))
        .filter_map(|level| {
            Some(Learnt {
                stage: level.stage,
                rate: level.rate.get(),
                start_s: level.start_ns as f64 / 1e9,
                evidence: level.evidence.as_ref()?,
            })
        })
        .collect();
    answer(spec, slos, &learnt)
}

pub(crate) fn answer(spec: &SearchSpec, slos: &[Slo], levels: &[Learnt<'_>]) -> PeakAnswer {
    let e2e_p50_s = typical_e2e(levels);
    let nothing_passes = nothing_passes(spec, slos, levels);
    let estimate = estimate(slos, levels, e2e_p50_s).filter(|_| !nothing_passes);
    let unresolved = if nothing_passes {
        None
    } else {
        unresolved(spec, slos, levels, estimate.as_ref())
    };
    PeakAnswer {
        validated: validated(slos, levels, e2e_p50_s),
        nothing_passes,
        estimate,
        unresolved,
        e2e_p50_s,
    }
}

/// Whether the lowest rate that may be offered was rejected.
fn nothing_passes(spec: &SearchSpec, slos: &[Slo], levels: &[Learnt<'_>]) -> bool {
    let tested = levels.iter().filter(|level| level.stage == Stage::Bracket);
    let lowest = tested.min_by(|one, other| one.rate.total_cmp(&other.rate));
    lowest.is_some_and(|level| {
        level.rate <= spec.min_rate.get() * (1.0 + 1e-9)
            && (level.evidence.overloaded.is_some()
                || slos.iter().enumerate().any(|(index, slo)| {
                    let interval = attainment(slo, index, level.evidence, 0).interval;
                    interval.is_some_and(|(low, _)| low > slo.allowed_share())
                }))
    })
}

/// The median E2E latency near the knee, in seconds.
pub(crate) fn typical_e2e(levels: &[Learnt<'_>]) -> Option<f64> {
    let of = |stages: &[Stage]| {
        let mut values: Vec<i64> = levels
            .iter()
            .filter(|level| stages.contains(&level.stage))
            .filter_map(|level| Some((level.evidence.e2e_p50_s? * 1e9) as i64))
            .collect();
        median(&mut values).map(|nanos| nanos / 1e9)
    };
    of(&[Stage::Track])
        .or_else(|| of(&[Stage::Bracket]))
        .or_else(|| of(&[Stage::Level, Stage::Ramp]))
}

/// The estimate of the objective with the lowest answer.
pub(crate) fn estimate(slos: &[Slo], levels: &[Learnt<'_>], e2e_s: Option<f64>) -> Option<PeakEstimate> {
    let work = Work::of(levels);
    let spell_s = (SPELL_E2E * work.spread * e2e_s.unwrap_or(0.0)).max(LEAST_SPELL_S);
    let of = |(index, slo): (usize, &Slo)| {
        let points = points(index, levels, spell_s, &work);
        if slo.allowed_share() <= 0.0 {
            return None;
        }
        let posterior = Posterior::new(&points, slo.allowed_share())?;
        Some(PeakEstimate {
            peak_qps: posterior.quantile(HEADLINE),
            mean: posterior.mean(),
            low: posterior.quantile(INTERVAL.0),
            high: posterior.quantile(INTERVAL.1),
            binding: *slo,
            n_eff: points.iter().map(|point| point.weight).sum(),
        })
    };
    let estimates = slos.iter().enumerate().filter_map(of);
    estimates.min_by(|one, other| one.peak_qps.total_cmp(&other.peak_qps))
}

/// What a request asks of the server, on average, and how much that varies.
struct Work {
    input: f64,
    output: f64,
    /// Variance of one request's work plus one, relative: what a Poisson number of them adds up to.
    spread: f64,
}

impl Work {
    fn of(levels: &[Learnt<'_>]) -> Self {
        let seconds = || levels.iter().flat_map(|level| &level.evidence.seconds);
        let arrivals: f64 = seconds().map(|second| f64::from(second.arrivals)).sum();
        let sum =
            |of: fn(&gipfel_model::Second) -> u64| seconds().map(|second| of(second) as f64).sum::<f64>();
        let mut work = Self {
            input: sum(|second| second.input_tokens) / arrivals.max(1.0),
            output: sum(|second| second.output_tokens) / arrivals.max(1.0),
            spread: 1.0,
        };
        // Residuals of the work of a second, given how many requests came: their variance is that of one request's work.
        let residuals: f64 = seconds()
            .map(|second| work.in_second(second) - f64::from(second.arrivals))
            .map(|residual| residual * residual)
            .sum();
        work.spread = 1.0 + residuals / arrivals.max(1.0);
        work
    }

    /// In typical requests.
    fn in_second(&self, second: &gipfel_model::Second) -> f64 {
        let share = |sum: u64, mean: f64| {
            if mean > 0.0 {
                sum as f64 / mean
            } else {
                f64::from(second.arrivals)
            }
        };
        INPUT_SHARE * share(second.input_tokens, self.input)
            + (1.0 - INPUT_SHARE) * share(second.output_tokens, self.output)
    }
}

fn points(objective: usize, levels: &[Learnt<'_>], spell_s: f64, work: &Work) -> Vec<Point> {
    levels
        .iter()
        .filter(|level| level.stage != Stage::Ramp)
        .filter_map(|level| point(objective, level, spell_s, work))
        .collect()
}

fn point(objective: usize, level: &Learnt<'_>, spell_s: f64, work: &Work) -> Option<Point> {
    let seconds = if level.stage == Stage::Bracket && level.evidence.overloaded.is_some() {
        &level.evidence.seconds
    } else {
        measured(level.evidence)
    };
    let mut batches = batches(seconds, objective);
    let stands_for_s = f64::from(level.evidence.stands_for_s).max(seconds.len() as f64);
    let imputed = (stands_for_s - seconds.len() as f64) * level.rate;
    if imputed > 0.0 {
        batches.push(Batch {
            events: imputed,
            trials: imputed,
        });
    }
    let total = Batch::sum(batches.iter().copied());
    if total.trials <= 0.0 {
        return None;
    }
    let weight = weight(&batches, stands_for_s, spell_s);
    // A test that was broken off has seen too little of what it was broken off for.
    let is_hard = level.stage == Stage::Bracket && level.evidence.overloaded.is_some();
    let expected = level.rate * seconds.len() as f64;
    let drawn: f64 = seconds.iter().map(|second| work.in_second(second)).sum();
    Some(Point {
        position: level.rate.ln() + CHANCE_SHARE * (drawn / expected).max(0.5).ln(),
        chance: CHANCE_SHARE * CHANCE_SHARE * work.spread / expected,
        share: if is_hard { 1.0 } else { total.events / total.trials },
        weight: if level.stage == Stage::Bracket {
            weight.min(BRACKET_WEIGHT)
        } else {
            weight
        },
    })
}

/// Why there is no answer, and what would bring one.
fn unresolved(
    spec: &SearchSpec,
    slos: &[Slo],
    levels: &[Learnt<'_>],
    estimate: Option<&PeakEstimate>,
) -> Option<String> {
    let Some(estimate) = estimate else {
        return Some("no level has told anything of the objectives; a longer budget resolves it".to_owned());
    };
    let highest = levels
        .iter()
        .filter(|level| level.stage != Stage::Ramp)
        .map(|level| level.rate)
        .fold(0.0, f64::max);
    let bound = spec.max_rate.map(gipfel_model::ArrivalRate::get);
    if let Some(bound) = bound.filter(|bound| estimate.mean > *bound && highest >= bound * (1.0 - 1e-9)) {
        return Some(format!(
            "the objectives are met at {bound} req/s, the highest rate that may be offered; a higher `max_rate` resolves it"
        ));
    }
    if estimate.low > highest {
        return Some(format!(
            "the objectives are met at {highest:.3} req/s, the highest rate that was measured; higher rates resolve it"
        ));
    }
    let is_search = levels.iter().any(|level| level.stage != Stage::Level);
    if is_search && !levels.iter().any(|level| level.stage == Stage::Track) {
        return Some(format!(
            "the time was over before the peak was tracked; it lies about {:.3} req/s; a longer budget resolves it",
            estimate.mean
        ));
    }
    let width = (estimate.high - estimate.low) / estimate.mean;
    if width > WIDEST {
        let remedy = if is_search {
            "a longer budget resolves it"
        } else {
            "closer levels or longer windows resolve it"
        };
        return Some(format!(
            "the 90 % interval {:.3}–{:.3} req/s is {:.0} % wide; {remedy}",
            estimate.low,
            estimate.high,
            width * 100.0
        ));
    }
    drift(slos, levels)
}

/// Whether the first and the second half of the track disagree: then the server has changed, and there is no one peak.
fn drift(slos: &[Slo], levels: &[Learnt<'_>]) -> Option<String> {
    let track: Vec<Learnt<'_>> = levels
        .iter()
        .copied()
        .filter(|level| level.stage == Stage::Track)
        .collect();
    if track.len() < LEAST_TO_DRIFT {
        return None;
    }
    let (early, late) = track.split_at(track.len() / 2);
    let of = |half: &[Learnt<'_>]| estimate(slos, half, typical_e2e(&track));
    let (early, late) = (of(early)?, of(late)?);
    let deviation = |one: &PeakEstimate| (one.high / one.low).ln() / INTERVAL_DEVIATIONS;
    let difference = (late.mean / early.mean).ln();
    let is_beyond =
        difference.abs() > DRIFT.max(DRIFT_DEVIATIONS * deviation(&early).hypot(deviation(&late)));
    is_beyond.then(|| {
        format!(
            "the server changed: {:.3} req/s by the first half of the track, {:.3} by the second ({:+.0} %); \
             find out why (temperature, other users, a cache that fills) and measure again",
            early.mean,
            late.mean,
            difference.exp_m1() * 100.0
        )
    })
}

/// The highest rate of a stretch of blocks without gap that met every objective for long enough.
fn validated(slos: &[Slo], levels: &[Learnt<'_>], e2e_s: Option<f64>) -> Option<Validated> {
    let least_s = (HELD_E2E * e2e_s.unwrap_or(0.0)).max(HELD_S);
    let mut best: Option<Validated> = None;
    for from in 0..levels.len() {
        for to in from + 1..=levels.len() {
            let Some(held) = held(&levels[from..to]) else {
                break;
            };
            if held.held_s >= least_s
                && best.is_none_or(|best| held.qps > best.qps)
                && meets(slos, &levels[from..to])
            {
                best = Some(held);
            }
        }
    }
    best
}

/// Rate and length of a stretch; `None` when it is none: rates differ, there is a gap, or load was shed.
fn held(stretch: &[Learnt<'_>]) -> Option<Validated> {
    let rates = stretch.iter().map(|level| level.rate);
    let (least, most) = (rates.clone().reduce(f64::min)?, rates.reduce(f64::max)?);
    let length = |level: &Learnt<'_>| level.evidence.seconds.len() as f64;
    let joined = stretch
        .windows(2)
        .all(|pair| (pair[1].start_s - pair[0].start_s - length(&pair[0])).abs() < 2.0);
    let kind = stretch.iter().all(|level| {
        matches!(level.stage, Stage::Track | Stage::Level | Stage::Bracket)
            && level.evidence.overloaded.is_none()
    });
    if !joined || !kind || most / least > 1.0 + SAME_RATE {
        return None;
    }
    let held_s: f64 = stretch.iter().map(length).sum();
    let requests: f64 = stretch.iter().map(|level| level.rate * length(level)).sum();
    (held_s > 0.0).then(|| Validated {
        qps: requests / held_s,
        held_s,
    })
}

/// Whether every objective is met over all seconds of the stretch, the settling ones included.
fn meets(slos: &[Slo], stretch: &[Learnt<'_>]) -> bool {
    slos.iter().enumerate().all(|(index, slo)| {
        let total = Batch::sum(
            stretch
                .iter()
                .flat_map(|level| batches(&level.evidence.seconds, index)),
        );
        total.trials > 0.0 && total.events <= slo.allowed_share() * total.trials
    })
}
