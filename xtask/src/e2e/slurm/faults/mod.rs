//! Faults of a campaign on a real Slurm: each ends in the right state, with nothing left and what was measured kept.

mod cluster;
mod jobs;
mod kills;
mod lines;

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

use super::{
    scene::{Part, Scene, Terms},
    site::{NODES, Site, SiteOptions},
};
use crate::{e2e::world::World, shell};

/// How far the faults go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// How long something stays away.
    pub(crate) away: Duration,
    /// How often gipfel is killed.
    pub(crate) kills: u32,
    /// The seed of the moments of the kills.
    pub(crate) seed: u64,
}

/// One thing that goes wrong.
struct Fault {
    name: &'static str,
    /// Whether it is one of the short set.
    in_short: bool,
    /// The Slurm on which it is played.
    options: Option<SiteOptions>,
    /// Plays it, and says what came of it.
    play: fn(&Site, Extent) -> anyhow::Result<String>,
}

const fn fault(
    name: &'static str,
    in_short: bool,
    play: fn(&Site, Extent) -> anyhow::Result<String>,
) -> Fault {
    Fault {
        name,
        in_short,
        options: None,
        play,
    }
}

impl Fault {
    /// The same on a Slurm of its own.
    const fn at(self, options: SiteOptions) -> Self {
        Self {
            options: Some(options),
            ..self
        }
    }
}

/// A controller that forgets a job that has ended as soon as it can.
const FORGETS: SiteOptions = SiteOptions {
    refuses_beyond_limits: true,
    remembers: Duration::from_secs(2),
};

const FAULTS: &[Fault] = &[
    fault("walltime-load", true, jobs::walltime_of_load),
    fault("walltime-server", false, jobs::walltime_of_server),
    fault("walltime-both", false, jobs::walltime_of_both),
    fault("cancelled-server", false, jobs::cancelled_server),
    fault("cancelled-load", false, jobs::cancelled_load),
    fault("node-of-server", false, jobs::node_of_server),
    fault("node-of-load", true, jobs::node_of_load),
    fault("killed", true, kills::killed),
    fault("submit-cut", true, lines::submit_cut),
    fault("firecrest-away", true, lines::firecrest_away),
    fault("token-expired", false, lines::token_expired),
    fault("controller-paused", false, cluster::controller_paused),
    fault("forgotten", false, cluster::forgotten).at(FORGETS),
    fault("out-of-memory", true, jobs::out_of_memory),
    fault("requeue", false, jobs::requeue),
    fault("download-cut", false, lines::download_cut),
    fault("disk-full", false, cluster::disk_full),
];

/// Plays the named faults, the short set, or all, and says of each what came of it.
pub(crate) fn play(named: &[String], short: bool, extent: Extent) -> anyhow::Result<()> {
    if let Some(unknown) = named
        .iter()
        .find(|name| FAULTS.iter().all(|fault| fault.name != **name))
    {
        let known: Vec<&str> = FAULTS.iter().map(|fault| fault.name).collect();
        bail!("there is no fault `{unknown}`, only {}", known.join(", "));
    }
    let chosen: Vec<&Fault> = FAULTS
        .iter()
        .filter(|fault| {
            if named.is_empty() {
                fault.in_short || !short
            } else {
                named.iter().any(|name| name == fault.name)
            }
        })
        .collect();
    let name = chosen.first().map_or("none", |fault| fault.name);
    let world = World::new(&format!("slurm-faults-from-{name}"))?;
    let mut usual: Option<Site> = None;
    let mut wrong = Vec::new();
    for fault in chosen {
        let own = fault
            .options
            .map(|options| Site::start(&world.folder.join(fault.name), options))
            .transpose()?;
        let site = match (&own, &usual) {
            (Some(site), _) | (None, Some(site)) => site,
            (None, None) => usual.insert(Site::start(&world.folder.join("site"), SiteOptions::default())?),
        };
        let begun = Instant::now();
        let came = (fault.play)(site, extent);
        let seconds = begun.elapsed().as_secs();
        match came {
            Ok(words) => shell::say(&format!(
                "fault {}: as expected: {words} ({seconds} s)",
                fault.name
            )),
            Err(error) => {
                shell::say(&format!("fault {}: WRONG ({seconds} s): {error:#}", fault.name));
                wrong.push(fault.name);
            }
        }
        set_right(site);
    }
    ensure!(wrong.is_empty(), "wrong: {}", wrong.join(", "));
    Ok(())
}

/// Makes the Slurm whole again for the next fault.
fn set_right(site: &Site) {
    // What is not wrong cannot be set right: a node that is up refuses to be resumed.
    let _ = site.signal("slurmctld", "CONT");
    for node in NODES {
        let _ = site.set_node(node, "resume");
    }
    site.end_jobs();
}

/// The limit of a campaign's time, with all that goes wrong in it.
const LONG: Duration = Duration::from_mins(6);

/// A scene of a fault.
fn scene<'a>(name: &str, site: &'a Site, terms: Terms) -> anyhow::Result<Scene<'a>> {
    Scene::new(&format!("fault-{name}"), site, terms)
}

/// One job of each kind, every level measured once, nothing left.
fn expect_untouched(scene: &Scene<'_>) -> anyhow::Result<()> {
    scene.expect_jobs(Part::Server, 1)?;
    scene.expect_jobs(Part::Load, 1)?;
    scene.expect_all_measured()?;
    scene.expect_nothing_left()
}
