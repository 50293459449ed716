//! What the server tells of jobs.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

use super::state::{JobState, PendingReason};
use crate::{
    lenient,
    names::{JobId, JobName},
};

/// A job, or one task of an array.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Job {
    /// Its id.
    #[serde(rename = "jobId", deserialize_with = "job_id")]
    pub id: JobId,
    /// Its name.
    #[serde(default, deserialize_with = "lenient::text")]
    pub name: String,
    /// What it does.
    pub status: JobStatus,
    /// Its steps, the batch step included. A failed step does not fail the job.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub tasks: Vec<Task>,
    /// Its times.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub time: JobTime,
    /// The account that it is charged to.
    #[serde(default, deserialize_with = "lenient::optional_text")]
    pub account: Option<String>,
    /// How many nodes it has or asks for.
    #[serde(default, deserialize_with = "lenient::optional_number")]
    pub allocation_nodes: Option<u64>,
    /// Its nodes in Slurm's compact form; see [`Job::node_names`].
    #[serde(default, deserialize_with = "lenient::optional_text")]
    pub nodes: Option<String>,
    /// Its partition.
    #[serde(default, deserialize_with = "lenient::optional_text")]
    pub partition: Option<String>,
    /// Its user.
    #[serde(default, deserialize_with = "lenient::optional_text")]
    pub user: Option<String>,
    /// Where it runs.
    #[serde(default, deserialize_with = "lenient::optional_text")]
    pub working_directory: Option<String>,
}

impl Job {
    /// The names of its nodes; none while it has none.
    pub fn node_names(&self) -> Result<Vec<String>, super::NodesError> {
        match self.nodes.as_deref() {
            None | Some("" | "None assigned" | "(null)") => Ok(Vec::new()),
            Some(nodes) => super::expand_nodes(nodes),
        }
    }
}

/// What a job or a step does.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct JobStatus {
    /// The state.
    #[serde(deserialize_with = "state")]
    pub state: JobState,
    /// Why it waits or ended, as the scheduler says it.
    #[serde(default, deserialize_with = "lenient::optional_text")]
    pub state_reason: Option<String>,
    /// The exit code. Zero is no success: jobs that were killed or ran out of time have it, too.
    #[serde(default, deserialize_with = "lenient::optional_number")]
    pub exit_code: Option<i64>,
    /// The signal that ended it.
    #[serde(default, deserialize_with = "lenient::optional_number")]
    pub interrupt_signal: Option<i64>,
}

impl JobStatus {
    /// Why a pending job waits, and whether it ever will start.
    pub fn pending_reason(&self) -> Option<PendingReason> {
        (self.state == JobState::Pending)
            .then(|| PendingReason::of(self.state_reason.as_deref().unwrap_or_default()))
    }
}

/// A step of a job.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Task {
    /// Its id, such as `42.batch`.
    #[serde(deserialize_with = "lenient::text")]
    pub id: String,
    /// Its name.
    #[serde(default, deserialize_with = "lenient::text")]
    pub name: String,
    /// What it does.
    pub status: JobStatus,
    /// Its times.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub time: JobTime,
}

/// Times of a job or a step, in seconds, and in seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct JobTime {
    /// How long it has run.
    #[serde(default, rename = "elapsed", deserialize_with = "lenient::optional_number")]
    pub elapsed_s: Option<i64>,
    /// Its start; of a pending job, the scheduler's estimate.
    #[serde(default, rename = "start", deserialize_with = "lenient::optional_number")]
    pub start_s: Option<i64>,
    /// Its end; of a pending job, the scheduler's estimate.
    #[serde(default, rename = "end", deserialize_with = "lenient::optional_number")]
    pub end_s: Option<i64>,
    /// How long it was suspended.
    #[serde(default, rename = "suspended", deserialize_with = "lenient::optional_number")]
    pub suspended_s: Option<i64>,
    /// How long it may run.
    #[serde(default, rename = "limit", deserialize_with = "lenient::optional_number")]
    pub limit_s: Option<i64>,
}

fn job_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<JobId, D::Error> {
    let text = lenient::text(deserializer)?;
    JobId::try_new(text).map_err(de::Error::custom)
}

fn state<'de, D: Deserializer<'de>>(deserializer: D) -> Result<JobState, D::Error> {
    lenient::text(deserializer).map(|text| JobState::parse(&text))
}

/// A job's script and where its output goes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct JobMetadata {
    /// The job's id.
    #[serde(rename = "jobId", deserialize_with = "job_id")]
    pub id: JobId,
    /// The script; empty for jobs of others.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub script: String,
    /// The file of its input.
    #[serde(default, deserialize_with = "lenient::optional_text")]
    pub standard_input: Option<String>,
    /// The file of its output.
    #[serde(default, deserialize_with = "lenient::optional_text")]
    pub standard_output: Option<String>,
    /// The file of its errors.
    #[serde(default, deserialize_with = "lenient::optional_text")]
    pub standard_error: Option<String>,
}

/// Which jobs are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Jobs of exactly this name.
    pub name: Option<JobName>,
    /// Jobs charged to this account.
    pub account: Option<String>,
    /// Jobs of others, too.
    pub all_users: bool,
    /// How far back; the server looks back 24 hours if not set.
    pub window: Option<TimeWindow>,
}

impl JobFilter {
    /// Jobs of this name.
    pub fn named(name: JobName) -> Self {
        Self {
            name: Some(name),
            ..Self::default()
        }
    }

    pub(super) fn lets_through(&self, job: &Job) -> bool {
        let is_named = self.name.as_ref().is_none_or(|name| job.name == name.as_str());
        // A job whose account is not told may be charged to any.
        let is_charged = self.account.is_none() || job.account.is_none() || self.account == job.account;
        is_named && is_charged
    }
}

/// How far back a list of jobs goes: the server knows these windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeWindow {
    /// One hour.
    Hour,
    /// Eight hours.
    EightHours,
    /// 24 hours.
    Day,
    /// Three days.
    ThreeDays,
    /// Seven days.
    Week,
}

impl fmt::Display for TimeWindow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Hour => "1h",
            Self::EightHours => "8h",
            Self::Day => "24h",
            Self::ThreeDays => "3d",
            Self::Week => "7d",
        })
    }
}

/// What came of a cancellation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// The scheduler ends the job.
    Requested,
    /// The job had ended, or the scheduler does not know it any more.
    AlreadyGone,
}
