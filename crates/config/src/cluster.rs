//! What deployments on clusters share, and what Kubernetes deployments ask for.

use std::time::Duration;

use gipfel_model::{
    BenchmarkerKind, DeploymentKind, K8sIngress, K8sSpec, LoadPlacement, LocalSpec, SlurmSpec,
};

use crate::{section::Section, slurm::SlurmSettings};

const DEFAULT_GPUS_PER_NODE: u32 = 4;
const DEFAULT_PORT: u16 = K8sSpec::DEFAULT_PORT;

/// The domain of a cluster without an Ingress.
pub(crate) const NO_INGRESS: &str = "none";

/// Keys that only a Kubernetes deployment reads.
pub(crate) const K8S_KEYS: &[&str] = &["k8s_namespace", "ingress_domain"];

/// Keys that Slurm and Kubernetes deployments read.
pub(crate) const CLUSTER_KEYS: &[&str] = &["gpus_per_node"];

#[derive(Clone, Debug, Default)]
pub(crate) struct ClusterSettings {
    pub(crate) slurm: SlurmSettings,
    hf_home: Option<String>,
    k8s_namespace: Option<String>,
    ingress_domain: Option<String>,
    gpus_per_node: Option<u32>,
    port: Option<u16>,
}

impl ClusterSettings {
    pub(crate) fn take(section: &mut Section<'_>) -> Self {
        let port = section.take("port");
        let slurm = SlurmSettings::take(section);
        let mut text = |key, allowed| section.take(key).as_text(allowed).map(str::to_owned);
        Self {
            port: port.as_whole(0..=u64::from(u16::MAX)).map(|port| port as u16),
            slurm,
            hf_home: text("hf_home", "a directory"),
            k8s_namespace: text("k8s_namespace", "the name of a namespace"),
            ingress_domain: text(
                "ingress_domain",
                "a domain, or `none` for a server that is reached inside the cluster only",
            ),
            gpus_per_node: section.take("gpus_per_node").as_count(),
        }
    }

    pub(crate) fn or(self, defaults: &Self) -> Self {
        let text = |own: Option<String>, default: &Option<String>| own.or_else(|| default.clone());
        Self {
            slurm: self.slurm.or(&defaults.slurm),
            hf_home: text(self.hf_home, &defaults.hf_home),
            k8s_namespace: text(self.k8s_namespace, &defaults.k8s_namespace),
            ingress_domain: text(self.ingress_domain, &defaults.ingress_domain),
            gpus_per_node: self.gpus_per_node.or(defaults.gpus_per_node),
            port: self.port.or(defaults.port),
        }
    }

    pub(crate) fn gpus_per_node(&self) -> u32 {
        self.gpus_per_node.unwrap_or(DEFAULT_GPUS_PER_NODE)
    }

    /// Where Hugging Face's files lie.
    pub(crate) fn hf_home(&self) -> Option<&str> {
        self.hf_home.as_deref()
    }

    /// The port that a process of this machine listens on; without a word, a free one.
    pub(crate) fn local_port(&self) -> u16 {
        self.port.unwrap_or(0)
    }

    /// A server in a Slurm job; program, environment and arguments are those of `local`.
    pub(crate) fn slurm(&self, local: LocalSpec) -> SlurmSpec {
        let port = self.port.unwrap_or(DEFAULT_PORT);
        self.slurm
            .server(local, self.hf_home.clone(), self.gpus_per_node(), port)
    }

    /// Where the load generator of a deployment of this kind runs.
    pub(crate) fn load(&self, kind: DeploymentKind, endpoint_timeout: Duration) -> LoadPlacement {
        match kind {
            DeploymentKind::Slurm => self.slurm.load(BenchmarkerKind::Slurm, endpoint_timeout),
            DeploymentKind::External => self.slurm.load(BenchmarkerKind::Local, endpoint_timeout),
            DeploymentKind::Local | DeploymentKind::K8s => LoadPlacement::Local,
        }
    }

    /// A server on Kubernetes; program, environment and arguments are those of `local`.
    pub(crate) fn k8s(&self, local: LocalSpec) -> K8sSpec {
        let domain = self.ingress_domain.as_deref().unwrap_or("swissai.svc.cscs.ch");
        K8sSpec {
            gpus_per_node: self.gpus_per_node(),
            port: self.port.unwrap_or(DEFAULT_PORT),
            ingress: (domain != NO_INGRESS).then(|| K8sIngress {
                domain: domain.to_owned(),
                class: None,
                tls_issuer: None,
            }),
            command: local.command,
            environment: local.environment,
            extra_args: local.extra_args,
            ..K8sSpec::new(self.k8s_namespace.as_deref().unwrap_or("ml"))
        }
    }
}
