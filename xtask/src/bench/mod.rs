//! `cargo xtask bench`: one build or one program against another in the same run, as ratios.

mod allocators;
mod loadgen;
mod process;

use clap::Subcommand;

/// What is compared.
#[derive(Debug, Subcommand)]
pub(crate) enum Comparison {
    /// The static load generator with musl's own allocator and with the one that it is delivered with.
    Allocators {
        /// How often each is measured, in turn.
        #[arg(long, default_value_t = 3)]
        rounds: u32,
        /// Offered, in requests per second.
        #[arg(long, default_value_t = 400)]
        rate: u32,
    },
    /// The load generator beside a bare epoll client, both against a server of known token times.
    Loadgen(loadgen::Arguments),
}

/// Compares.
pub(crate) fn run(comparison: &Comparison) -> anyhow::Result<()> {
    match comparison {
        Comparison::Allocators { rounds, rate } => allocators::run(*rounds, *rate),
        Comparison::Loadgen(arguments) => loadgen::run(arguments),
    }
}
