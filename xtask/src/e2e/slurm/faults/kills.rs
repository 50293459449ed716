//! `kill -9` of gipfel at random moments, then `resume`.

use std::time::Duration;

use super::{
    super::{
        run::Run,
        scene::{Part, Scene, Terms},
        site::Site,
    },
    Extent, LONG, expect_untouched, scene,
};
use crate::e2e::{kill::Moments, world::wait_for};

/// A gipfel is killed at a moment within this time after its start, which is about as long as a whole campaign takes.
const WITHIN: Duration = Duration::from_secs(36);

/// Kills gipfel as often as is wanted, in as many campaigns as it takes; each comes to the same as an undisturbed one.
pub(super) fn killed(site: &Site, extent: Extent) -> anyhow::Result<String> {
    let mut moments = Moments(extent.seed);
    let (mut kills, mut campaigns) = (0, 0);
    while kills < extent.kills {
        campaigns += 1;
        let scene = scene(&format!("killed-{campaigns}"), site, Terms::default())?;
        kills += one_campaign(&scene, &mut moments, extent.kills - kills)?;
        expect_untouched(&scene)?;
        scene.close()?;
    }
    Ok(format!(
        "{kills} kills in {campaigns} campaigns, one job of each in every one, all levels"
    ))
}

/// Drives a campaign to its end with at most so many kills, and tells how many there were.
fn one_campaign(scene: &Scene<'_>, moments: &mut Moments, most: u32) -> anyhow::Result<u32> {
    let mut kills = 0;
    let mut run = scene.run()?;
    while kills < most {
        let after = moments.next(WITHIN);
        // Its end is looked for on the way to the moment.
        if wait_for("the end of gipfel", after, || run.has_ended().then_some(())).is_ok() {
            break;
        }
        run.kill()?;
        kills += 1;
        run = go_on(scene)?;
    }
    run.end(LONG)?.expect(0)?;
    Ok(kills)
}

/// Takes the campaign up; one that was killed before it was in the journal begins anew.
fn go_on(scene: &Scene<'_>) -> anyhow::Result<Run> {
    let in_journal = scene
        .world
        .results()
        .is_dir()
        .then(|| scene.world.find("state", ".json"))
        .transpose()?;
    if in_journal.is_none_or(|found| found.is_empty()) && scene.jobs(Part::Server).is_empty() {
        return scene.run();
    }
    scene.resume()
}
