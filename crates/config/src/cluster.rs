//! What Slurm and Kubernetes deployments ask for, and the port that all deployments share.

use gipfel_model::deployment::{K8sSpec, SlurmSpec};

use crate::{field::Field, section::Section};

const DEFAULT_GPUS_PER_NODE: u32 = 4;
const DEFAULT_PORT: u16 = 8080;

/// Keys that only a Slurm deployment reads.
pub(crate) const SLURM_KEYS: &[&str] = &[
    "account",
    "partition",
    "benchmarker_partition",
    "scratch_base",
    "hf_token_path",
    "server_time_limit",
    "benchmarker_time_limit",
];

/// Keys that only a Kubernetes deployment reads.
pub(crate) const K8S_KEYS: &[&str] = &["k8s_namespace", "ingress_domain"];

/// Keys that both of them read.
pub(crate) const CLUSTER_KEYS: &[&str] = &["gpus_per_node"];

#[derive(Clone, Debug, Default)]
pub(crate) struct ClusterSettings {
    account: Option<String>,
    partition: Option<String>,
    benchmarker_partition: Option<String>,
    scratch_base: Option<String>,
    hf_token_path: Option<String>,
    hf_home: Option<String>,
    server_time_limit: Option<String>,
    benchmarker_time_limit: Option<String>,
    k8s_namespace: Option<String>,
    ingress_domain: Option<String>,
    gpus_per_node: Option<u32>,
    port: Option<u16>,
}

impl ClusterSettings {
    pub(crate) fn take(section: &mut Section<'_>) -> Self {
        let port = section.take("port");
        let mut text = |key, allowed| section.take(key).as_text(allowed).map(str::to_owned);
        Self {
            port: port.as_whole(0..=u64::from(u16::MAX)).map(|port| port as u16),
            account: text("account", "the name of an account"),
            partition: text("partition", "the name of a partition"),
            benchmarker_partition: text("benchmarker_partition", "the name of a partition"),
            scratch_base: text("scratch_base", "a directory of the cluster"),
            hf_token_path: text("hf_token_path", "the path of a file on the cluster"),
            hf_home: text("hf_home", "a directory"),
            k8s_namespace: text("k8s_namespace", "the name of a namespace"),
            ingress_domain: text("ingress_domain", "a domain"),
            server_time_limit: read_time_limit(&section.take("server_time_limit")),
            benchmarker_time_limit: read_time_limit(&section.take("benchmarker_time_limit")),
            gpus_per_node: section.take("gpus_per_node").as_count(),
        }
    }

    pub(crate) fn or(self, defaults: &Self) -> Self {
        let text = |own: Option<String>, default: &Option<String>| own.or_else(|| default.clone());
        Self {
            account: text(self.account, &defaults.account),
            partition: text(self.partition, &defaults.partition),
            benchmarker_partition: text(self.benchmarker_partition, &defaults.benchmarker_partition),
            scratch_base: text(self.scratch_base, &defaults.scratch_base),
            hf_token_path: text(self.hf_token_path, &defaults.hf_token_path),
            hf_home: text(self.hf_home, &defaults.hf_home),
            server_time_limit: text(self.server_time_limit, &defaults.server_time_limit),
            benchmarker_time_limit: text(self.benchmarker_time_limit, &defaults.benchmarker_time_limit),
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

    pub(crate) fn slurm(self) -> SlurmSpec {
        SlurmSpec {
            gpus_per_node: self.gpus_per_node(),
            port: self.port.unwrap_or(DEFAULT_PORT),
            account: self.account,
            partition: self.partition.unwrap_or_else(|| "debug".to_owned()),
            benchmarker_partition: self.benchmarker_partition.unwrap_or_else(|| "normal".to_owned()),
            scratch_base: self.scratch_base,
            hf_token_path: self.hf_token_path.unwrap_or_else(|| "~/.hf_token".to_owned()),
            hf_home: self.hf_home,
            server_time_limit: self.server_time_limit,
            benchmarker_time_limit: self.benchmarker_time_limit,
        }
    }

    pub(crate) fn k8s(self) -> K8sSpec {
        K8sSpec {
            gpus_per_node: self.gpus_per_node(),
            port: self.port.unwrap_or(DEFAULT_PORT),
            namespace: self.k8s_namespace.unwrap_or_else(|| "ml".to_owned()),
            ingress_domain: self
                .ingress_domain
                .unwrap_or_else(|| "swissai.svc.cscs.ch".to_owned()),
        }
    }
}

/// Reads `HH:MM:SS`, or `D-HH:MM:SS` for days.
fn read_time_limit(field: &Field<'_>) -> Option<String> {
    let allowed = "a walltime as `HH:MM:SS` or `D-HH:MM:SS`, such as \"01:00:00\"";
    let text = field.as_text(allowed)?;
    if is_time_limit(text) {
        Some(text.to_owned())
    } else {
        field.refuse(allowed)
    }
}

fn is_time_limit(text: &str) -> bool {
    let (days, time) = text.split_once('-').unwrap_or(("0", text));
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && (1..=4).contains(&text.len());
    let parts: Vec<&str> = time.split(':').collect();
    let below_sixty = |text: &str| text.len() == 2 && number(text) && text < "60";
    let &[hours, minutes, seconds] = parts.as_slice() else {
        return false;
    };
    let positive = text.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
    number(days) && number(hours) && below_sixty(minutes) && below_sixty(seconds) && positive
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_limits() {
        let check = |text, expected| assert_eq!(is_time_limit(text), expected, "{text}");
        check("01:00:00", true);
        check("1:30:00", true);
        check("2-12:00:00", true);
        check("1:60:00", false);
        check("00:00:00", false);
        check("60", false);
        check("01:00", false);
        check("1h", false);
        check("--", false);
    }
}
