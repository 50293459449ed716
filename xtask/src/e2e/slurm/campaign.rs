//! `gipfel run` with a server and a load generator as jobs of the real Slurm.

use std::{path::PathBuf, process::Command};

use anyhow::ensure;

use super::{super::world, firecrest::Firecrest, site::Site};
use crate::{
    e2e::world::{World, expect_exit, number},
    shell,
};

/// The variable that names the load generator for the nodes; without it, one is built.
const LOAD_GENERATOR: &str = "GIPFEL_LOADGEN";

/// A server and a load generator, with words in capitals for what differs.
pub(super) const CONFIGURATION: &str = "version: 1
defaults:
  slos: [ttft p95 <= 10s]
  rate_levels: [20, 30]
  warmup_duration: 2s
  measurement_duration: 8s
  exact_windows: true
dataset: { input_length: 64, output_length: 16 }
experiments:
  - model: quickstart
    deployment: slurm
    backend: sim
    cluster: CLUSTER
    site: generic
    scratch_base: SCRATCH
    partition: normal
    server_time_limit: 00:10:00
    benchmarker: BENCHMARKER
    benchmarker_partition: debug
    benchmarker_time_limit: 00:10:00
    port: 0
    command: [GIPFEL, sim, --host, '{host}', --port, '{port}', --model, '{model}']
";

/// Runs a campaign by Slurm's commands and through FirecREST, each with both places of the load generator.
pub(super) fn play(site: &Site) -> anyhow::Result<()> {
    world::build()?;
    let load_generator = load_generator()?;
    for cluster in ["commands", "firecrest"] {
        for benchmarker in ["slurm", "same-job"] {
            measure(site, cluster, benchmarker, &load_generator)?;
            site.expect_no_jobs()?;
        }
    }
    Ok(())
}

/// The load generator for the nodes.
pub(super) fn load_generator() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os(LOAD_GENERATOR) {
        return Ok(named.into());
    }
    shell::run(&mut shell::cargo(&[
        "build",
        "--release",
        "--package",
        "gipfel-loadgen",
    ]))?;
    // Without its symbols it fits, packed, into one direct upload, as that of a bundle does.
    let small = shell::target().join("e2e/gipfel-loadgen");
    std::fs::copy(shell::target().join("release/gipfel-loadgen"), &small)?;
    shell::run(Command::new("strip").arg(&small))?;
    Ok(small)
}

fn measure(site: &Site, cluster: &str, benchmarker: &str, load_generator: &PathBuf) -> anyhow::Result<()> {
    let world = World::new(&format!("slurm-{cluster}-{benchmarker}"))?;
    let scratch = world.folder.join("scratch");
    std::fs::create_dir_all(&scratch)?;
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let configuration = CONFIGURATION
        .replace("CLUSTER", cluster)
        .replace("SCRATCH", &text(std::path::absolute(&scratch)?))
        .replace("BENCHMARKER", benchmarker)
        .replace("GIPFEL", &text(world::program()));
    world.write("slurm.yaml", &configuration)?;
    let mut command = world.gipfel(&[
        "run",
        "slurm.yaml",
        "--no-live",
        "--poll-interval",
        "2",
        "--loadgen",
    ]);
    command.arg(load_generator);
    let firecrest = if cluster == "firecrest" {
        let firecrest = Firecrest::start(&scratch, &site.configuration())?;
        command
            .envs(&firecrest.variables)
            .env("FIRECREST_SYSTEM", super::firecrest::SYSTEM);
        Some(firecrest)
    } else {
        command.env("SLURM_CONF", site.configuration());
        None
    };
    shell::say(&format!("$ {}", shell::describe(&command)));
    let output = shell::capture(&mut command)?;
    shell::say(&String::from_utf8_lossy(&output.stdout));
    if let Some(firecrest) = firecrest {
        firecrest.stop()?;
    }
    expect_exit(&output, 0)?;
    let levels = number(&world.results().join("results.db"), "SELECT count(*) FROM level")?;
    ensure!(
        levels == 2,
        "{levels} levels are in the database, and 2 were measured"
    );
    let requests = number(
        &world.results().join("results.db"),
        "SELECT count(*) FROM request WHERE outcome = 0",
    )?;
    ensure!(requests > 50, "only {requests} requests were completed");
    shell::say(&format!("{cluster}, {benchmarker}: {requests} requests"));
    Ok(())
}
