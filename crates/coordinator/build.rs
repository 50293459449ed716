//! Puts the commit into the version, when it is built from a repository.

use std::{path::Path, process::Command};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let suffix = commit().map_or_else(String::new, |commit| format!("+{commit}"));
    println!("cargo:rustc-env=GIPFEL_VERSION_SUFFIX={suffix}");
}

/// The abbreviated commit of the repository that holds this crate; `None` for an unpacked archive or without git.
fn commit() -> Option<String> {
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).exists() {
        println!("cargo:rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=10", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
