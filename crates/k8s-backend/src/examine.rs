//! What a cluster offers and allows, asked without changing anything.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        authentication::v1::SelfSubjectReview,
        authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
        core::v1::{Namespace, Node, PersistentVolumeClaim, ResourceQuota, Secret},
        networking::v1::IngressClass,
        storage::v1::StorageClass,
    },
    apimachinery::pkg::api::resource::Quantity,
};
use kube::{
    Api, Client, Resource,
    api::{ListParams, PostParams},
};
use serde::de::DeserializeOwned;

use crate::{
    api::{ApiError, ApiServer, Connection, Deadlines},
    requirement::Requirement,
};

/// Marks the cluster's default among classes.
const DEFAULT_STORAGE: &str = "storageclass.kubernetes.io/is-default-class";
const DEFAULT_INGRESS: &str = "ingressclass.kubernetes.io/is-default-class";

/// What a run does with one kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The kind's API group; empty: the core's.
    pub group: &'static str,
    /// The kind, in plural.
    pub resource: &'static str,
    /// Its part, such as `log`; empty: the object itself.
    pub subresource: &'static str,
    /// What is done.
    pub verbs: &'static [&'static str],
}

/// What every server needs.
pub const SERVER_NEEDS: &[Need] = &[
    need("", "configmaps", &["create", "get", "list", "delete"]),
    need("", "services", &["create", "patch", "list", "delete"]),
    need("", "pods", &["get", "list", "watch"]),
    part("pods", "log", &["get"]),
    need("", "events", &["list"]),
];

/// What a server on one node needs beside that.
pub const DEPLOYMENT_NEEDS: &[Need] = &[need(
    "apps",
    "deployments",
    &["create", "patch", "get", "list", "delete"],
)];

/// What its Ingress needs.
pub const INGRESS_NEEDS: &[Need] = &[need(
    "networking.k8s.io",
    "ingresses",
    &["create", "patch", "list", "delete"],
)];

/// What a volume claim needs that may have to be made.
pub const VOLUME_NEEDS: &[Need] = &[need("", "persistentvolumeclaims", &["create", "get"])];

/// What a token needs that is brought from this machine.
pub const TOKEN_NEEDS: &[Need] = &[need("", "secrets", &["create", "patch", "delete"])];

/// Opens a stream to a pod: an API server takes the request, which is a GET, for the verb `get`, a newer one (1.35) for
/// `create`.
const STREAM: &[&str] = &["create", "get"];

/// What a way from this machine to a server without Ingress needs.
pub const FORWARD_NEEDS: &[Need] = &[part("pods", "portforward", STREAM)];

/// What a load generator in the cluster needs.
pub const LOAD_NEEDS: &[Need] = &[
    need("", "configmaps", &["create", "get", "list", "delete"]),
    need("", "secrets", &["create", "list", "delete"]),
    need("batch", "jobs", &["create", "get", "list", "delete"]),
    need("", "pods", &["get", "list"]),
    part("pods", "log", &["get"]),
    part("pods", "exec", STREAM),
    need("", "events", &["list"]),
];

/// What a server over several nodes needs beside its pods.
pub const LEADER_WORKER_SET_NEEDS: &[Need] = &[need(
    "leaderworkerset.x-k8s.io",
    "leaderworkersets",
    &["create", "patch", "get", "list", "delete"],
)];

/// What a graph of Dynamo needs beside its pods.
pub const DYNAMO_NEEDS: &[Need] = &[need(
    "nvidia.com",
    "dynamographdeployments",
    &["create", "patch", "get", "list", "delete"],
)];

const fn need(group: &'static str, resource: &'static str, verbs: &'static [&'static str]) -> Need {
    Need {
        group,
        resource,
        subresource: "",
        verbs,
    }
}

const fn part(resource: &'static str, subresource: &'static str, verbs: &'static [&'static str]) -> Need {
    Need {
        group: "",
        resource,
        subresource,
        verbs,
    }
}

/// A class of volumes or of Ingresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Whether it is taken where none is named.
    pub is_default: bool,
}

/// A quota of a namespace: by resource, what is used and what may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Its name.
    pub name: String,
    /// By resource, such as `requests.nvidia.com/gpu`: used, and the most.
    pub limits: BTreeMap<String, (String, String)>,
}

/// What a node has for pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// GPUs that pods may ask for, of the name that was asked about.
    pub gpus: u64,
    /// Its kind, such as `arm64`.
    pub architecture: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// A namespace of a cluster, looked at. What may pass is asked again some times, since nothing is changed by it.
pub struct Examiner {
    server: ApiServer,
    namespace: String,
}

impl Examiner {
    /// Looks at this namespace.
    pub fn new(connection: Connection, namespace: &str, deadlines: Deadlines) -> Self {
        Self {
            server: ApiServer::new(connection, deadlines),
            namespace: namespace.to_owned(),
        }
    }

    /// The API server's version, such as `v1.36.2`.
    pub async fn version(&self) -> Result<String, ApiError> {
        let version = |client: Client| async move { client.apiserver_version().await };
        Ok(self.server.call_surely(version).await?.git_version)
    }

    /// Who the API server takes us for.
    pub async fn user(&self) -> Result<String, ApiError> {
        let ask = |client| async move {
            let api: Api<SelfSubjectReview> = Api::all(client);
            api.create(&PostParams::default(), &SelfSubjectReview::default())
                .await
        };
        let review = self.server.call_surely(ask).await?;
        let user = review.status.and_then(|status| status.user_info);
        Ok(user.and_then(|user| user.username).unwrap_or_default())
    }

    /// Whether each of these verbs is allowed, asked at the same time.
    pub async fn allow(&self, asked: &[(Need, &'static str)]) -> Vec<Result<bool, ApiError>> {
        join_all(asked.iter().map(|(need, verb)| self.allows(*need, verb))).await
    }

    /// Whether the namespace is there.
    pub async fn has_namespace(&self) -> Result<bool, ApiError> {
        let get = |client| {
            let name = self.namespace.clone();
            async move { Api::<Namespace>::all(client).get_metadata(&name).await }
        };
        Ok(found(self.server.call_surely(get).await)?.is_some())
    }

    /// Whether this is allowed with what the need names.
    async fn allows(&self, need: Need, verb: &str) -> Result<bool, ApiError> {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    namespace: text(&self.namespace),
                    group: text(need.group),
                    resource: text(need.resource),
                    subresource: text(need.subresource),
                    verb: text(verb),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let ask = |client| {
            let review = review.clone();
            async move {
                let api: Api<SelfSubjectAccessReview> = Api::all(client);
                api.create(&PostParams::default(), &review).await
            }
        };
        let answer = self.server.call_surely(ask).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    /// The quotas of the namespace.
    pub async fn quotas(&self) -> Result<Vec<Quota>, ApiError> {
        let quotas: Vec<ResourceQuota> = self.list_namespaced().await?;
        Ok(quotas.into_iter().map(quota).collect())
    }

    /// The classes of volumes.
    pub async fn storage_classes(&self) -> Result<Vec<Class>, ApiError> {
        let classes: Vec<StorageClass> = self.list_all().await?;
        Ok(classes
            .iter()
            .map(|class| class_of(class, DEFAULT_STORAGE))
            .collect())
    }

    /// The classes of Ingresses.
    pub async fn ingress_classes(&self) -> Result<Vec<Class>, ApiError> {
        let classes: Vec<IngressClass> = self.list_all().await?;
        Ok(classes
            .iter()
            .map(|class| class_of(class, DEFAULT_INGRESS))
            .collect())
    }

    /// The phase of a volume claim, such as `Bound`; nothing when it is not there.
    pub async fn volume_claim(&self, name: &str) -> Result<Option<String>, ApiError> {
        let claim: Option<PersistentVolumeClaim> = self.get(name).await?;
        Ok(claim.map(|claim| {
            let phase = claim.status.and_then(|status| status.phase);
            phase.unwrap_or_else(|| "Pending".to_owned())
        }))
    }

    /// Whether a Secret is there, and with it the key, where one is asked about.
    pub async fn has_secret(&self, name: &str, key: Option<&str>) -> Result<bool, ApiError> {
        let secret: Option<Secret> = self.get(name).await?;
        Ok(secret.is_some_and(|secret| {
            key.is_none_or(|key| secret.data.is_some_and(|data| data.contains_key(key)))
        }))
    }

    /// Whether the cluster has been given this.
    pub async fn meets(&self, requirement: Requirement) -> Result<bool, ApiError> {
        requirement.is_met(&self.server).await
    }

    /// The nodes, with what they have of this resource.
    pub async fn nodes(&self, gpu_resource: &str) -> Result<Vec<NodeFacts>, ApiError> {
        let nodes: Vec<Node> = self.list_all().await?;
        Ok(nodes
            .into_iter()
            .map(|node| node_facts(node, gpu_resource))
            .collect())
    }

    async fn get<K>(&self, name: &str) -> Result<Option<K>, ApiError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned + Send,
        K::DynamicType: Default,
    {
        let get = |client| {
            let (api, name) = (Api::<K>::namespaced(client, &self.namespace), name.to_owned());
            async move { api.get(&name).await }
        };
        found(self.server.call_surely(get).await)
    }

    async fn list_namespaced<K>(&self) -> Result<Vec<K>, ApiError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned + Send,
        K::DynamicType: Default,
    {
        let list = |client| {
            let api = Api::<K>::namespaced(client, &self.namespace);
            async move { api.list(&ListParams::default()).await }
        };
        Ok(self.server.call_surely(list).await?.items)
    }

    async fn list_all<K>(&self) -> Result<Vec<K>, ApiError>
    where
        K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Send,
        K::DynamicType: Default,
    {
        let list = |client| {
            let api = Api::<K>::all(client);
            async move { api.list(&ListParams::default()).await }
        };
        Ok(self.server.call_surely(list).await?.items)
    }
}

/// An object that is not there is none.
fn found<T>(outcome: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(ApiError::Missing(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn class_of<K: Resource>(class: &K, default: &str) -> Class {
    let annotations = class.meta().annotations.as_ref();
    Class {
        name: class.meta().name.clone().unwrap_or_default(),
        is_default: annotations
            .and_then(|annotations| annotations.get(default))
            .is_some_and(|text| text == "true"),
    }
}

fn quota(quota: ResourceQuota) -> Quota {
    let status = quota.status.unwrap_or_default();
    let used = status.used.unwrap_or_default();
    let most = status.hard.or_else(|| quota.spec?.hard).unwrap_or_default();
    let text =
        |quantity: Option<&Quantity>| quantity.map_or_else(|| "0".to_owned(), |quantity| quantity.0.clone());
    Quota {
        name: quota.metadata.name.unwrap_or_default(),
        limits: most
            .iter()
            .map(|(resource, most)| (resource.clone(), (text(used.get(resource)), text(Some(most)))))
            .collect(),
    }
}

fn node_facts(node: Node, gpu_resource: &str) -> NodeFacts {
    let status = node.status.unwrap_or_default();
    let gpus = status
        .allocatable
        .as_ref()
        .and_then(|resources| resources.get(gpu_resource));
    NodeFacts {
        name: node.metadata.name.unwrap_or_default(),
        gpus: gpus.and_then(|quantity| quantity.0.parse().ok()).unwrap_or(0),
        architecture: status
            .node_info
            .map_or_else(String::new, |info| info.architecture),
        labels: node.metadata.labels.unwrap_or_default(),
    }
}
