//! The pod of a server.

use std::{collections::BTreeMap, time::Duration};

use gipfel_engine::{ClusterCommand, engine};
use gipfel_model::{DeploymentSpec, K8sSpec, K8sToken, LocalSpec};
use k8s_openapi::{
    api::core::v1::{
        Container, ContainerPort, EmptyDirVolumeSource, EnvVar, EnvVarSource, HTTPGetAction,
        LocalObjectReference, ObjectFieldSelector, PersistentVolumeClaimVolumeSource, PodSpec,
        PodTemplateSpec, Probe, ResourceRequirements, SecretKeySelector, Toleration, Volume, VolumeMount,
    },
    apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString},
};

use super::{ManifestError, way_in::PORT};

/// The one container.
const CONTAINER: &str = "server";

const SHARED_MEMORY: &str = "shared-memory";
const MODEL_CACHE: &str = "model-cache";
const TOKEN: &str = "HF_TOKEN";

/// How often a server that loads is asked whether it is healthy.
const STARTUP_PERIOD: Duration = Duration::from_secs(5);

/// Settings that keep NCCL away from a network that pods do not have.
const NCCL_OVER_TCP: &[(&str, &str)] = &[
    ("NCCL_NET", "Socket"),
    ("NCCL_SOCKET_IFNAME", "eth0"),
    ("NCCL_IB_DISABLE", "1"),
];

/// One of the pods of a server over several nodes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rank<'a> {
    /// Its number, as a container's command can have it.
    pub(super) index: &'a str,
    /// The address of the first one.
    pub(super) leader: &'a str,
    /// How many there are.
    pub(super) nodes: u32,
    /// Whether it is the first one, which takes the requests.
    pub(super) is_leader: bool,
}

/// How many nodes a server spans.
pub(crate) fn nodes(spec: &DeploymentSpec, k8s: &K8sSpec) -> u32 {
    match k8s.gpus_per_node {
        0 => 1,
        of_node => spec.gpus().div_ceil(of_node).max(1),
    }
}

/// The pod of a server on one node.
pub(super) fn template(spec: &DeploymentSpec, k8s: &K8sSpec) -> Result<PodTemplateSpec, ManifestError> {
    let alone = Rank {
        index: "0",
        leader: "127.0.0.1",
        nodes: 1,
        is_leader: true,
    };
    template_of_rank(spec, k8s, alone)
}

/// One of the pods of a server over several nodes.
pub(super) fn template_of_rank(
    spec: &DeploymentSpec,
    k8s: &K8sSpec,
    rank: Rank<'_>,
) -> Result<PodTemplateSpec, ManifestError> {
    let found = command(spec, k8s, rank)?;
    // What needs a second program beside it does not fit into one container.
    if found.frontend.is_some() {
        return Err(ManifestError::NoCommand(spec.backend));
    }
    if found.with_ray {
        return Err(ManifestError::Ray);
    }
    let mut words = found.command;
    if rank.nodes > 1 {
        words.extend(found.ranks.ok_or(ManifestError::OneNodeOnly {
            backend: spec.backend,
            nodes: rank.nodes,
        })?);
        words.extend(found.followers.into_iter().filter(|_| !rank.is_leader));
    }
    let mut container = container(spec, k8s, words, environment(k8s, found.environment))?;
    if rank.nodes > 1
        && let Some(variables) = &mut container.env
    {
        // Others are made from it, so it comes first.
        variables.insert(0, own_address());
    }
    if rank.is_leader {
        serve(&mut container, spec, k8s);
    }
    Ok(pod(k8s, container))
}

/// The pods of what takes the requests and of what answers them, for an operator that joins them.
pub(super) fn parts(
    spec: &DeploymentSpec,
    k8s: &K8sSpec,
) -> Result<(PodTemplateSpec, PodTemplateSpec), ManifestError> {
    let anywhere = Rank {
        index: "0",
        leader: "127.0.0.1",
        nodes: 1,
        is_leader: true,
    };
    let found = command(spec, k8s, anywhere)?;
    let words = found.frontend.ok_or(ManifestError::NoCommand(spec.backend))?;
    // How the parts find each other is the operator's.
    let mut frontend = container(spec, k8s, words, environment(k8s, Vec::new()))?;
    frontend.resources = None;
    serve(&mut frontend, spec, k8s);
    let worker = container(spec, k8s, found.command, environment(k8s, Vec::new()))?;
    Ok((pod(k8s, frontend), pod(k8s, worker)))
}

fn pod(k8s: &K8sSpec, container: Container) -> PodTemplateSpec {
    PodTemplateSpec {
        metadata: None,
        spec: Some(PodSpec {
            containers: vec![container],
            image_pull_secrets: optional(
                k8s.image_pull_secrets
                    .iter()
                    .map(|name| LocalObjectReference { name: name.clone() })
                    .collect(),
            ),
            node_selector: Some(k8s.node_selector.clone()).filter(|selector| !selector.is_empty()),
            tolerations: optional(k8s.tolerations.iter().map(toleration).collect()),
            volumes: Some(volumes(k8s)),
            // A token of the API in a server that needs none is a risk without a use.
            automount_service_account_token: Some(false),
            ..PodSpec::default()
        }),
    }
}

fn optional<T>(items: Vec<T>) -> Option<Vec<T>> {
    Some(items).filter(|items| !items.is_empty())
}

fn toleration(toleration: &gipfel_model::K8sToleration) -> Toleration {
    let operator = toleration.value.as_ref().map_or("Exists", |_| "Equal");
    Toleration {
        key: Some(toleration.key.clone()),
        operator: Some(operator.to_owned()),
        value: toleration.value.clone(),
        effect: toleration.effect.clone(),
        toleration_seconds: None,
    }
}

fn container(
    spec: &DeploymentSpec,
    k8s: &K8sSpec,
    command: Vec<String>,
    environment: Vec<EnvVar>,
) -> Result<Container, ManifestError> {
    Ok(Container {
        name: CONTAINER.to_owned(),
        image: Some(k8s.image.clone().ok_or(ManifestError::NoImage)?),
        command: Some(command),
        env: optional(environment),
        resources: Some(resources(spec, k8s)),
        volume_mounts: Some(mounts(k8s)),
        ..Container::default()
    })
}

/// The container takes requests, and is asked whether it does.
fn serve(container: &mut Container, spec: &DeploymentSpec, k8s: &K8sSpec) {
    let health = engine(spec.backend).health_path();
    container.ports = Some(vec![ContainerPort {
        name: Some(PORT.to_owned()),
        container_port: i32::from(k8s.port),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }]);
    container.startup_probe = Some(probe(health, STARTUP_PERIOD, failures(spec.server_ready_timeout)));
    container.readiness_probe = Some(probe(health, Duration::from_secs(5), 3));
}

/// What is started, with the place of this rank filled in.
fn command(spec: &DeploymentSpec, k8s: &K8sSpec, rank: Rank<'_>) -> Result<ClusterCommand, ManifestError> {
    let own = LocalSpec {
        command: k8s.command.clone(),
        environment: BTreeMap::new(),
        extra_args: k8s.extra_args.clone(),
        port: k8s.port,
    };
    let (port, nodes) = (k8s.port.to_string(), rank.nodes.to_string());
    let places = [
        ("host", "0.0.0.0"),
        ("port", port.as_str()),
        ("rank", rank.index),
        ("nodes", nodes.as_str()),
        ("address", if rank.nodes > 1 { "$(POD_IP)" } else { "127.0.0.1" }),
        ("head", rank.leader),
        ("head_port", "29500"),
        ("directory", "/tmp"),
    ];
    let found = engine(spec.backend).cluster_command(spec, &own, &places)?;
    found.ok_or(ManifestError::NoCommand(spec.backend))
}

/// The pod's address, under the name that commands have.
fn own_address() -> EnvVar {
    EnvVar {
        name: "POD_IP".to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: "status.podIP".to_owned(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

/// The user's own variables come last: of two with one name the later one holds.
fn environment(k8s: &K8sSpec, of_engine: Vec<(String, String)>) -> Vec<EnvVar> {
    let mut variables: BTreeMap<String, String> = of_engine.into_iter().collect();
    let mut set = |name: &str, value: &str| variables.insert(name.to_owned(), value.to_owned());
    if k8s.nccl_over_tcp {
        for (name, value) in NCCL_OVER_TCP {
            set(name, value);
        }
    }
    if k8s.cuda_compatibility {
        set("VLLM_ENABLE_CUDA_COMPATIBILITY", "1");
    }
    if let Some(cache) = &k8s.model_cache {
        set("HF_HOME", &cache.mount_path);
        if cache.is_filled {
            set("HF_HUB_OFFLINE", "1");
        }
    }
    variables.extend(k8s.environment.clone());
    let secret = match &k8s.hf_token {
        Some(K8sToken::Secret(secret)) => Some(secret),
        Some(K8sToken::Environment(_)) | None => None,
    };
    let token = secret.map(|secret| EnvVar {
        name: TOKEN.to_owned(),
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: secret.name.clone(),
                key: secret.key.clone(),
                optional: None,
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    });
    let plain = variables
        .into_iter()
        .filter(|(name, _)| token.is_none() || name != TOKEN)
        .map(|(name, value)| EnvVar {
            name,
            value: Some(value),
            ..EnvVar::default()
        });
    plain.chain(token.clone()).collect()
}

fn resources(spec: &DeploymentSpec, k8s: &K8sSpec) -> ResourceRequirements {
    let (requests, limits) = (&k8s.requests, &k8s.limits);
    let mut requests = quantities([&requests.cpu, &requests.memory, &requests.ephemeral_storage]);
    let mut limits = quantities([&limits.cpu, &limits.memory, &limits.ephemeral_storage]);
    let of_pod = spec.gpus().min(k8s.gpus_per_node);
    // A cluster without GPUs has `gpus_per_node: 0`; where there are some, requests and limits have to be equal.
    let gpus = (k8s.gpus_per_node > 0).then(|| (k8s.gpu_resource.clone(), Quantity(of_pod.to_string())));
    requests.extend(gpus.clone());
    limits.extend(gpus);
    ResourceRequirements {
        limits: Some(limits).filter(|limits| !limits.is_empty()),
        requests: Some(requests).filter(|requests| !requests.is_empty()),
        ..ResourceRequirements::default()
    }
}

/// What is given of CPUs, memory and disk, by Kubernetes' names.
fn quantities(given: [&Option<String>; 3]) -> BTreeMap<String, Quantity> {
    ["cpu", "memory", "ephemeral-storage"]
        .into_iter()
        .zip(given)
        .filter_map(|(name, quantity)| Some((name.to_owned(), Quantity(quantity.clone()?))))
        .collect()
}

fn volumes(k8s: &K8sSpec) -> Vec<Volume> {
    let shared_memory = Volume {
        name: SHARED_MEMORY.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: Some("Memory".to_owned()),
            size_limit: Some(Quantity(k8s.requests.shared_memory.clone())),
        }),
        ..Volume::default()
    };
    let cache = k8s.model_cache.as_ref().map(|cache| Volume {
        name: MODEL_CACHE.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: cache.claim.clone(),
            read_only: Some(cache.is_filled),
        }),
        ..Volume::default()
    });
    std::iter::once(shared_memory).chain(cache).collect()
}

fn mounts(k8s: &K8sSpec) -> Vec<VolumeMount> {
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(read_only),
        ..VolumeMount::default()
    };
    let shared_memory = mount(SHARED_MEMORY, "/dev/shm", false);
    let cache = k8s
        .model_cache
        .as_ref()
        .map(|cache| mount(MODEL_CACHE, &cache.mount_path, cache.is_filled));
    std::iter::once(shared_memory).chain(cache).collect()
}

fn probe(path: &str, period: Duration, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(PORT.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period.as_secs() as i32),
        timeout_seconds: Some(3),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

/// How often a server may fail to answer before its time is over.
fn failures(timeout: Duration) -> i32 {
    let periods = timeout.as_secs().div_ceil(STARTUP_PERIOD.as_secs());
    i32::try_from(periods).unwrap_or(i32::MAX).max(6)
}
