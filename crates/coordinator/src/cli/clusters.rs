//! Arguments of the commands that look at clusters.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use gipfel_model::ClusterKind;

use super::{DEFAULT_RESULTS_DIR, SiteArguments, values::parse_age};

/// `gipfel doctor …`.
#[derive(Debug, Subcommand)]
pub enum DoctorCommand {
    /// FirecREST: credentials, tokens, health, accounts and limits; and, given a configuration, all that its jobs ask for.
    /// Nothing is submitted and nothing is left behind. Exits with 14 when something is wrong.
    Slurm(DoctorSlurmArguments),
    /// Kubernetes: kubeconfig, reach, rights, namespace, quota, classes, Secrets, kinds of objects and GPUs, as the
    /// experiments of a configuration need them. Nothing is changed. Exits with 14 when something is wrong.
    K8s(DoctorK8sArguments),
}

/// `gipfel doctor k8s`.
#[derive(Clone, Debug, Args)]
pub struct DoctorK8sArguments {
    /// A configuration with experiments on Kubernetes.
    #[arg(value_name = "CONFIG")]
    pub config: PathBuf,
    /// The site of the configuration.
    #[command(flatten)]
    pub site: SiteArguments,
    /// Only these experiments of the configuration, as for `gipfel run`.
    #[arg(long, value_name = "PATTERN")]
    pub only: Vec<String>,
}

/// `gipfel doctor slurm`.
#[derive(Clone, Debug, Args)]
pub struct DoctorSlurmArguments {
    /// A configuration, by a name with a `/` or an ending, such as `alps.yaml`; or a system of FirecREST, such as
    /// `clariden`; by default all systems that the API has.
    #[arg(value_name = "CONFIG|SYSTEM")]
    pub target: Option<DoctorTarget>,
    /// The account that jobs will be charged to, where no configuration names one.
    #[arg(long)]
    pub account: Option<String>,
    /// The site of the configuration.
    #[command(flatten)]
    pub site: SiteArguments,
    /// Only these experiments of the configuration, as for `gipfel run`.
    #[arg(long, value_name = "PATTERN")]
    pub only: Vec<String>,
    /// The load generator that `gipfel run` will be given.
    #[arg(long, value_name = "FILE")]
    pub loadgen: Option<PathBuf>,
    /// A file with lines `NAME=VALUE` for variables that the environment lacks.
    #[arg(long, value_name = "FILE", default_value = ".env")]
    pub env_file: PathBuf,
}

/// What a doctor looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DoctorTarget {
    /// A configuration.
    Configuration(PathBuf),
    /// A system of FirecREST.
    System(firecrest_client::SystemName),
}

impl std::str::FromStr for DoctorTarget {
    type Err = firecrest_client::NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // No system's name has a dot or a slash.
        if text.contains(['/', '.']) {
            return Ok(Self::Configuration(text.into()));
        }
        text.parse().map(Self::System)
    }
}

/// Which clusters a command looks at: those of a configuration file, the one that options name, or those that the
/// campaigns of the results directory have used.
#[derive(Clone, Debug, Args)]
pub struct ClusterArguments {
    /// The way to the cluster: firecrest, commands (Slurm's, on this machine) or ssh.
    #[arg(long, value_name = "WAY")]
    pub cluster: Option<ClusterKind>,
    /// The login node, for the way `ssh`, which is then meant.
    #[arg(long, value_name = "HOST")]
    pub ssh_host: Option<String>,
    /// The cluster's name behind FirecREST, which is then meant unless another way is named.
    #[arg(long, value_name = "NAME")]
    pub firecrest_system: Option<String>,
    /// The cluster's profile: the name of a built-in one, or a file.
    #[arg(long, value_name = "NAME|FILE")]
    pub profile: Option<String>,
    /// The directory on the cluster under which our files lie.
    #[arg(long, value_name = "DIRECTORY")]
    pub scratch_base: Option<String>,
    /// The site of the configuration file.
    #[command(flatten)]
    pub site: SiteArguments,
    /// Where the campaigns are.
    #[arg(long, value_name = "DIRECTORY", default_value = DEFAULT_RESULTS_DIR)]
    pub results_dir: PathBuf,
}

/// `gipfel ps`.
#[derive(Clone, Debug, Args)]
pub struct PsArguments {
    /// A configuration file: the clusters are those that it names.
    #[arg(value_name = "CONFIG")]
    pub config: Option<PathBuf>,
    /// Which clusters.
    #[command(flatten)]
    pub clusters: ClusterArguments,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `gipfel clean`.
#[derive(Clone, Debug, Args)]
pub struct CleanArguments {
    /// A configuration file: the clusters are those that it names.
    #[arg(value_name = "CONFIG")]
    pub config: Option<PathBuf>,
    /// Which clusters.
    #[command(flatten)]
    pub clusters: ClusterArguments,
    /// Only what belongs to this campaign, or to the server or run of this name, or a part of it; its kept servers too.
    #[arg(long, value_name = "ID", conflicts_with = "all", value_parser = NonEmptyStringValueParser::new())]
    pub campaign: Option<String>,
    /// Servers that were kept by `--keep-server`, too.
    #[arg(long)]
    pub all: bool,
    /// Ask nothing.
    #[arg(short, long)]
    pub yes: bool,
    /// Remove the directories of ours that belong to nothing that lives, too.
    #[arg(long)]
    pub files: bool,
    /// Only directories in which nothing has begun or ended for so long.
    #[arg(long, value_name = "TIME", default_value = "1d", requires = "files", value_parser = parse_age)]
    pub older_than: Duration,
}

/// `gipfel connect`.
#[derive(Clone, Debug, Args)]
pub struct ConnectArguments {
    /// A server, a run or a campaign, or a part of its name; or a server's job, such as `slurm:4711`.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// A configuration file: the clusters are those that it names.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Which clusters.
    #[command(flatten)]
    pub clusters: ClusterArguments,
    /// The login node that the tunnel goes through; by default the configuration's `ssh_host`, else the profile's.
    #[arg(long, value_name = "HOST")]
    pub via: Option<String>,
    /// The port of this machine; by default the server's if it is free, else a free one.
    #[arg(long)]
    pub port: Option<u16>,
    /// Print the server's URL and the command of the tunnel, and open none.
    #[arg(long)]
    pub print: bool,
}
