//! Small helpers over sqlx.

use std::path::Path;

use sqlx::{AssertSqlSafe, SqliteConnection};

use crate::{error::DbError, runs::RunKey};

/// The one integer that a query answers with.
pub(crate) async fn integer(
    connection: &mut SqliteConnection,
    path: &Path,
    operation: &'static str,
    query: String,
) -> Result<i64, DbError> {
    sqlx::query_scalar::<_, i64>(AssertSqlSafe(query))
        .fetch_one(connection)
        .await
        .map_err(|source| DbError::statement(path, operation, source))
}

/// `INSERT INTO table (run, columns) VALUES (7,?,…),…` for `rows` rows. The run is no parameter, since it is the same in all.
pub(crate) fn insert(table: &str, run: RunKey, columns: &[&str], rows: usize) -> String {
    let row = format!("({}{})", run.0, ",?".repeat(columns.len()));
    format!(
        "INSERT INTO {table} (run,{}) VALUES {}",
        columns.join(","),
        vec![row; rows].join(",")
    )
}

/// A name in quotes, for names that come from a file.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Copies the whole database into a fresh file.
pub(crate) async fn vacuum_into(
    connection: &mut SqliteConnection,
    path: &Path,
    to: &Path,
) -> Result<(), DbError> {
    let target = to.to_str().ok_or_else(|| {
        let fault = std::io::Error::new(std::io::ErrorKind::InvalidInput, "the name is not UTF-8");
        DbError::file(to, "write", fault)
    })?;
    sqlx::query("VACUUM INTO ?")
        .bind(target)
        .execute(connection)
        .await
        .map_err(|source| DbError::statement(path, "copy the database", source))?;
    Ok(())
}
