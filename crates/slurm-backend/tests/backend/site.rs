//! A simulated cluster whose jobs do what a server's and a load generator's do.

use std::{sync::Arc, time::Duration};

use firecrest_client::{AdoptPolicy, JobState, Sha256};
use gipfel_model::{
    ArrivalProcess, ArrivalRate, BackendKind, CampaignId, ClusterKind, DeploymentId, DeploymentKind,
    DeploymentSpec, EndpointSpec, LengthDistribution, LevelSchedule, LoadPlacement, PromptSource, Rates,
    RequestForm, RunConfig, RunId, SlurmJob, SlurmLoad, SlurmReach, SlurmSpec, Timeouts, Walltime,
    WorkloadSpec, deployment::Placement, run_config::RUN_CONFIG_FORMAT,
};
use gipfel_slurm_backend::{
    LoadGenerator, Place, SlurmBackend,
    cluster::simulated::{Happening, SimulatedCluster, SimulatedJob},
    site::Site as Profile,
};
use tempfile::TempDir;

/// A cluster, a backend for it, and a folder of this machine.
pub(crate) struct Site {
    pub(crate) cluster: Arc<SimulatedCluster>,
    pub(crate) backend: SlurmBackend,
    pub(crate) folder: TempDir,
}

/// How the jobs of a site live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// They wait until the test begins them.
    Wait,
    /// They run at once; servers answer, load generators send until they are asked to stop.
    Run,
}

impl Site {
    pub(crate) fn new(life: Life) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let program = folder.path().join("gipfel-loadgen");
        std::fs::write(&program, b"program").expect("it is written");
        let cluster = Arc::new(SimulatedCluster::new("simulated"));
        if life == Life::Run {
            cluster.react(live);
        }
        let backend = Self::backend(&cluster, program);
        Self {
            cluster,
            backend,
            folder,
        }
    }

    /// Another process's view of the same cluster.
    pub(crate) fn another(&self) -> SlurmBackend {
        Self::backend(&self.cluster, self.folder.path().join("gipfel-loadgen"))
    }

    /// The same cluster with another profile.
    pub(crate) fn with_profile(&self, profile: Profile) -> SlurmBackend {
        Self::backend_with(&self.cluster, self.folder.path().join("gipfel-loadgen"), profile)
    }

    fn backend(cluster: &Arc<SimulatedCluster>, program: std::path::PathBuf) -> SlurmBackend {
        let profile = Profile::built_in("generic").expect("a profile");
        Self::backend_with(cluster, program, profile)
    }

    fn backend_with(
        cluster: &Arc<SimulatedCluster>,
        program: std::path::PathBuf,
        site: Profile,
    ) -> SlurmBackend {
        let load_generator = LoadGenerator {
            program,
            sha256: Sha256::of(b"program"),
        };
        let cluster: Arc<SimulatedCluster> = Arc::clone(cluster);
        let place = Place::new(reach(), cluster, site, Some(load_generator));
        let policy = AdoptPolicy {
            grace: Duration::ZERO,
            looks: 3,
            interval: Duration::ZERO,
            ..AdoptPolicy::default()
        };
        SlurmBackend::new(vec![place], policy)
    }

    /// The youngest job of a server or run.
    pub(crate) fn job(&self, id: &str) -> SimulatedJob {
        self.cluster.find(&format!("gipfel-{id}")).expect("a job")
    }
}

/// What jobs do by themselves.
fn live(cluster: &SimulatedCluster, happening: &Happening) {
    match happening {
        Happening::Submitted(job) => {
            cluster.begin(&job.id, &["nid001001"]);
            let directory = job.request.directory.as_str();
            if directory.contains("/d-") {
                cluster.store(&format!("{directory}/endpoint.txt"), b"http://nid001001:8080\n");
            } else {
                cluster.store(&format!("{directory}/progress.json"), &progress("running"));
            }
        }
        Happening::Cancelled(job) => cluster.end(&job.id, JobState::Cancelled { by: None }, 0),
        Happening::Written(path) => {
            let Some(directory) = path.as_str().strip_suffix("/stop") else {
                return;
            };
            cluster.store(&format!("{directory}/progress.json"), &progress("stopped"));
            let jobs = cluster.submitted().into_iter();
            for job in jobs.filter(|job| job.request.directory.as_str() == directory) {
                cluster.end(&job.id, JobState::Completed, 0);
            }
        }
    }
}

pub(crate) fn progress(state: &str) -> Vec<u8> {
    format!(
        r#"{{"header":{{"format":"gipfel-progress","major":1,"minor":0}},"run_id":"r-1","state":"{state}","updated_unix_ms":0,
        "pid":1,"levels":[],"current":null,"search":null,"planned_levels":null,"error":null}}"#
    )
    .into_bytes()
}

pub(crate) fn reach() -> SlurmReach {
    SlurmReach {
        cluster: ClusterKind::Commands,
        firecrest_system: None,
        ssh_host: None,
        site: None,
        scratch_base: None,
    }
}

fn slurm_job() -> SlurmJob {
    SlurmJob {
        account: None,
        partition: "normal".to_owned(),
        qos: None,
        reservation: None,
        constraint: None,
        exclude: None,
        walltime: Walltime::DEFAULT,
        sbatch_args: Vec::new(),
    }
}

pub(crate) fn campaign() -> CampaignId {
    "c-1".parse().expect("an id")
}

pub(crate) fn deployment(tag: &str) -> DeploymentId {
    format!("d-20261122-190000_m_vllm_slurm_{tag}")
        .parse()
        .expect("an id")
}

pub(crate) fn spec() -> DeploymentSpec {
    DeploymentSpec {
        model: "m".to_owned(),
        backend: BackendKind::Vllm,
        placement: Placement::Slurm(Box::new(SlurmSpec {
            reach: reach(),
            job: slurm_job(),
            hf_token_path: "~/.hf_token".to_owned(),
            hf_home: None,
            gpus_per_node: 4,
            port: 8080,
            image: None,
            container: None,
            command: None,
            environment: std::collections::BTreeMap::new(),
            extra_args: Vec::new(),
        })),
        backend_config: serde_json::Map::new(),
        instance: 0,
        server_ready_timeout: Duration::from_mins(15),
    }
}

pub(crate) fn load() -> LoadPlacement {
    LoadPlacement::Slurm(Box::new(SlurmLoad {
        reach: reach(),
        job: slurm_job(),
        nodes: 1,
        tasks_per_node: 1,
        endpoint_timeout: Duration::from_mins(15),
    }))
}

pub(crate) fn config(run: &RunId) -> RunConfig {
    let length = LengthDistribution::Fixed { value: 16 };
    RunConfig {
        header: RUN_CONFIG_FORMAT.header(),
        run_id: run.clone(),
        campaign_id: campaign(),
        deployment_id: deployment("1"),
        deployment: DeploymentKind::Slurm,
        repeat: 0,
        model: "m".to_owned(),
        served_model: None,
        backend: BackendKind::Vllm,
        endpoint: EndpointSpec::new("http://nid001001:8080"),
        backend_config: serde_json::Map::new(),
        dataset_config: serde_json::Map::new(),
        workload: WorkloadSpec {
            prompts: PromptSource::default(),
            arrivals: ArrivalProcess::Poisson,
            input_length: length,
            output_length: length,
            seed: 1,
            requests: RequestForm::default(),
        },
        schedule: LevelSchedule {
            rates: Rates::Doubling {
                first: ArrivalRate::per_second(1.0).expect("a rate"),
            },
            warmup: Duration::ZERO,
            measured: Duration::from_secs(1),
            requests_per_level: None,
            warmup_ramp: false,
            exact_windows: false,
            all_levels: false,
            total_time: None,
        },
        slos: Vec::new(),
        informational_slos: Vec::new(),
        timeouts: Timeouts::default(),
        workers: None,
        server_load_time: None,
        provenance: gipfel_model::Provenance::default(),
        created_at: "2026-11-22T19:00:00Z".to_owned(),
    }
}

pub(crate) fn run(tag: &str) -> RunId {
    format!("20261122-190000_m_vllm_slurm_{tag}")
        .parse()
        .expect("an id")
}
