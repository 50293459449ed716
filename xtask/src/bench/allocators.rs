//! `cargo xtask bench allocators`: the static load generator with either allocator.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};

use super::process::{self, Usage};
use crate::{
    bundle,
    e2e::{Simulator, World, number, pause},
    shell,
};

/// A server that is never the limit: a step of five milliseconds for any number of requests.
const PROFILE: &str = "[[server]]
name = \"wide\"
t0_ms = 5.0
token_us = 0.1
context_ns = 0.0
token_budget = 100000
max_seqs = 8192
kv_tokens = 10000000
step_noise = 0.0
slos = [\"ttft p95 <= 10s\"]

[server.workload]
input = { distribution = \"normal\", mean = 32, std = 1, min = 16 }
output = { distribution = \"normal\", mean = 16, std = 1, min = 2 }
";

const CONFIGURATION: &str = "version: 1
defaults:
  slos: [ttft p95 <= 10s]
  rate_levels: [RATE]
  warmup_duration: 2s
  measurement_duration: 15s
  exact_windows: true
dataset:
  input_length: 64
  output_length: 32
experiments:
  - model: wide
    deployment: external
    backend: openai
    workers: 2
    url: URL
";

/// What one process took.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    requests: f64,
    /// User and system time, in seconds.
    cpu: f64,
    /// The most memory that it held, in mebibytes.
    memory: f64,
}

pub(super) fn run(rounds: u32, rate: u32) -> anyhow::Result<()> {
    let world = World::new("allocators")?;
    let chosen = bundle::with_allocator(bundle::Allocator::Chosen)?;
    let system = bundle::with_allocator(bundle::Allocator::System)?;
    world.write("wide.toml", PROFILE)?;
    let mut sums = [Cost::default(); 2];
    for round in 0..rounds {
        for (place, program) in [&system, &chosen].into_iter().enumerate() {
            let cost = measure(&world, program, rate)?;
            shell::say(&format!(
                "round {round}, {}: {:.0} requests, {:.0} a second of CPU, {:.1} MiB",
                ["system malloc", "chosen"][place],
                cost.requests,
                cost.requests / cost.cpu,
                cost.memory
            ));
            sums[place].requests += cost.requests;
            sums[place].cpu += cost.cpu;
            sums[place].memory += cost.memory;
        }
    }
    let [system, chosen] = sums;
    shell::say(&format!(
        "chosen against system malloc: requests per second of CPU × {:.3}, memory × {:.3}",
        (chosen.requests / chosen.cpu) / (system.requests / system.cpu),
        chosen.memory / system.memory
    ));
    Ok(())
}

/// Carries out one run by the program itself.
fn measure(world: &World, program: &Path, rate: u32) -> anyhow::Result<Cost> {
    let simulator = Simulator::start(world, &["--profile", "wide", "--profiles", "wide.toml"])?;
    let text = CONFIGURATION
        .replace("URL", &simulator.url)
        .replace("RATE", &rate.to_string());
    world.write("wide.yaml", &text)?;
    if world.results().exists() {
        fs::remove_dir_all(world.results())?;
    }
    shell::read(&mut world.gipfel(&["run", "wide.yaml", "--dry-run"]))?;
    let config = world
        .find("run_config", ".json")?
        .pop()
        .context("no run configuration was written")?;
    let directory = config
        .parent()
        .context("the run configuration lies nowhere")?
        .to_owned();
    let mut command = Command::new(program);
    command
        .arg("--config")
        .arg(&config)
        .arg("--directory")
        .arg(&directory);
    let (cpu, memory) = watch(command.args(["--of", "1"]).stderr(Stdio::null()))?;
    let database: PathBuf = world
        .find("run_", ".db")?
        .pop()
        .context("no database was written")?;
    let requests = number(&database, "SELECT count(*) FROM request WHERE outcome = 0")?;
    ensure!(requests > 0, "no request was completed");
    Ok(Cost {
        requests: requests as f64,
        cpu,
        memory,
    })
}

/// Runs a process to its end and returns its CPU time in seconds and its largest memory in mebibytes, as they were last seen.
fn watch(command: &mut Command) -> anyhow::Result<(f64, f64)> {
    let mut child = command
        .spawn()
        .with_context(|| format!("failed to start {}", shell::describe(command)))?;
    let mut seen = (0.0, 0.0);
    loop {
        if let Some(status) = child.try_wait()? {
            ensure!(
                status.success(),
                "{} ended with {status}",
                shell::describe(command)
            );
            return Ok(seen);
        }
        if let Some(Usage { cpu_s, most_mib, .. }) = process::usage(child.id()) {
            seen = (cpu_s, most_mib);
        }
        pause(process::LOOK);
    }
}
