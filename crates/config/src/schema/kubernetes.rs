//! The section `kubernetes`.

use serde_json::{Map, Value, json};

use super::{
    VARIABLE,
    shapes::{
        about, argument, called, choice, count, flag, formed, list, map_of, section as section_of, text,
    },
};
use crate::kubernetes::{ARCHITECTURES, EFFECTS, NAME, QUANTITY};

/// The section itself.
pub(super) fn section() -> Value {
    let entries = [
        (
            "context",
            word(),
            "The kubeconfig's context. Default: its current one.",
        ),
        (
            "image_pull_secrets",
            list(formed(NAME)),
            "Secrets of the namespace that images are pulled with.",
        ),
        ("node_selector", labels(), "Labels that the nodes have."),
        ("tolerations", list(toleration()), "Taints that are no hindrance."),
        (
            "gpu_resource",
            word(),
            "The name under which the cluster counts GPUs. Default: nvidia.com/gpu.",
        ),
        (
            "requests",
            requests(),
            "What the server asks for beside GPUs: `cpu`, `memory`, `ephemeral_storage`, and `shared_memory`, the size of /dev/shm. Default: shared_memory 16Gi.",
        ),
        (
            "limits",
            limits(),
            "What the container has at most: `cpu`, `memory`, `ephemeral_storage`. Default: none.",
        ),
        (
            "ingress_class",
            formed(NAME),
            "The class of the Ingress. Default: the cluster's.",
        ),
        (
            "tls_issuer",
            formed(NAME),
            "cert-manager's issuer for the host's certificate; without one, plain HTTP.",
        ),
        (
            "ca_file",
            text(),
            "Certificates in PEM of authorities that are trusted beside the public ones, for an issuer of one's own. Default: none.",
        ),
        (
            "model_cache",
            model_cache(),
            "A volume claim for models, which stays: `claim`, `size`, `storage_class`, `mount_path`, and `filled`, whether nothing is downloaded. Default: none; size 500Gi, mount_path /model-cache, filled false.",
        ),
        (
            "hf_token",
            token(),
            "The Hugging Face token: `secret` and `key` of one that is there, or `env`, a variable from which one is made for the server. Default: none; key token.",
        ),
        (
            "nccl_over_tcp",
            flag(),
            "NCCL talks over TCP; images for Alps ask for a network that pods do not have. Default: true.",
        ),
        (
            "cuda_compatibility",
            flag(),
            "vLLM uses CUDA's compatibility libraries. Default: false.",
        ),
        (
            "load",
            load(),
            "With `benchmarker: in-cluster`: `pods`, `image`, `architecture`, `cpu`, `memory`, `node_selector`, and `results`, a volume claim that several pods need. Default: 1 pod of busybox:1.37 on aarch64, results in the pod.",
        ),
    ];
    section_of(of(entries))
}

fn of<const N: usize>(entries: [(&str, Value, &str); N]) -> Map<String, Value> {
    let entry = |(key, shape, description): (&str, Value, &str)| (key.to_owned(), about(shape, description));
    entries.into_iter().map(entry).collect()
}

/// A text without spaces.
fn word() -> Value {
    formed(r"^[^\s\x00-\x1f]+$")
}

fn quantity() -> Value {
    let shape = json!({ "anyOf": [formed(QUANTITY), { "type": "number", "exclusiveMinimum": 0 }] });
    called(shape, "quantity")
}

fn labels() -> Value {
    map_of(argument())
}

fn toleration() -> Value {
    let mut shape = section_of(of([
        ("key", word(), "The taint's key."),
        ("value", argument(), "The taint's value. Default: any."),
        ("effect", choice(EFFECTS), "The taint's effect. Default: any."),
    ]));
    shape["required"] = json!(["key"]);
    shape
}

fn requests() -> Value {
    section_of(of([
        ("cpu", quantity(), "CPUs."),
        ("memory", quantity(), "Memory."),
        ("ephemeral_storage", quantity(), "Disk of the node."),
        (
            "shared_memory",
            quantity(),
            "The size of /dev/shm. Default: 16Gi.",
        ),
    ]))
}

fn limits() -> Value {
    section_of(of([
        ("cpu", quantity(), "CPUs; the server is slowed down to them."),
        (
            "memory",
            quantity(),
            "Memory; a container that has more is ended.",
        ),
        (
            "ephemeral_storage",
            quantity(),
            "Disk of the node; a pod that has more is evicted.",
        ),
    ]))
}

/// The keys of a volume claim, whose name is always given.
fn volume(more: Map<String, Value>) -> Value {
    let mut keys = of([
        ("claim", formed(NAME), "The claim's name."),
        ("size", quantity(), "Its size, where it is made."),
        (
            "storage_class",
            formed(NAME),
            "Its storage class, where it is made.",
        ),
    ]);
    keys.extend(more);
    let mut shape = section_of(keys);
    shape["required"] = json!(["claim"]);
    shape
}

fn model_cache() -> Value {
    volume(of([
        (
            "mount_path",
            formed("^/[^:]*$"),
            "Where the container sees it. Default: /model-cache.",
        ),
        (
            "filled",
            flag(),
            "Whether it is filled, so that nothing writes to it. Default: false.",
        ),
    ]))
}

fn token() -> Value {
    let mut shape = section_of(of([
        ("secret", formed(NAME), "A Secret of the namespace."),
        ("key", word(), "The key in it. Default: token."),
        (
            "env",
            formed(VARIABLE),
            "A variable of gipfel's environment, from which a Secret is made.",
        ),
    ]));
    shape["oneOf"] = json!([{ "required": ["secret"] }, { "required": ["env"] }]);
    shape
}

fn load() -> Value {
    section_of(of([
        ("pods", count(), "Pods that send together. Default: 1."),
        (
            "image",
            text(),
            "An image with a shell and gzip. Default: busybox:1.37.",
        ),
        (
            "architecture",
            choice(ARCHITECTURES),
            "The kind of the nodes. Default: aarch64.",
        ),
        ("cpu", quantity(), "CPUs of each pod."),
        ("memory", quantity(), "Memory of each pod."),
        (
            "node_selector",
            labels(),
            "Labels that the nodes have. Default: the server's.",
        ),
        (
            "results",
            volume(Map::new()),
            "A volume claim for results, which stays.",
        ),
    ]))
}
