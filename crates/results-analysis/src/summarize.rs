//! From the database to the summary.

use gipfel_model::{LevelRecord, LevelState, PeakAnswer, ScrapeRecord, Slo};
use gipfel_results_db::{DbError, Origin, ResultsDb, RunRow};

use crate::{
    answer::{self, Standing},
    facts::Facts,
    flight::{Flight, still_in_flight},
    judge::Objectives,
    level::{self, LevelData},
    notes,
    summary::{LevelSummary, RunSummary, Summary},
    warnings::{self, Subject},
};

/// Sums up every run of a database, each judged by its own objectives.
pub async fn summarize(db: &ResultsDb) -> Result<Summary, DbError> {
    summarize_with(db, None).await
}

/// Sums up every run of a database; with objectives, the levels are judged and the peak is estimated anew by them, from
/// the stored requests.
pub async fn summarize_with(db: &ResultsDb, judged_by: Option<&[Slo]>) -> Result<Summary, DbError> {
    let mut runs = Vec::new();
    for run in db.runs().await? {
        runs.push(summarize_run(db, &run, judged_by).await?);
    }
    Ok(Summary::new(judged_by, runs))
}

/// Sums up one run.
pub(crate) async fn summarize_run(
    db: &ResultsDb,
    run: &RunRow,
    judged_by: Option<&[Slo]>,
) -> Result<RunSummary, DbError> {
    let scrapes = db.scrapes(run.key).await?;
    let facts = Facts::new(&db.provenance(run.key).await?);
    let slos = judged_by.unwrap_or(&run.slos);
    let objectives = Objectives {
        judged_by,
        own: &run.slos,
        informational: &run.informational_slos,
        timed: run.origin != Origin::Predecessor,
    };
    let mut levels: Vec<LevelSummary> = Vec::new();
    let mut records: Vec<LevelRecord> = Vec::new();
    let mut in_flight: Vec<Flight> = Vec::new();
    for record in db.levels(run.key).await? {
        let data = load(db, run, record, &scrapes).await?;
        let still = still_in_flight(&in_flight, data.requests(), &data.record);
        let (level, record) = level::summarize(data, &objectives, &in_flight);
        in_flight = still;
        levels.push(level);
        records.push(record);
    }
    let peak = peak(&objectives, &facts, slos, &records);
    let standing = Standing {
        state: run.state,
        error: run.error.as_deref(),
    };
    Ok(RunSummary {
        run_id: run.run_id.clone(),
        imported: run.origin == Origin::Predecessor,
        campaign_id: run.campaign_id.clone(),
        deployment_id: run.deployment_id.clone(),
        deployment: run.deployment,
        model: run.model.clone(),
        backend: run.backend.clone(),
        created_at: run.created_at.clone(),
        server_load_time_s: run.server_load_time_s,
        state: run.state,
        error: run.error.clone(),
        slos: slos.to_vec(),
        informational_slos: run.informational_slos.clone(),
        answer: answer::answer(&levels, &peak, facts.search.as_ref(), standing),
        warnings: warnings::warnings(&Subject {
            levels: &levels,
            records: &records,
            slos,
            search: facts.search.as_ref(),
            peak: &peak,
            prompts: facts.prompts,
        }),
        peak,
        search: facts.search,
        repeat: run.repeat,
        experiment: facts.experiment,
        notes: notes::notes(run, &levels),
        levels,
    })
}

/// What the levels say of the peak; nothing where the requests have no times or no level has come to its end.
fn peak(objectives: &Objectives<'_>, facts: &Facts, slos: &[Slo], records: &[LevelRecord]) -> PeakAnswer {
    let is_measured = records.iter().any(|record| record.state == LevelState::Complete);
    if !objectives.timed || slos.is_empty() || !is_measured {
        return PeakAnswer::default();
    }
    let search = facts.search.clone().unwrap_or_default();
    gipfel_peak_search::conclude(&search, slos, records)
}

async fn load(
    db: &ResultsDb,
    run: &RunRow,
    record: LevelRecord,
    scrapes: &[ScrapeRecord],
) -> Result<LevelData, DbError> {
    let requests = db.requests(run.key, record.level).await?;
    let gaps = db.gaps(run.key, record.level).await?;
    let scrapes = scrapes
        .iter()
        .filter(|scrape| scrape.level == record.level)
        .cloned()
        .collect();
    Ok(LevelData::new(record, requests, gaps, scrapes))
}
