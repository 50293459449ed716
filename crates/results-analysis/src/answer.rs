//! The answer of a run, and a sentence that says what it stands on: the peak of a search, the highest passing level of
//! listed and doubling rates.

use gipfel_model::{
    ArrivalRate, LevelState, PeakAnswer, RunState, SearchSpec, Stage, Verdict, slo::Quantile,
};

use crate::{
    figures::Metric,
    shown,
    summary::{Answer, Conclusion, LevelSummary},
};

/// How far a run came.
#[derive(Clone, Copy)]
pub(crate) struct Standing<'a> {
    pub(crate) state: RunState,
    pub(crate) error: Option<&'a str>,
}

pub(crate) fn answer(
    levels: &[LevelSummary],
    peak: &PeakAnswer,
    search: Option<&SearchSpec>,
    standing: Standing<'_>,
) -> Answer {
    let simple = Simple::new(levels);
    let (conclusion, max_qps, sentence) = match search {
        Some(_) => searched(levels, peak, standing),
        None => listed(&simple, peak, standing),
    };
    let passing = simple.passing;
    Answer {
        conclusion,
        max_qps,
        highest_passing_level: passing.map(|level| level.rate),
        level: passing.map(|level| level.level),
        achieved_rate: passing.and_then(|level| level.sent_rate),
        completed_rate: passing.and_then(|level| level.completed_rate),
        ttft_p95: passing
            .and_then(|level| level.latency(Metric::Ttft)?.percentile(Quantile::P95))
            .cloned(),
        rejected_at: simple.rejected.map(|level| level.rate),
        sentence,
    }
}

fn searched(
    levels: &[LevelSummary],
    peak: &PeakAnswer,
    standing: Standing<'_>,
) -> (Conclusion, Option<f64>, String) {
    let held = peak.validated.as_ref().map(shown::held);
    let with_held = |text: String| match &held {
        Some(held) => format!("{text}; {held}"),
        None => text,
    };
    if peak.nothing_passes {
        return (Conclusion::NothingPasses, None, nothing_passes(levels));
    }
    let unresolved = match (&peak.unresolved, &peak.estimate) {
        (None, Some(estimate)) => {
            let sentence = format!(
                "at least {}, bound by {}",
                shown::sure(estimate),
                estimate.binding
            );
            return (Conclusion::Answered, Some(estimate.peak_qps), with_held(sentence));
        }
        _ if levels.iter().all(|level| level.state != LevelState::Complete) => nothing(standing),
        (Some(reason), Some(estimate)) => with_held(format!(
            "unresolved: {reason}; so far {}",
            shown::estimate(estimate)
        )),
        (Some(reason), None) => with_held(format!("unresolved: {reason}")),
        (None, None) => "unresolved: nothing is known of the peak".to_owned(),
    };
    (Conclusion::Unresolved, None, unresolved)
}

/// The lowest rate that was offered, with what it violates.
fn nothing_passes(levels: &[LevelSummary]) -> String {
    let lowest = levels.iter().filter(|level| level.has_figures()).min_by(by_rate);
    let worst = |level: &LevelSummary| level.overloaded.or_else(|| Some(level.worst()?.slo));
    match lowest.and_then(|level| Some((level.rate, worst(level)?))) {
        Some((rate, slo)) => format!(
            "no rate passes: already {} req/s violates {slo}",
            shown::rate(rate.get())
        ),
        None => "no rate passes".to_owned(),
    }
}

/// What the levels say by their counts alone.
struct Simple<'a> {
    /// The highest passing level.
    passing: Option<&'a LevelSummary>,
    /// The lowest rejected one above it.
    rejected: Option<&'a LevelSummary>,
    /// The lowest one above it, whatever is said of it.
    next: Option<&'a LevelSummary>,
}

impl<'a> Simple<'a> {
    fn new(levels: &'a [LevelSummary]) -> Self {
        let judged = || levels.iter().filter(|level| level.simple_verdict.is_some());
        let passing = judged()
            .filter(|level| level.simple_verdict == Some(Verdict::Accept))
            .max_by(by_rate);
        let above = |level: &&LevelSummary| passing.is_none_or(|passing| level.rate > passing.rate);
        Self {
            passing,
            rejected: judged()
                .filter(above)
                .filter(|level| matches!(level.simple_verdict, Some(Verdict::Reject { .. })))
                .min_by(by_rate),
            next: judged().filter(above).min_by(by_rate),
        }
    }
}

fn listed(
    simple: &Simple<'_>,
    peak: &PeakAnswer,
    standing: Standing<'_>,
) -> (Conclusion, Option<f64>, String) {
    let mut parts = vec![sentence(simple, standing)];
    parts.extend(doubt(simple));
    if let (None, Some(estimate)) = (&peak.unresolved, &peak.estimate) {
        parts.push(format!("interpolated peak {}", shown::sure(estimate)));
    }
    let max_qps = simple.passing.map(|level| level.rate.get());
    let lowest_is_rejected = || {
        let lowest = simple.next.and_then(|level| level.verdict.as_ref());
        matches!(lowest, Some(Verdict::Reject { .. }))
    };
    let conclusion = if max_qps.is_some() {
        Conclusion::Answered
    } else if lowest_is_rejected() {
        Conclusion::NothingPasses
    } else {
        Conclusion::Unresolved
    };
    (conclusion, max_qps, parts.join("; "))
}

/// Levels whose counts say more than they carry.
fn doubt(simple: &Simple<'_>) -> Option<String> {
    let is_open = |level: &&LevelSummary| matches!(level.verdict, Some(Verdict::Unresolved { .. }));
    let open: Vec<String> = [simple.passing, simple.rejected]
        .into_iter()
        .flatten()
        .filter(is_open)
        .map(|level| level.rate.get().to_string())
        .collect();
    let verb = if open.len() == 1 { "is" } else { "are" };
    (!open.is_empty()).then(|| {
        format!(
            "with bursts counted, {} req/s {verb} unresolved",
            open.join(" and ")
        )
    })
}

fn sentence(simple: &Simple<'_>, standing: Standing<'_>) -> String {
    match (simple.passing, simple.rejected, simple.next) {
        (Some(passing), Some(rejected), Some(next)) if next.rate < rejected.rate => {
            format!(
                "passes at {}, rejected at {}; between them {}",
                passing.rate,
                named(rejected),
                said(next)
            )
        }
        (Some(passing), Some(rejected), _) => {
            format!("passes at {}, rejected at {}", passing.rate, named(rejected))
        }
        (Some(passing), None, Some(next)) => {
            format!(
                "passes at {}, no higher rate is rejected: {}",
                passing.rate,
                said(next)
            )
        }
        (Some(passing), None, None) => {
            format!(
                "passes at {}, the highest rate measured: the limit was not reached",
                passing.rate
            )
        }
        (None, Some(rejected), Some(next)) if next.rate < rejected.rate => {
            format!("no answer: {}; rejected at {}", said(next), named(rejected))
        }
        (None, Some(rejected), _) => format!("no rate passes, rejected at {}", named(rejected)),
        (None, None, Some(next)) => format!("no answer: {}", said(next)),
        (None, None, None) => nothing(standing),
    }
}

fn nothing(standing: Standing<'_>) -> String {
    match (standing.state, standing.error) {
        (RunState::Waiting | RunState::Running, _) => "no answer yet: no level is complete".to_owned(),
        (_, Some(error)) => format!("no answer: no level is complete ({error})"),
        (_, None) => "no answer: no level is complete".to_owned(),
    }
}

/// A rejected level with the objective that it violates.
fn named(level: &LevelSummary) -> String {
    match &level.simple_verdict {
        Some(Verdict::Reject { slo }) => format!("{} ({slo})", level.rate),
        _ => level.rate.to_string(),
    }
}

/// A level that is neither accepted nor rejected.
fn said(level: &LevelSummary) -> String {
    level
        .simple_verdict
        .as_ref()
        .map_or_else(String::new, |verdict| format!("{} is {verdict}", level.rate))
}

/// A rejected rate below an accepted one: the answer is then less certain than it looks.
pub(crate) fn non_monotonic(levels: &[LevelSummary]) -> Option<(ArrivalRate, ArrivalRate)> {
    let listed = || levels.iter().filter(|level| level.stage == Stage::Level);
    let rejected = listed()
        .filter(|level| matches!(level.verdict, Some(Verdict::Reject { .. })))
        .min_by(by_rate)?;
    let accepted = listed()
        .filter(|level| level.verdict == Some(Verdict::Accept))
        .max_by(by_rate)?;
    (rejected.rate < accepted.rate).then_some((rejected.rate, accepted.rate))
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "iterators over references compare references to them"
)]
fn by_rate(one: &&LevelSummary, other: &&LevelSummary) -> std::cmp::Ordering {
    one.rate.get().total_cmp(&other.rate.get())
}
