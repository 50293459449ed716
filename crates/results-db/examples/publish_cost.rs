//! Publishes a database of so many requests that grows as a run's does, and prints what each publication costs.
//!
//! `cargo run --release -p gipfel-results-db --example publish_cost [ROWS] [ROWS_BETWEEN]`

use std::{error::Error, io::Write, time::Instant};

use gipfel_results_db::{Publication, Publisher, ResultsDb, RunKey};

#[expect(dead_code, reason = "only the records of the tests are needed here")]
#[path = "../tests/it/common.rs"]
mod common;

const ROWS_PER_APPEND: i64 = 5_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let rows: i64 = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let between: i64 = arguments.next().map_or(Ok(5_000), |text| text.parse())?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("run.db");
    let there = directory.path().join("there");
    std::fs::create_dir(&there)?;
    let db = ResultsDb::create(&path).await?;
    db.leave_log_to_publisher().await?;
    let run = db.upsert_run(&common::config("run-a")).await?;
    append(&db, run, 0..rows).await?;
    let mut publisher = Publisher::open(&path, &directory.path().join("packed"), &there).await?;
    publish("the first", &mut publisher).await?;
    for round in 1..=3 {
        let first = rows + (round - 1) * between;
        append(&db, run, first..first + between).await?;
        publish(&format!("{between} rows later"), &mut publisher).await?;
    }
    db.close().await?;
    publisher.close().await?;
    let bytes = std::fs::metadata(&path)?.len();
    writeln!(
        std::io::stdout(),
        "{rows} rows: a database of {:.1} MB",
        bytes as f64 / 1e6
    )?;
    Ok(())
}

/// Times that scatter as those of real requests do, so that they pack no better.
fn scattered(number: i64) -> gipfel_model::RequestRecord {
    let mut state = number as u64;
    let mut jitter = |most: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % most) as i64
    };
    let mut record = common::request(0, number);
    let first = 100 * common::MS + jitter(50_000_000);
    let last = first + 300 * common::MS + jitter(200_000_000);
    record.scheduled_ns += jitter(1_000_000);
    record.send_ns = Some(jitter(100_000));
    record.header_ns = Some(first - jitter(1_000_000));
    record.first_chunk_ns = Some(first);
    record.first_token_ns = Some(first);
    record.first_output_ns = Some(first);
    record.last_token_ns = Some(last);
    record.end_ns = last + jitter(200_000);
    record.itl_max_ns = Some(40 * common::MS + jitter(30_000_000));
    record.output_tokens = Some(11 + jitter(200) as u32);
    record.requested_output = 11 + jitter(200) as u32;
    record
}

async fn append(db: &ResultsDb, run: RunKey, numbers: std::ops::Range<i64>) -> Result<(), Box<dyn Error>> {
    for first in numbers.clone().step_by(ROWS_PER_APPEND as usize) {
        let last = numbers.end.min(first + ROWS_PER_APPEND);
        let records: Vec<_> = (first..last).map(scattered).collect();
        db.append(run, &records, &[]).await?;
    }
    Ok(())
}

async fn publish(what: &str, publisher: &mut Publisher) -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    let Publication {
        pieces,
        bytes,
        sent_bytes,
    } = publisher.publish(false).await?;
    writeln!(
        std::io::stdout(),
        "{what}: {:.2} s, {pieces} pieces of {:.1} MB together, {:.1} MB of them new",
        began.elapsed().as_secs_f64(),
        bytes as f64 / 1e6,
        sent_bytes as f64 / 1e6
    )?;
    Ok(())
}
