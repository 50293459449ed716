//! What a run has come to whose load generator is gone.

use std::error::Error as _;

use gipfel_backend::{BackendError, Failure, FailureReason, RunStatus};
use gipfel_model::{FormatHeader, Progress, RunState, progress::PROGRESS_FORMAT};
use serde::Deserialize;

use super::{
    deployer::last_lines,
    detail::Detail,
    ending::Ending,
    failed,
    place::{Place, within},
    runner::{LOG, PROGRESS, PROGRESS_BYTES},
};

const LOG_BYTES: u64 = 64 * 1024;
const TAIL_LINES: usize = 30;
/// The length of a file by which it is tried out whether a directory takes any.
const ROOM: usize = 16 * 1024;

/// Only the header of a file, of whatever version.
#[derive(Deserialize)]
struct Versioned {
    header: FormatHeader,
}

/// What the load generator says of itself.
pub(super) async fn progress(place: &Place, detail: &Detail) -> Result<Option<Progress>, BackendError> {
    let path = within(&detail.directory, PROGRESS)?;
    let operation = || format!("read {path}");
    let Some(text) = place.cluster.read(&path, PROGRESS_BYTES).await.map_err(failed)? else {
        return Ok(None);
    };
    let permanent = |error: serde_json::Error| BackendError::permanent(operation(), error);
    let Versioned { header } = serde_json::from_slice(&text).map_err(permanent)?;
    PROGRESS_FORMAT
        .check(&header)
        .map_err(|error| BackendError::permanent(operation(), error))?;
    serde_json::from_slice(&text).map(Some).map_err(permanent)
}

/// What keeps files from being written beside a run that could not say how it ended, for the end of a sentence.
async fn no_room(place: &Place, detail: &Detail) -> String {
    let tried = async {
        let path = within(&detail.directory, "room")?;
        place.write(&path, &[b'\n'; ROOM]).await?;
        place.cluster.remove(&path).await.map_err(failed)
    };
    match tried.await {
        Ok(()) => String::new(),
        Err(error) => {
            let mut causes = Vec::new();
            let mut cause = error.source();
            while let Some(error) = cause {
                causes.push(error.to_string());
                cause = error.source();
            }
            format!("; its directory takes no file: {}", causes.join(": "))
        }
    }
}

/// The status of a run whose load generator is gone.
pub(super) async fn over(
    place: &Place,
    detail: &Detail,
    progress: Option<Box<Progress>>,
    ending: Ending,
) -> Result<RunStatus, BackendError> {
    let state = progress.as_ref().map(|progress| progress.state);
    let error = progress.as_ref().and_then(|progress| progress.error.clone());
    let job = format!("its job {} {}", detail.job, ending.words);
    let (reason, message) = match (state, error) {
        (Some(RunState::Completed), _) => return Ok(RunStatus::Completed(progress)),
        // The signal by which Slurm ends a job looks to the load generator like a word of ours.
        (Some(RunState::Stopped), None) if ending.by_slurm => {
            (ending.reason, format!("the load generator was stopped; {job}"))
        }
        (Some(RunState::Stopped), None) => return Ok(RunStatus::Stopped(progress)),
        // Nobody's word stopped it, but the job's time: a further job can go on.
        (Some(RunState::Stopped), Some(error)) => (Some(FailureReason::TimeLimit), error),
        (Some(RunState::Failed), error) => {
            let silent = || "the load generator gave up and does not say why".to_owned();
            (None, format!("{}; {job}", error.unwrap_or_else(silent)))
        }
        (Some(RunState::Waiting | RunState::Running) | None, _) => {
            let full = no_room(place, detail).await;
            (
                ending.reason,
                format!("the load generator did not come to its end; {job}{full}"),
            )
        }
    };
    let log = place
        .cluster
        .tail(&within(&detail.directory, LOG)?, LOG_BYTES)
        .await;
    Ok(RunStatus::Failed(Failure {
        reason: reason.unwrap_or(FailureReason::LoadFailed),
        message,
        log_tail: last_lines(&log.map_err(failed)?.unwrap_or_default(), TAIL_LINES),
    }))
}
