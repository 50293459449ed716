//! What a simulator is made of: users, clusters, systems, limits.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use crate::{
    failures::{RandomFailures, Rule},
    span,
    token::Secret,
};

/// Everything that a simulator is started with.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Where the API and the token endpoint listen.
    pub listen: SocketAddr,
    /// Where the storage listens.
    pub storage_listen: SocketAddr,
    /// The path in front of every call, such as `/ml/firecrest/v2`; empty for none.
    pub base_path: String,
    /// Where scripts, uploads and objects lie; a temporary folder without it.
    pub spool: Option<PathBuf>,
    /// Tokens and their life.
    pub token: TokenOptions,
    /// Limits and timeouts that hold on every system.
    pub limits: Limits,
    /// Who may call.
    pub users: Vec<UserOptions>,
    /// The schedulers behind the systems.
    pub clusters: Vec<ClusterOptions>,
    /// The systems of the API.
    pub systems: Vec<SystemOptions>,
    /// The version that the server says it has; from 2.6 on, user information has another form.
    pub version: String,
    /// Failures from the beginning on.
    pub failures: Vec<Rule>,
    /// Failures by chance from the beginning on.
    pub random: RandomFailures,
}

impl Default for Options {
    fn default() -> Self {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            listen: loopback,
            storage_listen: loopback,
            base_path: String::new(),
            spool: None,
            token: TokenOptions::default(),
            limits: Limits::default(),
            users: Vec::new(),
            clusters: Vec::new(),
            systems: Vec::new(),
            version: "2.x.x".to_owned(),
            failures: Vec::new(),
            random: RandomFailures::default(),
        }
    }
}

impl Options {
    /// One user `demo` and one system `alps` of four nodes whose only file system `/scratch` lies in `root`.
    pub fn demo(root: &Path) -> Self {
        Self {
            users: vec![UserOptions::demo()],
            clusters: vec![ClusterOptions::named("alps")],
            systems: vec![SystemOptions {
                name: "alps".to_owned(),
                file_systems: vec![FileSystemOptions::scratch(root)],
                ..SystemOptions::default()
            }],
            ..Self::default()
        }
    }

    /// Reads options from TOML.
    pub fn from_toml(text: &str) -> Result<Self, OptionsError> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let before = error
                .span()
                .and_then(|span| text.get(..span.start))
                .unwrap_or_default();
            OptionsError {
                line: before.matches('\n').count() + 1,
                message: error.message().to_owned(),
            }
        })
    }
}

/// Why options are not read. It does not show the line itself, in which a secret may stand.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct OptionsError {
    line: usize,
    message: String,
}

/// How long tokens live and when they are refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenOptions {
    /// The life of a new token.
    #[serde(deserialize_with = "span::deserialize")]
    pub life: Duration,
    /// A token with less life than this is refused.
    #[serde(deserialize_with = "span::deserialize")]
    pub refused_below: Duration,
}

impl Default for TokenOptions {
    fn default() -> Self {
        Self {
            life: Duration::from_mins(5),
            refused_below: Duration::from_secs(30),
        }
    }
}

/// The limits and timeouts of the real server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The largest file of a direct upload; the encoded text of a direct download is bounded by it, too.
    pub ops_bytes: u64,
    /// The size of the parts of an upload through the storage.
    pub part_bytes: u64,
    /// How long a remote command may run.
    #[serde(deserialize_with = "span::deserialize")]
    pub command_timeout: Duration,
    /// How long a login may take.
    #[serde(deserialize_with = "span::deserialize")]
    pub login_timeout: Duration,
    /// How many remote commands of one user run at once on a system.
    pub ssh_channels: usize,
    /// How often the job of an upload looks for the object.
    #[serde(deserialize_with = "span::deserialize")]
    pub transfer_poll: Duration,
    /// How long the server tries an unreachable storage.
    #[serde(deserialize_with = "span::deserialize")]
    pub storage_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ops_bytes: 5_242_880,
            part_bytes: 2 << 30,
            command_timeout: Duration::from_secs(5),
            login_timeout: Duration::from_secs(5),
            ssh_channels: 10,
            transfer_poll: Duration::from_mins(1),
            storage_timeout: Duration::from_secs(5),
        }
    }
}

/// A group of a user.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupOptions {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: u32,
}

/// Somebody who may call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserOptions {
    /// The name, which is also that of the user's folder in each file system.
    pub name: String,
    /// The user's number.
    pub uid: u32,
    /// The groups, of which the first is the primary one.
    #[serde(default)]
    pub groups: Vec<GroupOptions>,
    /// The scheduler's accounts, of which the first is the default.
    #[serde(default)]
    pub accounts: Vec<String>,
    /// The OIDC client whose tokens speak for this user.
    pub client_id: String,
    /// That client's secret.
    pub client_secret: Secret,
    /// A key that may stand in `X-API-Key` in place of a token.
    #[serde(default)]
    pub api_key: Option<Secret>,
    /// Whether the server can log in as this user.
    #[serde(default = "yes")]
    pub ssh_credentials: bool,
}

impl UserOptions {
    /// The user `demo` with the client `demo` and the secret `demo-secret`.
    pub fn demo() -> Self {
        Self {
            name: "demo".to_owned(),
            uid: 25001,
            groups: vec![GroupOptions {
                name: "demo-lab".to_owned(),
                id: 25100,
            }],
            accounts: vec!["a-demo".to_owned()],
            client_id: "demo".to_owned(),
            client_secret: Secret::new("demo-secret"),
            api_key: None,
            ssh_credentials: true,
        }
    }

    pub(crate) fn group(&self) -> (&str, u32) {
        self.groups
            .first()
            .map_or((self.name.as_str(), self.uid), |group| {
                (group.name.as_str(), group.id)
            })
    }
}

const fn yes() -> bool {
    true
}

/// A scheduler with its nodes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterOptions {
    /// The name, which jobs carry as their cluster.
    pub name: String,
    /// Jobs go to a real Slurm by its commands in place of the simulator's own scheduler.
    pub slurm: bool,
    /// Where Slurm's commands lie; the search path without it.
    pub slurm_commands: Option<PathBuf>,
    /// The nodes of the simulator's own scheduler.
    pub nodes: Vec<String>,
    /// The partitions, of which the first is the default.
    pub partitions: Vec<PartitionOptions>,
    /// Reservations, which hold no node back.
    pub reservations: Vec<ReservationOptions>,
    /// The number of GPUs of a node.
    pub gpus_per_node: u32,
    /// The processors of a node.
    pub cpus_per_node: u32,
    /// A job over its partition's time is refused in place of kept pending.
    pub enforce_time_limit: bool,
    /// How many unfinished jobs each account may have.
    pub account_job_limits: Vec<AccountLimit>,
    /// How long a job is pending at least.
    #[serde(deserialize_with = "span::deserialize")]
    pub start_delay: Duration,
    /// The time between the polite and the hard end of a job.
    #[serde(deserialize_with = "span::deserialize")]
    pub kill_wait: Duration,
    /// How long a job that lost its node waits before it is pending for another.
    #[serde(deserialize_with = "span::deserialize")]
    pub requeue_delay: Duration,
    /// After this time the scheduler forgets an ended job, and its metadata come from the accounting.
    #[serde(deserialize_with = "span::deserialize")]
    pub minimum_job_age: Duration,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            name: "alps".to_owned(),
            slurm: false,
            slurm_commands: None,
            nodes: (1..=4).map(|n| format!("nid{n:06}")).collect(),
            partitions: vec![
                PartitionOptions::named("normal", Duration::from_hours(24)),
                PartitionOptions::named("debug", Duration::from_mins(30)),
                PartitionOptions {
                    exclusive: false,
                    ..PartitionOptions::named("xfer", Duration::from_hours(24))
                },
            ],
            reservations: Vec::new(),
            gpus_per_node: 4,
            cpus_per_node: 288,
            enforce_time_limit: false,
            account_job_limits: Vec::new(),
            start_delay: Duration::from_millis(200),
            kill_wait: Duration::from_secs(2),
            requeue_delay: Duration::from_mins(2),
            minimum_job_age: Duration::from_mins(5),
        }
    }
}

impl ClusterOptions {
    /// Four nodes and the partitions `normal`, `debug` and `xfer`.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }
}

/// A partition.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionOptions {
    /// Its name.
    pub name: String,
    /// Its nodes; all of the cluster's if empty.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// The longest time of a job.
    #[serde(deserialize_with = "span::deserialize")]
    pub time_limit: Duration,
    /// Whether a job has its nodes for itself.
    #[serde(default = "yes")]
    pub exclusive: bool,
    /// Shown only to those who ask for it.
    #[serde(default)]
    pub hidden: bool,
}

impl PartitionOptions {
    /// An exclusive partition of all nodes.
    pub fn named(name: &str, time_limit: Duration) -> Self {
        Self {
            name: name.to_owned(),
            nodes: Vec::new(),
            time_limit,
            exclusive: true,
            hidden: false,
        }
    }
}

/// A reservation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReservationOptions {
    /// Its name.
    pub name: String,
    /// Its nodes, as Slurm writes them.
    pub node_list: String,
    /// Its start, in seconds since 1970.
    pub start_s: i64,
    /// Its end, in seconds since 1970.
    pub end_s: i64,
}

/// The number of unfinished jobs that an account may have.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountLimit {
    /// The account.
    pub account: String,
    /// The number of jobs.
    pub jobs: usize,
}

/// A system of the API.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SystemOptions {
    /// The name, in lower case.
    pub name: String,
    /// The cluster that runs its jobs; the one of the same name without it.
    pub cluster: Option<String>,
    /// The declared file systems.
    pub file_systems: Vec<FileSystemOptions>,
    /// The lines in front of a transfer job's script; with `{account}` in one, transfers need an account.
    pub transfer_directives: Vec<String>,
    /// Whether the server looks after the health of its services, and refuses calls to unhealthy ones.
    pub health_checks: bool,
    /// The time between two looks.
    #[serde(deserialize_with = "span::deserialize")]
    pub health_interval: Duration,
    /// Overrides the command timeout of the limits.
    #[serde(deserialize_with = "optional_span")]
    pub command_timeout: Option<Duration>,
    /// Overrides the login timeout of the limits.
    #[serde(deserialize_with = "optional_span")]
    pub login_timeout: Option<Duration>,
}

fn optional_span<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Option<Duration>, D::Error> {
    span::deserialize(input).map(Some)
}

impl Default for SystemOptions {
    fn default() -> Self {
        Self {
            name: "alps".to_owned(),
            cluster: None,
            file_systems: Vec::new(),
            transfer_directives: [
                "--partition=xfer",
                "--nodes=1",
                "--time=0-00:15:00",
                "--account={account}",
            ]
            .map(|line| format!("#SBATCH {line}"))
            .to_vec(),
            health_checks: true,
            health_interval: Duration::from_mins(2),
            command_timeout: None,
            login_timeout: None,
        }
    }
}

impl SystemOptions {
    pub(crate) fn cluster_name(&self) -> &str {
        self.cluster.as_deref().unwrap_or(&self.name)
    }
}

/// A declared file system and the folder in which it lies.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSystemOptions {
    /// The path that callers see.
    pub path: String,
    /// The folder of this machine; the path itself without it.
    #[serde(default)]
    pub root: Option<PathBuf>,
    /// `scratch`, `store`, `users`, ….
    #[serde(default = "scratch")]
    pub data_type: String,
    /// Whether transfer jobs work here, in the folder of the user's name.
    #[serde(default)]
    pub default_work_dir: bool,
    /// Everybody owns everything, in place of each user the folder of the same name.
    #[serde(default)]
    pub shared: bool,
}

impl FileSystemOptions {
    /// The file system `/scratch`, in which transfer jobs work.
    pub fn scratch(root: &Path) -> Self {
        Self {
            path: "/scratch".to_owned(),
            root: Some(root.to_owned()),
            data_type: scratch(),
            default_work_dir: true,
            shared: false,
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.root.as_deref().unwrap_or_else(|| Path::new(&self.path))
    }
}

fn scratch() -> String {
    "scratch".to_owned()
}
