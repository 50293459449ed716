//! From the database to the report.

use std::collections::BTreeMap;

use gipfel_model::{LevelRecord, ScrapeRecord};
use gipfel_results_db::{DbError, ResultsDb, RunRow};

use super::{
    Report,
    facts::{self, LevelFacts, Place},
    model::{self, RunFacts},
};
use crate::{
    flight::{Flight, still_in_flight},
    summarize,
    summary::RunSummary,
};

/// Stretches of time in which the violations of a whole run are counted.
const STRETCHES: f64 = 220.0;

/// Requests that a page draws one by one, in all of its levels over time, so that it stays small.
const DOTS: usize = 32_000;
/// Those of one level.
const DOTS_OF_LEVEL: usize = 4000;
/// Levels that a run shows over time.
const SHOWN_LEVELS: usize = 2;

/// Reads everything that a report shows of a database. The requests are read level by level, so that a large database
/// needs little memory.
pub async fn load(db: &ResultsDb) -> Result<Report, DbError> {
    let summary = summarize(db).await?;
    let rows: BTreeMap<String, RunRow> = db
        .runs()
        .await?
        .into_iter()
        .map(|row| (row.run_id.clone(), row))
        .collect();
    let most_dots = (DOTS / SHOWN_LEVELS / summary.runs.len().max(1)).min(DOTS_OF_LEVEL);
    let mut runs = Vec::with_capacity(summary.runs.len());
    for run in &summary.runs {
        runs.push(match rows.get(&run.run_id) {
            Some(row) => load_run(db, row, run, most_dots).await?,
            None => RunFacts::default(),
        });
    }
    let source = db.path().file_name().unwrap_or(db.path().as_os_str());
    Ok(Report {
        source: source.to_string_lossy().into_owned(),
        summary,
        runs,
    })
}

async fn load_run(
    db: &ResultsDb,
    row: &RunRow,
    run: &RunSummary,
    most_dots: usize,
) -> Result<RunFacts, DbError> {
    let records = db.levels(row.key).await?;
    let mut scrapes = by_level(db.scrapes(row.key).await?);
    let focus = model::focus(run);
    let shown = model::shown_over_time(run);
    let origin_unix_ns = records.first().map_or(0, |record| record.started_unix_ns);
    let stretch_s = stretch(&records, origin_unix_ns);
    let mut in_flight: Vec<Flight> = Vec::new();
    let mut levels: Vec<LevelFacts> = Vec::with_capacity(records.len());
    for record in &records {
        let requests = db.requests(row.key, record.level).await?;
        let place = Place {
            origin_unix_ns,
            stretch_s,
            focus: focus.as_ref(),
            earlier: &in_flight,
            has_times: !run.imported,
            with_series: shown.contains(&record.level),
            most_dots,
        };
        let scrapes = scrapes.remove(&record.level).unwrap_or_default();
        levels.push(facts::of_level(record, &requests, &scrapes, &place));
        in_flight = still_in_flight(&in_flight, &requests, record);
    }
    end_where_the_next_begins(&mut levels);
    Ok(RunFacts {
        provenance: db.provenance(row.key).await?,
        focus,
        levels,
        stretch_s,
    })
}

/// The record of a step of a search is completed while the next step is being offered already.
fn end_where_the_next_begins(levels: &mut [LevelFacts]) {
    for index in 1..levels.len() {
        let begin_s = levels[index].begin_s;
        let level = &mut levels[index - 1];
        level.end_s = level.end_s.min(begin_s).max(level.begin_s);
    }
}

fn by_level(scrapes: Vec<ScrapeRecord>) -> BTreeMap<u32, Vec<ScrapeRecord>> {
    let mut levels: BTreeMap<u32, Vec<ScrapeRecord>> = BTreeMap::new();
    for scrape in scrapes {
        levels.entry(scrape.level).or_default().push(scrape);
    }
    levels
}

/// A whole number of seconds, so that a run of any length is drawn in about as many stretches.
fn stretch(records: &[LevelRecord], origin_unix_ns: i64) -> f64 {
    let ends = records
        .iter()
        .map(|record| record.ended_unix_ns.unwrap_or(record.started_unix_ns));
    let total_s = (ends.max().unwrap_or(0) - origin_unix_ns).max(0) as f64 / 1e9;
    (total_s / STRETCHES).ceil().max(1.0)
}
