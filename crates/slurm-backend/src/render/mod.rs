//! Slurm jobs as scripts and files.
//!
//! [`server()`] and [`benchmarker()`] are pure: the same job gives the same files, byte for byte. Everything that a user says
//! goes through the functions of `shell`, so that no text can become a command.

mod benchmarker;
mod container;
mod server;
mod shell;

use std::time::Duration;

use askama::Template;
use firecrest_client::{FileMode, JobName, Mark, NameError, RemotePath};
use gipfel_engine::CommandError;
use gipfel_model::{BackendKind, ContainerKind, SlurmJob};

use crate::site::Site;

pub use benchmarker::{BenchmarkerJob, QueuedRun, benchmarker, queued_run};
pub use container::image;
pub(crate) use server::{RANK_SCRIPT, gpu_request, gpus_of_node};
pub use server::{ServerJob, server};

/// A job that can be submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedJob {
    /// Its name, which no other job has.
    pub name: JobName,
    /// Its script, from `#!` on.
    pub script: String,
    /// The files that the script needs beside itself, in the job's directory.
    pub files: Vec<RenderedFile>,
    /// How many nodes it asks for.
    pub nodes: u32,
    /// How long it may live.
    pub walltime: Duration,
    /// What the profile says against it: Slurm will probably refuse the job, or let it wait for ever.
    pub warnings: Vec<String>,
}

/// A file of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedFile {
    /// Its name in the job's directory.
    pub name: String,
    /// What it holds.
    pub content: String,
    /// Who may read it.
    pub mode: FileMode,
}

/// The name under which a server's script lies in its directory.
pub const SERVER_SCRIPT: &str = "server.sbatch";

/// The name under which a load generator's script lies in its directory.
pub const BENCHMARKER_SCRIPT: &str = "benchmarker.sbatch";

/// The file into which the first job of a server or run writes its own id; later ones have their number behind it.
pub const MARK_FILE: &str = "jobid";

/// The name of the job of a server or run with this number, from 1.
pub fn job_name(id: &str, attempt: u32) -> Result<JobName, NameError> {
    JobName::try_new(match attempt {
        1 => format!("gipfel-{id}"),
        attempt => format!("gipfel-{id}-{attempt}"),
    })
}

/// The mark of the job with this number in the directory of its server or run.
pub fn mark(directory: &RemotePath, attempt: u32) -> Result<Mark, NameError> {
    let file = match attempt {
        1 => directory.join(MARK_FILE),
        attempt => directory.join(&format!("{MARK_FILE}-{attempt}")),
    };
    file.map(Mark::new)
}

/// A job that cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The engine's settings.
    #[error("the engine's command cannot be made")]
    Command(#[from] CommandError),
    /// The engine is only a URL.
    #[error("`backend: {backend}` has no command of its own: give `command`, with paths of the cluster")]
    NoCommand {
        /// The engine.
        backend: BackendKind,
    },
    /// The simulator is gipfel, which is not on the cluster.
    #[error(
        "the simulator is gipfel itself, which nobody has brought to the cluster: give `command`, such as \
         [/path/of/gipfel, sim, --host, \"{{host}}\", --port, \"{{port}}\"]"
    )]
    Simulator,
    /// The engine serves from one node only.
    #[error("`{backend}` serves from one node, and {gpus} GPUs are {nodes} nodes")]
    OneNode {
        /// The engine.
        backend: BackendKind,
        /// How many GPUs were asked for.
        gpus: u32,
        /// How many nodes these are.
        nodes: u32,
    },
    /// The GPUs cannot be spread evenly.
    #[error("{gpus} GPUs cannot be spread evenly over {nodes} nodes")]
    Uneven {
        /// How many GPUs were asked for.
        gpus: u32,
        /// How many nodes these are.
        nodes: u32,
    },
    /// Replicas over several nodes need a router of their own.
    #[error("`data_parallel_size` works on one node only: start several deployments in place of it")]
    DataParallel,
    /// A node has fewer GPUs.
    #[error("`gpus_per_node` is {asked}, and a node of `{site}` has {most}")]
    TooManyGpus {
        /// How many were asked for.
        asked: u32,
        /// How many there are.
        most: u32,
        /// The profile.
        site: String,
    },
    /// There is no image for the engine.
    #[error("`{site}` starts servers in containers and names no image for `{backend}`: give `image`")]
    NoImage {
        /// The engine.
        backend: BackendKind,
        /// The profile.
        site: String,
    },
    /// Several ports are needed.
    #[error("port {port} is too high: the next ones are used as well")]
    Port {
        /// The port.
        port: u16,
    },
    /// A value for Slurm would be read as something else.
    #[error("`{value}` is no {option} for Slurm: it has no spaces, quotes or signs of a shell")]
    Option {
        /// The option.
        option: &'static str,
        /// What was given.
        value: String,
    },
    /// An option of one's own cannot be passed on.
    #[error("`sbatch_args` cannot hold `{argument}`: {problem}")]
    Argument {
        /// The option.
        argument: String,
        /// Why.
        problem: &'static str,
    },
    /// A variable's name is none.
    #[error("`{name}` is no name of a variable: use letters, digits and `_`, not beginning with a digit")]
    Variable {
        /// The name.
        name: String,
    },
    /// A text holds what no script can hold.
    #[error("{what} holds a control character that no script can hold")]
    Control {
        /// Which text.
        what: &'static str,
    },
    /// A name or path is none.
    #[error("a name or path of the job cannot be used on the cluster")]
    Name(#[from] NameError),
    /// A template failed.
    #[error("the script cannot be written")]
    Template(#[from] askama::Error),
}

/// The lines that both kinds of jobs begin with.
struct Header {
    directives: Vec<String>,
    mark: String,
    /// What Slurm writes the output to.
    log: String,
    /// In seconds.
    walltime: u64,
    prologue: Vec<String>,
}

/// What every job of ours asks for.
struct Request<'a> {
    name: &'a JobName,
    campaign: &'a str,
    job: &'a SlurmJob,
    site: &'a Site,
    directory: &'a RemotePath,
    log: &'a str,
    nodes: u32,
    tasks_per_node: u32,
    attempt: u32,
}

impl Header {
    fn new(request: &Request<'_>) -> Result<Self, RenderError> {
        let Request {
            name,
            nodes,
            directory,
            ..
        } = request;
        let tasks = nodes.saturating_mul(request.tasks_per_node);
        // A percent sign begins a pattern in the names of logs.
        let log = directory.join(request.log)?.as_str().replace('%', "%%");
        let mut directives = vec![
            format!("--job-name={name}"),
            format!("--comment=\"gipfel campaign={}\"", request.campaign),
            format!("--chdir={directory}"),
            format!("--output={log}"),
            // A second job of one submission leaves at once, and must not empty the first one's log before.
            "--open-mode=append".to_owned(),
            "--no-requeue".to_owned(),
            format!("--nodes={nodes}"),
            format!("--ntasks={tasks}"),
            format!("--ntasks-per-node={}", request.tasks_per_node),
            format!("--time={}", request.job.walltime),
        ];
        directives.extend(shell::directives(request.job)?);
        let mark = mark(directory, request.attempt)?;
        Ok(Self {
            directives,
            mark: mark.script_lines(),
            log: request.log.to_owned(),
            walltime: request.job.walltime.duration().as_secs(),
            prologue: request.site.prologue.clone(),
        })
    }
}

/// What the profile's partition says against a job.
fn objections(site: &Site, job: &SlurmJob, nodes: u32) -> Vec<String> {
    let Some(partition) = site.partitions.get(&job.partition) else {
        return Vec::new();
    };
    let name = format!("partition `{}` of {}", job.partition, site.name);
    let node_hours = f64::from(nodes) * job.walltime.hours();
    let limit = partition.time_limit.filter(|limit| job.walltime > *limit);
    let most_nodes = partition.nodes.filter(|most| nodes > *most);
    let most_hours = partition.node_hours.filter(|most| node_hours > *most);
    let objections = [
        limit.map(|limit| {
            format!(
                "{name} gives at most {limit}, and the job asks for {}",
                job.walltime
            )
        }),
        most_nodes.map(|most| format!("{name} gives at most {most} nodes, and the job asks for {nodes}")),
        most_hours.map(|most| {
            format!("{name} gives at most {most} node-hours, and the job asks for {node_hours:.1}")
        }),
    ];
    objections.into_iter().flatten().collect()
}

/// A template's text; the template engine drops its last end of a line.
fn text(template: &impl Template) -> Result<String, RenderError> {
    Ok(template.render()? + "\n")
}

/// A file that only its owner may read.
fn private(name: &str, content: String) -> RenderedFile {
    RenderedFile {
        name: name.to_owned(),
        content,
        mode: FileMode::try_new(0o600).expect("these bits are permissions"),
    }
}

/// What a server is started in: the user's choice, nothing for a command without an image, else the profile's.
fn container_kind(
    chosen: Option<ContainerKind>,
    has_command: bool,
    image: Option<&str>,
    site: &Site,
) -> ContainerKind {
    match chosen {
        Some(kind) => kind,
        None if has_command && image.is_none() => ContainerKind::Bare,
        None => site.container.kind,
    }
}
