//! `gipfel` in the background, with what it prints in files.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail, ensure};

use crate::{
    e2e::{
        processes,
        world::{World, wait_for},
    },
    shell,
};

/// A gipfel that runs; it is killed with this value.
pub(super) struct Run {
    child: Child,
    log: PathBuf,
}

/// What it came to.
pub(super) struct Ended {
    /// Its exit code; none after a signal.
    pub(super) code: Option<i32>,
    /// Everything that it printed.
    pub(super) said: String,
}

impl Run {
    pub(super) fn start(world: &World, mut command: Command) -> anyhow::Result<Self> {
        let number = fs::read_dir(&world.folder)?.count();
        let log = world.folder.join(format!("gipfel-{number}.log"));
        let file = File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("failed to start {}", shell::describe(&command)))?;
        Ok(Self { child, log })
    }

    /// What it has printed so far.
    pub(super) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until `look` gives something while it runs.
    pub(super) fn wait_for<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut() -> Option<T>,
    ) -> anyhow::Result<T> {
        let child = &mut self.child;
        let found = wait_for(what, limit, || {
            if let Some(found) = look() {
                return Some(Some(found));
            }
            matches!(child.try_wait(), Ok(Some(_))).then_some(None)
        });
        match found {
            Ok(Some(found)) => Ok(found),
            Ok(None) => bail!("gipfel ended before {what}; it printed:\n{}", self.said()),
            Err(error) => Err(error.context(format!("gipfel printed:\n{}", self.said()))),
        }
    }

    /// Waits until it has ended.
    pub(super) fn end(mut self, limit: Duration) -> anyhow::Result<Ended> {
        let child = &mut self.child;
        let status = wait_for("the end of gipfel", limit, || child.try_wait().ok().flatten());
        let status = status.with_context(|| format!("gipfel printed:\n{}", self.said()))?;
        Ok(Ended {
            code: status.code(),
            said: self.said(),
        })
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// `kill -9`.
    pub(super) fn kill(mut self) -> anyhow::Result<()> {
        processes::kill(self.child.id())?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // It has ended by itself, unless a step failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Fails unless it ended with this code.
    pub(super) fn expect(&self, code: i32) -> anyhow::Result<()> {
        ensure!(
            self.code == Some(code),
            "expected exit code {code}, found {:?}; it printed:\n{}",
            self.code,
            self.said
        );
        Ok(())
    }

    /// The line that says this; fails if there is none.
    pub(super) fn expect_said(&self, words: &str) -> anyhow::Result<String> {
        let lower = words.to_lowercase();
        let line = self
            .said
            .lines()
            .find(|line| line.to_lowercase().contains(&lower));
        let line =
            line.with_context(|| format!("gipfel did not say `{words}`; it printed:\n{}", self.said))?;
        Ok(line.trim().to_owned())
    }
}
