//! Servers as Kubernetes deployments.

mod api;
mod backend;
pub mod examine;
mod forward;
pub mod inspect;
mod judge;
mod labels;
mod manifest;
mod name;
mod record;
#[cfg(feature = "simulated")]
pub mod simulated;

pub use api::{ApiError, Connection, Deadlines};
pub use backend::{K8sBackend, SYSTEM};
pub use forward::LoadFromHere;
pub use judge::{Judgement, PLACE_PATIENCE, Seen, judge};
pub use labels::{labels, of_campaign, of_deployment};
pub use manifest::{ManifestError, Manifests};
pub use name::object_name;
