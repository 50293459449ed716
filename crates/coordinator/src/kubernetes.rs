//! The Kubernetes cluster of a campaign, and the way to it.

use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use gipfel_experiment::Campaign as State;
use gipfel_k8s_backend::{Connection, Deadlines, K8sBackend, K8sLoads, examine::Examiner};
use gipfel_model::{ExperimentSpec, K8sLoad, K8sSpec, LoadPlacement, deployment::Placement};

use crate::clusters;

/// A namespace of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Namespace {
    /// The kubeconfig's context; absent: its current one.
    pub(crate) context: Option<String>,
    /// Its name.
    pub(crate) name: String,
}

impl Namespace {
    fn connection(&self) -> Connection {
        Connection::Kubeconfig {
            file: None,
            context: self.context.clone(),
        }
    }

    /// One that is looked at.
    pub(crate) fn examiner(&self) -> Examiner {
        Examiner::new(self.connection(), &self.name, Deadlines::default())
    }

    /// One in which servers live; what has to outlive them is kept in `directory`.
    pub(crate) fn backend(&self, directory: PathBuf) -> K8sBackend {
        K8sBackend::new(self.connection(), &self.name, directory)
    }

    /// One in which load generators run.
    fn loads(&self, directory: PathBuf, program: PathBuf) -> K8sLoads {
        K8sLoads::new(self.connection(), &self.name, directory, program)
    }

    /// What `kubectl` is told to look there.
    pub(crate) fn options(&self) -> String {
        let context = self.context.as_ref();
        let context = context.map_or_else(String::new, |context| format!(" --context {context}"));
        format!("{context} --namespace {}", self.name)
    }
}

/// The namespaces of experiments, each once.
pub(crate) fn namespaces<'a>(experiments: impl IntoIterator<Item = &'a ExperimentSpec>) -> Vec<Namespace> {
    let mut namespaces: Vec<Namespace> = Vec::new();
    for experiment in experiments {
        let server = match &experiment.deployment.placement {
            Placement::K8s(k8s) => Some(of_server(k8s)),
            Placement::Local(_) | Placement::External(_) | Placement::Slurm(_) => None,
        };
        let load = match &experiment.load {
            LoadPlacement::InCluster(load) => Some(of_load(load)),
            LoadPlacement::Local | LoadPlacement::Slurm(_) | LoadPlacement::SameJob => None,
        };
        for namespace in server.into_iter().chain(load) {
            if !namespaces.contains(&namespace) {
                namespaces.push(namespace);
            }
        }
    }
    namespaces
}

/// Where a server lives.
pub(crate) fn of_server(k8s: &K8sSpec) -> Namespace {
    Namespace {
        context: k8s.context.clone(),
        name: k8s.namespace.clone(),
    }
}

/// Where a load generator runs.
pub(crate) fn of_load(load: &K8sLoad) -> Namespace {
    Namespace {
        context: load.context.clone(),
        name: load.namespace.clone(),
    }
}

/// The one namespace of a campaign; nothing for most of them.
pub(crate) fn only(namespaces: Vec<Namespace>) -> anyhow::Result<Option<Namespace>> {
    if namespaces.len() > 1 {
        let names: Vec<String> = namespaces
            .iter()
            .map(|namespace| format!("`{}`", namespace.options().trim_start()))
            .collect();
        bail!(
            "a campaign lives in one namespace of one Kubernetes cluster, and this one names {}: choose by `--only`, or \
             write a file for each",
            names.join(" and ")
        );
    }
    Ok(namespaces.into_iter().next())
}

/// The namespace of a campaign that exists, with servers that are already there.
pub(crate) fn of_campaign(state: &State) -> anyhow::Result<Option<Namespace>> {
    only(namespaces(state.runs().map(|(_, run)| &run.experiment)))
}

/// The load generator for the pods of these experiments, if there are any; `named` is the one that the user gave.
pub(crate) fn program<'a>(
    experiments: impl IntoIterator<Item = &'a ExperimentSpec>,
    results_dir: &Path,
    named: Option<&Path>,
) -> anyhow::Result<Option<PathBuf>> {
    let mut kinds: Vec<&str> = Vec::new();
    for experiment in experiments {
        if let LoadPlacement::InCluster(load) = &experiment.load
            && !kinds.contains(&load.architecture.as_str())
        {
            kinds.push(&load.architecture);
        }
    }
    match kinds.as_slice() {
        [] => Ok(None),
        [kind] => {
            let architecture = kind.parse().map_err(|error: String| anyhow!(error))?;
            clusters::load_generator_for_pods(architecture, results_dir, named).map(Some)
        }
        _ => bail!(
            "the load generators of a campaign run on nodes of one kind, and this one names {}",
            kinds.join(" and ")
        ),
    }
}

/// The campaign's load generators on Kubernetes, if there are any.
pub(crate) fn loads(
    state: &State,
    directory: &Path,
    results_dir: &Path,
    named: Option<&Path>,
) -> anyhow::Result<Option<K8sLoads>> {
    let Some(program) = program(state.runs().map(|(_, run)| &run.experiment), results_dir, named)? else {
        return Ok(None);
    };
    let namespace = of_campaign(state)?;
    Ok(namespace.map(|namespace| namespace.loads(directory.to_owned(), program)))
}

/// The campaign's servers on Kubernetes.
pub(crate) fn backend(state: &State, directory: &Path) -> anyhow::Result<Option<K8sBackend>> {
    let namespace = of_campaign(state)?;
    Ok(namespace.map(|namespace| namespace.backend(directory.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_campaign_has_one_namespace() {
        let check = |more: &str, expected: Result<usize, &str>| {
            let text = format!(
                "experiments:\n  - {{ model: m, backend: vllm, deployment: k8s, image: i, rate_levels: [100] }}\n{more}"
            );
            let plan = gipfel_config::parse(&text, "a.yaml").unwrap_or_else(|faults| panic!("{faults}"));
            let found = only(namespaces(&plan.experiments)).map(|one| one.iter().count());
            assert_eq!(
                found.as_ref().map_err(ToString::to_string),
                expected.as_ref().map_err(|words| (*words).to_owned())
            );
        };
        check("", Ok(1));
        check(
            "  - { model: n, backend: openai, deployment: external, url: 'http://h:1', benchmarker: in-cluster }\n",
            Ok(1),
        );
        check(
            "  - { model: m, backend: vllm, deployment: k8s, image: i, kubernetes: { context: far } }\n",
            Err(
                "a campaign lives in one namespace of one Kubernetes cluster, and this one names `--namespace ml` and \
                 `--context far --namespace ml`: choose by `--only`, or write a file for each",
            ),
        );
    }
}
