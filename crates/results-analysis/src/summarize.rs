//! From the database to the summary.

use gipfel_model::{LevelRecord, ScrapeRecord, SearchSpec, Slo};
use gipfel_results_db::{DbError, Origin, ResultsDb, RunRow};

use crate::{
    answer,
    level::{self, LevelData, Objectives},
    notes,
    summary::{LevelSummary, RunSummary, SUMMARY_FORMAT, Summary},
};

/// Sums up every run of a database, each judged by its own objectives.
pub async fn summarize(db: &ResultsDb) -> Result<Summary, DbError> {
    summarize_with(db, None).await
}

/// Sums up every run of a database; with objectives, the levels are judged anew by them from the stored requests.
pub async fn summarize_with(db: &ResultsDb, judged_by: Option<&[Slo]>) -> Result<Summary, DbError> {
    let mut runs = Vec::new();
    for run in db.runs().await? {
        runs.push(summarize_run(db, &run, judged_by).await?);
    }
    Ok(Summary {
        header: SUMMARY_FORMAT.header(),
        judged_by: judged_by.map(<[Slo]>::to_vec),
        runs,
    })
}

async fn summarize_run(
    db: &ResultsDb,
    run: &RunRow,
    judged_by: Option<&[Slo]>,
) -> Result<RunSummary, DbError> {
    let scrapes = db.scrapes(run.key).await?;
    let objectives = Objectives {
        judged_by,
        own: &run.slos,
        informational: &run.informational_slos,
    };
    let mut levels: Vec<LevelSummary> = Vec::new();
    let records = db.levels(run.key).await?;
    let peak = gipfel_peak_search::conclude(&SearchSpec::default(), &run.slos, &records);
    for record in records {
        levels.push(level::summarize(
            &load(db, run, record, &scrapes).await?,
            &objectives,
        ));
    }
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
        slos: judged_by.unwrap_or(&run.slos).to_vec(),
        informational_slos: run.informational_slos.clone(),
        answer: answer::answer(&levels, run.state, run.error.as_deref()),
        peak,
        warnings: Vec::new(),
        repeat: run.repeat,
        notes: notes::notes(run, &levels),
        levels,
    })
}

async fn load(
    db: &ResultsDb,
    run: &RunRow,
    record: LevelRecord,
    scrapes: &[ScrapeRecord],
) -> Result<LevelData, DbError> {
    Ok(LevelData {
        requests: db.measured_requests(run.key, record.level).await?,
        gaps: db.gaps(run.key, record.level).await?,
        scrapes: scrapes
            .iter()
            .filter(|scrape| scrape.level == record.level)
            .cloned()
            .collect(),
        record,
    })
}
