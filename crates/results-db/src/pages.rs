//! Reading by pages: a run of any size with bounded memory.

use gipfel_model::{RequestRecord, ScrapeRecord};
use sqlx::AssertSqlSafe;

use crate::{error::DbError, open::ResultsDb, records::REQUEST_COLUMNS, runs::RunKey};

/// Where a request stands in its run's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestPosition {
    /// The level's index.
    pub level: u32,
    /// The load generator's rank.
    pub rank: u32,
    /// The number within run and rank.
    pub request: i64,
}

impl RequestPosition {
    /// The position of a record.
    pub fn of(record: &RequestRecord) -> Self {
        Self {
            level: record.level,
            rank: record.rank,
            request: record.request,
        }
    }
}

/// Where a scrape stands in its run's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScrapePosition {
    /// The load generator's rank.
    pub rank: u32,
    /// The endpoint's index.
    pub endpoint: u32,
    /// Nanoseconds after the run's anchor.
    pub at_ns: i64,
}

impl ScrapePosition {
    /// The position of a record.
    pub fn of(record: &ScrapeRecord) -> Self {
        Self {
            rank: record.rank,
            endpoint: record.endpoint,
            at_ns: record.at_ns,
        }
    }
}

impl ResultsDb {
    /// The next requests of a run, at most `limit` of them, by level, rank and number; all phases. The first page follows `None`,
    /// each other one the position of the last record before it; an empty page is the end.
    pub async fn requests_after(
        &self,
        run: RunKey,
        after: Option<RequestPosition>,
        limit: u32,
    ) -> Result<Vec<RequestRecord>, DbError> {
        let columns = REQUEST_COLUMNS.join(", ");
        let query = format!(
            "SELECT {columns} FROM request WHERE run = ? AND (level, rank, request) > (?, ?, ?) ORDER BY level, rank, request \
             LIMIT ?"
        );
        let (level, rank, request) = after.map_or((-1, -1, i64::MAX), |after| {
            (i64::from(after.level), i64::from(after.rank), after.request)
        });
        let mut connection = self.connection().await;
        let rows = sqlx::query(AssertSqlSafe(query))
            .bind(run.0)
            .bind(level)
            .bind(rank)
            .bind(request)
            .bind(limit)
            .fetch_all(&mut *connection)
            .await
            .map_err(|source| self.fault("read the requests", source))?;
        rows.iter().map(|row| self.request_record(row)).collect()
    }

    /// The next scrapes of a run, at most `limit` of them, by rank, endpoint and time; pages follow each other as those
    /// of [`ResultsDb::requests_after`].
    pub async fn scrapes_after(
        &self,
        run: RunKey,
        after: Option<ScrapePosition>,
        limit: u32,
    ) -> Result<Vec<ScrapeRecord>, DbError> {
        let (rank, endpoint, at_ns) = after.map_or((-1, -1, i64::MIN), |after| {
            (i64::from(after.rank), i64::from(after.endpoint), after.at_ns)
        });
        let mut connection = self.connection().await;
        let rows = sqlx::query(
            "SELECT * FROM scrape WHERE run = ? AND (rank, endpoint, at_ns) > (?, ?, ?) \
             ORDER BY rank, endpoint, at_ns LIMIT ?",
        )
        .bind(run.0)
        .bind(rank)
        .bind(endpoint)
        .bind(at_ns)
        .bind(limit)
        .fetch_all(&mut *connection)
        .await
        .map_err(|source| self.fault("read the scrapes", source))?;
        rows.iter().map(|row| self.scrape_record(row)).collect()
    }
}
