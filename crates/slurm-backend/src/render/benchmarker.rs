//! The job of a load generator, and a run that is carried out in the server's job.

use std::time::Duration;

use askama::Template;
use firecrest_client::RemotePath;
use gipfel_model::{CampaignId, RunId, SlurmLoad};

use super::{
    Header, RenderError, RenderedFile, RenderedJob, Request, job_name, mark, objections, private,
    server::ProxyWords, shell, text,
};
use crate::site::Site;

/// The name of the script that starts one process of the load generator.
const TASK_SCRIPT: &str = "load.sh";

/// Processors of each process where nodes are shared: a thread on each sends.
const SHARED_CPUS: u32 = 8;

/// A load generator to be started in a job of its own.
#[derive(Clone, Copy, Debug)]
pub struct BenchmarkerJob<'a> {
    /// The run.
    pub id: &'a RunId,
    /// Its campaign.
    pub campaign: &'a CampaignId,
    /// What it asks for.
    pub load: &'a SlurmLoad,
    /// The cluster's profile.
    pub site: &'a Site,
    /// The run's directory.
    pub directory: &'a RemotePath,
    /// Which job of the run it is, from 1.
    pub attempt: u32,
    /// The load generator.
    pub program: &'a RemotePath,
    /// The directory of the server's deployment; absent: the run's configuration names the server.
    pub deployment: Option<&'a RemotePath>,
    /// How long the server's endpoint is waited for.
    pub endpoint_timeout: Duration,
}

/// A run that the server's job carries out, on its first node.
#[derive(Clone, Copy, Debug)]
pub struct QueuedRun<'a> {
    /// The run.
    pub id: &'a RunId,
    /// The cluster's profile.
    pub site: &'a Site,
    /// The run's directory.
    pub directory: &'a RemotePath,
    /// Which job of the run it is, from 1.
    pub attempt: u32,
    /// The load generator.
    pub program: &'a RemotePath,
    /// The directory of the server's deployment.
    pub deployment: &'a RemotePath,
    /// How long the server's endpoint is waited for.
    pub endpoint_timeout: Duration,
}

#[derive(Template)]
#[template(path = "benchmarker.sbatch", escape = "none")]
struct BenchmarkerScript {
    header: Header,
    directory: String,
    work: String,
    nodes: u32,
    tasks_per_node: u32,
    tasks: u32,
    /// What `srun` is told of the processors, with a space behind it.
    cpus: String,
    task_script: String,
    load_generator: String,
    proxy: Option<ProxyWords>,
}

#[derive(Template)]
#[template(path = "load.sh", escape = "none")]
struct TaskScript<'a> {
    id: &'a RunId,
    command: Command,
    tasks: u32,
}

#[derive(Template)]
#[template(path = "queued.sh", escape = "none")]
struct QueuedScript<'a> {
    id: &'a RunId,
    mark: String,
    directory: String,
    work: String,
    load_generator: String,
    command: Command,
}

/// The load generator's program and arguments, as words.
struct Command {
    program: String,
    directory: String,
    /// What it needs to know of the server, with a space before it.
    server: String,
}

impl Command {
    fn new(
        program: &RemotePath,
        directory: &RemotePath,
        deployment: Option<&RemotePath>,
        endpoint_timeout: Duration,
    ) -> Result<Self, RenderError> {
        let server = match deployment {
            None => String::new(),
            Some(deployment) => {
                let endpoint = deployment.join("endpoint.txt")?;
                let heartbeat = deployment.join("heartbeat")?;
                format!(
                    " --endpoint-file {} --endpoint-timeout {}s --heartbeat-file {}",
                    shell::quote(endpoint.as_str()),
                    endpoint_timeout.as_secs().max(1),
                    shell::quote(heartbeat.as_str())
                )
            }
        };
        Ok(Self {
            program: shell::quote(program.as_str()),
            directory: shell::quote(directory.as_str()),
            server,
        })
    }
}

/// The node's own directory for a run, as a word of a script.
fn work(site: &Site, id: &RunId) -> Result<String, RenderError> {
    shell::check_text("`local_directory`", &site.local_directory)?;
    let directory = site.local_directory.trim_end_matches('/');
    Ok(format!(
        "{}\"-$SLURM_JOB_ID\"",
        shell::quote(&format!("{directory}/gipfel-{id}"))
    ))
}

/// The processors of a process on a node that other jobs share; where a whole node is given, all of them are its own.
fn cpus_per_task(site: &Site, partition: &str) -> Option<u32> {
    let partition = site.partitions.get(partition)?;
    partition.shared.then_some(SHARED_CPUS)
}

/// Renders a load generator's job.
pub fn benchmarker(job: &BenchmarkerJob<'_>) -> Result<RenderedJob, RenderError> {
    let BenchmarkerJob {
        load,
        site,
        directory,
        ..
    } = *job;
    let name = job_name(job.id.as_str(), job.attempt)?;
    let mut header = Header::new(&Request {
        name: &name,
        campaign: job.campaign.as_str(),
        job: &load.job,
        site,
        directory,
        log: "benchmarker.log",
        nodes: load.nodes,
        tasks_per_node: load.tasks_per_node,
        attempt: job.attempt,
    })?;
    let cpus = cpus_per_task(site, &load.job.partition);
    header
        .directives
        .extend(cpus.map(|cpus| format!("--cpus-per-task={cpus}")));
    let tasks = load.nodes.saturating_mul(load.tasks_per_node);
    let task = TaskScript {
        id: job.id,
        command: Command::new(job.program, directory, job.deployment, job.endpoint_timeout)?,
        tasks,
    };
    let script = BenchmarkerScript {
        header,
        directory: shell::quote(directory.as_str()),
        work: work(site, job.id)?,
        nodes: load.nodes,
        tasks_per_node: load.tasks_per_node,
        tasks,
        cpus: cpus.map_or_else(String::new, |cpus| format!("--cpus-per-task={cpus} ")),
        task_script: shell::quote(directory.join(TASK_SCRIPT)?.as_str()),
        load_generator: shell::quote(job.program.as_str()),
        proxy: site.proxy.as_ref().map(ProxyWords::new),
    };
    Ok(RenderedJob {
        name,
        script: text(&script)?,
        files: vec![private(TASK_SCRIPT, text(&task)?)],
        nodes: load.nodes,
        walltime: load.job.walltime.duration(),
        warnings: objections(site, &load.job, load.nodes),
    })
}

/// Renders a run for the queue of a server's job: the file `queue/<run id>` in the deployment's directory.
pub fn queued_run(run: &QueuedRun<'_>) -> Result<RenderedFile, RenderError> {
    let script = QueuedScript {
        id: run.id,
        mark: mark(run.directory, run.attempt)?.script_lines(),
        directory: shell::quote(run.directory.as_str()),
        work: work(run.site, run.id)?,
        load_generator: shell::quote(run.program.as_str()),
        command: Command::new(
            run.program,
            run.directory,
            Some(run.deployment),
            run.endpoint_timeout,
        )?,
    };
    Ok(private(run.id.as_str(), text(&script)?))
}
