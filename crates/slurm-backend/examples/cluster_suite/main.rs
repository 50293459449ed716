//! Checks the promises of one way to a real Slurm: `cargo xtask e2e slurm` makes the Slurm and runs this.
//!
//! A broken promise is a panic that names it.

mod operator;
mod promises;
mod way;

use std::{io::Write as _, path::PathBuf, time::Instant};

use clap::Parser;

use self::{operator::Operator, way::Way};

/// Checks the promises of one way to a real Slurm.
#[derive(Debug, Parser)]
struct Arguments {
    /// The way.
    #[arg(long, value_enum)]
    way: way::WayName,
    /// A directory on the cluster, which is there.
    #[arg(long)]
    directory: String,
    /// A directory of this machine, which is there.
    #[arg(long)]
    local: PathBuf,
    /// The Slurm's configuration, for what its operator does: ends jobs, takes nodes down, stops the controller.
    #[arg(long)]
    operator: PathBuf,
    /// The host, for ssh.
    #[arg(long, required_if_eq("way", "ssh"))]
    ssh_host: Option<String>,
    /// A configuration for ssh in place of the user's own.
    #[arg(long)]
    ssh_config: Option<PathBuf>,
    /// The system, for FirecREST, whose address and credentials stand in the environment.
    #[arg(long, required_if_eq("way", "firecrest"))]
    system: Option<String>,
    /// Only these promises.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "files,jobs,refusals,lost,paused,states"
    )]
    only: Vec<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let way = Way::new(&arguments)?;
    let operator = Operator::new(arguments.operator.clone());
    for name in &arguments.only {
        let begun = Instant::now();
        match name.as_str() {
            "files" => promises::files(&way).await,
            "jobs" => promises::jobs(&way).await,
            "refusals" => promises::refusals(&way).await,
            "lost" => promises::lost_answers(&way, &operator).await,
            "paused" => promises::paused_controller(&way, &operator).await,
            "states" => promises::states(&way, &operator).await,
            "hopeless" => promises::hopeless(&way, &operator).await,
            other => anyhow::bail!("there are no promises `{other}`"),
        }
        let seconds = begun.elapsed().as_secs_f64();
        writeln!(
            std::io::stderr(),
            "{:?}: the promises about {name} are kept ({seconds:.1} s)",
            arguments.way
        )?;
    }
    Ok(())
}
