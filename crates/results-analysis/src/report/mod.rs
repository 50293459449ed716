//! The report: one page that argues the answer of each run, and its plots as files.
//!
//! [`load()`] reads a database into a [`Report`]; everything after that is pure. The page holds its pictures and its
//! style; it asks for nothing else, runs no script and opens offline.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use gipfel_results_analysis::report;
//! use gipfel_results_db::ResultsDb;
//!
//! let db = ResultsDb::open_read_only("results.db").await?;
//! let report = report::load(&db).await?;
//! std::fs::write("report.html", report.render_html()?)?;
//! for plot in report.plots() {
//!     std::fs::write(format!("{}.svg", plot.name), plot.svg)?;
//! }
//! # Ok(())
//! # }
//! ```

mod facts;
mod headline;
mod load;
mod model;
mod page;
mod plots;
#[cfg(feature = "png")]
mod png;
mod series;
mod svg;
#[cfg(test)]
mod tests;
mod words;

pub use load::load;
#[cfg(feature = "png")]
pub use png::PngError;

use crate::summary::Summary;
use model::{Run, RunFacts};

/// Everything that a report shows of a database.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The database's file name.
    source: String,
    summary: Summary,
    /// One for each run of the summary, in its order.
    runs: Vec<RunFacts>,
}

/// A page that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("failed to fill in the report's template")]
pub struct RenderError(#[from] askama::Error);

/// A plot as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plot {
    /// The file's name without its ending. It stays the same from version to version.
    pub name: String,
    /// The plot's title.
    pub title: String,
    /// The plot as a whole SVG document, in light colours.
    pub svg: String,
}

impl Report {
    /// The page.
    pub fn render_html(&self) -> Result<String, RenderError> {
        Ok(page::render(self)?)
    }

    /// The plots of the page, as files: first the one of all runs, then those of each run.
    pub fn plots(&self) -> Vec<Plot> {
        plots::files(self)
    }

    /// What the runs say.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    fn runs(&self) -> impl DoubleEndedIterator<Item = Run<'_>> + Clone {
        self.summary
            .runs
            .iter()
            .zip(&self.runs)
            .map(|(summary, facts)| Run { summary, facts })
    }
}
