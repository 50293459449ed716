//! The versions of the schema and the way from one to the next.

use std::path::Path;

use sqlx::{Connection, SqliteConnection};

use crate::{error::DbError, sql};

/// SQLite's `application_id` of a result database: the letters `GIPF`.
pub const APPLICATION_ID: i64 = 0x4749_5046;

/// The version of the schema that is written: SQLite's `user_version`.
pub const VERSION: i64 = MIGRATIONS.len() as i64;

/// The script at index n leads from version n to version n + 1.
pub(crate) const MIGRATIONS: &[&str] = &[
    include_str!("schema/001.sql"),
    include_str!("schema/002.sql"),
    include_str!("schema/003.sql"),
];

/// What a file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No table yet.
    Empty,
    /// Ours, of this version.
    Gipfel(i64),
    /// The predecessor's three tables.
    Predecessor,
    /// Another program's.
    Other(i64),
}

/// Reads what the file behind `schema` says of itself.
pub(crate) async fn kind(
    connection: &mut SqliteConnection,
    path: &Path,
    schema: &str,
) -> Result<Kind, DbError> {
    let doing = "read the version";
    let application_id =
        sql::integer(connection, path, doing, format!("PRAGMA {schema}.application_id")).await?;
    if application_id == APPLICATION_ID {
        let version = sql::integer(connection, path, doing, format!("PRAGMA {schema}.user_version")).await?;
        return Ok(Kind::Gipfel(version));
    }
    let tables = sql::integer(
        connection,
        path,
        doing,
        format!("SELECT count(*) FROM {schema}.sqlite_schema"),
    )
    .await?;
    let theirs = sql::integer(
        connection,
        path,
        doing,
        format!("SELECT count(*) FROM {schema}.sqlite_schema WHERE type = 'table' AND name IN ('experiments', 'requests')"),
    )
    .await?;
    Ok(match (application_id, tables, theirs) {
        (0, 0, _) => Kind::Empty,
        (0, _, 2) => Kind::Predecessor,
        _ => Kind::Other(application_id),
    })
}

/// Refuses what is not ours or is too new; an empty file counts as version 0.
pub(crate) fn check(kind: Kind, path: &Path, known: i64) -> Result<i64, DbError> {
    let path = path.to_owned();
    match kind {
        Kind::Empty => Ok(0),
        Kind::Gipfel(found) if found > known => Err(DbError::Newer { path, found, known }),
        Kind::Gipfel(found) => Ok(found),
        Kind::Predecessor => Err(DbError::Predecessor { path }),
        Kind::Other(application_id) => Err(DbError::OtherApplication { path, application_id }),
    }
}

/// Applies the scripts from `version` on, each in a transaction of its own.
pub(crate) async fn migrate(
    connection: &mut SqliteConnection,
    path: &Path,
    version: i64,
    migrations: &'static [&'static str],
) -> Result<(), DbError> {
    let fault = |source| DbError::statement(path, "bring the schema up to date", source);
    for (index, script) in migrations.iter().enumerate().skip(version.max(0) as usize) {
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(fault)?;
        // Another process may have been faster between the look at the version and this transaction.
        let found = sql::integer(
            &mut transaction,
            path,
            "read the version",
            "PRAGMA user_version".to_owned(),
        )
        .await?;
        if found > index as i64 {
            continue;
        }
        let marks = format!(
            "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {}",
            index + 1
        );
        sqlx::raw_sql(*script)
            .execute(&mut *transaction)
            .await
            .map_err(fault)?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(marks))
            .execute(&mut *transaction)
            .await
            .map_err(fault)?;
        transaction.commit().await.map_err(fault)?;
    }
    Ok(())
}
