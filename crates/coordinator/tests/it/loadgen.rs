//! Load generators that are not gipfel itself.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::world::{Sim, World};

const CONFIGURATION: &str = "defaults:
  rate_levels: [20]
  warmup_duration: 200ms
  measurement_duration: 3s
  slos: [ttft p50 <= 10s]
dataset: { input_length: 16, output_length: 4 }
experiments:
  - {model: quickstart, backend: sim, deployment: external, url: \"URL\"}
";

/// A load generator of its own: gipfel's, by another name and file.
fn program(world: &World, name: &str, version: &str) -> PathBuf {
    let gipfel = env!("CARGO_BIN_EXE_gipfel");
    let version = format!("if [ \"$1\" = --version ]; then echo 'gipfel-loadgen {version}'; exit; fi");
    let script = format!("#!/bin/sh\n{version}\nexec '{gipfel}' loadgen \"$@\"\n");
    world.write(name, &script);
    fs::set_permissions(world.path(name), fs::Permissions::from_mode(0o755)).expect("it is changed");
    world.path(name)
}

/// The program that the results directory keeps.
fn kept(world: &World) -> PathBuf {
    let folder = world.path("results/load-generators");
    let mut entries = fs::read_dir(folder).expect("a folder");
    let entry = entries.next().expect("one is kept").expect("readable");
    assert!(entries.next().is_none(), "only one is kept");
    entry.path().join("gipfel-loadgen")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a text")
}

#[test]
fn a_resumed_campaign_keeps_its_load_generator() {
    let world = World::new();
    let sim = Sim::start(&world, "quickstart");
    world.write("a.yaml", &CONFIGURATION.replace("URL", &sim.url));
    let mine = program(&world, "mine", "1");
    world.check(&["run", "a.yaml", "--detach", "--loadgen", text(&mine)], 0, "");
    world.wait_for_status("it measures", |status| {
        status["experiments"][0]["state"] == "measuring"
    });
    world.check(&["cancel"], 0, "");
    world.wait_for_status("it is over", |status| status["driver"].is_null());
    fs::remove_file(&mine).expect("it is removed");

    let kept = kept(&world);
    let other = program(&world, "other", "2");
    world.check(
        &["resume", "--loadgen", text(&other)],
        2,
        "the campaign began with the load generator ",
    );
    let original = fs::read(&kept).expect("readable");
    fs::write(&kept, "#!/bin/sh\n").expect("written");
    world.check(&["resume"], 2, ", but `");
    fs::write(&kept, original).expect("written");
    world.check(&["resume"], 0, "");
    let status = world.status();
    assert_eq!(status["experiments"][0]["failed"], false, "{status}");
}

#[test]
fn what_is_no_load_generator_is_refused_before_anything_starts() {
    let world = World::new();
    world.write("a.yaml", &CONFIGURATION.replace("URL", "http://127.0.0.1:1"));
    world.write("text", "nothing");
    let check = |path: &str, expected: &str| {
        world.check(&["run", "a.yaml", "--loadgen", path], 2, expected);
    };
    check("nowhere", "cannot read the load generator `nowhere`");
    check("text", "is no load generator that runs here");
    check("/bin/true", "it is another program");
    assert!(!world.path("results/results.db").exists());
}

#[test]
fn a_build_without_load_generators_says_so() {
    let world = World::new();
    let expected = "this gipfel was built without load generators for clusters";
    world.check(&["loadgen", "--extract", "aarch64"], 2, expected);
    world.check(&["loadgen", "--list"], 2, "hint: releases carry them");
    world.check(
        &["loadgen"],
        2,
        "a run needs --config FILE and --directory DIRECTORY",
    );
    // A machine under test may be too busy for the timer's part.
    let output = world.run(&["loadgen", "--self-test"]);
    let found = String::from_utf8_lossy(&output.stdout);
    assert!(found.contains("ok     database   SQLite"), "{found}");
}
