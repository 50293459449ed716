//! Exports: the stored rows and the figures in the forms that other programs read.
//!
//! Rows are read page by page, so a database may be of any size.

mod columns;
mod csv;
mod json;
mod parquet;
mod rows;
mod value;
mod vllm_bench;

use std::{fmt, io, io::Write};

use gipfel_results_db::{DbError, ResultsDb};

pub use json::EXPORT_FORMAT;
pub use vllm_bench::{VllmBench, VllmBenchFile, vllm_bench};

/// Which rows are exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// One row for each request, of every phase.
    Requests,
    /// One row for each level, with its percentiles.
    Levels,
    /// One row for each look at the server's metrics.
    Scrapes,
    /// One row for each run, with its answer and where it comes from.
    Runs,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 4] = [Self::Requests, Self::Levels, Self::Scrapes, Self::Runs];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Levels => "levels",
            Self::Scrapes => "scrapes",
            Self::Runs => "runs",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The database could not be read.
    #[error("cannot read the database")]
    Database(#[from] DbError),
    /// The rows could not be written: the disk is full, or the reader has gone.
    #[error(transparent)]
    Write(#[from] io::Error),
    /// A value is not of the form that the file needs.
    #[error("cannot write the rows as Parquet")]
    Parquet(#[source] ::parquet::errors::ParquetError),
    /// A value has no form in JSON.
    #[error("cannot write as JSON")]
    Json(#[source] serde_json::Error),
    /// There is no such run.
    #[error("there is no run `{run_id}`; the runs are: {}", known.join(", "))]
    NoSuchRun {
        /// What was asked for.
        run_id: String,
        /// The ids that there are.
        known: Vec<String>,
    },
}

impl ExportError {
    /// Whether the reader of the output has gone, which is no fault.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Write(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<::parquet::errors::ParquetError> for ExportError {
    fn from(error: ::parquet::errors::ParquetError) -> Self {
        match error {
            ::parquet::errors::ParquetError::External(inner) => match inner.downcast::<io::Error>() {
                Ok(error) => Self::Write(*error),
                Err(inner) => Self::Parquet(::parquet::errors::ParquetError::External(inner)),
            },
            error => Self::Parquet(error),
        }
    }
}

impl From<serde_json::Error> for ExportError {
    fn from(error: serde_json::Error) -> Self {
        if error.is_io() {
            Self::Write(error.into())
        } else {
            Self::Json(error)
        }
    }
}

/// Writes a table as CSV (RFC 4180, UTF-8) with a line of names; absent values are empty. Of one run, or of all.
pub async fn export_csv(
    db: &ResultsDb,
    table: Table,
    run_id: Option<&str>,
    to: &mut (dyn Write + Send),
) -> Result<(), ExportError> {
    let mut sink = csv::CsvSink::new(to);
    rows::feed(db, table, run_id, &mut sink).await?;
    sink.finish()
}

/// Writes a table as Parquet: typed columns, absent values as nulls, compressed with Snappy. Of one run, or of all.
pub async fn export_parquet(
    db: &ResultsDb,
    table: Table,
    run_id: Option<&str>,
    to: &mut (dyn Write + Send),
) -> Result<(), ExportError> {
    let mut sink = parquet::ParquetSink::new(to);
    rows::feed(db, table, run_id, &mut sink).await?;
    sink.finish()
}

/// Writes the summary, the stored levels and the provenance of one run, or of all, as one JSON object.
pub async fn export_json(
    db: &ResultsDb,
    run_id: Option<&str>,
    to: &mut (dyn Write + Send),
) -> Result<(), ExportError> {
    json::write(db, run_id, to).await
}

#[cfg(test)]
mod tests;
