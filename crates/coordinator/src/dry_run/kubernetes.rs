//! The Kubernetes objects of a dry run.

use std::path::Path;

use anyhow::Context;
use gipfel_experiment::{Campaign as State, Deployment};
use gipfel_k8s_backend::inspect;
use gipfel_model::{EndpointSpec, K8sSpec};
use serde_json::Value;

use super::{Server, save};
use crate::kubernetes;

/// The file of a server's objects, which `kubectl apply --dry-run=server -f` takes.
const SERVER_MANIFESTS: &str = "server.yaml";

/// Writes the objects of a server.
pub(super) fn server(
    state: &State,
    deployment: &Deployment,
    k8s: &K8sSpec,
    directory: &Path,
) -> anyhow::Result<Server> {
    let objects =
        inspect::objects(&state.campaign_id, &deployment.id, &deployment.spec).with_context(|| {
            format!(
                "the server of {} cannot be put into objects",
                deployment.spec.model
            )
        })?;
    write(
        &objects,
        SERVER_MANIFESTS,
        &directory.join(deployment.id.as_str()),
    )?;
    let kinds: Vec<&str> = objects
        .iter()
        .filter_map(|object| object["kind"].as_str())
        .collect();
    let (last, others) = kinds.split_last().context("a server has objects")?;
    let gpus = match k8s.gpus_per_node {
        0 => String::new(),
        _ => format!(", {} GPUs", deployment.spec.gpus()),
    };
    Ok(Server {
        endpoint: EndpointSpec::new(&inspect::url(&deployment.id, k8s)),
        how: format!(
            "{last} with {} (kubectl{}){gpus}",
            others.join(", "),
            kubernetes::of_server(k8s).options()
        ),
        cost: None,
    })
}

fn write(objects: &[Value], name: &str, directory: &Path) -> anyhow::Result<()> {
    let mut options = serde_saphyr::SerializerOptions::default();
    options.prefer_block_scalars = false;
    let text = serde_saphyr::to_string_multiple_with_options(objects, options)
        .context("failed to write the objects as YAML")?;
    save(directory, name, text.trim_end())
}
