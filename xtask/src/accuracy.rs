//! `cargo xtask accuracy`.

use clap::Args;

use crate::shell;

/// What to compute.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Recompute the truths of the simulated servers and compare them with the table.
    #[arg(long)]
    truth: bool,
    /// Check the verdicts at 0.90 and 1.08 of the truth, 30 seeds each.
    #[arg(long)]
    verdicts: bool,
}

/// Runs the example program that computes them.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if !arguments.truth && !arguments.verdicts {
        anyhow::bail!("say --truth, --verdicts or both");
    }
    let mut command = shell::cargo(&[
        "run",
        "--release",
        "--package",
        "gipfel-peak-search",
        "--example",
        "accuracy",
        "--",
    ]);
    for (wanted, flag) in [(arguments.truth, "--truth"), (arguments.verdicts, "--verdicts")] {
        if wanted {
            command.arg(flag);
        }
    }
    shell::run(&mut command)
}
