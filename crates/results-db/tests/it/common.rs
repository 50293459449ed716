use std::{path::PathBuf, time::Duration};

use gipfel_model::{
    ArrivalProcess, ArrivalRate, Attainment, BackendKind, ClientHealth, CountSource, Decided, DeploymentKind,
    EndpointSpec, Evidence, LengthDistribution, LevelRecord, LevelSchedule, LevelState, Outcome, Phase,
    Rates, RequestRecord, RunConfig, ScrapeRecord, Second, Stage, Timeouts, Validity, Verdict, WorkloadSpec,
    run_config::RUN_CONFIG_FORMAT,
};
use sqlx::{AssertSqlSafe, ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

pub(crate) const MS: i64 = 1_000_000;
pub(crate) const SECOND: i64 = 1_000 * MS;

/// A directory for the files of one test.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().expect("a temporary directory"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file with this text.
    pub(crate) fn text(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// A database made by these statements.
    pub(crate) async fn database(&self, name: &str, statements: &str) -> PathBuf {
        let path = self.path(name);
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true);
        let mut connection = options.connect().await.expect("a connection");
        execute(&mut connection, statements).await;
        sqlx::Connection::close(connection)
            .await
            .expect("a closed database");
        path
    }
}

pub(crate) async fn execute(connection: &mut SqliteConnection, statements: &str) {
    sqlx::raw_sql(AssertSqlSafe(statements))
        .execute(connection)
        .await
        .expect("valid SQL");
}

/// The rows of a query as text, one line each, columns separated by `|` and NULL left empty.
pub(crate) async fn query(path: &std::path::Path, query: &str) -> Vec<String> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    let mut connection = options.connect().await.expect("a connection");
    let rows = sqlx::query(AssertSqlSafe(query))
        .fetch_all(&mut connection)
        .await
        .expect("a valid query");
    rows.iter().map(line).collect()
}

fn line(row: &sqlx::sqlite::SqliteRow) -> String {
    use sqlx::{Column, Row, TypeInfo, ValueRef};
    let cells: Vec<String> = (0..row.len())
        .map(|index| {
            let value = row.try_get_raw(index).expect("a column");
            match value.type_info().name() {
                _ if value.is_null() => String::new(),
                "INTEGER" => row.get::<i64, _>(index).to_string(),
                "REAL" => row.get::<f64, _>(index).to_string(),
                "TEXT" => row.get::<String, _>(index),
                other => panic!("{other} in {}", row.column(index).name()),
            }
        })
        .collect();
    cells.join("|")
}

pub(crate) fn rate(per_second: f64) -> ArrivalRate {
    ArrivalRate::per_second(per_second).expect("a rate")
}

pub(crate) fn config(run_id: &str) -> RunConfig {
    RunConfig {
        header: RUN_CONFIG_FORMAT.header(),
        run_id: run_id.parse().expect("a run id"),
        campaign_id: "c-20261121-224312_0a1f".parse().expect("a campaign id"),
        deployment_id: "d-20261121-224312_sim_sim_local_0a1f"
            .parse()
            .expect("a deployment id"),
        deployment: DeploymentKind::Local,
        repeat: 0,
        model: "sim".to_owned(),
        served_model: None,
        backend: BackendKind::Sim,
        endpoint: EndpointSpec::new("http://user:pass-word@127.0.0.1:8000?token=to-ken"),
        backend_config: serde_json::Map::new(),
        dataset_config: serde_json::Map::new(),
        workload: WorkloadSpec {
            prompts: gipfel_model::PromptSource::default(),
            arrivals: ArrivalProcess::Poisson,
            input_length: LengthDistribution::Fixed { value: 512 },
            output_length: LengthDistribution::Fixed { value: 256 },
            seed: 1,
            requests: gipfel_model::RequestForm::default(),
        },
        schedule: LevelSchedule {
            rates: Rates::Listed(vec![rate(5.0), rate(10.0)]),
            warmup: Duration::from_secs(30),
            measured: Duration::from_mins(1),
            requests_per_level: None,
            warmup_ramp: false,
            exact_windows: false,
            all_levels: false,
            total_time: None,
        },
        slos: vec!["ttft p95 <= 500ms".parse().expect("an objective")],
        informational_slos: vec![],
        timeouts: Timeouts::default(),
        workers: None,
        server_load_time: Some(Duration::from_millis(12_500)),
        created_at: "2026-11-21T22:43:12Z".to_owned(),
        provenance: gipfel_model::Provenance::default(),
    }
}

/// A complete level that starts 100 s after the anchor for each index, and at Unix second 1,700,000,000.
pub(crate) fn level(index: u32, per_second: f64) -> LevelRecord {
    LevelRecord {
        level: index,
        rate: rate(per_second),
        stage: Stage::Level,
        state: LevelState::Complete,
        start_ns: i64::from(index) * 100 * SECOND,
        warmup_ns: 30 * SECOND,
        measured_ns: 60 * SECOND,
        started_unix_ns: 1_700_000_000 * SECOND,
        ended_unix_ns: Some(1_700_000_095 * SECOND),
        offered_rate: per_second,
        sent_rate: per_second,
        completed_rate: per_second,
        attainment: vec![],
        validity: Validity::default(),
        verdict: Some(Verdict::Accept),
        evidence: None,
    }
}

/// A step of an adaptive search, with all that it may hold.
pub(crate) fn step(index: u32, per_second: f64, stage: Stage) -> LevelRecord {
    let slo = "ttft p95 <= 500ms".parse().expect("an objective");
    let second = |arrivals: u32, decided, violated| Second {
        arrivals,
        input_tokens: u64::from(arrivals) * 512,
        output_tokens: u64::from(arrivals) * 256,
        objectives: vec![Decided { decided, violated }],
    };
    LevelRecord {
        stage,
        attainment: vec![Attainment {
            slo,
            scheduled: 600,
            decided: 600,
            violated: 12,
            n_eff: Some(40.5),
            interval: Some((0.001, 0.125)),
        }],
        validity: Validity {
            schedule_delay_p50_ns: 1,
            schedule_delay_p99_ns: 2,
            schedule_delay_max_ns: 3,
            faults: vec![],
            client: ClientHealth {
                busiest_thread: Some(0.25),
                run_queue: Some(0.125),
                ..ClientHealth::default()
            },
        },
        verdict: None,
        evidence: Some(Evidence {
            settle_s: 1,
            seconds: vec![second(11, 0, 0), second(9, 9, 2)],
            stands_for_s: 60,
            overloaded: Some(slo),
            e2e_p50_s: Some(0.5),
            in_flight: Some(4.5),
        }),
        ..level(index, per_second)
    }
}

/// A successful measured request: TTFT 100 ms, 99 ms of them after the send, 11 tokens, 30 ms between them.
pub(crate) fn request(level: u32, number: i64) -> RequestRecord {
    RequestRecord {
        rank: 0,
        request: i64::from(level) << 32 | number,
        level,
        phase: Phase::Measured,
        class: 0,
        session: None,
        turn: 0,
        endpoint: 0,
        outcome: Outcome::Ok,
        http_status: Some(200),
        scheduled_ns: i64::from(level) * 100 * SECOND + 30 * SECOND + number * MS,
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

/// A scrape so many seconds after the level's start.
pub(crate) fn scrape(level: u32, second: i64) -> ScrapeRecord {
    ScrapeRecord {
        level,
        at_ns: i64::from(level) * 100 * SECOND + second * SECOND,
        requests_running: Some(3.0),
        requests_waiting: Some(1.0),
        kv_cache_usage: Some(0.25),
        ..ScrapeRecord::default()
    }
}

/// A scrape of a server that exports its own histograms.
pub(crate) fn full_scrape(level: u32, second: i64) -> ScrapeRecord {
    ScrapeRecord {
        ttft_sum_s: Some(12.5),
        ttft_count: Some(100.0),
        queue_sum_s: Some(2.5),
        queue_count: Some(100.0),
        ..scrape(level, second)
    }
}

/// Requests of a level of [`scattered`] ones.
pub(crate) const LEVEL_ROWS: i64 = 60_000;

/// A request of a search as real runs have them: times that do not repeat, and rows that come as the requests end.
pub(crate) fn scattered(number: i64) -> RequestRecord {
    let level = number / LEVEL_ROWS;
    let arrival = number % LEVEL_ROWS;
    // Any fixed permutation of 32 bits scatters the times.
    let noise = |salt: i64, range: i64| {
        let mixed = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ (salt as u64) << 32);
        (mixed >> 32) as i64 % range
    };
    let between = MS;
    let first = 50 * MS + noise(1, 400 * MS);
    let last = first + 1_270 * MS + noise(2, 3_000 * MS);
    RequestRecord {
        request: (level << 48) | arrival,
        scheduled_ns: number * between + noise(3, between),
        send_ns: Some(20_000 + noise(4, 200_000)),
        header_ns: Some(first - noise(5, 200_000)),
        first_chunk_ns: Some(first),
        first_token_ns: Some(first),
        first_token_lag_ns: Some(5_000 + noise(9, 100_000)),
        first_output_ns: Some(first),
        last_token_ns: Some(last),
        end_ns: last + 10_000 + noise(6, 60_000),
        input_tokens: Some(400 + noise(7, 200) as u32),
        output_tokens: Some(128),
        requested_input: 390 + noise(7, 200) as u32,
        requested_output: 128,
        chunks: 128,
        itl_max_ns: Some(10 * MS + noise(8, 20 * MS)),
        ..request(level as u32, 0)
    }
}
