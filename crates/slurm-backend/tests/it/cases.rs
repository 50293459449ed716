//! The jobs that the tests render.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use firecrest_client::RemotePath;
use gipfel_model::{
    BackendKind, CampaignId, ClusterKind, ContainerKind, DeploymentId, DeploymentSpec, RunId, SlurmJob,
    SlurmLoad, SlurmReach, SlurmSpec, Walltime, deployment::Placement,
};
use gipfel_slurm_backend::{
    BenchmarkerJob, QueuedRun, RenderError, RenderedFile, RenderedJob, ServerJob, Site, render,
};
use serde_json::{Map, Value, json};

/// A server with everything that its job needs.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) model: &'static str,
    pub(crate) backend: BackendKind,
    pub(crate) config: Map<String, Value>,
    pub(crate) slurm: SlurmSpec,
    pub(crate) site: Site,
    pub(crate) directory: String,
    pub(crate) ready_timeout: Duration,
}

impl Server {
    pub(crate) fn new(model: &'static str, backend: BackendKind, config: Value) -> Self {
        Self {
            model,
            backend,
            config: config.as_object().cloned().unwrap_or_default(),
            slurm: slurm(),
            site: site("clariden"),
            directory: format!("/scratch/me/d-{model}"),
            ready_timeout: Duration::from_mins(15),
        }
    }

    pub(crate) fn render(&self) -> Result<RenderedJob, RenderError> {
        let spec = DeploymentSpec {
            model: format!("example/{}", self.model),
            backend: self.backend,
            placement: Placement::Slurm(Box::new(self.slurm.clone())),
            backend_config: self.config.clone(),
            instance: 0,
            server_ready_timeout: self.ready_timeout,
        };
        let id: DeploymentId = format!("d-{}", self.model.to_lowercase()).parse().expect("an id");
        render::server(&ServerJob {
            attempt: 1,
            id: &id,
            campaign: &campaign(),
            spec: &spec,
            slurm: &self.slurm,
            site: &self.site,
            directory: &path(&self.directory),
        })
    }

    /// The files by which the job is started.
    pub(crate) fn rendered(&self) -> RenderedJob {
        self.render().unwrap_or_else(|error| panic!("{error}: {error:?}"))
    }
}

pub(crate) fn path(text: &str) -> RemotePath {
    RemotePath::try_new(text).expect("a path")
}

pub(crate) fn site(name: &str) -> Site {
    Site::built_in(name).expect("a profile")
}

fn campaign() -> CampaignId {
    "c-20261122-190000_0a1f".parse().expect("an id")
}

pub(crate) fn reach() -> SlurmReach {
    SlurmReach {
        cluster: ClusterKind::Firecrest,
        firecrest_system: Some("clariden".to_owned()),
        ssh_host: None,
        site: None,
        scratch_base: Some("/scratch/me".to_owned()),
    }
}

pub(crate) fn job(partition: &str) -> SlurmJob {
    SlurmJob {
        account: Some("csstaff".to_owned()),
        partition: partition.to_owned(),
        qos: None,
        reservation: None,
        constraint: None,
        exclude: None,
        walltime: Walltime::DEFAULT,
        sbatch_args: Vec::new(),
    }
}

fn slurm() -> SlurmSpec {
    SlurmSpec {
        reach: reach(),
        job: job("normal"),
        hf_token_path: "~/.hf_token".to_owned(),
        hf_home: Some("/scratch/hf".to_owned()),
        gpus_per_node: 4,
        port: 8080,
        image: Some("registry.example.org#engine:1".to_owned()),
        container: None,
        command: None,
        environment: BTreeMap::new(),
        extra_args: Vec::new(),
    }
}

/// The three sizes of every engine that takes several GPUs.
pub(crate) fn sizes(backend: BackendKind) -> [Server; 3] {
    let speculative = json!({ "draft_model": "example/draft", "num_speculative_tokens": 5 });
    [
        Server::new(
            "8b",
            backend,
            json!({ "max_model_len": 32768, "gpu_memory_utilization": 0.9 }),
        ),
        Server::new(
            "70b",
            backend,
            json!({ "tensor_parallel_size": 4, "speculative_decoding": speculative }),
        ),
        Server::new("405b", backend, json!({ "tensor_parallel_size": 16 })),
    ]
    .map(|server| match backend {
        // SGLang's names of the draft's settings are others.
        BackendKind::Sglang | BackendKind::Vllm | BackendKind::Dynamo => server,
        _ => panic!("{backend} takes one GPU"),
    })
}

/// The ways of starting a server that `sizes` does not have.
pub(crate) fn ways() -> Vec<(&'static str, Server)> {
    let two_nodes = json!({ "tensor_parallel_size": 8 });
    let with_ray = json!({ "tensor_parallel_size": 8, "distributed_executor_backend": "ray" });
    let mut self_contained = Server::new("8b", BackendKind::Vllm, two_nodes);
    self_contained.slurm.container = Some(ContainerKind::SelfContained);
    let mut apptainer = Server::new("8b", BackendKind::Vllm, json!({}));
    apptainer.site = site("meluxina");
    apptainer.slurm.image = Some("/project/images/vllm 1.sif".to_owned());
    let mut command = Server::new("sim", BackendKind::Sim, json!({}));
    command.site = site("generic");
    command.slurm.image = None;
    command.slurm.port = 0;
    command.slurm.command = Some(
        [
            "/opt/gipfel",
            "sim",
            "--host",
            "{host}",
            "--port",
            "{port}",
            "--model",
            "{model}",
        ]
        .map(str::to_owned)
        .to_vec(),
    );
    vec![
        ("ray", Server::new("70b", BackendKind::Vllm, with_ray)),
        ("self-contained", self_contained),
        ("apptainer", apptainer),
        ("command", command),
        ("nasty", nasty()),
        ("proxy", proxied()),
    ]
}

/// Every text that a user may give is one that a shell would rather carry out.
pub(crate) fn nasty() -> Server {
    const TEXT: &str = "'; touch /tmp/gipfel-was-here; echo \"$(touch /tmp/gipfel-was-here)` #\n";
    let mut server = Server::new(
        "8b",
        BackendKind::Vllm,
        json!({ "served_model_name": TEXT, "tokenizer": "$HOME" }),
    );
    server.slurm.image = Some(TEXT.to_owned());
    server.slurm.hf_token_path = format!("~/{TEXT}");
    server.slurm.hf_home = Some(TEXT.to_owned());
    server.slurm.environment = BTreeMap::from([("A_1".to_owned(), TEXT.to_owned())]);
    server.slurm.extra_args = vec![TEXT.to_owned(), "{port}".to_owned(), "$port".to_owned()];
    server.slurm.job.sbatch_args = vec!["--mail-user=\"$(touch /tmp/gipfel-was-here)\"".to_owned()];
    server
}

fn proxied() -> Server {
    let mut server = Server::new("8b", BackendKind::Vllm, json!({}));
    server.site = Site::parse(
        "name = 'own'\nlocal_directory = '/dev/shm'\ngpu_request = 'gres'\nexclusive = false\n\
         [container]\nkind = 'none'\n[proxy]\nurl = 'http://proxy:3128'\nexcept = ['.example.org']\n",
        "own.toml",
    )
    .expect("a profile");
    server
}

/// A load generator on so many nodes, for a server of ours or for a URL.
pub(crate) fn load(nodes: u32, tasks_per_node: u32, has_server: bool) -> RenderedJob {
    let program = "/scratch/me/load-generators/0123/gipfel-loadgen";
    load_in(
        ("/scratch/me", "/tmp"),
        program,
        nodes,
        tasks_per_node,
        has_server,
    )
}

/// One whose files lie below the first directory and the nodes' own below the second.
pub(crate) fn load_in(
    (base, local): (&str, &str),
    program: &str,
    nodes: u32,
    tasks_per_node: u32,
    has_server: bool,
) -> RenderedJob {
    let load = SlurmLoad {
        reach: reach(),
        job: job("xfer"),
        nodes,
        tasks_per_node,
        endpoint_timeout: Duration::from_mins(15),
    };
    let deployment = path(&format!("{base}/d-1"));
    let mut site = site("clariden");
    local.clone_into(&mut site.local_directory);
    render::benchmarker(&BenchmarkerJob {
        attempt: 1,
        id: &run(),
        campaign: &campaign(),
        load: &load,
        site: &site,
        directory: &path(&format!("{base}/r-1")),
        program: &path(program),
        deployment: has_server.then_some(&deployment),
        endpoint_timeout: Duration::from_mins(15),
    })
    .expect("a job")
}

pub(crate) fn queued(base: &str, deployment: &str, program: &str) -> RenderedFile {
    render::queued_run(&QueuedRun {
        attempt: 1,
        id: &run(),
        site: &site("clariden"),
        directory: &path(&format!("{base}/r-1")),
        program: &path(program),
        deployment: &path(deployment),
        endpoint_timeout: Duration::from_mins(15),
    })
    .expect("a run")
}

fn run() -> RunId {
    "r-1".parse().expect("an id")
}

/// A job's files, one after the other.
pub(crate) fn all(job: &RenderedJob) -> String {
    let mut text = format!(
        "=== {}: {} nodes, {} s\n{}",
        job.name,
        job.nodes,
        job.walltime.as_secs(),
        job.script
    );
    for file in &job.files {
        let _ = write!(text, "=== {} {}\n{}", file.name, file.mode, file.content);
    }
    for warning in &job.warnings {
        let _ = writeln!(text, "=== warning: {warning}");
    }
    text
}
