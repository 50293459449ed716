//! The parts of the result database that the other ranks have written.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context;
use gipfel_model::RunId;
use gipfel_results_db::{ResultsDb, RunKey};

use super::meeting;

/// The part of a rank. Each session has parts of its own: a process of an earlier one may still have its part open.
pub(super) fn path(session_directory: &Path, run: &RunId, rank: u32) -> PathBuf {
    session_directory.join(format!("run_{run}.rank{rank}.db"))
}

/// What was taken into the run's database and still lies beside it.
#[must_use = "the parts lie there until they are removed"]
#[derive(Debug, Default)]
pub(crate) struct TakenParts(Vec<PathBuf>);

impl TakenParts {
    /// Removes the parts, now that what they hold is safe elsewhere.
    pub(crate) fn remove(self) -> anyhow::Result<()> {
        for session in self.0 {
            match fs::remove_dir_all(&session) {
                // A session is taken when the run begins and when it ends.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.with_context(|| format!("failed to remove `{}`", session.display()))?,
            }
        }
        Ok(())
    }
}

/// Takes what the ranks have written into the run's database. Each row is taken once, however often this is done.
pub(crate) async fn take_parts(
    directory: &Path,
    db: &ResultsDb,
    run: RunKey,
    run_id: &RunId,
) -> anyhow::Result<TakenParts> {
    let mut taken = TakenParts::default();
    for session in
        sessions(directory).context("failed to look for the ranks' parts of the result database")?
    {
        for part in parts(&session, run_id)? {
            let rows = db
                .take_part(run, &part)
                .await
                .with_context(|| format!("failed to take over `{}`", part.display()))?;
            tracing::info!(part = %part.display(), rows, "a rank's part is taken over");
        }
        taken.0.push(session);
    }
    Ok(taken)
}

fn sessions(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(meeting(directory)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut sessions = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            sessions.push(path);
        }
    }
    sessions.sort();
    Ok(sessions)
}

fn parts(session: &Path, run: &RunId) -> io::Result<Vec<PathBuf>> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(session)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name.starts_with(&format!("run_{run}.rank"))
            && path.extension().is_some_and(|extension| extension == "db")
        {
            parts.push(path);
        }
    }
    parts.sort();
    Ok(parts)
}
