//! Merging: the runs of several databases in one.

use std::path::{Path, PathBuf};

use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use crate::{
    error::DbError,
    open::{self, Access, ResultsDb},
    predecessor,
    schema::{self, Kind, MIGRATIONS},
    sql,
};

/// A run that was taken into the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergedRun {
    /// Its id.
    pub run_id: String,
    /// The file that it comes from.
    pub source: PathBuf,
    /// Whether the target held a version of it that was replaced.
    pub replaced: bool,
    /// Rows of an imported run without a usable rate, which were left out.
    pub left_out: u64,
}

/// A source that could not be merged; the target holds nothing of it.
#[derive(Debug)]
pub struct RefusedSource {
    /// The file.
    pub source: PathBuf,
    /// Why.
    pub error: DbError,
}

/// What a merge did.
#[derive(Debug, Default)]
pub struct MergeReport {
    /// The runs that were taken, in the order of the sources.
    pub merged: Vec<MergedRun>,
    /// The sources that were refused.
    pub refused: Vec<RefusedSource>,
}

/// Why nothing could be merged at all.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// The target cannot be opened or created.
    #[error("cannot merge into `{}`", path.display())]
    Target {
        /// The target.
        path: PathBuf,
        /// Why.
        #[source]
        source: DbError,
    },
}

/// Merges the runs of `sources` into `target`, which is created if it is missing.
///
/// A run that the target holds is replaced by the source's version, so merging twice changes nothing. Sources of
/// older versions and of the predecessor are taken too and stay as they are. A source that cannot be read is refused
/// and leaves no trace in the target; the others are merged all the same.
pub async fn merge(target: &Path, sources: &[PathBuf]) -> Result<MergeReport, MergeError> {
    let fault = |source| MergeError::Target {
        path: target.to_owned(),
        source,
    };
    let db = ResultsDb::open_or_create(target).await.map_err(fault)?;
    let mut report = MergeReport::default();
    for source in sources {
        match merge_one(&db, source).await {
            Ok(mut runs) => report.merged.append(&mut runs),
            Err(error) => report.refused.push(RefusedSource {
                source: source.clone(),
                error,
            }),
        }
    }
    db.close_as_one_file().await.map_err(fault)?;
    Ok(report)
}

async fn merge_one(db: &ResultsDb, source: &Path) -> Result<Vec<MergedRun>, DbError> {
    if is_same_file(db.path(), source) {
        return Err(DbError::TargetItself {
            path: source.to_owned(),
        });
    }
    let mut reading = open::connect(source, Access::Read).await?;
    let kind = schema::kind(&mut reading, source, "main").await?;
    if kind == Kind::Empty {
        return Err(DbError::Empty {
            path: source.to_owned(),
        });
    }
    if kind == Kind::Predecessor {
        return merge_attached(db, source, source, Kind::Predecessor).await;
    }
    let version = schema::check(kind, source, schema::VERSION)?;
    if version == schema::VERSION {
        return merge_attached(db, source, source, kind).await;
    }
    let (_copy, file) = open::copy_up_to_date(&mut reading, source, MIGRATIONS).await?;
    merge_attached(db, source, &file, kind).await
}

/// Merges the database in `file`, which stands for `source`.
async fn merge_attached(
    db: &ResultsDb,
    source: &Path,
    file: &Path,
    kind: Kind,
) -> Result<Vec<MergedRun>, DbError> {
    let mut connection = db.connection().await;
    sqlx::query("ATTACH ? AS source")
        .bind(read_only_uri(file))
        .execute(&mut *connection)
        .await
        .map_err(|error| DbError::statement(source, "open the database", error))?;
    let merged = merge_in_transaction(&mut connection, db.path(), source, kind).await;
    let detached = sqlx::query("DETACH source")
        .execute(&mut *connection)
        .await
        .map_err(|error| DbError::statement(source, "close the database", error));
    let merged = merged?;
    detached?;
    Ok(merged)
}

async fn merge_in_transaction(
    connection: &mut SqliteConnection,
    target: &Path,
    source: &Path,
    kind: Kind,
) -> Result<Vec<MergedRun>, DbError> {
    let on_target = |error| DbError::statement(target, "merge runs", error);
    let mut transaction = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(on_target)?;
    let merged = match kind {
        Kind::Predecessor => predecessor::import(&mut transaction, source).await,
        _ => copy_runs(&mut transaction, source).await,
    };
    match merged {
        // What is full is the target's disk.
        Err(DbError::DiskFull { source: error, .. }) => Err(on_target(error)),
        Err(error) => Err(error),
        Ok(merged) => transaction.commit().await.map_err(on_target).map(|()| merged),
    }
}

async fn copy_runs(connection: &mut SqliteConnection, source: &Path) -> Result<Vec<MergedRun>, DbError> {
    let fault = |error| DbError::statement(source, "copy the runs", error);
    let runs: Vec<(i64, String)> = sqlx::query_as("SELECT run, run_id FROM source.run ORDER BY run")
        .fetch_all(&mut *connection)
        .await
        .map_err(fault)?;
    let tables = keyed_tables(connection).await.map_err(fault)?;
    let mut merged = Vec::with_capacity(runs.len());
    for (source_key, run_id) in runs {
        let existing = remove_run(connection, &run_id).await.map_err(fault)?;
        let key = copy_rows(connection, &tables, source_key, existing)
            .await
            .map_err(fault)?;
        debug_assert!(
            existing.is_none_or(|existing| existing == key),
            "a replaced run keeps its key"
        );
        merged.push(MergedRun {
            run_id,
            source: source.to_owned(),
            replaced: existing.is_some(),
            left_out: 0,
        });
    }
    Ok(merged)
}

/// A table with a column `run`, and its other columns.
struct KeyedTable {
    name: String,
    columns: String,
}

/// The tables that hold rows of runs, found by their key so that none of a later version is forgotten.
async fn keyed_tables(connection: &mut SqliteConnection) -> Result<Vec<KeyedTable>, sqlx::Error> {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT t.name FROM main.sqlite_schema AS t, pragma_table_info(t.name, 'main') AS c \
         WHERE t.type = 'table' AND c.name = 'run' ORDER BY t.name <> 'run', t.name",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut tables = Vec::with_capacity(names.len());
    for name in names {
        let columns: Vec<String> =
            sqlx::query_scalar("SELECT name FROM pragma_table_info(?, 'main') WHERE name <> 'run'")
                .bind(&name)
                .fetch_all(&mut *connection)
                .await?;
        let columns: Vec<String> = columns.iter().map(|column| sql::quoted(column)).collect();
        tables.push(KeyedTable {
            name: sql::quoted(&name),
            columns: columns.join(", "),
        });
    }
    Ok(tables)
}

/// Removes all that the target holds of a run; the key that it had.
pub(crate) async fn remove_run(
    connection: &mut SqliteConnection,
    run_id: &str,
) -> Result<Option<i64>, sqlx::Error> {
    let key: Option<i64> = sqlx::query_scalar("SELECT run FROM main.run WHERE run_id = ?")
        .bind(run_id)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(key) = key else { return Ok(None) };
    for table in keyed_tables(connection).await? {
        sqlx::query(AssertSqlSafe(format!(
            "DELETE FROM main.{} WHERE run = ?",
            table.name
        )))
        .bind(key)
        .execute(&mut *connection)
        .await?;
    }
    Ok(Some(key))
}

async fn copy_rows(
    connection: &mut SqliteConnection,
    tables: &[KeyedTable],
    source_key: i64,
    existing: Option<i64>,
) -> Result<i64, sqlx::Error> {
    let mut key = existing;
    for KeyedTable { name, columns } in tables {
        let statement = format!(
            "INSERT INTO main.{name} (run, {columns}) SELECT ?, {columns} FROM source.{name} WHERE run = ?"
        );
        let result = sqlx::query(AssertSqlSafe(statement))
            .bind(key)
            .bind(source_key)
            .execute(&mut *connection)
            .await?;
        // The table `run` comes first and gives a new run its key.
        key = key.or(Some(result.last_insert_rowid()));
    }
    Ok(key.unwrap_or_default())
}

fn is_same_file(target: &Path, source: &Path) -> bool {
    match (target.canonicalize(), source.canonicalize()) {
        (Ok(target), Ok(source)) => target == source,
        _ => false,
    }
}

/// A URI by which SQLite attaches a file without the right to change it.
fn read_only_uri(file: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in file.to_string_lossy().bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push('%');
            uri.extend(
                [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])),
            );
        }
    }
    uri + "?mode=ro"
}
