//! Servers as Kubernetes deployments, and load generators as Jobs.

mod api;
mod backend;
mod calls;
pub mod examine;
mod exec;
mod extension;
mod files;
mod forward;
mod ingress;
pub mod inspect;
mod judge;
mod labels;
mod load;
mod logs;
mod manifest;
mod name;
mod patience;
mod record;
mod requirement;
mod sight;
#[cfg(feature = "simulated")]
pub mod simulated;
mod watch;

pub use api::{ApiError, Connection, Deadlines};
pub use backend::{Claim, K8sBackend, SYSTEM};
pub use extension::{Extension, Kind};
pub use forward::ForwardWay;
pub use judge::{Judgement, Rollout, Seen, Trouble, TroubleKind, judge};
pub use labels::{labels, labels_of_run, of_campaign, of_deployment, of_pods, of_run};
pub use load::{K8sLoads, LoadAttempt, LoadManifestError, LoadManifests};
pub use manifest::{
    Component, GraphSpec, GroupSpec, LeaderWorkerTemplate, ManifestError, Manifests, Multinode, TokenSecret,
    Workload, WorkloadKind,
};
pub use name::object_name;
pub use requirement::{Api, Requirement};
