//! Running a file again.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const COMPLETE: &str = "
defaults:
  rate_levels: [20]
  warmup_duration: 100ms
  measurement_duration: 600ms
  exact_windows: true
  slos: [ttft p50 <= 10s]
  dataset: { input_length: 16, output_length: 4 }
experiments:
  - { model: quickstart, backend: sim, deployment: local }
";

const FAILING: &str = "
experiments:
  - { model: m, backend: vllm, deployment: local, command: [/no/such/program], rate_levels: [200] }
";

fn run(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gipfel"));
    let command = command.args(["run", "a.yaml"]).args(arguments);
    command
        .current_dir(directory)
        .env_remove("GIPFEL_SITE")
        .output()
        .expect("the program runs")
}

fn check(output: &Output, code: i32, stderr: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(stderr), "`{text}` lacks `{stderr}`");
}

fn campaigns(directory: &Path) -> usize {
    let entries = fs::read_dir(directory.join("results")).expect("results");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    names
        .filter(|name| name.to_string_lossy().starts_with("c-"))
        .count()
}

fn world(configuration: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("a.yaml"), configuration).expect("a file");
    directory
}

#[test]
fn what_is_complete_is_not_measured_again() {
    let world = world(COMPLETE);
    let world = world.path();
    let first = run(world, &[]);
    let code = first.status.code().expect("a code");
    assert!(
        [0, 10, 12].contains(&code),
        "{}",
        String::from_utf8_lossy(&first.stderr)
    );
    let again = run(world, &[]);
    check(
        &again,
        code,
        "skipped: quickstart on sim, local is complete, see results/c-",
    );
    check(&again, code, "nothing is left to measure");
    assert_eq!(again.stdout, first.stdout, "the same results are shown");
    assert_eq!(campaigns(world), 1);

    let more = COMPLETE.to_owned() + "  - { model: quickstart, backend: sim, deployment: local, seed: 1 }\n";
    fs::write(world.join("a.yaml"), more).expect("a file");
    let planned = run(world, &["--dry-run"]);
    check(&planned, 0, "skipped: quickstart on sim");
    let text = String::from_utf8_lossy(&planned.stdout).into_owned();
    assert_eq!(text.matches("run 2").count(), 1, "{text}");
    let planned = run(world, &["--dry-run", "--rerun"]);
    let text = String::from_utf8_lossy(&planned.stdout).into_owned();
    assert_eq!(text.matches("run 2").count(), 2, "{text}");
}

#[test]
fn failures_are_tried_again_by_their_reason() {
    let world = world(FAILING);
    let world = world.path();
    check(&run(world, &[]), 11, "command-not-found");
    let left = "skipped: m on vllm, local failed in run";
    check(&run(world, &["--retry", "none"]), 11, left);
    check(
        &run(world, &["--retry", "oom,timeout"]),
        11,
        "(command-not-found); --retry all tries it again",
    );
    assert_eq!(campaigns(world), 1);
    check(
        &run(world, &["--retry", "command-not-found"]),
        11,
        "again: m on vllm, local failed in run",
    );
    assert_eq!(campaigns(world), 2);
    check(
        &run(world, &["--retry", "memory"]),
        2,
        "is no reason of a failure",
    );
}

#[test]
fn the_site_and_variables_come_from_around() {
    let world = world("experiments: [{ model: m, backend: sim, deployment: local }]");
    fs::write(
        world.path().join("site.yaml"),
        "defaults: { port: \"${TEST_PORT:-9123}\" }",
    )
    .expect("a file");
    let show = |port: Option<&str>, site: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gipfel"));
        command.current_dir(world.path()).env("GIPFEL_SITE", site);
        command.args(["config", "show", "a.yaml"]);
        port.map(|port| command.env("TEST_PORT", port));
        command.output().expect("the program runs")
    };
    let shown = String::from_utf8(show(Some("9456"), "site.yaml").stdout).expect("a text");
    assert!(shown.contains("port: 9456"), "{shown}");
    assert!(shown.contains("# site.yaml:1"), "{shown}");
    let shown = String::from_utf8(show(None, "site.yaml").stdout).expect("a text");
    assert!(shown.contains("port: 9123"), "{shown}");
    check(
        &show(Some("http"), "site.yaml"),
        2,
        "site.yaml:1:19: defaults.port: found `http`",
    );
    check(&show(None, "none.yaml"), 2, "cannot read `none.yaml`");
    check(&show(None, ""), 0, "");
}
