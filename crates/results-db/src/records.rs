//! Requests and scrapes: appended in transactions, read back as they were.

use gipfel_model::{Phase, RequestRecord, ScrapeRecord};
use sqlx::{
    Arguments, AssertSqlSafe, Connection, SqliteConnection,
    sqlite::{SqliteArguments, SqliteRow},
};

use crate::{codes::Code, error::DbError, marks::Marked, open::ResultsDb, reader::Reader, runs::RunKey, sql};

/// Rows of one INSERT: enough that the way to SQLite's thread and back costs little for each.
const ROWS_PER_STATEMENT: usize = 64;

/// The columns of the view `request`.
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
    "first_token_lag_ns",
    "first_token_uncertain",
];

/// The columns of the table `request_row` without the run; those from [`USUAL_COLUMNS`] on are NULL in most rows.
const STORED_COLUMNS: &[&str] = &[
    "level",
    "rank",
    "request",
    "marks",
    "scheduled_ns",
    "send_ns",
    "header_ns",
    "first_token_ns",
    "first_token_lag_ns",
    "last_token_ns",
    "ended_after_ns",
    "input_tokens",
    "output_tokens",
    "requested_input",
    "requested_output",
    "chunks",
    "itl_max_ns",
    "connect_ns",
    "cached_tokens",
    "endpoint",
    "first_chunk_ns",
    "first_output_ns",
    "http_status",
    "class",
    "session",
    "turn",
    "finish_reason",
    "error",
];
const USUAL_COLUMNS: usize = 17;

const SCRAPE_COLUMNS: &[&str] = &[
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
        let (usual, unusual): (Vec<_>, Vec<_>) = requests
            .iter()
            .map(|record| (record, Marked::of(record)))
            .partition(|(record, marked)| is_usual(record, marked));
        let table = Table {
            run,
            name: "request_row",
            columns: &STORED_COLUMNS[..USUAL_COLUMNS],
        };
        insert(&mut transaction, &table, &usual, |(record, marked), arguments| {
            bind_usual(record, marked, arguments)
        })
        .await
        .map_err(fault)?;
        let table = Table {
            columns: STORED_COLUMNS,
            ..table
        };
        insert(
            &mut transaction,
            &table,
            &unusual,
            |(record, marked), arguments| {
                bind_usual(record, marked, arguments)?;
                bind_unusual(record, marked, arguments)
            },
        )
        .await
        .map_err(fault)?;
        let table = Table {
            run,
            name: "scrape",
            columns: SCRAPE_COLUMNS,
        };
        insert(&mut transaction, &table, scrapes, bind_scrape)
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
            first_token_lag_ns: reader.get("first_token_lag_ns")?,
            first_token_uncertain: reader.get::<i64>("first_token_uncertain")? != 0,
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

/// Where rows go.
struct Table<'a> {
    run: RunKey,
    name: &'a str,
    /// Without the run.
    columns: &'a [&'a str],
}

async fn insert<T>(
    connection: &mut SqliteConnection,
    table: &Table<'_>,
    records: &[T],
    bind: impl Fn(&T, &mut SqliteArguments) -> BindResult,
) -> Result<(), sqlx::Error> {
    let mut rest = records;
    while !rest.is_empty() {
        // A power of two, so that only a few statements are there to be kept prepared.
        let count = ROWS_PER_STATEMENT.min(1 << rest.len().ilog2());
        let (rows, others) = rest.split_at(count);
        rest = others;
        let mut arguments = SqliteArguments::default();
        arguments.reserve(rows.len() * table.columns.len(), 0);
        for row in rows {
            bind(row, &mut arguments).map_err(sqlx::Error::Encode)?;
        }
        let statement = sql::insert(table.name, table.run, table.columns, rows.len());
        sqlx::query_with(AssertSqlSafe(statement), arguments)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Whether the columns of a row are NULL that mostly are: every value that is bound costs time.
fn is_usual(record: &RequestRecord, marked: &Marked<'_>) -> bool {
    let numbers = [record.class, record.turn, record.endpoint] == [0; 3]
        && record.session.is_none()
        && record.connect_ns.is_none()
        && record.cached_tokens.is_none();
    let points = marked.first_chunk_ns.is_none() && marked.first_output_ns.is_none();
    let texts = marked.finish_reason.is_none() && record.error.is_none();
    numbers && points && texts && marked.http_status.is_none()
}

/// Binds the first [`USUAL_COLUMNS`] of [`STORED_COLUMNS`], in their order.
fn bind_usual(record: &RequestRecord, marked: &Marked<'_>, arguments: &mut SqliteArguments) -> BindResult {
    arguments.add(record.level)?;
    arguments.add(record.rank)?;
    arguments.add(record.request)?;
    arguments.add(marked.marks)?;
    arguments.add(record.scheduled_ns)?;
    arguments.add(record.send_ns)?;
    arguments.add(record.header_ns)?;
    arguments.add(record.first_token_ns)?;
    arguments.add(record.first_token_lag_ns)?;
    arguments.add(record.last_token_ns)?;
    arguments.add(marked.ended_after_ns)?;
    arguments.add(record.input_tokens)?;
    arguments.add(record.output_tokens)?;
    arguments.add(record.requested_input)?;
    arguments.add(record.requested_output)?;
    arguments.add(record.chunks)?;
    arguments.add(record.itl_max_ns)
}

/// Binds the others of [`STORED_COLUMNS`], in their order.
fn bind_unusual(record: &RequestRecord, marked: &Marked<'_>, arguments: &mut SqliteArguments) -> BindResult {
    let unless_zero = |number: u32| (number != 0).then_some(number);
    arguments.add(record.connect_ns)?;
    arguments.add(record.cached_tokens)?;
    arguments.add(unless_zero(record.endpoint))?;
    arguments.add(marked.first_chunk_ns)?;
    arguments.add(marked.first_output_ns)?;
    arguments.add(marked.http_status)?;
    arguments.add(unless_zero(record.class))?;
    arguments.add(record.session)?;
    arguments.add(unless_zero(record.turn))?;
    arguments.add(marked.finish_reason)?;
    arguments.add(record.error.as_deref())
}

/// Binds the columns of [`SCRAPE_COLUMNS`], in their order.
fn bind_scrape(record: &ScrapeRecord, arguments: &mut SqliteArguments) -> BindResult {
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
