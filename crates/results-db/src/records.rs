//! Requests and scrapes: appended in transactions, read back as they were.

use gipfel_model::{Phase, RequestRecord, ScrapeRecord};
use sqlx::{
    Arguments, AssertSqlSafe, Connection, SqliteConnection,
    sqlite::{SqliteArguments, SqliteRow},
};

use crate::{codes::Code, error::DbError, open::ResultsDb, reader::Reader, runs::RunKey, sql};

/// Rows of one INSERT: enough that the way to SQLite's thread and back costs little for each.
const ROWS_PER_STATEMENT: usize = 32;

pub(crate) const REQUEST_COLUMNS: &[&str] = &[
    "run",
    "rank",
    "request",
    "level",
    "phase",
    "class",
    "session",
    "turn",
    "endpoint",
    "outcome",
    "http_status",
    "scheduled_ns",
    "connect_ns",
    "send_ns",
    "header_ns",
    "first_chunk_ns",
    "first_token_ns",
    "first_output_ns",
    "last_token_ns",
    "end_ns",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "requested_input",
    "requested_output",
    "chunks",
    "itl_max_ns",
    "count_source",
    "finish_reason",
    "error",
];

pub(crate) const SCRAPE_COLUMNS: &[&str] = &[
    "run",
    "rank",
    "endpoint",
    "at_ns",
    "level",
    "requests_running",
    "requests_waiting",
    "kv_cache_usage",
    "preemptions",
    "prefix_cache_queries",
    "prefix_cache_hits",
    "spec_accepted_tokens",
    "spec_draft_tokens",
    "ttft_sum_s",
    "ttft_count",
    "queue_sum_s",
    "queue_count",
];

type BindResult = Result<(), sqlx::error::BoxDynError>;

impl ResultsDb {
    /// Appends requests and scrapes in one transaction: all of them are kept, or none.
    ///
    /// A row whose key is there already is an error, and so shows a mistake of the writer.
    pub async fn append(
        &self,
        run: RunKey,
        requests: &[RequestRecord],
        scrapes: &[ScrapeRecord],
    ) -> Result<(), DbError> {
        if requests.is_empty() && scrapes.is_empty() {
            return Ok(());
        }
        let fault = |source| self.fault("append records", source);
        let mut connection = self.connection().await;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(fault)?;
        insert(
            &mut transaction,
            "request",
            REQUEST_COLUMNS,
            requests,
            |record, arguments| bind_request(run, record, arguments),
        )
        .await
        .map_err(fault)?;
        insert(
            &mut transaction,
            "scrape",
            SCRAPE_COLUMNS,
            scrapes,
            |record, arguments| bind_scrape(run, record, arguments),
        )
        .await
        .map_err(fault)?;
        transaction.commit().await.map_err(fault)
    }

    /// The requests of a level, by rank and number.
    pub async fn requests(&self, run: RunKey, level: u32) -> Result<Vec<RequestRecord>, DbError> {
        let columns = REQUEST_COLUMNS.join(", ");
        let query =
            format!("SELECT {columns} FROM request WHERE run = ? AND level = ? ORDER BY rank, request");
        let mut connection = self.connection().await;
        let rows = sqlx::query(AssertSqlSafe(query))
            .bind(run.0)
            .bind(level)
            .fetch_all(&mut *connection)
            .await
            .map_err(|source| self.fault("read the requests", source))?;
        rows.iter().map(|row| self.request_record(row)).collect()
    }

    /// The requests of a level's measured window, by rank and number.
    pub async fn measured_requests(&self, run: RunKey, level: u32) -> Result<Vec<RequestRecord>, DbError> {
        let mut requests = self.requests(run, level).await?;
        requests.retain(|request| request.phase == Phase::Measured);
        Ok(requests)
    }

    /// The scrapes of a run, by time.
    pub async fn scrapes(&self, run: RunKey) -> Result<Vec<ScrapeRecord>, DbError> {
        let mut connection = self.connection().await;
        let rows = sqlx::query("SELECT * FROM scrape WHERE run = ? ORDER BY at_ns, rank, endpoint")
            .bind(run.0)
            .fetch_all(&mut *connection)
            .await
            .map_err(|source| self.fault("read the scrapes", source))?;
        rows.iter().map(|row| self.scrape_record(row)).collect()
    }

    pub(crate) fn request_record(&self, row: &SqliteRow) -> Result<RequestRecord, DbError> {
        let reader = Reader {
            path: &self.path,
            table: "request",
            row,
        };
        Ok(RequestRecord {
            rank: reader.get("rank")?,
            request: reader.get("request")?,
            level: reader.get("level")?,
            phase: code(&reader, "phase")?,
            class: reader.get("class")?,
            session: reader.get("session")?,
            turn: reader.get("turn")?,
            endpoint: reader.get("endpoint")?,
            outcome: code(&reader, "outcome")?,
            http_status: reader.get("http_status")?,
            scheduled_ns: reader.get("scheduled_ns")?,
            connect_ns: reader.get("connect_ns")?,
            send_ns: reader.get("send_ns")?,
            header_ns: reader.get("header_ns")?,
            first_chunk_ns: reader.get("first_chunk_ns")?,
            first_token_ns: reader.get("first_token_ns")?,
            first_output_ns: reader.get("first_output_ns")?,
            last_token_ns: reader.get("last_token_ns")?,
            end_ns: reader.get("end_ns")?,
            input_tokens: reader.get("input_tokens")?,
            output_tokens: reader.get("output_tokens")?,
            cached_tokens: reader.get("cached_tokens")?,
            requested_input: reader.get("requested_input")?,
            requested_output: reader.get("requested_output")?,
            chunks: reader.get("chunks")?,
            itl_max_ns: reader.get("itl_max_ns")?,
            count_source: code(&reader, "count_source")?,
            finish_reason: reader.get("finish_reason")?,
            error: reader.get("error")?,
        })
    }

    pub(crate) fn scrape_record(&self, row: &SqliteRow) -> Result<ScrapeRecord, DbError> {
        let reader = Reader {
            path: &self.path,
            table: "scrape",
            row,
        };
        Ok(ScrapeRecord {
            rank: reader.get("rank")?,
            endpoint: reader.get("endpoint")?,
            level: reader.get("level")?,
            at_ns: reader.get("at_ns")?,
            requests_running: reader.get("requests_running")?,
            requests_waiting: reader.get("requests_waiting")?,
            kv_cache_usage: reader.get("kv_cache_usage")?,
            preemptions: reader.get("preemptions")?,
            prefix_cache_queries: reader.get("prefix_cache_queries")?,
            prefix_cache_hits: reader.get("prefix_cache_hits")?,
            spec_accepted_tokens: reader.get("spec_accepted_tokens")?,
            spec_draft_tokens: reader.get("spec_draft_tokens")?,
            ttft_sum_s: reader.get("ttft_sum_s")?,
            ttft_count: reader.get("ttft_count")?,
            queue_sum_s: reader.get("queue_sum_s")?,
            queue_count: reader.get("queue_count")?,
        })
    }
}

async fn insert<T>(
    connection: &mut SqliteConnection,
    table: &str,
    columns: &[&str],
    records: &[T],
    bind: impl Fn(&T, &mut SqliteArguments) -> BindResult,
) -> Result<(), sqlx::Error> {
    for rows in records.chunks(ROWS_PER_STATEMENT) {
        let mut arguments = SqliteArguments::default();
        arguments.reserve(rows.len() * columns.len(), 0);
        for row in rows {
            bind(row, &mut arguments).map_err(sqlx::Error::Encode)?;
        }
        let statement = sql::insert(table, columns, rows.len());
        sqlx::query_with(AssertSqlSafe(statement), arguments)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Binds the columns of [`REQUEST_COLUMNS`], in their order.
fn bind_request(run: RunKey, record: &RequestRecord, arguments: &mut SqliteArguments) -> BindResult {
    arguments.add(run.0)?;
    arguments.add(record.rank)?;
    arguments.add(record.request)?;
    arguments.add(record.level)?;
    arguments.add(record.phase.code())?;
    arguments.add(record.class)?;
    arguments.add(record.session)?;
    arguments.add(record.turn)?;
    arguments.add(record.endpoint)?;
    arguments.add(record.outcome.code())?;
    arguments.add(record.http_status)?;
    arguments.add(record.scheduled_ns)?;
    arguments.add(record.connect_ns)?;
    arguments.add(record.send_ns)?;
    arguments.add(record.header_ns)?;
    arguments.add(record.first_chunk_ns)?;
    arguments.add(record.first_token_ns)?;
    arguments.add(record.first_output_ns)?;
    arguments.add(record.last_token_ns)?;
    arguments.add(record.end_ns)?;
    arguments.add(record.input_tokens)?;
    arguments.add(record.output_tokens)?;
    arguments.add(record.cached_tokens)?;
    arguments.add(record.requested_input)?;
    arguments.add(record.requested_output)?;
    arguments.add(record.chunks)?;
    arguments.add(record.itl_max_ns)?;
    arguments.add(record.count_source.code())?;
    arguments.add(record.finish_reason.as_deref())?;
    arguments.add(record.error.as_deref())
}

/// Binds the columns of [`SCRAPE_COLUMNS`], in their order.
fn bind_scrape(run: RunKey, record: &ScrapeRecord, arguments: &mut SqliteArguments) -> BindResult {
    arguments.add(run.0)?;
    arguments.add(record.rank)?;
    arguments.add(record.endpoint)?;
    arguments.add(record.at_ns)?;
    arguments.add(record.level)?;
    arguments.add(record.requests_running)?;
    arguments.add(record.requests_waiting)?;
    arguments.add(record.kv_cache_usage)?;
    arguments.add(record.preemptions)?;
    arguments.add(record.prefix_cache_queries)?;
    arguments.add(record.prefix_cache_hits)?;
    arguments.add(record.spec_accepted_tokens)?;
    arguments.add(record.spec_draft_tokens)?;
    arguments.add(record.ttft_sum_s)?;
    arguments.add(record.ttft_count)?;
    arguments.add(record.queue_sum_s)?;
    arguments.add(record.queue_count)
}

fn code<T: Code>(reader: &Reader<'_>, column: &'static str) -> Result<T, DbError> {
    let code: i64 = reader.get(column)?;
    T::from_code(code).ok_or_else(|| reader.fault(column, format!("the code {code} has no meaning")))
}
