//! The objects of a server, typed.

mod pod;
mod way_in;

use gipfel_engine::{CommandError, engine};
use gipfel_model::{CampaignId, DeploymentId, DeploymentSpec, K8sModelCache, K8sSpec, deployment::Placement};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec as RolloutSpec, DeploymentStrategy},
        core::v1::{
            ConfigMap, PersistentVolumeClaim, PersistentVolumeClaimSpec, Service, VolumeResourceRequirements,
        },
        networking::v1::Ingress,
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference},
    },
};

pub(crate) use pod::CONTAINER;

use crate::{
    labels::{labels, lasting_labels, pod_labels},
    name::object_name,
};

/// A server that cannot be put into objects.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is not for Kubernetes.
    #[error("the deployment is of kind `{0}`, not `k8s`")]
    OtherPlacement(gipfel_model::DeploymentKind),
    /// Nothing says what the container is made from.
    #[error("no image is named; set `image`")]
    NoImage,
    /// The model does not fit on one node.
    #[error(
        "{gpus} GPUs are more than the {gpus_per_node} of a node, and a server over several nodes comes with a later version"
    )]
    SeveralNodes {
        /// What the model asks for.
        gpus: u32,
        /// What a node has.
        gpus_per_node: u32,
    },
    /// The engine cannot be started without a command of one's own.
    #[error("the engine `{0}` has no command for one container; set `command`")]
    NoCommand(gipfel_model::BackendKind),
    /// The command's settings cannot be written.
    #[error(transparent)]
    Command(#[from] CommandError),
}

/// Everything that a server consists of, beside its claim.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifests {
    /// The claim: it stands for the server, is made first and owns all but the model cache.
    pub claim: ConfigMap,
    /// Where models stay; it has no owner, so that it outlives the server.
    pub model_cache: Option<PersistentVolumeClaim>,
    /// The server.
    pub deployment: Deployment,
    /// Its address inside the cluster.
    pub service: Service,
    /// Its address outside.
    pub ingress: Option<Ingress>,
}

impl Manifests {
    /// The objects of the server `id`. Owners are set by [`Manifests::owned_by`], once the claim is there.
    pub fn new(
        campaign: &CampaignId,
        id: &DeploymentId,
        spec: &DeploymentSpec,
    ) -> Result<Self, ManifestError> {
        let k8s = k8s_of(spec)?;
        let names = Names::new(campaign, id, k8s);
        Ok(Self {
            claim: claim(&names, campaign, id, spec, k8s),
            model_cache: k8s
                .model_cache
                .as_ref()
                .map(|cache| model_cache(cache, &k8s.namespace)),
            deployment: rollout(&names, id, spec, k8s)?,
            service: way_in::service(&names, k8s),
            ingress: k8s
                .ingress
                .as_ref()
                .map(|ingress| way_in::ingress(&names, ingress)),
        })
    }

    /// Makes the claim with this uid the owner of what ends with the server.
    pub fn owned_by(mut self, uid: &str) -> Self {
        let owner = OwnerReference {
            api_version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
            name: self.claim.metadata.name.clone().unwrap_or_default(),
            uid: uid.to_owned(),
            block_owner_deletion: Some(true),
            controller: None,
        };
        let ingress = self.ingress.as_mut().map(|ingress| &mut ingress.metadata);
        let owned = [&mut self.deployment.metadata, &mut self.service.metadata]
            .into_iter()
            .chain(ingress);
        for metadata in owned {
            metadata.owner_references = Some(vec![owner.clone()]);
        }
        self
    }
}

/// What a deployment asks of Kubernetes.
fn k8s_of(spec: &DeploymentSpec) -> Result<&K8sSpec, ManifestError> {
    match &spec.placement {
        Placement::K8s(k8s) => Ok(k8s),
        other => Err(ManifestError::OtherPlacement(other.kind())),
    }
}

/// The base URL under which users reach the server.
pub(crate) fn url(id: &DeploymentId, k8s: &K8sSpec) -> String {
    let name = object_name(id.as_str());
    match &k8s.ingress {
        Some(ingress) => {
            let scheme = ingress.tls_issuer.as_ref().map_or("http", |_| "https");
            format!("{scheme}://{name}.{}", ingress.domain)
        }
        None => service_url(id, k8s),
    }
}

/// The base URL under which pods reach the server.
pub(crate) fn service_url(id: &DeploymentId, k8s: &K8sSpec) -> String {
    let name = object_name(id.as_str());
    format!("http://{name}.{}.svc:{}", k8s.namespace, k8s.port)
}

/// What all objects of a server share.
struct Names {
    /// The name of each of them, which is free in every kind.
    name: String,
    metadata: ObjectMeta,
    pods: std::collections::BTreeMap<String, String>,
}

impl Names {
    fn new(campaign: &CampaignId, id: &DeploymentId, k8s: &K8sSpec) -> Self {
        let name = object_name(id.as_str());
        Self {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(k8s.namespace.clone()),
                labels: Some(labels(campaign, id)),
                ..ObjectMeta::default()
            },
            name,
            pods: pod_labels(id),
        }
    }
}

/// Keys of the claim's data.
pub(crate) const CLAIM_CAMPAIGN: &str = "campaign";
pub(crate) const CLAIM_DEPLOYMENT: &str = "deployment";
/// Where users reach it.
pub(crate) const CLAIM_URL: &str = "url";
/// Where pods reach it.
pub(crate) const CLAIM_SERVICE: &str = "service";
/// What answers there once the Ingress works; absent without one.
pub(crate) const CLAIM_HEALTH: &str = "health";

fn claim(
    names: &Names,
    campaign: &CampaignId,
    id: &DeploymentId,
    spec: &DeploymentSpec,
    k8s: &K8sSpec,
) -> ConfigMap {
    let health = k8s
        .ingress
        .as_ref()
        .map(|_| (CLAIM_HEALTH, engine(spec.backend).health_path().to_owned()));
    let facts = [
        (CLAIM_CAMPAIGN, campaign.to_string()),
        (CLAIM_DEPLOYMENT, id.to_string()),
        (CLAIM_URL, url(id, k8s)),
        (CLAIM_SERVICE, service_url(id, k8s)),
    ];
    let facts = facts.into_iter().chain(health);
    ConfigMap {
        metadata: names.metadata.clone(),
        data: Some(facts.map(|(key, fact)| (key.to_owned(), fact)).collect()),
        immutable: Some(true),
        ..ConfigMap::default()
    }
}

fn model_cache(cache: &K8sModelCache, namespace: &str) -> PersistentVolumeClaim {
    let size = ("storage".to_owned(), Quantity(cache.size.clone()));
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(cache.claim.clone()),
            namespace: Some(namespace.to_owned()),
            labels: Some(lasting_labels()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteMany".to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some([size].into()),
                ..VolumeResourceRequirements::default()
            }),
            storage_class_name: cache.storage_class.clone(),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

fn rollout(
    names: &Names,
    id: &DeploymentId,
    spec: &DeploymentSpec,
    k8s: &K8sSpec,
) -> Result<Deployment, ManifestError> {
    let mut template = pod::template(spec, k8s)?;
    template.metadata = Some(ObjectMeta {
        labels: names.metadata.labels.clone(),
        ..ObjectMeta::default()
    });
    Ok(Deployment {
        metadata: names.metadata.clone(),
        spec: Some(RolloutSpec {
            replicas: Some(1),
            selector: LabelSelector {
                match_labels: Some(pod_labels(id)),
                ..LabelSelector::default()
            },
            // A second server beside the first would find no GPU.
            strategy: Some(DeploymentStrategy {
                type_: Some("Recreate".to_owned()),
                rolling_update: None,
            }),
            template,
            ..RolloutSpec::default()
        }),
        ..Deployment::default()
    })
}

#[cfg(test)]
mod tests;
