//! Arguments of the commands that read results.

use std::{fmt, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use gipfel_model::Slo;
use gipfel_results_analysis::export::Table;

use super::{DEFAULT_RESULTS_DIR, values::parse_slo};

/// `gipfel list`.
#[derive(Clone, Debug, Args)]
pub struct ListArguments {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Where the campaigns are.
    #[arg(long, value_name = "DIRECTORY", default_value = DEFAULT_RESULTS_DIR)]
    pub results_dir: PathBuf,
}

/// `gipfel results …`.
#[derive(Clone, Debug, Subcommand)]
pub enum ResultsCommand {
    /// Put the databases of all runs into one.
    Merge {
        /// Databases to merge; by default every run of the results directory.
        sources: Vec<PathBuf>,
        /// The merged database; by default `results.db` in the results directory.
        #[arg(long, value_name = "FILE")]
        into: Option<PathBuf>,
        /// Where the runs are.
        #[arg(long, value_name = "DIRECTORY", default_value = "results")]
        results_dir: PathBuf,
    },
    /// Write requests, levels, metrics or runs in the form of another program.
    Export(ExportArguments),
    /// Compare two results: the peaks, the latencies at equal rate, and what else differs.
    ///
    /// Exits with 13 when the second is worse beyond noise, with 12 when one of them is unresolved.
    Compare(CompareArguments),
    /// Write a page that argues the answer of each run, and its plots.
    Report(ReportArguments),
    /// Print the answer and the levels of each run.
    Summary {
        /// A database; by default `results.db` in the results directory.
        database: Option<PathBuf>,
        /// Judge by this objective instead: milliseconds of TTFT p95, or an expression; repeat it for several.
        #[arg(long = "slo", value_name = "MS|EXPR", value_parser = parse_slo)]
        slos: Vec<Slo>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Print every step of a search with all its figures, not only the blocks near its peak.
        #[arg(long, conflicts_with = "json")]
        all_levels: bool,
        /// Where the runs are.
        #[arg(long, value_name = "DIRECTORY", default_value = "results")]
        results_dir: PathBuf,
    },
}

/// `gipfel results export`.
#[derive(Clone, Debug, Args)]
pub struct ExportArguments {
    /// A database; by default `results.db` in the results directory.
    pub database: Option<PathBuf>,
    /// The form.
    #[arg(long, value_enum)]
    pub format: ExportFormat,
    /// Where it goes: a file, `-` for standard output, or for vllm-bench a directory; by default standard output.
    #[arg(short, long, value_name = "FILE|DIRECTORY")]
    pub output: Option<PathBuf>,
    /// Only this run.
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
    /// Which rows of csv and parquet; by default the requests.
    #[arg(long, value_enum)]
    pub table: Option<ExportTable>,
    /// Where the runs are.
    #[arg(long, value_name = "DIRECTORY", default_value = DEFAULT_RESULTS_DIR)]
    pub results_dir: PathBuf,
}

/// The forms of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Rows as text, with a line of names.
    Csv,
    /// The summary, the stored levels and the provenance.
    Json,
    /// Rows in typed columns.
    Parquet,
    /// A file for each level, in the form of `vllm bench serve --save-result`.
    VllmBench,
}

impl fmt::Display for ExportFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Parquet => "parquet",
            Self::VllmBench => "vllm-bench",
        })
    }
}

/// The rows of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportTable {
    /// One for each request, of every phase.
    Requests,
    /// One for each level, with its percentiles.
    Levels,
    /// One for each look at the server's metrics.
    Scrapes,
    /// One for each run, with its answer and where it comes from.
    Runs,
}

impl From<ExportTable> for Table {
    fn from(table: ExportTable) -> Self {
        match table {
            ExportTable::Requests => Self::Requests,
            ExportTable::Levels => Self::Levels,
            ExportTable::Scrapes => Self::Scrapes,
            ExportTable::Runs => Self::Runs,
        }
    }
}

/// `gipfel results compare`.
#[derive(Clone, Debug, Args)]
pub struct CompareArguments {
    /// The first result: a database, DATABASE#RUN, or a run of the results directory.
    pub a: String,
    /// The second one, which is seen from the first.
    pub b: String,
    /// Compare although objectives or workloads differ.
    #[arg(long)]
    pub force: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Where the runs are.
    #[arg(long, value_name = "DIRECTORY", default_value = DEFAULT_RESULTS_DIR)]
    pub results_dir: PathBuf,
}

/// `gipfel results report`.
#[derive(Clone, Debug, Args)]
pub struct ReportArguments {
    /// A database; by default `results.db` in the results directory.
    pub database: Option<PathBuf>,
    /// Where the page goes: a file, or `-` for standard output.
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    pub output: PathBuf,
    /// Write each plot as SVG and PNG into this directory too.
    #[arg(long, value_name = "DIRECTORY")]
    pub plots: Option<PathBuf>,
    /// Where the runs are.
    #[arg(long, value_name = "DIRECTORY", default_value = DEFAULT_RESULTS_DIR)]
    pub results_dir: PathBuf,
}
