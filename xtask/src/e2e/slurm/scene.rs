//! A campaign on a Slurm: its configuration, the way to the cluster, and what can be seen of it while it runs.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{firecrest::Firecrest, run::Run, site::Site, sshd::Sshd};
use crate::{
    e2e::world::{self, World, number, wait_for},
    shell,
};

/// The variable that names the load generator for the nodes; without it, one is built.
const LOAD_GENERATOR: &str = "GIPFEL_LOADGEN";

/// What a campaign asks for.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// The way to the cluster: commands, ssh, firecrest.
    pub(super) way: &'static str,
    /// Where the load generator lives: slurm, same-job.
    pub(super) benchmarker: &'static str,
    /// The rates, each a level of about seven seconds.
    pub(super) rates: &'static [u32],
    /// The walltime of the server's job.
    pub(super) server_time: &'static str,
    /// The walltime of the load generator's job.
    pub(super) load_time: &'static str,
    /// The engine.
    pub(super) backend: &'static str,
    /// The server's command; gipfel's simulator unless given.
    pub(super) command: Option<String>,
    /// The tokens of a request, and of its answer.
    pub(super) lengths: (u32, u32),
    /// Further lines of the experiment, of the form `key: value`.
    pub(super) lines: Vec<String>,
    /// The same once more, with a server of its own.
    pub(super) twice: bool,
    /// Further options of the simulator of FirecREST.
    pub(super) firecrest: &'static [&'static str],
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            way: "commands",
            benchmarker: "slurm",
            rates: &[20, 25, 30],
            server_time: "00:10:00",
            load_time: "00:10:00",
            backend: "sim",
            command: None,
            lengths: (64, 16),
            lines: Vec::new(),
            twice: false,
            firecrest: &[],
        }
    }
}

/// Which of a campaign's jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Server,
    Load,
}

/// A job that has not ended.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) state: String,
    pub(super) nodes: String,
}

/// A campaign's own folder and its way to a Slurm.
pub(super) struct Scene<'a> {
    pub(super) site: &'a Site,
    pub(super) world: World,
    pub(super) terms: Terms,
    pub(super) firecrest: Option<Firecrest>,
    sshd: Option<Sshd>,
    load_generator: PathBuf,
}

impl<'a> Scene<'a> {
    /// Prepares a folder, a configuration and the way; nothing of gipfel runs yet.
    pub(super) fn new(name: &str, site: &'a Site, terms: Terms) -> anyhow::Result<Self> {
        let mut scene = Self {
            site,
            world: World::new(&format!("slurm-{name}"))?,
            terms,
            firecrest: None,
            sshd: None,
            load_generator: load_generator()?,
        };
        std::fs::create_dir_all(scene.scratch())?;
        match scene.terms.way {
            "firecrest" => scene.start_firecrest(None)?,
            "ssh" => {
                let sshd = Sshd::start(&scene.world.folder.join("sshd"), &site.configuration())?;
                sshd.write_client(&scene.world.folder.join("bin"))?;
                scene.sshd = Some(sshd);
            }
            _ => {}
        }
        scene.world.write("slurm.yaml", &scene.configuration())?;
        Ok(scene)
    }

    /// Starts the simulator of FirecREST, at the port of an earlier one if there is one.
    pub(super) fn start_firecrest(&mut self, port: Option<u16>) -> anyhow::Result<()> {
        let started = Firecrest::start_at(
            &self.cluster(),
            &self.site.configuration(),
            port,
            self.terms.firecrest,
        )?;
        self.firecrest = Some(started);
        Ok(())
    }

    /// What FirecREST shows of the cluster's files.
    fn cluster(&self) -> PathBuf {
        self.world.folder.join("cluster")
    }

    /// The directory of the campaign's files on the cluster.
    pub(super) fn scratch(&self) -> PathBuf {
        self.cluster().join("scratch")
    }

    fn configuration(&self) -> String {
        let rates: Vec<String> = self.terms.rates.iter().map(u32::to_string).collect();
        let mut text = format!(
            "version: 1
defaults:
  slos: [ttft p95 <= 10s]
  rate_levels: [{}]
  warmup_duration: 1s
  measurement_duration: 5s
  exact_windows: true
dataset: {{ input_length: {}, output_length: {} }}
experiments:
",
            rates.join(", "),
            self.terms.lengths.0,
            self.terms.lengths.1
        );
        text.push_str(&self.experiment(&[]));
        if self.terms.twice {
            text.push_str(&self.experiment(&["environment: { SECOND: '1' }".to_owned()]));
        }
        text
    }

    fn experiment(&self, more: &[String]) -> String {
        let terms = &self.terms;
        let sim = format!(
            "[{}, sim, --host, '{{host}}', --port, '{{port}}', --model, '{{model}}']",
            world::program().display()
        );
        let mut text = format!(
            "  - model: quickstart
    deployment: slurm
    backend: {backend}
    cluster: {way}
    site: generic
    account: {account}
    scratch_base: {scratch}
    partition: normal
    server_time_limit: {server_time}
    benchmarker: {benchmarker}
    benchmarker_partition: normal
    benchmarker_time_limit: {load_time}
    port: 0
    command: {command}
",
            backend = terms.backend,
            way = terms.way,
            account = super::firecrest::ACCOUNT,
            scratch = self.scratch().display(),
            server_time = terms.server_time,
            benchmarker = terms.benchmarker,
            load_time = terms.load_time,
            command = terms.command.as_deref().unwrap_or(&sim),
        );
        let host = (terms.way == "ssh").then(|| format!("ssh_host: {}", super::sshd::HOST));
        for line in host.iter().chain(&terms.lines).chain(more) {
            text.extend(["    ", line, "\n"]);
        }
        text
    }

    /// A call of gipfel that knows the way.
    pub(super) fn gipfel(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.gipfel(arguments);
        match &self.firecrest {
            Some(firecrest) => {
                command
                    .envs(&firecrest.variables)
                    .env("FIRECREST_SYSTEM", super::firecrest::SYSTEM);
            }
            None => {
                command.env("SLURM_CONF", self.site.configuration());
            }
        }
        if self.sshd.is_some() {
            let own = self.world.folder.join("bin");
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{path}", own.display()));
        }
        command
    }

    /// Starts `gipfel run`.
    pub(super) fn run(&self) -> anyhow::Result<Run> {
        self.run_with(&[])
    }

    /// Starts `gipfel run` with further variables.
    pub(super) fn run_with(&self, variables: &[(&str, &str)]) -> anyhow::Result<Run> {
        let load_generator = self.load_generator.to_string_lossy();
        let mut command = self.gipfel(&[
            "run",
            "slurm.yaml",
            "--no-live",
            "--poll-interval",
            "2",
            "--loadgen",
            &load_generator,
        ]);
        command.envs(variables.iter().copied());
        Run::start(&self.world, command)
    }

    /// Starts `gipfel resume`.
    pub(super) fn resume(&self) -> anyhow::Result<Run> {
        Run::start(
            &self.world,
            self.gipfel(&["resume", "--no-live", "--poll-interval", "2"]),
        )
    }

    /// The jobs of one kind that have not ended.
    pub(super) fn jobs(&self, part: Part) -> Vec<Job> {
        let listed = self
            .site
            .command("squeue")
            .args(["--noheader", "--format=%i|%j|%T|%N"])
            .output();
        let text = listed.map_or_else(
            |_| String::new(),
            |output| String::from_utf8_lossy(&output.stdout).into_owned(),
        );
        let job = |line: &str| {
            let fields: Vec<&str> = line.trim().split('|').collect();
            let [id, name, state, nodes] = fields.as_slice() else {
                return None;
            };
            (part_of(name)? == part).then(|| Job {
                id: (*id).to_owned(),
                state: (*state).to_owned(),
                nodes: (*nodes).to_owned(),
            })
        };
        text.lines().filter_map(job).collect()
    }

    /// How many jobs of one kind there have been, as far as the controller remembers.
    pub(super) fn submitted(&self, part: Part) -> anyhow::Result<usize> {
        let text = shell::read(self.site.command("scontrol").args(["--oneliner", "show", "jobs"]))?;
        let scratch = format!("{}/", self.scratch().display());
        let ours = text.lines().filter(|line| line.contains(&scratch));
        let names = ours.filter_map(|line| line.split_once(" JobName=")?.1.split(' ').next());
        Ok(names.filter(|name| part_of(name) == Some(part)).count())
    }

    /// The load generator's own word of the only run, as it is now.
    pub(super) fn progress(&self) -> Option<Value> {
        let entries = std::fs::read_dir(self.scratch()).ok()?.flatten();
        let mut found = entries.filter_map(|entry| {
            let text = std::fs::read(entry.path().join("progress.json")).ok()?;
            serde_json::from_slice::<Value>(&text).ok()
        });
        found.next()
    }

    /// How many levels of the only run are published.
    pub(super) fn published_levels(&self) -> usize {
        let progress = self.progress();
        let levels = progress
            .as_ref()
            .and_then(|progress| progress["levels"].as_array());
        levels.map_or(0, Vec::len)
    }

    /// Waits until as many levels are published while gipfel runs.
    pub(super) fn wait_for_levels(&self, run: &mut Run, levels: usize) -> anyhow::Result<()> {
        run.wait_for("published levels", Duration::from_mins(2), || {
            (self.published_levels() >= levels).then_some(())
        })
    }

    /// Waits until a job runs, and gives it.
    pub(super) fn wait_for_job(&self, run: &mut Run, part: Part) -> anyhow::Result<Job> {
        run.wait_for("a job that runs", Duration::from_mins(1), || {
            self.jobs(part).into_iter().find(|job| job.state == "RUNNING")
        })
    }

    /// How many levels the merged results hold as complete; each rate at most once.
    pub(super) fn measured(&self) -> anyhow::Result<i64> {
        let database = self.world.results().join("results.db");
        if !database.exists() {
            return Ok(0);
        }
        let twice = number(
            &database,
            "SELECT count(*) FROM (SELECT 1 FROM level WHERE state = 'complete' GROUP BY run, rate HAVING count(*) > 1)",
        )?;
        ensure!(twice == 0, "{twice} rates were measured twice");
        number(&database, "SELECT count(*) FROM level WHERE state = 'complete'")
    }

    /// Fails if as many levels as were planned are not in the results.
    pub(super) fn expect_all_measured(&self) -> anyhow::Result<()> {
        let experiments = if self.terms.twice { 2 } else { 1 };
        self.expect_measured(experiments * self.terms.rates.len())
    }

    /// Fails if fewer levels are in the results.
    pub(super) fn expect_measured(&self, least: usize) -> anyhow::Result<()> {
        let found = self.measured()?;
        ensure!(
            found >= i64::try_from(least)?,
            "{found} levels are in the results, and {least} were measured"
        );
        Ok(())
    }

    /// Fails if something of the campaign lives: a job, or a process that works in its directory.
    pub(super) fn expect_nothing_left(&self) -> anyhow::Result<()> {
        self.site.expect_no_jobs()?;
        let mut left = Vec::new();
        let empty = wait_for("nothing of the campaign lives", Duration::from_secs(20), || {
            left = processes_of(&self.scratch());
            left.is_empty().then_some(())
        });
        empty.with_context(|| format!("processes are left: {left:?}"))
    }

    /// Fails if there was not exactly one job of this kind.
    pub(super) fn expect_jobs(&self, part: Part, expected: usize) -> anyhow::Result<()> {
        let found = self.submitted(part)?;
        ensure!(
            found == expected,
            "{found} jobs of the {part:?} were submitted in place of {expected}"
        );
        Ok(())
    }

    /// Ends what runs beside the campaign.
    pub(super) fn close(mut self) -> anyhow::Result<()> {
        if let Some(sshd) = self.sshd.take() {
            sshd.stop();
        }
        match self.firecrest.take() {
            Some(firecrest) => firecrest.stop(),
            None => Ok(()),
        }
    }
}

fn part_of(name: &str) -> Option<Part> {
    let id = name.strip_prefix("gipfel-")?;
    Some(if id.starts_with("d-") {
        Part::Server
    } else {
        Part::Load
    })
}

/// Command lines of processes that name a file of a directory, but for gipfel, which the caller waits for.
fn processes_of(directory: &Path) -> Vec<String> {
    let named = format!("{}/", directory.display());
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let lines = entries.flatten().filter_map(|entry| {
        entry.file_name().to_string_lossy().parse::<u32>().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(&named)).collect()
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
    // That of a bundle is smaller still.
    let small = shell::target().join("e2e/gipfel-loadgen");
    std::fs::copy(shell::target().join("release/gipfel-loadgen"), &small)?;
    shell::run(Command::new("strip").arg(&small))?;
    Ok(small)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_told_by_their_names() {
        let check = |name: &str, expected| assert_eq!(part_of(name), expected, "{name}");
        check("gipfel-d-20261122_quickstart_sim_slurm_46fe", Some(Part::Server));
        check("gipfel-20261122_quickstart_sim_slurm_46fe-2", Some(Part::Load));
        check("other", None);
    }
}
