//! What can go wrong with a result database.

use std::path::{Path, PathBuf};

/// Why a result database could not be opened, written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// There is no such file.
    #[error("there is no file `{}`", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A new database was asked for, but the file exists.
    #[error("`{}` exists already; open it, or choose another name", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file is no SQLite database.
    #[error("`{}` is no SQLite database", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The file is another program's SQLite database.
    #[error("`{}` is an SQLite database of another program (application id {application_id}), not one of gipfel", path.display())]
    OtherApplication {
        /// The file.
        path: PathBuf,
        /// What the file says.
        application_id: i64,
    },
    /// The file is a database of the predecessor.
    #[error("`{}` is a database of the predecessor of gipfel; merge it into a gipfel database to read it", path.display())]
    Predecessor {
        /// The file.
        path: PathBuf,
    },
    /// The file is an SQLite database without any table; it was created, but its writer got no further.
    #[error("`{}` is empty: its writer has not begun", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file is to be merged into itself.
    #[error("`{}` is the target of the merge itself", path.display())]
    TargetItself {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer version.
    #[error(
        "`{}` has database version {found}, written by a newer gipfel; this gipfel is older and reads up to {known}",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The file's version.
        found: i64,
        /// The newest version that is known.
        known: i64,
    },
    /// A key is there already: the same request was recorded twice.
    #[error("`{}` already holds one of these rows; nothing was written ({operation})", path.display())]
    Duplicate {
        /// The file.
        path: PathBuf,
        /// What was being done.
        operation: &'static str,
        /// SQLite's word.
        #[source]
        source: sqlx::Error,
    },
    /// The disk is full; what was committed is safe.
    #[error("no space is left to {operation} in `{}`", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// What was being done.
        operation: &'static str,
        /// SQLite's word.
        #[source]
        source: sqlx::Error,
    },
    /// The file, its directory or its disk may only be read; what was committed is safe.
    #[error("cannot {operation}: `{}`, its directory or its disk may only be read", path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// What was being done.
        operation: &'static str,
        /// SQLite's word.
        #[source]
        source: sqlx::Error,
    },
    /// SQLite found the file damaged.
    #[error("`{}` is damaged: {}", path.display(), faults.join("; "))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is damaged.
        faults: Vec<String>,
    },
    /// A stored value is not of its type.
    #[error("`{}`: {table}.{column} holds a value that is not of its type", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A statement failed.
    #[error("cannot {operation} in `{}`", path.display())]
    Statement {
        /// The file.
        path: PathBuf,
        /// What was being done.
        operation: &'static str,
        /// SQLite's word.
        #[source]
        source: sqlx::Error,
    },
    /// Without a write-ahead log the file is never at rest.
    #[error("`{}` has no write-ahead log, which its file system may not allow; take another directory", path.display())]
    NoLog {
        /// The file.
        path: PathBuf,
    },
    /// Another process stands in the way of the last publication.
    #[error("`{}` is in use by another program, such as a reader of it; end that program", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A file operation beside the database failed.
    #[error("cannot {operation} `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was being done.
        operation: &'static str,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
}

/// SQLite's primary result codes that are told apart.
const SQLITE_FULL: i32 = 13;
const SQLITE_READONLY: i32 = 8;
const SQLITE_NOTADB: i32 = 26;
const SQLITE_CORRUPT: i32 = 11;

impl DbError {
    /// Whether a later attempt may succeed without a change of the data: the disk was full.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::DiskFull { .. } => true,
            Self::File { source, .. } => matches!(
                source.kind(),
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
            ),
            _ => false,
        }
    }

    pub(crate) fn statement(path: &Path, operation: &'static str, source: sqlx::Error) -> Self {
        let path = path.to_owned();
        let database_error = source.as_database_error();
        if database_error.is_some_and(sqlx::error::DatabaseError::is_unique_violation) {
            return Self::Duplicate {
                path,
                operation,
                source,
            };
        }
        let code = database_error.and_then(|error| error.code()?.parse::<i32>().ok());
        // The low byte of an extended code is the primary one.
        match code.map(|code| code & 0xff) {
            Some(SQLITE_FULL) => Self::DiskFull {
                path,
                operation,
                source,
            },
            Some(SQLITE_READONLY) => Self::ReadOnly {
                path,
                operation,
                source,
            },
            Some(SQLITE_NOTADB) => Self::NotADatabase { path },
            Some(SQLITE_CORRUPT) => Self::Damaged {
                path,
                faults: vec![source.to_string()],
            },
            _ => Self::Statement {
                path,
                operation,
                source,
            },
        }
    }

    pub(crate) fn file(path: &Path, operation: &'static str, source: std::io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            operation,
            source,
        }
    }
}
