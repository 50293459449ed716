//! What happens on the way to the cluster: FirecREST away, answers cut, tokens expired.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{
    super::{
        firecrest::{SYSTEM, Scheduler},
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
    firecrest.order("POST", "failures", order)?;
    Ok(())
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
    let told = if ended.said.contains("onnection refused") {
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

/// Slurm ends the server's job for its memory. Here a scheduler of the simulator does, since Slurm would need control
/// groups for it.
pub(super) fn ended_for_memory(site: &Site, _: Extent) -> anyhow::Result<String> {
    let terms = Terms {
        way: "firecrest",
        scheduler: Scheduler::Own,
        ..Terms::default()
    };
    let scene = scene("ended-for-memory", site, terms)?;
    let mut run = scene.run()?;
    scene.wait_for_levels(&mut run, 1)?;
    let firecrest = scene.firecrest.as_ref().context("there is no FirecREST")?;
    let job = server_job(&firecrest.order("GET", "jobs", &json!({}))?).context("there is no server")?;
    firecrest.order(
        "PUT",
        "job",
        &json!({"cluster": SYSTEM, "job": job, "state": "OUT_OF_MEMORY"}),
    )?;
    let ended = run.end(LONG)?;
    ended.expect(11)?;
    let said = ended.expect_said("out-of-memory: the server's job")?;
    scene.expect_measured(1)?;
    let living = firecrest.order("GET", "jobs", &json!({}))?;
    ensure!(
        !living.contains("RUNNING") && !living.contains("PENDING"),
        "jobs are left: {living}"
    );
    scene.expect_nothing_left()?;
    let measured = scene.measured()?;
    scene.close()?;
    Ok(format!("exit 11, levels kept: {measured}: {said}"))
}

/// The number of the server's job in what the simulator tells of its jobs.
fn server_job(answer: &str) -> Option<u64> {
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let jobs: Vec<Value> = serde_json::from_str(body).ok()?;
    let server = jobs.iter().find(|job| {
        let name = job["name"].as_str();
        name.is_some_and(|name| name.starts_with("gipfel-d-"))
    });
    server?["id"].as_str()?.parse().ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_job_is_found() {
        let check = |body: &str, expected| {
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{body}");
            assert_eq!(server_job(&answer), expected, "{body}");
        };
        check("[]", None);
        check(r#"[{"id": "1", "name": "gipfel-2026_m"}]"#, None);
        check(
            r#"[{"id": "1", "name": "gipfel-2026_m"}, {"id": "2", "name": "gipfel-d-2026_m"}]"#,
            Some(2),
        );
    }
}
