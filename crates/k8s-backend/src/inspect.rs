//! The objects of a server as a user can look at them before anything is made.

use gipfel_model::{CampaignId, DeploymentId, DeploymentSpec};
use serde::Serialize;
use serde_json::Value;

use crate::manifest::{ManifestError, Manifests};

/// The objects of a server in the order in which they are made, with kind and version, as the API server takes them.
///
/// Owners are missing: the claim's uid is known once it is there.
pub fn objects(
    campaign: &CampaignId,
    id: &DeploymentId,
    spec: &DeploymentSpec,
) -> Result<Vec<Value>, ManifestError> {
    let manifests = Manifests::new(campaign, id, spec)?;
    let mut all = vec![value(&manifests.claim)];
    all.extend(manifests.model_cache.iter().map(value));
    all.push(value(&manifests.service));
    all.extend(manifests.ingress.iter().map(value));
    all.push(value(&manifests.deployment));
    Ok(all)
}

/// Where users reach a server.
pub fn url(id: &DeploymentId, k8s: &gipfel_model::K8sSpec) -> String {
    crate::manifest::url(id, k8s)
}

fn value(object: &impl Serialize) -> Value {
    // Objects of Kubernetes are maps with texts as keys, which JSON can hold.
    serde_json::to_value(object).unwrap_or_default()
}
