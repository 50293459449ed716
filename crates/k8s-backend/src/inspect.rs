//! The objects of a server or a load generator as a user can look at them before anything is made.

use gipfel_model::{CampaignId, DeploymentId, DeploymentSpec, K8sLoad, RunConfig};
use serde::Serialize;
use serde_json::Value;

use crate::{
    load::{LoadAttempt, LoadManifestError, LoadManifests},
    manifest::{ManifestError, Manifests},
};

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
    all.extend(manifests.token.iter().map(|token| value(&token.secret)));
    all.extend(manifests.model_cache.iter().map(value));
    all.push(value(&manifests.service));
    all.extend(manifests.ingress.iter().map(value));
    all.push(value(&manifests.workload));
    Ok(all)
}

/// Where users reach a server.
pub fn url(id: &DeploymentId, k8s: &gipfel_model::K8sSpec) -> String {
    crate::manifest::url(id, k8s)
}

/// Where pods of the cluster reach a server.
pub fn url_inside(id: &DeploymentId, k8s: &gipfel_model::K8sSpec) -> String {
    crate::manifest::service_url(id, k8s)
}

/// The objects of a load generator in the order in which they are made; `program` is packed by gzip.
///
/// Owners are missing here too.
pub fn load_objects(
    config: &RunConfig,
    load: &K8sLoad,
    program: &[u8],
) -> Result<Vec<Value>, LoadManifestError> {
    let manifests = LoadManifests::new(&LoadAttempt {
        config,
        load,
        program,
        attempt: 1,
        claim_uid: "",
        is_restored: false,
    })?;
    let mut all = vec![value(&manifests.claim)];
    all.extend(manifests.results.iter().map(value));
    all.extend(manifests.program.iter().map(value));
    all.extend([value(&manifests.config), value(&manifests.job)]);
    Ok(all)
}

fn value(object: &impl Serialize) -> Value {
    // Objects of Kubernetes are maps with texts as keys, which JSON can hold.
    serde_json::to_value(object).unwrap_or_default()
}
