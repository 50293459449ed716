//! Comparisons of servers that are the same and of ones that are not.

use gipfel_model::{LevelRecord, PeakAnswer, Provenance, RequestRecord, RunConfig, RunState, Slo, Stage};
use gipfel_results_db::RunKey;

use super::*;
use crate::fixture::{Database, MS, config, level, rate, request, slo};

const TTFT: &str = "ttft p95 <= 500ms";

/// A run over blocks about its peak, of a server whose first tokens come after `ttft_ms` and a little.
struct Server {
    /// The peak that the run states, with an interval of ±1.5 %; absent: it is unresolved.
    peak: Option<f64>,
    ttft_ms: i64,
    /// Rates of the blocks.
    rates: Vec<f64>,
}

impl Server {
    fn new(peak: f64, ttft_ms: i64) -> Self {
        let rates = [0.96, 0.98, 0.99, 1.0, 1.01, 1.02]
            .map(|share| share * peak)
            .to_vec();
        Self {
            peak: Some(peak),
            ttft_ms,
            rates,
        }
    }

    async fn measure(&self, database: &Database, run: RunKey) {
        for (index, rate) in self.rates.iter().enumerate() {
            let index = index as u32;
            let requests = self.requests(index);
            database
                .put(run, &block(index, *rate, &requests), &requests)
                .await;
        }
    }

    /// What a search would have concluded.
    fn answer(&self) -> PeakAnswer {
        PeakAnswer {
            estimate: self.peak.map(|peak| PeakEstimate {
                peak_qps: peak * 0.99,
                mean: peak,
                low: peak * 0.985,
                high: peak * 1.015,
                binding: slo(TTFT),
                n_eff: 100.0,
            }),
            unresolved: self
                .peak
                .is_none()
                .then(|| "the time was over; a longer one resolves it".to_owned()),
            ..PeakAnswer::default()
        }
    }

    fn requests(&self, index: u32) -> Vec<RequestRecord> {
        (0..400)
            .map(|number| {
                let first = (self.ttft_ms + i64::from(number % 40)) * MS;
                RequestRecord {
                    scheduled_ns: i64::from(index) * 1_000_000 * MS + i64::from(number) * 250 * MS,
                    first_token_ns: Some(first),
                    last_token_ns: Some(first + 300 * MS),
                    end_ns: first + 301 * MS,
                    ..request(index, number)
                }
            })
            .collect()
    }
}

fn block(index: u32, per_second: f64, requests: &[RequestRecord]) -> LevelRecord {
    LevelRecord {
        rate: rate(per_second),
        stage: Stage::Track,
        verdict: None,
        ..level(index, per_second, &[slo(TTFT)], requests)
    }
}

/// The runs of a server, one for each repeat.
struct Measured {
    database: Database,
    answers: Vec<PeakAnswer>,
}

async fn measured(servers: &[Server], change: impl Fn(&mut RunConfig)) -> Measured {
    let database = Database::new().await;
    for (repeat, server) in servers.iter().enumerate() {
        let mut config = config(&format!("run-{repeat}"), &[slo(TTFT)]);
        config.repeat = repeat as u32;
        config.deployment_id = format!("d-20261121-224312_sim_sim_local_000{repeat}")
            .parse()
            .expect("a deployment id");
        config.provenance.set(Provenance::ENGINE_VERSION, "0.22.1");
        change(&mut config);
        let run = database.db.upsert_run(&config).await.expect("a run");
        database
            .db
            .set_run_state(run, RunState::Completed, None)
            .await
            .expect("a state");
        server.measure(&database, run).await;
    }
    Measured {
        database,
        answers: servers.iter().map(Server::answer).collect(),
    }
}

impl Measured {
    fn source<'a>(&'a self, id: Option<&'a str>, label: &'a str) -> Source<'a> {
        Source {
            db: &self.database.db,
            id,
            label,
        }
    }

    /// This side with the answers that its runs are to have, whatever the estimator makes of their levels.
    async fn side<'a>(&'a self, id: Option<&'a str>, label: &'a str) -> Side<'a> {
        let mut side = Side::load(self.source(id, label)).await.expect("a side");
        for run in &mut side.runs {
            run.peak = self.answers[run.repeat as usize].clone();
            run.warnings.clear();
        }
        side
    }
}

async fn compared(a: &Measured, b: &Measured, force: bool) -> Result<Comparison, CompareError> {
    compare_sides([a.side(None, "a.db").await, b.side(None, "b.db").await], force).await
}

async fn text(a: &Measured, b: &Measured) -> (Outcome, String) {
    let comparison = compared(a, b, false).await.expect("a comparison");
    let text = render_comparison(&comparison, 100);
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    (comparison.peak.outcome, text)
}

#[tokio::test]
async fn one_server_measured_twice_shows_no_difference() {
    let a = measured(&[Server::new(25.0, 200)], |_| {}).await;
    let b = measured(&[Server::new(25.1, 203)], |_| {}).await;
    let (outcome, text) = text(&a, &b).await;
    assert_eq!(outcome, Outcome::NoDifference);
    insta::assert_snapshot!(text, @r"
    A: a.db: swiss-ai/Apertus-8B on vllm, run run-0; mean peak 25.0 req/s (90 % interval 24.6 to 25.4)
    B: b.db: swiss-ai/Apertus-8B on vllm, run run-0; mean peak 25.1 req/s (90 % interval 24.7 to 25.5)

    No difference: +0.4 % (90 % interval −1.7 to +2.6 %), 25.1 against 25.0 req/s.

    Latency at equal rate in ms, with 95 % intervals. ≠: those of A and B do not meet; –: the sample
    does not support it.
     Rate           Latency                         A                        B
     (req/s)
    ───────────────────────────────────────────────────────────────────────────────
     24, 24.1       requests                      400                      400
                    TTFT p50   219.0 (217.0 to 222.0)   222.0 (220.0 to 225.0)
                    TTFT p95   237.0 (236.0 to 238.0)   240.0 (239.0 to 241.0)   ≠
                    TPOT p50      30.0 (30.0 to 30.0)      30.0 (30.0 to 30.0)
                    TPOT p95      30.0 (30.0 to 30.0)      30.0 (30.0 to 30.0)
                    E2E p50    519.0 (517.0 to 522.0)   522.0 (520.0 to 525.0)
                    E2E p95    537.0 (536.0 to 538.0)   540.0 (539.0 to 541.0)   ≠
     24.5, 24.6     requests                      400                      400
                    TTFT p50   219.0 (217.0 to 222.0)   222.0 (220.0 to 225.0)
                    TTFT p95   237.0 (236.0 to 238.0)   240.0 (239.0 to 241.0)   ≠
                    TPOT p50      30.0 (30.0 to 30.0)      30.0 (30.0 to 30.0)
                    TPOT p95      30.0 (30.0 to 30.0)      30.0 (30.0 to 30.0)
                    E2E p50    519.0 (517.0 to 522.0)   522.0 (520.0 to 525.0)
                    E2E p95    537.0 (536.0 to 538.0)   540.0 (539.0 to 541.0)   ≠
     24.75, 24.85   requests                      400                      400
                    TTFT p50   219.0 (217.0 to 222.0)   222.0 (220.0 to 225.0)
                    TTFT p95   237.0 (236.0 to 238.0)   240.0 (239.0 to 241.0)   ≠
                    TPOT p50      30.0 (30.0 to 30.0)      30.0 (30.0 to 30.0)
                    TPOT p95      30.0 (30.0 to 30.0)      30.0 (30.0 to 30.0)
                    E2E p50    519.0 (517.0 to 522.0)   522.0 (520.0 to 525.0)
                    E2E p95    537.0 (536.0 to 538.0)   540.0 (539.0 to 541.0)   ≠
     25.12, 25.1    requests                      800                      400
                    TTFT p50   219.0 (218.0 to 221.0)   222.0 (220.0 to 225.0)
                    TTFT p95   237.0 (237.0 to 238.0)   240.0 (239.0 to 241.0)   ≠
                    TPOT p50      30.0 (30.0 to 30.0)      30.0 (30.0 to 30.0)
                    TPOT p95      30.0 (30.0 to 30.0)      30.0 (30.0 to 30.0)
                    E2E p50    519.0 (518.0 to 521.0)   522.0 (520.0 to 525.0)
                    E2E p95    537.0 (537.0 to 538.0)   540.0 (539.0 to 541.0)   ≠
     25.5, 25.48    requests                      400                      800
                    TTFT p50   219.0 (217.0 to 222.0)   222.0 (221.0 to 224.0)
                    TTFT p95   237.0 (236.0 to 238.0)   240.0 (240.0 to 241.0)   ≠
                    TPOT p50      30.0 (30.0 to 30.0)      30.0 (30.0 to 30.0)
                    TPOT p95      30.0 (30.0 to 30.0)      30.0 (30.0 to 30.0)
                    E2E p50    519.0 (517.0 to 522.0)   522.0 (521.0 to 524.0)
                    E2E p95    537.0 (536.0 to 538.0)   540.0 (540.0 to 541.0)   ≠

    Nothing else that is recorded differs.
    ");
}

#[tokio::test]
async fn a_slower_server_is_worse_and_says_what_changed() {
    let a = measured(&[Server::new(25.6, 200)], |_| {}).await;
    let slower = Server {
        rates: vec![20.0, 22.5, 23.0, 23.5, 24.0, 24.6],
        ..Server::new(23.5, 260)
    };
    let change = |config: &mut RunConfig| {
        config.provenance.set(Provenance::ENGINE_VERSION, "0.23.0");
        config.deployment_id = "d-20261122-101500_sim_sim_local_77aa"
            .parse()
            .expect("a deployment id");
        config
            .backend_config
            .insert("max_num_seqs".to_owned(), 128.into());
    };
    let b = measured(&[slower], change).await;
    let (outcome, words) = text(&a, &b).await;
    assert_eq!(outcome, Outcome::Worse);
    insta::assert_snapshot!(words, @r"
    A: a.db: swiss-ai/Apertus-8B on vllm, run run-0; mean peak 25.6 req/s (90 % interval 25.2 to 26.0)
    B: b.db: swiss-ai/Apertus-8B on vllm, run run-0; mean peak 23.5 req/s (90 % interval 23.1 to 23.9)

    B is lower by 8.2 % (90 % interval 6.2 to 10.1 %): 23.5 against 25.6 req/s, lower by 2.10 (1.60 to
    2.59) req/s.
    - the interval knows nothing of how much one start of a server differs from the next; several
      `repeats` of each measure it

    Latency at equal rate in ms, with 95 % intervals. ≠: those of A and B do not meet; –: the sample
    does not support it.
     Rate          Latency                         A                        B
     (req/s)
    ──────────────────────────────────────────────────────────────────────────────
     24.58, 24.6   requests                      400                      400
                   TTFT p50   219.0 (217.0 to 222.0)   279.0 (277.0 to 282.0)   ≠
                   TTFT p95   237.0 (236.0 to 238.0)   297.0 (296.0 to 298.0)   ≠
                   TPOT p50      30.0 (30.0 to 30.0)      30.0 (30.0 to 30.0)
                   TPOT p95      30.0 (30.0 to 30.0)      30.0 (30.0 to 30.0)
                   E2E p50    519.0 (517.0 to 522.0)   579.0 (577.0 to 582.0)   ≠
                   E2E p95    537.0 (536.0 to 538.0)   597.0 (596.0 to 598.0)   ≠

     What else differs             A        B
    ───────────────────────────────────────────────
     backend_config.max_num_seqs   –        128
     engine_version                0.22.1   0.23.0
    ");
    assert_eq!(text(&b, &a).await.0, Outcome::Better);
}

#[tokio::test]
async fn repeats_are_taken_together() {
    let servers = || {
        [
            Server::new(24.5, 200),
            Server::new(25.0, 200),
            Server::new(25.5, 200),
        ]
    };
    let a = measured(&servers(), |_| {}).await;
    let b = measured(&[Server::new(24.2, 200)], |_| {}).await;
    let comparison = compared(&a, &b, false).await.expect("a comparison");
    assert_eq!(comparison.a.runs.len(), 3);
    assert_eq!(comparison.peak.outcome, Outcome::NoDifference);
    let difference = comparison.peak.difference.expect("a difference");
    assert!(
        difference.between_runs_percent.is_some_and(|share| share > 1.0),
        "{difference:?}"
    );
    let sides = [
        a.side(Some("run-1"), "a.db#run-1").await,
        b.side(None, "b.db").await,
    ];
    let alone = compare_sides(sides, false).await.expect("a comparison");
    assert_eq!((alone.a.runs.len(), alone.peak.outcome), (1, Outcome::Worse));
}

#[tokio::test]
async fn other_questions_are_refused_unless_forced() {
    let a = measured(&[Server::new(25.0, 200)], |_| {}).await;
    let other: Vec<Slo> = vec![slo("ttft p95 <= 1s")];
    let b = measured(&[Server::new(25.0, 200)], |config| {
        config.slos.clone_from(&other);
        config.workload.output_length = gipfel_model::LengthDistribution::Fixed { value: 99 };
        config.workload.seed = 7;
    })
    .await;
    let error = compared(&a, &b, false).await.expect_err("other questions");
    insta::assert_snapshot!(error, @"the two cannot be compared: the objectives differ: A has ttft p95 <= 500ms, B has ttft p95 <= 1s; the workloads differ in workload.output_length.value: 11 in A, 99 in B");
    let forced = compared(&a, &b, true).await.expect("a comparison");
    assert!(
        forced.notes[0].starts_with("compared all the same, by force"),
        "{:?}",
        forced.notes
    );
}

#[tokio::test]
async fn a_run_is_named_where_several_are_stored() {
    let measured = measured(&[Server::new(25.0, 200)], |_| {}).await;
    let other = RunConfig {
        model: "other".to_owned(),
        ..config("run-x", &[slo(TTFT)])
    };
    measured.database.db.upsert_run(&other).await.expect("a run");
    let check = async |id: Option<&str>, expected: &str| {
        let source = measured.source(id, "a.db");
        let error = compare(source, source, false)
            .await
            .err()
            .map(|error| error.to_string());
        assert_eq!(error.unwrap_or_default(), expected);
    };
    check(
        None,
        "`a.db` holds runs of several experiments, of which one has to be named: run-0, run-x",
    )
    .await;
    check(
        Some("run-y"),
        "`a.db` holds no run and no campaign `run-y`; its runs are: run-0, run-x",
    )
    .await;
    check(Some("run-0"), "").await;
    check(
        Some("c-20261121-224312_0a1f"),
        "`a.db` holds runs of several experiments, of which one has to be named: run-0, run-x",
    )
    .await;
    let empty = Database::new().await;
    let source = Source {
        db: &empty.db,
        id: None,
        label: "e.db",
    };
    let error = compare(source, source, false).await.expect_err("nothing");
    assert_eq!(error.to_string(), "`e.db` holds no run");
}

#[tokio::test]
async fn what_has_no_answer_is_unresolved() {
    let a = measured(&[Server::new(25.0, 200)], |_| {}).await;
    let unresolved = Server {
        peak: None,
        rates: vec![],
        ..Server::new(25.0, 200)
    };
    let b = measured(&[unresolved], |_| {}).await;
    let (outcome, words) = text(&a, &b).await;
    assert_eq!(outcome, Outcome::Unresolved);
    insta::assert_snapshot!(words, @r"
    A: a.db: swiss-ai/Apertus-8B on vllm, run run-0; mean peak 25.0 req/s (90 % interval 24.6 to 25.4)
    B: b.db: swiss-ai/Apertus-8B on vllm, run run-0; no peak

    No answer: B is unresolved (the time was over; a longer one resolves it).

    No rate was offered to both without overload, so latencies at equal rate cannot be compared; list
    the same `rate_levels` for both to compare them.

    Nothing else that is recorded differs.
    ");
}

#[tokio::test]
async fn a_comparison_as_json_names_its_format() {
    let a = measured(&[Server::new(25.0, 200)], |_| {}).await;
    let comparison = compared(&a, &a, false).await.expect("a comparison");
    let value = serde_json::to_value(&comparison).expect("JSON");
    assert_eq!(value["header"]["format"], "gipfel-comparison");
    assert_eq!(value["peak"]["outcome"], "no_difference");
    assert_eq!(value["latencies"].as_array().map(Vec::len), Some(5));
    assert_eq!(value["differences"], serde_json::json!([]));
}

#[tokio::test]
async fn a_server_that_meets_nothing_is_worse() {
    let a = measured(&[Server::new(25.0, 200)], |_| {}).await;
    let mut b = measured(&[Server::new(25.0, 200)], |_| {}).await;
    b.answers[0] = PeakAnswer {
        nothing_passes: true,
        ..PeakAnswer::default()
    };
    let outcome = async |a, b| compared(a, b, false).await.expect("a comparison").peak.outcome;
    assert_eq!(outcome(&a, &b).await, Outcome::Worse);
    assert_eq!(outcome(&b, &a).await, Outcome::Better);
    assert_eq!(outcome(&b, &b).await, Outcome::Unresolved);
}
