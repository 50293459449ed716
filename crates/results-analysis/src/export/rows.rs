//! From the database to a sink, row by row.

use std::{collections::BTreeMap, sync::Arc};

use gipfel_model::LevelRecord;
use gipfel_results_db::{RequestPosition, ResultsDb, RunRow, ScrapePosition};

use super::{
    ExportError, Table,
    columns::{LevelRow, RequestRow, RunRows, ScrapeRow},
    value::{Kind, Row, Value},
};
use crate::summarize;

/// Rows that are read at a time.
const PAGE: u32 = 4096;

/// Takes the rows of a table.
pub(super) trait Sink {
    /// Comes first, with the names and kinds of the columns.
    fn begin(&mut self, columns: &[(&'static str, Kind)]) -> Result<(), ExportError>;

    /// One row, a cell for each column.
    fn row(&mut self, cells: &[Value<'_>]) -> Result<(), ExportError>;
}

/// The runs that are asked for: one, or all, oldest first.
pub(super) async fn runs(db: &ResultsDb, run_id: Option<&str>) -> Result<Vec<RunRow>, ExportError> {
    let runs = db.runs().await?;
    let Some(run_id) = run_id else {
        return Ok(runs);
    };
    let known: Vec<String> = runs.iter().map(|run| run.run_id.clone()).collect();
    let found: Vec<RunRow> = runs.into_iter().filter(|run| run.run_id == run_id).collect();
    if found.is_empty() {
        return Err(ExportError::NoSuchRun {
            run_id: run_id.to_owned(),
            known,
        });
    }
    Ok(found)
}

/// Feeds the rows of a table to a sink.
pub(super) async fn feed(
    db: &ResultsDb,
    table: Table,
    run_id: Option<&str>,
    sink: &mut dyn Sink,
) -> Result<(), ExportError> {
    let runs = runs(db, run_id).await?.into_iter().map(Arc::new);
    match table {
        Table::Requests => {
            begin::<RequestRow>(sink)?;
            for run in runs {
                requests(db, &run, sink).await?;
            }
        }
        Table::Levels => {
            begin::<LevelRow>(sink)?;
            for run in runs {
                levels(db, &run, sink).await?;
            }
        }
        Table::Scrapes => {
            begin::<ScrapeRow>(sink)?;
            for run in runs {
                scrapes(db, &run, sink).await?;
            }
        }
        Table::Runs => {
            begin::<RunRows>(sink)?;
            for run in runs {
                let summary = summarize::summarize_run(db, &run, None).await?;
                let provenance = db.provenance(run.key).await?;
                let row = RunRows {
                    row: run,
                    summary,
                    provenance,
                };
                put(sink, &row)?;
            }
        }
    }
    Ok(())
}

async fn requests(db: &ResultsDb, run: &Arc<RunRow>, sink: &mut dyn Sink) -> Result<(), ExportError> {
    let levels = levels_by_number(db, run).await?;
    let mut after = None;
    loop {
        let page = db.requests_after(run.key, after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = Some(RequestPosition::of(last));
        for record in page {
            let row = RequestRow {
                run: Arc::clone(run),
                level: levels.get(&record.level).cloned(),
                record,
            };
            put(sink, &row)?;
        }
    }
}

async fn scrapes(db: &ResultsDb, run: &Arc<RunRow>, sink: &mut dyn Sink) -> Result<(), ExportError> {
    let levels = levels_by_number(db, run).await?;
    let mut after = None;
    loop {
        let page = db.scrapes_after(run.key, after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = Some(ScrapePosition::of(last));
        for record in page {
            let row = ScrapeRow {
                run: Arc::clone(run),
                level: levels.get(&record.level).cloned(),
                record,
            };
            put(sink, &row)?;
        }
    }
}

async fn levels(db: &ResultsDb, run: &Arc<RunRow>, sink: &mut dyn Sink) -> Result<(), ExportError> {
    let records = db.levels(run.key).await?;
    let summary = summarize::summarize_run(db, run, None).await?;
    for (record, summary) in records.into_iter().zip(summary.levels) {
        let row = LevelRow {
            run: Arc::clone(run),
            record,
            summary,
        };
        put(sink, &row)?;
    }
    Ok(())
}

async fn levels_by_number(
    db: &ResultsDb,
    run: &RunRow,
) -> Result<BTreeMap<u32, Arc<LevelRecord>>, ExportError> {
    let levels = db.levels(run.key).await?;
    Ok(levels
        .into_iter()
        .map(|level| (level.level, Arc::new(level)))
        .collect())
}

fn begin<R: Row>(sink: &mut dyn Sink) -> Result<(), ExportError> {
    let columns: Vec<_> = R::COLUMNS
        .iter()
        .map(|column| (column.name, column.kind))
        .collect();
    sink.begin(&columns)
}

fn put<R: Row>(sink: &mut dyn Sink, row: &R) -> Result<(), ExportError> {
    let cells: Vec<Value<'_>> = R::COLUMNS.iter().map(|column| (column.cell)(row)).collect();
    sink.row(&cells)
}
