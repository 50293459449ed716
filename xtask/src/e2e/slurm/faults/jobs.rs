//! What happens to jobs: walltimes, cancels, nodes, memory.

use anyhow::ensure;

use super::{
    super::{
        scene::{Part, Scene, Terms},
        site::Site,
    },
    Extent, LONG, expect_untouched, scene,
};
use crate::shell;

/// More than fits into a job of a minute.
const LONG_RATES: &[u32] = &[20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30];
/// More than two minutes of levels: Slurm looks at the time of jobs once a minute.
const LONGER_RATES: &[u32] = &[
    20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44,
];

/// The load generator leaves before its job's walltime, and another job goes on with the rest.
pub(super) fn walltime_of_load(site: &Site, _: Extent) -> anyhow::Result<String> {
    let terms = Terms {
        rates: LONG_RATES,
        load_time: "00:01:00",
        ..Terms::default()
    };
    let scene = scene("walltime-load", site, terms)?;
    let ended = scene.run()?.end(LONG)?;
    ended.expect(0)?;
    let said = ended.expect_said("the job's time is nearly up")?;
    scene.expect_all_measured()?;
    scene.expect_nothing_left()?;
    let jobs = scene.submitted(Part::Load)?;
    ensure!(jobs == 2, "{jobs} jobs measured what takes two");
    let timeouts = ended_as(&scene, "TIMEOUT")?;
    ensure!(timeouts == 0, "{timeouts} jobs were ended by Slurm");
    scene.close()?;
    Ok(format!(
        "{jobs} jobs one after another, exit 0, all levels: {said}"
    ))
}

/// The server's job is ended by Slurm; what was measured is kept.
pub(super) fn walltime_of_server(site: &Site, _: Extent) -> anyhow::Result<String> {
    let terms = Terms {
        rates: LONGER_RATES,
        server_time: "00:01:00",
        ..Terms::default()
    };
    let scene = scene("walltime-server", site, terms)?;
    let ended = scene.run()?.end(LONG)?;
    ended.expect(11)?;
    let said = ended.expect_said("reached its walltime of 1m")?;
    ended.expect_said("server_time_limit")?;
    kept(scene, 2, &said)
}

/// The load generator lives in the server's job and leaves before its walltime; no further job can go on there.
pub(super) fn walltime_of_both(site: &Site, _: Extent) -> anyhow::Result<String> {
    let terms = Terms {
        benchmarker: "same-job",
        rates: LONG_RATES,
        server_time: "00:01:00",
        ..Terms::default()
    };
    let scene = scene("walltime-both", site, terms)?;
    let ended = scene.run()?.end(LONG)?;
    ended.expect(11)?;
    let said = ended.expect_said("failed: time-limit")?;
    ended.expect_said("server_time_limit")?;
    kept(scene, 3, &said)
}

/// Somebody cancels the server's job.
pub(super) fn cancelled_server(site: &Site, _: Extent) -> anyhow::Result<String> {
    cancelled(site, Part::Server)
}

/// Somebody cancels the load generator's job.
pub(super) fn cancelled_load(site: &Site, _: Extent) -> anyhow::Result<String> {
    cancelled(site, Part::Load)
}

fn cancelled(site: &Site, part: Part) -> anyhow::Result<String> {
    let name = format!("cancelled-{part:?}").to_lowercase();
    let scene = scene(&name, site, Terms::default())?;
    let mut run = scene.run()?;
    scene.wait_for_levels(&mut run, 1)?;
    let job = scene.wait_for_job(&mut run, part)?;
    shell::read(site.command("scancel").arg(&job.id))?;
    let ended = run.end(LONG)?;
    ended.expect(11)?;
    let said = ended.expect_said("was cancelled")?;
    scene.expect_jobs(part, 1)?;
    scene.expect_measured(1)?;
    scene.expect_nothing_left()?;
    let measured = scene.measured()?;
    scene.resume()?.end(LONG)?.expect(0)?;
    scene.expect_all_measured()?;
    scene.expect_nothing_left()?;
    scene.close()?;
    Ok(format!(
        "exit 11, levels kept: {measured}, resumed to exit 0 and all levels: {said}"
    ))
}

/// The node of the server dies; what was measured is kept.
pub(super) fn node_of_server(site: &Site, _: Extent) -> anyhow::Result<String> {
    let scene = scene("node-of-server", site, Terms::default())?;
    let mut run = scene.run()?;
    scene.wait_for_levels(&mut run, 1)?;
    let job = scene.wait_for_job(&mut run, Part::Server)?;
    site.set_node(&job.nodes, "down")?;
    site.kill_job(&job.id);
    let ended = run.end(LONG)?;
    ended.expect(11)?;
    let said = ended.expect_said(&format!("when a node failed ({})", job.nodes))?;
    kept(scene, 1, &said)
}

/// The node of the load generator dies, and it goes on elsewhere with what was published.
pub(super) fn node_of_load(site: &Site, _: Extent) -> anyhow::Result<String> {
    let scene = scene("node-of-load", site, Terms::default())?;
    let mut run = scene.run()?;
    scene.wait_for_levels(&mut run, 1)?;
    let job = scene.wait_for_job(&mut run, Part::Load)?;
    site.set_node(&job.nodes, "down")?;
    site.kill_job(&job.id);
    let ended = run.end(LONG)?;
    ended.expect(0)?;
    let said = ended.expect_said("when a node failed")?;
    scene.expect_jobs(Part::Server, 1)?;
    scene.expect_jobs(Part::Load, 2)?;
    scene.expect_all_measured()?;
    scene.expect_nothing_left()?;
    scene.close()?;
    Ok(format!("a second job went on, exit 0, all levels: {said}"))
}

/// The server says that its memory is full, and ends.
pub(super) fn out_of_memory(site: &Site, _: Extent) -> anyhow::Result<String> {
    let words = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.";
    let terms = Terms {
        backend: "vllm",
        command: Some(format!("[bash, -c, 'echo {words} >&2; exit 1']")),
        ..Terms::default()
    };
    let scene = scene("out-of-memory", site, terms)?;
    let ended = scene.run()?.end(LONG)?;
    ended.expect(11)?;
    let said = ended.expect_said("CUDA out of memory")?;
    ended.expect_said("lower `max_model_len`")?;
    scene.expect_jobs(Part::Server, 1)?;
    kept(scene, 0, &said)
}

/// Ours are not to be requeued: Slurm refuses, and the campaign does not notice.
pub(super) fn requeue(site: &Site, _: Extent) -> anyhow::Result<String> {
    let scene = scene("requeue", site, Terms::default())?;
    let mut run = scene.run()?;
    scene.wait_for_levels(&mut run, 1)?;
    for part in [Part::Server, Part::Load] {
        let job = scene.wait_for_job(&mut run, part)?;
        let answer = shell::capture(site.command("scontrol").args(["requeue", &job.id]))?;
        ensure!(!answer.status.success(), "the job of the {part:?} was requeued");
    }
    let ended = run.end(LONG)?;
    ended.expect(0)?;
    expect_untouched(&scene)?;
    scene.close()?;
    Ok("Slurm refuses it, exit 0, all levels".to_owned())
}

/// What remains to be looked at where a campaign failed.
fn kept(scene: Scene<'_>, levels: usize, said: &str) -> anyhow::Result<String> {
    scene.expect_measured(levels)?;
    scene.expect_nothing_left()?;
    let measured = scene.measured()?;
    scene.close()?;
    Ok(format!("exit 11, levels kept: {measured}: {said}"))
}

/// How many jobs of a scene ended in this state.
fn ended_as(scene: &Scene<'_>, state: &str) -> anyhow::Result<usize> {
    let text = shell::read(
        scene
            .site
            .command("scontrol")
            .args(["--oneliner", "show", "jobs"]),
    )?;
    let scratch = format!("{}/", scene.scratch().display());
    let state = format!(" JobState={state} ");
    let found = text
        .lines()
        .filter(|line| line.contains(&scratch) && line.contains(&state));
    Ok(found.count())
}
