//! `gipfel results …`.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
};

use anyhow::Context;
use gipfel_model::Slo;
use gipfel_results_analysis::{Summary, TableOptions, render_table, summarize_with};
use gipfel_results_db::ResultsDb;

use crate::{campaign::refusal_words, exit::Exit, failure::Failure, print, terminal};

/// Columns that a table may take when the terminal does not say how wide it is.
pub(crate) const TABLE_WIDTH: u16 = 110;

/// `gipfel results merge`.
pub(crate) fn merge(
    sources: Vec<PathBuf>,
    into: Option<PathBuf>,
    results_dir: &Path,
) -> Result<Exit, Failure> {
    let target = into.unwrap_or_else(|| results_dir.join("results.db"));
    let sources = if sources.is_empty() {
        run_databases(results_dir)?
    } else {
        sources
    };
    if sources.is_empty() {
        let error = anyhow::anyhow!("there is no run database under `{}`", results_dir.display());
        return Err(Failure::usage(error).hint("name the databases, or the directory with --results-dir"));
    }
    if let Some(parent) = target
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty() && !parent.is_dir())
    {
        let error = anyhow::anyhow!("there is no directory `{}` to merge into", parent.display());
        return Err(Failure::usage(error));
    }
    let report = runtime()?
        .block_on(gipfel_results_db::merge(&target, &sources))
        .with_context(|| format!("failed to merge into `{}`", target.display()))
        .map_err(Failure::experiment)?;
    for run in &report.merged {
        let verb = if run.replaced { "replaced" } else { "merged" };
        print(&format!("{verb} {} from {}\n", run.run_id, run.source.display()))?;
    }
    for refused in &report.refused {
        print(&format!("{}\n", refusal_words(refused)))?;
    }
    print(&format!("{} runs in {}\n", report.merged.len(), target.display()))?;
    Ok(if report.refused.is_empty() {
        Exit::Done
    } else {
        Exit::ExperimentFailed
    })
}

/// `gipfel results summary`.
pub(crate) fn summary(
    database: Option<PathBuf>,
    slos: &[Slo],
    form: Form,
    results_dir: &Path,
) -> Result<Exit, Failure> {
    let database = database.unwrap_or_else(|| results_dir.join("results.db"));
    let summary = read_summary(&database, slos)?;
    print_summary(&summary, form)?;
    Ok(Exit::Done)
}

/// Summarises a database, judged by `slos` if there are any.
pub(crate) fn read_summary(database: &Path, slos: &[Slo]) -> Result<Summary, Failure> {
    if !database.exists() {
        let error = anyhow::anyhow!("there is no database `{}`", database.display());
        return Err(Failure::usage(error)
            .hint("`gipfel results merge` makes it from the runs of a results directory"));
    }
    let slos = (!slos.is_empty()).then_some(slos);
    runtime()?
        .block_on(async {
            let db = ResultsDb::open_read_only(database).await?;
            anyhow::Ok(summarize_with(&db, slos).await?)
        })
        .with_context(|| format!("failed to read `{}`", database.display()))
        .map_err(Failure::usage)
}

/// How a summary is printed.
#[derive(Clone, Copy, Default)]
pub(crate) struct Form {
    /// As JSON.
    pub(crate) json: bool,
    /// Every step of a search with all its figures.
    pub(crate) all_levels: bool,
}

/// Prints a summary as a table or as JSON.
pub(crate) fn print_summary(summary: &Summary, form: Form) -> Result<(), Failure> {
    let text = if form.json {
        serde_json::to_string_pretty(summary).context("failed to write the summary as JSON")? + "\n"
    } else {
        let options = TableOptions {
            width: table_width(),
            color: std::io::stdout().is_terminal() && terminal::wants_colour(),
            all_levels: form.all_levels,
        };
        render_table(summary, options)
    };
    print(&text)?;
    Ok(())
}

/// As wide as the terminal; a narrower one than this breaks the lines, which reads better than columns of a few letters.
const NARROWEST_TABLE: usize = 80;

/// Columns that a table on standard output may take.
pub(crate) fn table_width() -> u16 {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return TABLE_WIDTH;
    }
    let columns = terminal::size_of(&stdout).columns.max(NARROWEST_TABLE);
    u16::try_from(columns).unwrap_or(TABLE_WIDTH).min(TABLE_WIDTH)
}

/// The databases `run_*.db` of every campaign under the directory, sorted.
pub(super) fn run_databases(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    collect(directory, 0, &mut found)
        .with_context(|| format!("failed to look into `{}`", directory.display()))
        .map_err(Failure::usage)?;
    found.sort();
    Ok(found)
}

/// Runs lie in `<campaign>/<run>/`; deeper there is nothing of ours.
fn collect(directory: &Path, depth: u32, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() && depth < 2 {
            collect(&path, depth + 1, found)?;
        } else if is_run_database(&path) {
            found.push(path);
        }
    }
    Ok(())
}

fn is_run_database(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "db")
        && path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with("run_"))
}

/// A runtime for commands that only wait for one thing.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    Ok(runtime.context("failed to start the runtime")?)
}
