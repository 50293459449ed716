//! The answer of a run, first as a figure, then as a sentence.

use gipfel_model::{PeakEstimate, RunState};

use super::{model::Run, words};
use crate::{shown, summary::Conclusion};

/// What stands at the top.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Headline {
    /// The class in the page: `answered`, `open` or `nothing`.
    pub(crate) class: &'static str,
    /// `at least`, or nothing.
    pub(crate) before: &'static str,
    /// `25.2`, or `unresolved`.
    pub(crate) figure: String,
    /// `req/s`, or nothing.
    pub(crate) unit: &'static str,
    /// The answer in one sentence.
    pub(crate) sentence: String,
    /// What belongs to it: a name and a text each.
    pub(crate) beside: Vec<(&'static str, String)>,
}

pub(crate) fn headline(run: Run<'_>) -> Headline {
    let answer = &run.summary.answer;
    let (class, before, figure, unit) = match (answer.conclusion, answer.max_qps) {
        (Conclusion::Answered, Some(rate)) if run.summary.search.is_some() => {
            ("answered", "at least", words::rate(rate), "req/s")
        }
        (Conclusion::Answered, Some(rate)) => ("answered", "passes at", rate.to_string(), "req/s"),
        (Conclusion::NothingPasses, _) => ("nothing", "", "no rate passes".to_owned(), ""),
        (Conclusion::Answered | Conclusion::Unresolved, _) => ("open", "", open(run).to_owned(), ""),
    };
    Headline {
        class,
        before,
        figure,
        unit,
        sentence: words::sentence(&answer.sentence),
        beside: beside(run),
    }
}

fn open(run: Run<'_>) -> &'static str {
    let is_measured = run.summary.levels.iter().any(crate::LevelSummary::has_figures);
    match run.summary.state {
        _ if is_measured => "unresolved",
        RunState::Failed => "the run failed",
        RunState::Waiting | RunState::Running => "not at its end",
        RunState::Completed | RunState::Stopped => "no answer",
    }
}

/// The estimate, where it is an answer.
pub(crate) fn estimate(run: Run<'_>) -> Option<&PeakEstimate> {
    let peak = &run.summary.peak;
    peak.estimate
        .as_ref()
        .filter(|_| peak.unresolved.is_none() && !peak.nothing_passes)
}

fn beside(run: Run<'_>) -> Vec<(&'static str, String)> {
    let summary = run.summary;
    let peak = &summary.peak;
    let is_search = summary.search.is_some();
    let mut beside = Vec::new();
    match (&peak.estimate, estimate(run)) {
        (_, Some(estimate)) if !is_search => beside.push(("Interpolated peak", shown::sure(estimate))),
        (Some(estimate), None) if is_search => {
            beside.push(("Known so far, no answer", shown::estimate(estimate)));
        }
        (Some(estimate), None) => beside.push(("Interpolated peak, unresolved", shown::estimate(estimate))),
        _ => {}
    }
    if let Some(estimate) = estimate(run).filter(|_| summary.slos.len() > 1) {
        beside.push(("Binding objective", estimate.binding.to_string()));
    }
    if let Some(validated) = &peak.validated {
        beside.push((
            "Validated",
            format!(
                "{} req/s held for {}",
                words::rate(validated.qps),
                words::span(validated.held_s)
            ),
        ));
    } else if is_search && !summary.levels.is_empty() {
        beside.push((
            "Validated",
            "no rate was held for 10 min (15 × E2E if that is longer)".to_owned(),
        ));
    }
    if let Some(rate) = summary.answer.highest_passing_level {
        beside.push(("Highest passing level", rate.to_string()));
    }
    if let Some(e2e) = peak.e2e_p50_s {
        beside.push(("Median E2E near the peak", words::span(e2e)));
    }
    beside
}
