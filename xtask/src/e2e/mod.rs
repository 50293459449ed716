//! `cargo xtask e2e`: gipfel as its user runs it, against real programs.

mod kill;
mod llamacpp;
mod processes;
mod quickstart;
mod verdicts;
mod world;

use clap::Subcommand;

/// What to play through.
#[derive(Debug, Subcommand)]
pub(crate) enum Scenario {
    /// The README's first command and `gipfel peak` against a running simulator.
    Quickstart,
    /// A real llama.cpp server with a small model.
    Llamacpp,
    /// A level below and one above the truth of simulated servers, in real time.
    Verdicts {
        /// Profiles of `examples/servers.toml`, separated by commas.
        #[arg(long, value_delimiter = ',', default_value = "8B_slots256")]
        profiles: Vec<String>,
        /// How often each.
        #[arg(long, default_value_t = 1)]
        rounds: u32,
    },
    /// `kill -9` of gipfel, of the load generator and of the server at random moments, then `resume`.
    Kill {
        /// How often each of gipfel and the load generator is killed.
        #[arg(long, default_value_t = 4)]
        rounds: u32,
        /// Seed of the moments.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

/// Builds gipfel, or takes the one that the variable `GIPFEL_BINARY` names, and plays the scenario.
pub(crate) fn run(scenario: &Scenario) -> anyhow::Result<()> {
    world::build()?;
    match scenario {
        Scenario::Quickstart => quickstart::play(),
        Scenario::Llamacpp => llamacpp::play(),
        Scenario::Verdicts { profiles, rounds } => verdicts::play(profiles, *rounds),
        Scenario::Kill { rounds, seed } => kill::play(*rounds, *seed),
    }
}
