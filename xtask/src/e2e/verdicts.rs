//! Below the truth passes, above it is rejected, in real time.

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{
    processes,
    world::{World, expect_exit},
};
use crate::shell;

/// Offers 0.90 and 1.20 of the truth with windows of 30 + 60 s.
pub(crate) fn play(profiles: &[String], rounds: u32) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for profile in profiles {
        for round in 0..rounds {
            let verdicts = measure(profile, round)?;
            shell::say(&format!("{profile}, round {round}: {verdicts:?}"));
            if verdicts != ["accept", "reject"] {
                wrong.push(format!("{profile}, round {round}: {verdicts:?}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "wrong verdicts: {wrong:?}");
    shell::say(&format!(
        "{} of {} rounds right",
        profiles.len() as u32 * rounds,
        profiles.len() as u32 * rounds
    ));
    Ok(())
}

fn measure(profile: &str, round: u32) -> anyhow::Result<Vec<String>> {
    let world = World::new(&format!("verdicts-{profile}-{round}"))?;
    world.write("verdicts.yaml", &configuration(profile, round)?)?;
    let output = shell::capture(&mut world.gipfel(&["run", "verdicts.yaml"]))?;
    expect_exit(&output, 0)?;
    processes::expect_none(&world.results())?;
    let summary = shell::read(&mut world.gipfel(&["results", "summary", "--json"]))?;
    let summary: Value = serde_json::from_str(&summary)?;
    let levels = summary["runs"][0]["levels"]
        .as_array()
        .context("the summary has no levels")?;
    Ok(levels
        .iter()
        .map(|level| level["verdict"]["verdict"].as_str().unwrap_or("none").to_owned())
        .collect())
}

/// The profile's own workload, as `examples/servers.toml` gives it.
fn configuration(profile: &str, round: u32) -> anyhow::Result<String> {
    let (input, output, slos, truth) = match profile {
        "8B_slots256" => (NORMAL_INPUT, NORMAL_OUTPUT, TTFT, 25.60),
        "70B_tp4" => (NORMAL_INPUT, NORMAL_OUTPUT, TTFT, 10.45),
        "8B_tpot" => (NORMAL_INPUT, NORMAL_OUTPUT, TTFT_AND_TPOT, 23.48),
        "8B_heavytail" => (HEAVY_INPUT, HEAVY_OUTPUT, TTFT, 26.45),
        _ => anyhow::bail!("there is no profile `{profile}` with a truth"),
    };
    let (low, high) = (0.90 * truth, 1.20 * truth);
    Ok(format!(
        "defaults:
  rate_levels: [{low:.3}, {high:.3}]
  warmup_duration: 30s
  measurement_duration: 60s
  slos: {slos}
  seed: {round}
dataset:
  input_length: {input}
  output_length: {output}
experiments:
  - model: {profile}
    backend: sim
    deployment: local
    backend_config:
      profile: {profile}
      seed: {round}
"
    ))
}

const TTFT: &str = "[ttft p95 <= 500ms]";
const TTFT_AND_TPOT: &str = "[ttft p95 <= 500ms, tpot p95 <= 30ms]";
const NORMAL_INPUT: &str = "{distribution: normal, mean: 512, std: 200, min: 16}";
const NORMAL_OUTPUT: &str = "{distribution: normal, mean: 256, std: 128, min: 2}";
const HEAVY_INPUT: &str = "{distribution: lognormal, median: 180, sigma: 1.2, min: 4, max: 4096}";
const HEAVY_OUTPUT: &str = "{distribution: lognormal, median: 200, sigma: 0.9, min: 2, max: 2048}";
