//! The report as data: the summary of each run with what is drawn beside it.

use gipfel_model::{Attainment, Provenance, Slo, Stage, Verdict};

use super::facts::LevelFacts;
use crate::summary::{LevelSummary, RunSummary};

/// What the report knows of a run beside its summary.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RunFacts {
    pub(crate) provenance: Provenance,
    /// The objective that violations are counted by in plots: the binding one, as far as that is known.
    pub(crate) focus: Option<Slo>,
    /// One for each level of the summary, in its order.
    pub(crate) levels: Vec<LevelFacts>,
    /// The length of a stretch of [`LevelFacts::shares`], in seconds.
    pub(crate) stretch_s: f64,
}

/// A run with all that is known of it.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) summary: &'a RunSummary,
    pub(crate) facts: &'a RunFacts,
}

/// A level with all that is known of it.
#[derive(Clone, Copy)]
pub(crate) struct Level<'a> {
    pub(crate) summary: &'a LevelSummary,
    pub(crate) facts: &'a LevelFacts,
}

/// What became of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Every objective was met.
    Met,
    /// An objective was violated.
    Violated,
    /// Invalid, broken off, unresolved, or without a decided request.
    Open,
}

impl<'a> Run<'a> {
    pub(crate) fn levels(self) -> impl DoubleEndedIterator<Item = Level<'a>> + Clone {
        self.summary
            .levels
            .iter()
            .zip(&self.facts.levels)
            .map(|(summary, facts)| Level { summary, facts })
    }

    /// The levels that carry figures.
    pub(crate) fn with_figures(self) -> impl DoubleEndedIterator<Item = Level<'a>> + Clone {
        self.levels().filter(|level| level.summary.has_figures())
    }

    /// Whether its levels are the steps of a search.
    pub(crate) fn is_search(self) -> bool {
        self.summary.search.is_some()
            || self
                .summary
                .levels
                .iter()
                .any(|level| level.stage != Stage::Level)
    }

    /// `swiss-ai/Apertus-8B on vllm, slurm`.
    pub(crate) fn name(self) -> String {
        let RunSummary {
            model,
            backend,
            deployment,
            ..
        } = self.summary;
        let place = deployment.map_or_else(String::new, |kind| format!(", {kind}"));
        format!("{model} on {backend}{place}")
    }
}

/// What became of a level: its verdict, or for the steps of a search the plain count.
pub(crate) fn fate(level: &LevelSummary) -> Fate {
    match &level.verdict {
        _ if !level.has_figures() => Fate::Open,
        Some(Verdict::Accept) => Fate::Met,
        Some(Verdict::Reject { .. }) => Fate::Violated,
        Some(_) => Fate::Open,
        None => counted(level),
    }
}

/// Whether every objective was met, by the plain count.
fn counted(level: &LevelSummary) -> Fate {
    let decided = || level.attainment.iter().filter(|one| one.decided > 0);
    if !level.has_figures() || decided().next().is_none() {
        return Fate::Open;
    }
    let met = decided().all(|one| one.violated as usize <= one.slo.allowed_violations(one.decided as usize));
    if met { Fate::Met } else { Fate::Violated }
}

/// The objective that violations are counted by: the binding one; else the one that rejected; else the one that the
/// levels violate most.
pub(crate) fn focus(run: &RunSummary) -> Option<Slo> {
    if let Some(estimate) = &run.peak.estimate {
        return Some(estimate.binding);
    }
    if run.slos.len() < 2 {
        return run.slos.first().copied();
    }
    let rejected = run.levels.iter().find_map(|level| match &level.verdict {
        Some(Verdict::Reject { slo }) => Some(*slo),
        _ => None,
    });
    let worst = || {
        run.levels
            .iter()
            .filter_map(|level| level.worst())
            .max_by(by_severity)
    };
    rejected
        .or_else(|| worst().map(|attainment| attainment.slo))
        .or_else(|| run.slos.first().copied())
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "iterators over references compare references to them"
)]
fn by_severity(one: &&Attainment, other: &&Attainment) -> std::cmp::Ordering {
    let severity =
        |one: &Attainment| one.violating_share().unwrap_or(0.0) / one.slo.allowed_share().max(1e-9);
    severity(one).total_cmp(&severity(other))
}

/// The levels that are shown over time: the highest one that met the objectives, and the lowest one that did not; where
/// there is no such thing, what there is. Tests of a search's bracket are short, so its blocks are preferred.
pub(crate) fn shown_over_time(run: &RunSummary) -> Vec<u32> {
    if run.imported {
        return Vec::new();
    }
    let is_long = |level: &&LevelSummary| matches!(level.stage, Stage::Level | Stage::Track);
    let has_long = run.levels.iter().any(|level| is_long(&level));
    let of = |fate: Fate| {
        run.levels
            .iter()
            .filter(move |level| is_long(level) || (!has_long && level.stage == Stage::Bracket))
            .filter(move |level| counted(level) == fate)
    };
    let by_rate = |one: &&LevelSummary, other: &&LevelSummary| one.rate.get().total_cmp(&other.rate.get());
    let held = of(Fate::Met).max_by(by_rate);
    let broken = of(Fate::Violated).min_by(by_rate);
    let mut shown: Vec<u32> = held.into_iter().chain(broken).map(|level| level.level).collect();
    if shown.is_empty() {
        shown.extend(run.levels.last().map(|level| level.level));
    }
    shown
}
