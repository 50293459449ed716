//! From levels to the answer.

use gipfel_model::{
    Decided, LevelRecord, LevelState, PeakAnswer, PeakEstimate, SearchSpec, Second, Slo, Stage, Validated,
    Verdict, format_rate,
};

use crate::{
    evidence::{attainment, measured},
    fit::{Learnt, estimate, typical_e2e},
};

/// An interval wider than this share of the mean, from end to end, is no answer.
const WIDEST: f64 = 0.10;
/// A rate is validated when it was held for this long, and for so many E2E latencies.
const HELD_S: f64 = 600.0;
const HELD_E2E: f64 = 15.0;
/// Parts of the track differ when their means do by more than this, and by so many standard deviations.
const DRIFT: f64 = 0.05;
const DRIFT_DEVIATIONS: f64 = 2.5;
/// The first part has so many blocks at least.
const LEAST_BEFORE: usize = 2;
/// A normal distribution's 90 % interval is so many standard deviations wide.
const INTERVAL_DEVIATIONS: f64 = 3.29;
/// Levels in succession in which the client did not keep its part, after which there is no answer; so many steps of the
/// ramp, which are short and each of half the rate more.
const INVALID_TO_STOP: usize = 3;
const INVALID_STEPS_TO_STOP: usize = 6;
/// So many blocks of the track say something of whether any rate meets the objectives.
const LEAST_TO_MEET: usize = 6;
/// One of so many blocks has to meet them.
const MEETING: usize = 8;
/// Blocks belong to one stretch when their rates differ by no more than this.
const SAME_RATE: f64 = 0.03;

/// The answer that these levels give, those of an adaptive search or of listed and doubling rates. Levels that are not
/// complete, have no evidence or are invalid do not count.
pub fn conclude(spec: &SearchSpec, slos: &[Slo], levels: &[LevelRecord]) -> PeakAnswer {
    let is_valid = |level: &&LevelRecord| !matches!(level.verdict, Some(Verdict::Invalid { .. }));
    let complete = || levels.iter().filter(|level| level.state == LevelState::Complete);
    let is_client_late = is_client_late(complete().map(|level| (level.stage, is_valid(&level))));
    let learnt: Vec<Learnt<'_>> = complete()
        .filter(is_valid)
        .filter_map(|level| {
            Some(Learnt {
                stage: level.stage,
                rate: level.rate.get(),
                start_s: level.start_ns as f64 / 1e9,
                evidence: level.evidence.as_ref()?,
            })
        })
        .collect();
    answer(spec, slos, &learnt, is_client_late)
}

/// Whether the client did not keep its part in the last of these levels, each with whether it did. More of them would
/// teach nothing, and a ramp that no violation ends would go on.
pub(crate) fn is_client_late(levels: impl DoubleEndedIterator<Item = (Stage, bool)>) -> bool {
    let late = levels.rev().take_while(|(_, is_valid)| !is_valid);
    let (steps, others): (Vec<Stage>, Vec<Stage>) = late
        .map(|(stage, _)| stage)
        .partition(|stage| *stage == Stage::Ramp);
    others.len() >= INVALID_TO_STOP || steps.len() >= INVALID_STEPS_TO_STOP
}

pub(crate) fn answer(
    spec: &SearchSpec,
    slos: &[Slo],
    levels: &[Learnt<'_>],
    is_client_late: bool,
) -> PeakAnswer {
    let e2e_p50_s = typical_e2e(levels);
    let nothing_passes = nothing_passes(spec, slos, levels);
    let estimate = estimate(slos, levels, e2e_p50_s).filter(|_| !nothing_passes);
    let unresolved = match (nothing_passes, is_client_late) {
        (true, _) => None,
        (false, true) => Some(
            "the client did not keep its schedule in its last levels; more cores or more ranks resolve it"
                .to_owned(),
        ),
        (false, false) => unresolved(spec, slos, levels, estimate.as_ref()),
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
            "the objectives are met at {} req/s, the highest rate that was measured; higher rates resolve it",
            format_rate(highest)
        ));
    }
    let is_search = levels.iter().any(|level| level.stage != Stage::Level);
    if is_search && !levels.iter().any(|level| level.stage == Stage::Track) {
        return Some(format!(
            "the time was over before the peak was tracked; it lies about {} req/s; a longer budget resolves it",
            format_rate(estimate.mean)
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
            "the 90 % interval {}–{} req/s is {:.0} % wide; {remedy}",
            format_rate(estimate.low),
            format_rate(estimate.high),
            width * 100.0
        ));
    }
    let track: Vec<Learnt<'_>> = levels
        .iter()
        .copied()
        .filter(|level| level.stage == Stage::Track)
        .collect();
    never_met(slos, &track).or_else(|| drift(slos, &track))
}

/// Whether hardly a block met the objectives, though their rates lie around the estimate: then the violations do not come
/// from the rate, and the curve through them has no meaning.
fn never_met(slos: &[Slo], track: &[Learnt<'_>]) -> Option<String> {
    let meeting = track.iter().filter(|level| is_met(slos, level)).count();
    let is_too_few = track.len() >= LEAST_TO_MEET && MEETING * meeting < track.len();
    is_too_few.then(|| {
        format!(
            "{meeting} of {} blocks near the estimate met the objectives: something else than the rate makes requests late \
             (stalls, other users); find out what, or relax the objectives",
            track.len()
        )
    })
}

/// Whether a block met every objective. One that was broken off for its overload did not.
fn is_met(slos: &[Slo], block: &Learnt<'_>) -> bool {
    block.evidence.overloaded.is_none() && meets(slos, measured(block.evidence))
}

/// Whether the track before and after some time disagree: then the server has changed, and there is no one peak.
fn drift(slos: &[Slo], track: &[Learnt<'_>]) -> Option<String> {
    let e2e_s = typical_e2e(track);
    let deviation = |one: &PeakEstimate| (one.high / one.low).ln() / INTERVAL_DEVIATIONS;
    (LEAST_BEFORE..track.len()).find_map(|at| {
        let (before, after) = track.split_at(at);
        let (before, after) = (estimate(slos, before, e2e_s)?, estimate(slos, after, e2e_s)?);
        let difference = (after.mean / before.mean).ln();
        let noise = DRIFT_DEVIATIONS * deviation(&before).hypot(deviation(&after));
        (difference.abs() > DRIFT.max(noise)).then(|| {
            format!(
                "the server changed: {} req/s by the first {at} blocks of the track, {} by the rest ({:+.0} %); \
                 find out why (temperature, other users, a cache that fills) and measure again",
                format_rate(before.mean),
                format_rate(after.mean),
                difference.exp_m1() * 100.0
            )
        })
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
                && meets(
                    slos,
                    levels[from..to].iter().flat_map(|level| &level.evidence.seconds),
                )
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

/// Whether every objective is met over these seconds, by their counts.
fn meets<'a>(slos: &[Slo], seconds: impl IntoIterator<Item = &'a Second>) -> bool {
    let mut totals = vec![Decided::default(); slos.len()];
    for second in seconds {
        for (total, more) in totals.iter_mut().zip(&second.objectives) {
            total.add(*more);
        }
    }
    slos.iter().zip(&totals).all(|(slo, total)| {
        let allowed = slo.allowed_share() * f64::from(total.decided);
        total.decided > 0 && f64::from(total.violated) <= allowed
    })
}
