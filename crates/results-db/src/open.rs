//! Opening: what a file is, whether it is read as it stands, and bringing older ones up to date.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use crate::{
    error::DbError,
    schema::{self, Kind, MIGRATIONS},
    sql,
};

/// How long a statement waits for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// A result database, open over one connection.
///
/// Writers use SQLite's write-ahead log and flush it with each transaction: a killed process loses nothing that
/// was appended, a power failure at most the append that was under way. Readers never block the writer.
pub struct ResultsDb {
    pub(crate) path: PathBuf,
    connection: Mutex<SqliteConnection>,
    /// Holds the copy that an older file was brought up to date in, for reading only.
    _copy: Option<TempDir>,
}

impl std::fmt::Debug for ResultsDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResultsDb")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl ResultsDb {
    /// Creates a new database; a file that exists is an error.
    pub async fn create(path: impl AsRef<Path>) -> Result<Self, DbError> {
        let path = path.as_ref();
        match std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
        {
            Ok(_) => Self::open(path).await,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(DbError::Exists {
                path: path.to_owned(),
            }),
            Err(error) => Err(DbError::file(path, "create", error)),
        }
    }

    /// Opens a database for reading and writing, and brings an older one up to date.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, DbError> {
        Self::open_with(path.as_ref(), MIGRATIONS).await
    }

    /// Opens a database for reading and writing, or creates it.
    pub async fn open_or_create(path: impl AsRef<Path>) -> Result<Self, DbError> {
        let path = path.as_ref();
        if path.exists() {
            Self::open(path).await
        } else {
            Self::create(path).await
        }
    }

    /// Opens a database for reading: also while a writer is at work, and after a writer was killed.
    ///
    /// An older file is left as it is; a temporary copy of it is brought up to date and read.
    pub async fn open_read_only(path: impl AsRef<Path>) -> Result<Self, DbError> {
        Self::open_read_only_with(path.as_ref(), MIGRATIONS).await
    }

    pub(crate) async fn open_with(path: &Path, migrations: &'static [&'static str]) -> Result<Self, DbError> {
        let mut connection = connect(path, Access::Write).await?;
        let kind = schema::kind(&mut connection, path, "main").await?;
        let version = schema::check(kind, path, migrations.len() as i64)?;
        // Only now, so that a file that is refused stays as it was.
        sqlx::query("PRAGMA journal_mode = WAL")
            .execute(&mut connection)
            .await
            .map_err(|source| DbError::statement(path, "switch to the write-ahead log", source))?;
        schema::migrate(&mut connection, path, version, migrations).await?;
        Ok(Self::new(path, connection, None))
    }

    pub(crate) async fn open_read_only_with(
        path: &Path,
        migrations: &'static [&'static str],
    ) -> Result<Self, DbError> {
        let known = migrations.len() as i64;
        let mut connection = connect(path, Access::Read).await?;
        let kind = schema::kind(&mut connection, path, "main").await?;
        if kind == Kind::Empty {
            return Err(DbError::Empty {
                path: path.to_owned(),
            });
        }
        if schema::check(kind, path, known)? == known {
            return Ok(Self::new(path, connection, None));
        }
        let (copy, file) = copy_up_to_date(&mut connection, path, migrations).await?;
        Ok(Self::new(path, connect(&file, Access::Read).await?, Some(copy)))
    }

    fn new(path: &Path, connection: SqliteConnection, copy: Option<TempDir>) -> Self {
        Self {
            path: path.to_owned(),
            connection: Mutex::new(connection),
            _copy: copy,
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the database. Dropping it is as safe, but does not say whether it went well.
    pub async fn close(self) -> Result<(), DbError> {
        let path = self.path;
        let connection = self.connection.into_inner();
        connection
            .close()
            .await
            .map_err(|source| DbError::statement(&path, "close the database", source))
    }

    /// Closes the database without a write-ahead log, so that it can be read from a directory that is not writable.
    pub async fn close_as_one_file(self) -> Result<(), DbError> {
        let mut connection = self.connection().await;
        // While somebody reads, SQLite refuses, and the log stays: the file is as good with it.
        let refused = sqlx::query("PRAGMA journal_mode = DELETE")
            .execute(&mut *connection)
            .await
            .err();
        drop(connection);
        match refused.filter(|error| !is_busy(error)) {
            Some(error) => Err(self.fault("end the write-ahead log", error)),
            None => self.close().await,
        }
    }

    /// Looks through the whole file for damage.
    pub async fn integrity_check(&self) -> Result<(), DbError> {
        let mut connection = self.connection().await;
        let faults: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check")
            .fetch_all(&mut *connection)
            .await
            .map_err(|source| self.fault("check the database", source))?;
        if faults == ["ok"] {
            Ok(())
        } else {
            Err(DbError::Damaged {
                path: self.path.clone(),
                faults,
            })
        }
    }

    pub(crate) async fn connection(&self) -> MutexGuard<'_, SqliteConnection> {
        self.connection.lock().await
    }

    pub(crate) fn fault(&self, operation: &'static str, source: sqlx::Error) -> DbError {
        DbError::statement(&self.path, operation, source)
    }
}

fn is_busy(error: &sqlx::Error) -> bool {
    const SQLITE_BUSY: &str = "5";
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .as_deref()
        == Some(SQLITE_BUSY)
}

/// What a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// Connects to a file that exists.
pub(crate) async fn connect(path: &Path, access: Access) -> Result<SqliteConnection, DbError> {
    if !path.is_file() {
        return Err(DbError::Missing {
            path: path.to_owned(),
        });
    }
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(access == Access::Read)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    let options = match access {
        Access::Read => options,
        Access::Write => options.synchronous(SqliteSynchronous::Full),
    };
    options
        .connect()
        .await
        .map_err(|source| DbError::statement(path, "open the database", source))
}

/// A copy of an older file in a temporary directory, brought up to date.
pub(crate) async fn copy_up_to_date(
    connection: &mut SqliteConnection,
    path: &Path,
    migrations: &'static [&'static str],
) -> Result<(TempDir, PathBuf), DbError> {
    let directory = TempDir::with_prefix("gipfel-")
        .map_err(|error| DbError::file(path, "make a temporary copy of", error))?;
    let file = directory.path().join("copy.db");
    sql::vacuum_into(connection, path, &file).await?;
    let mut copy = connect(&file, Access::Write).await?;
    let kind = schema::kind(&mut copy, path, "main").await?;
    let version = schema::check(kind, path, migrations.len() as i64)?;
    schema::migrate(&mut copy, path, version, migrations).await?;
    copy.close()
        .await
        .map_err(|source| DbError::statement(path, "make a temporary copy of the database", source))?;
    Ok((directory, file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        runs::RunKey,
        schema::{MIGRATIONS, VERSION},
    };
    use gipfel_model::ScrapeRecord;

    /// The released scripts and one that is yet to come.
    const LATER: &[&str] = &[
        MIGRATIONS[0],
        MIGRATIONS[1],
        MIGRATIONS[2],
        "ALTER TABLE run ADD COLUMN colour TEXT; UPDATE run SET colour = 'green'",
    ];
    /// As above, but its last statement fails.
    const BROKEN: &[&str] = &[
        MIGRATIONS[0],
        MIGRATIONS[1],
        MIGRATIONS[2],
        "ALTER TABLE run ADD COLUMN colour TEXT; SELECT nothing",
    ];

    async fn answer(db: &ResultsDb, query: &'static str) -> Result<String, sqlx::Error> {
        sqlx::query_scalar(query)
            .fetch_one(&mut *db.connection().await)
            .await
    }

    const VERSION_QUERY: &str = "SELECT CAST(user_version AS TEXT) FROM pragma_user_version";

    async fn old_database(directory: &TempDir) -> PathBuf {
        let path = directory.path().join("old.db");
        let db = ResultsDb::create(&path).await.expect("a database");
        sqlx::query(
            "INSERT INTO run (run_id, origin, model, backend, slos, informational_slos, state) \
             VALUES ('a', 'gipfel', 'm', 'sim', '[]', '[]', 'running')",
        )
        .execute(&mut *db.connection().await)
        .await
        .expect("a run");
        db.close().await.expect("a closed database");
        path
    }

    #[tokio::test]
    async fn an_older_file_is_brought_up_to_date_once() {
        let directory = TempDir::new().expect("a directory");
        let path = old_database(&directory).await;
        for _ in 0..2 {
            let db = ResultsDb::open_with(&path, LATER).await.expect("a database");
            assert_eq!(
                answer(&db, "SELECT colour FROM run").await.expect("a colour"),
                "green"
            );
            assert_eq!(
                answer(&db, VERSION_QUERY).await.expect("a version"),
                LATER.len().to_string()
            );
            db.close().await.expect("a closed database");
        }
        let error = ResultsDb::open(&path)
            .await
            .expect_err("written by a newer version");
        let DbError::Newer { found, known, .. } = error else {
            panic!("{error}")
        };
        assert_eq!((found, known), (LATER.len() as i64, VERSION));
    }

    #[tokio::test]
    async fn an_older_file_is_read_without_a_change() {
        let directory = TempDir::new().expect("a directory");
        let path = old_database(&directory).await;
        let db = ResultsDb::open_read_only_with(&path, LATER)
            .await
            .expect("a reader");
        assert_eq!(
            answer(&db, "SELECT colour FROM run").await.expect("a colour"),
            "green"
        );
        assert_eq!(db.path(), path);
        let old = ResultsDb::open_read_only(&path).await.expect("a reader");
        assert_eq!(
            answer(&old, VERSION_QUERY).await.expect("a version"),
            VERSION.to_string()
        );
    }

    #[tokio::test]
    async fn a_migration_is_whole_or_nothing() {
        let directory = TempDir::new().expect("a directory");
        let path = old_database(&directory).await;
        ResultsDb::open_with(&path, BROKEN)
            .await
            .expect_err("a broken script");
        let db = ResultsDb::open(&path).await.expect("a database");
        assert_eq!(
            answer(&db, VERSION_QUERY).await.expect("a version"),
            VERSION.to_string()
        );
        answer(&db, "SELECT colour FROM run")
            .await
            .expect_err("no such column");
    }

    #[tokio::test]
    async fn a_full_disk_takes_nothing_that_was_kept() {
        let directory = TempDir::new().expect("a directory");
        let path = old_database(&directory).await;
        let db = ResultsDb::open(&path).await.expect("a database");
        let scrapes = |numbers: std::ops::Range<i64>| -> Vec<ScrapeRecord> {
            numbers
                .map(|at_ns| ScrapeRecord {
                    at_ns,
                    ..ScrapeRecord::default()
                })
                .collect()
        };
        let run = RunKey(1);
        db.append(run, &[], &scrapes(0..100)).await.expect("room");
        // SQLite lets no limit be below the pages that are there, so this is the size as it stands.
        let limit = "PRAGMA max_page_count = 1";
        sqlx::query(limit)
            .execute(&mut *db.connection().await)
            .await
            .expect("a limit");
        let error = db
            .append(run, &[], &scrapes(100..5_000))
            .await
            .expect_err("no room");
        assert!(error.is_disk_full(), "{error:?}");
        assert_eq!(db.scrapes(run).await.expect("scrapes").len(), 100);
    }

    #[tokio::test]
    async fn a_disk_that_may_only_be_read_is_named() {
        let directory = TempDir::new().expect("a directory");
        let path = old_database(&directory).await;
        let db = ResultsDb::open(&path).await.expect("a database");
        // What SQLite says then is what it says of such a file system.
        sqlx::query("PRAGMA query_only = 1")
            .execute(&mut *db.connection().await)
            .await
            .expect("a limit");
        let error = db
            .append(RunKey(1), &[], &[ScrapeRecord::default()])
            .await
            .expect_err("no right to write");
        assert!(matches!(error, DbError::ReadOnly { .. }), "{error:?}");
        assert!(
            error
                .to_string()
                .ends_with("its directory or its disk may only be read"),
            "{error}"
        );
    }
}
