//! `gipfel doctor slurm` with a configuration for the real Slurm, and what `gipfel run` says when that Slurm refuses.

use std::{path::PathBuf, process::Command};

use anyhow::ensure;

use super::{
    super::world::{self, World, expect_exit},
    firecrest::{self, Firecrest},
    scene::load_generator,
    site::Site,
};
use crate::shell;

const CONFIGURATION: &str = "defaults:
  slos: [ttft p95 <= 10s]
  rate_levels: [20]
  cluster: CLUSTER
  site: generic
  scratch_base: SCRATCH/not/yet/there
  partition: normal
  server_time_limit: 00:10:00
  benchmarker_partition: debug
  benchmarker_time_limit: 00:10:00
  port: 0
experiments:
  - model: doctor
    deployment: slurm
    backend: sim
    command: [GIPFEL, sim, --host, '{host}', --port, '{port}', --model, '{model}']
";

/// A change of the configuration, what the doctor says to it, and what to do.
const FAULTS: &[(&str, &str, &str, &str)] = &[
    (
        "partition: normal",
        "partition: gpu",
        "partition `gpu` does not exist on",
        "hint: set `partition`",
    ),
    (
        "benchmarker_partition: debug",
        "benchmarker_partition: gpu",
        "partition `gpu` does not exist on",
        "hint: set `benchmarker_partition`",
    ),
];

/// What only the commands of Slurm tell.
const FAULTS_BY_COMMANDS: &[(&str, &str, &str, &str)] = &[
    (
        "benchmarker_time_limit: 00:10:00",
        "benchmarker_time_limit: 02:00:00",
        "gives at most 01:30:00, and the load generator's job asks for 02:00:00",
        "hint: shorten `benchmarker_time_limit`",
    ),
    (
        "port: 0",
        "port: 0\n  benchmarker_nodes: 5",
        "gives a job at most 4 nodes, and the load generator's job asks for 5",
        "hint: ask for a smaller `benchmarker_nodes`",
    ),
    (
        "port: 0",
        "port: 0\n  constraint: nvme",
        "has the feature `nvme`; there is none",
        "hint: set `constraint`",
    ),
    (
        "port: 0",
        "port: 0\n  reservation: nobodys",
        "has no reservation `nobodys`; there is none",
        "hint: set `reservation`",
    ),
    (
        "port: 0",
        "port: 0\n  sbatch_args: [--gres=nosuch:1]",
        "Invalid generic resource (gres) specification",
        "mend `sbatch_args`",
    ),
    (
        "port: 0",
        "port: 0\n  sbatch_args: [--licenses=nosuch]",
        "Invalid license specification",
        "hint: mend --licenses in `sbatch_args`",
    ),
    (
        "port: 0",
        "port: 0\n  sbatch_args: [--nosuchoption]",
        "unrecognized option",
        "hint: mend `sbatch_args`",
    ),
];

/// The doctor by Slurm's commands and through FirecREST, then a run that is refused.
pub(super) fn play(site: &Site) -> anyhow::Result<()> {
    world::build()?;
    let load_generator = load_generator()?;
    for cluster in ["commands", "firecrest"] {
        let bench = Bench::new(site, cluster, load_generator.clone())?;
        bench.is_well()?;
        let more: &[_] = if cluster == "commands" {
            FAULTS_BY_COMMANDS
        } else {
            &[]
        };
        for (from, to, fault, hint) in FAULTS.iter().chain(more) {
            bench.finds(from, to, fault, hint)?;
        }
        bench.run_is_refused()?;
        bench.end()?;
        site.expect_no_jobs()?;
    }
    Ok(())
}

struct Bench<'a> {
    site: &'a Site,
    world: World,
    cluster: &'a str,
    load_generator: PathBuf,
    firecrest: Option<Firecrest>,
}

impl<'a> Bench<'a> {
    fn new(site: &'a Site, cluster: &'a str, load_generator: PathBuf) -> anyhow::Result<Self> {
        let world = World::new(&format!("slurm-doctor-{cluster}"))?;
        let scratch = world.folder.join("scratch");
        std::fs::create_dir_all(&scratch)?;
        let firecrest = if cluster == "firecrest" {
            Some(Firecrest::start(
                &std::path::absolute(scratch)?,
                &site.configuration(),
            )?)
        } else {
            None
        };
        Ok(Self {
            site,
            world,
            cluster,
            load_generator,
            firecrest,
        })
    }

    fn end(self) -> anyhow::Result<()> {
        self.firecrest.map_or(Ok(()), Firecrest::stop)
    }

    fn gipfel(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.gipfel(arguments);
        command.arg("--loadgen").arg(&self.load_generator);
        match &self.firecrest {
            Some(firecrest) => command
                .envs(&firecrest.variables)
                .env("FIRECREST_SYSTEM", firecrest::SYSTEM),
            None => command.env("SLURM_CONF", self.site.configuration()),
        };
        command
    }

    fn write(&self, from: &str, to: &str) -> anyhow::Result<()> {
        ensure!(CONFIGURATION.contains(from), "the configuration has no `{from}`");
        let scratch = std::path::absolute(self.world.folder.join("scratch"))?;
        let text = CONFIGURATION
            .replacen(from, to, 1)
            .replace("CLUSTER", self.cluster)
            .replace("SCRATCH", &scratch.to_string_lossy())
            .replace("GIPFEL", &world::program().to_string_lossy());
        self.world.write("slurm.yaml", &text)
    }

    /// What the doctor prints, who leaves nothing behind.
    fn doctor(&self, code: i32) -> anyhow::Result<String> {
        let files = || anyhow::Ok(std::fs::read_dir(self.world.folder.join("scratch"))?.count());
        let before = files()?;
        let output = shell::capture(&mut self.gipfel(&["doctor", "slurm", "slurm.yaml"]))?;
        expect_exit(&output, code)?;
        let left = files()?.saturating_sub(before);
        ensure!(left == 0, "the doctor has left {left} files behind");
        let jobs = self.site.jobs()?;
        ensure!(jobs.trim().is_empty(), "the doctor has submitted {jobs}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn is_well(&self) -> anyhow::Result<()> {
        self.write("port: 0", "port: 0")?;
        let printed = self.doctor(0)?;
        shell::say(&printed);
        for part in [
            "reach",
            "scratch",
            "partition",
            "sbatch",
            "program",
            "load",
            "cost",
        ] {
            let is_told = printed
                .lines()
                .any(|line| line.get(7..).is_some_and(|rest| rest.starts_with(part)));
            ensure!(is_told, "the doctor says nothing of `{part}`:\n{printed}");
        }
        Ok(())
    }

    fn finds(&self, from: &str, to: &str, fault: &str, hint: &str) -> anyhow::Result<()> {
        self.write(from, to)?;
        let printed = self.doctor(14)?;
        shell::say(
            &printed
                .lines()
                .filter(|line| line.starts_with("fault") || line.contains("hint: "))
                .collect::<Vec<_>>()
                .join("\n"),
        );
        for words in [fault, hint] {
            ensure!(
                printed.contains(words),
                "the doctor does not say `{words}`:\n{printed}"
            );
        }
        Ok(())
    }

    /// Slurm refuses the server's job, and gipfel says what to do.
    fn run_is_refused(&self) -> anyhow::Result<()> {
        self.write("partition: normal", "partition: gpu")?;
        let output =
            shell::capture(&mut self.gipfel(&["run", "slurm.yaml", "--no-live", "--poll-interval", "2"]))?;
        expect_exit(&output, 11)?;
        let said =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        shell::say(&said);
        for words in [
            "Slurm refuses the server's job: partition `gpu` does not exist on",
            "it has normal, debug",
            "hint: set `partition`",
        ] {
            ensure!(said.contains(words), "the run does not say `{words}`:\n{said}");
        }
        Ok(())
    }
}
