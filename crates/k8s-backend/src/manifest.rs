//! The objects of a server, typed.

mod graph;
mod group;
mod pod;
mod volume;
mod way_in;

use gipfel_engine::{CommandError, engine};
use gipfel_model::{
    BackendKind, CampaignId, DeploymentId, DeploymentSpec, K8sModelCache, K8sSecretKey, K8sSpec, K8sToken,
    deployment::Placement,
};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec as RolloutSpec, DeploymentStrategy},
        core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service},
        networking::v1::Ingress,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference},
};

use serde::{Deserialize, Serialize, Serializer};

pub use graph::{Component, GraphSpec, Multinode};
pub(crate) use group::ROLE;
pub use group::{GroupSpec, LeaderWorkerTemplate};
pub(crate) use pod::nodes;
pub(crate) use volume::shared_volume;

use crate::{
    extension::Extension,
    labels::{labels, pod_labels},
    name::{object_name, operated_name},
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
    /// The engine cannot be spread.
    #[error("the model needs {nodes} nodes, and the engine `{backend}` runs on one")]
    OneNodeOnly {
        /// The engine.
        backend: gipfel_model::BackendKind,
        /// What the model needs.
        nodes: u32,
    },
    /// Ray would have to be started beside the engine.
    #[error("nodes are joined without Ray on Kubernetes; leave out `distributed_executor_backend: ray`")]
    Ray,
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
    /// The token that is brought from here.
    pub token: Option<TokenSecret>,
    /// Where models stay; it has no owner, so that it outlives the server.
    pub model_cache: Option<PersistentVolumeClaim>,
    /// The server.
    pub workload: Workload,
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
        let token = k8s
            .hf_token
            .as_ref()
            .and_then(|token| TokenSecret::new(&names, token));
        let k8s = &with_own_secret(k8s, token.as_ref());
        Ok(Self {
            claim: claim(&names, campaign, id, spec, k8s),
            token,
            model_cache: k8s
                .model_cache
                .as_ref()
                .map(|cache| model_cache(cache, &k8s.namespace)),
            workload: workload(&names, id, spec, k8s)?,
            service: way_in::service(&names, k8s, WorkloadKind::of(spec, k8s)),
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
        let token = self.token.as_mut().map(|token| &mut token.secret.metadata);
        let owned = [self.workload.metadata_mut(), &mut self.service.metadata]
            .into_iter()
            .chain(ingress)
            .chain(token);
        for metadata in owned {
            metadata.owner_references = Some(vec![owner.clone()]);
        }
        self
    }
}

/// A Secret whose value is not here yet.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenSecret {
    /// The variable of the environment that has the value.
    pub variable: String,
    /// The Secret, with asterisks for the value.
    pub secret: Secret,
}

impl TokenSecret {
    const KEY: &'static str = "token";
    const MASKED: &'static str = "***";

    /// Nothing for a token of a Secret that is there.
    fn new(names: &Names, token: &K8sToken) -> Option<Self> {
        let K8sToken::Environment(variable) = token else {
            return None;
        };
        Some(Self {
            variable: variable.clone(),
            secret: Secret {
                metadata: names.metadata.clone(),
                string_data: Some([(Self::KEY.to_owned(), Self::MASKED.to_owned())].into()),
                ..Secret::default()
            },
        })
    }

    /// The Secret with its value.
    pub(crate) fn filled(&self, value: String) -> Secret {
        Secret {
            string_data: Some([(Self::KEY.to_owned(), value)].into()),
            ..self.secret.clone()
        }
    }
}

/// The pods read a token that is brought from here like any other.
fn with_own_secret(k8s: &K8sSpec, token: Option<&TokenSecret>) -> K8sSpec {
    let own = token.map(|token| {
        K8sToken::Secret(K8sSecretKey {
            name: token.secret.metadata.name.clone().unwrap_or_default(),
            key: TokenSecret::KEY.to_owned(),
        })
    });
    K8sSpec {
        hf_token: own.or_else(|| k8s.hf_token.clone()),
        ..k8s.clone()
    }
}

/// What a server is made of, beside its ways in.
#[derive(Clone, Debug, PartialEq)]
pub enum Workload {
    /// One pod.
    Deployment(Box<Deployment>),
    /// Pods on several nodes.
    Group(Box<Extension<GroupSpec>>),
    /// Dynamo's parts.
    Graph(Box<Extension<GraphSpec>>),
}

impl Workload {
    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Deployment(deployment) => &mut deployment.metadata,
            Self::Group(group) => &mut group.metadata,
            Self::Graph(graph) => &mut graph.metadata,
        }
    }
}

impl Serialize for Workload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Deployment(deployment) => deployment.serialize(serializer),
            Self::Group(group) => group.serialize(serializer),
            Self::Graph(graph) => graph.serialize(serializer),
        }
    }
}

/// The kinds of workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkloadKind {
    /// One pod.
    Deployment,
    /// Pods on several nodes.
    LeaderWorkerSet,
    /// Dynamo's parts.
    DynamoGraphDeployment,
}

impl WorkloadKind {
    /// The kind of a server's.
    pub fn of(spec: &DeploymentSpec, k8s: &K8sSpec) -> Self {
        // A command of one's own is one program.
        if spec.backend == BackendKind::Dynamo && k8s.command.is_none() {
            Self::DynamoGraphDeployment
        } else if nodes(spec, k8s) > 1 {
            Self::LeaderWorkerSet
        } else {
            Self::Deployment
        }
    }

    /// The name of a server's workload.
    pub(crate) fn name(self, id: &str) -> String {
        match self {
            Self::Deployment => object_name(id),
            Self::LeaderWorkerSet | Self::DynamoGraphDeployment => operated_name(id),
        }
    }
}

fn workload(
    names: &Names,
    id: &DeploymentId,
    spec: &DeploymentSpec,
    k8s: &K8sSpec,
) -> Result<Workload, ManifestError> {
    let nodes = pod::nodes(spec, k8s);
    Ok(match WorkloadKind::of(spec, k8s) {
        WorkloadKind::Deployment => Workload::Deployment(Box::new(rollout(names, id, spec, k8s)?)),
        WorkloadKind::LeaderWorkerSet => Workload::Group(Box::new(group::group(names, spec, k8s, nodes)?)),
        WorkloadKind::DynamoGraphDeployment => {
            Workload::Graph(Box::new(graph::graph(names, spec, k8s, nodes)?))
        }
    })
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
    /// The same for what an operator makes pods of.
    operated: ObjectMeta,
    pods: std::collections::BTreeMap<String, String>,
}

impl Names {
    fn new(campaign: &CampaignId, id: &DeploymentId, k8s: &K8sSpec) -> Self {
        let metadata = |name: &str| ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(k8s.namespace.clone()),
            labels: Some(labels(campaign, id)),
            ..ObjectMeta::default()
        };
        let name = object_name(id.as_str());
        Self {
            metadata: metadata(&name),
            operated: metadata(&operated_name(id.as_str())),
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
/// What the server is made of; absent: a Deployment.
pub(crate) const CLAIM_WORKLOAD: &str = "workload";
/// What answers there once the Ingress works; absent without one.
pub(crate) const CLAIM_HEALTH: &str = "health";
/// The file of authorities that sign for it, on the machine that asks; absent: the public ones.
pub(crate) const CLAIM_CA_FILE: &str = "ca_file";

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
        (CLAIM_WORKLOAD, format!("{:?}", WorkloadKind::of(spec, k8s))),
    ];
    let ca_file = k8s.ingress.as_ref().and_then(|ingress| ingress.ca_file.as_ref());
    let ca_file = ca_file.map(|path| (CLAIM_CA_FILE, path.to_string_lossy().into_owned()));
    let facts = facts.into_iter().chain(health).chain(ca_file);
    ConfigMap {
        metadata: names.metadata.clone(),
        data: Some(facts.map(|(key, fact)| (key.to_owned(), fact)).collect()),
        immutable: Some(true),
        ..ConfigMap::default()
    }
}

fn model_cache(cache: &K8sModelCache, namespace: &str) -> PersistentVolumeClaim {
    shared_volume(
        &cache.claim,
        namespace,
        &cache.size,
        cache.storage_class.as_deref(),
    )
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
