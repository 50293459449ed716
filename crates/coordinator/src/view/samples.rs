//! Campaigns for tests.

use std::time::Duration;

use gipfel_backend::{Failure, FailureReason, Handle};
use gipfel_experiment::{Campaign, Deployment, DeploymentPhase, Run, RunOutcome, RunPhase, STATE_FORMAT};
use gipfel_model::{
    ArrivalProcess, ArrivalRate, BackendKind, DeploymentSpec, EndpointSpec, ExperimentSpec,
    LengthDistribution, LevelProgress, LevelSchedule, PeakEstimate, Phase, Progress, Rates, RunState,
    SearchProgress, Stage, Verdict, WorkloadSpec,
    deployment::{LocalSpec, Placement},
    progress::{LevelSummary, PROGRESS_FORMAT},
};

use super::Snapshot;

/// Unix time of every sample, in milliseconds.
pub(crate) const NOW: i64 = 1_795_000_000_000;

pub(crate) fn rate(per_second: f64) -> ArrivalRate {
    ArrivalRate::per_second(per_second).expect("a rate")
}

/// An experiment on its own server: `d-<n>` and `r-<n>`.
pub(crate) fn deployment(n: usize, model: &str, backend: BackendKind) -> Deployment {
    let spec = DeploymentSpec {
        model: model.to_owned(),
        backend,
        placement: Placement::Local(LocalSpec::default()),
        backend_config: serde_json::Map::new(),
        instance: 0,
        server_ready_timeout: Duration::from_mins(15),
    };
    let experiment = ExperimentSpec {
        deployment: spec.clone(),
        load: gipfel_model::LoadPlacement::Local,
        repeat: 0,
        workload: WorkloadSpec {
            prompts: gipfel_model::PromptSource::default(),
            arrivals: ArrivalProcess::Poisson,
            input_length: LengthDistribution::Fixed { value: 64 },
            output_length: LengthDistribution::Fixed { value: 64 },
            seed: 0,
            requests: gipfel_model::RequestForm::default(),
        },
        schedule: LevelSchedule {
            rates: Rates::Listed(vec![rate(24.0), rate(32.0)]),
            warmup: Duration::from_secs(30),
            measured: Duration::from_mins(1),
            all_levels: false,
            requests_per_level: None,
            warmup_ramp: false,
            exact_windows: false,
            total_time: None,
        },
        slos: vec!["ttft p95 <= 200ms".parse().expect("an objective")],
        informational_slos: Vec::new(),
        timeouts: gipfel_model::Timeouts::default(),
        workers: None,
        dataset_config: serde_json::Map::new(),
    };
    let mut deployment = Deployment::new(format!("d-{n}").parse().expect("an id"), spec);
    deployment
        .runs
        .push(Run::new(format!("r-{n}").parse().expect("an id"), experiment));
    deployment
}

pub(crate) fn handle(name: &str) -> Handle {
    Handle {
        system: "local".to_owned(),
        name: name.to_owned(),
        detail: "1".to_owned(),
    }
}

pub(crate) fn campaign(deployments: Vec<Deployment>) -> Campaign {
    Campaign {
        header: STATE_FORMAT.header(),
        campaign_id: "c-20261122-100000_0a1f".parse().expect("an id"),
        created_at: "2026-11-22T10:00:00Z".to_owned(),
        gipfel_version: "0.1.0".to_owned(),
        config_digest: String::new(),
        load_generator: None,
        max_parallel: 2,
        interrupted: false,
        results_merged: true,
        deployments,
    }
}

/// Is measured.
pub(crate) fn measured(mut deployment: Deployment) -> Deployment {
    let name = deployment.id.to_string();
    deployment.phase = DeploymentPhase::Ready {
        handle: handle(&name),
        endpoint: EndpointSpec::new("http://127.0.0.1:8000"),
        failures: 0,
    };
    let run = &mut deployment.runs[0];
    run.phase = RunPhase::Running {
        queued: false,
        handle: handle(run.id.as_str()),
        failures: 0,
    };
    deployment
}

/// Has loaded for so many seconds.
pub(crate) fn loading(mut deployment: Deployment, seconds: i64) -> Deployment {
    let since = NOW - seconds * 1000;
    deployment.phase = DeploymentPhase::Starting {
        queued_since: None,
        handle: handle("d"),
        since: Some(since),
        give_up_at: Some(since + 900_000),
        failures: 0,
    };
    deployment
}

/// Is over.
pub(crate) fn over(mut deployment: Deployment, outcome: RunOutcome) -> Deployment {
    deployment.phase = DeploymentPhase::Ended(gipfel_experiment::DeploymentOutcome::Done);
    deployment.runs[0].phase = RunPhase::Ended(outcome);
    deployment
}

pub(crate) fn failure() -> RunOutcome {
    RunOutcome::Failed(Failure {
        reason: FailureReason::OutOfMemory,
        message: "the server's process ended with status 1; its log says: CUDA out of memory".to_owned(),
        log_tail: String::new(),
    })
}

fn progress(current: Option<LevelProgress>, search: Option<SearchProgress>) -> Progress {
    Progress {
        header: PROGRESS_FORMAT.header(),
        run_id: "r-0".parse().expect("an id"),
        state: RunState::Running,
        updated_unix_ms: NOW,
        pid: 1,
        levels: vec![LevelSummary {
            level: 0,
            rate: rate(24.0),
            ttft_p95_ms: Some(88.0),
            completed_rate: 23.9,
            stage: search.as_ref().map_or(Stage::Level, |search| search.stage),
            worst: None,
            verdict: search.is_none().then_some(Verdict::Accept),
        }],
        current,
        search,
        planned_levels: Some(4),
        error: None,
        warning: None,
    }
}

/// The second of four listed levels.
pub(crate) fn level(per_second: f64, elapsed_s: f64, ttft_p95_ms: Option<f64>) -> Progress {
    let current = LevelProgress {
        level: 1,
        rate: rate(per_second),
        phase: Phase::Measured,
        elapsed_s,
        planned_s: 90.0,
        sent: (per_second * elapsed_s) as u64,
        ended: ((per_second - 1.0) * elapsed_s) as u64,
        failed: 0,
        in_flight: 8,
        ttft_p95_ms,
    };
    progress(Some(current), None)
}

/// A search near its peak, or before it has an estimate.
pub(crate) fn search(peak_qps: Option<f64>) -> Progress {
    let estimate = peak_qps.map(|peak_qps| PeakEstimate {
        peak_qps,
        mean: peak_qps + 0.1,
        low: peak_qps - 1.2,
        high: peak_qps + 1.1,
        binding: "ttft p95 <= 200ms".parse().expect("an objective"),
        n_eff: 12.0,
    });
    let search = SearchProgress {
        stage: if estimate.is_some() {
            Stage::Track
        } else {
            Stage::Bracket
        },
        estimate,
        bracket: Some((20.1, 27.2)),
        elapsed_s: 408.0,
        budget_s: 900.0,
    };
    let mut progress = progress(level(25.4, 20.0, Some(172.0)).current, Some(search));
    progress.planned_levels = None;
    progress
}

/// One experiment of each kind.
pub(crate) fn snapshot() -> Snapshot {
    let deployments = vec![
        measured(deployment(0, "apertus-8b-instruct", BackendKind::Vllm)),
        measured(deployment(
            1,
            "swiss-ai/Apertus-70B-Instruct-2509",
            BackendKind::Sglang,
        )),
        loading(deployment(2, "llama-405b", BackendKind::Vllm), 80),
        deployment(3, "qwen-7b", BackendKind::Vllm),
        over(deployment(4, "qwen-14b", BackendKind::Vllm), failure()),
        over(
            deployment(5, "qwen-32b", BackendKind::Vllm),
            RunOutcome::Completed,
        ),
    ];
    let mut snapshot = Snapshot::new(campaign(deployments));
    let mut tell = |run: &str, progress: Progress| {
        let run = run.parse().expect("an id");
        snapshot.progress.insert(run, progress);
    };
    tell("r-0", search(Some(25.3)));
    tell("r-1", level(3.25, 30.0, Some(412.0)));
    let mut complete = search(Some(101.4));
    (complete.state, complete.current) = (RunState::Completed, None);
    tell("r-5", complete);
    snapshot.last_lines.insert(
        "d-2".parse().expect("an id"),
        "Loading safetensors checkpoint shards:  42% Completed | 80/191".to_owned(),
    );
    snapshot
}
