//! The same program from another directory.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, ensure};
use gipfel_model::BundleManifest;

use super::{
    Allocator, Edition, folder, pack,
    program::{self, Order},
    standard_library,
    tools::Tools,
};
use crate::shell;

/// Builds from a copy of the sources elsewhere and fails unless the program is the same.
pub(crate) fn build_elsewhere(
    target: &'static str,
    tools: &Tools,
    first: &BundleManifest,
) -> anyhow::Result<()> {
    let elsewhere = folder().join("elsewhere");
    let sources = elsewhere.join("a-longer-name-than-the-first/gipfel");
    if elsewhere.exists() {
        fs::remove_dir_all(&elsewhere)
            .with_context(|| format!("failed to remove {}", elsewhere.display()))?;
    }
    copy_sources(&sources)?;
    // Everything stands where it stands for the first build, seen from the sources: cargo tells crates apart by that.
    let work = sources.join("target/bundle");
    fs::create_dir_all(&work).with_context(|| format!("failed to create {}", work.display()))?;
    std::os::unix::fs::symlink(folder().join("cache"), work.join("cache"))
        .context("failed to share the cache of packages")?;
    let library = standard_library::find(target, false, &work)?;
    let products = work.join("build");
    let order = Order {
        target,
        sources: &sources,
        products: &products,
        allocator: Allocator::Chosen,
        edition: Edition::Plain,
    };
    let built = program::build(&order, tools, &library)?;
    let second = pack::manifest(&built, target)?;
    ensure!(
        second.sha256 == first.sha256,
        "two builds of {target} differ: {} from {}, {} from {}; both are kept",
        first.sha256,
        shell::root().display(),
        second.sha256,
        sources.display()
    );
    shell::say(&format!(
        "{target}: two directories, one hash: {} and {}",
        first.sha256, second.sha256
    ));
    fs::remove_dir_all(&elsewhere).with_context(|| format!("failed to remove {}", elsewhere.display()))
}

/// The tracked files as they stand.
fn copy_sources(to: &Path) -> anyhow::Result<()> {
    let root = shell::root();
    let listed = shell::read(Command::new("git").args(["ls-files", "-z"]).current_dir(&root))
        .context("hint: the second build copies what git tracks")?;
    for name in listed.split('\0').filter(|name| !name.is_empty()) {
        let (from, target) = (root.join(name), to.join(name));
        if !from.exists() {
            continue;
        }
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).with_context(|| format!("failed to create {}", parent.display()))?;
        }
        fs::copy(&from, &target).with_context(|| format!("failed to copy {name}"))?;
    }
    Ok(())
}
