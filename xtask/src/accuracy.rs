//! `cargo xtask accuracy`.

use std::path::PathBuf;

use clap::Args;

use crate::shell;

/// What to compute. Without `--truth` and `--verdicts` the procedures are compared.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Recompute the truths of the simulated servers and compare them with the table.
    #[arg(long)]
    truth: bool,
    /// Check the verdicts at 0.90 and 1.08 of the truth, 30 seeds each.
    #[arg(long)]
    verdicts: bool,
    /// A TOML file of servers in the form of `examples/servers.toml`; without it the built-in ones.
    #[arg(long, value_name = "FILE")]
    servers: Option<PathBuf>,
    /// Only this server; may be repeated.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Runs of each procedure on each server.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// Only this procedure (`seed-grid`, `bisection`, `ours`); may be repeated.
    #[arg(long, value_name = "NAME")]
    procedure: Vec<String>,
    /// A stall or a slow-down in the form of `gipfel sim --fault`; errors are then those against the undisturbed truth.
    #[arg(long)]
    fault: Vec<String>,
    /// Print a list of objects, one for each server and procedure.
    #[arg(long)]
    json: bool,
    /// Print what each search did.
    #[arg(long)]
    trace: bool,
}

/// Runs the example program that computes them.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut command = shell::cargo(&[
        "run",
        "--quiet",
        "--release",
        "--package",
        "gipfel-peak-search",
        "--example",
        "accuracy",
        "--",
    ]);
    let flags = [
        (arguments.truth, "--truth"),
        (arguments.verdicts, "--verdicts"),
        (!arguments.truth && !arguments.verdicts, "--compare"),
        (arguments.json, "--json"),
        (arguments.trace, "--trace"),
    ];
    command.args(flags.iter().filter(|(wanted, _)| *wanted).map(|(_, flag)| flag));
    if let Some(file) = &arguments.servers {
        command.arg("--servers").arg(std::path::absolute(file)?);
    }
    for only in &arguments.only {
        command.args(["--only", only]);
    }
    for fault in &arguments.fault {
        command.args(["--fault", fault]);
    }
    for procedure in &arguments.procedure {
        command.args(["--procedure", procedure]);
    }
    command.args(["--seeds", &arguments.seeds.to_string()]);
    command.args(["--first-seed", &arguments.first_seed.to_string()]);
    shell::run(&mut command)
}
