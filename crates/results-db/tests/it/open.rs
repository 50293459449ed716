use gipfel_model::{LevelRecord, Stage, Validity};
use gipfel_results_db::{APPLICATION_ID, ResultsDb, VERSION};

use crate::common::{Files, config, full_scrape, level, query, request, scrape, step};

const VERSION_1: &str = include_str!("version-1.sql");
const VERSION_2: &str = include_str!("version-2.sql");

#[tokio::test]
async fn a_file_says_what_it_is() {
    let files = Files::new();
    let path = files.path("run.db");
    ResultsDb::create(&path)
        .await
        .expect("a database")
        .close()
        .await
        .expect("a closed database");
    assert_eq!(
        query(&path, "PRAGMA application_id").await,
        [APPLICATION_ID.to_string()]
    );
    assert_eq!(query(&path, "PRAGMA user_version").await, [VERSION.to_string()]);
    let error = ResultsDb::create(&path).await.expect_err("the file exists");
    assert!(
        error
            .to_string()
            .ends_with("run.db` exists already; open it, or choose another name"),
        "{error}"
    );
    ResultsDb::open_or_create(&path).await.expect("an open database");
}

#[tokio::test]
async fn what_is_not_ours_is_refused() {
    let files = Files::new();
    let newer =
        format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 99; CREATE TABLE t (a)");
    let check = async |name: &str, expected: &str| {
        let path = files.path(name);
        for error in [
            ResultsDb::open(&path).await.err(),
            ResultsDb::open_read_only(&path).await.err(),
        ] {
            let text = error.map(|error| error.to_string()).unwrap_or_default();
            assert!(text.contains(expected), "{name}: `{text}` lacks `{expected}`");
        }
    };
    files.text(
        "text.db",
        &"no database at all, but long enough to be looked at\n".repeat(40),
    );
    files
        .database("other.db", "PRAGMA application_id = 7; CREATE TABLE t (a)")
        .await;
    files.database("plain.db", "CREATE TABLE t (a)").await;
    files.database("newer.db", &newer).await;
    files
        .database(
            "theirs.db",
            "CREATE TABLE experiments (run_id); CREATE TABLE requests (run_id)",
        )
        .await;
    check("text.db", "is no SQLite database").await;
    check("other.db", "of another program (application id 7)").await;
    check("plain.db", "of another program (application id 0)").await;
    check(
        "newer.db",
        &format!("this gipfel is older and reads up to {VERSION}"),
    )
    .await;
    check("theirs.db", "of the predecessor").await;
    check("missing.db", "there is no file").await;
    // A refused file keeps its journal mode.
    assert_eq!(
        query(&files.path("other.db"), "PRAGMA journal_mode").await,
        ["delete"]
    );
}

#[tokio::test]
async fn a_writer_that_died_at_once_leaves_an_empty_file() {
    let files = Files::new();
    let path = files.text("run.db", "");
    let error = ResultsDb::open_read_only(&path)
        .await
        .expect_err("nothing to read");
    assert!(
        error.to_string().ends_with("is empty: its writer has not begun"),
        "{error}"
    );
    let db = ResultsDb::open(&path).await.expect("a database");
    assert!(db.runs().await.expect("runs").is_empty());
}

#[tokio::test]
async fn a_reader_follows_a_live_writer() {
    let files = Files::new();
    let path = files.path("run.db");
    let writer = ResultsDb::create(&path).await.expect("a database");
    let run = writer.upsert_run(&config("run-a")).await.expect("a run");
    let reader = ResultsDb::open_read_only(&path).await.expect("a reader");
    for number in 0..3 {
        writer
            .append(run, &[request(0, number)], &[])
            .await
            .expect("a row");
        assert_eq!(
            reader.requests(run, 0).await.expect("rows").len() as i64,
            number + 1
        );
    }
    assert!(
        reader.append(run, &[request(0, 9)], &[]).await.is_err(),
        "a reader does not write"
    );
}

#[tokio::test]
async fn a_copy_is_whole_and_stands_alone() {
    let files = Files::new();
    let db = ResultsDb::create(files.path("run.db")).await.expect("a database");
    let run = db.upsert_run(&config("run-a")).await.expect("a run");
    let to = files.text("copy.db", "an earlier copy");
    files.text("copy.db.part", "what a killed writer left");
    db.append(run, &[request(0, 0)], &[]).await.expect("a row");
    db.export_copy(&to).await.expect("a copy");
    db.append(run, &[request(0, 1)], &[]).await.expect("another row");
    let copy = ResultsDb::open_read_only(&to).await.expect("the copy");
    assert_eq!(copy.requests(run, 0).await.expect("rows"), [request(0, 0)]);
    copy.integrity_check().await.expect("a sound copy");
    for name in ["copy.db.part", "copy.db-wal"] {
        assert!(!files.path(name).exists(), "{name}");
    }
}

#[tokio::test]
async fn the_released_version_1_stays_readable() {
    let files = Files::new();
    let path = files.database("old.db", VERSION_1).await;
    let check = async |db: ResultsDb| {
        let runs = db.runs().await.expect("runs");
        assert_eq!(
            runs.iter()
                .map(|run| (run.run_id.as_str(), run.repeat))
                .collect::<Vec<_>>(),
            [("run-a", 0)]
        );
        let run = runs[0].key;
        assert_eq!(runs[0].slos, config("run-a").slos);
        // Among these: the stage `level`, and no evidence.
        assert_eq!(db.levels(run).await.expect("levels"), [level(0, 5.0)]);
        assert_eq!(db.requests(run, 0).await.expect("requests"), [request(0, 0)]);
        assert_eq!(db.scrapes(run).await.expect("scrapes"), [scrape(0, 30)]);
        assert_eq!(db.gaps(run, 0).await.expect("gaps"), [[1, 2, 3]]);
        assert_eq!(
            db.provenance(run).await.expect("provenance").0["engine_version"],
            "1.0"
        );
    };
    check(ResultsDb::open_read_only(&path).await.expect("a reader")).await;
    assert_eq!(
        query(&path, "PRAGMA user_version").await,
        ["1"],
        "reading changes nothing"
    );
    let views = [
        "SELECT * FROM experiments",
        "SELECT * FROM requests",
        "SELECT * FROM server_stats",
    ];
    let mut before = Vec::new();
    for view in views {
        before.push(query(&path, view).await);
    }
    check(ResultsDb::open(&path).await.expect("a writer")).await;
    assert_eq!(query(&path, "PRAGMA user_version").await, [VERSION.to_string()]);
    for (view, before) in views.iter().zip(before) {
        assert_eq!(
            query(&path, view).await,
            before,
            "the migration changes no row of a view"
        );
        assert!(!before.is_empty(), "{view}");
    }
}

#[tokio::test]
async fn the_released_version_2_stays_readable() {
    let files = Files::new();
    let path = files.database("old.db", VERSION_2).await;
    let ramp = LevelRecord {
        stage: Stage::Ramp,
        verdict: None,
        validity: Validity::default(),
        ..level(0, 5.0)
    };
    let check = async |db: ResultsDb| {
        let runs = db.runs().await.expect("runs");
        assert_eq!(
            runs.iter()
                .map(|run| (run.run_id.as_str(), run.repeat))
                .collect::<Vec<_>>(),
            [("run-a", 3)]
        );
        let run = runs[0].key;
        assert_eq!(
            db.levels(run).await.expect("levels"),
            [ramp.clone(), step(1, 10.0, Stage::Track)]
        );
        assert_eq!(db.requests(run, 1).await.expect("requests"), [request(1, 0)]);
        assert_eq!(db.scrapes(run).await.expect("scrapes"), [full_scrape(1, 30)]);
        assert_eq!(db.gaps(run, 1).await.expect("gaps"), [[1, 2, 3]]);
    };
    check(ResultsDb::open_read_only(&path).await.expect("a reader")).await;
    check(ResultsDb::open(&path).await.expect("a writer")).await;
    assert_eq!(query(&path, "PRAGMA user_version").await, [VERSION.to_string()]);
    assert_eq!(
        query(&path, "SELECT rate_lambda, count(*) FROM requests GROUP BY 1").await,
        ["10|1"],
        "the views hold no step of a ramp"
    );
}

/// Requests of version 2 that are not as most are: other finish reasons, statuses, phases, outcomes, points that differ.
const UNUSUAL: &str = "
INSERT INTO request (run, rank, request, level, phase, class, session, turn, endpoint, outcome, http_status, scheduled_ns,
    connect_ns, send_ns, header_ns, first_chunk_ns, first_token_ns, first_output_ns, last_token_ns, end_ns, input_tokens,
    output_tokens, cached_tokens, requested_input, requested_output, chunks, itl_max_ns, count_source, finish_reason, error)
VALUES
    (1, 0, 900, 1, 1, 2, 77, 3, 4, 0, 200, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 1, 'stop', NULL),
    (1, 0, 901, 1, 0, 0, NULL, 0, 0, 1, 503, 5, NULL, 7, 8, NULL, NULL, NULL, NULL, 13, NULL, NULL, NULL, 17, 18, 0, NULL, 0,
        NULL, 'busy'),
    (1, 1, 902, 1, 2, 0, NULL, 0, 0, 10, 200, 5, NULL, 7, 8, 9, NULL, NULL, NULL, 13, NULL, NULL, NULL, 17, 18, 0, NULL, 0,
        NULL, NULL),
    (1, 1, 903, 1, 1, 0, NULL, 0, 0, 2, NULL, 5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 13, NULL, NULL, NULL, 17, 18, 0,
        NULL, 0, NULL, 'refused'),
    (1, 1, 904, 1, 1, 0, NULL, 0, 0, 0, NULL, 5, NULL, 7, 8, NULL, 10, 11, 12, 13, NULL, 15, NULL, 17, 18, 2, 3, 1, 'eos', NULL),
    (1, 1, 905, 1, 1, 0, NULL, 0, 1, 7, 200, 5, NULL, 7, NULL, 10, 10, NULL, 12, 13, NULL, 15, NULL, 17, 18, 2, 3, 1,
        'content_filter', ''),
    (1, 1, 906, 1, 1, 0, NULL, 0, 1, 0, 200, 5, NULL, 7, 8, 10, 10, 10, 12, 13, NULL, 15, NULL, 17, 18, 2, 3, 1, 'tool_calls',
        NULL);
";

#[tokio::test]
async fn requests_of_version_2_keep_their_meaning() {
    let files = Files::new();
    let path = files.database("old.db", &[VERSION_2, UNUSUAL].concat()).await;
    let columns = "run, rank, request, level, phase, class, session, turn, endpoint, outcome, http_status, scheduled_ns, \
                   connect_ns, send_ns, header_ns, first_chunk_ns, first_token_ns, first_output_ns, last_token_ns, end_ns, \
                   input_tokens, output_tokens, cached_tokens, requested_input, requested_output, chunks, itl_max_ns, \
                   count_source, finish_reason, error";
    let stored = format!("SELECT {columns} FROM request ORDER BY level, rank, request");
    let viewed = "SELECT * FROM requests ORDER BY level, rank, request_id";
    let before = (query(&path, &stored).await, query(&path, viewed).await);
    assert!(before.0.len() > 7 && before.1.len() > 4, "{before:?}");
    let db = ResultsDb::open(&path).await.expect("a writer");
    assert_eq!((query(&path, &stored).await, query(&path, viewed).await), before);
    let run = db.runs().await.expect("runs")[0].key;
    let read = db.requests(run, 1).await.expect("requests");
    let known = |number: i64| read.iter().find(|one| one.request == number).expect("a request");
    assert_eq!((known(904).http_status, known(904).header_ns), (None, Some(8)));
    assert_eq!(known(901).error.as_deref(), Some("busy"));
    assert!(
        read.iter()
            .all(|one| one.first_token_lag_ns.is_none() && !one.first_token_uncertain)
    );
}

/// Guards the migrations against a change after their release.
#[tokio::test]
async fn the_versions_are_what_was_released() {
    let files = Files::new();
    let scripts = [
        include_str!("../../src/schema/001.sql"),
        include_str!("../../src/schema/002.sql"),
    ];
    let check = async |version: usize, released: &str| {
        let written = scripts[..version].concat();
        let released = files.database(&format!("released-{version}.db"), released).await;
        let written = files.database(&format!("written-{version}.db"), &written).await;
        let columns = "SELECT m.type, m.name, c.name, c.type, c.\"notnull\", c.dflt_value, c.pk FROM sqlite_schema AS m \
                       JOIN pragma_table_info(m.name) AS c ORDER BY m.name, c.cid";
        assert_eq!(query(&released, columns).await, query(&written, columns).await);
        for table in ["phase", "outcome", "count_source"] {
            let rows = format!("SELECT code, name FROM {table} ORDER BY code");
            assert_eq!(query(&released, &rows).await, query(&written, &rows).await);
        }
    };
    check(1, VERSION_1).await;
    check(2, VERSION_2).await;
}
