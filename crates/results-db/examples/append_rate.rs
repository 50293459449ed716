//! Appends requests as the load generator does, and prints what a row costs: processor time and bytes.
//!
//! `cargo run --release -p gipfel-results-db --example append_rate [ROWS] [ROWS_PER_APPEND]`

use std::{
    error::Error,
    io::Write,
    time::{Duration, Instant},
};

use gipfel_results_db::ResultsDb;
use hdrhistogram::{
    Histogram,
    serialization::{Serializer, V2Serializer},
};

#[expect(dead_code, reason = "only some of what the tests have is needed here")]
#[path = "../tests/it/common.rs"]
mod common;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let rows: i64 = arguments.next().map_or(Ok(300_000), |text| text.parse())?;
    let batch: usize = arguments.next().map_or(Ok(500), |text| text.parse())?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("run.db");
    let db = ResultsDb::create(&path).await?;
    let run = db.upsert_run(&common::config("run-a")).await?;
    let mut records: Vec<_> = (0..rows).map(common::scattered).collect();
    records.sort_by_key(|record| record.scheduled_ns + record.end_ns);

    let (started, used) = (Instant::now(), processor_time()?);
    for records in records.chunks(batch.max(1)) {
        db.append(run, records, &[]).await?;
    }
    let (seconds, used) = (
        started.elapsed().as_secs_f64(),
        processor_time()?.saturating_sub(used),
    );
    let mut gap_bytes = 0;
    for level in 0..=(rows - 1) / common::LEVEL_ROWS {
        let histogram = gaps(level)?;
        gap_bytes += histogram.len();
        db.put_gaps(run, level as u32, 0, &histogram).await?;
    }
    db.close().await?;
    let bytes = std::fs::metadata(&path)?.len() - gap_bytes as u64;
    writeln!(
        std::io::stdout(),
        "{:.2} µs of a core and {:.1} bytes a row, {:.0} rows/s ({rows} rows, {batch} in each transaction); \
         {:.3} bytes a row for the gaps between tokens of levels of {} requests",
        used.as_secs_f64() * 1e6 / rows as f64,
        bytes as f64 / rows as f64,
        rows as f64 / seconds,
        gap_bytes as f64 / rows as f64,
        common::LEVEL_ROWS,
    )?;
    Ok(())
}

/// The gaps of a level, as the load generator keeps them: from below a millisecond to a hundred.
fn gaps(level: i64) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut gaps = Histogram::<u64>::new_with_bounds(1_000, 3_600_000_000_000, 2)?;
    for number in 0..common::LEVEL_ROWS * 10 {
        let exponent = (number * 7_919 + level) % 5_000;
        gaps.record((500_000.0 * 1.001_f64.powi(exponent as i32)) as u64)?;
    }
    let mut bytes = Vec::new();
    V2Serializer::new().serialize(&gaps, &mut bytes)?;
    Ok(bytes)
}

/// The processor time of all threads of this process; Linux counts it in hundredths of a second.
fn processor_time() -> Result<Duration, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no such form")?;
    let mut ticks = 0;
    for field in fields.split_ascii_whitespace().skip(11).take(2) {
        ticks += field.parse::<u64>()?;
    }
    Ok(Duration::from_millis(ticks * 10))
}
