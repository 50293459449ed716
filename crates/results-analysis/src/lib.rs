//! What the results say: per run the highest rate that meets the objectives, per level its figures and its verdict.
//!
//! A figure is given with what it stands on: the sample it comes from, and whether that sample supports it. What was
//! measured at an invalid or broken level is no figure at all.
//!
//! ```no_run
//! # async fn example() -> Result<(), gipfel_results_db::DbError> {
//! use gipfel_results_analysis::{TableOptions, render_table, summarize};
//! use gipfel_results_db::ResultsDb;
//!
//! let db = ResultsDb::open_read_only("results.db").await?;
//! let summary = summarize(&db).await?;
//! let text = render_table(&summary, TableOptions::default());
//! # let _ = text;
//! # Ok(())
//! # }
//! ```

mod answer;
pub mod compare;
pub mod export;
mod facts;
mod figures;
#[cfg(test)]
mod fixture;
mod flight;
mod judge;
mod layout;
mod level;
mod load;
mod notes;
mod repeats;
pub mod report;
mod shown;
mod summarize;
mod summary;
mod support;
mod table;
#[cfg(test)]
mod tests;
mod warnings;

pub use figures::{Figure, Metric, MetricSummary, Percentile};
pub use repeats::{Repeat, RepeatSummary, Spread};
pub use shown::{estimate as estimate_words, percent as percent_words};
pub use summarize::{summarize, summarize_with};
pub use summary::{
    Answer, AnswerLengths, Conclusion, Goodput, InFlight, LevelSummary, RequestCounts, RunSummary,
    SUMMARY_FORMAT, Summary, Warning,
};
pub use table::{TableOptions, render_table};
