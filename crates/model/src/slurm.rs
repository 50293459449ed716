//! What the Slurm jobs of a server and of a load generator ask for.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    deployment::{Placement, names},
    k8s::K8sLoad,
    units::seconds,
};

names! {
    /// The way to a cluster.
    ClusterKind {
        /// FirecREST's API.
        Firecrest = "firecrest",
        /// Slurm's commands on this machine.
        Commands = "commands",
        /// Slurm's commands on a login node, over ssh.
        Ssh = "ssh",
    }
}

names! {
    /// What a server's processes are started in.
    ContainerKind {
        /// An image from elsewhere; the Container Engine brings the network's libraries into it.
        ContainerEngine = "container-engine",
        /// An image that has the network's libraries itself.
        SelfContained = "container-engine-self-contained",
        /// An image that Apptainer starts.
        Apptainer = "apptainer",
        /// Programs of the node.
        Bare = "none",
    }
}

names! {
    /// Where the load generator runs.
    BenchmarkerKind {
        /// In a job of its own.
        Slurm = "slurm",
        /// In the server's job.
        SameJob = "same-job",
        /// In a Kubernetes Job.
        InCluster = "in-cluster",
        /// On this machine.
        Local = "local",
    }
}

/// A job's walltime: whole seconds, greater than 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Walltime(u64);

/// A text that is no walltime.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no walltime; write `HH:MM:SS` or `D-HH:MM:SS`, such as 01:00:00")]
pub struct WalltimeError(String);

impl Walltime {
    /// One hour, where nothing else is said.
    pub const DEFAULT: Self = Self(3600);

    /// Whole seconds; nothing for none at all.
    pub fn from_secs(seconds: u64) -> Option<Self> {
        (seconds > 0).then_some(Self(seconds))
    }

    /// As a duration.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }

    /// In hours.
    pub fn hours(self) -> f64 {
        self.0 as f64 / 3600.0
    }
}

impl FromStr for Walltime {
    type Err = WalltimeError;

    fn from_str(text: &str) -> Result<Self, WalltimeError> {
        read_walltime(text).ok_or_else(|| WalltimeError(text.to_owned()))
    }
}

/// Up to four digits of days and hours, two of minutes and seconds.
fn read_walltime(text: &str) -> Option<Walltime> {
    let (days, time) = text.split_once('-').unwrap_or(("0", text));
    let number = |text: &str| {
        let is_short = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        is_short.then(|| text.parse::<u64>().ok()).flatten()
    };
    let below_sixty = |text: &str| number(text).filter(|number| text.len() == 2 && *number < 60);
    let mut parts = time.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let minutes = (number(days)? * 24 + number(hours)?) * 60 + below_sixty(minutes)?;
    Walltime::from_secs(minutes * 60 + below_sixty(seconds)?)
}

impl fmt::Display for Walltime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, rest) = (self.0 / 86_400, self.0 % 86_400);
        if days > 0 {
            write!(f, "{days}-")?;
        }
        write!(f, "{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
    }
}

impl TryFrom<String> for Walltime {
    type Error = WalltimeError;

    fn try_from(text: String) -> Result<Self, WalltimeError> {
        text.parse()
    }
}

impl From<Walltime> for String {
    fn from(walltime: Walltime) -> Self {
        walltime.to_string()
    }
}

/// Which cluster it is, and where our files lie there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlurmReach {
    /// The way to it.
    pub cluster: ClusterKind,
    /// Its name behind FirecREST's API; absent: the one that the environment names, else the profile's.
    pub firecrest_system: Option<String>,
    /// The login node's name for ssh.
    pub ssh_host: Option<String>,
    /// The profile: the name of a built-in one, or the path of a file of one's own.
    pub site: Option<String>,
    /// The directory under which our files lie; absent: the profile's, or the user's own.
    pub scratch_base: Option<String>,
}

impl SlurmReach {
    /// The profile's name or path: the one that is named, else the system's, else `clariden` behind FirecREST and
    /// `generic` for any other cluster.
    pub fn site(&self) -> &str {
        let by_cluster = match self.cluster {
            ClusterKind::Firecrest => "clariden",
            ClusterKind::Commands | ClusterKind::Ssh => "generic",
        };
        let named = self.site.as_deref().or(self.firecrest_system.as_deref());
        named.unwrap_or(by_cluster)
    }
}

/// What a job asks Slurm for, beside its nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlurmJob {
    /// The account that is charged.
    pub account: Option<String>,
    /// The partition.
    pub partition: String,
    /// The quality of service.
    pub qos: Option<String>,
    /// The reservation.
    pub reservation: Option<String>,
    /// Features that the nodes must have.
    pub constraint: Option<String>,
    /// Nodes that are left out, as a hostlist.
    pub exclude: Option<String>,
    /// The walltime.
    pub walltime: Walltime,
    /// Further options of `sbatch`, each as it is written in a script.
    pub sbatch_args: Vec<String>,
}

/// What a Slurm deployment asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlurmSpec {
    /// Which cluster.
    pub reach: SlurmReach,
    /// The server's job.
    pub job: SlurmJob,
    /// Where the Hugging Face token lies on the cluster.
    pub hf_token_path: String,
    /// The Hugging Face cache of the cluster.
    pub hf_home: Option<String>,
    /// GPUs of a node.
    pub gpus_per_node: u32,
    /// The port that the server listens on; 0 takes one that follows from the job's id.
    pub port: u16,
    /// The container's image; absent: the profile's.
    pub image: Option<String>,
    /// What the server's processes are started in; absent: the profile's way.
    pub container: Option<ContainerKind>,
    /// Program and arguments in place of the engine's own. `{model}`, `{host}` and `{port}` are filled in.
    pub command: Option<Vec<String>>,
    /// Added to the server's environment.
    pub environment: BTreeMap<String, String>,
    /// Appended to the server's command.
    pub extra_args: Vec<String>,
}

impl SlurmSpec {
    /// How many nodes so many GPUs are.
    pub fn nodes(&self, gpus: u32) -> u32 {
        gpus.div_ceil(self.gpus_per_node.max(1)).max(1)
    }
}

/// What a load generator in a job of its own asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlurmLoad {
    /// Which cluster.
    pub reach: SlurmReach,
    /// Its job.
    pub job: SlurmJob,
    /// Nodes that send together.
    pub nodes: u32,
    /// Processes of each node.
    pub tasks_per_node: u32,
    /// How long a server's job that has begun is waited for.
    #[serde(rename = "endpoint_timeout_s", with = "seconds")]
    pub endpoint_timeout: Duration,
}

/// Where the load generator runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadPlacement {
    /// On this machine.
    #[default]
    Local,
    /// In a Slurm job of its own.
    Slurm(Box<SlurmLoad>),
    /// In the server's Slurm job, on its first node.
    SameJob,
    /// In a Kubernetes Job.
    InCluster(Box<K8sLoad>),
}

impl LoadPlacement {
    /// The kind that configurations and messages name.
    pub fn kind(&self) -> BenchmarkerKind {
        match self {
            Self::Local => BenchmarkerKind::Local,
            Self::Slurm(_) => BenchmarkerKind::Slurm,
            Self::SameJob => BenchmarkerKind::SameJob,
            Self::InCluster(_) => BenchmarkerKind::InCluster,
        }
    }

    /// Whether it waits for the server there by itself, so that its job can be submitted while that server loads.
    pub fn waits_for(&self, server: &Placement) -> bool {
        match (self, server) {
            (Self::Slurm(load), Placement::Slurm(server)) => load.reach == server.reach,
            _ => false,
        }
    }

    /// Whether it runs on this machine.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walltimes() {
        let check = |text: &str, expected: Option<&str>| {
            let found = text.parse::<Walltime>().ok().map(|walltime| walltime.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        check("01:00:00", Some("01:00:00"));
        check("1:30:00", Some("01:30:00"));
        check("2-12:00:05", Some("2-12:00:05"));
        check("36:00:00", Some("1-12:00:00"));
        check("1:60:00", None);
        check("00:00:00", None);
        check("01:00:00:00", None);
        check("60", None);
        check("01:00", None);
        check("1h", None);
        check("--", None);
        check("", None);
    }

    #[test]
    fn a_cluster_has_a_profile() {
        let check = |cluster, system: Option<&str>, site: Option<&str>, expected: &str| {
            let reach = SlurmReach {
                cluster,
                firecrest_system: system.map(str::to_owned),
                ssh_host: None,
                site: site.map(str::to_owned),
                scratch_base: None,
            };
            assert_eq!(reach.site(), expected);
        };
        check(ClusterKind::Firecrest, None, None, "clariden");
        check(ClusterKind::Firecrest, Some("bristen"), None, "bristen");
        check(
            ClusterKind::Firecrest,
            Some("bristen"),
            Some("./own.toml"),
            "./own.toml",
        );
        check(ClusterKind::Ssh, None, None, "generic");
    }
}
