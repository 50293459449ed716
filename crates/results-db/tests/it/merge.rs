use std::path::{Path, PathBuf};

use gipfel_model::{DeploymentKind, LevelState, Outcome, Provenance, RunState, Stage, Verdict};
use gipfel_results_db::{MergeReport, Origin, ResultsDb, merge};

use crate::common::{Files, config, full_scrape, level, query, request, scrape, step};

/// A database of one run with so many requests.
async fn database(path: &Path, run_id: &str, requests: i64) {
    let db = ResultsDb::create(path).await.expect("a database");
    let run = db.upsert_run(&config(run_id)).await.expect("a run");
    db.put_level(run, &level(0, 5.0)).await.expect("a level");
    let rows: Vec<_> = (0..requests).map(|number| request(0, number)).collect();
    db.append(run, &rows, &[scrape(0, 30)]).await.expect("rows");
    db.put_gaps(run, 0, 0, &[1, 2, 3]).await.expect("gaps");
    let mut facts = Provenance::default();
    facts.set(Provenance::ENGINE_VERSION, "1.0");
    db.set_provenance(run, &facts).await.expect("provenance");
    db.set_run_state(run, RunState::Completed, None)
        .await
        .expect("a state");
    db.close().await.expect("a closed database");
}

/// A report as lines.
fn lines(report: &MergeReport) -> Vec<String> {
    let name = |path: &PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
    let merged = report.merged.iter().map(|run| {
        let how = if run.replaced { "replaced" } else { "added" };
        format!(
            "{} {how} from {}, {} left out",
            run.run_id,
            name(&run.source),
            run.left_out
        )
    });
    let refused = report.refused.iter().map(|refused| {
        let directory = refused
            .source
            .parent()
            .expect("a directory")
            .display()
            .to_string()
            + "/";
        format!("refused: {}", refused.error.to_string().replace(&directory, ""))
    });
    merged.chain(refused).collect()
}

const COUNTS: &str = "SELECT run_id, (SELECT count(*) FROM request AS q WHERE q.run = r.run), \
     (SELECT count(*) FROM level AS l WHERE l.run = r.run), (SELECT count(*) FROM scrape AS s WHERE s.run = r.run), \
     (SELECT count(*) FROM gaps AS g WHERE g.run = r.run), \
     (SELECT group_concat(value) FROM provenance AS p WHERE p.run = r.run AND name = 'engine_version') FROM run AS r ORDER BY run_id";

#[tokio::test]
async fn merging_twice_changes_nothing() {
    let files = Files::new();
    let target = files.path("results.db");
    let sources = [files.path("a #1?.db"), files.path("b.db")];
    database(&sources[0], "run-a", 3).await;
    database(&sources[1], "run-b", 40).await;
    let expected = ["run-a|3|1|1|1|1.0", "run-b|40|1|1|1|1.0"];
    for how in ["added", "replaced"] {
        let report = merge(&target, &sources).await.expect("a merge");
        assert_eq!(
            lines(&report),
            [
                format!("run-a {how} from a #1?.db, 0 left out"),
                format!("run-b {how} from b.db, 0 left out")
            ]
        );
        assert_eq!(query(&target, COUNTS).await, expected);
    }
    assert_eq!(query(&target, "PRAGMA journal_mode").await, ["delete"]);
}

#[tokio::test]
async fn a_later_version_of_a_run_replaces_the_earlier() {
    let files = Files::new();
    let (target, early, late) = (
        files.path("results.db"),
        files.path("early.db"),
        files.path("late.db"),
    );
    database(&early, "run-a", 3).await;
    database(&late, "run-a", 5).await;
    merge(&target, &[early]).await.expect("a merge");
    merge(&target, &[late]).await.expect("a merge");
    assert_eq!(query(&target, COUNTS).await, ["run-a|5|1|1|1|1.0"]);
}

#[tokio::test]
async fn a_merge_keeps_what_a_search_has_learnt() {
    let files = Files::new();
    let (target, source) = (files.path("results.db"), files.path("run.db"));
    let db = ResultsDb::create(&source).await.expect("a database");
    let mut config = config("run-a");
    config.repeat = 3;
    let run = db.upsert_run(&config).await.expect("a run");
    let steps = [step(0, 5.0, Stage::Ramp), step(1, 10.0, Stage::Track)];
    for record in &steps {
        db.put_level(run, record).await.expect("a level");
    }
    db.append(run, &[], &[full_scrape(1, 30)])
        .await
        .expect("a scrape");
    db.close().await.expect("a closed database");
    let old = files.database("old.db", include_str!("version-1.sql")).await;
    // Written by the version before, of the same id: replaced by the later source.
    merge(&target, &[old, source]).await.expect("a merge");
    let db = ResultsDb::open_read_only(&target).await.expect("a reader");
    let runs = db.runs().await.expect("runs");
    assert_eq!((runs.len(), runs[0].repeat), (1, 3));
    assert_eq!(db.levels(runs[0].key).await.expect("levels"), steps);
    assert_eq!(
        db.scrapes(runs[0].key).await.expect("scrapes"),
        [full_scrape(1, 30)]
    );
}

#[tokio::test]
async fn bad_sources_are_named_and_the_others_merged() {
    let files = Files::new();
    let target = files.path("results.db");
    let good = files.path("good.db");
    database(&good, "run-a", 3).await;
    let torn = files.path("torn.db");
    database(&torn, "run-b", 2_000).await;
    let whole = std::fs::read(&torn).expect("the file");
    std::fs::write(&torn, &whole[..whole.len() / 3]).expect("a torn file");
    let sources = [
        files.text("text.db", &"nonsense\n".repeat(200)),
        files.text("empty.db", ""),
        files.path("missing.db"),
        files.database("other.db", "CREATE TABLE t (a)").await,
        target.clone(),
        torn,
        good,
    ];
    let report = merge(&target, &sources).await.expect("a merge");
    assert_eq!(
        lines(&report),
        [
            "run-a added from good.db, 0 left out",
            "refused: `text.db` is no SQLite database",
            "refused: `empty.db` is empty: its writer has not begun",
            "refused: there is no file `missing.db`",
            "refused: `other.db` is an SQLite database of another program (application id 0), not one of gipfel",
            "refused: `results.db` is the target of the merge itself",
            "refused: `torn.db` is damaged: error returned from database: (code: 11) database disk image is malformed",
        ]
    );
    assert_eq!(query(&target, COUNTS).await, ["run-a|3|1|1|1|1.0"]);
}

#[tokio::test]
async fn a_target_that_is_no_database_is_left_alone() {
    let files = Files::new();
    let text = "nonsense\n".repeat(200);
    let target = files.text("results.db", &text);
    let error = merge(&target, &[]).await.expect_err("no database");
    assert!(error.to_string().starts_with("cannot merge into"), "{error}");
    assert_eq!(std::fs::read_to_string(&target).expect("the file"), text);
}

const PREDECESSOR: &str = "
CREATE TABLE experiments (run_id TEXT, model TEXT, backend TEXT, backend_config TEXT, dataset_config TEXT,
    rate_levels TEXT, warmup_s INTEGER, measurement_s INTEGER, created_at TEXT);
CREATE TABLE requests (run_id TEXT, rate_lambda REAL, request_id INTEGER, ttft_ms REAL, tpot_ms REAL, e2e_ms REAL,
    input_tokens INTEGER, output_tokens INTEGER, success INTEGER, error TEXT);
CREATE TABLE server_stats (run_id TEXT, rate_lambda REAL, ts REAL, requests_running INTEGER,
    requests_waiting INTEGER, gpu_cache_pct REAL, spec_accept_rate REAL);
INSERT INTO experiments VALUES ('20260101-120000_Llama_vllm_slurm_0a1f', 'meta/Llama', 'vllm', '{}', '{}', '[5, 10]',
    30, 60, '2026-01-01T12:00:00');
INSERT INTO requests VALUES
    ('20260101-120000_Llama_vllm_slurm_0a1f', 5, 1, 100.5, 30, 400.5, 512, 11, 1, NULL),
    ('20260101-120000_Llama_vllm_slurm_0a1f', 5, 2, NULL, NULL, NULL, NULL, NULL, 0, 'read timeout'),
    ('20260101-120000_Llama_vllm_slurm_0a1f', 10, 3, 200, 30, 500, 512, 11, 1, NULL),
    ('20260101-120000_Llama_vllm_slurm_0a1f', NULL, 4, 200, 30, 500, 512, 11, 1, NULL),
    ('only-requests', 2, 1, 50, 20, 250, 10, 11, 1, NULL),
    ('only-requests', 2, 1, 50, 20, 250, 10, 11, 1, NULL);
INSERT INTO server_stats VALUES
    ('20260101-120000_Llama_vllm_slurm_0a1f', 5, 1767268830.5, 3, 1, 25, 0.75),
    ('20260101-120000_Llama_vllm_slurm_0a1f', 5, 1767268831.5, 4, 0, 50, NULL);
";

#[tokio::test]
async fn the_predecessors_databases_are_imported() {
    let files = Files::new();
    let target = files.path("results.db");
    let old = files.database("old.db", PREDECESSOR).await;
    let timed = PREDECESSOR.replace("created_at TEXT)", "created_at TEXT, server_load_time_s REAL)");
    let timed = timed.replace("'2026-01-01T12:00:00')", "'2026-01-01T12:00:00', 77.5)");
    let later = files.database("later.db", &timed).await;
    let report = merge(&target, std::slice::from_ref(&old)).await.expect("a merge");
    assert_eq!(
        lines(&report),
        [
            "20260101-120000_Llama_vllm_slurm_0a1f added from old.db, 1 left out",
            "only-requests added from old.db, 0 left out",
        ]
    );

    let theirs = "SELECT run_id, rate_lambda, request_id, ttft_ms, tpot_ms, e2e_ms, input_tokens, output_tokens, success, \
                  error FROM requests WHERE run_id LIKE '2026%' AND rate_lambda IS NOT NULL ORDER BY request_id";
    assert_eq!(query(&target, theirs).await, query(&old, theirs).await);
    let stats = "SELECT * FROM server_stats ORDER BY ts";
    assert_eq!(query(&target, stats).await, query(&old, stats).await);
    assert_eq!(
        query(&target, "SELECT * FROM experiments ORDER BY run_id").await,
        [
            "20260101-120000_Llama_vllm_slurm_0a1f|meta/Llama|vllm|{}|{}|[5, 10]|30|60|2026-01-01T12:00:00|",
            "only-requests|unknown|unknown|||[2.0]||||",
        ]
    );
    assert_eq!(
        query(
            &target,
            "SELECT count(*) FROM requests WHERE run_id = 'only-requests'"
        )
        .await,
        ["2"]
    );

    merge(&target, &[later]).await.expect("a merge");
    let loads = query(
        &target,
        "SELECT server_load_time_s FROM experiments WHERE run_id LIKE '2026%'",
    )
    .await;
    assert_eq!(loads, ["77.5"]);
    assert_eq!(query(&target, theirs).await, query(&old, theirs).await);
}

#[tokio::test]
async fn an_imported_run_is_read_like_any_other() {
    let files = Files::new();
    let target = files.path("results.db");
    let old = files.database("old.db", PREDECESSOR).await;
    merge(&target, &[old]).await.expect("a merge");
    let db = ResultsDb::open_read_only(&target).await.expect("a reader");
    let runs = db.runs().await.expect("runs");
    let run = runs
        .iter()
        .find(|run| run.model == "meta/Llama")
        .expect("the run");
    assert_eq!(
        (run.origin, run.state),
        (Origin::Predecessor, RunState::Completed)
    );
    assert_eq!(run.deployment, Some(DeploymentKind::Slurm));
    let levels = db.levels(run.key).await.expect("levels");
    assert_eq!(
        levels.iter().map(|level| level.rate.get()).collect::<Vec<_>>(),
        [5.0, 10.0]
    );
    assert!(levels.iter().all(|level| level.state == LevelState::Complete));
    assert!(matches!(levels[0].verdict, Some(Verdict::Unresolved { .. })));
    let requests = db.measured_requests(run.key, 0).await.expect("requests");
    assert_eq!(
        requests
            .iter()
            .map(|request| (request.outcome, request.first_token_ns))
            .collect::<Vec<_>>(),
        [(Outcome::Ok, Some(100_500_000)), (Outcome::TimeoutTotal, None)]
    );
    assert_eq!(
        db.scrapes(run.key).await.expect("scrapes")[1].kv_cache_usage,
        Some(0.5)
    );
}
