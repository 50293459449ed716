use gipfel_model::{
    LevelState, Outcome, Phase, Rates, RequestRecord, RunConfig, ScrapeRecord, SearchSpec, Stage,
};
use gipfel_results_db::ResultsDb;

use crate::common::{Files, config, level, query, rate, request, scrape, step};

#[tokio::test]
async fn the_predecessors_columns_come_first_and_in_their_order() {
    let files = Files::new();
    let path = files.path("run.db");
    ResultsDb::create(&path)
        .await
        .expect("a database")
        .close()
        .await
        .expect("a closed database");
    let check = async |view: &str, expected: &str| {
        let columns = query(&path, &format!("SELECT name FROM pragma_table_info('{view}')"))
            .await
            .join(" ");
        assert_eq!(columns, expected, "{view}");
    };
    check(
        "experiments",
        "run_id model backend backend_config dataset_config rate_levels warmup_s measurement_s created_at \
         server_load_time_s",
    )
    .await;
    check(
        "requests",
        "run_id rate_lambda request_id ttft_ms tpot_ms e2e_ms input_tokens output_tokens success error \
         ttft_from_send_ms scheduled_at_ms level outcome rank",
    )
    .await;
    check(
        "server_stats",
        "run_id rate_lambda ts requests_running requests_waiting gpu_cache_pct spec_accept_rate",
    )
    .await;
}

#[tokio::test]
async fn requests_are_the_measured_ones_of_complete_levels() {
    let files = Files::new();
    let path = files.path("run.db");
    let db = ResultsDb::create(&path).await.expect("a database");
    let run = db.upsert_run(&config("run-a")).await.expect("a run");
    let mut broken = level(1, 10.0);
    broken.state = LevelState::Broken;
    let mut open = level(2, 10.0);
    open.state = LevelState::Open;
    for record in [&level(0, 5.0), &broken, &open] {
        db.put_level(run, record).await.expect("a level");
    }
    let rows = [
        request(0, 0),
        RequestRecord {
            outcome: Outcome::StreamCut,
            error: Some("cut".to_owned()),
            ..request(0, 1)
        },
        RequestRecord {
            outcome: Outcome::TimeoutTotal,
            ..request(0, 2)
        },
        RequestRecord {
            output_tokens: Some(1),
            rank: 2,
            ..request(0, 3)
        },
        RequestRecord {
            phase: Phase::Warmup,
            ..request(0, 4)
        },
        RequestRecord {
            phase: Phase::Tail,
            ..request(0, 5)
        },
        request(1, 0),
        request(2, 0),
    ];
    db.append(run, &rows, &[]).await.expect("rows");
    assert_eq!(
        query(&path, "SELECT * FROM requests ORDER BY request_id").await,
        [
            "run-a|5|0|100|30|400|512|11|1||99|30000|0|ok|0",
            "run-a|5|1||||512|11|0|cut||30001|0|stream_cut|0",
            "run-a|5|2||||512|11|0|timeout_total||30002|0|timeout_total|0",
            "run-a|5|3|100||400|512|1|1||99|30003|0|ok|2",
        ]
    );
    let theirs = "SELECT rate_lambda, count(*), sum(success), avg(ttft_ms) FROM requests r JOIN experiments e \
                  USING (run_id) WHERE e.model = 'sim' GROUP BY rate_lambda";
    assert_eq!(query(&path, theirs).await, ["5|4|2|100"]);
}

#[tokio::test]
async fn experiments_name_their_rates() {
    let files = Files::new();
    let path = files.path("run.db");
    let db = ResultsDb::create(&path).await.expect("a database");
    db.upsert_run(&config("run-a")).await.expect("a run");
    let mut doubling: RunConfig = config("run-b");
    doubling.schedule.rates = Rates::Doubling { first: rate(1.0) };
    doubling.server_load_time = None;
    let run = db.upsert_run(&doubling).await.expect("a run");
    for record in [level(0, 1.0), level(1, 2.0)] {
        db.put_level(run, &record).await.expect("a level");
    }
    assert_eq!(
        query(&path, "SELECT * FROM experiments ORDER BY run_id").await,
        [
            "run-a|sim|sim|{}|{}|[5.0,10.0]|30|60|2026-11-21T22:43:12Z|12.5",
            "run-b|sim|sim|{}|{}|[1.0,2.0]|30|60|2026-11-21T22:43:12Z|",
        ]
    );
}

#[tokio::test]
async fn server_stats_are_those_of_the_measured_window() {
    let files = Files::new();
    let path = files.path("run.db");
    let db = ResultsDb::create(&path).await.expect("a database");
    let run = db.upsert_run(&config("run-a")).await.expect("a run");
    db.put_level(run, &level(0, 5.0)).await.expect("a level");
    let drafts = |second, drafted, accepted| ScrapeRecord {
        spec_draft_tokens: Some(drafted),
        spec_accepted_tokens: Some(accepted),
        ..scrape(0, second)
    };
    let rows = [
        drafts(29, 100.0, 90.0),
        drafts(30, 200.0, 120.0),
        drafts(31, 200.0, 120.0),
        // The server was started anew: its counters begin again.
        drafts(32, 10.0, 5.0),
        scrape(0, 89),
        scrape(0, 90),
    ];
    db.append(run, &[], &rows).await.expect("rows");
    assert_eq!(
        query(&path, "SELECT * FROM server_stats ORDER BY ts").await,
        [
            "run-a|5|1700000030|3|1|25|0.3",
            "run-a|5|1700000031|3|1|25|",
            "run-a|5|1700000032|3|1|25|",
            "run-a|5|1700000089|3|1|25|",
        ]
    );
}

#[tokio::test]
async fn a_search_shows_its_steps_but_not_its_ramp() {
    let files = Files::new();
    let path = files.path("run.db");
    let db = ResultsDb::create(&path).await.expect("a database");
    let mut config: RunConfig = config("run-a");
    config.schedule.rates = Rates::Search(SearchSpec::default());
    let run = db.upsert_run(&config).await.expect("a run");
    let steps = [
        step(0, 8.0, Stage::Ramp),
        step(1, 25.1, Stage::Bracket),
        step(2, 25.2, Stage::Track),
        step(3, 25.1, Stage::Track),
    ];
    for record in &steps {
        db.put_level(run, record).await.expect("a level");
    }
    let requests: Vec<RequestRecord> = (0..4).map(|level| request(level, 0)).collect();
    let scrapes: Vec<ScrapeRecord> = (0..4).map(|level| scrape(level, 30)).collect();
    db.append(run, &requests, &scrapes).await.expect("rows");
    // Nearly equal rates stay apart; equal ones are taken together, and `level` tells them apart.
    for view in ["requests", "server_stats"] {
        let rates = format!("SELECT rate_lambda, count(*) FROM {view} GROUP BY rate_lambda");
        assert_eq!(query(&path, &rates).await, ["25.1|2", "25.2|1"], "{view}");
    }
    assert_eq!(
        query(&path, "SELECT rate_levels FROM experiments").await,
        ["[25.1,25.2]"]
    );
}
