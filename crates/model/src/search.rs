//! The adaptive search: what it is told, what it observes, what it answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    deployment::names, record::Decision, run_config::optional_seconds, slo::Slo, units::ArrivalRate,
};

/// What an adaptive search is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchSpec {
    /// The lowest rate that is offered. The ramp begins at 1 req/s, or here if that is more.
    pub min_rate: ArrivalRate,
    /// The highest rate that is offered; absent: as high as the ramp leads.
    pub max_rate: Option<ArrivalRate>,
    /// The search ends when the half-width of the 90 % interval is below this share of the rate.
    pub precision: f64,
    /// The search ends after this time; absent: max(15 min, 60 × median E2E).
    #[serde(rename = "budget_s", with = "optional_seconds", default)]
    pub budget: Option<Duration>,
}

impl SearchSpec {
    /// The share of the rate that is asked for unless the user says otherwise.
    pub const DEFAULT_PRECISION: f64 = 0.02;
}

impl Default for SearchSpec {
    fn default() -> Self {
        Self {
            min_rate: ArrivalRate::per_second(0.05).unwrap_or_else(|_| unreachable!("0.05 req/s is a rate")),
            max_rate: None,
            precision: Self::DEFAULT_PRECISION,
            budget: None,
        }
    }
}

names! {
    /// What a level was offered for.
    Stage {
        /// A level of a list or of doubling rates, with an end of its own.
        Level = "level",
        /// A step of the search's ramp: a look, no measurement.
        Ramp = "ramp",
        /// A sequential test of the search's bracket.
        Bracket = "bracket",
        /// A block near the knee, from which the peak is estimated.
        Track = "track",
    }
}

/// Counts of the requests that are decided for one objective.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decided {
    /// Those that are decided, the violating ones included.
    #[serde(rename = "n")]
    pub decided: u32,
    /// Those that violate the objective.
    #[serde(rename = "v")]
    pub violated: u32,
}

impl Decided {
    /// Counts one request.
    pub fn count(&mut self, decision: Decision) {
        match decision {
            Decision::Met => self.decided += 1,
            Decision::Violated => {
                self.decided += 1;
                self.violated += 1;
            }
            Decision::Undecided => {}
        }
    }

    /// Adds the counts of others.
    pub fn add(&mut self, other: Self) {
        self.decided += other.decided;
        self.violated += other.violated;
    }
}

/// The requests that were scheduled within one second of a level, counted from the level's start. Sums of workers and
/// ranks are sums of their parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Second {
    /// Requests that were sent.
    #[serde(rename = "a")]
    pub arrivals: u32,
    /// Prompt tokens asked for, their sum.
    #[serde(rename = "i")]
    pub input_tokens: u64,
    /// Answer tokens asked for, their sum.
    #[serde(rename = "o")]
    pub output_tokens: u64,
    /// One entry for each objective, in the run configuration's order.
    #[serde(rename = "s")]
    pub objectives: Vec<Decided>,
}

impl Second {
    /// Adds what others have sent in the same second.
    pub fn add(&mut self, other: &Self) {
        self.arrivals += other.arrivals;
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        if self.objectives.len() < other.objectives.len() {
            self.objectives.resize(other.objectives.len(), Decided::default());
        }
        for (mine, theirs) in self.objectives.iter_mut().zip(&other.objectives) {
            mine.add(*theirs);
        }
    }
}

/// What a search has learnt from one level; with the level's rate and stage all that a resumed search needs of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Seconds from the level's start that do not count: the server was still settling.
    pub settle_s: u32,
    /// The level's seconds, the settling ones included.
    pub seconds: Vec<Second>,
    /// Seconds of load, from the end of the settling, for which the evidence stands. More than was offered when waiting
    /// requests were shed: the rest of the planned block then counts as violating.
    pub stands_for_s: u32,
    /// The objective that a hard reject or a shed is laid to; absent without either.
    pub overloaded: Option<Slo>,
    /// The median E2E latency of the requests that ended meanwhile, in seconds; absent when none did.
    pub e2e_p50_s: Option<f64>,
    /// The mean number of requests in flight over the measured part; absent when it was not looked at.
    pub in_flight: Option<f64>,
}

/// The peak and how sure it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeakEstimate {
    /// The headline: the peak is at least this with 80 % confidence, in requests per second.
    pub peak_qps: f64,
    /// The mean of the posterior.
    pub mean: f64,
    /// The lower end of the 90 % interval.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// The objective that binds.
    pub binding: Slo,
    /// Effectively independent requests near the knee, behind the estimate.
    pub n_eff: f64,
}

impl PeakEstimate {
    /// Half the width of the 90 % interval, relative to the mean.
    pub fn half_width(&self) -> f64 {
        (self.high - self.low) / 2.0 / self.mean
    }
}

/// A rate that was held for long within the objectives.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validated {
    /// The rate, in requests per second: time-weighted over the stretch.
    pub qps: f64,
    /// How long it was held, in seconds.
    pub held_s: f64,
}

/// What a search answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeakAnswer {
    /// The peak; absent when nothing is known of it. Beside an `unresolved` it is what is known so far, not an answer.
    pub estimate: Option<PeakEstimate>,
    /// The highest rate held for ten minutes or 15 × E2E with every objective met; absent when none was.
    pub validated: Option<Validated>,
    /// Why there is no answer, and what would bring one; absent when there is an answer.
    pub unresolved: Option<String>,
    /// No rate that was offered meets the objectives, the lowest one included.
    pub nothing_passes: bool,
    /// The median E2E latency near the peak, in seconds.
    pub e2e_p50_s: Option<f64>,
}

/// Where a search stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchProgress {
    /// What the load of the moment is for.
    pub stage: Stage,
    /// What is known of the peak so far.
    pub estimate: Option<PeakEstimate>,
    /// The rates between which the peak lies, as far as the bracket knows.
    pub bracket: Option<(f64, f64)>,
    /// Seconds of load so far, those of earlier processes included.
    pub elapsed_s: f64,
    /// Seconds that the search may take at most; it often ends earlier.
    pub budget_s: f64,
}
