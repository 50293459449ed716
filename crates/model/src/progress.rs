//! `progress.json`: replaced each second by the load generator, read by whoever watches.

use serde::{Deserialize, Serialize};

use crate::{
    deployment::names,
    format::{Format, FormatHeader},
    ids::RunId,
    record::Phase,
    search::{SearchProgress, Stage},
    units::ArrivalRate,
    verdict::{Attainment, Verdict},
};

/// The format of `progress.json`.
pub const PROGRESS_FORMAT: Format = Format {
    name: "gipfel-progress",
    major: 1,
    minor: 1,
};

names! {
    /// Where the load generator stands.
    RunState {
        /// Waits for the endpoint.
        Waiting = "waiting",
        /// Sends.
        Running = "running",
        /// Every level is measured.
        Completed = "completed",
        /// Ended early, by somebody's word or by a limit on its time; what was measured is kept.
        Stopped = "stopped",
        /// Cannot go on; `error` says why.
        Failed = "failed",
    }
}

/// A level that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelSummary {
    /// Counts every attempt, from 0.
    pub level: u32,
    /// The offered rate.
    pub rate: ArrivalRate,
    /// The 95th percentile of TTFT; absent when it is infinite or the level has no measured request.
    pub ttft_p95_ms: Option<f64>,
    /// Measured requests completed per second.
    pub completed_rate: f64,
    /// What it was offered for.
    pub stage: Stage,
    /// How the requests stand to the objective that is violated most; absent when none is decided.
    pub worst: Option<Attainment>,
    /// The answer; absent for the steps of a search.
    pub verdict: Option<Verdict>,
}

/// The level that is being measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelProgress {
    /// Counts every attempt, from 0.
    pub level: u32,
    /// The offered rate.
    pub rate: ArrivalRate,
    /// The part that is running.
    pub phase: Phase,
    /// Seconds since the begin of the warm-up.
    pub elapsed_s: f64,
    /// Warm-up and measured window together, in seconds.
    pub planned_s: f64,
    /// Requests sent in this level.
    pub sent: u64,
    /// Requests ended in this level.
    pub ended: u64,
    /// Requests of this level that failed.
    pub failed: u64,
    /// Requests in flight.
    pub in_flight: u64,
    /// The 95th percentile of TTFT of the measured requests so far; absent when infinite or unknown.
    pub ttft_p95_ms: Option<f64>,
}

/// `progress.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// The format and its version.
    pub header: FormatHeader,
    /// The run.
    pub run_id: RunId,
    /// Where it stands.
    pub state: RunState,
    /// Replaced in this second, Unix time in milliseconds.
    pub updated_unix_ms: i64,
    /// The load generator's process.
    pub pid: u32,
    /// Levels that are over.
    pub levels: Vec<LevelSummary>,
    /// The level that is being measured.
    pub current: Option<LevelProgress>,
    /// Where an adaptive search stands; absent in other runs.
    pub search: Option<SearchProgress>,
    /// How many levels are planned; absent when that is not known beforehand.
    pub planned_levels: Option<u32>,
    /// Why the state is `failed`, or what cut a run short that is `stopped` without anybody's word.
    pub error: Option<String>,
    /// What goes wrong while the measurement goes on, such as results that cannot be published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}
