//! What the files of a run say of it.

use gipfel_backend::{Failure, FailureReason, RunStatus};
use gipfel_model::{
    FormatHeader, Progress, Published, RunState, format::FormatError, progress::PROGRESS_FORMAT,
    published::PublishedError,
};
use serde::Deserialize;

/// Between two files, none of which holds it.
const BETWEEN: u8 = 0;

/// Files that are read at once, in this order: what a load generator that has ended has written is final.
pub(super) const FILES: [&str; 3] = ["ended.txt", "progress.json", "published.json"];

/// What a file cannot be read for.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookError {
    #[error("the pod's answer has another form")]
    Form,
    #[error("progress.json is not of the documented form")]
    Progress(#[source] serde_json::Error),
    #[error("progress.json cannot be used")]
    Version(#[source] FormatError),
    #[error("published.json cannot be used")]
    Published(#[source] PublishedError),
}

/// What was read.
#[derive(Debug)]
pub(super) struct Look {
    /// How the load generator ended; nothing while it runs.
    pub(super) ended: Option<String>,
    pub(super) progress: Option<Progress>,
    pub(super) progress_text: Vec<u8>,
    pub(super) published: Option<Published>,
}

/// The script that reads the files of a run.
pub(super) fn script() -> String {
    let files = FILES.join(" ");
    format!(
        "cd \"$GIPFEL_RESULTS\" 2> /dev/null || exit 0\nfor f in {files}; do cat \"$f\" 2> /dev/null; printf '\\000'; done"
    )
}

/// Takes apart what it has said; nothing where the directory is not there yet.
pub(super) fn read(said: &[u8]) -> Result<Option<Look>, LookError> {
    if said.is_empty() {
        return Ok(None);
    }
    let mut parts = said.split(|byte| *byte == BETWEEN);
    let mut part = || parts.next().ok_or(LookError::Form);
    let (ended, progress_text, published) = (part()?, part()?, part()?);
    let ended = (!ended.is_empty()).then(|| String::from_utf8_lossy(ended).trim().to_owned());
    let published = (!published.is_empty()).then(|| Published::parse(published));
    Ok(Some(Look {
        ended,
        progress: progress(progress_text)?,
        progress_text: progress_text.to_vec(),
        published: published.transpose().map_err(LookError::Published)?,
    }))
}

/// Only the header of a file, of whatever version.
#[derive(Deserialize)]
struct Versioned {
    header: FormatHeader,
}

/// What the load generator says of itself; nothing where it has said nothing.
pub(super) fn progress(text: &[u8]) -> Result<Option<Progress>, LookError> {
    if text.is_empty() {
        return Ok(None);
    }
    let Versioned { header } = serde_json::from_slice(text).map_err(LookError::Progress)?;
    PROGRESS_FORMAT.check(&header).map_err(LookError::Version)?;
    serde_json::from_slice(text)
        .map(Some)
        .map_err(LookError::Progress)
}

/// The status of a run whose load generator is gone; `words` say how it went.
pub(super) fn over(
    progress: Option<Progress>,
    reason: FailureReason,
    words: &str,
    log_tail: &str,
) -> RunStatus {
    let progress = progress.map(Box::new);
    let state = progress.as_ref().map(|progress| progress.state);
    let error = progress.as_ref().and_then(|progress| progress.error.clone());
    let (reason, message) = match (state, error) {
        (Some(RunState::Completed), _) => return RunStatus::Completed(progress),
        (Some(RunState::Stopped), None) => return RunStatus::Stopped(progress),
        // Nobody's word stopped it, but a limit on its time: a further one can go on.
        (Some(RunState::Stopped), Some(error)) => (FailureReason::TimeLimit, error),
        (Some(RunState::Failed), error) => (
            FailureReason::LoadFailed,
            error.unwrap_or_else(|| "the load generator gave up and does not say why".to_owned()),
        ),
        (Some(RunState::Waiting | RunState::Running) | None, _) => (
            reason,
            format!("the load generator did not come to its end: {words}"),
        ),
    };
    RunStatus::Failed(Failure {
        reason,
        message,
        log_tail: log_tail.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use gipfel_model::Progress;

    use super::*;

    fn written(state: RunState) -> Progress {
        Progress {
            header: PROGRESS_FORMAT.header(),
            run_id: "r-1".parse().expect("an id"),
            state,
            updated_unix_ms: 1,
            pid: 1,
            levels: Vec::new(),
            current: None,
            search: None,
            planned_levels: None,
            error: None,
            warning: None,
        }
    }

    #[test]
    fn files_are_told_apart() {
        let progress = serde_json::to_string(&written(RunState::Running)).expect("JSON");
        let check = |said: &str, ended: Option<&str>, has_progress: bool| {
            let look = read(said.as_bytes()).expect("it is read").expect("a directory");
            assert_eq!(look.ended.as_deref(), ended, "{said}");
            assert_eq!(look.progress.is_some(), has_progress, "{said}");
            assert_eq!(look.published, None, "{said}");
        };
        check("\0\0\0", None, false);
        check(&format!("\0{progress}\0\0"), None, true);
        check(
            &format!("0 the load generator\n\0{progress}\0\0"),
            Some("0 the load generator"),
            true,
        );
        assert!(read(b"").expect("no directory").is_none());
        assert!(matches!(read(b"cut"), Err(LookError::Form)));
        assert!(matches!(read(b"\0{\0\0"), Err(LookError::Progress(_))));
        assert!(matches!(read(b"\0\0{\0"), Err(LookError::Published(_))));
    }

    #[test]
    fn a_run_that_is_over_has_its_own_words() {
        let check = |state: Option<RunState>, is: fn(&RunStatus) -> bool| {
            let status = over(state.map(written), FailureReason::OutOfMemory, "OOMKilled", "");
            assert!(is(&status), "{state:?}: {status:?}");
        };
        let failed_by = |status: &RunStatus, reason| matches!(status, RunStatus::Failed(failure) if failure.reason == reason);
        check(Some(RunState::Completed), |status| {
            matches!(status, RunStatus::Completed(_))
        });
        check(Some(RunState::Stopped), |status| {
            matches!(status, RunStatus::Stopped(_))
        });
        for (state, reason) in [
            (None, FailureReason::OutOfMemory),
            (Some(RunState::Running), FailureReason::OutOfMemory),
            (Some(RunState::Failed), FailureReason::LoadFailed),
        ] {
            let status = over(state.map(written), FailureReason::OutOfMemory, "OOMKilled", "");
            assert!(failed_by(&status, reason), "{state:?}: {status:?}");
        }
    }
}
