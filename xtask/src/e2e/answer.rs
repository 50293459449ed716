//! What gipfel answers, read from `results summary --json` as a script would.

use std::process::Output;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::world::{World, expect_exit};
use crate::shell;

/// The answer of one run.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// `answered`, `nothing_passes` or `unresolved`.
    pub(crate) conclusion: String,
    /// In words.
    pub(crate) sentence: String,
    /// The rate; absent unless it is answered.
    pub(crate) peak: Option<Peak>,
    /// Codes of the warnings.
    pub(crate) warnings: Vec<String>,
    /// How many levels were thrown away since the client did not keep its part.
    pub(crate) invalid_levels: usize,
}

/// A rate that is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peak {
    /// 80 % sure.
    pub(crate) qps: f64,
    /// The 90 % interval.
    pub(crate) low: f64,
    /// The 90 % interval.
    pub(crate) high: f64,
}

impl Answer {
    /// The answers of all runs of a world, oldest first, after gipfel has ended by itself.
    pub(crate) fn all(world: &World, gipfel: &Output) -> anyhow::Result<Vec<Self>> {
        ensure!(
            matches!(gipfel.status.code(), Some(0 | 10 | 12)),
            "gipfel ended with {}:\n{}",
            gipfel.status,
            String::from_utf8_lossy(&gipfel.stderr)
        );
        let summary = shell::read(&mut world.gipfel(&["results", "summary", "--json"]))?;
        let summary: Value = serde_json::from_str(&summary).context("the summary is no JSON")?;
        let runs = summary["runs"].as_array().context("the summary has no runs")?;
        runs.iter().map(Self::of).collect()
    }

    /// The answer of the only run, which gipfel's exit code must say too.
    pub(crate) fn only(world: &World, gipfel: &Output) -> anyhow::Result<Self> {
        let mut all = Self::all(world, gipfel)?;
        ensure!(all.len() == 1, "expected one run, found {}", all.len());
        let only = all.pop().context("there is no run")?;
        let exit = match only.conclusion.as_str() {
            "answered" => 0,
            "nothing_passes" => 10,
            _ => 12,
        };
        expect_exit(gipfel, exit)?;
        Ok(only)
    }

    fn of(run: &Value) -> anyhow::Result<Self> {
        let text = |value: &Value, what: &str| {
            let text = value.as_str().map(ToOwned::to_owned);
            text.with_context(|| format!("the summary has no {what}: {run}"))
        };
        let conclusion = text(&run["answer"]["conclusion"], "conclusion")?;
        let number = |key: &str| run["peak"]["estimate"][key].as_f64();
        let peak = match (number("peak_qps"), number("low"), number("high")) {
            (Some(qps), Some(low), Some(high)) if conclusion == "answered" => Some(Peak { qps, low, high }),
            _ => None,
        };
        ensure!(
            (conclusion == "answered") == peak.is_some(),
            "an answer without a rate: {run}"
        );
        let codes = run["warnings"].as_array().map(Vec::as_slice).unwrap_or_default();
        let levels = run["levels"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(Self {
            sentence: text(&run["answer"]["sentence"], "sentence")?,
            peak,
            warnings: codes
                .iter()
                .filter_map(|warning| warning["code"].as_str().map(ToOwned::to_owned))
                .collect(),
            invalid_levels: levels
                .iter()
                .filter(|level| level["verdict"]["verdict"] == "invalid")
                .count(),
            conclusion,
        })
    }

    /// One line for the terminal.
    pub(crate) fn describe(&self) -> String {
        let invalid = match self.invalid_levels {
            0 => String::new(),
            count => format!("; invalid levels: {count}"),
        };
        format!("{} [{}]{invalid}", self.sentence, self.warnings.join(" "))
    }

    /// Fails unless there is an answer within `share` of the truth, or the answer is `unresolved` and that is allowed.
    pub(crate) fn expect_within(
        &self,
        truth: f64,
        share: f64,
        unresolved_allowed: bool,
    ) -> anyhow::Result<()> {
        let Some(peak) = self.peak else {
            ensure!(
                unresolved_allowed && self.conclusion == "unresolved",
                "no answer: {}",
                self.sentence
            );
            return Ok(());
        };
        let error = peak.qps / truth - 1.0;
        shell::say(&format!(
            "{:.2} req/s, {:+.1} % off the truth {truth:.2}",
            peak.qps,
            100.0 * error
        ));
        ensure!(
            error.abs() <= share,
            "the answer is more than {:.0} % off the truth",
            100.0 * share
        );
        Ok(())
    }
}

/// Fails unless the intervals of those that answer overlap pairwise.
pub(crate) fn expect_overlap(answers: &[Answer]) -> anyhow::Result<()> {
    let peaks: Vec<Peak> = answers.iter().filter_map(|answer| answer.peak).collect();
    let lowest_high = peaks.iter().map(|peak| peak.high).fold(f64::INFINITY, f64::min);
    let highest_low = peaks.iter().map(|peak| peak.low).fold(0.0, f64::max);
    ensure!(
        highest_low <= lowest_high,
        "two intervals do not overlap: {peaks:?}"
    );
    Ok(())
}
