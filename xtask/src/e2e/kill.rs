//! `kill -9` at random moments, then `resume`.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{
    processes::{self, Marked},
    world::{World, expect_exit, number, pause, query, wait_for},
};
use crate::shell;

/// Four short levels of a server that passes them all.
const CONFIGURATION: &str = "defaults:
  rate_levels: [5, 6, 7, 8]
  warmup_duration: 1s
  measurement_duration: 3s
  slos: [ttft p50 <= 500ms]
dataset:
  input_length: 16
  output_length: 8
experiments:
  - model: sim
    backend: sim
    deployment: local
    backend_config:
      profile: quickstart
";
/// Four levels of four seconds and what lies between them.
pub(super) const WHOLE_RUN: Duration = Duration::from_secs(24);
pub(super) const LIMIT: Duration = Duration::from_mins(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Gipfel,
    LoadGenerator,
}

/// Kills each of gipfel and the load generator `rounds` times, and the server once.
pub(crate) fn play(rounds: u32, seed: u64) -> anyhow::Result<()> {
    let mut moments = Moments(seed);
    for victim in [Victim::Gipfel, Victim::LoadGenerator] {
        for round in 0..rounds {
            let after = moments.next(WHOLE_RUN);
            kill_once(victim, round, after).with_context(|| {
                format!(
                    "{victim:?}, round {round}, killed after {:.2} s",
                    after.as_secs_f64()
                )
            })?;
        }
    }
    kill_server()
}

/// A run that is going on.
struct Run {
    world: World,
    gipfel: Child,
}

impl Run {
    fn start(name: &str) -> anyhow::Result<Self> {
        let world = World::new(name)?;
        world.write("kill.yaml", CONFIGURATION)?;
        let mut command = world.gipfel(&["run", "kill.yaml", "--no-live"]);
        let log = File::create(world.folder.join("gipfel.log"))?;
        let gipfel = command
            .stdout(log.try_clone()?)
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Self { world, gipfel })
    }

    /// The process whose command line holds all of `words`.
    fn find(&self, words: &[&str]) -> Option<Marked> {
        processes::marked(&self.world.results())
            .into_iter()
            .find(|process| words.iter().all(|word| process.command.contains(word)))
    }

    fn database(&self) -> Option<PathBuf> {
        self.world.find("run_", ".db").ok()?.into_iter().next()
    }

    fn complete_levels(&self) -> Vec<(i64, i64)> {
        self.database()
            .map_or_else(Vec::new, |database| complete_levels(&database))
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        wait_for("the end of gipfel", LIMIT, || {
            self.gipfel.try_wait().ok().flatten()
        })?;
        Ok(())
    }
}

/// Levels of a database that are complete now, and how many request rows each has.
pub(super) fn complete_levels(database: &Path) -> Vec<(i64, i64)> {
    let sql = "SELECT level, (SELECT count(*) FROM request q WHERE q.level = l.level) AS rows \
               FROM level l WHERE state = 'complete' ORDER BY level";
    let rows = query(database, sql).unwrap_or_default();
    rows.iter()
        .filter_map(|row| Some((row["level"].as_i64()?, row["rows"].as_i64()?)))
        .collect()
}

fn kill_once(victim: Victim, round: u32, after: Duration) -> anyhow::Result<()> {
    let mut run = Run::start(&format!("kill-{victim:?}-{round}").to_lowercase())?;
    pause(after);
    let pid = match victim {
        Victim::Gipfel => Some(run.gipfel.id()),
        Victim::LoadGenerator => run.find(&[" loadgen "]).map(|process| process.pid),
    };
    if let Some(pid) = pid {
        processes::kill(pid)?;
    }
    let before = run.complete_levels();
    run.wait()?;
    resume(&run, 0)?;
    check(&run, &before)?;
    shell::say(&format!(
        "{victim:?} killed after {:.2} s: {} complete levels then, all well after resume",
        after.as_secs_f64(),
        before.len()
    ));
    Ok(())
}

/// Goes on until nothing is unfinished; a campaign that completed by itself has nothing to resume.
fn resume(run: &Run, exit: i32) -> anyhow::Result<()> {
    let output = shell::capture(&mut run.world.gipfel(&["resume", "--no-live"]))?;
    let nothing_left = String::from_utf8_lossy(&output.stderr).contains("no unfinished campaign");
    if nothing_left {
        Ok(())
    } else {
        expect_exit(&output, exit)
    }
}

/// Every rate complete exactly once, what was complete before untouched, everything else broken, nothing left alive.
fn check(run: &Run, before: &[(i64, i64)]) -> anyhow::Result<()> {
    processes::expect_none(&run.world.results())?;
    let databases = run.world.find("run_", ".db")?;
    ensure!(
        databases.len() == 1,
        "expected one run database, found {databases:?}"
    );
    check_database(&databases[0])?;
    let after = run.complete_levels();
    ensure!(
        before.iter().all(|level| after.contains(level)),
        "completed levels changed: {before:?} then, {after:?} now"
    );
    merged_summary(&run.world.results(), 1)
}

/// The database is whole, and holds each rate complete exactly once.
pub(super) fn check_database(database: &Path) -> anyhow::Result<()> {
    let integrity = query(database, "PRAGMA integrity_check")?;
    ensure!(
        integrity.len() == 1 && integrity[0]["integrity_check"] == "ok",
        "the database is damaged: {integrity:?}"
    );
    let complete = query(
        database,
        "SELECT rate FROM level WHERE state = 'complete' ORDER BY rate",
    )?;
    let rates: Vec<f64> = complete.iter().filter_map(|row| row["rate"].as_f64()).collect();
    ensure!(rates == [5.0, 6.0, 7.0, 8.0], "complete levels: {rates:?}");
    let open = number(
        database,
        "SELECT count(*) FROM level WHERE state NOT IN ('complete', 'broken')",
    )?;
    ensure!(open == 0, "{open} levels are neither complete nor broken");
    Ok(())
}

pub(super) fn merged_summary(results: &Path, expected: i64) -> anyhow::Result<()> {
    let database = results.join("results.db");
    let runs = number(&database, "SELECT count(*) FROM experiments")?;
    ensure!(runs == expected, "the merged database has {runs} runs");
    Ok(())
}

/// The server dies: the run fails by name with the log's tail; `resume` deploys afresh and completes.
fn kill_server() -> anyhow::Result<()> {
    let mut run = Run::start("kill-server")?;
    wait_for("the first complete level", LIMIT, || {
        (!run.complete_levels().is_empty()).then_some(())
    })?;
    let server = run.find(&[" sim "]).context("there is no server to kill")?;
    processes::kill(server.pid)?;
    let before = run.complete_levels();
    run.wait()?;
    let log = std::fs::read_to_string(run.world.folder.join("gipfel.log"))?;
    ensure!(
        log.contains("server-failed"),
        "gipfel did not say server-failed:\n{log}"
    );
    resume(&run, 0)?;
    check(&run, &before)?;
    let state = run.world.find("state", ".json")?;
    let state: Value = serde_json::from_str(&std::fs::read_to_string(&state[0])?)?;
    let deployments = state["deployments"].as_array().map_or(0, Vec::len);
    ensure!(
        deployments == 2,
        "expected the dead deployment and a fresh one in the journal, found {deployments}"
    );
    shell::say("the server killed: server-failed, and all well after resume on a fresh deployment");
    Ok(())
}

/// Reproducible moments: a linear congruential generator is random enough to choose when to kill.
pub(super) struct Moments(pub(super) u64);

impl Moments {
    pub(super) fn next(&mut self, within: Duration) -> Duration {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        within.mul_f64((self.0 >> 33) as f64 / (1_u64 << 31) as f64)
    }
}
