//! The database in a directory of this machine itself, and the way of what was published into it.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use gipfel_model::RunId;
use gipfel_results_db::{DbError, Publisher, published};

use crate::database_name;

/// Where a run's database is written, and where it is published.
#[derive(Clone, Debug)]
pub(crate) struct WorkPlace {
    work: PathBuf,
    directory: PathBuf,
    database: PathBuf,
    run: RunId,
}

impl WorkPlace {
    /// Makes the directory, and brings what is published of the run into it unless its own database has more.
    pub(crate) fn prepare(work: &Path, directory: &Path, run: &RunId) -> anyhow::Result<Self> {
        let place = Self {
            work: work.to_owned(),
            directory: directory.to_owned(),
            database: work.join(database_name(run)),
            run: run.clone(),
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(work)
            .with_context(|| format!("failed to create `{}`", work.display()))?;
        place.take_up()?;
        Ok(place)
    }

    /// A database that is here goes on only if what is published came from it: the run may have gone on elsewhere.
    fn take_up(&self) -> anyhow::Result<()> {
        let begin_anew = || {
            format!(
                "failed to go on from what is published in `{}`; remove its `published.json` to begin the run anew",
                self.directory.display()
            )
        };
        let Some(manifest) = published::find(&self.directory).with_context(begin_anew)? else {
            return Ok(());
        };
        if self.database.exists() && self.published_from_here().as_deref() == Some(&manifest.sha256) {
            return Ok(());
        }
        published::unpack_from(&self.directory, &manifest, &self.database).with_context(begin_anew)?;
        tracing::info!(
            pieces = manifest.pieces.len(),
            bytes = manifest.bytes,
            "the run goes on from what was published"
        );
        self.note_published(&manifest.sha256)
            .with_context(|| format!("failed to write `{}`", self.mark().display()))
    }

    /// The database.
    pub(crate) fn database(&self) -> &Path {
        &self.database
    }

    /// What publishes the database, once it is there.
    pub(crate) async fn publisher(&self) -> Result<Publisher, DbError> {
        let packed = self.work.join(format!("run_{}.packed", self.run));
        Publisher::open(&self.database, &packed, &self.directory).await
    }

    /// Remembers what of this database is published, by its sum.
    pub(crate) fn note_published(&self, sha256: &str) -> io::Result<()> {
        fs::write(self.mark(), sha256)
    }

    fn published_from_here(&self) -> Option<String> {
        fs::read_to_string(self.mark()).ok()
    }

    fn mark(&self) -> PathBuf {
        self.work.join(format!("run_{}.published", self.run))
    }
}
