//! Parts of a run: what the other ranks of a load generator have written in databases of their own.

use std::path::Path;

use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use crate::{error::DbError, open::ResultsDb, runs::RunKey, sql};

/// The tables that every rank writes to. Runs, their provenance and their levels are rank 0's.
const TABLES: &[&str] = &["request_row", "scrape", "gaps"];

impl ResultsDb {
    /// Takes the rows that another rank has written of the run in the database `part`; says how many were new.
    ///
    /// Rows that are here already stay as they are, so that taking a part twice changes nothing. A part whose writer was
    /// killed is taken as far as it got.
    pub async fn take_part(&self, run: RunKey, part: &Path) -> Result<u64, DbError> {
        // Brings in what a killed writer has left in its log.
        ResultsDb::open(part).await?.close().await?;
        let mut connection = self.connection().await;
        sqlx::query("ATTACH ? AS part")
            .bind(part.to_string_lossy().into_owned())
            .execute(&mut *connection)
            .await
            .map_err(|error| DbError::statement(part, "open the database", error))?;
        let taken = take_rows(&mut connection, run).await;
        let detached = sqlx::query("DETACH part").execute(&mut *connection).await;
        let taken = taken.map_err(|error| self.fault("take over another rank's part", error))?;
        detached.map_err(|error| DbError::statement(part, "close the database", error))?;
        Ok(taken)
    }
}

async fn take_rows(connection: &mut SqliteConnection, run: RunKey) -> Result<u64, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut taken = 0;
    for table in TABLES {
        let columns: Vec<String> =
            sqlx::query_scalar("SELECT name FROM pragma_table_info(?, 'main') WHERE name <> 'run'")
                .bind(*table)
                .fetch_all(&mut *transaction)
                .await?;
        let columns: Vec<String> = columns.iter().map(|column| sql::quoted(column)).collect();
        let columns = columns.join(", ");
        let statement = format!(
            "INSERT OR IGNORE INTO main.{table} (run, {columns}) SELECT ?, {columns} FROM part.{table} WHERE run = \
             (SELECT theirs.run FROM part.run AS theirs JOIN main.run AS ours ON ours.run_id = theirs.run_id WHERE ours.run = ?)"
        );
        let result = sqlx::query(AssertSqlSafe(statement))
            .bind(run.0)
            .bind(run.0)
            .execute(&mut *transaction)
            .await?;
        taken += result.rows_affected();
    }
    transaction.commit().await?;
    Ok(taken)
}
