//! Publishing: a whole copy in one file, to be fetched while the writer goes on.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use crate::{error::DbError, open::ResultsDb, sql};

impl ResultsDb {
    /// Writes a consistent copy of the whole database to `to`, as one file without a write-ahead log.
    ///
    /// The copy appears under its name only when it is whole and on the disk; an earlier one is replaced.
    pub async fn export_copy(&self, to: &Path) -> Result<(), DbError> {
        let part = part_of(to);
        remove_if_there(&part)?;
        sql::vacuum_into(&mut *self.connection().await, &self.path, &part).await?;
        publish(&part, to).map_err(|error| DbError::file(to, "write", error))
    }
}

/// The name under which a copy is written.
fn part_of(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

fn remove_if_there(path: &Path) -> Result<(), DbError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(DbError::file(path, "remove", error))
        }
        _ => Ok(()),
    }
}

fn publish(part: &Path, to: &Path) -> std::io::Result<()> {
    File::open(part)?.sync_all()?;
    std::fs::rename(part, to)?;
    let directory = to
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // The rename itself reaches the disk with the directory.
    File::open(directory)?.sync_all()
}
