//! `gipfel run` with servers and load generators as jobs of the real Slurm.

use std::time::Duration;

use anyhow::{bail, ensure};

use super::{
    scene::{Part, Scene, Terms},
    secrets,
    site::Site,
};
use crate::{
    e2e::{
        llamacpp,
        world::{self, number},
    },
    shell,
};

const LIMIT: Duration = Duration::from_mins(5);

/// A campaign's name, whether it is one of the short set, and what plays it.
type Campaign = (&'static str, bool, fn(&Site) -> anyhow::Result<()>);

const CAMPAIGNS: &[Campaign] = &[
    ("two-nodes", true, two_nodes),
    ("secrets", true, secrets::play),
    ("commands-slurm", false, |site| by(site, "commands", "slurm")),
    ("commands-same-job", false, |site| {
        by(site, "commands", "same-job")
    }),
    ("ssh-slurm", false, |site| by(site, "ssh", "slurm")),
    ("ssh-same-job", false, |site| by(site, "ssh", "same-job")),
    ("firecrest-slurm", false, |site| by(site, "firecrest", "slurm")),
    ("firecrest-same-job", false, |site| {
        by(site, "firecrest", "same-job")
    }),
    ("two-at-once", false, two_at_once),
    ("two-ranks", false, two_ranks),
    ("llamacpp", false, llama),
];

/// Runs the named campaigns, those of the short set, or all.
pub(super) fn play(site: &Site, named: &[String], short: bool) -> anyhow::Result<()> {
    let is_known = |name: &&String| CAMPAIGNS.iter().any(|(known, ..)| known == name);
    if let Some(unknown) = named.iter().find(|name| !is_known(name)) {
        let known: Vec<&str> = CAMPAIGNS.iter().map(|(name, ..)| *name).collect();
        bail!("there is no campaign `{unknown}`, only {}", known.join(", "));
    }
    for (name, in_short, play) in CAMPAIGNS {
        let is_chosen = if named.is_empty() {
            *in_short || !short
        } else {
            named.iter().any(|one| one == name)
        };
        if is_chosen {
            play(site)?;
        }
    }
    Ok(())
}

/// A server and a load generator by this way, the load generator at this place.
fn by(site: &Site, way: &'static str, benchmarker: &'static str) -> anyhow::Result<()> {
    let terms = Terms {
        way,
        benchmarker,
        ..Terms::default()
    };
    measure(&format!("{way}-{benchmarker}"), site, terms, 1)
}

/// Two servers live at once, each with a load of its own.
fn two_at_once(site: &Site) -> anyhow::Result<()> {
    let terms = Terms {
        twice: true,
        ..Terms::default()
    };
    measure("two-at-once", site, terms, 2)
}

/// The load comes from two nodes.
fn two_nodes(site: &Site) -> anyhow::Result<()> {
    let terms = Terms {
        lines: vec!["benchmarker_nodes: 2".to_owned()],
        ..Terms::default()
    };
    measure("two-nodes", site, terms, 1)
}

/// The server has two nodes, of which the first one answers.
fn two_ranks(site: &Site) -> anyhow::Result<()> {
    let gipfel = world::program();
    let words = format!(
        "case \" $* \" in *\" --headless \"*) exec sleep 600 ;; *) exec {} sim --host \"$0\" --port \"$1\" --model quickstart ;; esac",
        gipfel.display()
    );
    let terms = Terms {
        backend: "vllm",
        command: Some(format!("[bash, -c, '{words}', '{{host}}', '{{port}}']")),
        lines: vec!["backend_config: { tensor_parallel_size: 8 }".to_owned()],
        ..Terms::default()
    };
    measure("two-ranks", site, terms, 1)
}

/// The server is a real one with a small model.
fn llama(site: &Site) -> anyhow::Result<()> {
    let folder = shell::target().join("e2e-downloads/slurm");
    let (server, model) = match llamacpp::prepare(&folder) {
        Ok(prepared) => prepared,
        Err(error) => {
            shell::say(&format!(
                "campaign llamacpp: left out: server or model cannot be had: {error:#}"
            ));
            return Ok(());
        }
    };
    let terms = Terms {
        backend: "llamacpp",
        rates: &[1, 2],
        lengths: (8, 8),
        command: Some(format!(
            "[{}, --model, {}, --alias, '{{model}}', --host, '{{host}}', --port, '{{port}}', --threads, '1', \
             --threads-batch, '1', --parallel, '8', --ctx-size, '8192', --metrics]",
            server.display(),
            model.display()
        )),
        ..Terms::default()
    };
    let scene = Scene::new("llamacpp", site, terms)?;
    let ended = scene.run()?.end(LIMIT)?;
    // A dozen requests carry no percentile.
    ended.expect(12)?;
    scene.expect_all_measured()?;
    scene.expect_nothing_left()?;
    let requests = completed(&scene)?;
    ensure!(requests >= 10, "only {requests} requests were completed");
    shell::say(&format!("campaign llamacpp: as expected: {requests} requests"));
    scene.close()
}

fn measure(name: &str, site: &Site, terms: Terms, jobs: usize) -> anyhow::Result<()> {
    let scene = Scene::new(name, site, terms)?;
    let ended = scene.run()?.end(LIMIT)?;
    ended.expect(0)?;
    scene.expect_all_measured()?;
    scene.expect_nothing_left()?;
    scene.expect_jobs(Part::Server, jobs)?;
    if scene.terms.benchmarker == "slurm" {
        scene.expect_jobs(Part::Load, jobs)?;
    }
    let requests = completed(&scene)?;
    ensure!(requests > 50, "only {requests} requests were completed");
    shell::say(&format!("campaign {name}: as expected: {requests} requests"));
    scene.close()
}

fn completed(scene: &Scene<'_>) -> anyhow::Result<i64> {
    number(
        &scene.world.results().join("results.db"),
        "SELECT count(*) FROM request WHERE outcome = 0",
    )
}
