//! Programs that run beside a scenario and end with it.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};

use crate::{
    e2e::{processes, world::wait_for},
    shell,
};

/// A program in the background; it ends with this value.
pub(super) struct Daemon {
    name: String,
    child: Child,
    log: std::path::PathBuf,
}

impl Daemon {
    /// Starts a program whose output goes to a file.
    pub(super) fn start(name: &str, command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let out = fs::File::create(log)?;
        let err = out.try_clone()?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .with_context(|| format!("failed to start {name}: {}", shell::describe(command)))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails, with the end of its log, if it has ended.
    pub(super) fn expect_alive(&mut self) -> anyhow::Result<()> {
        let Some(status) = self.child.try_wait()? else {
            return Ok(());
        };
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let end = lines[lines.len().saturating_sub(10)..].join("\n");
        bail!("{} has ended with {status}; its log ends:\n{end}", self.name)
    }

    /// Ends it politely, then by force.
    pub(super) fn end(&mut self) {
        // Its number may be another process's by now.
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let pid = self.child.id();
        // What does not end by this is ended by force.
        let _ = shell::capture(Command::new("kill").arg(pid.to_string()));
        let ended = wait_for(&self.name, Duration::from_secs(10), || {
            self.child.try_wait().ok().flatten()
        });
        if ended.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

/// Ends by force what still lives of a Slurm: its environment names the configuration.
pub(super) fn end_all_of(configuration: &Path) {
    let variable = format!("SLURM_CONF={}", configuration.display());
    for pid in with_variables(&[variable]) {
        shell::say(&format!("process {pid} of {} is ended", configuration.display()));
        // It may end by itself in the meantime.
        let _ = processes::kill(pid);
    }
}

/// Ends by force the processes whose environment has all of these variables, as `NAME=value`.
pub(super) fn end_all_with(variables: &[String]) {
    for pid in with_variables(variables) {
        // It may end by itself in the meantime.
        let _ = processes::kill(pid);
    }
}

/// The processes whose environment has these variables; one that has ended has none.
fn with_variables(variables: &[String]) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok());
    let has_it = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let has = |variable: &String| {
            environment
                .split(|byte| *byte == 0)
                .any(|one| one == variable.as_bytes())
        };
        variables.iter().all(has)
    };
    pids.filter(|pid| *pid != std::process::id() && has_it(pid))
        .collect()
}
