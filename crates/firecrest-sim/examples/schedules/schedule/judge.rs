//! Judges a schedule by the jobs and the files of the simulator, and not by what the client says.

use std::{collections::BTreeMap, time::Duration};

use firecrest_client::Adoption;
use firecrest_sim::JobSummary;
use tokio::time::{Instant, timeout};

use super::{
    LATEST_EFFECT,
    play::{Played, Submission, Told, chain},
    site::{SETTLEMENT, SETTLEMENT_BOUND, Site},
};

/// The job that takes an upload from the storage, in the words of the real server.
const UPLOAD_JOB: &str = "IngressFileTransfer";

/// The job that brings a download to the storage.
const DOWNLOAD_JOB: &str = "OutgressFileTransfer";

/// How long what was ordered takes to be so.
const SETTLING: Duration = Duration::from_secs(10);

/// What must never be, and is. The failures have ended before.
pub(crate) async fn judge(site: &Site, played: &mut Played) -> Vec<String> {
    let mut violations = std::mem::take(&mut played.violations);
    let ended = Instant::now();
    for submission in &mut played.submissions {
        if matches!(submission.told, Told::Unknown) {
            violations.extend(settle(site, submission).await);
        }
    }
    if played
        .submissions
        .iter()
        .any(|submission| matches!(submission.told, Told::Nothing))
    {
        // That nothing comes any more can only be seen by waiting for it.
        tokio::time::sleep_until(ended + LATEST_EFFECT).await;
    }
    violations.extend(owners(&site.running.jobs(), &played.submissions));
    let unfinished = |jobs: &[JobSummary]| unfinished(jobs, played);
    until(|| unfinished(&site.running.jobs()).is_none()).await;
    violations.extend(unfinished(&site.running.jobs()));
    for (path, content) in &played.written {
        if !std::fs::read(path).is_ok_and(|found| found == *content) {
            violations.push(format!("{} was written, and has other content", path.display()));
        }
    }
    violations
}

/// Finds out what became of a submission, now that nothing fails any more.
async fn settle(site: &Site, submission: &mut Submission) -> Option<String> {
    let Submission { name, mark, told } = submission;
    let jobs = site.patient.jobs(&site.system);
    match timeout(SETTLEMENT_BOUND, jobs.adopt(name, mark, &SETTLEMENT)).await {
        Ok(Ok(Adoption::Found(id))) => {
            *told = Told::Job(id);
            None
        }
        Ok(Ok(Adoption::Nothing)) => {
            *told = Told::Nothing;
            None
        }
        Ok(Err(error)) => Some(format!("{name} cannot be settled: {}", chain(&error))),
        Err(_) => Some(format!("the adoption of {name} does not end")),
    }
}

/// Each submission has the one job that was told, or none; each job has its submission.
fn owners(jobs: &[JobSummary], submissions: &[Submission]) -> Vec<String> {
    let mut by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for job in jobs
        .iter()
        .filter(|job| ![UPLOAD_JOB, DOWNLOAD_JOB].contains(&job.name.as_str()))
    {
        by_name.entry(&job.name).or_default().push(&job.id);
    }
    let mut violations = Vec::new();
    for Submission { name, told, .. } in submissions {
        let found = by_name.remove(name.as_str()).unwrap_or_default();
        match (told, found.as_slice()) {
            (Told::Job(id), [found]) if id.as_str() == *found => {}
            (Told::Nothing | Told::Unknown, []) => {}
            (_, [_, _, ..]) => violations.push(format!("{name} has the jobs {found:?}")),
            (told, found) => violations.push(format!("{name} is told as {told:?} and has {found:?}")),
        }
    }
    violations.extend(
        by_name
            .into_iter()
            .map(|(name, ids)| format!("nobody submitted {name} with the jobs {ids:?}")),
    );
    violations
}

/// Jobs that go on and should not: cancelled ones, and those of transfers that have ended.
fn unfinished(jobs: &[JobSummary], played: &Played) -> Option<String> {
    let runs = |job: &&JobSummary| !firecrest_client::JobState::parse(&job.state).is_ended();
    let cancelled = |job: &&JobSummary| played.cancelled.iter().any(|id| id.as_str() == job.id);
    if let Some(job) = jobs.iter().filter(runs).find(cancelled) {
        return Some(format!("job {} was cancelled and is {}", job.id, job.state));
    }
    let of = |name: &str| jobs.iter().filter(runs).filter(|job| job.name == name).count();
    if of(UPLOAD_JOB) > played.waiting_uploads {
        return Some(format!(
            "{} jobs wait for uploads where {} uploads said so",
            of(UPLOAD_JOB),
            played.waiting_uploads
        ));
    }
    (of(DOWNLOAD_JOB) > 0).then(|| format!("{} jobs of downloads do not end", of(DOWNLOAD_JOB)))
}

async fn until(mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() && begun.elapsed() < SETTLING {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
