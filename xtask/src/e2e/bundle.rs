//! The load generators for clusters, run without one: the foreign one by qemu, the image's file system by chroot.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{
    image,
    quickstart::Simulator,
    world::{World, expect_exit, number, query},
};
use crate::{
    bundle::{self, Arch},
    shell,
};

/// Plays with the bundles that `cargo xtask bundle` has made.
pub(crate) fn play() -> anyhow::Result<()> {
    let world = World::new("bundle")?;
    let aarch64 = unpack(&world, Arch::Aarch64)?;
    let x86_64 = unpack(&world, Arch::X86_64)?;
    let emulated = emulated(&world, &aarch64)?;
    self_test(&mut Command::new(&emulated), "aarch64")?;
    if std::env::consts::ARCH == "x86_64" {
        self_test(&mut Command::new(x86_64.join("gipfel-loadgen")), "x86_64")?;
        self_test(
            &mut image::command(&x86_64, &world.folder.join("image"))?,
            "x86_64 in the image",
        )?;
        measure(&world, &x86_64.join("gipfel-loadgen"), &x86_64)?;
    }
    measure(&world, &emulated, &aarch64)
}

/// The folder of an unpacked bundle.
fn unpack(world: &World, arch: Arch) -> anyhow::Result<PathBuf> {
    let folder = world.folder.join(arch.target());
    fs::create_dir_all(&folder)?;
    let archive = bundle::archive(arch);
    shell::read(
        Command::new("tar")
            .arg("xzf")
            .arg(&archive)
            .arg("-C")
            .arg(&folder),
    )
    .context("hint: `cargo xtask bundle` comes first")?;
    Ok(folder)
}

/// A program for this machine that is the one for another.
fn emulated(world: &World, folder: &Path) -> anyhow::Result<PathBuf> {
    let path = world.folder.join("gipfel-loadgen-aarch64");
    let program = folder.join("gipfel-loadgen");
    let script = format!("#!/bin/sh\nexec qemu-aarch64 '{}' \"$@\"\n", program.display());
    fs::write(&path, script)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    shell::read(Command::new("qemu-aarch64").arg("--version"))
        .context("hint: the emulator is Debian's package qemu-user")?;
    Ok(path)
}

fn self_test(command: &mut Command, what: &str) -> anyhow::Result<()> {
    let output = shell::capture(command.arg("--self-test"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    shell::say(&format!("self-test of {what}:\n{text}"));
    // An emulator may be too slow for the timer, and says so; everything else must be there.
    let faults: Vec<&str> = text.lines().filter(|line| line.starts_with("fault")).collect();
    ensure!(
        faults.iter().all(|line| line.contains(" timer ")),
        "the self-test of {what} found faults: {faults:?}"
    );
    ensure!(
        text.lines().count() > 1,
        "the self-test of {what} printed nothing: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

const CONFIGURATION: &str = "version: 1
defaults:
  slos: [ttft p95 <= 2s]
  rate_levels: [8]
  warmup_duration: 2s
  measurement_duration: 20s
dataset:
  input_length: 32
  output_length: 16
experiments:
  - model: quickstart
    deployment: external
    backend: openai
    url: URL
";

/// A level measured by this load generator; its database is merged and summarised by gipfel.
fn measure(world: &World, program: &Path, folder: &Path) -> anyhow::Result<()> {
    let results = world.results();
    if results.exists() {
        fs::remove_dir_all(&results)?;
    }
    let simulator = Simulator::start(world, &["--profile", "quickstart"])?;
    world.write("bundle.yaml", &CONFIGURATION.replace("URL", &simulator.url))?;
    let mut command = world.gipfel(&["run", "bundle.yaml", "--loadgen"]);
    let output = shell::capture(command.arg(program))?;
    shell::say(&String::from_utf8_lossy(&output.stdout));
    expect_exit(&output, 0)?;
    let summary = shell::read(&mut world.gipfel(&["results", "summary", "--json"]))?;
    let summary: Value = serde_json::from_str(&summary).context("the summary is no JSON")?;
    let verdict = &summary["runs"][0]["levels"][0]["verdict"]["verdict"];
    ensure!(verdict == "accept", "the level's verdict is {verdict}");

    let database = results.join("results.db");
    let completed = number(&database, "SELECT count(*) FROM request WHERE outcome = 0")?;
    ensure!(completed > 100, "only {completed} requests were recorded");
    let manifest = fs::read_to_string(folder.join("manifest.json"))?;
    let manifest: Value = serde_json::from_str(&manifest)?;
    let rows = query(
        &database,
        "SELECT value FROM provenance WHERE name = 'loadgen_sha256'",
    )?;
    ensure!(
        rows.first().is_some_and(|row| row["value"] == manifest["sha256"]),
        "the database says {rows:?} of its load generator, the manifest {}",
        manifest["sha256"]
    );
    shell::say(&format!(
        "{}: {completed} requests, accepted, by the program of the manifest",
        manifest["target"].as_str().unwrap_or_default()
    ));
    Ok(())
}
