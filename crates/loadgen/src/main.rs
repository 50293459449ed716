//! `gipfel-loadgen`: the load generator as a binary of its own, for machines that have nothing else.

use std::process::ExitCode;

use clap::Parser;
use gipfel_loadgen::{Arguments, Task, run_blocking, self_test};
#[cfg(feature = "service")]
use gipfel_loadgen::{ServiceOptions, serve_blocking};
use gipfel_model::RunState;

#[cfg(all(target_env = "musl", feature = "mimalloc"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ALLOCATOR_NAME: &str = if cfg!(all(target_env = "musl", feature = "mimalloc")) {
    "mimalloc"
} else {
    "the system's"
};

/// The version; a bundle's has the commit that it was built from.
const VERSION: &str = match option_env!("GIPFEL_LOADGEN_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

/// Drives an inference server with an open-loop load and records every request.
#[derive(Debug, Parser)]
#[command(version = VERSION)]
#[cfg_attr(feature = "service", command(args_conflicts_with_subcommands = true))]
struct Cli {
    #[command(flatten)]
    arguments: Arguments,
    #[cfg(feature = "service")]
    #[command(subcommand)]
    command: Option<Command>,
}

#[cfg(feature = "service")]
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Carries out runs that are ordered over HTTP, one at a time.
    Serve(ServiceOptions),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    #[cfg(feature = "service")]
    if let Some(Command::Serve(options)) = cli.command {
        return exit_code(serve_blocking(&options));
    }
    match cli.arguments.task() {
        Ok(Task::Run(options)) => exit_code(run_blocking(&options)),
        Ok(Task::SelfTest { directory }) => {
            let program = self_test::Program {
                version: VERSION,
                allocator: ALLOCATOR_NAME,
            };
            if self_test::passes(&program, &directory) {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(self_test::FAULT)
            }
        }
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(2)
        }
    }
}

fn exit_code(outcome: anyhow::Result<RunState>) -> ExitCode {
    match outcome {
        Ok(RunState::Completed) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(130),
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(11)
        }
    }
}
