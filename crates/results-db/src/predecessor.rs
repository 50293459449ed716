//! Import of the predecessor's databases of three tables: `experiments`, `requests` and `server_stats`.
//!
//! Their rows know no schedule and no level: each rate becomes a level, its requests all count as scheduled at the
//! begin of the measured window, and their latencies are taken as they are. Columns that a file lacks are read as
//! NULL, columns that are not known are left aside.

use std::{collections::BTreeSet, path::Path};

use gipfel_model::{DeploymentKind, Outcome, Phase, RunState, Validity, Verdict};
use sqlx::{AssertSqlSafe, SqliteConnection};

use crate::{
    codes::Code,
    error::DbError,
    marks,
    merge::{MergedRun, remove_run},
    reader::json,
    runs::Origin,
    sql,
};

const NANOS: f64 = 1e9;

/// Imports every run of the attached database `source`.
pub(crate) async fn import(
    connection: &mut SqliteConnection,
    file: &Path,
) -> Result<Vec<MergedRun>, DbError> {
    let fault = |error| DbError::statement(file, "import the runs", error);
    let source = Source::look(connection).await.map_err(fault)?;
    let run_ids: Vec<String> = sqlx::query_scalar(
        "SELECT CAST(run_id AS TEXT) AS id FROM source.experiments WHERE run_id IS NOT NULL \
         UNION SELECT CAST(run_id AS TEXT) FROM source.requests WHERE run_id IS NOT NULL ORDER BY id",
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(fault)?;
    let texts = Texts {
        validity: json(file, "level", "validity", &Validity::default())?,
        verdict: json(
            file,
            "level",
            "verdict",
            &Verdict::Unresolved {
                reason: "the imported database holds no objectives".to_owned(),
            },
        )?,
    };
    let mut merged = Vec::with_capacity(run_ids.len());
    for run_id in run_ids {
        let existing = remove_run(connection, &run_id).await.map_err(fault)?;
        let left_out = import_run(connection, &source, &texts, &run_id, existing)
            .await
            .map_err(fault)?;
        merged.push(MergedRun {
            run_id,
            source: file.to_owned(),
            replaced: existing.is_some(),
            left_out,
        });
    }
    Ok(merged)
}

/// What every imported level is given.
struct Texts {
    validity: String,
    verdict: String,
}

/// The columns that the attached file has.
struct Source {
    experiments: BTreeSet<String>,
    requests: BTreeSet<String>,
    server_stats: BTreeSet<String>,
}

impl Source {
    async fn look(connection: &mut SqliteConnection) -> Result<Self, sqlx::Error> {
        Ok(Self {
            experiments: columns(connection, "experiments").await?,
            requests: columns(connection, "requests").await?,
            server_stats: columns(connection, "server_stats").await?,
        })
    }
}

async fn columns(connection: &mut SqliteConnection, table: &str) -> Result<BTreeSet<String>, sqlx::Error> {
    let names: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info(?, 'source')")
        .bind(table)
        .fetch_all(connection)
        .await?;
    Ok(names.into_iter().collect())
}

/// A column, or NULL where the file lacks it.
fn column(columns: &BTreeSet<String>, name: &str) -> String {
    if columns.contains(name) {
        sql::quoted(name)
    } else {
        "NULL".to_owned()
    }
}

/// A column as a whole number of tokens.
fn tokens(columns: &BTreeSet<String>, name: &str) -> String {
    let value = column(columns, name);
    format!(
        "CASE WHEN {value} BETWEEN 0 AND {} THEN CAST({value} AS INTEGER) END",
        u32::MAX
    )
}

/// A column of milliseconds, in nanoseconds.
fn nanos(columns: &BTreeSet<String>, name: &str) -> String {
    format!("CAST(round({} * 1e6) AS INTEGER)", column(columns, name))
}

async fn import_run(
    connection: &mut SqliteConnection,
    source: &Source,
    texts: &Texts,
    run_id: &str,
    key: Option<i64>,
) -> Result<u64, sqlx::Error> {
    let key = insert_run(connection, source, run_id, key).await?;
    let windows: (Option<f64>, Option<f64>, Option<f64>) = sqlx::query_as(
        "SELECT warmup_s, measurement_s, CAST(unixepoch(created_at, 'subsec') AS REAL) FROM main.run WHERE run = ?",
    )
    .bind(key)
    .fetch_one(&mut *connection)
    .await?;
    let keeps_numbers = has_unique_numbers(connection, source, run_id).await?;
    let mut start_ns = 0;
    for (index, rate) in rates(connection, source, run_id).await?.into_iter().enumerate() {
        let mut level = Level {
            run: key,
            run_id,
            index: index as i64,
            rate,
            start_ns,
            warmup_ns: (windows.0.unwrap_or(0.0) * NANOS) as i64,
            measured_ns: (windows.1.unwrap_or(0.0) * NANOS) as i64,
            started_unix_ns: 0,
        };
        let first_scrape = first_scrape(connection, source, &level).await?;
        let started_s = first_scrape.map(|ts| ts - windows.0.unwrap_or(0.0)).or(windows.2);
        level.started_unix_ns = started_s.map_or(0, |seconds| (seconds * NANOS) as i64);
        insert_requests(connection, source, &level, keeps_numbers).await?;
        insert_scrapes(connection, source, &level).await?;
        insert_level(connection, &level, texts).await?;
        start_ns += level.warmup_ns + level.measured_ns;
    }
    let left_out: i64 = sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT count(*) FROM source.requests WHERE CAST(run_id AS TEXT) = ? AND NOT ({})",
        usable_rate(&source.requests)
    )))
    .bind(run_id)
    .fetch_one(connection)
    .await?;
    Ok(left_out as u64)
}

/// One imported level.
struct Level<'a> {
    run: i64,
    run_id: &'a str,
    index: i64,
    rate: f64,
    start_ns: i64,
    warmup_ns: i64,
    measured_ns: i64,
    started_unix_ns: i64,
}

async fn insert_run(
    connection: &mut SqliteConnection,
    source: &Source,
    run_id: &str,
    key: Option<i64>,
) -> Result<i64, sqlx::Error> {
    let text = |name| format!("CAST({} AS TEXT)", column(&source.experiments, name));
    let number = |name| format!("CAST({} AS REAL)", column(&source.experiments, name));
    let statement = format!(
        "INSERT INTO main.run (run, run_id, origin, deployment, model, backend, backend_config, dataset_config, \
         rate_levels, warmup_s, measurement_s, slos, informational_slos, created_at, server_load_time_s, state) \
         SELECT ?1, ?2, ?3, ?4, coalesce({}, 'unknown'), coalesce({}, 'unknown'), {}, {}, {}, {}, {}, '[]', '[]', {}, \
         {}, ?5 FROM (SELECT 1) LEFT JOIN (SELECT * FROM source.experiments WHERE CAST(run_id AS TEXT) = ?2 LIMIT 1) \
         RETURNING run",
        text("model"),
        text("backend"),
        text("backend_config"),
        text("dataset_config"),
        text("rate_levels"),
        number("warmup_s"),
        number("measurement_s"),
        text("created_at"),
        number("server_load_time_s"),
    );
    sqlx::query_scalar(AssertSqlSafe(statement))
        .bind(key)
        .bind(run_id)
        .bind(Origin::Predecessor.as_str())
        .bind(deployment_of(run_id).map(DeploymentKind::as_str))
        .bind(RunState::Completed.as_str())
        .fetch_one(connection)
        .await
}

/// The place that a run id names: `…_<backend>_<slurm|k8s>_<4 hex>`.
fn deployment_of(run_id: &str) -> Option<DeploymentKind> {
    run_id.rsplit('_').nth(1)?.parse().ok()
}

fn usable_rate(columns: &BTreeSet<String>) -> String {
    let rate = column(columns, "rate_lambda");
    // The upper bound leaves infinity out.
    format!("coalesce(CAST({rate} AS REAL) > 0 AND CAST({rate} AS REAL) < 1e300, 0)")
}

async fn rates(
    connection: &mut SqliteConnection,
    source: &Source,
    run_id: &str,
) -> Result<Vec<f64>, sqlx::Error> {
    let of = |table: &str, columns: &BTreeSet<String>| {
        format!(
            "SELECT CAST({} AS REAL) AS rate FROM source.{table} WHERE CAST(run_id AS TEXT) = ?1 AND {}",
            column(columns, "rate_lambda"),
            usable_rate(columns)
        )
    };
    let mut parts = vec![of("requests", &source.requests)];
    if source.server_stats.contains("run_id") {
        parts.push(of("server_stats", &source.server_stats));
    }
    let query = format!(
        "SELECT DISTINCT rate FROM ({}) ORDER BY rate",
        parts.join(" UNION ")
    );
    sqlx::query_scalar(AssertSqlSafe(query))
        .bind(run_id)
        .fetch_all(connection)
        .await
}

/// Whether a run's request numbers can be kept as they are.
async fn has_unique_numbers(
    connection: &mut SqliteConnection,
    source: &Source,
    run_id: &str,
) -> Result<bool, sqlx::Error> {
    let number = column(&source.requests, "request_id");
    sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT count(DISTINCT CAST({number} AS INTEGER)) = count(*) FROM source.requests WHERE CAST(run_id AS TEXT) = ?"
    )))
    .bind(run_id)
    .fetch_one(connection)
    .await
}

/// Inserts a level's requests. A failure's kind is guessed from its text, the only thing that is known of it.
async fn insert_requests(
    connection: &mut SqliteConnection,
    source: &Source,
    level: &Level<'_>,
    keeps_numbers: bool,
) -> Result<(), sqlx::Error> {
    let columns = &source.requests;
    let number = if keeps_numbers {
        format!("CAST({} AS INTEGER)", column(columns, "request_id"))
    } else {
        "(?2 << 32) + row_number() OVER (ORDER BY rowid) - 1".to_owned()
    };
    let ttft = column(columns, "ttft_ms");
    let success = format!("coalesce({}, {ttft} IS NOT NULL)", column(columns, "success"));
    let error = format!("CAST({} AS TEXT)", column(columns, "error"));
    let outcome = format!(
        "CASE WHEN {success} THEN {} WHEN {error} LIKE '%timeout%' OR {error} LIKE '%timed out%' THEN {} \
         WHEN {error} LIKE '%connect%' THEN {} WHEN {error} LIKE '%http%' OR {error} LIKE '%status%' THEN {} ELSE {} END",
        Outcome::Ok.code(),
        Outcome::TimeoutTotal.code(),
        Outcome::ConnectError.code(),
        Outcome::HttpError.code(),
        Outcome::StreamError.code(),
    );
    let (input, output) = (tokens(columns, "input_tokens"), tokens(columns, "output_tokens"));
    let (first, last) = (nanos(columns, "ttft_ms"), nanos(columns, "e2e_ms"));
    let statement = format!(
        "INSERT INTO main.request_row (run, level, rank, request, marks, scheduled_ns, send_ns, first_token_ns, \
         last_token_ns, ended_after_ns, input_tokens, output_tokens, requested_input, requested_output, chunks, error) \
         SELECT ?1, ?2, 0, {number}, {} | (({outcome}) << {}) | (({first} IS NOT NULL) * {}), ?3, 0, {first}, {last}, \
         CASE WHEN {last} IS NULL THEN coalesce({first}, 0) ELSE 0 END, {input}, {output}, coalesce({input}, 0), \
         coalesce({output}, 0), 0, {error} \
         FROM source.requests WHERE CAST(run_id AS TEXT) = ?4 AND CAST({} AS REAL) = ?5",
        Phase::Measured.code() << marks::PHASE,
        marks::OUTCOME,
        marks::OTHER_FIRST_CHUNK | marks::OTHER_FIRST_OUTPUT,
        column(columns, "rate_lambda"),
    );
    sqlx::query(AssertSqlSafe(statement))
        .bind(level.run)
        .bind(level.index)
        .bind(level.start_ns + level.warmup_ns)
        .bind(level.run_id)
        .bind(level.rate)
        .execute(connection)
        .await?;
    Ok(())
}

/// A time stamp in Unix seconds: seconds, milliseconds or ISO 8601.
fn unix_seconds(columns: &BTreeSet<String>) -> String {
    let ts = column(columns, "ts");
    format!(
        "CASE WHEN typeof({ts}) = 'text' AND ({ts} LIKE '%-%' OR {ts} LIKE '%:%') THEN unixepoch({ts}, 'subsec') \
         WHEN CAST({ts} AS REAL) > 1e11 THEN CAST({ts} AS REAL) / 1000.0 ELSE CAST({ts} AS REAL) END"
    )
}

async fn first_scrape(
    connection: &mut SqliteConnection,
    source: &Source,
    level: &Level<'_>,
) -> Result<Option<f64>, sqlx::Error> {
    if !source.server_stats.contains("run_id") {
        return Ok(None);
    }
    sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT CAST(min({}) AS REAL) FROM source.server_stats WHERE CAST(run_id AS TEXT) = ? AND CAST({} AS REAL) = ?",
        unix_seconds(&source.server_stats),
        column(&source.server_stats, "rate_lambda"),
    )))
    .bind(level.run_id)
    .bind(level.rate)
    .fetch_one(connection)
    .await
}

async fn insert_scrapes(
    connection: &mut SqliteConnection,
    source: &Source,
    level: &Level<'_>,
) -> Result<(), sqlx::Error> {
    let columns = &source.server_stats;
    if !columns.contains("run_id") {
        return Ok(());
    }
    let number = |name| format!("CAST({} AS REAL)", column(columns, name));
    let seconds = unix_seconds(columns);
    // Stamps of whole seconds may repeat; the key tells such rows apart by a running endpoint number.
    let statement = format!(
        "INSERT INTO main.scrape (run, rank, endpoint, at_ns, level, requests_running, requests_waiting, \
         kv_cache_usage, spec_accept_rate) \
         SELECT ?1, 0, row_number() OVER (PARTITION BY {seconds} ORDER BY rowid) - 1, \
         ?2 + CAST({seconds} * 1e9 AS INTEGER) - ?3, ?4, {}, {}, {} / 100.0, {} \
         FROM source.server_stats WHERE CAST(run_id AS TEXT) = ?5 AND CAST({} AS REAL) = ?6 AND {seconds} IS NOT NULL",
        number("requests_running"),
        number("requests_waiting"),
        number("gpu_cache_pct"),
        number("spec_accept_rate"),
        column(columns, "rate_lambda"),
    );
    sqlx::query(AssertSqlSafe(statement))
        .bind(level.run)
        .bind(level.start_ns)
        .bind(level.started_unix_ns)
        .bind(level.index)
        .bind(level.run_id)
        .bind(level.rate)
        .execute(connection)
        .await?;
    Ok(())
}

/// Inserts a level with the rates that its requests show; without a known window they are 0.
async fn insert_level(
    connection: &mut SqliteConnection,
    level: &Level<'_>,
    texts: &Texts,
) -> Result<(), sqlx::Error> {
    let (sent, completed): (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE outcome = 0) FROM main.request WHERE run = ? AND level = ?",
    )
    .bind(level.run)
    .bind(level.index)
    .fetch_one(&mut *connection)
    .await?;
    let seconds = level.measured_ns as f64 / NANOS;
    let per_second = |count: i64| {
        if seconds > 0.0 {
            count as f64 / seconds
        } else {
            0.0
        }
    };
    sqlx::query(
        "INSERT INTO main.level (run, level, rate, state, start_ns, warmup_ns, measured_ns, started_unix_ns, \
         offered_rate, sent_rate, completed_rate, attainment, validity, verdict) \
         VALUES (?, ?, ?, 'complete', ?, ?, ?, ?, ?, ?, ?, '[]', ?, ?)",
    )
    .bind(level.run)
    .bind(level.index)
    .bind(level.rate)
    .bind(level.start_ns)
    .bind(level.warmup_ns)
    .bind(level.measured_ns)
    .bind(level.started_unix_ns)
    .bind(per_second(sent))
    .bind(per_second(sent))
    .bind(per_second(completed))
    .bind(&texts.validity)
    .bind(&texts.verdict)
    .execute(connection)
    .await?;
    Ok(())
}
