//! The summary as data. It is what `--json` prints, so a change of it is a change of [`SUMMARY_FORMAT`].

use std::collections::BTreeMap;

use gipfel_model::{
    ArrivalRate, Attainment, DeploymentKind, FormatHeader, LevelState, PeakAnswer, RunState, SearchSpec, Slo,
    Stage, Validity, Verdict, format::Format,
};
use serde::Serialize;

use crate::{
    figures::{Metric, MetricSummary, Percentile},
    repeats::{self, RepeatSummary},
};

/// The format of a summary.
pub const SUMMARY_FORMAT: Format = Format {
    name: "gipfel-summary",
    major: 2,
    minor: 1,
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
    /// Those of them that repeat one experiment, put together.
    pub repeats: Vec<RepeatSummary>,
}

impl Summary {
    pub(crate) fn new(judged_by: Option<&[Slo]>, runs: Vec<RunSummary>) -> Self {
        Self {
            header: SUMMARY_FORMAT.header(),
            judged_by: judged_by.map(<[Slo]>::to_vec),
            repeats: repeats::put_together(&runs),
            runs,
        }
    }

    /// Adds the runs of another database.
    pub fn extend(&mut self, other: Self) {
        self.runs.extend(other.runs);
        self.repeats = repeats::put_together(&self.runs);
    }
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
    /// What was searched; absent when the rates were listed or doubled.
    pub search: Option<SearchSpec>,
    /// The answer, in one sentence and with what it stands on.
    pub answer: Answer,
    /// The peak with its interval, the rate that was held, or why there is no answer. Beside listed and doubling rates
    /// it is interpolated.
    pub peak: PeakAnswer,
    /// What makes the figures less than they seem.
    pub warnings: Vec<Warning>,
    /// Counts the repeats of one experiment over fresh deployments, from 0.
    pub repeat: u32,
    /// What the repeats of one experiment have in common; absent when nothing is known of it.
    #[serde(skip)]
    pub(crate) experiment: Option<String>,
    /// What a reader of the figures has to know, in sentences.
    pub notes: Vec<String>,
    /// The levels, in the order in which they were measured.
    pub levels: Vec<LevelSummary>,
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// With a rate.
    Answered,
    /// No rate that was offered meets the objectives, the lowest one included.
    NothingPasses,
    /// What was measured carries no answer.
    Unresolved,
}

/// The answer of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// How it ends.
    pub conclusion: Conclusion,
    /// *Max QPS*, in requests per second: of a search its peak, which holds with 80 % confidence; of listed and doubling
    /// rates the highest passing level. Absent when there is none.
    pub max_qps: Option<f64>,
    /// The highest offered rate that passes by its counts alone; the steps of a search are no such levels.
    pub highest_passing_level: Option<ArrivalRate>,
    /// The level that it was measured at.
    pub level: Option<u32>,
    /// The rate that was really sent there.
    pub achieved_rate: Option<f64>,
    /// The rate that was completed there.
    pub completed_rate: Option<f64>,
    /// The 95th percentile of TTFT there.
    pub ttft_p95: Option<Percentile>,
    /// The lowest rate above it that is rejected by its counts alone.
    pub rejected_at: Option<ArrivalRate>,
    /// The answer as a sentence.
    pub sentence: String,
}

/// One of the warnings W1 to W11, in words.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Warning {
    /// `W1` to `W11`.
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
    /// Requests that meet every objective; absent without a window, without objectives, and when the level has no
    /// figures.
    pub goodput: Option<Goodput>,
    /// Answer tokens that came in the measured window, per second; absent when nobody counted them.
    pub output_tokens_per_s: Option<f64>,
    /// The measured requests, counted.
    pub requests: RequestCounts,
    /// Each metric with its percentiles.
    pub latencies: Vec<MetricSummary>,
    /// How the requests stand to each objective; empty when the level has no figures.
    pub attainment: Vec<Attainment>,
    /// How they stand to the objectives that decide nothing.
    pub informational: Vec<Attainment>,
    /// How long the answers became.
    pub answers: AnswerLengths,
    /// Share of the prompt tokens that the server had cached, 0 to 1; absent when nothing says it.
    pub prefix_cache_hit_share: Option<f64>,
    /// How often the server preempted a request meanwhile; absent when it does not say.
    pub preemptions: Option<f64>,
    /// Requests in flight, on average; absent without a window.
    pub in_flight: Option<InFlight>,
    /// The median E2E latency of the requests that ended meanwhile, in seconds.
    pub e2e_p50_s: Option<f64>,
    /// The objective that overload was laid to, by a step of a search.
    pub overloaded: Option<Slo>,
    /// Whether the client kept its part.
    pub validity: Validity,
    /// The answer, by intervals that know of bursts; absent when the level did not come to its end, and for the steps
    /// of a search.
    pub verdict: Option<Verdict>,
    /// The answer by the counts alone, as most tools give it; absent where `verdict` is.
    pub simple_verdict: Option<Verdict>,
    /// What is wrong with the stored data of this level.
    pub faults: Vec<String>,
}

/// Requests that meet every objective.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Goodput {
    /// Those of the measured requests that meet every objective.
    pub attained: u64,
    /// All requests scheduled in the measured window: failed and undecided ones count as not attaining.
    pub scheduled: u64,
    /// Those that attain, per second of the measured window.
    pub per_second: f64,
}

/// How long the answers of the completed measured requests became, where the server counts tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct AnswerLengths {
    /// Answers whose tokens were counted.
    pub counted: u64,
    /// Those that are shorter than asked.
    pub short: u64,
    /// Their tokens, of all that were counted.
    pub tokens: u64,
    /// The tokens that were asked for.
    pub requested_tokens: u64,
}

/// Requests in flight, averaged over parts of the measured window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct InFlight {
    /// Over all of it.
    pub mean: f64,
    /// Over its second third.
    pub middle_third: f64,
    /// Over its last third.
    pub last_third: f64,
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
    /// What the server, or the way to it, said most often of those that failed; cut where it is long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_frequent_error: Option<String>,
}

impl LevelSummary {
    /// The summary of a metric.
    pub fn latency(&self, metric: Metric) -> Option<&MetricSummary> {
        self.latencies.iter().find(|latency| latency.metric == metric)
    }

    /// Whether its figures say something of the server: it came to its end, and the client kept its part.
    pub fn has_figures(&self) -> bool {
        self.state == LevelState::Complete && !matches!(self.verdict, Some(Verdict::Invalid { .. }))
    }

    /// The objective that is violated most, by its violating share over its allowed one.
    pub fn worst(&self) -> Option<&Attainment> {
        Attainment::worst(&self.attainment)
    }
}
