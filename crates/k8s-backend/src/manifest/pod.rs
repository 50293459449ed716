//! The pod of a server.

use std::{collections::BTreeMap, time::Duration};

use gipfel_engine::{ClusterCommand, engine};
use gipfel_model::{DeploymentSpec, K8sSpec, LocalSpec};
use k8s_openapi::{
    api::core::v1::{
        Container, ContainerPort, EmptyDirVolumeSource, EnvVar, EnvVarSource, HTTPGetAction,
        LocalObjectReference, PersistentVolumeClaimVolumeSource, PodSpec, PodTemplateSpec, Probe,
        ResourceRequirements, SecretKeySelector, Toleration, Volume, VolumeMount,
    },
    apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString},
};

use super::{ManifestError, way_in::PORT};

/// The container that is judged and whose log is read.
pub(crate) const CONTAINER: &str = "server";

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

pub(super) fn template(spec: &DeploymentSpec, k8s: &K8sSpec) -> Result<PodTemplateSpec, ManifestError> {
    let volumes = volumes(k8s);
    Ok(PodTemplateSpec {
        metadata: None,
        spec: Some(PodSpec {
            containers: vec![container(spec, k8s)?],
            image_pull_secrets: optional(
                k8s.image_pull_secrets
                    .iter()
                    .map(|name| LocalObjectReference { name: name.clone() })
                    .collect(),
            ),
            node_selector: Some(k8s.node_selector.clone()).filter(|selector| !selector.is_empty()),
            tolerations: optional(k8s.tolerations.iter().map(toleration).collect()),
            volumes: Some(volumes),
            // A token of the API in a server that needs none is a risk without a use.
            automount_service_account_token: Some(false),
            ..PodSpec::default()
        }),
    })
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

fn container(spec: &DeploymentSpec, k8s: &K8sSpec) -> Result<Container, ManifestError> {
    let started = command(spec, k8s)?;
    let health = engine(spec.backend).health_path();
    Ok(Container {
        name: CONTAINER.to_owned(),
        image: Some(k8s.image.clone().ok_or(ManifestError::NoImage)?),
        command: Some(started.command),
        env: optional(environment(k8s, started.environment)),
        ports: Some(vec![ContainerPort {
            name: Some(PORT.to_owned()),
            container_port: i32::from(k8s.port),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        resources: Some(resources(spec, k8s)),
        volume_mounts: Some(mounts(k8s)),
        startup_probe: Some(probe(health, STARTUP_PERIOD, failures(spec.server_ready_timeout))),
        readiness_probe: Some(probe(health, Duration::from_secs(5), 3)),
        ..Container::default()
    })
}

/// What is started in the one container.
fn command(spec: &DeploymentSpec, k8s: &K8sSpec) -> Result<ClusterCommand, ManifestError> {
    let gpus = spec.gpus();
    if k8s.gpus_per_node > 0 && gpus > k8s.gpus_per_node {
        return Err(ManifestError::SeveralNodes {
            gpus,
            gpus_per_node: k8s.gpus_per_node,
        });
    }
    let own = LocalSpec {
        command: k8s.command.clone(),
        environment: BTreeMap::new(),
        extra_args: k8s.extra_args.clone(),
        port: k8s.port,
    };
    let port = k8s.port.to_string();
    let places = [
        ("host", "0.0.0.0"),
        ("port", port.as_str()),
        ("rank", "0"),
        ("nodes", "1"),
        ("address", "127.0.0.1"),
        ("head", "127.0.0.1"),
        ("head_port", "29500"),
        ("directory", "/tmp"),
    ];
    let found = engine(spec.backend).cluster_command(spec, &own, &places)?;
    match found {
        // What needs a second program beside it does not fit into one container.
        Some(found) if found.frontend.is_none() => Ok(found),
        _ => Err(ManifestError::NoCommand(spec.backend)),
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
    let token = k8s.hf_token.as_ref().map(|secret| EnvVar {
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
    let asked = [
        ("cpu", k8s.requests.cpu.as_ref()),
        ("memory", k8s.requests.memory.as_ref()),
        ("ephemeral-storage", k8s.requests.ephemeral_storage.as_ref()),
    ];
    let mut requests: BTreeMap<String, Quantity> = asked
        .into_iter()
        .filter_map(|(name, quantity)| Some((name.to_owned(), Quantity(quantity?.clone()))))
        .collect();
    // A cluster without GPUs has `gpus_per_node: 0`; where there are some, requests and limits have to be equal.
    let gpus = (k8s.gpus_per_node > 0).then(|| (k8s.gpu_resource.clone(), Quantity(spec.gpus().to_string())));
    requests.extend(gpus.clone());
    ResourceRequirements {
        limits: gpus.map(|gpus| [gpus].into()),
        requests: Some(requests).filter(|requests| !requests.is_empty()),
        ..ResourceRequirements::default()
    }
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
