//! The summary as data. It is what `--json` prints, so a change of it is a change of [`SUMMARY_FORMAT`].

use std::collections::BTreeMap;

use gipfel_model::{
    ArrivalRate, Attainment, DeploymentKind, FormatHeader, LevelState, PeakAnswer, RunState, Slo, Stage,
    Validity, Verdict, format::Format,
};
use serde::Serialize;

use crate::figures::{Metric, MetricSummary, Percentile};

/// The format of a summary.
pub const SUMMARY_FORMAT: Format = Format {
    name: "gipfel-summary",
    major: 1,
    minor: 0,
};

/// What a database says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The format and its version.
    pub header: FormatHeader,
    /// The objectives that the levels were judged by in place of their own; absent when each run's own decided.
    pub judged_by: Option<Vec<Slo>>,
    /// The runs, oldest first.
    pub runs: Vec<RunSummary>,
}

/// What one run says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunSummary {
    /// Its id.
    pub run_id: String,
    /// Whether it was imported from a database of the predecessor.
    pub imported: bool,
    /// Its campaign.
    pub campaign_id: Option<String>,
    /// Its server.
    pub deployment_id: Option<String>,
    /// Where its server lived.
    pub deployment: Option<DeploymentKind>,
    /// The model.
    pub model: String,
    /// The engine.
    pub backend: String,
    /// ISO 8601.
    pub created_at: Option<String>,
    /// From the start of the server to its first answer, in seconds.
    pub server_load_time_s: Option<f64>,
    /// How far it came.
    pub state: RunState,
    /// Why it failed.
    pub error: Option<String>,
    /// The objectives that decide.
    pub slos: Vec<Slo>,
    /// Objectives that are shown and decide nothing.
    pub informational_slos: Vec<Slo>,
    /// The answer of the simple rule: the highest passing level.
    pub answer: Answer,
    /// The peak with its interval, the rate that was held, or why there is no answer.
    pub peak: PeakAnswer,
    /// What makes the figures less than they seem.
    pub warnings: Vec<Warning>,
    /// Counts the repeats of one experiment over fresh deployments, from 0.
    pub repeat: u32,
    /// What a reader of the figures has to know, in sentences.
    pub notes: Vec<String>,
    /// The levels, in the order in which they were measured.
    pub levels: Vec<LevelSummary>,
}

/// The answer of a run: its highest passing level.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// The highest offered rate that passes, in requests per second; absent when none does.
    pub max_qps: Option<ArrivalRate>,
    /// The level that it was measured at.
    pub level: Option<u32>,
    /// The rate that was really sent there.
    pub achieved_rate: Option<f64>,
    /// The rate that was completed there.
    pub completed_rate: Option<f64>,
    /// The 95th percentile of TTFT there.
    pub ttft_p95: Option<Percentile>,
    /// The lowest rejected rate above it.
    pub rejected_at: Option<ArrivalRate>,
    /// The answer as a sentence.
    pub sentence: String,
}

/// One of the warnings W1 to W10, in words.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Warning {
    /// `W1` to `W10`.
    pub code: &'static str,
    /// What is wrong, with its figures, and what to do about it.
    pub text: String,
    /// The levels that it concerns; empty when it concerns the run.
    pub levels: Vec<u32>,
}

/// What one level says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LevelSummary {
    /// Counts every attempt, from 0.
    pub level: u32,
    /// The offered rate that was asked for.
    pub rate: ArrivalRate,
    /// What it was offered for.
    pub stage: Stage,
    /// How far it came.
    pub state: LevelState,
    /// The warm-up, in seconds.
    pub warmup_s: f64,
    /// The measured window, in seconds.
    pub measured_s: f64,
    /// Requests scheduled in the measured window, per second; this and the next two are absent without a window.
    pub offered_rate: Option<f64>,
    /// Requests sent in it, per second.
    pub sent_rate: Option<f64>,
    /// Requests completed in it, per second.
    pub completed_rate: Option<f64>,
    /// The measured requests, counted.
    pub requests: RequestCounts,
    /// Each metric with its percentiles.
    pub latencies: Vec<MetricSummary>,
    /// How the requests stand to each objective; empty when the level has no figures.
    pub attainment: Vec<Attainment>,
    /// How they stand to the objectives that decide nothing.
    pub informational: Vec<Attainment>,
    /// Share of the prompt tokens that the server had cached, 0 to 1; absent when nothing says it.
    pub prefix_cache_hit_share: Option<f64>,
    /// Whether the client kept its part.
    pub validity: Validity,
    /// The answer; absent when the level did not come to its end.
    pub verdict: Option<Verdict>,
    /// What is wrong with the stored data of this level.
    pub faults: Vec<String>,
}

/// The measured requests of a level.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RequestCounts {
    /// All of them.
    pub measured: u64,
    /// Those that ended well.
    pub ok: u64,
    /// Those that failed, those that were cancelled left out.
    pub failed: u64,
    /// Those that the load generator cancelled.
    pub shed: u64,
    /// Those that did not end well, by outcome.
    pub by_outcome: BTreeMap<String, u64>,
}

impl LevelSummary {
    /// The summary of a metric.
    pub fn latency(&self, metric: Metric) -> Option<&MetricSummary> {
        self.latencies.iter().find(|latency| latency.metric == metric)
    }
}
