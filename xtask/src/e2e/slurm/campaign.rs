//! `gipfel run` with a server and a load generator as jobs of the real Slurm.

use std::time::Duration;

use anyhow::ensure;

use super::{
    scene::{Scene, Terms},
    site::Site,
};
use crate::{e2e::world::number, shell};

/// Runs a campaign by Slurm's commands and through FirecREST, each with both places of the load generator.
pub(super) fn play(site: &Site) -> anyhow::Result<()> {
    for way in ["commands", "firecrest"] {
        for benchmarker in ["slurm", "same-job"] {
            let terms = Terms {
                way,
                benchmarker,
                ..Terms::default()
            };
            measure(&format!("{way}-{benchmarker}"), site, terms)?;
        }
    }
    Ok(())
}

fn measure(name: &str, site: &Site, terms: Terms) -> anyhow::Result<()> {
    let scene = Scene::new(name, site, terms)?;
    let ended = scene.run()?.end(Duration::from_mins(4))?;
    ended.expect(0)?;
    scene.expect_all_measured()?;
    scene.expect_nothing_left()?;
    let requests = number(
        &scene.world.results().join("results.db"),
        "SELECT count(*) FROM request WHERE outcome = 0",
    )?;
    ensure!(requests > 50, "only {requests} requests were completed");
    shell::say(&format!("campaign {name}: as expected: {requests} requests"));
    scene.close()
}
