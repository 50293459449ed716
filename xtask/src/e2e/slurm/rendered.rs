//! The files of a dry run: shells read them, and the real Slurm would take each job.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use super::{
    super::world::{self, World, expect_exit},
    site::Site,
};
use crate::shell;

/// Sizes of models by their GPUs and settings.
const SIZES: [(&str, &str); 3] = [
    ("8b", "{ max_model_len: 32768 }"),
    ("70b", "{ tensor_parallel_size: 4 }"),
    ("405b", "{ tensor_parallel_size: 16 }"),
];

/// Further ways to start vLLM.
const WAYS: [(&str, &str); 2] = [
    (
        "ray",
        "{ tensor_parallel_size: 16, distributed_executor_backend: ray }",
    ),
    (
        "draft",
        "{ tensor_parallel_size: 4, speculative_decoding: { draft_model: org/draft, num_speculative_tokens: 5 } }",
    ),
];

/// Every size with every engine that takes several GPUs, load generators in jobs of their own and in the server's.
pub(super) fn play(site: &Site) -> anyhow::Result<()> {
    world::build()?;
    let has_shellcheck = shell::capture(Command::new("sh").args(["-c", "command -v shellcheck"]))?;
    ensure!(
        has_shellcheck.status.success(),
        "`shellcheck` is not there: apt-get install shellcheck"
    );
    for engine in ["vllm", "sglang", "dynamo"] {
        for (name, settings) in SIZES {
            let benchmarker = if name == "8b" { "slurm" } else { "same-job" };
            look_through(site, engine, name, settings, benchmarker)?;
        }
    }
    for (name, settings) in WAYS {
        look_through(site, "vllm", name, settings, "slurm")?;
    }
    site.expect_no_jobs()
}

fn look_through(
    site: &Site,
    engine: &str,
    name: &str,
    settings: &str,
    benchmarker: &str,
) -> anyhow::Result<()> {
    let world = World::new(&format!("slurm-rendered-{engine}-{name}"))?;
    // Images are named, since the profile has them for one engine only.
    let configuration = format!(
        "experiments:\n  - model: org/{name}\n    backend: {engine}\n    deployment: slurm\n    cluster: commands\n    \
         site: clariden\n    image: registry.example.org#engine:1\n    partition: normal\n    scratch_base: /scratch/me\n    \
         benchmarker: {benchmarker}\n    benchmarker_nodes: 2\n    rate_levels: [1]\n    backend_config: {settings}\n"
    );
    world.write("slurm.yaml", &configuration)?;
    let output = shell::capture(&mut world.gipfel(&["run", "slurm.yaml", "--dry-run"]))?;
    expect_exit(&output, 0)?;
    let files = files(&world.results())?;
    let scripts: Vec<&PathBuf> = files
        .iter()
        .filter(|file| !has_ending(file, "json") && !has_ending(file, "toml"))
        .collect();
    for script in &scripts {
        shell::read(Command::new("bash").arg("-n").arg(script))?;
        shell::read(
            Command::new("shellcheck")
                .args(["--shell=bash", "--severity=warning"])
                .arg(script),
        )?;
    }
    let jobs: Vec<&&PathBuf> = scripts.iter().filter(|file| has_ending(file, "sbatch")).collect();
    for job in &jobs {
        let tried = shell::capture(site.command("sbatch").arg("--test-only").arg(job))?;
        let said = String::from_utf8_lossy(&tried.stderr).into_owned();
        ensure!(
            tried.status.success() && said.contains(" to start at "),
            "Slurm does not take {}: {said}",
            job.display()
        );
    }
    let wanted = if benchmarker == "slurm" { 2 } else { 1 };
    ensure!(
        jobs.len() == wanted,
        "{} jobs are in the dry run, {wanted} were expected",
        jobs.len()
    );
    shell::say(&format!(
        "{engine} {name}: {} scripts, {wanted} jobs that Slurm would take",
        scripts.len()
    ));
    Ok(())
}

fn has_ending(file: &Path, ending: &str) -> bool {
    file.extension().is_some_and(|one| one == ending)
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("failed to look into {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
