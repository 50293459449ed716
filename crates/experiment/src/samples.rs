//! Small campaigns for tests.

use std::{collections::BTreeMap, time::Duration};

use gipfel_model::{
    ArrivalProcess, ArrivalRate, BackendKind, CampaignId, ClusterKind, DeploymentId, DeploymentKind,
    DeploymentSpec, EndpointSpec, ExperimentSpec, K8sSpec, LengthDistribution, LevelSchedule, LoadPlacement,
    LocalSpec, Rates, RunConfig, RunId, SlurmJob, SlurmLoad, SlurmReach, SlurmSpec, Timeouts, Walltime,
    WorkloadSpec, deployment::Placement, run_config::RUN_CONFIG_FORMAT,
};

use crate::{Campaign, CampaignFacts, Deployment, MakeIds, Run, ServerChoice, plan_campaign};

/// Names by counting.
#[derive(Debug, Default)]
pub(crate) struct Count {
    deployments: u32,
    runs: u32,
}

impl MakeIds for Count {
    fn deployment(&mut self, _: &DeploymentSpec) -> DeploymentId {
        self.deployments += 1;
        format!("d-{}", self.deployments).parse().unwrap()
    }

    fn run(&mut self, _: &ExperimentSpec) -> RunId {
        self.runs += 1;
        format!("r-{}", self.runs).parse().unwrap()
    }
}

pub(crate) fn local() -> Placement {
    Placement::Local(LocalSpec::default())
}

pub(crate) fn kubernetes() -> Placement {
    Placement::K8s(Box::new(K8sSpec::new("n")))
}

/// A server that is a Slurm job.
fn slurm() -> (Placement, SlurmReach, SlurmJob) {
    let reach = SlurmReach {
        cluster: ClusterKind::Commands,
        firecrest_system: None,
        ssh_host: None,
        site: None,
        scratch_base: None,
    };
    let job = SlurmJob {
        account: None,
        partition: "p".to_owned(),
        qos: None,
        reservation: None,
        constraint: None,
        exclude: None,
        walltime: Walltime::DEFAULT,
        sbatch_args: Vec::new(),
    };
    let placement = Placement::Slurm(Box::new(SlurmSpec {
        reach: reach.clone(),
        job: job.clone(),
        hf_token_path: String::new(),
        hf_home: None,
        gpus_per_node: 4,
        port: 0,
        image: None,
        container: None,
        command: None,
        environment: BTreeMap::new(),
        extra_args: Vec::new(),
    }));
    (placement, reach, job)
}

/// Server and load generator as Slurm jobs: the second waits for the first by itself.
pub(crate) fn two_jobs(model: &str) -> ExperimentSpec {
    let (placement, reach, job) = slurm();
    ExperimentSpec {
        load: LoadPlacement::Slurm(Box::new(SlurmLoad {
            reach,
            job,
            nodes: 1,
            tasks_per_node: 1,
            endpoint_timeout: Duration::from_secs(10),
        })),
        ..experiment(model, placement)
    }
}

pub(crate) fn experiment(model: &str, placement: Placement) -> ExperimentSpec {
    ExperimentSpec {
        deployment: DeploymentSpec {
            model: model.to_owned(),
            backend: BackendKind::Sim,
            placement,
            backend_config: serde_json::Map::new(),
            instance: 0,
            server_ready_timeout: Duration::from_secs(10),
        },
        load: LoadPlacement::Local,
        repeat: 0,
        workload: WorkloadSpec {
            prompts: gipfel_model::PromptSource::default(),
            arrivals: ArrivalProcess::Poisson,
            input_length: LengthDistribution::Fixed { value: 8 },
            output_length: LengthDistribution::Fixed { value: 8 },
            seed: 1,
            requests: gipfel_model::RequestForm::default(),
        },
        schedule: LevelSchedule {
            rates: Rates::Doubling {
                first: ArrivalRate::per_second(1.0).unwrap(),
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
        dataset_config: serde_json::Map::new(),
    }
}

pub(crate) fn facts() -> CampaignFacts {
    CampaignFacts {
        campaign_id: "c-20261121-224312_0001".parse::<CampaignId>().unwrap(),
        created_at: "2026-11-21T22:43:12Z".to_owned(),
        gipfel_version: "0.1.0".to_owned(),
        config_digest: "00".to_owned(),
        load_generator: None,
        max_parallel: 1,
    }
}

pub(crate) fn campaign(experiments: Vec<ExperimentSpec>, keep: bool) -> Campaign {
    plan_campaign(
        facts(),
        experiments,
        &ServerChoice::Fresh { keep },
        &mut Count::default(),
    )
    .unwrap()
}

pub(crate) fn run_config(
    campaign: &Campaign,
    deployment: &Deployment,
    endpoint: &EndpointSpec,
    run: &Run,
) -> RunConfig {
    let experiment = &run.experiment;
    RunConfig {
        header: RUN_CONFIG_FORMAT.header(),
        run_id: run.id.clone(),
        campaign_id: campaign.campaign_id.clone(),
        deployment_id: deployment.id.clone(),
        deployment: DeploymentKind::Local,
        repeat: 0,
        model: experiment.deployment.model.clone(),
        served_model: None,
        backend: experiment.deployment.backend,
        endpoint: endpoint.clone(),
        backend_config: serde_json::Map::new(),
        dataset_config: serde_json::Map::new(),
        workload: experiment.workload.clone(),
        schedule: experiment.schedule.clone(),
        slos: Vec::new(),
        informational_slos: Vec::new(),
        timeouts: experiment.timeouts,
        workers: None,
        server_load_time: deployment.load_time,
        provenance: deployment.provenance.clone(),
        created_at: String::new(),
    }
}
