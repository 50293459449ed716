use std::time::Duration;

use gipfel_model::{
    CountSource, LevelState, Outcome, Phase, Provenance, RequestRecord, RunState, ScrapeRecord, Stage,
};
use gipfel_results_db::{DbError, RequestPosition, ResultsDb, ScrapePosition};
use proptest::prelude::*;

use crate::common::{Files, LEVEL_ROWS, config, full_scrape, level, query, request, scattered, scrape, step};

#[tokio::test]
async fn a_run_is_read_as_it_was_written() {
    let files = Files::new();
    let db = ResultsDb::create(files.path("run.db")).await.expect("a database");
    let config = config("run-a");
    let run = db.upsert_run(&config).await.expect("a run");
    assert_eq!(db.upsert_run(&config).await.expect("the same run"), run);
    db.set_run_state(run, RunState::Failed, Some("the server died"))
        .await
        .expect("a state");
    let mut facts = Provenance::default();
    facts.set(Provenance::ENGINE_VERSION, "1.0");
    db.set_provenance(run, &facts).await.expect("provenance");
    facts.set(Provenance::GPU_TYPE, "GH200");
    db.set_provenance(run, &facts).await.expect("provenance");

    let rows = db.runs().await.expect("runs");
    let [row] = rows.as_slice() else {
        panic!("{rows:?}")
    };
    assert_eq!(
        (row.key, row.run_id.as_str(), row.state),
        (run, "run-a", RunState::Failed)
    );
    assert_eq!(row.error.as_deref(), Some("the server died"));
    assert_eq!((&row.slos, row.server_load_time_s), (&config.slos, Some(12.5)));
    let read = db.provenance(run).await.expect("provenance").0;
    assert!(
        facts.0.iter().all(|(name, value)| read.get(name) == Some(value)),
        "{read:?}"
    );
    db.integrity_check().await.expect("a sound file");
    db.close().await.expect("a closed database");

    let stored = query(
        &files.path("run.db"),
        "SELECT value FROM provenance WHERE name = 'run_config'",
    )
    .await;
    assert!(stored[0].contains("http://127.0.0.1:8000"), "{stored:?}");
    assert!(
        !stored[0].contains("pass-word") && !stored[0].contains("to-ken"),
        "{stored:?}"
    );
}

#[tokio::test]
async fn a_run_is_completed_by_what_became_known_later() {
    let files = Files::new();
    let db = ResultsDb::create(files.path("run.db")).await.expect("a database");
    let (mut early, late) = (config("early"), config("late"));
    early.server_load_time = None;
    let run = db.upsert_run(&early).await.expect("a run");
    db.upsert_run(&late).await.expect("a run");
    let mut facts = Provenance::default();
    facts.set(Provenance::SERVER_JOB, "17");
    let load_time = Some(Duration::from_secs(90));
    for run in [&early, &late] {
        let completed = db.complete_run(&run.run_id, &facts, load_time).await;
        assert!(completed.expect("completed"), "{}", run.run_id);
    }
    let other = config("other").run_id;
    assert!(
        !db.complete_run(&other, &facts, load_time)
            .await
            .expect("no fault")
    );
    let times: Vec<_> = db
        .runs()
        .await
        .expect("runs")
        .iter()
        .map(|run| run.server_load_time_s)
        .collect();
    assert_eq!(times, [Some(90.0), Some(12.5)], "what is recorded stays");
    let read = db.provenance(run).await.expect("provenance").0;
    assert_eq!(read.get(Provenance::SERVER_JOB).map(String::as_str), Some("17"));
    db.close().await.expect("a closed database");
}

#[tokio::test]
async fn levels_are_replaced_and_open_ones_break() {
    let files = Files::new();
    let db = ResultsDb::create(files.path("run.db")).await.expect("a database");
    let run = db.upsert_run(&config("run-a")).await.expect("a run");
    let mut open = level(1, 10.0);
    open.state = LevelState::Open;
    open.verdict = None;
    open.ended_unix_ns = None;
    for record in [&level(0, 5.0), &open, &open] {
        db.put_level(run, record).await.expect("a level");
    }
    assert_eq!(
        db.levels(run).await.expect("levels"),
        [level(0, 5.0), open.clone()]
    );
    assert_eq!(db.break_open_levels(run).await.expect("broken levels"), 1);
    assert_eq!(db.break_open_levels(run).await.expect("no more"), 0);
    open.state = LevelState::Broken;
    assert_eq!(db.levels(run).await.expect("levels"), [level(0, 5.0), open]);
}

#[tokio::test]
async fn the_steps_of_a_search_are_read_as_they_were_written() {
    let files = Files::new();
    let db = ResultsDb::create(files.path("run.db")).await.expect("a database");
    let mut config = config("run-a");
    config.repeat = 3;
    let run = db.upsert_run(&config).await.expect("a run");
    let steps: Vec<_> = Stage::ALL
        .iter()
        .zip(0..)
        .map(|(stage, index)| step(index, 10.0, *stage))
        .collect();
    for record in &steps {
        db.put_level(run, record).await.expect("a level");
    }
    let scrapes = [full_scrape(0, 30), scrape(0, 31)];
    db.append(run, &[], &scrapes).await.expect("scrapes");
    assert_eq!(db.runs().await.expect("runs")[0].repeat, 3);
    assert_eq!(db.levels(run).await.expect("levels"), steps);
    assert_eq!(db.scrapes(run).await.expect("scrapes"), scrapes);
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_overlap() {
    let files = Files::new();
    let db = ResultsDb::create(files.path("run.db")).await.expect("a database");
    let run = db.upsert_run(&config("run-a")).await.expect("a run");
    let other = db.upsert_run(&config("run-b")).await.expect("a run");
    let numbers = [i64::MIN, -1, 0, 1, 1 << 32, i64::MAX];
    let requests: Vec<RequestRecord> = (0..3)
        .flat_map(|rank| {
            numbers.map(|number| RequestRecord {
                rank,
                request: number,
                ..request(0, 0)
            })
        })
        .collect();
    let scrapes: Vec<ScrapeRecord> = (0..3)
        .flat_map(|rank| {
            [(0, i64::MIN + 1), (0, 7), (1, 7)].map(|(endpoint, at_ns)| ScrapeRecord {
                rank,
                endpoint,
                at_ns,
                ..scrape(0, 0)
            })
        })
        .collect();
    db.append(run, &requests, &scrapes).await.expect("rows");
    db.append(other, &[request(0, 5)], &[scrape(0, 5)])
        .await
        .expect("rows");
    for limit in [1, 4, 100] {
        let mut read = Vec::new();
        loop {
            let after = read.last().map(RequestPosition::of);
            let page = db.requests_after(run, after, limit).await.expect("a page");
            assert!(page.len() <= limit as usize);
            if page.is_empty() {
                break;
            }
            read.extend(page);
        }
        assert_eq!(read, requests, "{limit}");
        let mut read = Vec::new();
        loop {
            let after = read.last().map(ScrapePosition::of);
            let page = db.scrapes_after(run, after, limit).await.expect("a page");
            if page.is_empty() {
                break;
            }
            read.extend(page);
        }
        assert_eq!(read, scrapes, "{limit}");
    }
}

#[tokio::test]
async fn an_append_is_whole_or_nothing() {
    let files = Files::new();
    let db = ResultsDb::create(files.path("run.db")).await.expect("a database");
    let run = db.upsert_run(&config("run-a")).await.expect("a run");
    db.append(run, &[], &[]).await.expect("nothing to do");
    db.append(run, &[request(0, 7)], &[scrape(0, 1)])
        .await
        .expect("a row of each");
    let twice: Vec<RequestRecord> = (0..100).map(|number| request(0, number)).collect();
    let error = db
        .append(run, &twice, &[scrape(0, 2)])
        .await
        .expect_err("number 7 is there");
    assert!(matches!(error, DbError::Duplicate { .. }), "{error:?}");
    assert_eq!(db.requests(run, 0).await.expect("requests"), [request(0, 7)]);
    assert_eq!(db.scrapes(run).await.expect("scrapes"), [scrape(0, 1)]);
}

#[tokio::test]
async fn a_request_takes_less_than_a_hundred_bytes() {
    let files = Files::new();
    let path = files.path("run.db");
    let db = ResultsDb::create(&path).await.expect("a database");
    let run = db.upsert_run(&config("run-a")).await.expect("a run");
    let mut rows: Vec<_> = (LEVEL_ROWS - 10_000..LEVEL_ROWS + 10_000)
        .map(scattered)
        .collect();
    // They come as they end.
    rows.sort_by_key(|row| row.scheduled_ns + row.end_ns);
    for rows in rows.chunks(500) {
        db.append(run, rows, &[]).await.expect("rows");
    }
    db.close().await.expect("a closed database");
    let bytes = std::fs::metadata(&path).expect("a file").len() / rows.len() as u64;
    assert!(bytes < 100, "{bytes} bytes a request");
}

#[tokio::test]
async fn gaps_are_kept_for_each_rank() {
    let files = Files::new();
    let db = ResultsDb::create(files.path("run.db")).await.expect("a database");
    let run = db.upsert_run(&config("run-a")).await.expect("a run");
    db.put_gaps(run, 0, 1, &[1, 2]).await.expect("gaps");
    db.put_gaps(run, 0, 0, &[3]).await.expect("gaps");
    db.put_gaps(run, 0, 0, &[4]).await.expect("gaps");
    assert_eq!(db.gaps(run, 0).await.expect("gaps"), [vec![4], vec![1, 2]]);
}

#[tokio::test]
async fn the_lookup_tables_hold_the_codes() {
    let files = Files::new();
    let path = files.path("run.db");
    let db = ResultsDb::create(&path).await.expect("a database");
    let run = db.upsert_run(&config("run-a")).await.expect("a run");
    let rows: Vec<RequestRecord> = Outcome::ALL
        .iter()
        .zip(Phase::ALL.iter().cycle())
        .zip(CountSource::ALL.iter().cycle())
        .enumerate()
        .map(|(number, ((&outcome, &phase), &count_source))| RequestRecord {
            outcome,
            phase,
            count_source,
            ..request(0, number as i64)
        })
        .collect();
    db.append(run, &rows, &[]).await.expect("rows");
    let names = query(
        &path,
        "SELECT o.name, p.name, c.name FROM request AS q JOIN outcome AS o ON o.code = q.outcome \
         JOIN phase AS p ON p.code = q.phase JOIN count_source AS c ON c.code = q.count_source ORDER BY q.request",
    )
    .await;
    let expected: Vec<String> = rows
        .iter()
        .map(|row| format!("{}|{}|{}", row.outcome, row.phase, row.count_source))
        .collect();
    assert_eq!(names, expected);
}

fn any_request() -> impl Strategy<Value = RequestRecord> {
    // Any time that a run can have; some of those of a request are equal.
    let point = || -(1_i64 << 60)..1 << 60;
    let times = (
        point(),
        prop::array::uniform10(prop::option::of(point())),
        any::<[bool; 4]>(),
    );
    let counts = (any::<[u32; 6]>(), any::<[Option<u32>; 3]>(), any::<Option<u16>>());
    let names = (
        0..Phase::ALL.len(),
        0..Outcome::ALL.len(),
        0..CountSource::ALL.len(),
    );
    let finish_reason = prop_oneof![
        any::<Option<String>>(),
        prop::sample::select(vec![
            None,
            Some("stop"),
            Some("length"),
            Some("tool_calls"),
            Some("content_filter")
        ])
        .prop_map(|reason| reason.map(str::to_owned)),
    ];
    let texts = (finish_reason, any::<Option<String>>(), point());
    (times, counts, names, texts).prop_map(
        |((at, times, flags), (counts, tokens, http_status), names, texts)| RequestRecord {
            rank: counts[0],
            request: 0,
            level: 3,
            phase: Phase::ALL[names.0],
            class: if flags[0] { 0 } else { counts[1] },
            session: times[8],
            turn: counts[2],
            endpoint: counts[3],
            outcome: Outcome::ALL[names.1],
            http_status: if flags[0] { Some(200) } else { http_status },
            scheduled_ns: at,
            connect_ns: times[0],
            send_ns: times[1],
            header_ns: times[2],
            first_chunk_ns: if flags[1] { times[4] } else { times[3] },
            first_token_ns: times[4],
            first_token_lag_ns: times[9],
            first_token_uncertain: flags[3],
            first_output_ns: if flags[2] { times[4] } else { times[5] },
            last_token_ns: times[6],
            end_ns: texts.2,
            input_tokens: tokens[0],
            output_tokens: tokens[1],
            cached_tokens: tokens[2],
            requested_input: counts[4],
            requested_output: counts[5],
            chunks: counts[4],
            itl_max_ns: times[7],
            count_source: CountSource::ALL[names.2],
            finish_reason: texts.0,
            error: texts.1,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_read_as_it_was_written(mut rows in prop::collection::vec(any_request(), 0..80)) {
        for (number, row) in rows.iter_mut().enumerate() {
            row.request = number as i64;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let read = runtime.block_on(async {
            let files = Files::new();
            let db = ResultsDb::create(files.path("run.db")).await.expect("a database");
            let run = db.upsert_run(&config("run-a")).await.expect("a run");
            db.append(run, &rows, &[]).await.expect("rows");
            db.requests(run, 3).await.expect("rows")
        });
        rows.sort_by_key(|row| (row.rank, row.request));
        prop_assert_eq!(read, rows);
    }
}
