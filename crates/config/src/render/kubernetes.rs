//! The keys of Kubernetes objects.

use std::collections::BTreeMap;

use gipfel_model::{
    K8sLimits, K8sLoad, K8sRequests, K8sSpec, K8sToken, K8sToleration, K8sVolume, LoadPlacement,
};

use super::{Writer, write_command};
use crate::kubernetes::NO_INGRESS;

pub(super) fn write_server(writer: &mut Writer, k8s: &K8sSpec, load: &LoadPlacement) {
    writer.text_entry(2, "k8s_namespace", &k8s.namespace);
    let domain = k8s.ingress.as_ref().map(|ingress| ingress.domain.as_str());
    writer.text_entry(2, "ingress_domain", domain.unwrap_or(NO_INGRESS));
    writer.entry(2, "gpus_per_node", k8s.gpus_per_node);
    writer.entry(2, "port", k8s.port);
    writer.optional_text(2, "image", k8s.image.as_ref());
    write_command(writer, k8s.command.as_deref(), &k8s.environment, &k8s.extra_args);
    writer.open(2, "kubernetes");
    write_place(
        writer,
        k8s.context.as_ref(),
        &k8s.image_pull_secrets,
        &k8s.tolerations,
    );
    write_labels(writer, 3, &k8s.node_selector);
    writer.text_entry(3, "gpu_resource", &k8s.gpu_resource);
    write_requests(writer, &k8s.requests);
    write_limits(writer, &k8s.limits);
    if let Some(ingress) = &k8s.ingress {
        writer.optional_text(3, "ingress_class", ingress.class.as_ref());
        writer.optional_text(3, "tls_issuer", ingress.tls_issuer.as_ref());
        if let Some(path) = &ingress.ca_file {
            writer.text_entry(3, "ca_file", &path.to_string_lossy());
        }
    }
    if let Some(cache) = &k8s.model_cache {
        writer.open(3, "model_cache");
        writer.text_entry(4, "claim", &cache.claim);
        writer.text_entry(4, "size", &cache.size);
        writer.optional_text(4, "storage_class", cache.storage_class.as_ref());
        writer.text_entry(4, "mount_path", &cache.mount_path);
        writer.entry(4, "filled", cache.is_filled);
    }
    if let Some(token) = &k8s.hf_token {
        writer.open(3, "hf_token");
        match token {
            K8sToken::Secret(secret) => {
                writer.text_entry(4, "secret", &secret.name);
                writer.text_entry(4, "key", &secret.key);
            }
            K8sToken::Environment(variable) => writer.text_entry(4, "env", variable),
        }
    }
    writer.entry(3, "nccl_over_tcp", k8s.nccl_over_tcp);
    writer.entry(3, "cuda_compatibility", k8s.cuda_compatibility);
    if let LoadPlacement::InCluster(load) = load {
        write_load_settings(writer, load);
    }
}

/// A load generator for a server that is none of Kubernetes.
pub(super) fn write_load(writer: &mut Writer, load: &K8sLoad) {
    writer.text_entry(2, "k8s_namespace", &load.namespace);
    writer.open(2, "kubernetes");
    write_place(
        writer,
        load.context.as_ref(),
        &load.image_pull_secrets,
        &load.tolerations,
    );
    write_load_settings(writer, load);
}

fn write_place(
    writer: &mut Writer,
    context: Option<&String>,
    image_pull_secrets: &[String],
    tolerations: &[K8sToleration],
) {
    writer.optional_text(3, "context", context);
    if !image_pull_secrets.is_empty() {
        writer.list(3, "image_pull_secrets", image_pull_secrets);
    }
    if !tolerations.is_empty() {
        let tolerations: Vec<String> = tolerations.iter().map(toleration).collect();
        writer.entry(3, "tolerations", format_args!("[{}]", tolerations.join(", ")));
    }
}

fn toleration(toleration: &K8sToleration) -> String {
    let fields = [
        ("key", Some(&toleration.key)),
        ("value", toleration.value.as_ref()),
        ("effect", toleration.effect.as_ref()),
    ];
    let given = fields
        .into_iter()
        .filter_map(|(key, text)| Some(format!("{key}: {}", super::yaml_text(text?))));
    format!("{{ {} }}", given.collect::<Vec<_>>().join(", "))
}

fn write_labels(writer: &mut Writer, depth: usize, labels: &BTreeMap<String, String>) {
    if labels.is_empty() {
        return;
    }
    writer.open(depth, "node_selector");
    for (key, value) in labels {
        writer.text_entry(depth + 1, key, value);
    }
}

fn write_requests(writer: &mut Writer, requests: &K8sRequests) {
    writer.open(3, "requests");
    writer.optional_text(4, "cpu", requests.cpu.as_ref());
    writer.optional_text(4, "memory", requests.memory.as_ref());
    writer.optional_text(4, "ephemeral_storage", requests.ephemeral_storage.as_ref());
    writer.text_entry(4, "shared_memory", &requests.shared_memory);
}

fn write_limits(writer: &mut Writer, limits: &K8sLimits) {
    if *limits == K8sLimits::default() {
        return;
    }
    writer.open(3, "limits");
    writer.optional_text(4, "cpu", limits.cpu.as_ref());
    writer.optional_text(4, "memory", limits.memory.as_ref());
    writer.optional_text(4, "ephemeral_storage", limits.ephemeral_storage.as_ref());
}

fn write_load_settings(writer: &mut Writer, load: &K8sLoad) {
    writer.open(3, "load");
    writer.entry(4, "pods", load.pods);
    writer.text_entry(4, "image", &load.image);
    writer.text_entry(4, "architecture", &load.architecture);
    writer.optional_text(4, "cpu", load.cpu.as_ref());
    writer.optional_text(4, "memory", load.memory.as_ref());
    write_labels(writer, 4, &load.node_selector);
    if let Some(results) = &load.results {
        write_volume(writer, results);
    }
}

fn write_volume(writer: &mut Writer, volume: &K8sVolume) {
    writer.open(4, "results");
    writer.text_entry(5, "claim", &volume.claim);
    writer.text_entry(5, "size", &volume.size);
    writer.optional_text(5, "storage_class", volume.storage_class.as_ref());
}
