//! The result database: schema, migrations, append, publish, read, merge.
//!
//! A database is one SQLite file. The stored tables are narrow: integer keys and nanoseconds. Over them lie three
//! views, `experiments`, `requests` and `server_stats`, with the predecessors' columns in their order, so that
//! queries written for their databases run unchanged. The views hold the measured requests of complete levels.
//!
//! ```no_run
//! # async fn example(config: &gipfel_model::RunConfig, rows: &[gipfel_model::RequestRecord]) -> Result<(), gipfel_results_db::DbError> {
//! use gipfel_results_db::ResultsDb;
//!
//! let db = ResultsDb::create("run.db").await?;
//! let run = db.upsert_run(config).await?;
//! db.append(run, rows, &[]).await?;
//! db.close().await
//! # }
//! ```

mod codes;
mod error;
mod export;
mod levels;
mod marks;
mod merge;
mod open;
mod pages;
mod part;
mod predecessor;
mod publish;
pub mod published;
mod reader;
mod records;
mod runs;
mod schema;
mod sql;

pub use error::DbError;
pub use merge::{MergeError, MergeReport, MergedRun, RefusedSource, merge};
pub use open::ResultsDb;
pub use pages::{RequestPosition, ScrapePosition};
pub use publish::{Publication, Publisher};
pub use runs::{Origin, RunKey, RunRow};
pub use schema::{APPLICATION_ID, VERSION};
