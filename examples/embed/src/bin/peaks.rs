//! Reads a result database: the peak of every run with its interval, and what makes it less than it seems.
//!
//! ```sh
//! cargo run --package gipfel-embed-examples --bin peaks -- results/results.db
//! ```

#![allow(clippy::print_stdout, reason = "what an example finds it prints")]

use anyhow::Context;
use gipfel_results_analysis::summarize;
use gipfel_results_db::ResultsDb;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let file = std::env::args().nth(1).context("usage: peaks DATABASE")?;
    let db = ResultsDb::open_read_only(&file).await?;
    for run in summarize(&db).await?.runs {
        let peak = match (&run.peak.estimate, &run.peak.unresolved) {
            (Some(peak), None) => format!(
                "{:.3} req/s ({:.3} to {:.3} in 90 %)",
                peak.peak_qps, peak.low, peak.high
            ),
            (_, Some(why)) => format!("unresolved: {why}"),
            (None, None) => "no rate passes".to_owned(),
        };
        println!("{} {} {}: {peak}", run.run_id, run.model, run.backend);
        for warning in &run.warnings {
            println!("  {} {}", warning.code, warning.text);
        }
    }
    Ok(())
}
