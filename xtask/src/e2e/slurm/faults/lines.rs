//! What happens on the way to the cluster: FirecREST away, answers cut, tokens expired.

use anyhow::Context;
use serde_json::json;

use super::{
    super::{
        scene::{Part, Scene, Terms},
        site::Site,
    },
    Extent, LONG, expect_untouched, scene,
};
use crate::e2e::world::pause;

fn by_firecrest<'a>(name: &str, site: &'a Site) -> anyhow::Result<Scene<'a>> {
    let terms = Terms {
        way: "firecrest",
        ..Terms::default()
    };
    scene(name, site, terms)
}

fn order(scene: &Scene<'_>, order: &serde_json::Value) -> anyhow::Result<()> {
    let firecrest = scene.firecrest.as_ref().context("there is no FirecREST")?;
    firecrest.fail(order)
}

/// Both submissions reach Slurm and their answers are cut: there is one job of each all the same.
pub(super) fn submit_cut(site: &Site, _: Extent) -> anyhow::Result<String> {
    let scene = by_firecrest("submit-cut", site)?;
    order(
        &scene,
        &json!({"failure": {"kind": "cut-after"}, "count": 2,
            "target": {"method": "POST", "path": "/compute/*/jobs"}}),
    )?;
    let ended = scene.run()?.end(LONG)?;
    ended.expect(0)?;
    expect_untouched(&scene)?;
    scene.close()?;
    Ok("one job of each, exit 0, all levels".to_owned())
}

/// FirecREST goes away while levels are measured, and comes back.
pub(super) fn firecrest_away(site: &Site, extent: Extent) -> anyhow::Result<String> {
    let mut scene = by_firecrest("firecrest-away", site)?;
    let mut run = scene.run()?;
    scene.wait_for_levels(&mut run, 1)?;
    let firecrest = scene.firecrest.take().context("there is no FirecREST")?;
    let port = firecrest.port()?;
    firecrest.kill()?;
    pause(extent.away);
    scene.start_firecrest(Some(port))?;
    let ended = run.end(LONG)?;
    ended.expect(0)?;
    expect_untouched(&scene)?;
    scene.close()?;
    let told = if ended.said.contains("the call was not answered") {
        ", which gipfel said"
    } else {
        ""
    };
    Ok(format!(
        "{} s away{told}, exit 0, all levels",
        extent.away.as_secs()
    ))
}

/// Tokens live shortly, and some are refused before their time.
pub(super) fn token_expired(site: &Site, _: Extent) -> anyhow::Result<String> {
    let terms = Terms {
        way: "firecrest",
        rates: &[20, 21, 22, 23, 24, 25, 26],
        // Slurm's part of the server refuses tokens that end within half a minute.
        firecrest: &["--token-life", "40s"],
        ..Terms::default()
    };
    let scene = scene("token-expired", site, terms)?;
    // A fresh token that is refused too would be no expired one.
    for skip in [5, 60] {
        order(
            &scene,
            &json!({"failure": {"kind": "expired-token"}, "skip": skip, "count": 1}),
        )?;
    }
    let ended = scene.run()?.end(LONG)?;
    ended.expect(0)?;
    expect_untouched(&scene)?;
    scene.close()?;
    Ok("tokens of 40 s, and two refused: exit 0, all levels".to_owned())
}

/// Downloads are cut in the middle.
pub(super) fn download_cut(site: &Site, _: Extent) -> anyhow::Result<String> {
    let scene = by_firecrest("download-cut", site)?;
    let mut run = scene.run()?;
    scene.wait_for_job(&mut run, Part::Load)?;
    for path in ["/filesystem/*/ops/download", "/filesystem/*/ops/view"] {
        order(
            &scene,
            &json!({"failure": {"kind": "cut-body"}, "count": 4,
                "target": {"method": "GET", "path": path}}),
        )?;
    }
    let ended = run.end(LONG)?;
    ended.expect(0)?;
    expect_untouched(&scene)?;
    scene.close()?;
    Ok("four answers of each kind cut, exit 0, all levels".to_owned())
}
