//! The answer of a run: its highest passing level, and a sentence that says what it stands on.

use gipfel_model::{ArrivalRate, RunState, Verdict, slo::Quantile};

use crate::{
    figures::Metric,
    summary::{Answer, LevelSummary},
};

pub(crate) fn answer(levels: &[LevelSummary], state: RunState, error: Option<&str>) -> Answer {
    let passing = levels
        .iter()
        .filter(|level| level.verdict == Some(Verdict::Accept))
        .max_by(by_rate);
    let above = |level: &&LevelSummary| passing.is_none_or(|passing| level.rate > passing.rate);
    let rejected = levels
        .iter()
        .filter(above)
        .filter(|level| is_rejected(level))
        .min_by(by_rate);
    let next = levels
        .iter()
        .filter(above)
        .filter(|level| level.verdict.is_some())
        .min_by(by_rate);
    Answer {
        max_qps: passing.map(|level| level.rate),
        level: passing.map(|level| level.level),
        achieved_rate: passing.and_then(|level| level.sent_rate),
        completed_rate: passing.and_then(|level| level.completed_rate),
        ttft_p95: passing
            .and_then(|level| level.latency(Metric::Ttft)?.percentile(Quantile::P95))
            .cloned(),
        rejected_at: rejected.map(|level| level.rate),
        sentence: sentence(passing, rejected, next, state, error),
    }
}

fn sentence(
    passing: Option<&LevelSummary>,
    rejected: Option<&LevelSummary>,
    next: Option<&LevelSummary>,
    state: RunState,
    error: Option<&str>,
) -> String {
    match (passing, rejected, next) {
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
        (None, None, None) => nothing(state, error),
    }
}

fn nothing(state: RunState, error: Option<&str>) -> String {
    match (state, error) {
        (RunState::Waiting | RunState::Running, _) => "no answer yet: no level is complete".to_owned(),
        (_, Some(error)) => format!("no answer: no level is complete ({error})"),
        (_, None) => "no answer: no level is complete".to_owned(),
    }
}

/// A rejected level with the objective that it violates.
fn named(level: &LevelSummary) -> String {
    match &level.verdict {
        Some(Verdict::Reject { slo }) => format!("{} ({slo})", level.rate),
        _ => level.rate.to_string(),
    }
}

/// A level that is neither accepted nor rejected.
fn said(level: &LevelSummary) -> String {
    level
        .verdict
        .as_ref()
        .map_or_else(String::new, |verdict| format!("{} is {verdict}", level.rate))
}

/// A rejected rate below an accepted one: the answer is then less certain than it looks.
pub(crate) fn non_monotonic(levels: &[LevelSummary]) -> Option<(ArrivalRate, ArrivalRate)> {
    let rejected = levels.iter().filter(|level| is_rejected(level)).min_by(by_rate)?;
    let accepted = levels
        .iter()
        .filter(|level| level.verdict == Some(Verdict::Accept))
        .max_by(by_rate)?;
    (rejected.rate < accepted.rate).then_some((rejected.rate, accepted.rate))
}

fn is_rejected(level: &LevelSummary) -> bool {
    matches!(level.verdict, Some(Verdict::Reject { .. }))
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "iterators over references compare references to them"
)]
fn by_rate(one: &&LevelSummary, other: &&LevelSummary) -> std::cmp::Ordering {
    one.rate.get().total_cmp(&other.rate.get())
}
