//! Campaigns beside and after each other, and the commands about them.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::world::{Sim, World};

const DEFAULTS: &str = "defaults:
  max_parallel_experiments: 3
  rate_levels: [5, 6]
  warmup_duration: 1s
  measurement_duration: 4s
  slos: [ttft p50 <= 500ms]
dataset:
  input_length: 16
  output_length: 8
experiments:
";

fn configuration(servers: &[(&str, &Sim)]) -> String {
    let experiments = servers.iter().map(|(model, sim)| {
        format!(
            "  - {{model: {model}, backend: sim, deployment: external, url: \"{}\"}}\n",
            sim.url
        )
    });
    DEFAULTS.to_owned() + &experiments.collect::<String>()
}

/// A campaign that goes on until it is ended.
fn endless(sim: &Sim) -> String {
    configuration(&[("alpha", sim)]).replace("measurement_duration: 4s", "measurement_duration: 10min")
}

/// Kills the driving gipfel and waits until it is gone.
fn kill_driver(world: &World) {
    let pid = world.status()["driver"]["pid"].to_string();
    let killed = Command::new("kill").args(["-9", &pid]).status();
    assert!(killed.expect("the program runs").success());
    world.wait_for_status("a dead process drives nothing", |status| {
        status["driver"].is_null()
    });
}

/// What became of each experiment, by its model.
fn outcomes(status: &Value) -> BTreeMap<String, (String, bool)> {
    let experiments = status["experiments"].as_array().expect("a list").iter();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    experiments
        .map(|one| {
            let failed = one["failed"].as_bool().expect("a truth value");
            (text(&one["model"]), (text(&one["state"]), failed))
        })
        .collect()
}

#[test]
fn one_failing_experiment_harms_no_other() {
    let world = World::new();
    let well = Sim::start(&world, "alpha");
    let mut dies = Sim::start(&world, "beta");
    let other = Sim::start(&world, "another");
    world.write(
        "three.yaml",
        &configuration(&[("alpha", &well), ("beta", &dies), ("gamma", &other)]),
    );
    let mut gipfel = world
        .gipfel(&["run", "three.yaml", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    let mut events = Vec::new();
    for line in BufReader::new(gipfel.stdout.take().expect("a pipe")).lines() {
        let event: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        let run = event["run"].as_str().unwrap_or_default();
        if event["event"] == "progress" && run.contains("_beta_") && !event["progress"]["current"].is_null() {
            dies.kill();
        }
        events.push(event);
    }
    assert_eq!(gipfel.wait().expect("it ends").code(), Some(11));
    assert_eq!(events[0]["event"], "campaign");
    assert_eq!(events.last().expect("events")["exit_code"], 11);
    let outcomes = outcomes(&world.status());
    assert_eq!(outcomes["alpha"], ("complete".to_owned(), false));
    let (beta, failed) = &outcomes["beta"];
    assert!(*failed && beta.contains("server-failed"), "{beta}");
    let (gamma, failed) = &outcomes["gamma"];
    assert!(
        *failed && gamma.contains("does not list the model `gamma`"),
        "{gamma}"
    );
}

#[test]
fn a_results_directory_is_used_by_one_gipfel() {
    let world = World::new();
    let sim = Sim::start(&world, "alpha");
    world.write("a.yaml", &endless(&sim));
    let said = world.check(&["run", "a.yaml", "--detach"], 0, "");
    assert!(said.contains("goes on in the background"), "{said}");
    let driver = &world.status()["driver"];
    let pid = driver["pid"].to_string();
    assert!(said.contains(&format!("(process {pid})")), "{said}");
    assert_eq!(driver["command"], "gipfel run a.yaml --detach");

    let occupied = format!("another gipfel uses `results`: process {pid} has driven campaign");
    world.check(&["run", "a.yaml"], 2, &occupied);
    world.check(&["resume"], 2, &occupied);
    world.check(&["run", "a.yaml"], 2, "hint: `gipfel attach` shows it");
    // Whoever only reads is not kept from it.
    assert!(world.check(&["list"], 0, "").contains("  driven\n  alpha on sim"));
    assert!(
        world
            .check(&["run", "a.yaml", "--dry-run"], 0, "")
            .contains("nothing was started")
    );

    world.wait_for_status("it measures", |status| {
        status["experiments"][0]["state"] == "measuring"
    });
    world.check(
        &["cancel"],
        0,
        "nothing of it runs; the results of 1 run are kept",
    );
    let status = world.status();
    assert_eq!(
        (&status["driver"], &status["state"]),
        (&Value::Null, &Value::from("unfinished"))
    );
    assert!(status["live"].as_array().is_some_and(Vec::is_empty), "{status}");
    world.check(&["cancel"], 0, "nothing of it runs");
    let log = world.check(&["logs", "--lines", "100"], 0, "");
    assert!(log.contains("interrupted: ending what runs"), "{log}");
}

#[test]
fn resume_merges_what_a_killed_gipfel_had_measured() {
    let world = World::new();
    let sim = Sim::start(&world, "alpha");
    world.write("a.yaml", &configuration(&[("alpha", &sim)]));
    world.check(&["run", "a.yaml"], 0, "");
    assert_eq!(world.status()["state"], "over");
    // As it is left by a kill between the last word of the last run and the merge.
    let results = world.path("results");
    let campaign = world.status()["campaign"].as_str().expect("an id").to_owned();
    let journal = results.join(campaign).join("state.json");
    let mut state: Value =
        serde_json::from_slice(&std::fs::read(&journal).expect("a journal")).expect("JSON");
    state["results_merged"] = Value::Bool(false);
    std::fs::write(&journal, state.to_string()).expect("the journal is written");
    std::fs::write(results.join("results.db"), "").expect("the merged results are emptied");
    assert_eq!(world.status()["state"], "unfinished");

    world.check(&["resume"], 0, "");
    assert_eq!(world.status()["state"], "over");
    let summary = world.check(&["results", "summary", "--json"], 0, "");
    assert!(summary.contains("\"alpha\""), "{summary}");
    world.check(&["resume"], 2, "there is no unfinished campaign");
}

#[test]
fn what_nobody_drives_is_said_and_ended() {
    let world = World::new();
    let sim = Sim::start(&world, "alpha");
    world.write("a.yaml", &endless(&sim));
    world.check(&["run", "a.yaml", "--detach"], 0, "");
    kill_driver(&world);
    world.check(&["attach"], 11, "nobody drives campaign");
    world.check(&["resume", "--detach"], 0, "");
    kill_driver(&world);
    world.check(&["cancel"], 0, "ending what lives");
    let live = &world.status()["live"];
    assert!(live.as_array().is_some_and(Vec::is_empty), "{live}");
    world.check(&["attach"], 130, "alpha on sim: stopped");
}

#[test]
fn what_is_wrong_before_a_campaign_is_said_where_the_command_was_typed() {
    let world = World::new();
    world.write("a.yaml", "experiments: []\n");
    world.check(
        &["run", "missing.yaml", "--detach"],
        2,
        "failed to read `missing.yaml`",
    );
    world.check(&["run", "a.yaml", "--detach"], 2, "error: ");
    for command in ["status", "attach", "cancel", "logs"] {
        world.check(&[command], 2, "there is no campaign under `results`");
        world.check(&[command, "c-1"], 2, "`c-1`");
    }
    assert!(world.check(&["list"], 0, "").contains("there is no campaign"));
    world.write("results", "");
    let sim = Sim::start(&world, "alpha");
    world.write("b.yaml", &endless(&sim));
    world.check(&["run", "b.yaml"], 2, "`results` is no directory");
    world.check(
        &["run", "b.yaml", "--only", "llama"],
        2,
        "  alpha on sim, external",
    );
}
