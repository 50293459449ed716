//! Appends requests as the load generator does, and prints how many rows a second reach the disk.
//!
//! `cargo run --release -p gipfel-results-db --example append_rate [ROWS] [ROWS_PER_APPEND]`

use std::{error::Error, io::Write, time::Instant};

use gipfel_results_db::ResultsDb;

#[expect(dead_code, reason = "only the records of the tests are needed here")]
#[path = "../tests/it/common.rs"]
mod common;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let rows: i64 = arguments.next().map_or(Ok(200_000), |text| text.parse())?;
    let batch: i64 = arguments.next().map_or(Ok(2_000), |text| text.parse())?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("run.db");
    let db = ResultsDb::create(&path).await?;
    let run = db.upsert_run(&common::config("run-a")).await?;

    let started = Instant::now();
    for first in (0..rows).step_by(batch.max(1) as usize) {
        let last = rows.min(first + batch);
        let records: Vec<_> = (first..last).map(|number| common::request(0, number)).collect();
        db.append(run, &records, &[]).await?;
    }
    let seconds = started.elapsed().as_secs_f64();
    db.close().await?;
    let bytes = std::fs::metadata(&path)?.len();
    writeln!(
        std::io::stdout(),
        "{:.0} rows/s ({rows} rows, {batch} in each transaction, {:.0} bytes/row)",
        rows as f64 / seconds,
        bytes as f64 / rows as f64
    )?;
    Ok(())
}
