//! A run, a server of known speed for it, and the program that carries it out.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use gipfel_inference_sim::{ServerProfile, SimOptions, StepLaw, serve};
use gipfel_model::{
    ArrivalProcess, ArrivalRate, BackendKind, DeploymentKind, EndpointSpec, K8sLoad, LengthDistribution,
    LevelSchedule, Provenance, Rates, RequestForm, RunConfig, RunId, Timeouts, WorkloadSpec,
    run_config::RUN_CONFIG_FORMAT,
};
use tokio::{net::TcpListener, task::JoinHandle};

/// A simulator; it ends when it is dropped.
pub(crate) struct Sim {
    pub(crate) url: String,
    task: JoinHandle<()>,
}

impl Sim {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let profile = ServerProfile {
            name: "test-model".to_owned(),
            law: StepLaw {
                base_ns: 1e6,
                token_ns: 1_000.0,
                context_ns: 0.0,
                noise: 0.0,
                token_budget: 8_192,
                max_seqs: 512,
                kv_tokens: 1_000_000,
            },
            input: LengthDistribution::Fixed { value: 8 },
            output: LengthDistribution::Fixed { value: 8 },
            slos: Vec::new(),
            truth: None,
        };
        let task = tokio::spawn(async move {
            let served = serve(listener, profile, SimOptions::default(), std::future::pending()).await;
            served.expect("a simulator");
        });
        Ok(Self { url, task })
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Levels of these rates, each of so many seconds.
pub(crate) fn config(url: &str, run: &RunId, rates: &[f64], seconds: u64) -> RunConfig {
    let rates = rates
        .iter()
        .map(|rate| ArrivalRate::per_second(*rate).expect("a rate"));
    RunConfig {
        header: RUN_CONFIG_FORMAT.header(),
        run_id: run.clone(),
        campaign_id: "c-1".parse().expect("an id"),
        deployment_id: "d-1".parse().expect("an id"),
        deployment: DeploymentKind::External,
        repeat: 0,
        model: "test-model".to_owned(),
        served_model: None,
        backend: BackendKind::Sim,
        endpoint: EndpointSpec::new(url),
        backend_config: serde_json::Map::new(),
        dataset_config: serde_json::Map::new(),
        workload: WorkloadSpec {
            prompts: gipfel_model::PromptSource::default(),
            arrivals: ArrivalProcess::Constant,
            input_length: LengthDistribution::Fixed { value: 8 },
            output_length: LengthDistribution::Fixed { value: 20 },
            seed: 7,
            requests: RequestForm::default(),
        },
        schedule: LevelSchedule {
            rates: Rates::Listed(rates.collect()),
            warmup: Duration::from_millis(200),
            measured: Duration::from_secs(seconds),
            requests_per_level: None,
            warmup_ramp: false,
            exact_windows: true,
            all_levels: true,
            total_time: None,
        },
        slos: vec!["ttft p50 <= 10s".parse().expect("an objective")],
        informational_slos: Vec::new(),
        timeouts: Timeouts {
            drain: Duration::from_secs(10),
            ..Timeouts::default()
        },
        workers: Some(1),
        server_load_time: None,
        provenance: Provenance::default(),
        created_at: "2026-11-22T10:15:00Z".to_owned(),
    }
}

pub(crate) fn load() -> K8sLoad {
    K8sLoad::new("ml")
}

/// The load generator beside the test's own executable, without what debuggers read; nothing where it was not built.
pub(crate) fn program(directory: &Path) -> anyhow::Result<Option<PathBuf>> {
    let test = std::env::current_exe()?;
    let built = test
        .parent()
        .and_then(Path::parent)
        .map(|folder| folder.join("gipfel-loadgen"));
    let Some(built) = built.filter(|built| built.is_file()) else {
        say_skipped();
        return Ok(None);
    };
    let small = directory.join("gipfel-loadgen");
    let stripped = Command::new("strip").arg("-o").arg(&small).arg(&built).status();
    Ok(Some(if stripped.is_ok_and(|status| status.success()) {
        small
    } else {
        built
    }))
}

#[expect(
    clippy::print_stderr,
    reason = "whoever reads the tests' output has to see what was not tested"
)]
fn say_skipped() {
    eprintln!("skipped: gipfel-loadgen is not built; `cargo build -p gipfel-loadgen` makes it");
}
