//! `gipfel results report`.

use std::{fs, io::Write, path::Path};

use anyhow::Context;
use gipfel_results_analysis::report::{self, Plot, Report};

use super::{export::open, results::runtime};
use crate::{
    cli::ReportArguments,
    exit::Exit,
    failure::Failure,
    output::{Output, print},
};

/// Writes the report of a database, and its plots as files.
pub(crate) fn report(arguments: &ReportArguments) -> Result<Exit, Failure> {
    let database = arguments
        .database
        .clone()
        .unwrap_or_else(|| arguments.results_dir.join("results.db"));
    let runtime = runtime()?;
    let db = open(&runtime, &database)?;
    let report = runtime
        .block_on(report::load(&db))
        .with_context(|| format!("failed to read `{}`", database.display()))
        .map_err(Failure::usage)?;
    let page = report.render_html().context("failed to make the report")?;
    let is_file = arguments.output != Path::new("-");
    write(&arguments.output, page.as_bytes())?;
    if is_file {
        print(&format!("report in {}\n", arguments.output.display()))?;
    }
    if let Some(directory) = &arguments.plots {
        let count = write_plots(&report, directory)?;
        if is_file {
            print(&format!("{count} plots in {}\n", directory.display()))?;
        }
    }
    Ok(Exit::Done)
}

/// Each plot as SVG and as PNG, in a directory that is made if it is missing; says how many plots there are.
fn write_plots(report: &Report, directory: &Path) -> Result<usize, Failure> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make the directory `{}`", directory.display()))
        .map_err(Failure::usage)?;
    let plots = report.plots();
    for Plot { name, svg, .. } in &plots {
        write(&directory.join(format!("{name}.svg")), svg.as_bytes())?;
    }
    for plot in &plots {
        let png = plot.to_png().context("failed to draw a plot as PNG")?;
        write(&directory.join(format!("{}.png", plot.name)), &png)?;
    }
    Ok(plots.len())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut output = Output::open(Some(path)).map_err(Failure::usage)?;
    let name = output.name();
    output
        .write_all(bytes)
        .with_context(|| format!("cannot write {name}"))?;
    Ok(output.finish()?)
}
