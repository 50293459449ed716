//! One of the two results, read from its database.

use gipfel_model::RequestRecord;
use gipfel_results_db::{Origin, ResultsDb, RunKey, RunRow};

use super::{
    CompareError, ComparedRun, PeakOfRuns, ResultSummary, Source,
    rates::Place,
    settings::{self, Settings},
};
use crate::{facts::Facts, summarize, summary::RunSummary};

/// Scheduled times of several runs are moved apart by this, so that their batches do not mix.
const BETWEEN_RUNS_NS: i64 = 1 << 53;

/// A run, or the repeats of one experiment.
pub(super) struct Side<'a> {
    db: &'a ResultsDb,
    label: &'a str,
    keys: Vec<RunKey>,
    pub(super) runs: Vec<RunSummary>,
    pub(super) settings: Settings,
    is_imported: bool,
}

impl<'a> Side<'a> {
    pub(super) async fn load(source: Source<'a>) -> Result<Self, CompareError> {
        let rows = select(source).await?;
        let mut side = Self {
            db: source.db,
            label: source.label,
            keys: rows.iter().map(|row| row.key).collect(),
            runs: Vec::with_capacity(rows.len()),
            settings: Settings::default(),
            is_imported: rows.iter().any(|row| row.origin == Origin::Predecessor),
        };
        for row in &rows {
            let provenance = source.db.provenance(row.key).await?;
            settings::collect(&mut side.settings, row, &provenance);
            side.runs
                .push(summarize::summarize_run(source.db, row, None).await?);
        }
        Ok(side)
    }

    /// The measured requests of some levels, and how many more were scheduled than are recorded.
    pub(super) async fn requests(&self, places: &[Place]) -> Result<(Vec<RequestRecord>, u64), CompareError> {
        let mut requests = Vec::new();
        let mut unseen = 0;
        for place in places {
            let level = &self.runs[place.run].levels[place.level];
            let mut measured = self
                .db
                .measured_requests(self.keys[place.run], level.level)
                .await?;
            let scheduled = level
                .attainment
                .iter()
                .map(|one| one.scheduled)
                .max()
                .unwrap_or(0);
            unseen += scheduled.saturating_sub(measured.len() as u64);
            let shift = place.run as i64 * BETWEEN_RUNS_NS;
            for request in &mut measured {
                request.scheduled_ns += shift;
            }
            requests.append(&mut measured);
        }
        Ok((requests, unseen))
    }

    /// Whether the requests know when they were scheduled.
    pub(super) fn is_timed(&self) -> bool {
        !self.is_imported
    }

    pub(super) fn summary(&self, peak: Option<PeakOfRuns>) -> ResultSummary {
        let first = self.runs.first();
        ResultSummary {
            label: self.label.to_owned(),
            model: first.map(|run| run.model.clone()).unwrap_or_default(),
            backend: first.map(|run| run.backend.clone()).unwrap_or_default(),
            runs: self.runs.iter().map(compared).collect(),
            peak,
        }
    }

    /// Which of several repeats have no answer.
    pub(super) fn without_answer(&self) -> Option<String> {
        let without = self
            .runs
            .iter()
            .filter(|run| run.peak.unresolved.is_some())
            .count();
        (self.runs.len() > 1 && without > 0).then(|| {
            format!(
                "{without} of {} repeats are unresolved and left aside",
                self.runs.len()
            )
        })
    }

    /// What makes its figures less than they seem.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for run in &self.runs {
            for warning in &run.warnings {
                let note = format!("{} {}", warning.code, warning.text);
                if !notes.contains(&note) {
                    notes.push(note);
                }
            }
        }
        notes
    }
}

fn compared(run: &RunSummary) -> ComparedRun {
    ComparedRun {
        run_id: run.run_id.clone(),
        estimate: run.peak.estimate.clone(),
        unresolved: run.peak.unresolved.clone(),
        highest_passing_level: run
            .answer
            .highest_passing_level
            .map(gipfel_model::ArrivalRate::get),
    }
}

/// The rows that the source names: a run, or repeats of one experiment.
async fn select(source: Source<'_>) -> Result<Vec<RunRow>, CompareError> {
    let rows = source.db.runs().await?;
    let label = source.label.to_owned();
    if rows.is_empty() {
        return Err(CompareError::NoRun { label });
    }
    let known = |rows: &[RunRow]| rows.iter().map(|row| row.run_id.clone()).collect::<Vec<_>>();
    let all = known(&rows);
    let selected: Vec<RunRow> = match source.id {
        None => rows,
        Some(id) => {
            let is_one = rows.iter().any(|row| row.run_id == id);
            let is_meant = |row: &RunRow| {
                if is_one {
                    row.run_id == id
                } else {
                    row.campaign_id.as_deref() == Some(id)
                }
            };
            rows.into_iter().filter(is_meant).collect()
        }
    };
    if selected.is_empty() {
        let id = source.id.unwrap_or_default().to_owned();
        return Err(CompareError::NoSuchRun {
            label,
            id,
            known: all,
        });
    }
    if selected.len() > 1 && !are_repeats(source.db, &selected).await? {
        return Err(CompareError::SeveralExperiments {
            label,
            known: known(&selected),
        });
    }
    Ok(selected)
}

/// Whether these are repeats of one experiment: all was equal but the deployment.
async fn are_repeats(db: &ResultsDb, rows: &[RunRow]) -> Result<bool, CompareError> {
    let mut experiment = None;
    let mut numbers = Vec::new();
    for row in rows {
        let facts = Facts::new(&db.provenance(row.key).await?);
        let Some(this) = facts.experiment else {
            return Ok(false);
        };
        if *experiment.get_or_insert_with(|| this.clone()) != this || numbers.contains(&row.repeat) {
            return Ok(false);
        }
        numbers.push(row.repeat);
    }
    Ok(true)
}
