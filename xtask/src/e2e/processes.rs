//! What of gipfel lives on this machine.

use std::{fs, path::Path, process::Command};

use anyhow::ensure;

/// A process that gipfel started for a campaign, by the mark in its environment.
#[derive(Clone, Debug)]
pub(crate) struct Marked {
    pub(crate) pid: u32,
    pub(crate) command: String,
}

/// The living processes whose environment carries a campaign of this results directory.
pub(crate) fn marked(results: &Path) -> Vec<Marked> {
    let campaigns = campaigns(results);
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let ours = environment.split(|byte| *byte == 0).any(|variable| {
            let variable = String::from_utf8_lossy(variable);
            variable
                .strip_prefix("GIPFEL_CAMPAIGN=")
                .is_some_and(|id| campaigns.iter().any(|one| one == id))
        });
        if ours && !is_zombie(pid) {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            found.push(Marked { pid, command });
        }
    }
    found
}

fn campaigns(results: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(results) else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn is_zombie(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status
        .rsplit(')')
        .next()
        .is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

/// Fails if anything of this results directory lives.
pub(crate) fn expect_none(results: &Path) -> anyhow::Result<()> {
    let left = marked(results);
    ensure!(left.is_empty(), "processes are left: {left:?}");
    Ok(())
}

/// `kill -9`.
pub(crate) fn kill(pid: u32) -> anyhow::Result<()> {
    // One that has ended by itself in the meantime is killed as well as can be.
    let _ = crate::shell::capture(Command::new("kill").args(["-9", &pid.to_string()]))?;
    Ok(())
}
