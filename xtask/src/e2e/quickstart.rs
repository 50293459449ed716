//! The README's commands.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
};

use anyhow::{Context, ensure};

use super::{
    processes,
    world::{World, expect_exit},
};
use crate::shell;

/// A running simulator; it ends with this value.
pub(crate) struct Simulator {
    child: Child,
    pub(crate) url: String,
}

impl Simulator {
    /// Starts `gipfel sim` on a free port and reads its address from its first line.
    pub(crate) fn start(world: &World, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = world.gipfel(&["sim", "--port", "0"]);
        let mut child = command.args(arguments).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("the simulator has no output")?).read_line(&mut line)?;
        let url = line.split_whitespace().find(|word| word.starts_with("http://"));
        let url = url
            .with_context(|| format!("the simulator printed no address: {line}"))?
            .to_owned();
        Ok(Self { child, url })
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Plays `gipfel run examples/quickstart.yaml` and `gipfel peak URL`.
pub(crate) fn play() -> anyhow::Result<()> {
    let world = World::new("quickstart")?;
    let example = shell::root().join("examples/quickstart.yaml");
    let mut command = world.gipfel(&["run"]);
    let output = shell::capture(command.arg(&example))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    shell::say(&text);
    expect_exit(&output, 0)?;
    ensure!(text.contains("Max QPS"), "the table has no column `Max QPS`");
    processes::expect_none(&world.results())?;
    let summary = shell::read(&mut world.gipfel(&["results", "summary", "--json"]))?;
    let summary: serde_json::Value = serde_json::from_str(&summary).context("the summary is no JSON")?;
    ensure!(
        summary["runs"].as_array().is_some_and(|runs| runs.len() == 1),
        "the summary has not one run"
    );
    peak(&world)
}

/// The exit code of a search without an answer.
const UNRESOLVED: i32 = 12;

fn peak(world: &World) -> anyhow::Result<()> {
    let simulator = Simulator::start(world, &["--profile", "quickstart"])?;
    let arguments = [
        "peak",
        &simulator.url,
        "--slo",
        "ttft p95 <= 500ms",
        "--for",
        "150s",
        "--from",
        "40",
        "--input",
        "16",
        "--output",
        "16",
    ];
    let output = shell::capture(world.gipfel(&arguments).args(["--results-dir", "results-peak"]))?;
    let text = String::from_utf8_lossy(&output.stdout);
    shell::say(&text);
    ensure!(
        text.contains("90 % interval"),
        "the search says nothing of the peak"
    );
    // Two and a half minutes may be too short for an answer; then it says so, and what it knows.
    expect_exit(&output, 0).or_else(|_| expect_exit(&output, UNRESOLVED))
}
