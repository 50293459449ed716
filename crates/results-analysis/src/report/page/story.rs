//! The words around the pictures: what was done, how sure the answer is, what the client says.

use gipfel_model::{LevelState, PeakEstimate, Slo, Stage, Verdict};

use crate::{
    repeats::RepeatSummary,
    report::{
        headline::estimate,
        model::{Fate, Level, Run, fate},
        words,
    },
    shown,
    summary::LevelSummary,
};

pub(crate) const LATENCY_CAPTION: &str = "Percentiles over the measured requests of each level, from the scheduled \
    arrival, failures counted as infinite. The dashed line is the objective. The line through the levels takes those \
    at nearly the same rate together; upright strokes are 95 % intervals. Hollow marks are what was observed where \
    the sample carries no statement on the server: too few independent requests, a short look, or overload.";
pub(crate) const KV_CAPTION: &str = "Latency usually explodes where the KV cache or the slots for running requests \
    are used up.";
pub(crate) const SPECULATION_CAPTION: &str = "Accepted over proposed draft tokens, by the server's counters over the \
    measured window.";
pub(crate) const TOKENS_CAPTION: &str = "Answer tokens in the measured window by the server's own count, each \
    request's taken as evenly spread between its first and its last one. Where the curve flattens, the server can do \
    no more.";
pub(crate) const OVER_TIME_CAPTION: &str = "Above: each request's TTFT at the moment for which it was scheduled. \
    Below: requests in flight as the client counts them, those that run and wait by the server's metrics, and the use \
    of its KV cache.";
pub(crate) const VIEWS_CAPTION: &str = "The client counts from its send, the server from its receipt. The difference \
    is the network and whatever queues in front of the server.";

/// What stands below a run's name.
pub(crate) fn meta(run: Run<'_>) -> String {
    let summary = run.summary;
    let mut parts = vec![format!("run {}", summary.run_id)];
    parts.extend(summary.created_at.clone());
    if summary.repeat > 0 {
        parts.push(format!("repeat {}", summary.repeat + 1));
    }
    parts.push(summary.state.as_str().to_owned());
    if summary.imported {
        parts.push("imported".to_owned());
    }
    parts.join(" · ")
}

/// What was done and how sure the answer is, a paragraph each.
pub(crate) fn search(run: Run<'_>) -> Vec<String> {
    let mut story = Vec::new();
    let is_search = run.summary.search.is_some();
    match (&run.summary.peak.estimate, estimate(run)) {
        (_, Some(estimate)) => story.push(certainty(run, estimate)),
        (Some(estimate), None) if is_search => story.push(format!(
            "What is known so far is no answer: {}.",
            shown::estimate(estimate)
        )),
        (Some(estimate), None) => story.push(format!(
            "The levels leave the peak between them unresolved: {}. A search, or longer levels near the knee, would resolve \
             it.",
            shown::estimate(estimate)
        )),
        (None, None) => {}
    }
    story.extend(offered(run));
    story
}

fn certainty(run: Run<'_>, estimate: &PeakEstimate) -> String {
    let asked = run.summary.search.as_ref().map_or_else(String::new, |search| {
        format!(" (±{} % was asked for)", trimmed(search.precision))
    });
    format!(
        "The peak lies between {} and {} req/s with 90 % confidence, ±{} % of the rate{asked}; with 80 % confidence it \
         is at least {} req/s, and the middle of what is likely is {} req/s. The estimate stands on requests near the \
         knee that are worth {} independent ones: violations come in bursts, so their plain number would claim too \
         much.",
        words::rate(estimate.low),
        words::rate(estimate.high),
        trimmed(estimate.half_width()),
        words::rate(estimate.peak_qps),
        words::rate(estimate.mean),
        words::count(estimate.n_eff.round() as u64),
    )
}

/// A share in per cent with a decimal, if it needs one.
fn trimmed(share: f64) -> String {
    let text = format!("{:.1}", share * 100.0);
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// What load was offered, by stages.
fn offered(run: Run<'_>) -> Option<String> {
    let levels: Vec<Level<'_>> = run.levels().collect();
    let first = levels.first()?;
    let end = levels.iter().map(|level| level.facts.end_s).fold(0.0, f64::max);
    if !run.is_search() {
        let met = levels
            .iter()
            .filter(|level| fate(level.summary) == Fate::Met)
            .count();
        return Some(format!(
            "{} {} offered, {}; {met} met every objective.",
            words::counted(levels.len(), "level", "levels"),
            if levels.len() == 1 { "was" } else { "were" },
            rates(&levels),
        ));
    }
    let mut parts = Vec::new();
    for (stage, one, many, what) in [
        (
            Stage::Ramp,
            "step",
            "steps",
            "ramp, short looks until the server is clearly overloaded",
        ),
        (
            Stage::Bracket,
            "test",
            "tests",
            "bracket, sequential tests that end as soon as they are decided",
        ),
        (
            Stage::Track,
            "block",
            "blocks",
            "track, long blocks near the knee without draining the server",
        ),
        (Stage::Level, "level", "levels", "listed levels"),
    ] {
        let of_stage: Vec<Level<'_>> = levels
            .iter()
            .copied()
            .filter(|level| level.summary.stage == stage)
            .collect();
        if of_stage.is_empty() {
            continue;
        }
        let seconds: f64 = of_stage
            .iter()
            .map(|level| level.facts.end_s - level.facts.begin_s)
            .sum();
        parts.push(format!(
            "{what}: {} {} in {}",
            words::counted(of_stage.len(), one, many),
            rates(&of_stage),
            words::span(seconds)
        ));
    }
    Some(format!(
        "The search took {}. {}.",
        words::span(end - first.facts.begin_s),
        words::sentence(&parts.join("; ")).trim_end_matches('.')
    ))
}

fn rates(levels: &[Level<'_>]) -> String {
    let (low, high) = levels
        .iter()
        .map(|level| level.summary.rate.get())
        .fold((f64::INFINITY, 0.0_f64), |(low, high), rate| {
            (low.min(rate), high.max(rate))
        });
    if high - low < low * 1e-9 {
        format!("at {} req/s", words::rate(low))
    } else {
        format!("from {} to {} req/s", words::rate(low), words::rate(high))
    }
}

pub(crate) fn timeline_caption(run: Run<'_>) -> String {
    let below = match run.facts.focus {
        Some(slo) if !run.summary.imported => format!(
            " Below: the share of the requests of each {:.0} s that violate {slo}; the axis ends where more says no more.",
            run.facts.stretch_s
        ),
        _ => String::new(),
    };
    format!(
        "Each bar is a level: the offered rate from its begin to its end, with its outcome at the end.{below}"
    )
}

pub(crate) fn near_peak_caption(run: Run<'_>) -> String {
    let shown = if estimate(run).is_some() {
        "Levels near the peak"
    } else {
        "All levels"
    };
    format!(
        "{shown}: the share of their requests that violates the objective. The peak is the rate at which the share \
         crosses what the objective allows. A triangle at the upper edge lies beyond it."
    )
}

/// Why levels have no outcome, or no figures.
pub(crate) fn reasons(run: Run<'_>) -> Vec<String> {
    run.summary
        .levels
        .iter()
        .filter_map(|level| {
            let reason = match (level.state, &level.verdict) {
                (
                    LevelState::Complete,
                    Some(verdict @ (Verdict::Unresolved { .. } | Verdict::Invalid { .. })),
                ) => verdict.to_string(),
                (LevelState::Complete, Some(verdict @ Verdict::Reject { .. }))
                    if run.summary.slos.len() > 1 =>
                {
                    verdict.to_string()
                }
                _ => return None,
            };
            Some(format!(
                "Level {}, {} req/s: {reason}.",
                level.level,
                shown::level_rate(level)
            ))
        })
        .collect()
}

/// `levels 3, 4 and 7`.
pub(crate) fn named_levels(levels: &[u32]) -> String {
    let names: Vec<String> = levels.iter().map(ToString::to_string).collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => format!("level {one}"),
        [all @ .., last] => format!("levels {} and {last}", all.join(", ")),
    }
}

/// How the repeats of an experiment differ.
pub(crate) fn repeats(repeats: &RepeatSummary) -> String {
    let of = words::counted(repeats.repeats.len(), "repeat", "repeats");
    let over = if repeats.fresh_deployments {
        "each on a server of its own"
    } else {
        "on one server"
    };
    let Some(spread) = &repeats.spread else {
        return format!("None of {of} gave a rate, so nothing is known of how they differ.");
    };
    let between = match spread.between_deployments.filter(|_| repeats.fresh_deployments) {
        Some(deviation) if deviation > spread.median * 1e-3 => format!(
            " Beyond the uncertainty of each measurement, the deployments differ by a standard deviation of {} req/s.",
            words::rate(deviation)
        ),
        Some(_) => " That is no more than the uncertainty of each measurement explains.".to_owned(),
        None => String::new(),
    };
    format!(
        "{} of {of}, {over}, gave a rate: {} to {} req/s with median {} req/s, which differ by {} % of it.{between}",
        spread.answered,
        words::rate(spread.min),
        words::rate(spread.max),
        words::rate(spread.median),
        words::percent(spread.relative)
    )
}

/// Whether the client kept its part, in a sentence or two.
pub(crate) fn client(run: Run<'_>) -> String {
    if run.summary.imported {
        return "The run was imported from a database that says nothing of its client, so whether the client kept its \
                schedule is not known."
            .to_owned();
    }
    let levels = &run.summary.levels;
    if levels.is_empty() {
        return "No level was offered, so there is nothing to say of the client.".to_owned();
    }
    let invalid = levels.iter().filter(|level| !level.validity.is_valid()).count();
    let verdict = if invalid == 0 {
        "The client kept its part at every level.".to_owned()
    } else {
        format!(
            "The client did not keep its part at {}, whose figures therefore say nothing of the server.",
            words::counted(invalid, "level", "levels")
        )
    };
    let figures: Vec<String> = [Some(worst_delay(run)), delivered(levels), busiest_thread(levels)]
        .into_iter()
        .flatten()
        .collect();
    format!("{verdict} {}", words::sentence(&figures.join("; ")))
}

fn worst_delay(run: Run<'_>) -> String {
    let levels = run.summary.levels.iter();
    let worst_ms = levels
        .map(|level| level.validity.schedule_delay_p99_ns as f64 / 1e6)
        .fold(0.0, f64::max);
    let allowed = delay_limit_ms(run).map_or_else(String::new, |limit| format!(" of {limit:.1} ms allowed"));
    format!("the worst schedule delay p99 is {worst_ms:.2} ms{allowed}")
}

fn delivered(levels: &[LevelSummary]) -> Option<String> {
    let share = levels
        .iter()
        .filter_map(|level| Some(level.sent_rate? / level.offered_rate.filter(|offered| *offered > 0.0)?))
        .reduce(f64::min)?;
    Some(if share > 0.999_95 {
        "every scheduled request was sent".to_owned()
    } else {
        format!(
            "at least {:.2} % of the scheduled requests were sent",
            share * 100.0
        )
    })
}

fn busiest_thread(levels: &[LevelSummary]) -> Option<String> {
    let share = levels
        .iter()
        .filter_map(|level| level.validity.client.busiest_thread)
        .reduce(f64::max)?;
    Some(format!(
        "the busiest sending thread used {} % of a core",
        words::percent(share)
    ))
}

/// What the schedule delay may be: 5 % of the tightest limit of a latency.
fn delay_limit_ms(run: Run<'_>) -> Option<f64> {
    run.summary
        .slos
        .iter()
        .filter_map(|slo| match slo {
            Slo::Latency { limit, .. } => Some(limit.as_secs_f64() * 1e3 * 0.05),
            Slo::ErrorRate { .. } => None,
        })
        .reduce(f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_named() {
        for (levels, expected) in [
            (&[][..], ""),
            (&[3], "level 3"),
            (&[3, 4, 7], "levels 3, 4 and 7"),
        ] {
            assert_eq!(named_levels(levels), expected);
        }
    }

    #[test]
    fn shares_lose_an_idle_decimal() {
        assert_eq!(trimmed(0.02), "2");
        assert_eq!(trimmed(0.0214), "2.1");
    }
}
