//! The summary, the stored levels and the provenance as one JSON object.

use std::io::Write;

use gipfel_model::{LevelRecord, Provenance, format::Format};
use gipfel_results_db::ResultsDb;
use serde::Serialize;

use super::{ExportError, rows};
use crate::{
    summarize,
    summary::{RunSummary, SUMMARY_FORMAT},
};

/// The format of a JSON export. `summary_header` beside it names that of each run's summary.
pub const EXPORT_FORMAT: Format = Format {
    name: "gipfel-export",
    major: 1,
    minor: 0,
};

#[derive(Serialize)]
struct Run {
    summary: RunSummary,
    /// The levels as they are stored, with what was learnt from them second by second.
    levels: Vec<LevelRecord>,
    provenance: Provenance,
}

/// Writes run by run, so that only one of them is held.
pub(super) async fn write(
    db: &ResultsDb,
    run_id: Option<&str>,
    to: &mut (dyn Write + Send),
) -> Result<(), ExportError> {
    let runs = rows::runs(db, run_id).await?;
    to.write_all(b"{\"header\":")?;
    serde_json::to_writer(&mut *to, &EXPORT_FORMAT.header())?;
    to.write_all(b",\"summary_header\":")?;
    serde_json::to_writer(&mut *to, &SUMMARY_FORMAT.header())?;
    to.write_all(b",\"runs\":[")?;
    for (index, run) in runs.iter().enumerate() {
        to.write_all(if index == 0 { b"\n" } else { b",\n" })?;
        let run = Run {
            summary: summarize::summarize_run(db, run, None).await?,
            levels: db.levels(run.key).await?,
            provenance: db.provenance(run.key).await?,
        };
        serde_json::to_writer(&mut *to, &run)?;
    }
    to.write_all(b"\n]}\n")?;
    Ok(to.flush()?)
}
