//! The parts of the result database that the other ranks have written.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use anyhow::{Context, bail};
use gipfel_model::RunId;
use gipfel_results_db::{ResultsDb, RunKey};

use super::{company::POLL_INTERVAL, meeting};

/// How long a directory may take to show a part that is closed.
const SHOWN_BY: Duration = Duration::from_mins(1);

/// The part of a rank. Each session has parts of its own: a process of an earlier one may still have its part open.
pub(super) fn path(session_directory: &Path, run: &RunId, rank: u32) -> PathBuf {
    session_directory.join(format!("run_{run}.rank{rank}.db"))
}

/// The parts that ranks have closed, with the bytes that each said it has. One that the directory does not show, or not
/// whole, would be missed without a word.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClosedParts(Rc<RefCell<BTreeMap<PathBuf, u64>>>);

impl ClosedParts {
    pub(super) fn note(&self, part: PathBuf, bytes: u64) {
        self.0.borrow_mut().insert(part, bytes);
    }

    /// Waits until the directory shows all of them whole.
    pub(crate) async fn shown(&self) -> anyhow::Result<()> {
        self.shown_by(tokio::time::Instant::now() + SHOWN_BY).await
    }

    async fn shown_by(&self, limit: tokio::time::Instant) -> anyhow::Result<()> {
        let parts = self.0.take();
        for (part, bytes) in parts {
            loop {
                let shown = fs::metadata(&part).map_or(0, |metadata| metadata.len());
                if shown >= bytes {
                    break;
                }
                if tokio::time::Instant::now() >= limit {
                    bail!(
                        "the shared directory shows {shown} of the {bytes} bytes of `{}`, which another rank has closed; \
                         they are taken over when the load generator is started again",
                        part.display()
                    );
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_part_that_is_shown_late_is_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let part = directory.path().join("part.db");
        let closed = ClosedParts::default();
        closed.note(part.clone(), 5);
        let showing = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            fs::write(&part, "abc").expect("a part that is cut");
            tokio::time::sleep(Duration::from_secs(3)).await;
            fs::write(&part, "abcde").expect("the whole part");
        };
        let limit = Instant::now() + Duration::from_secs(20);
        let (shown, ()) = tokio::join!(closed.shown_by(limit), showing);
        shown.expect("it is shown in time");
        assert!(Instant::now() >= limit - Duration::from_secs(14));
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_is_never_shown_is_named() {
        let closed = ClosedParts::default();
        closed.note("nowhere/part.db".into(), 5);
        let error = closed.shown().await.expect_err("it is not there");
        assert!(
            error
                .to_string()
                .starts_with("the shared directory shows 0 of the 5 bytes of `nowhere/part.db`"),
            "{error}"
        );
    }
}
