//! The job of a server.

use askama::Template;
use firecrest_client::RemotePath;
use gipfel_engine::{ClusterCommand, engine};
use gipfel_model::{BackendKind, CampaignId, DeploymentId, DeploymentSpec, LocalSpec, SlurmSpec};

use super::{
    Header, RenderError, RenderedJob, Request,
    container::{Launcher, launcher},
    job_name, objections, private, shell, text,
};
use crate::site::{GpuRequest, Proxy, Site};

/// The name of the script that starts one node's part of the server.
pub(crate) const RANK_SCRIPT: &str = "rank.sh";

/// The arguments of the rank script, in this order.
const PLACES: [&str; 5] = ["rank", "address", "head", "listen", "port"];

/// A server to be started.
#[derive(Clone, Copy, Debug)]
pub struct ServerJob<'a> {
    /// The deployment.
    pub id: &'a DeploymentId,
    /// Its campaign.
    pub campaign: &'a CampaignId,
    /// What it serves.
    pub spec: &'a DeploymentSpec,
    /// What it asks for.
    pub slurm: &'a SlurmSpec,
    /// The cluster's profile.
    pub site: &'a Site,
    /// The deployment's directory.
    pub directory: &'a RemotePath,
    /// Which job of the deployment it is, from 1.
    pub attempt: u32,
}

#[derive(Template)]
#[template(path = "server.sbatch", escape = "none")]
struct ServerScript<'a> {
    header: Header,
    directory: String,
    nodes: u32,
    port: u16,
    hf_token_path: String,
    proxy: Option<ProxyWords>,
    health_path: String,
    models_path: Option<String>,
    ready_timeout: u64,
    rank_log: String,
    rank_script: String,
    step_options: &'a [String],
    before: &'a str,
}

/// A proxy as words of a script.
pub(super) struct ProxyWords {
    pub(super) url: String,
    /// Each with a comma before it.
    pub(super) except: String,
}

impl ProxyWords {
    pub(super) fn new(proxy: &Proxy) -> Self {
        let except = proxy.except.iter().map(|name| format!(",{name}"));
        Self {
            url: shell::quote(&proxy.url),
            except: shell::quote(&except.collect::<Vec<_>>().concat()),
        }
    }
}

#[derive(Template)]
#[template(path = "rank.sh", escape = "none")]
struct RankScript<'a> {
    id: &'a DeploymentId,
    /// The arguments that the script uses, with their places.
    variables: Vec<(&'static str, usize)>,
    uses_head_port: bool,
    environment: Vec<(String, String)>,
    with_ray: bool,
    gpus: u32,
    gpus_per_node: u32,
    frontend: Option<String>,
    command: String,
    /// What goes behind the command, each with a space before it.
    ranks: String,
    followers: String,
}

/// Renders a server's job.
pub fn server(job: &ServerJob<'_>) -> Result<RenderedJob, RenderError> {
    let ServerJob {
        spec, slurm, site, ..
    } = *job;
    check(job)?;
    let name = job_name(job.id.as_str(), job.attempt)?;
    let nodes = slurm.nodes(spec.gpus());
    let mut header = Header::new(&Request {
        name: &name,
        campaign: job.campaign.as_str(),
        job: &slurm.job,
        site,
        directory: job.directory,
        log: "server.log",
        nodes,
        tasks_per_node: 1,
        attempt: job.attempt,
    })?;
    header.directives.extend(gpu_directives(job));
    let launcher = launcher(slurm, spec.backend, site, job.directory)?;
    let script = script(job, header, &launcher)?;
    let mut files = launcher.files;
    files.push(private(RANK_SCRIPT, rank_script(job)?));
    Ok(RenderedJob {
        name,
        script,
        files,
        nodes,
        walltime: slurm.job.walltime.duration(),
        warnings: objections(site, &slurm.job, nodes),
    })
}

/// What cannot work, whatever the cluster says.
fn check(job: &ServerJob<'_>) -> Result<(), RenderError> {
    let ServerJob {
        spec, slurm, site, ..
    } = *job;
    let gpus = spec.gpus();
    let nodes = slurm.nodes(gpus);
    if let Some(most) = site.gpus_per_node.filter(|most| slurm.gpus_per_node > *most) {
        return Err(RenderError::TooManyGpus {
            asked: slurm.gpus_per_node,
            most,
            site: site.name.clone(),
        });
    }
    if nodes > 1 && gpus % nodes != 0 {
        return Err(RenderError::Uneven { gpus, nodes });
    }
    if nodes > 1 && spec.backend_config.contains_key("data_parallel_size") {
        return Err(RenderError::DataParallel);
    }
    if slurm.port.checked_add(2).is_none() {
        return Err(RenderError::Port { port: slurm.port });
    }
    Ok(())
}

fn gpu_directives(job: &ServerJob<'_>) -> Vec<String> {
    let ServerJob {
        spec, slurm, site, ..
    } = *job;
    let gpus = gpus_of_node(spec, slurm, site);
    let request = match gpu_request(spec, site) {
        GpuRequest::None => None,
        GpuRequest::GpusPerNode => Some(format!("--gpus-per-node={gpus}")),
        GpuRequest::Gres => Some(format!("--gres=gpu:{gpus}")),
    };
    request
        .into_iter()
        .chain(is_exclusive(slurm, site).then(|| "--exclusive".to_owned()))
        .collect()
}

/// How GPUs are asked for, if the engine uses any.
pub(crate) fn gpu_request(spec: &DeploymentSpec, site: &Site) -> GpuRequest {
    // Whoever has whole nodes has their GPUs as well, so asking for them costs nothing there.
    match spec.backend {
        BackendKind::Sim if !site.exclusive => GpuRequest::None,
        _ => site.gpu_request,
    }
}

fn is_exclusive(slurm: &SlurmSpec, site: &Site) -> bool {
    let partition = site.partitions.get(&slurm.job.partition);
    site.exclusive && !partition.is_some_and(|partition| partition.shared)
}

/// The GPUs of each node that a server's job asks for.
pub(crate) fn gpus_of_node(spec: &DeploymentSpec, slurm: &SlurmSpec, site: &Site) -> u32 {
    // Whoever has the node has its GPUs; on a shared one the others are somebody else's.
    if is_exclusive(slurm, site) {
        slurm.gpus_per_node
    } else {
        slurm.gpus_per_node.min(spec.gpus())
    }
}

fn script(job: &ServerJob<'_>, header: Header, launcher: &Launcher) -> Result<String, RenderError> {
    let ServerJob {
        spec,
        slurm,
        site,
        directory,
        ..
    } = *job;
    let engine = engine(spec.backend);
    shell::check_text("`hf_token_path`", &slurm.hf_token_path)?;
    let rank_log = directory.join("rank-")?.as_str().replace('%', "%%");
    let script = ServerScript {
        header,
        directory: shell::quote(directory.as_str()),
        nodes: slurm.nodes(spec.gpus()),
        port: slurm.port,
        hf_token_path: shell::path_word(&slurm.hf_token_path),
        proxy: site.proxy.as_ref().map(ProxyWords::new),
        health_path: shell::quote(engine.health_path()),
        models_path: engine
            .lists_models_when_ready()
            .then(|| shell::quote(engine.models_path())),
        ready_timeout: spec.server_ready_timeout.as_secs().max(1),
        rank_log: shell::quote(&rank_log),
        rank_script: shell::quote(directory.join(RANK_SCRIPT)?.as_str()),
        step_options: &launcher.step_options,
        before: &launcher.before,
    };
    text(&script)
}

fn rank_script(job: &ServerJob<'_>) -> Result<String, RenderError> {
    let ServerJob { spec, slurm, .. } = *job;
    let gpus = spec.gpus();
    let nodes = slurm.nodes(gpus);
    let command = cluster_command(job, nodes)?;
    let behind = |parts: &[String]| {
        parts
            .iter()
            .map(|part| format!(" {}", shell::word(part)))
            .collect::<Vec<_>>()
            .concat()
    };
    let spread = nodes > 1 && !command.with_ray;
    let mut script = RankScript {
        id: job.id,
        variables: Vec::new(),
        uses_head_port: false,
        environment: environment(job, &command)?,
        with_ray: nodes > 1 && command.with_ray,
        gpus,
        gpus_per_node: gpus.div_ceil(nodes),
        frontend: command.frontend.as_deref().map(shell::words),
        command: shell::words(&command.command),
        ranks: behind(command.ranks.as_deref().filter(|_| spread).unwrap_or_default()),
        followers: behind(if spread { &command.followers } else { &[] }),
    };
    let tells_ranks = script.with_ray || script.frontend.is_some() || !script.followers.is_empty();
    let is_used = |name: &str| match name {
        "rank" if tells_ranks => true,
        "address" | "head" | "port" if script.with_ray => true,
        _ => uses(&script, name),
    };
    let needs_head_port = is_used("head_port");
    // Only what is used is written, so that a reader need not wonder.
    let places = PLACES.into_iter().zip(1..);
    let variables = places.filter(|(name, _)| is_used(name) || *name == "port" && needs_head_port);
    script.variables = variables.collect();
    script.uses_head_port = needs_head_port;
    text(&script)
}

/// Whether a rendered word takes the value of this variable.
fn uses(script: &RankScript<'_>, name: &str) -> bool {
    let value = shell::word(&shell::variable(name));
    let values = script.environment.iter().map(|(_, value)| value);
    let texts = [&script.command, &script.ranks, &script.followers];
    let mut all = values.chain(texts).chain(&script.frontend);
    all.any(|text| text.contains(&value))
}

/// The engine's commands, in which the running script's variables stand at their places.
fn cluster_command(job: &ServerJob<'_>, nodes: u32) -> Result<ClusterCommand, RenderError> {
    let ServerJob {
        spec,
        slurm,
        directory,
        ..
    } = *job;
    check_texts(spec, slurm)?;
    let local = LocalSpec {
        command: slurm.command.clone(),
        extra_args: slurm.extra_args.clone(),
        ..LocalSpec::default()
    };
    let variable = |name: &str| shell::variable(name);
    let (rank, address, head) = (variable("rank"), variable("address"), variable("head"));
    let (host, port, head_port) = (variable("listen"), variable("port"), variable("head_port"));
    let nodes_text = nodes.to_string();
    let places = [
        ("rank", rank.as_str()),
        ("address", &address),
        ("head", &head),
        ("host", &host),
        ("port", &port),
        ("head_port", &head_port),
        ("nodes", &nodes_text),
        ("directory", directory.as_str()),
    ];
    let command = engine(spec.backend).cluster_command(spec, &local, &places)?;
    let command = command.ok_or(RenderError::NoCommand {
        backend: spec.backend,
    })?;
    if slurm.command.is_none() && spec.backend == BackendKind::Sim {
        return Err(RenderError::Simulator);
    }
    if nodes > 1 && command.ranks.is_none() && !command.with_ray {
        return Err(RenderError::OneNode {
            backend: spec.backend,
            gpus: spec.gpus(),
            nodes,
        });
    }
    Ok(command)
}

fn check_texts(spec: &DeploymentSpec, slurm: &SlurmSpec) -> Result<(), RenderError> {
    let words = slurm.command.iter().flatten().chain(&slurm.extra_args);
    shell::check_text("`model`", &spec.model)?;
    for word in words.chain(slurm.environment.values()) {
        shell::check_text("`command`, `extra_args` or `environment`", word)?;
    }
    spec.backend_config.values().try_for_each(check_value)
}

fn check_value(value: &serde_json::Value) -> Result<(), RenderError> {
    match value {
        serde_json::Value::String(text) => shell::check_text("`backend_config`", text),
        serde_json::Value::Array(items) => items.iter().try_for_each(check_value),
        serde_json::Value::Object(map) => map.values().try_for_each(check_value),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => Ok(()),
    }
}

/// The network's variables, the engine's, Hugging Face's folder, and the user's own, of which a later one wins.
fn environment(job: &ServerJob<'_>, command: &ClusterCommand) -> Result<Vec<(String, String)>, RenderError> {
    let of_site = job
        .site
        .environment
        .iter()
        .map(|(name, value)| (name, value.as_str()));
    let of_engine = command
        .environment
        .iter()
        .map(|(name, value)| (name, value.as_str()));
    let of_user = job
        .slurm
        .environment
        .iter()
        .map(|(name, value)| (name, value.as_str()));
    let hf_home = "HF_HOME".to_owned();
    let hf_home = job.slurm.hf_home.as_deref().map(|path| (&hf_home, path));
    let mut variables: Vec<(String, String)> = Vec::new();
    for (name, value) in of_site.chain(of_engine).chain(hf_home).chain(of_user) {
        shell::check_variable(name)?;
        variables.retain(|(known, _)| known != name);
        let word = if name == "HF_HOME" {
            shell::path_word(value)
        } else {
            shell::word(value)
        };
        variables.push((name.clone(), word));
    }
    Ok(variables)
}
