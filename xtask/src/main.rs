//! Gipfel's chores: `cargo xtask bundle`, `dist`, `bench`, `ci`, `e2e`, `accuracy`, `generate`.

mod accuracy;
mod bench;
mod bundle;
mod chart;
mod checks;
mod dist;
mod e2e;
mod generate;
mod shell;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Gipfel's chores.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Xtask {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// One build against another.
    #[command(subcommand)]
    Bench(bench::Comparison),
    /// What CI checks beside the tests: format, lints, documentation, generated files.
    Ci,
    /// Build the load generator for clusters: a static file for each kind of node, packed.
    Bundle(bundle::Arguments),
    /// Build the release archive of gipfel, with the load generators of `bundle` in it.
    Dist,
    /// Run gipfel as its user does, against real programs.
    #[command(subcommand)]
    E2e(e2e::Scenario),
    /// Recompute the simulator's truths, or check the verdicts against them, on the simulated clock.
    Accuracy(accuracy::Arguments),
    /// Write the generated files, or check that they are up to date.
    Generate {
        /// Compare only.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let outcome = match Xtask::parse().task {
        Task::Bundle(arguments) => bundle::run(&arguments),
        Task::Bench(comparison) => bench::run(&comparison),
        Task::Ci => checks::run(),
        Task::Dist => dist::run(),
        Task::E2e(scenario) => e2e::run(&scenario),
        Task::Accuracy(arguments) => accuracy::run(&arguments),
        Task::Generate { check } => generate::run(check),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            shell::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
