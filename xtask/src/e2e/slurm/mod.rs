//! A real Slurm on this machine, and the promises of every way to it.

mod campaign;
mod daemon;
mod doctor;
mod faults;
mod firecrest;
mod lives;
mod rendered;
mod run;
mod scene;
mod secrets;
mod site;
mod sshd;

use std::{path::Path, process::Command};

use anyhow::{bail, ensure};

pub(crate) use self::faults::Extent;
use self::{
    firecrest::Firecrest,
    site::{Site, SiteOptions},
    sshd::Sshd,
};
use super::world::{self, World};
use crate::shell;

/// The way of whole campaigns.
const CAMPAIGNS: &str = "campaigns";
/// The way of the doctor, and of a run that is refused.
const DOCTOR: &str = "doctor";
/// The way of the files that a dry run writes.
const RENDERED: &str = "rendered";
/// The way of what lives, from any laptop.
const LIVES: &str = "lives";
/// The way of campaigns that something happens to.
const FAULTS: &str = "faults";

/// What plays a way that has a Slurm of its own, as far as is chosen.
type Play = fn(&Site, &Choice<'_>) -> anyhow::Result<()>;

/// What is played of a Slurm.
pub(crate) struct Choice<'a> {
    /// The ways, one after the other.
    pub(crate) ways: &'a [String],
    /// The promises of the ways; all if it is empty.
    pub(crate) only: &'a [String],
    /// The campaigns; all if it is empty.
    pub(crate) campaigns: &'a [String],
    /// The faults; all if it is empty.
    pub(crate) faults: &'a [String],
    /// Only what fits into CI.
    pub(crate) short: bool,
    /// How far the faults go.
    pub(crate) extent: Extent,
}

/// Plays what was chosen.
pub(crate) fn play(choice: &Choice<'_>) -> anyhow::Result<()> {
    let with_campaigns = |way: &str| way == CAMPAIGNS && !choice.campaigns.is_empty();
    let is_named = |way: &str| with_campaigns(way) || choice.ways.iter().any(|named| named == way);
    let promises: Vec<&String> = choice
        .ways
        .iter()
        .filter(|way| ![CAMPAIGNS, DOCTOR, FAULTS, LIVES, RENDERED].contains(&way.as_str()))
        .collect();
    shell::run(&mut shell::cargo(&[
        "build",
        "--package",
        "firecrest-sim",
        "--bins",
    ]))?;
    if !promises.is_empty() {
        play_promises(&promises, choice.only)?;
    }
    let plays: [(&str, Play); 4] = [
        (DOCTOR, |site, _| doctor::play(site)),
        (RENDERED, |site, _| rendered::play(site)),
        (CAMPAIGNS, |site, choice| {
            campaign::play(site, choice.campaigns, choice.short)
        }),
        (LIVES, |site, _| lives::play(site)),
    ];
    let with_faults = is_named(FAULTS) || !choice.faults.is_empty();
    if with_faults || plays.iter().any(|(way, _)| is_named(way)) {
        world::build()?;
    }
    for (way, play) in plays.into_iter().filter(|(way, _)| is_named(way)) {
        let world = World::new(&format!("slurm-{way}"))?;
        let site = Site::start(&world.folder.join("site"), SiteOptions::default())?;
        play(&site, choice)?;
        site.expect_no_jobs()?;
    }
    if with_faults {
        faults::play(choice.faults, choice.short, choice.extent)?;
    }
    Ok(())
}

/// Plays the promises of these ways, with these or all.
fn play_promises(ways: &[&String], only: &[String]) -> anyhow::Result<()> {
    let mut suite = shell::cargo(&["build", "--package", "gipfel-slurm-backend"]);
    shell::run(suite.args(["--example", "cluster_suite"]))?;
    let world = World::new("slurm")?;
    let site = Site::start(&world.folder.join("site"), SiteOptions::default())?;
    for way in ways {
        play_way(&world, &site, way, only)?;
        site.expect_no_jobs()?;
    }
    drop(site);
    pends_beyond_limits(&world, only)
}

fn play_way(world: &World, site: &Site, way: &str, only: &[String]) -> anyhow::Result<()> {
    let (remote, local) = (
        world.folder.join(way).join("there"),
        world.folder.join(way).join("here"),
    );
    for folder in [&remote, &local] {
        std::fs::create_dir_all(folder)?;
    }
    let mut command = suite(site, way, &remote, &local);
    if !only.is_empty() {
        command.args(["--only", &only.join(",")]);
    }
    match way {
        "commands" => shell::run(command.env("SLURM_CONF", site.configuration())),
        "ssh" => {
            let sshd = Sshd::start(&world.folder.join("sshd"), &site.configuration())?;
            command.args(["--ssh-host", sshd::HOST, "--ssh-config"]);
            let played = shell::run(command.arg(sshd.client_configuration()));
            sshd.stop();
            played
        }
        "firecrest" => {
            let firecrest = Firecrest::start(&remote, &site.configuration())?;
            command
                .args(["--system", firecrest::SYSTEM])
                .envs(&firecrest.variables);
            let played = shell::run(&mut command);
            firecrest.stop()?;
            played
        }
        _ => bail!(
            "`{way}` is no way to a Slurm: commands, ssh, firecrest, doctor, rendered, campaigns, lives, faults"
        ),
    }
}

fn suite(site: &Site, way: &str, remote: &Path, local: &Path) -> Command {
    let mut command = Command::new(shell::target().join("debug/examples/cluster_suite"));
    command.args(["--way", way, "--directory"]).arg(remote);
    command.arg("--local").arg(local);
    command.arg("--operator").arg(site.configuration());
    command
}

/// Where a Slurm does not refuse what it will never run, the job says why it waits.
fn pends_beyond_limits(world: &World, only: &[String]) -> anyhow::Result<()> {
    if !only.is_empty() {
        return Ok(());
    }
    let options = SiteOptions {
        refuses_beyond_limits: false,
        ..SiteOptions::default()
    };
    let site = Site::start(&world.folder.join("lenient"), options)?;
    let (remote, local) = (
        world.folder.join("lenient-there"),
        world.folder.join("lenient-here"),
    );
    for folder in [&remote, &local] {
        std::fs::create_dir_all(folder)?;
    }
    let mut command = suite(&site, "commands", &remote, &local);
    command
        .args(["--only", "hopeless"])
        .env("SLURM_CONF", site.configuration());
    shell::run(&mut command)?;
    site.expect_no_jobs()?;
    let logs = std::fs::read_dir(site.folder().join("logs"))?.count();
    ensure!(logs > 0, "the daemons keep their logs");
    Ok(())
}
