//! Looks at a namespace of a Kubernetes cluster with a configuration in hand. Nothing is changed.

use std::collections::BTreeSet;

use gipfel_k8s_backend::{
    ApiError, Requirement,
    examine::{Class, Examiner, NodeFacts, Quota},
};
use gipfel_model::{
    DeploymentSpec, ExperimentSpec, K8sLoad, K8sSpec, K8sToken, LoadPlacement, deployment::Placement,
};

use super::{Finding, cluster::Say};
use crate::kubernetes::{self, Namespace};

mod rights;
#[cfg(test)]
mod tests;

pub(crate) use rights::Right;

/// What experiments want of one namespace.
#[derive(Default)]
pub(crate) struct Wanted<'a> {
    servers: Vec<(&'a DeploymentSpec, &'a K8sSpec)>,
    loads: Vec<&'a K8sLoad>,
    forwards: bool,
}

impl<'a> Wanted<'a> {
    /// What these experiments want of it.
    pub(crate) fn of(namespace: &Namespace, experiments: &'a [ExperimentSpec]) -> Self {
        let mut wanted = Self::default();
        for experiment in experiments {
            if let Placement::K8s(k8s) = &experiment.deployment.placement
                && kubernetes::of_server(k8s) == *namespace
            {
                wanted.servers.push((&experiment.deployment, k8s));
                wanted.forwards |= k8s.ingress.is_none() && experiment.load.is_local();
            }
            if let LoadPlacement::InCluster(load) = &experiment.load
                && load.context == namespace.context
                && load.namespace == namespace.name
            {
                wanted.loads.push(load);
            }
        }
        wanted
    }
}

/// Looks at all that experiments want of a namespace.
pub(crate) async fn examine(namespace: &Namespace, wanted: &Wanted<'_>, say: Say<'_>) -> anyhow::Result<()> {
    let examiner = namespace.examiner();
    match examiner.version().await {
        Ok(version) => say(Finding::well(
            "reach",
            format!("the API server answers, {version}"),
        ))?,
        Err(error) => return say(reach(namespace, &error)),
    }
    match examiner.user().await {
        Ok(user) => say(Finding::well("user", user))?,
        Err(ApiError::Missing(_)) => say(Finding::note(
            "user",
            "this API server does not tell whom it takes you for".to_owned(),
        ))?,
        Err(error) => say(Finding::note("user", words(&error)))?,
    }
    say(match examiner.has_namespace().await {
        Ok(true) => Finding::well("namespace", format!("`{}` is there", namespace.name)),
        Ok(false) => Finding::fault("namespace", format!("there is no `{}`", namespace.name))
            .hint("set `k8s_namespace` to one of yours, or ask for it"),
        Err(error) => Finding::note("namespace", words(&error)),
    })?;
    for right in Right::all(&examiner, wanted).await {
        say(right.finding())?;
    }
    apis(&examiner, wanted, say).await?;
    say(quotas(wanted, examiner.quotas().await))?;
    volumes(&examiner, wanted, say).await?;
    secrets(&examiner, wanted, say).await?;
    ingresses(&examiner, wanted, say).await?;
    nodes(&examiner, wanted, say).await
}

/// The error with its causes.
fn words(error: &ApiError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn reach(namespace: &Namespace, error: &ApiError) -> Finding {
    let hint = match error {
        ApiError::Connect(_) => {
            "is there a kubeconfig (KUBECONFIG, or ~/.kube/config), and in it the context of `kubernetes.context`?"
                .to_owned()
        }
        ApiError::Credentials(_) => {
            "log in again: a token of Rancher's ends after hours; fetch a new kubeconfig, or run its login".to_owned()
        }
        _ => format!(
            "does `kubectl{} version` answer? A proxy or a VPN may be on the way",
            namespace.options()
        ),
    };
    Finding::fault("reach", words(error)).hint(hint)
}

/// Whether the cluster has the kinds of objects that are not Kubernetes' own.
async fn apis(examiner: &Examiner, wanted: &Wanted<'_>, say: Say<'_>) -> anyhow::Result<()> {
    let needed: BTreeSet<Requirement> = wanted
        .servers
        .iter()
        .flat_map(|(spec, k8s)| Requirement::of(spec, k8s))
        .collect();
    for requirement in needed {
        say(match examiner.meets(requirement).await {
            Ok(true) => Finding::well("kinds", format!("the cluster has {requirement}")),
            Ok(false) => Finding::fault("kinds", format!("the cluster does not have {requirement}"))
                .hint(format!("ask its administrator for {}", requirement.ask_for)),
            Err(error) => Finding::note("kinds", format!("{requirement}: {}", words(&error))),
        })?;
    }
    Ok(())
}

/// Whether the namespace's quotas leave room for the largest server.
fn quotas(wanted: &Wanted<'_>, found: Result<Vec<Quota>, ApiError>) -> Finding {
    let quotas = match found {
        Ok(quotas) => quotas,
        Err(error) => return Finding::note("quota", words(&error)),
    };
    if quotas.is_empty() {
        return Finding::well("quota", "the namespace has none".to_owned());
    }
    let most = wanted.servers.iter().max_by_key(|(spec, _)| spec.gpus());
    let mut shown = Vec::new();
    for quota in &quotas {
        for (resource, (used, hard)) in &quota.limits {
            shown.push(format!("{resource} {used} of {hard}"));
            let Some((spec, k8s)) = most else { continue };
            let is_gpus = resource
                .strip_prefix("requests.")
                .is_some_and(|name| name == k8s.gpu_resource);
            let left = hard
                .parse::<u64>()
                .ok()
                .zip(used.parse::<u64>().ok())
                .map(|(hard, used)| hard.saturating_sub(used));
            if is_gpus && left.is_some_and(|left| left < u64::from(spec.gpus())) {
                return Finding::fault(
                    "quota",
                    format!(
                        "`{}` has {used} of {hard} {resource} in use, and {} needs {}",
                        quota.name,
                        spec.model,
                        spec.gpus()
                    ),
                )
                .hint("end what uses them, or ask for a larger quota");
            }
        }
    }
    Finding::well("quota", shown.join(", "))
}

/// A volume claim that servers or load generators use.
struct Volume<'a> {
    claim: &'a str,
    class: Option<&'a str>,
}

async fn volumes(examiner: &Examiner, wanted: &Wanted<'_>, say: Say<'_>) -> anyhow::Result<()> {
    let caches = wanted.servers.iter().filter_map(|(_, k8s)| {
        let cache = k8s.model_cache.as_ref()?;
        Some((cache.claim.as_str(), cache.storage_class.as_deref()))
    });
    let results = wanted.loads.iter().filter_map(|load| {
        let results = load.results.as_ref()?;
        Some((results.claim.as_str(), results.storage_class.as_deref()))
    });
    let volumes: BTreeSet<(&str, Option<&str>)> = caches.chain(results).collect();
    for (claim, class) in volumes {
        let volume = Volume { claim, class };
        let finding = match examiner.volume_claim(claim).await {
            Ok(Some(phase)) => Finding::well("volume", format!("`{claim}` is there, {phase}")),
            Ok(None) => storage(&volume, examiner.storage_classes().await),
            Err(error) => Finding::note("volume", format!("`{claim}`: {}", words(&error))),
        };
        say(finding)?;
    }
    Ok(())
}

/// Whether a claim that is not there can be made.
fn storage(volume: &Volume<'_>, found: Result<Vec<Class>, ApiError>) -> Finding {
    let claim = volume.claim;
    let classes = match found {
        Ok(classes) => classes,
        Err(error) => {
            return Finding::note(
                "volume",
                format!(
                    "`{claim}` will be made; its class cannot be looked at: {}",
                    words(&error)
                ),
            );
        }
    };
    let names: Vec<&str> = classes.iter().map(|class| class.name.as_str()).collect();
    match class_for(volume.class, &classes) {
        Ok(class) => Finding::well("volume", format!("`{claim}` will be made, of class {class}")),
        Err(problem) => {
            Finding::fault("volume", format!("`{claim}` is not there, and {problem}")).hint(format!(
                "set `storage_class` to one that several nodes can share, of: {}",
                names.join(", ")
            ))
        }
    }
}

/// The class that is taken.
fn class_for<'a>(named: Option<&'a str>, classes: &'a [Class]) -> Result<&'a str, String> {
    match named {
        Some(name) if classes.iter().any(|class| class.name == name) => Ok(name),
        Some(name) => Err(format!("there is no class `{name}`")),
        None => classes
            .iter()
            .find(|class| class.is_default)
            .map(|class| class.name.as_str())
            .ok_or_else(|| "no class is the default".to_owned()),
    }
}

async fn secrets(examiner: &Examiner, wanted: &Wanted<'_>, say: Say<'_>) -> anyhow::Result<()> {
    let mut all: BTreeSet<(&str, Option<&str>)> = BTreeSet::new();
    for (_, k8s) in &wanted.servers {
        all.extend(k8s.image_pull_secrets.iter().map(|name| (name.as_str(), None)));
        match &k8s.hf_token {
            Some(K8sToken::Secret(secret)) => {
                all.insert((&secret.name, Some(&secret.key)));
            }
            Some(K8sToken::Environment(variable)) => say(variable_of_token(variable))?,
            None => {}
        }
    }
    for load in &wanted.loads {
        all.extend(load.image_pull_secrets.iter().map(|name| (name.as_str(), None)));
    }
    for (name, key) in all {
        let what = key.map_or_else(|| format!("`{name}`"), |key| format!("`{name}` with `{key}`"));
        say(match examiner.has_secret(name, key).await {
            Ok(true) => Finding::well("secret", format!("{what} is there")),
            Ok(false) => Finding::fault("secret", format!("there is no {what}")).hint(format!(
                "`kubectl create secret` makes it: {}",
                secret_hint(name, key)
            )),
            Err(error) => Finding::note("secret", format!("{what}: {}", words(&error))),
        })?;
    }
    Ok(())
}

fn variable_of_token(variable: &str) -> Finding {
    let is_set = std::env::var(variable).is_ok_and(|value| !value.trim().is_empty());
    if is_set {
        return Finding::well("secret", format!("`{variable}` is set; a Secret is made from it"));
    }
    Finding::fault(
        "secret",
        format!("the environment variable `{variable}` is not set"),
    )
    .hint(format!("`export {variable}=…` where gipfel is started"))
}

fn secret_hint(name: &str, key: Option<&str>) -> String {
    match key {
        Some(key) => format!("`kubectl create secret generic {name} --from-file={key}=FILE`"),
        None => format!("`kubectl create secret docker-registry {name} --docker-server=HOST …`"),
    }
}

async fn ingresses(examiner: &Examiner, wanted: &Wanted<'_>, say: Say<'_>) -> anyhow::Result<()> {
    let classes: BTreeSet<Option<&str>> = wanted
        .servers
        .iter()
        .filter_map(|(_, k8s)| k8s.ingress.as_ref())
        .map(|ingress| ingress.class.as_deref())
        .collect();
    if classes.is_empty() {
        return Ok(());
    }
    let found = match examiner.ingress_classes().await {
        Ok(found) => found,
        Err(error) => return say(Finding::note("ingress", words(&error))),
    };
    let names: Vec<&str> = found.iter().map(|class| class.name.as_str()).collect();
    for class in classes {
        say(match class_for(class, &found) {
            Ok(class) => Finding::well("ingress", format!("class {class}")),
            Err(problem) => Finding::fault("ingress", problem).hint(format!(
                "set `kubernetes.ingress_class` to one of: {}; or `ingress_domain: none`",
                names.join(", ")
            )),
        })?;
    }
    Ok(())
}

async fn nodes(examiner: &Examiner, wanted: &Wanted<'_>, say: Say<'_>) -> anyhow::Result<()> {
    for (spec, k8s) in &wanted.servers {
        if k8s.gpus_per_node == 0 {
            continue;
        }
        let finding = match examiner.nodes(&k8s.gpu_resource).await {
            Ok(nodes) => gpus(spec, k8s, &nodes),
            Err(error) => Finding::note("gpus", format!("{}: {}", spec.model, words(&error))),
        };
        say(finding)?;
    }
    Ok(())
}

/// Whether there are nodes that could hold the server.
fn gpus(spec: &DeploymentSpec, k8s: &K8sSpec, nodes: &[NodeFacts]) -> Finding {
    let of_node = spec.gpus().min(k8s.gpus_per_node);
    let needed = spec.gpus().div_ceil(k8s.gpus_per_node) as usize;
    let is_chosen = |node: &&NodeFacts| {
        k8s.node_selector
            .iter()
            .all(|(key, value)| node.labels.get(key) == Some(value))
    };
    let chosen: Vec<&NodeFacts> = nodes.iter().filter(is_chosen).collect();
    let fitting = chosen
        .iter()
        .filter(|node| node.gpus >= u64::from(of_node))
        .count();
    let text = format!(
        "{}: {fitting} of {} nodes have {of_node} {}",
        spec.model,
        nodes.len(),
        k8s.gpu_resource
    );
    if fitting >= needed {
        return Finding::well("gpus", text);
    }
    let hint = if chosen.is_empty() && !nodes.is_empty() {
        "no node has the labels of `kubernetes.node_selector`"
    } else {
        "are `gpus_per_node` and `kubernetes.gpu_resource` the cluster's?"
    };
    Finding::fault("gpus", format!("{text}, and it needs {needed}")).hint(hint)
}
