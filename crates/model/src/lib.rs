//! The shared typed models of Gipfel: units, ids, specs, objectives, run configuration, progress and records.
//!
//! This crate is the vocabulary that every other crate speaks. It does no I/O, reads no clock and knows no SQL.

pub mod access;
pub mod bundle;
pub mod deployment;
pub mod format;
pub mod ids;
pub mod k8s;
pub mod node_hours;
pub mod progress;
pub mod prompts;
pub mod provenance;
pub mod published;
pub mod record;
pub mod run_config;
pub mod search;
pub mod secret;
pub mod slo;
pub mod slurm;
pub mod units;
pub mod usage;
pub mod verdict;
pub mod workload;

pub use access::{Access, AccessError};
pub use bundle::BundleManifest;
pub use deployment::{BackendKind, DeploymentKind, DeploymentSpec, EndpointSpec, LocalSpec};
pub use format::{FormatError, FormatHeader};
pub use ids::{CampaignId, DeploymentId, IdError, RunId};
pub use k8s::{
    K8sIngress, K8sLimits, K8sLoad, K8sModelCache, K8sRequests, K8sSecretKey, K8sSpec, K8sToken,
    K8sToleration, K8sVolume,
};
pub use node_hours::NodeHours;
pub use progress::{LevelProgress, Progress, RunState};
pub use prompts::{AnswerLength, DataSetFile, DataSetForm, DataSetSpec, PromptSource};
pub use provenance::Provenance;
pub use published::Published;
pub use record::{CountSource, LevelRecord, LevelState, Outcome, Phase, RequestRecord, ScrapeRecord};
pub use run_config::{ExperimentSpec, LevelSchedule, Rates, RunConfig, Timeouts};
pub use search::{
    Decided, Evidence, PeakAnswer, PeakEstimate, SearchProgress, SearchSpec, Second, Stage, Validated,
};
pub use secret::Secret;
pub use slo::{LatencyMetric, Quantile, Slo, SloError};
pub use slurm::{
    BenchmarkerKind, ClusterKind, ContainerKind, LoadPlacement, SlurmJob, SlurmLoad, SlurmReach, SlurmSpec,
    Walltime,
};
pub use units::{
    ArrivalRate, DurationError, Fraction, UnitError, format_duration, format_rate, parse_duration,
    rate_decimals,
};
pub use usage::{Usage, UsageOf};
pub use verdict::{Attainment, ClientHealth, Little, ReaderLag, Validity, ValidityFault, Verdict};
pub use workload::{ApiEndpoint, ArrivalProcess, LengthDistribution, RequestForm, WorkloadSpec};
