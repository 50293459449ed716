//! `--detach`: a process of its own drives on when the command has returned.
//!
//! The command starts itself again. The new process leaves the terminal's session and plans the campaign with the
//! terminal's standard error, so that whatever is wrong is read where the command was typed; then it says which campaign
//! it drives and prints to a file in the campaign's directory from there on.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context;
use gipfel_experiment::Journal;
use gipfel_model::CampaignId;

use crate::{
    cli::OutputArguments, events, exit::Exit, failure::Failure, print, view::files::CampaignFiles, words,
};

/// The flag that the user types.
pub(crate) const DETACH: &str = "--detach";
/// The one that it becomes.
pub(crate) const BACKGROUND: &str = "--in-background";

/// Where a detached gipfel prints.
pub(crate) fn log_file(directory: &Path) -> PathBuf {
    directory.join("gipfel.log")
}

/// Starts the same command as a process of its own and waits until its campaign is planned.
pub(crate) fn start(output: &OutputArguments) -> Result<Exit, Failure> {
    let executable = std::env::current_exe().context("failed to find gipfel's own executable")?;
    let mut child = Command::new(executable)
        .args(arguments(std::env::args_os().skip(1)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("failed to start gipfel in the background")?;
    let mut said = String::new();
    if let Some(stdout) = &mut child.stdout {
        // It closes its end when it has said which campaign it drives, or when it ends.
        stdout
            .read_to_string(&mut said)
            .context("failed to hear from gipfel in the background")?;
    }
    let Ok(id) = said.trim().parse::<CampaignId>() else {
        let status = child
            .wait()
            .context("failed to wait for gipfel in the background")?;
        return Ok(status.code().and_then(Exit::of_code).unwrap_or(Exit::Internal));
    };
    announce(&id, child.id(), output)?;
    Ok(Exit::Done)
}

fn arguments(typed: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    typed.map(|word| if word == DETACH { BACKGROUND.into() } else { word })
}

fn announce(id: &CampaignId, pid: u32, output: &OutputArguments) -> Result<(), Failure> {
    let results_dir = &output.show.results_dir;
    let files = CampaignFiles::new(results_dir, id);
    let directory = files.directory();
    if output.show.json {
        let campaign = Journal::load(results_dir, id).map_err(Failure::usage)?;
        print(&format!("{}\n", events::campaign(&campaign, &directory, pid)))?;
        return Ok(());
    }
    print(&format!(
        "campaign {id} goes on in the background (process {pid})\n  {} shows it\n  {} ends it\n  it prints to {}\n",
        words::command("attach", results_dir),
        words::command("cancel", results_dir),
        log_file(&directory).display()
    ))?;
    Ok(())
}

/// Leaves the terminal's session, so that neither its interrupts nor its end reach this process.
pub(crate) fn leave_terminal() -> Result<(), Failure> {
    rustix::process::setsid()
        .map_err(io::Error::from)
        .context("failed to leave the terminal's session")?;
    Ok(())
}

/// Says which campaign is driven and prints to its directory from then on. Fails when nobody waits for that any more.
pub(crate) fn settle(directory: &Path, id: &CampaignId) -> anyhow::Result<()> {
    let path = log_file(directory);
    let log = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("failed to open `{}`", path.display()))?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{id}")
        .and_then(|()| stdout.flush())
        .context("the command that started this one is gone")?;
    rustix::stdio::dup2_stderr(&log)
        .and_then(|()| rustix::stdio::dup2_stdout(&log))
        .map_err(io::Error::from)
        .with_context(|| format!("failed to print to `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_command_is_started_again() {
        let typed = ["run", "--detach", "a.yaml", "--json"].map(OsString::from);
        let started: Vec<OsString> = arguments(typed.into_iter()).collect();
        assert_eq!(started, ["run", "--in-background", "a.yaml", "--json"]);
    }
}
