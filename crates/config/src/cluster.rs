//! What deployments on clusters share, and what Kubernetes deployments ask for.

use std::time::Duration;

use gipfel_model::{BenchmarkerKind, DeploymentKind, K8sSpec, LoadPlacement, LocalSpec, SlurmSpec};

use crate::{kubernetes::KubernetesSettings, section::Section, slurm::SlurmSettings};

const DEFAULT_GPUS_PER_NODE: u32 = 4;
const DEFAULT_PORT: u16 = K8sSpec::DEFAULT_PORT;

/// Keys that only a Kubernetes deployment reads.
pub(crate) const K8S_KEYS: &[&str] = &["ingress_domain"];

/// Keys of a Kubernetes cluster, in which the load generator for a URL may run as well.
pub(crate) const K8S_PLACE_KEYS: &[&str] = &["k8s_namespace", "kubernetes"];

/// Keys that Slurm and Kubernetes deployments read.
pub(crate) const CLUSTER_KEYS: &[&str] = &["gpus_per_node"];

#[derive(Clone, Debug, Default)]
pub(crate) struct ClusterSettings {
    pub(crate) slurm: SlurmSettings,
    pub(crate) kubernetes: KubernetesSettings,
    hf_home: Option<String>,
    gpus_per_node: Option<u32>,
    port: Option<u16>,
}

impl ClusterSettings {
    pub(crate) fn take(section: &mut Section<'_>) -> Self {
        let port = section.take("port");
        let slurm = SlurmSettings::take(section);
        let kubernetes = KubernetesSettings::take(section);
        Self {
            port: port.as_whole(0..=u64::from(u16::MAX)).map(|port| port as u16),
            slurm,
            kubernetes,
            hf_home: section.take("hf_home").as_text("a directory").map(str::to_owned),
            gpus_per_node: section
                .take("gpus_per_node")
                .as_whole(0..=u64::from(u32::MAX))
                .map(|gpus| gpus as u32),
        }
    }

    pub(crate) fn or(self, defaults: &Self) -> Self {
        let text = |own: Option<String>, default: &Option<String>| own.or_else(|| default.clone());
        Self {
            slurm: self.slurm.or(&defaults.slurm),
            hf_home: text(self.hf_home, &defaults.hf_home),
            kubernetes: self.kubernetes.or(&defaults.kubernetes),
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
        let usual = match kind {
            DeploymentKind::Slurm => BenchmarkerKind::Slurm,
            DeploymentKind::External | DeploymentKind::K8s => BenchmarkerKind::Local,
            DeploymentKind::Local => return LoadPlacement::Local,
        };
        match self.slurm.benchmarker().unwrap_or(usual) {
            BenchmarkerKind::Local => LoadPlacement::Local,
            BenchmarkerKind::SameJob => LoadPlacement::SameJob,
            BenchmarkerKind::Slurm => LoadPlacement::Slurm(Box::new(self.slurm.load(endpoint_timeout))),
            BenchmarkerKind::InCluster => LoadPlacement::InCluster(Box::new(self.kubernetes.load())),
        }
    }

    /// A server on Kubernetes; program, environment and arguments are those of `local`.
    pub(crate) fn k8s(&self, local: LocalSpec) -> K8sSpec {
        let port = self.port.unwrap_or(DEFAULT_PORT);
        let image = self.slurm.image().map(str::to_owned);
        self.kubernetes.server(local, image, self.gpus_per_node(), port)
    }
}
