//! A search in real time that is killed in the middle.

use std::{
    fs::{self, File},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{
    answer::Answer,
    processes,
    world::{World, wait_for},
};
use crate::shell;

/// What a search may take, killed or not.
const LONGEST: Duration = Duration::from_mins(20);

struct Plan {
    profile: &'static str,
    truth: f64,
    /// The answer's largest distance from the truth.
    tolerance: f64,
    unresolved_allowed: bool,
    settings: &'static str,
}

const FULL: Plan = Plan {
    profile: "8B_slots256",
    truth: 25.60,
    tolerance: 0.05,
    unresolved_allowed: false,
    settings: "  search: true
  slos: [ttft p95 <= 500ms]
dataset:
  input_length: {distribution: normal, mean: 512, std: 200, min: 16}
  output_length: {distribution: normal, mean: 256, std: 128, min: 2}
",
};

/// Four minutes carry a coarser answer, or none.
const SHORT: Plan = Plan {
    profile: "quickstart",
    truth: 40.84,
    tolerance: 0.10,
    unresolved_allowed: true,
    settings: "  search: {min_rate: 10, budget: 4min}
  slos: [ttft p95 <= 200ms]
dataset:
  input_length: {distribution: normal, mean: 64, std: 16, min: 16, max: 128}
  output_length: {distribution: normal, mean: 48, std: 12, min: 8, max: 96}
",
};

/// Searches, kills gipfel and its load generator in the middle of the time, resumes, and holds the answer against the
/// truth.
pub(crate) fn play(short: bool) -> anyhow::Result<()> {
    let plan = if short { SHORT } else { FULL };
    let world = World::new(if short { "adaptive-short" } else { "adaptive" })?;
    let Plan {
        profile, settings, ..
    } = plan;
    world.write(
        "adaptive.yaml",
        &format!(
            "defaults:\n{settings}experiments:\n  - model: {profile}\n    backend: sim\n    deployment: local\n    \
             backend_config:\n      profile: {profile}\n"
        ),
    )?;
    let began = Instant::now();
    let elapsed = run_until_killed(&world)?;
    shell::say(&format!(
        "gipfel and its load generator were killed after {:.0} s; {elapsed}",
        began.elapsed().as_secs_f64()
    ));
    let output = shell::capture(&mut world.gipfel(&["resume", "--no-live"]))?;
    shell::say(&String::from_utf8_lossy(&output.stdout));
    let answer = Answer::only(&world, &output)?;
    processes::expect_none(&world.results())?;
    let took = began.elapsed();
    shell::say(&format!(
        "{}\n{:.1} min in all",
        answer.describe(),
        took.as_secs_f64() / 60.0
    ));
    answer.expect_within(plan.truth, plan.tolerance, plan.unresolved_allowed)?;
    ensure!(took <= LONGEST, "it took longer than {} s", LONGEST.as_secs());
    Ok(())
}

/// Where the search stood when its load generator was killed.
fn run_until_killed(world: &World) -> anyhow::Result<String> {
    let log = File::create(world.folder.join("gipfel.log"))?;
    let mut gipfel = world
        .gipfel(&["run", "adaptive.yaml", "--no-live"])
        .stdout(log.try_clone()?)
        .stderr(log)
        .stdin(Stdio::null())
        .spawn()?;
    let middle = wait_for("the middle of the search", LONGEST, || {
        if gipfel.try_wait().ok().flatten().is_some() {
            return Some(None);
        }
        let (elapsed, budget) = progress(world)?;
        (elapsed >= budget / 2.0).then_some(Some((elapsed, budget)))
    });
    let killed = middle.and_then(|middle| {
        let (elapsed, budget) = middle.context("gipfel ended before the middle of the search")?;
        let victim = processes::marked(&world.results())
            .into_iter()
            .find(|process| process.command.contains(" loadgen "))
            .context("there is no load generator to kill")?;
        // Gipfel first: alone it would take the run up again by itself.
        gipfel.kill()?;
        processes::kill(victim.pid)?;
        Ok(format!("{elapsed:.0} of {budget:.0} s were used"))
    });
    // It may have ended by itself.
    let _ = gipfel.kill();
    gipfel.wait()?;
    killed
}

/// Seconds used and seconds allowed, as the load generator says.
fn progress(world: &World) -> Option<(f64, f64)> {
    let file = world.find("progress", ".json").ok()?.pop()?;
    let progress: Value = serde_json::from_str(&fs::read_to_string(file).ok()?).ok()?;
    let search = &progress["search"];
    Some((search["elapsed_s"].as_f64()?, search["budget_s"].as_f64()?))
}
