use gipfel_model::{
    LevelState, PeakAnswer, PeakEstimate, RequestRecord, RunState, ScrapeRecord, SearchSpec, Stage, Validated,
};
use gipfel_results_db::{ResultsDb, merge};

use super::{Report, load};
use crate::{
    fixture::{self, Database, invalidate, level, slo},
    summary::Conclusion,
};

const TTFT: &str = "ttft p95 <= 500ms";
const SECOND: i64 = 1_000_000_000;

/// Requests whose first tokens come after `first_ms` each.
fn requests(level: u32, n: u32, first_ms: i64) -> Vec<RequestRecord> {
    fixture::requests(level, n, 0)
        .into_iter()
        .enumerate()
        .map(|(index, request)| {
            let first = (first_ms + index as i64 % 7) * fixture::MS;
            RequestRecord {
                first_token_ns: Some(first),
                last_token_ns: Some(first + 300 * fixture::MS),
                end_ns: first + 301 * fixture::MS,
                ..request
            }
        })
        .collect()
}

/// Looks at a server whose own mean TTFT is 90 ms, within a level.
fn scrapes(level: u32, from_s: i64, to_s: i64) -> Vec<ScrapeRecord> {
    (from_s..to_s)
        .map(|second| ScrapeRecord {
            level,
            at_ns: second * SECOND,
            requests_running: Some(10.0),
            requests_waiting: Some(1.0),
            kv_cache_usage: Some(0.25),
            preemptions: Some(0.0),
            spec_accepted_tokens: Some(second as f64 * 3.0),
            spec_draft_tokens: Some(second as f64 * 4.0),
            ttft_sum_s: Some(second as f64 * 0.9),
            ttft_count: Some(second as f64 * 10.0),
            ..ScrapeRecord::default()
        })
        .collect()
}

/// A run with a level that holds and one that does not; of a search when `stage` is that of one.
async fn run(database: &Database, run_id: &str, stage: Stage) {
    let slos = [slo(TTFT)];
    let key = match stage {
        Stage::Level => database.run(run_id, &slos).await,
        _ => database.search_run(run_id, &slos, &SearchSpec::default()).await,
    };
    for (index, (rate, first_ms)) in [(10.0, 100), (20.0, 700)].into_iter().enumerate() {
        let index = index as u32;
        let rows = requests(index, 300, first_ms);
        let mut record = level(index, rate, &slos, &rows);
        if stage != Stage::Level {
            record.stage = stage;
            record.verdict = None;
        }
        database.put(key, &record, &rows).await;
        let from_s = record.start_ns / SECOND + 10;
        let looks = scrapes(index, from_s, from_s + 15);
        database.db.append(key, &[], &looks).await.expect("scrapes");
    }
}

async fn report(database: &Database) -> Report {
    load(&database.db).await.expect("a report")
}

fn page(report: &Report) -> String {
    let page = report.render_html().expect("a page");
    assert!(!page.contains("<script"), "a page runs no script");
    assert!(!page.contains(" src="), "a page holds everything itself");
    assert!(
        !page.contains("NaN") && !page.contains("inf "),
        "a page holds no broken number"
    );
    page
}

fn check(page: &str, expected: &[&str]) {
    for text in expected {
        assert!(page.contains(text), "the page does not say `{text}`:\n{page}");
    }
}

#[tokio::test]
async fn listed_levels_make_a_page() {
    let database = Database::new().await;
    run(&database, "run-a", Stage::Level).await;
    let report = report(&database).await;
    let page = page(&report);
    check(
        &page,
        &[
            "<title>swiss-ai/Apertus-8B on vllm, local · gipfel report</title>",
            r#"<span class="before">passes at</span> <span class="value">10</span>"#,
            "Passes at 10 req/s, rejected at 20 req/s",
            "TTFT percentiles against rate",
            "KV cache use and TTFT against rate",
            "accepted draft tokens (%)",
            "Output tokens per second against rate",
            "Level 0 over time: 10.0 req/s",
            "Level 1 over time: 20.0 req/s",
            "Mean TTFT as the client and as the server see it",
            "The client kept its part at every level.",
            "2026-11-21T22:43:12Z",
        ],
    );
}

#[tokio::test]
async fn a_search_says_how_sure_it_is() {
    let database = Database::new().await;
    run(&database, "run-a", Stage::Track).await;
    let mut report = report(&database).await;
    let run = &mut report.summary.runs[0];
    run.peak = PeakAnswer {
        estimate: Some(PeakEstimate {
            peak_qps: 15.18,
            mean: 15.4,
            low: 14.94,
            high: 16.02,
            binding: slo(TTFT),
            n_eff: 41.0,
        }),
        validated: Some(Validated {
            qps: 14.8,
            held_s: 640.0,
        }),
        ..PeakAnswer::default()
    };
    run.answer.conclusion = Conclusion::Answered;
    run.answer.max_qps = Some(15.18);
    run.answer.sentence =
        "at least 15.2 req/s (80 % sure; 90 % interval 14.9–16.0), bound by ttft p95 <= 500ms".to_owned();
    let answered = page(&report);
    check(
        &answered,
        &[
            r#"<span class="before">at least</span> <span class="value">15.2</span> <span class="per">req/s</span>"#,
            "At least 15.2 req/s (80 % sure; 90 % interval 14.9–16.0), bound by ttft p95 &#60;= 500ms.",
            "14.8 req/s held for 10 min 40 s",
            "worth 41 independent ones",
            "90 % interval of the peak",
            "at least 15.2 req/s (90 %: 14.9–16.0)",
        ],
    );
    let run = &mut report.summary.runs[0];
    run.peak.unresolved = Some("the time was up".to_owned());
    run.answer.conclusion = Conclusion::Unresolved;
    run.answer.max_qps = None;
    run.answer.sentence = "unresolved: the time was up".to_owned();
    let open = page(&report);
    check(
        &open,
        &[
            r#"<span class="value">unresolved</span>"#,
            "Unresolved: the time was up.",
            "Known so far, no answer",
        ],
    );
    assert!(
        !open.contains("90 % interval of the peak"),
        "what is unresolved is not drawn as an answer"
    );
}

#[tokio::test]
async fn levels_without_figures_are_named_as_such() {
    let database = Database::new().await;
    let slos = [slo(TTFT)];
    let key = database.run("run-a", &slos).await;
    let rows = requests(0, 300, 123);
    let mut invalid = level(0, 10.0, &slos, &rows);
    invalidate(&mut invalid);
    database.put(key, &invalid, &rows).await;
    let rows = requests(1, 30, 123);
    let mut broken = level(1, 20.0, &slos, &rows);
    broken.state = LevelState::Broken;
    broken.verdict = None;
    database.put(key, &broken, &rows).await;
    let page = page(&report(&database).await);
    check(
        &page,
        &[
            "⊘ invalid",
            "◌ broken off",
            "Level 0, 10 req/s: invalid (the client was late: schedule delay p99 31.4 ms, allowed 10.0 ms).",
            "No level has figures, so there is nothing to plot.",
            "The client did not keep its part at 1 level",
        ],
    );
    assert!(!page.contains("123."), "an invalid level has no figures");
}

#[tokio::test]
async fn a_run_that_failed_at_once_makes_a_page() {
    let database = Database::new().await;
    let key = database.run("run-a", &[slo(TTFT)]).await;
    let error = Some("the server ended: <b>out of memory</b>");
    database
        .db
        .set_run_state(key, RunState::Failed, error)
        .await
        .expect("a state");
    let page = page(&report(&database).await);
    check(
        &page,
        &["the run failed", "out of memory", "No level was offered."],
    );
    assert!(
        !page.contains("<b>out of memory"),
        "text of the database is escaped"
    );
}

#[tokio::test]
async fn text_of_the_database_is_escaped_everywhere() {
    let database = Database::new().await;
    let mut config = fixture::config("run-a", &[slo(TTFT)]);
    config.model = r#"<script>alert("1")</script>&"#.to_owned();
    config.provenance.set("note", "<img onerror=1>");
    let key = database.db.upsert_run(&config).await.expect("a run");
    let rows = requests(0, 300, 100);
    let record = level(0, 10.0, &config.slos, &rows);
    database.put(key, &record, &rows).await;
    let report = report(&database).await;
    let page = page(&report);
    assert!(!page.contains("<img"), "provenance is escaped");
    for plot in report.plots() {
        assert!(!plot.svg.contains("<script"), "{}", plot.name);
    }
}

#[tokio::test]
async fn several_runs_come_with_a_table_and_their_spread() {
    let database = Database::new().await;
    for (number, run_id) in ["run-a", "run-b"].into_iter().enumerate() {
        run(&database, run_id, Stage::Level).await;
        let mut config = fixture::config(run_id, &[slo(TTFT)]);
        config.repeat = number as u32;
        database.db.upsert_run(&config).await.expect("a run");
    }
    let page = page(&report(&database).await);
    check(
        &page,
        &[
            "<h1>2 runs of run.db</h1>",
            "Peak rate of each run",
            "Repeats of swiss-ai/Apertus-8B on vllm, local",
            r##"<a href="#run-2">"##,
            r#"id="run-2""#,
        ],
    );
}

#[tokio::test]
async fn an_empty_database_makes_a_page() {
    let database = Database::new().await;
    let report = report(&database).await;
    check(&page(&report), &["holds no run"]);
    assert_eq!(report.plots(), []);
}

/// A database as the predecessor wrote it: 5 req/s in 120 requests of 1 to 120 ms.
#[tokio::test]
async fn an_imported_run_makes_a_page() {
    use sqlx::{ConnectOptions, Connection};
    let database = Database::new().await;
    let old = database.path("old.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&old)
        .create_if_missing(true);
    let mut connection = options.connect().await.expect("a connection");
    sqlx::raw_sql(
        "CREATE TABLE experiments (run_id, model, backend, warmup_s, measurement_s);
         CREATE TABLE requests (run_id, rate_lambda, request_id, ttft_ms, tpot_ms, e2e_ms, input_tokens,
             output_tokens, success, error);
         CREATE TABLE server_stats (run_id, rate_lambda, ts, requests_running, requests_waiting, gpu_cache_pct,
             spec_accept_rate);
         INSERT INTO experiments VALUES ('../old run', 'meta/Llama', 'sglang', 30, 24);
         INSERT INTO server_stats VALUES ('../old run', 5, 100, 3, 0, 12.5, NULL);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120)
         INSERT INTO requests SELECT '../old run', 5, i, i, 30, i + 300, 512, 11, 1, NULL FROM n;",
    )
    .execute(&mut connection)
    .await
    .expect("a database");
    connection.close().await.expect("a closed database");
    let target = database.path("results.db");
    merge(&target, &[old]).await.expect("a merge");
    let db = ResultsDb::open_read_only(&target).await.expect("a reader");
    let report = load(&db).await.expect("a report");
    check(
        &page(&report),
        &[
            "meta/Llama on sglang",
            "imported",
            "TTFT percentiles against rate",
            "Output tokens per second against rate",
            "so none can be shown over time",
            "whether the client kept its schedule is not known",
        ],
    );
    let names: Vec<String> = report.plots().into_iter().map(|plot| plot.name).collect();
    assert!(
        names
            .iter()
            .all(|name| name == "peaks" || name.starts_with("-old-run_")),
        "{names:?}"
    );
}

#[tokio::test]
async fn plots_are_files_with_stable_names() {
    let database = Database::new().await;
    run(&database, "run-a", Stage::Level).await;
    let plots = report(&database).await.plots();
    let names: Vec<&str> = plots.iter().map(|plot| plot.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "peaks",
            "run-a_timeline",
            "run-a_violations",
            "run-a_latency-ttft",
            "run-a_kv-cache",
            "run-a_speculation",
            "run-a_output-tokens",
            "run-a_server-and-client",
            "run-a_level-0",
            "run-a_level-1",
        ]
    );
    for plot in &plots {
        assert!(plot.svg.starts_with("<svg xmlns="), "{}", plot.name);
        assert!(!plot.svg.contains("var("), "a file has colours of its own");
    }
}

#[tokio::test]
async fn bars_are_drawn_as_svg() {
    let database = Database::new().await;
    run(&database, "run-a", Stage::Level).await;
    let chart = super::plots::of_all(&report(&database).await).expect("a chart");
    insta::assert_snapshot!(chart.canvas.body.replace("><", ">\n<"), @r#"
        <rect class="h0 dash" x="16" y="6" width="24" height="12"/>
        <text class="t" x="46" y="16" font-size="12" text-anchor="start">highest passing level</text>
        <line class="grid" x1="270" y1="30" x2="270" y2="74"/>
        <line class="grid" x1="326.7" y1="30" x2="326.7" y2="74"/>
        <line class="grid" x1="383.3" y1="30" x2="383.3" y2="74"/>
        <line class="grid" x1="440" y1="30" x2="440" y2="74"/>
        <line class="grid" x1="496.7" y1="30" x2="496.7" y2="74"/>
        <line class="grid" x1="553.3" y1="30" x2="553.3" y2="74"/>
        <line class="grid" x1="610" y1="30" x2="610" y2="74"/>
        <text class="t" x="258" y="49" font-size="12" text-anchor="end">swiss-ai/Apertus-8B</text>
        <text class="m" x="258" y="65" font-size="12" text-anchor="end">vllm, local</text>
        <rect class="h0 dash" x="270" y="41" width="283.3" height="22"/>
        <text class="b" x="622" y="56" font-size="12" text-anchor="start">10.0</text>
        <line class="axis" x1="270" y1="74" x2="610" y2="74"/>
        <line class="axis" x1="270" y1="74" x2="270" y2="78"/>
        <text class="m" x="270" y="92" font-size="12" text-anchor="middle">0</text>
        <line class="axis" x1="326.7" y1="74" x2="326.7" y2="78"/>
        <text class="m" x="326.7" y="92" font-size="12" text-anchor="middle">2</text>
        <line class="axis" x1="383.3" y1="74" x2="383.3" y2="78"/>
        <text class="m" x="383.3" y="92" font-size="12" text-anchor="middle">4</text>
        <line class="axis" x1="440" y1="74" x2="440" y2="78"/>
        <text class="m" x="440" y="92" font-size="12" text-anchor="middle">6</text>
        <line class="axis" x1="496.7" y1="74" x2="496.7" y2="78"/>
        <text class="m" x="496.7" y="92" font-size="12" text-anchor="middle">8</text>
        <line class="axis" x1="553.3" y1="74" x2="553.3" y2="78"/>
        <text class="m" x="553.3" y="92" font-size="12" text-anchor="middle">10</text>
        <line class="axis" x1="610" y1="74" x2="610" y2="78"/>
        <text class="m" x="610" y="92" font-size="12" text-anchor="middle">12</text>
        <text class="t" x="440" y="112" font-size="12" text-anchor="middle">Rate (req/s)</text>
    "#);
}

#[cfg(feature = "png")]
#[tokio::test]
async fn plots_are_drawn_as_png() {
    let database = Database::new().await;
    run(&database, "run-a", Stage::Level).await;
    for plot in report(&database).await.plots() {
        let png = plot.to_png().expect("a picture");
        assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"), "{}", plot.name);
    }
}

/// Fonts of the machine are never asked for: with text, more pixels are dark than without.
#[cfg(feature = "png")]
#[test]
fn text_of_png_needs_no_fonts_of_the_machine() {
    let picture = |text: &str| {
        let chart = |text: &str| {
            let mut canvas = super::svg::Canvas::new(200.0, 40.0);
            canvas.text("b", (10.0, 25.0), super::svg::Anchor::Start, text);
            super::plots::Chart {
                name: "text".to_owned(),
                title: String::new(),
                description: String::new(),
                canvas,
            }
        };
        super::Plot {
            name: "text".to_owned(),
            title: String::new(),
            svg: chart(text).document(""),
        }
        .to_png()
        .expect("a picture")
    };
    let (blank, text, signs) = (picture(""), picture("Offered rate"), picture("≤ ≥ ∞ ± – × µ λ"));
    assert!(text.len() > blank.len() + 500, "{} {}", text.len(), blank.len());
    assert!(signs.len() > blank.len() + 400, "{} {}", signs.len(), blank.len());
}
