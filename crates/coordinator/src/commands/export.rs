//! `gipfel results export`.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use gipfel_results_analysis::export::{
    ExportError, Table, export_csv, export_json, export_parquet, vllm_bench,
};
use gipfel_results_db::ResultsDb;

use super::results::runtime;
use crate::{
    cli::{ExportArguments, ExportFormat},
    exit::Exit,
    failure::Failure,
    output::{Output, print},
};

/// Writes a database in another form.
pub(crate) fn export(arguments: &ExportArguments) -> Result<Exit, Failure> {
    check(arguments)?;
    let database = arguments
        .database
        .clone()
        .unwrap_or_else(|| arguments.results_dir.join("results.db"));
    let runtime = runtime()?;
    let db = open(&runtime, &database)?;
    if arguments.format == ExportFormat::VllmBench {
        return write_vllm_bench(&runtime, &db, arguments);
    }
    let mut output = Output::open(arguments.output.as_deref()).map_err(Failure::usage)?;
    let written = runtime.block_on(write(&db, arguments, &mut output));
    match written {
        Ok(()) => output.finish()?,
        // The reader has seen enough.
        Err(error) if error.is_broken_pipe() => {}
        Err(error) => return Err(failure(error, &output.name())),
    }
    Ok(Exit::Done)
}

/// What fits no format.
fn check(arguments: &ExportArguments) -> Result<(), Failure> {
    let format = arguments.format;
    if arguments.table.is_some() && !matches!(format, ExportFormat::Csv | ExportFormat::Parquet) {
        let error = anyhow!("--table chooses the rows of csv and parquet; {format} holds no table");
        return Err(Failure::usage(error).hint("leave it out"));
    }
    let wants_name = match format {
        ExportFormat::Csv | ExportFormat::Json => false,
        ExportFormat::Parquet => arguments.output.is_none(),
        ExportFormat::VllmBench => arguments
            .output
            .as_deref()
            .is_none_or(|path| path == Path::new("-")),
    };
    if wants_name {
        let what = if format == ExportFormat::Parquet {
            "FILE"
        } else {
            "DIRECTORY"
        };
        let error = anyhow!("{format} is not written to a terminal");
        return Err(Failure::usage(error).hint(format!("name it with -o {what}")));
    }
    Ok(())
}

/// Opens a database for reading.
pub(super) fn open(runtime: &tokio::runtime::Runtime, database: &Path) -> Result<ResultsDb, Failure> {
    if !database.exists() {
        let error = anyhow!("there is no database `{}`", database.display());
        return Err(Failure::usage(error)
            .hint("`gipfel results merge` makes it from the runs of a results directory"));
    }
    runtime
        .block_on(ResultsDb::open_read_only(database))
        .with_context(|| format!("failed to read `{}`", database.display()))
        .map_err(Failure::usage)
}

async fn write(
    db: &ResultsDb,
    arguments: &ExportArguments,
    output: &mut (dyn Write + Send),
) -> Result<(), ExportError> {
    let table = arguments.table.map_or(Table::Requests, Table::from);
    let run = arguments.run.as_deref();
    match arguments.format {
        ExportFormat::Csv => export_csv(db, table, run, output).await,
        ExportFormat::Parquet => export_parquet(db, table, run, output).await,
        ExportFormat::Json | ExportFormat::VllmBench => export_json(db, run, output).await,
    }
}

/// One file for each level, in a directory that is made if it is missing.
fn write_vllm_bench(
    runtime: &tokio::runtime::Runtime,
    db: &ResultsDb,
    arguments: &ExportArguments,
) -> Result<Exit, Failure> {
    let directory: PathBuf = arguments.output.clone().unwrap_or_default();
    let bench = runtime
        .block_on(vllm_bench(db, arguments.run.as_deref()))
        .map_err(|error| failure(error, "the levels"))?;
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make the directory `{}`", directory.display()))
        .map_err(Failure::usage)?;
    for file in &bench.files {
        let path = directory.join(&file.name);
        let mut output = Output::open(Some(&path)).map_err(Failure::usage)?;
        let written = output.write_all(file.json.as_bytes());
        written.with_context(|| format!("cannot write `{}`", path.display()))?;
        output.finish()?;
    }
    for reason in &bench.left_out {
        print(&format!("left out: {reason}\n"))?;
    }
    print(&format!(
        "{} levels in {}\n",
        bench.files.len(),
        directory.display()
    ))?;
    Ok(Exit::Done)
}

fn failure(error: ExportError, output: &str) -> Failure {
    match error {
        ExportError::Write(error) => anyhow::Error::new(error)
            .context(format!("cannot write {output}"))
            .into(),
        ExportError::NoSuchRun { .. } | ExportError::Database(_) => Failure::usage(error),
        ExportError::Parquet(_) | ExportError::Json(_) => anyhow::Error::new(error).into(),
    }
}
