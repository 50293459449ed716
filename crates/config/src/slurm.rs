//! What Slurm jobs ask for, from the keys of a configuration.

use std::time::Duration;

use gipfel_model::{
    BenchmarkerKind, ClusterKind, ContainerKind, DeploymentKind, LocalSpec, SlurmJob, SlurmLoad, SlurmReach,
    SlurmSpec, Walltime,
};

use crate::{field::Field, section::Section};

/// Keys that only the server's job reads.
pub(crate) const SERVER_KEYS: &[&str] = &[
    "partition",
    "server_time_limit",
    "qos",
    "reservation",
    "constraint",
    "exclude",
    "sbatch_args",
    "hf_token_path",
    "container",
];

/// What Slurm's and Kubernetes' servers are made from.
pub(crate) const IMAGE_KEYS: &[&str] = &["image"];

/// Keys of the cluster and of the load generator's job, which may send to a URL as well.
pub(crate) const LOAD_KEYS: &[&str] = &[
    "site",
    "cluster",
    "ssh_host",
    "firecrest_system",
    "account",
    "scratch_base",
    "benchmarker",
    "benchmarker_partition",
    "benchmarker_time_limit",
    "benchmarker_nodes",
    "benchmarker_tasks_per_node",
    "benchmarker_sbatch_args",
];

/// What one level of the file says; what it leaves open is absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct SlurmSettings {
    cluster: Option<ClusterKind>,
    ssh_host: Option<String>,
    firecrest_system: Option<String>,
    site: Option<String>,
    account: Option<String>,
    scratch_base: Option<String>,
    hf_token_path: Option<String>,
    image: Option<String>,
    container: Option<ContainerKind>,
    server: JobSettings,
    benchmarker: Option<BenchmarkerKind>,
    benchmarker_nodes: Option<u32>,
    benchmarker_tasks_per_node: Option<u32>,
    load: JobSettings,
}

/// What one of the two jobs asks for.
#[derive(Clone, Debug, Default)]
struct JobSettings {
    partition: Option<String>,
    qos: Option<String>,
    reservation: Option<String>,
    constraint: Option<String>,
    exclude: Option<String>,
    walltime: Option<Walltime>,
    sbatch_args: Option<Vec<String>>,
}

impl SlurmSettings {
    pub(crate) fn take(section: &mut Section<'_>) -> Self {
        let site = section.take("site");
        let cluster = section.take("cluster");
        let benchmarker = section.take("benchmarker");
        let container = section.take("container");
        let image = section.take("image");
        let hf_token_path = section.take("hf_token_path");
        Self {
            site: text(&site, "the name of a profile, or the path of a file"),
            cluster: cluster.as_choice(ClusterKind::ALL, ClusterKind::as_str),
            ssh_host: word(&section.take("ssh_host"), "the name of a login node"),
            firecrest_system: word(&section.take("firecrest_system"), "the name of a system"),
            account: word(&section.take("account"), "the name of an account"),
            scratch_base: read_directory(&section.take("scratch_base")),
            hf_token_path: text(&hf_token_path, "the path of a file on the cluster"),
            image: text(&image, "an image, such as `vllm/vllm-openai:v0.11.0` or a path"),
            container: container.as_choice(ContainerKind::ALL, ContainerKind::as_str),
            server: JobSettings {
                partition: word(&section.take("partition"), "the name of a partition"),
                qos: word(&section.take("qos"), "the name of a quality of service"),
                reservation: word(&section.take("reservation"), "the name of a reservation"),
                constraint: word(&section.take("constraint"), "features of nodes"),
                exclude: word(
                    &section.take("exclude"),
                    "a list of nodes, such as `nid001[001-004]`",
                ),
                walltime: read_walltime(&section.take("server_time_limit")),
                sbatch_args: read_options(&section.take("sbatch_args")),
            },
            benchmarker: benchmarker.as_choice(BenchmarkerKind::ALL, BenchmarkerKind::as_str),
            benchmarker_nodes: section.take("benchmarker_nodes").as_count(),
            benchmarker_tasks_per_node: section.take("benchmarker_tasks_per_node").as_count(),
            load: JobSettings {
                partition: word(&section.take("benchmarker_partition"), "the name of a partition"),
                walltime: read_walltime(&section.take("benchmarker_time_limit")),
                sbatch_args: read_options(&section.take("benchmarker_sbatch_args")),
                ..JobSettings::default()
            },
        }
    }

    pub(crate) fn or(self, defaults: &Self) -> Self {
        let or = |own: Option<String>, default: &Option<String>| own.or_else(|| default.clone());
        Self {
            cluster: self.cluster.or(defaults.cluster),
            ssh_host: or(self.ssh_host, &defaults.ssh_host),
            firecrest_system: or(self.firecrest_system, &defaults.firecrest_system),
            site: or(self.site, &defaults.site),
            account: or(self.account, &defaults.account),
            scratch_base: or(self.scratch_base, &defaults.scratch_base),
            hf_token_path: or(self.hf_token_path, &defaults.hf_token_path),
            image: or(self.image, &defaults.image),
            container: self.container.or(defaults.container),
            server: self.server.or(&defaults.server),
            benchmarker: self.benchmarker.or(defaults.benchmarker),
            benchmarker_nodes: self.benchmarker_nodes.or(defaults.benchmarker_nodes),
            benchmarker_tasks_per_node: self
                .benchmarker_tasks_per_node
                .or(defaults.benchmarker_tasks_per_node),
            load: self.load.or(&defaults.load),
        }
    }

    fn reach(&self) -> SlurmReach {
        SlurmReach {
            cluster: self.cluster.unwrap_or(ClusterKind::Firecrest),
            firecrest_system: self.firecrest_system.clone(),
            ssh_host: self.ssh_host.clone(),
            site: self.site.clone(),
            scratch_base: self.scratch_base.clone(),
        }
    }

    /// The server's specification; the program, its environment and its arguments are those of `local`.
    pub(crate) fn server(
        &self,
        local: LocalSpec,
        hf_home: Option<String>,
        gpus_per_node: u32,
        port: u16,
    ) -> SlurmSpec {
        SlurmSpec {
            reach: self.reach(),
            job: self.server.job(self.account.clone(), "debug"),
            hf_token_path: self
                .hf_token_path
                .clone()
                .unwrap_or_else(|| "~/.hf_token".to_owned()),
            hf_home,
            gpus_per_node,
            port,
            image: self.image.clone(),
            container: self.container,
            command: local.command,
            environment: local.environment,
            extra_args: local.extra_args,
        }
    }

    /// Where the load generator is to run.
    pub(crate) fn benchmarker(&self) -> Option<BenchmarkerKind> {
        self.benchmarker
    }

    /// What the server's container is made from.
    pub(crate) fn image(&self) -> Option<&str> {
        self.image.as_deref()
    }

    /// A load generator in a job of its own.
    pub(crate) fn load(&self, endpoint_timeout: Duration) -> SlurmLoad {
        SlurmLoad {
            reach: self.reach(),
            job: self.load.job(self.account.clone(), "normal"),
            nodes: self.benchmarker_nodes.unwrap_or(1),
            tasks_per_node: self.benchmarker_tasks_per_node.unwrap_or(1),
            endpoint_timeout,
        }
    }

    /// Names what the keys of one experiment, with its defaults, do not have or do not go together with.
    pub(crate) fn check(&self, section: &Section<'_>, kind: DeploymentKind) {
        let has_server = kind == DeploymentKind::Slurm;
        let uses_slurm = has_server || self.benchmarker == Some(BenchmarkerKind::Slurm);
        if uses_slurm && self.cluster == Some(ClusterKind::Ssh) && self.ssh_host.is_none() {
            section.reading.fault(
                section.place_of_key("ssh_host"),
                "missing: `cluster: ssh` needs the name of a login node",
            );
        }
        let what = match kind {
            DeploymentKind::External => "a URL",
            DeploymentKind::K8s => "a server on Kubernetes",
            DeploymentKind::Slurm => "a Slurm job",
            DeploymentKind::Local => "a process of this machine",
        };
        let misplaced = match self.benchmarker {
            Some(BenchmarkerKind::SameJob) if !has_server => {
                Some("`same-job` is for servers that are Slurm jobs")
            }
            Some(BenchmarkerKind::InCluster) if has_server => {
                Some("`in-cluster` is for servers on Kubernetes and for URLs")
            }
            _ => None,
        };
        if let Some(misplaced) = misplaced {
            section.reading.fault(
                section.place_of_key("benchmarker"),
                format!("{misplaced}; this one is {what}"),
            );
        }
        let is_far = self.cluster != Some(ClusterKind::Commands);
        if has_server && is_far && self.benchmarker == Some(BenchmarkerKind::Local) {
            section.reading.warn(
                &section.place_of_key("benchmarker"),
                "the load of this machine reaches the server through a tunnel over ssh, whose time counts as the \
                 server's latency; it lives as long as gipfel does",
            );
        }
        let own = LOAD_KEYS
            .iter()
            .filter(|key| !uses_slurm && **key != "benchmarker" && section.has(key));
        for key in own {
            section.reading.warn(
                &section.place_of_key(key),
                format!("has no effect on {what} without `benchmarker: slurm`"),
            );
        }
    }
}

impl JobSettings {
    fn or(self, defaults: &Self) -> Self {
        let or = |own: Option<String>, default: &Option<String>| own.or_else(|| default.clone());
        Self {
            partition: or(self.partition, &defaults.partition),
            qos: or(self.qos, &defaults.qos),
            reservation: or(self.reservation, &defaults.reservation),
            constraint: or(self.constraint, &defaults.constraint),
            exclude: or(self.exclude, &defaults.exclude),
            walltime: self.walltime.or(defaults.walltime),
            sbatch_args: self.sbatch_args.or_else(|| defaults.sbatch_args.clone()),
        }
    }

    fn job(&self, account: Option<String>, partition: &str) -> SlurmJob {
        SlurmJob {
            account,
            partition: self.partition.clone().unwrap_or_else(|| partition.to_owned()),
            qos: self.qos.clone(),
            reservation: self.reservation.clone(),
            constraint: self.constraint.clone(),
            exclude: self.exclude.clone(),
            walltime: self.walltime.unwrap_or(Walltime::DEFAULT),
            sbatch_args: self.sbatch_args.clone().unwrap_or_default(),
        }
    }
}

fn text(field: &Field<'_>, allowed: &str) -> Option<String> {
    field.as_text(allowed).map(str::to_owned)
}

/// What neither Slurm nor a shell reads as anything else than text, or as more than one.
pub(crate) const WORD: &str = r#"^[^\s"'`$\\;<>\x00-\x1f-][^\s"'`$\\;<>\x00-\x1f]*$"#;

fn word(field: &Field<'_>, allowed: &str) -> Option<String> {
    let text = field.as_text(allowed)?;
    let is_safe = |c: char| !c.is_whitespace() && !c.is_control() && !"\"'`$\\;<>".contains(c);
    if text.starts_with('-') || !text.chars().all(is_safe) {
        return field.refuse(format!("{allowed}, without spaces and quotes"));
    }
    Some(text.to_owned())
}

fn read_directory(field: &Field<'_>) -> Option<String> {
    let allowed = "an absolute path of the cluster, such as `/scratch/me`";
    let text = field.as_text(allowed)?;
    if text.starts_with('/') {
        Some(text.to_owned())
    } else {
        field.refuse(allowed)
    }
}

/// Reads `HH:MM:SS`, or `D-HH:MM:SS` for days.
fn read_walltime(field: &Field<'_>) -> Option<Walltime> {
    let allowed = "a walltime as `HH:MM:SS` or `D-HH:MM:SS`, such as \"01:00:00\"";
    match field.as_text(allowed)?.parse() {
        Ok(walltime) => Some(walltime),
        Err(_) => field.refuse(allowed),
    }
}

/// Reads options of `sbatch`, each as a line of a script has it.
fn read_options(field: &Field<'_>) -> Option<Vec<String>> {
    let allowed = "a list of options, such as `[--mem=0, --cpus-per-task=8]`";
    let items = field.as_list(allowed)?;
    let options = items.iter().filter_map(|item| {
        let allowed = "an option of sbatch on one line, such as `--mem=0`";
        let text = item.as_text(allowed)?;
        if text.starts_with('-') && !text.contains(char::is_control) {
            Some(text.to_owned())
        } else {
            item.refuse(allowed)
        }
    });
    Some(options.collect())
}
