//! What the load generator is told: everything it needs to carry out a run without the laptop.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    deployment::{BackendKind, DeploymentKind, EndpointSpec},
    format::{Format, FormatHeader},
    ids::{CampaignId, DeploymentId, RunId},
    provenance::Provenance,
    search::SearchSpec,
    slo::Slo,
    slurm::LoadPlacement,
    units::{ArrivalRate, seconds},
    workload::WorkloadSpec,
};

/// The format of `run_config.json`.
pub const RUN_CONFIG_FORMAT: Format = Format {
    name: "gipfel-run-config",
    major: 1,
    minor: 1,
};

/// Which rates are offered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Rates {
    /// These, in ascending order.
    Listed(Vec<ArrivalRate>),
    /// Doubling from the first one.
    Doubling {
        /// The first rate.
        first: ArrivalRate,
    },
    /// Those that an adaptive search asks for; warm-up, measured window and total time of the schedule mean nothing then.
    Search(SearchSpec),
}

/// The levels of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelSchedule {
    /// The rates.
    pub rates: Rates,
    /// Warm-up of each level; sent and recorded, not measured.
    #[serde(rename = "warmup_s", with = "seconds")]
    pub warmup: Duration,
    /// Measured window of each level.
    #[serde(rename = "measured_s", with = "seconds")]
    pub measured: Duration,
    /// How many requests each measured window holds, in place of a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_level: Option<u32>,
    /// Whether the rate rises in a straight line from 0 over the warm-up as it is written.
    #[serde(default, skip_serializing_if = "is_false")]
    pub warmup_ramp: bool,
    /// Measure every listed level, also after two rejected ones.
    pub all_levels: bool,
    /// Keep the windows as they are written; otherwise the warm-up is stretched to 3 × and the measured window to
    /// 5 × the median E2E latency of the level.
    pub exact_windows: bool,
    /// No level starts that could not end within this time of the run's start.
    #[serde(rename = "total_time_s", with = "optional_seconds", default)]
    pub total_time: Option<Duration>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

impl LevelSchedule {
    /// How long the measured window of a level at `rate` is, or takes on average if its requests are counted.
    pub fn measured_at(&self, rate: ArrivalRate) -> Duration {
        match self.requests_per_level {
            Some(requests) => {
                Duration::try_from_secs_f64(f64::from(requests) / rate.get()).unwrap_or(Duration::MAX)
            }
            None => self.measured,
        }
    }
}

/// Separate limits, each from the point that its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// For a connection, from the begin of dialling.
    #[serde(rename = "connect_s", with = "seconds")]
    pub connect: Duration,
    /// For the first token, from the scheduled arrival.
    #[serde(rename = "first_token_s", with = "seconds")]
    pub first_token: Duration,
    /// Between two tokens.
    #[serde(rename = "between_tokens_s", with = "seconds")]
    pub between_tokens: Duration,
    /// For the whole request, from the scheduled arrival.
    #[serde(rename = "total_s", with = "seconds")]
    pub total: Duration,
    /// For the measured requests of an accepted level to end, from the end of its measured window.
    #[serde(rename = "drain_s", with = "seconds")]
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_token: Duration::from_mins(2),
            between_tokens: Duration::from_mins(2),
            total: Duration::from_mins(10),
            drain: Duration::from_mins(5),
        }
    }
}

/// `run_config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The format and its version.
    pub header: FormatHeader,
    /// The run.
    pub run_id: RunId,
    /// Its campaign.
    pub campaign_id: CampaignId,
    /// The server that it is sent to.
    pub deployment_id: DeploymentId,
    /// Where that server lives.
    pub deployment: DeploymentKind,
    /// Counts the repeats of one experiment over fresh deployments, from 0.
    pub repeat: u32,
    /// The model as the user named it.
    pub model: String,
    /// The name that requests carry; absent: the first one of `/v1/models`.
    pub served_model: Option<String>,
    /// The engine, which decides dialect and metric names.
    pub backend: BackendKind,
    /// The endpoint.
    pub endpoint: EndpointSpec,
    /// The engine's settings, for the record.
    pub backend_config: serde_json::Map<String, serde_json::Value>,
    /// The data set's settings, for the record.
    pub dataset_config: serde_json::Map<String, serde_json::Value>,
    /// What is sent.
    pub workload: WorkloadSpec,
    /// The levels.
    pub schedule: LevelSchedule,
    /// The objectives that decide.
    pub slos: Vec<Slo>,
    /// Objectives that are shown and decide nothing.
    pub informational_slos: Vec<Slo>,
    /// The limits.
    pub timeouts: Timeouts,
    /// Threads that send; absent: one for each core, but one core is left to the rest.
    pub workers: Option<u32>,
    /// From the start of the server to its first answer; absent for a server that gipfel did not start.
    #[serde(rename = "server_load_time_s", with = "optional_seconds", default)]
    pub server_load_time: Option<Duration>,
    /// What the coordinator knows of engine, hardware and itself.
    pub provenance: Provenance,
    /// ISO 8601, UTC.
    pub created_at: String,
}

/// Serde for an optional [`Duration`] as a JSON number of seconds.
pub mod optional_seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    /// Writes seconds or null.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        duration
            .map(|duration| duration.as_secs_f64())
            .serialize(serializer)
    }

    /// Reads seconds or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Option::<f64>::deserialize(deserializer)?
            .map(|seconds| Duration::try_from_secs_f64(seconds).map_err(D::Error::custom))
            .transpose()
    }
}

/// One thing that the user asked for: a workload against a deployment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentSpec {
    /// The server.
    pub deployment: crate::deployment::DeploymentSpec,
    /// Where the load generator runs.
    #[serde(default, skip_serializing_if = "LoadPlacement::is_local")]
    pub load: LoadPlacement,
    /// Counts the repeats of one experiment over fresh deployments, from 0.
    pub repeat: u32,
    /// What is sent.
    pub workload: WorkloadSpec,
    /// The levels.
    pub schedule: LevelSchedule,
    /// The objectives that decide.
    pub slos: Vec<Slo>,
    /// Objectives that are shown and decide nothing.
    pub informational_slos: Vec<Slo>,
    /// The limits.
    pub timeouts: Timeouts,
    /// Threads that send; absent: the load generator decides.
    pub workers: Option<u32>,
    /// The data set's settings, for the record.
    pub dataset_config: serde_json::Map<String, serde_json::Value>,
}
