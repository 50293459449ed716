//! The Kubernetes objects of a dry run.

use std::path::Path;

use anyhow::Context;
use gipfel_experiment::{Campaign as State, Deployment};
use gipfel_k8s_backend::inspect;
use gipfel_model::{EndpointSpec, K8sLoad, K8sSpec, RunConfig, deployment::Placement};
use serde_json::Value;

use super::{Server, save};
use crate::kubernetes;

/// The file of a server's objects, which `kubectl apply --dry-run=server -f` takes.
const SERVER_MANIFESTS: &str = "server.yaml";

/// The file of a load generator's objects.
const LOAD_MANIFESTS: &str = "load.yaml";

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
    let gpus = match k8s.gpus_per_node {
        0 => String::new(),
        _ => format!(", {} GPUs", deployment.spec.gpus()),
    };
    Ok(Server {
        endpoint: EndpointSpec::new(&inspect::url(&deployment.id, k8s)),
        how: format!(
            "{} (kubectl{}){gpus}",
            named(&objects)?,
            kubernetes::of_server(k8s).options()
        ),
        cost: None,
    })
}

/// Writes the objects of a load generator but the pieces of its program.
pub(super) fn load(
    config: &RunConfig,
    deployment: &Deployment,
    load: &K8sLoad,
    directory: &Path,
) -> anyhow::Result<String> {
    let endpoint = match &deployment.spec.placement {
        Placement::K8s(k8s) => EndpointSpec {
            url: inspect::url_inside(&deployment.id, k8s),
            ..config.endpoint.clone()
        },
        Placement::Local(_) | Placement::External(_) | Placement::Slurm(_) => config.endpoint.clone(),
    };
    let config = RunConfig {
        endpoint,
        ..config.clone()
    };
    let objects = inspect::load_objects(&config, load, &[]).with_context(|| {
        format!(
            "the load generator of {} cannot be put into objects",
            config.run_id
        )
    })?;
    write(&objects, LOAD_MANIFESTS, &directory.join(config.run_id.as_str()))?;
    let plural = if load.pods == 1 { "" } else { "s" };
    Ok(format!(
        "{} (kubectl{}), {} pod{plural} of {}",
        named(&objects)?,
        kubernetes::of_load(load).options(),
        load.pods,
        load.image
    ))
}

/// The kinds of objects, the last one first: it is what the others are for.
fn named(objects: &[Value]) -> anyhow::Result<String> {
    let kinds: Vec<&str> = objects
        .iter()
        .filter_map(|object| object["kind"].as_str())
        .collect();
    let (last, others) = kinds.split_last().context("there are no objects")?;
    Ok(format!("{last} with {}", others.join(", ")))
}

fn write(objects: &[Value], name: &str, directory: &Path) -> anyhow::Result<()> {
    let mut options = serde_saphyr::SerializerOptions::default();
    // Long names stay on their line; a script keeps its lines.
    options.min_fold_chars = usize::MAX;
    let text = serde_saphyr::to_string_multiple_with_options(objects, options)
        .context("failed to write the objects as YAML")?;
    save(directory, name, text.trim_end())
}
