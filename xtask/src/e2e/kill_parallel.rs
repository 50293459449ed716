//! `kill -9` of gipfel at random moments while three experiments run at the same time, then `resume`.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};

use super::{
    kill::{LIMIT, Moments, WHOLE_RUN, check_database, complete_levels, merged_summary},
    processes,
    world::{World, expect_exit, pause, wait_for},
};
use crate::shell;

const DEFAULTS: &str = "defaults:
  max_parallel_experiments: 3
  rate_levels: [5, 6, 7, 8]
  warmup_duration: 1s
  measurement_duration: 3s
  slos: [ttft p50 <= 500ms]
dataset:
  input_length: 16
  output_length: 8
experiments:
";
const MODELS: [&str; 3] = ["alpha", "beta", "gamma"];

/// Kills the run and its first `resume` in each round; the second `resume` completes.
pub(super) fn play(rounds: u32, seed: u64) -> anyhow::Result<()> {
    let servers = World::new("kill-parallel-servers")?;
    let sims: Vec<Sim> = MODELS
        .iter()
        .map(|model| Sim::start(&servers, model))
        .collect::<anyhow::Result<_>>()?;
    let experiments = MODELS.iter().zip(&sims).map(|(model, sim)| {
        format!(
            "  - {{model: {model}, backend: sim, deployment: external, url: \"{}\"}}\n",
            sim.url
        )
    });
    let configuration = DEFAULTS.to_owned() + &experiments.collect::<Vec<_>>().concat();
    let mut moments = Moments(seed);
    for round in 0..rounds {
        let times = [moments.next(WHOLE_RUN), moments.next(WHOLE_RUN / 3)];
        kill_round(&configuration, round, times)
            .with_context(|| format!("round {round}, killed after {} s", seconds(times)))?;
    }
    Ok(())
}

fn seconds([first, second]: [Duration; 2]) -> String {
    format!("{:.2} and {:.2}", first.as_secs_f64(), second.as_secs_f64())
}

fn kill_round(configuration: &str, round: u32, times: [Duration; 2]) -> anyhow::Result<()> {
    let world = World::new(&format!("kill-parallel-{round}"))?;
    world.write("three.yaml", configuration)?;
    kill_after(&world, &["run", "three.yaml", "--no-live"], times[0])?;
    let first = all_complete_levels(&world)?;
    kill_after(&world, &["resume", "--no-live"], times[1])?;
    let second = all_complete_levels(&world)?;
    untouched(&first, &second)?;
    let output = shell::capture(&mut world.gipfel(&["resume", "--no-live"]))?;
    if !String::from_utf8_lossy(&output.stderr).contains("no unfinished campaign") {
        expect_exit(&output, 0)?;
    }
    processes::expect_none(&world.results())?;
    let databases = world.find("run_", ".db")?;
    ensure!(
        databases.len() == 3,
        "expected three databases, found {databases:?}"
    );
    for database in &databases {
        check_database(database).with_context(|| database.display().to_string())?;
    }
    untouched(&second, &all_complete_levels(&world)?)?;
    merged_summary(&world.results(), 3)?;
    shell::say(&format!(
        "round {round}: killed after {} s with {} and {} complete levels: all well in the end",
        seconds(times),
        count(&first),
        count(&second)
    ));
    Ok(())
}

/// Starts gipfel, kills it at the moment, and waits until it is gone.
fn kill_after(world: &World, arguments: &[&str], after: Duration) -> anyhow::Result<()> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(world.folder.join("gipfel.log"))?;
    let mut gipfel = world
        .gipfel(arguments)
        .stdout(log.try_clone()?)
        .stderr(log)
        .stdin(Stdio::null())
        .spawn()?;
    pause(after);
    processes::kill(gipfel.id())?;
    wait_for("the end of gipfel", LIMIT, || gipfel.try_wait().ok().flatten())?;
    Ok(())
}

type Levels = BTreeMap<PathBuf, Vec<(i64, i64)>>;

fn all_complete_levels(world: &World) -> anyhow::Result<Levels> {
    // Killed early enough, a run has no directory yet.
    if !world.results().exists() {
        return Ok(Levels::new());
    }
    let databases = world.find("run_", ".db")?.into_iter();
    Ok(databases
        .map(|database| {
            let levels = complete_levels(&database);
            (database, levels)
        })
        .collect())
}

fn untouched(before: &Levels, after: &Levels) -> anyhow::Result<()> {
    for (database, levels) in before {
        let now = after.get(database).map_or(&[][..], Vec::as_slice);
        ensure!(
            levels.iter().all(|level| now.contains(level)),
            "completed levels of {} changed: {levels:?} then, {now:?} now",
            database.display()
        );
    }
    Ok(())
}

fn count(levels: &Levels) -> usize {
    levels.values().map(Vec::len).sum()
}

/// A simulated server on a free port, which ends with this value.
struct Sim {
    child: Child,
    url: String,
}

impl Sim {
    fn start(world: &World, model: &str) -> anyhow::Result<Self> {
        let mut child = world
            .gipfel(&["sim", "--port", "0", "--model", model])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("the simulator has no output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let url = line.rsplit(" on ").next().unwrap_or_default().trim().to_owned();
        Ok(Self { child, url })
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        // One that has ended by itself was noticed by the runs against it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
