use gipfel_model::RequestRecord;
use gipfel_results_db::{ResultsDb, RunKey};

use crate::common::{Files, config, level, query, request, scrape};

const RUN: &str = "run-a";

/// What rank 1 has sent.
fn theirs(number: i64) -> RequestRecord {
    RequestRecord {
        rank: 1,
        ..request(0, number)
    }
}

async fn whole(files: &Files) -> (ResultsDb, RunKey) {
    let db = ResultsDb::create(files.path("whole.db"))
        .await
        .expect("a database");
    // Another run first, so that the keys of the two files differ.
    db.upsert_run(&config("run-b")).await.expect("a run");
    let run = db.upsert_run(&config(RUN)).await.expect("a run");
    db.put_level(run, &level(0, 5.0)).await.expect("a level");
    db.append(run, &[request(0, 0)], &[scrape(0, 30)])
        .await
        .expect("rows");
    db.put_gaps(run, 0, 0, &[1]).await.expect("gaps");
    (db, run)
}

/// A part with two requests, left as its writer would if it were killed.
async fn part(files: &Files) -> ResultsDb {
    let db = ResultsDb::create(files.path("part.db"))
        .await
        .expect("a database");
    let run = db.upsert_run(&config(RUN)).await.expect("a run");
    db.append(run, &[theirs(1), theirs(3)], &[]).await.expect("rows");
    db.put_gaps(run, 0, 1, &[2]).await.expect("gaps");
    db
}

async fn check(files: &Files, expected: &str) {
    let counts = "SELECT (SELECT count(*) FROM request WHERE rank = 0), (SELECT count(*) FROM request WHERE rank = 1), \
         (SELECT count(*) FROM gaps), (SELECT count(*) FROM level), (SELECT count(DISTINCT run) FROM request)";
    assert_eq!(query(&files.path("whole.db"), counts).await, [expected]);
}

#[tokio::test]
async fn a_part_is_taken_once() {
    let files = Files::new();
    let (db, run) = whole(&files).await;
    let writer = part(&files).await;
    let path = files.path("part.db");
    assert_eq!(db.take_part(run, &path).await.expect("a part"), 3);
    check(&files, "1|2|2|1|1").await;
    assert_eq!(db.take_part(run, &path).await.expect("the same part"), 0);
    check(&files, "1|2|2|1|1").await;
    writer.close().await.expect("a closed database");
    assert_eq!(db.take_part(run, &path).await.expect("the same part"), 0);
    let requests = db.requests(run, 0).await.expect("requests");
    assert_eq!(requests, [request(0, 0), theirs(1), theirs(3)]);
}

#[tokio::test]
async fn a_part_without_the_run_brings_nothing() {
    let files = Files::new();
    let (db, run) = whole(&files).await;
    let empty = files.text("part.db", "");
    assert_eq!(db.take_part(run, &empty).await.expect("an empty part"), 0);
    let other = ResultsDb::open(&empty).await.expect("a database");
    let key = other.upsert_run(&config("run-c")).await.expect("a run");
    other.append(key, &[theirs(1)], &[]).await.expect("rows");
    other.close().await.expect("a closed database");
    assert_eq!(db.take_part(run, &empty).await.expect("another run's part"), 0);
    check(&files, "1|0|1|1|1").await;
    let text = files.text("no.db", "no database");
    db.take_part(run, &text).await.expect_err("no database");
    // The target is as usable as before.
    db.append(run, &[request(0, 1)], &[]).await.expect("rows");
}
