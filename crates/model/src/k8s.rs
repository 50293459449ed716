//! What the Kubernetes deployment of a server asks for.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// What a Kubernetes deployment asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct K8sSpec {
    /// The kubeconfig's context; absent: its current one.
    pub context: Option<String>,
    /// The namespace.
    pub namespace: String,
    /// The way in from outside; absent: the server is reached by its Service, from inside the cluster.
    pub ingress: Option<K8sIngress>,
    /// The container's image.
    pub image: Option<String>,
    /// Secrets of the namespace that the image is pulled with.
    pub image_pull_secrets: Vec<String>,
    /// Labels that the node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that are no hindrance.
    pub tolerations: Vec<K8sToleration>,
    /// CPUs, memory and disk.
    pub requests: K8sRequests,
    /// The most of them that the container may have.
    #[serde(default)]
    pub limits: K8sLimits,
    /// The name under which the cluster counts GPUs.
    pub gpu_resource: String,
    /// GPUs of a node.
    pub gpus_per_node: u32,
    /// The port that the server listens on.
    pub port: u16,
    /// Program and arguments in place of the engine's own. `{model}`, `{host}` and `{port}` are filled in.
    pub command: Option<Vec<String>>,
    /// Added to the server's environment.
    pub environment: BTreeMap<String, String>,
    /// Appended to the server's command.
    pub extra_args: Vec<String>,
    /// Where downloaded models stay between servers.
    pub model_cache: Option<K8sModelCache>,
    /// Where the Hugging Face token comes from.
    pub hf_token: Option<K8sToken>,
    /// Whether NCCL talks over TCP. Images for Alps ask for its network, which pods do not have.
    pub nccl_over_tcp: bool,
    /// Whether vLLM uses CUDA's compatibility libraries. Where the driver is newer than they are, they end it.
    pub cuda_compatibility: bool,
}

impl K8sSpec {
    /// The port where nothing else is said.
    pub const DEFAULT_PORT: u16 = 8080;

    /// One in this namespace with all else at its default.
    pub fn new(namespace: &str) -> Self {
        Self {
            context: None,
            namespace: namespace.to_owned(),
            ingress: None,
            image: None,
            image_pull_secrets: Vec::new(),
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            requests: K8sRequests::default(),
            limits: K8sLimits::default(),
            gpu_resource: "nvidia.com/gpu".to_owned(),
            gpus_per_node: 4,
            port: Self::DEFAULT_PORT,
            command: None,
            environment: BTreeMap::new(),
            extra_args: Vec::new(),
            model_cache: None,
            hf_token: None,
            nccl_over_tcp: true,
            cuda_compatibility: false,
        }
    }
}

/// What a load generator in a Job asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct K8sLoad {
    /// The kubeconfig's context; absent: its current one.
    pub context: Option<String>,
    /// The namespace.
    pub namespace: String,
    /// Pods that send together. More than one needs `results`.
    pub pods: u32,
    /// An image with a shell and gzip, in which the load generator is unpacked and started.
    pub image: String,
    /// Secrets of the namespace that the image is pulled with.
    pub image_pull_secrets: Vec<String>,
    /// The kind of the nodes, such as `aarch64`, which decides which load generator is sent.
    pub architecture: String,
    /// Labels that the node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that are no hindrance.
    pub tolerations: Vec<K8sToleration>,
    /// CPUs of each pod; absent: not asked for.
    pub cpu: Option<String>,
    /// Memory of each pod; absent: not asked for.
    pub memory: Option<String>,
    /// Where results lie until they are fetched; absent: in the pod.
    pub results: Option<K8sVolume>,
}

impl K8sLoad {
    /// One in this namespace with all else at its default.
    pub fn new(namespace: &str) -> Self {
        Self {
            context: None,
            namespace: namespace.to_owned(),
            pods: 1,
            image: "busybox:1.37".to_owned(),
            image_pull_secrets: Vec::new(),
            architecture: "aarch64".to_owned(),
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            cpu: None,
            memory: None,
            results: None,
        }
    }
}

/// A volume claim for several pods at once, which stays when these end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct K8sVolume {
    /// The claim's name.
    pub claim: String,
    /// Its size, where it is made.
    pub size: String,
    /// The storage class, where it is made; absent: the cluster's default.
    pub storage_class: Option<String>,
}

/// The way in from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct K8sIngress {
    /// The domain under which the server gets its host.
    pub domain: String,
    /// The class of the controller; absent: the cluster's default.
    pub class: Option<String>,
    /// cert-manager's issuer for the host's certificate; absent: plain HTTP.
    pub tls_issuer: Option<String>,
    /// A file of certificates in PEM of authorities that are trusted beside the public ones, since the issuer may be one of
    /// its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// A taint that is no hindrance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct K8sToleration {
    /// The taint's key.
    pub key: String,
    /// The taint's value; absent: any.
    pub value: Option<String>,
    /// The taint's effect; absent: all.
    pub effect: Option<String>,
}

/// Quantities as Kubernetes writes them, such as `64Gi`; absent ones are not asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct K8sRequests {
    /// CPUs.
    pub cpu: Option<String>,
    /// Memory.
    pub memory: Option<String>,
    /// Disk of the node.
    pub ephemeral_storage: Option<String>,
    /// The size of `/dev/shm`.
    pub shared_memory: String,
}

impl Default for K8sRequests {
    fn default() -> Self {
        Self {
            cpu: None,
            memory: None,
            ephemeral_storage: None,
            shared_memory: "16Gi".to_owned(),
        }
    }
}

/// Quantities as Kubernetes writes them; absent ones are not limited. What is limited and not requested is requested, too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct K8sLimits {
    /// CPUs.
    pub cpu: Option<String>,
    /// Memory; a container that has more is ended.
    pub memory: Option<String>,
    /// Disk of the node; a pod that has more is evicted.
    pub ephemeral_storage: Option<String>,
}

/// A volume claim that holds models and stays when the server ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct K8sModelCache {
    /// The claim's name.
    pub claim: String,
    /// Its size, where it is made.
    pub size: String,
    /// The storage class, where it is made; absent: the cluster's default.
    pub storage_class: Option<String>,
    /// Where the container sees it; Hugging Face's files lie there.
    pub mount_path: String,
    /// Whether it is filled, so that nothing writes to it or asks the network for models.
    pub is_filled: bool,
}

/// Where a token comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum K8sToken {
    /// From a Secret that exists.
    Secret(K8sSecretKey),
    /// From this variable of gipfel's own environment, by a Secret that is made for the server and ends with it.
    Environment(String),
}

/// A value of a Secret that exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct K8sSecretKey {
    /// The Secret's name.
    pub name: String,
    /// The key in it.
    pub key: String,
}
