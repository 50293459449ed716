//! Databases with known figures, made by hand.

use std::{path::PathBuf, time::Duration};

use gipfel_model::{
    ArrivalProcess, ArrivalRate, BackendKind, CountSource, DeploymentKind, EndpointSpec, LengthDistribution,
    LevelRecord, LevelSchedule, LevelState, Outcome, Phase, Provenance, Rates, RequestRecord, RunConfig,
    RunState, SearchSpec, Slo, Stage, Timeouts, Validity, Verdict, WorkloadSpec,
    run_config::RUN_CONFIG_FORMAT,
};
use gipfel_results_db::{ResultsDb, RunKey};
use hdrhistogram::{
    Histogram,
    serialization::{Serializer, V2Serializer},
};
use tempfile::TempDir;

use crate::judge;

pub(crate) const MS: i64 = 1_000_000;
const SECOND: i64 = 1_000 * MS;

pub(crate) fn slo(text: &str) -> Slo {
    text.parse().expect("an objective")
}

pub(crate) fn rate(per_second: f64) -> ArrivalRate {
    ArrivalRate::per_second(per_second).expect("a rate")
}

/// A successful measured request: 100 ms to the first token, 99 ms of them after the send; 11 tokens in 300 ms.
pub(crate) fn request(level: u32, number: u32) -> RequestRecord {
    RequestRecord {
        rank: 0,
        request: i64::from(level) << 32 | i64::from(number),
        level,
        phase: Phase::Measured,
        class: 0,
        session: None,
        turn: 0,
        endpoint: 0,
        outcome: Outcome::Ok,
        http_status: Some(200),
        scheduled_ns: i64::from(number) * MS,
        connect_ns: None,
        send_ns: Some(MS),
        header_ns: Some(2 * MS),
        first_chunk_ns: Some(100 * MS),
        first_token_ns: Some(100 * MS),
        first_token_lag_ns: None,
        first_token_uncertain: false,
        first_output_ns: Some(100 * MS),
        last_token_ns: Some(400 * MS),
        end_ns: 401 * MS,
        input_tokens: Some(512),
        output_tokens: Some(11),
        cached_tokens: None,
        requested_input: 512,
        requested_output: 11,
        chunks: 11,
        itl_max_ns: Some(50 * MS),
        count_source: CountSource::Usage,
        finish_reason: Some("length".to_owned()),
        error: None,
    }
}

/// Requests whose first tokens come after 1, 2, … `n` times `step_ms`.
pub(crate) fn requests(level: u32, n: u32, step_ms: i64) -> Vec<RequestRecord> {
    (1..=n)
        .map(|number| {
            let first = i64::from(number) * step_ms * MS;
            RequestRecord {
                first_token_ns: Some(first),
                last_token_ns: Some(first + 300 * MS),
                end_ns: first + 301 * MS,
                ..request(level, number)
            }
        })
        .collect()
}

/// A complete level of 10 s of warm-up and as long a window as the rate needs for these requests, judged by `slos`.
pub(crate) fn level(index: u32, per_second: f64, slos: &[Slo], requests: &[RequestRecord]) -> LevelRecord {
    let n = requests.len() as u64;
    let attainment: Vec<_> = slos
        .iter()
        .map(|slo| judge::attainment(slo, requests, n))
        .collect();
    let verdict = gipfel_peak_search::judge(&attainment, &Validity::default());
    LevelRecord {
        level: index,
        rate: rate(per_second),
        stage: Stage::Level,
        state: LevelState::Complete,
        start_ns: i64::from(index) * 1_000 * SECOND,
        warmup_ns: 10 * SECOND,
        measured_ns: (requests.len() as f64 / per_second).ceil() as i64 * SECOND,
        started_unix_ns: 1_700_000_000 * SECOND,
        ended_unix_ns: Some(1_700_000_100 * SECOND),
        offered_rate: per_second,
        sent_rate: per_second,
        completed_rate: per_second * 0.995,
        attainment,
        validity: Validity::default(),
        verdict: Some(verdict),
        evidence: None,
    }
}

pub(crate) fn config(run_id: &str, slos: &[Slo]) -> RunConfig {
    RunConfig {
        header: RUN_CONFIG_FORMAT.header(),
        run_id: run_id.parse().expect("a run id"),
        campaign_id: "c-20261121-224312_0a1f".parse().expect("a campaign id"),
        deployment_id: "d-20261121-224312_sim_sim_local_0a1f"
            .parse()
            .expect("a deployment id"),
        deployment: DeploymentKind::Local,
        repeat: 0,
        model: "swiss-ai/Apertus-8B".to_owned(),
        served_model: None,
        backend: BackendKind::Vllm,
        endpoint: EndpointSpec::new("http://127.0.0.1:8000"),
        backend_config: serde_json::Map::new(),
        dataset_config: serde_json::Map::new(),
        workload: WorkloadSpec {
            prompts: gipfel_model::PromptSource::default(),
            arrivals: ArrivalProcess::Poisson,
            input_length: LengthDistribution::Fixed { value: 512 },
            output_length: LengthDistribution::Fixed { value: 11 },
            seed: 1,
            requests: gipfel_model::RequestForm::default(),
        },
        schedule: LevelSchedule {
            rates: Rates::Doubling { first: rate(10.0) },
            warmup: Duration::from_secs(10),
            measured: Duration::from_mins(1),
            requests_per_level: None,
            warmup_ramp: false,
            exact_windows: false,
            all_levels: false,
            total_time: None,
        },
        slos: slos.to_vec(),
        informational_slos: vec![slo("e2e p95 <= 10s")],
        timeouts: Timeouts::default(),
        workers: None,
        server_load_time: None,
        provenance: Provenance::default(),
        created_at: "2026-11-21T22:43:12Z".to_owned(),
    }
}

/// A database in a directory of its own.
pub(crate) struct Database {
    directory: TempDir,
    pub(crate) db: ResultsDb,
}

impl Database {
    pub(crate) async fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let db = ResultsDb::create(directory.path().join("run.db"))
            .await
            .expect("a database");
        Self { directory, db }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) async fn run(&self, run_id: &str, slos: &[Slo]) -> RunKey {
        self.completed(&config(run_id, slos)).await
    }

    pub(crate) async fn search_run(&self, run_id: &str, slos: &[Slo], search: &SearchSpec) -> RunKey {
        let mut config = config(run_id, slos);
        config.schedule.rates = Rates::Search(search.clone());
        self.completed(&config).await
    }

    async fn completed(&self, config: &RunConfig) -> RunKey {
        let run = self.db.upsert_run(config).await.expect("a run");
        self.db
            .set_run_state(run, RunState::Completed, None)
            .await
            .expect("a state");
        run
    }

    /// Stores a level and its requests, which arrive evenly in its window.
    pub(crate) async fn put(&self, run: RunKey, level: &LevelRecord, requests: &[RequestRecord]) {
        let requests = arriving(level, requests);
        self.db.put_level(run, level).await.expect("a level");
        self.db.append(run, &requests, &[]).await.expect("requests");
    }
}

/// Requests that follow each other in the list do not follow each other in time, so that none of them is a burst.
pub(crate) fn arriving(level: &LevelRecord, requests: &[RequestRecord]) -> Vec<RequestRecord> {
    const STRIDE: usize = 37;
    let from = level.start_ns + level.warmup_ns;
    let gap = 1e9 / level.rate.get();
    let arriving = |(index, request): (usize, &RequestRecord)| RequestRecord {
        scheduled_ns: from + ((index * STRIDE % requests.len()) as f64 * gap) as i64,
        ..request.clone()
    };
    requests.iter().enumerate().map(arriving).collect()
}

/// Gaps of 1, 2, … `n` ms as the load generator stores them.
pub(crate) fn gaps(n: u64) -> Vec<u8> {
    let mut histogram = Histogram::<u64>::new(3).expect("a histogram");
    (1..=n).for_each(|ms| histogram.record(ms * MS as u64).expect("a gap"));
    let mut bytes = Vec::new();
    V2Serializer::new()
        .serialize(&histogram, &mut bytes)
        .expect("bytes");
    bytes
}

/// A verdict of a level that the client spoilt.
pub(crate) fn invalidate(level: &mut LevelRecord) {
    level.validity.faults = vec![gipfel_model::ValidityFault::ScheduleDelay {
        p99_ms: 31.4,
        limit_ms: 10.0,
    }];
    level.verdict = level.validity.reason().map(|reason| Verdict::Invalid { reason });
}
