//! A folder for a scenario, gipfel in it, and looks at what came out.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::shell;

/// The variable that names the gipfel to play with; without it, one is built.
const BINARY: &str = "GIPFEL_BINARY";

/// Builds gipfel, unless the caller names one.
pub(crate) fn build() -> anyhow::Result<()> {
    if std::env::var_os(BINARY).is_some() {
        return Ok(());
    }
    shell::run(&mut shell::cargo(&["build", "--release", "--package", "gipfel"]))
}

/// The gipfel that scenarios play with.
pub(crate) fn program() -> PathBuf {
    std::env::var_os(BINARY).map_or_else(|| shell::target().join("release/gipfel"), PathBuf::from)
}

/// A scenario's own folder under the build products.
pub(crate) struct World {
    pub(crate) folder: PathBuf,
}

impl World {
    /// Begins with an empty folder.
    pub(crate) fn new(name: &str) -> anyhow::Result<Self> {
        let folder = shell::target().join("e2e").join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("failed to empty {}", folder.display()))?;
        }
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// The results directory that gipfel is given.
    pub(crate) fn results(&self) -> PathBuf {
        self.folder.join("results")
    }

    /// A call of gipfel in this folder.
    pub(crate) fn gipfel(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(arguments).current_dir(&self.folder);
        command
    }

    /// Writes a file into the folder.
    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        fs::write(self.folder.join(name), text).with_context(|| format!("failed to write {name}"))
    }

    /// The one file of the results whose name begins and ends so.
    pub(crate) fn find(&self, prefix: &str, suffix: &str) -> anyhow::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        collect(&self.results(), prefix, suffix, &mut found)?;
        found.sort();
        Ok(found)
    }
}

fn collect(folder: &Path, prefix: &str, suffix: &str, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("failed to look into {}", folder.display()))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        if path.is_dir() {
            collect(&path, prefix, suffix, found)?;
        } else if name.starts_with(prefix) && name.ends_with(suffix) {
            found.push(path);
        }
    }
    Ok(())
}

/// Fails unless the exit code is the wanted one; shows what was printed.
pub(crate) fn expect_exit(output: &Output, wanted: i32) -> anyhow::Result<()> {
    ensure!(
        output.status.code() == Some(wanted),
        "expected exit code {wanted}, found {}\nstdout:\n{}\nstderr:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Rows of a query, each a JSON object, by the `sqlite3` program: another reader than the one that we ship.
pub(crate) fn query(database: &Path, sql: &str) -> anyhow::Result<Vec<Value>> {
    let text = shell::read(
        Command::new("sqlite3")
            .args(["-readonly", "-json"])
            .arg(database)
            .arg(sql),
    )
    .context("hint: the end-to-end runs need the `sqlite3` program")?;
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(&text).context("sqlite3 printed no JSON")
}

/// One whole number of a query.
pub(crate) fn number(database: &Path, sql: &str) -> anyhow::Result<i64> {
    let rows = query(database, sql)?;
    let value = rows
        .first()
        .and_then(Value::as_object)
        .and_then(|row| row.values().next());
    value
        .and_then(Value::as_i64)
        .with_context(|| format!("no number from {sql}"))
}

/// Waits until `look` gives something, at most `limit`; fails with what was waited for.
pub(crate) fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if begin.elapsed() > limit {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        pause(Duration::from_millis(20));
    }
}

/// Lets time pass between two looks.
#[expect(
    clippy::disallowed_methods,
    reason = "the pause between two looks of a bounded wait, and the moments of the kills"
)]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
