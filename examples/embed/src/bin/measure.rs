//! Carries out a configuration file as `gipfel run` does, and prints the answers.
//!
//! ```sh
//! cargo run --package gipfel-embed-examples --bin measure -- examples/quickstart.yaml results
//! ```

#![allow(clippy::print_stdout, reason = "what an example finds it prints")]

use std::{fs, path::PathBuf};

use anyhow::Context;
use gipfel::campaign::{Campaign, Options};
use gipfel_experiment::{Command, Update};
use gipfel_results_analysis::summarize;
use gipfel_results_db::ResultsDb;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments
        .next()
        .context("usage: measure CONFIGURATION [RESULTS_DIRECTORY]")?;
    let results_dir = arguments.next().map_or_else(|| "results".into(), PathBuf::from);

    let text = fs::read_to_string(&file).with_context(|| format!("failed to read {file}"))?;
    let plan = gipfel_config::parse(&text, &file)?;
    let options = Options {
        results_dir,
        ..Options::default()
    };
    let campaign = Campaign::plan(plan.experiments, &options)?;

    // Whoever holds this end can interrupt the campaign.
    let (_commands, listen) = tokio::sync::mpsc::channel::<Command>(4);
    let finished = campaign.run(listen, |update| print(&update)).await?;

    for database in &finished.databases {
        let db = ResultsDb::open_read_only(database).await?;
        for run in summarize(&db).await?.runs {
            println!("{} on {}: {}", run.model, run.backend, run.answer.sentence);
        }
    }
    Ok(())
}

fn print(update: &Update) {
    println!("{update:?}");
}
