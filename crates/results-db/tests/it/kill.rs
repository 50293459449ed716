use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use gipfel_model::RequestRecord;
use gipfel_results_db::{ResultsDb, merge};

use crate::common::{Files, config, query, request};

const DATABASE: &str = "GIPFEL_TEST_DATABASE";
const BATCH: i64 = 50;

/// The victim: appends batches and says after each how many rows are committed, until it is killed.
#[tokio::test]
#[ignore = "a part of the test below, which runs it as a process of its own"]
async fn writer() {
    let Ok(path) = std::env::var(DATABASE) else { return };
    let db = ResultsDb::create(&path).await.expect("a database");
    let run = db.upsert_run(&config("run-a")).await.expect("a run");
    for batch in 0..1_000 {
        let rows: Vec<RequestRecord> = (batch * BATCH..(batch + 1) * BATCH)
            .map(|number| request(0, number))
            .collect();
        db.append(run, &rows, &[]).await.expect("rows");
        writeln!(std::io::stderr(), "committed {}", (batch + 1) * BATCH).expect("a reader");
    }
}

#[tokio::test]
async fn a_killed_writer_loses_nothing() {
    for batches in [1, 7, 40] {
        let files = Files::new();
        let path = files.path("run.db");
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "kill::writer", "--ignored", "--nocapture"])
            .env(DATABASE, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a child");
        let said = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let committed: i64 = said
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("committed ")?.parse().ok())
            .nth(batches - 1)
            .expect("so many batches");
        child.kill().expect("a kill");
        child.wait().expect("an end");

        let reader = ResultsDb::open_read_only(&path).await.expect("a reader");
        reader.integrity_check().await.expect("a sound file");
        let run = reader.runs().await.expect("runs")[0].key;
        let rows = reader.requests(run, 0).await.expect("rows").len() as i64;
        assert!(
            rows >= committed && rows % BATCH == 0,
            "{rows} rows, {committed} committed"
        );
        drop(reader);
        let target = files.path("results.db");
        merge(&target, std::slice::from_ref(&path))
            .await
            .expect("a merge");
        let merged = query(&target, "SELECT count(*) FROM request").await;
        assert_eq!(merged, [rows.to_string()]);
        let writer = ResultsDb::open(&path).await.expect("a writer");
        writer
            .append(run, &[request(1, 0)], &[])
            .await
            .expect("the writing goes on");
    }
}
