//! `gipfel-loadgen`: the load generator as a binary of its own, for machines that have nothing else.

use std::process::ExitCode;

use clap::Parser;
use gipfel_model::RunState;

/// Drives an inference server with an open-loop load and records every request.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    options: gipfel_loadgen::Options,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match gipfel_loadgen::run_blocking(&cli.options) {
        Ok(RunState::Completed) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(130),
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(11)
        }
    }
}
