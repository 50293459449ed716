//! What a job's end means: pure.

use firecrest_client::{JobState, PendingReason};
use gipfel_backend::FailureReason;

use crate::cluster::JobFacts;

/// What Slurm's word for a job comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It waits.
    Queued,
    /// It waits, and will for ever.
    Never(String),
    /// Its script runs, or has begun to end.
    Runs,
    /// It is over.
    Over(Ending),
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    /// The class; a job whose script ended by itself has the one that its log tells.
    pub(super) reason: Option<FailureReason>,
    /// Whether Slurm ended it, and not its script: what the script said of itself meanwhile is not the whole truth.
    pub(super) by_slurm: bool,
    /// In words, as they complete "its job …".
    pub(super) words: String,
}

/// The standing of a job.
pub(super) fn standing(facts: &JobFacts) -> Standing {
    match &facts.state {
        JobState::Pending => match &facts.waits {
            Some(PendingReason::Never(reason)) => Standing::Never(reason.clone()),
            _ => Standing::Queued,
        },
        state if state.is_ended() => Standing::Over(ending(facts)),
        JobState::Configuring | JobState::Requeued => Standing::Queued,
        _ => Standing::Runs,
    }
}

fn ending(facts: &JobFacts) -> Ending {
    let by_slurm = matches!(
        facts.state,
        JobState::Timeout
            | JobState::Deadline
            | JobState::OutOfMemory
            | JobState::Cancelled { .. }
            | JobState::NodeFail
            | JobState::BootFail
            | JobState::Preempted
    );
    let over = |reason, words: String| Ending {
        reason,
        by_slurm,
        words,
    };
    match &facts.state {
        JobState::Timeout | JobState::Deadline => {
            let limit = facts.limit.map_or_else(String::new, |limit| {
                format!(" of {}", gipfel_model::format_duration(limit))
            });
            over(
                Some(FailureReason::TimeLimit),
                format!("reached its walltime{limit}"),
            )
        }
        JobState::OutOfMemory => over(Some(FailureReason::OutOfMemory), "ran out of memory".to_owned()),
        JobState::Cancelled { by } => {
            let by = by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
            over(Some(FailureReason::Cancelled), format!("was cancelled{by}"))
        }
        JobState::NodeFail | JobState::BootFail => {
            let nodes = match facts.nodes.as_slice() {
                [] => "a node".to_owned(),
                nodes => nodes.join(", "),
            };
            over(None, format!("was ended by Slurm when a node failed ({nodes})"))
        }
        JobState::Preempted => over(None, "was pre-empted by another job".to_owned()),
        JobState::Completed => over(None, "ended by itself".to_owned()),
        state => {
            let how = match (facts.exit_code, facts.signal) {
                (_, Some(signal)) if signal != 0 => format!("by signal {signal}"),
                (Some(code), _) => format!("with exit code {code}"),
                (None, _) => format!("as {state:?}"),
            };
            over(None, format!("ended {how}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn facts(state: &str) -> JobFacts {
        JobFacts {
            id: "7".parse().expect("an id"),
            name: "gipfel-d-1".to_owned(),
            comment: None,
            state: JobState::parse(state),
            waits: None,
            nodes: Vec::new(),
            partition: None,
            elapsed: None,
            limit: None,
            started: None,
            exit_code: None,
            signal: None,
        }
    }

    #[test]
    fn states_are_reduced() {
        let check =
            |facts: &JobFacts, expected: Standing| assert_eq!(standing(facts), expected, "{:?}", facts.state);
        check(&facts("PENDING"), Standing::Queued);
        check(&facts("CONFIGURING"), Standing::Queued);
        check(&facts("RUNNING"), Standing::Runs);
        check(&facts("COMPLETING"), Standing::Runs);
        check(&facts("A_LATER_WORD"), Standing::Runs);
        let never = JobFacts {
            waits: Some(PendingReason::of("PartitionTimeLimit")),
            ..facts("PENDING")
        };
        check(&never, Standing::Never("PartitionTimeLimit".to_owned()));
        let limited = JobFacts {
            waits: Some(PendingReason::of("QOSMaxJobsPerUserLimit")),
            ..facts("PENDING")
        };
        check(&limited, Standing::Queued);
    }

    #[test]
    fn ends_have_their_reasons() {
        let check = |facts: &JobFacts, reason: Option<FailureReason>, words: &str| {
            let expected = Standing::Over(Ending {
                reason,
                by_slurm: !words.starts_with("ended"),
                words: words.to_owned(),
            });
            assert_eq!(standing(facts), expected);
        };
        let limited = JobFacts {
            limit: Some(Duration::from_hours(1)),
            ..facts("TIMEOUT")
        };
        check(
            &limited,
            Some(FailureReason::TimeLimit),
            "reached its walltime of 1h",
        );
        check(
            &facts("OUT_OF_MEMORY"),
            Some(FailureReason::OutOfMemory),
            "ran out of memory",
        );
        check(
            &facts("CANCELLED by 25001"),
            Some(FailureReason::Cancelled),
            "was cancelled by 25001",
        );
        let failed = JobFacts {
            nodes: vec!["nid001001".to_owned()],
            ..facts("NODE_FAIL")
        };
        check(&failed, None, "was ended by Slurm when a node failed (nid001001)");
        let exited = JobFacts {
            exit_code: Some(3),
            signal: Some(0),
            ..facts("FAILED")
        };
        check(&exited, None, "ended with exit code 3");
        let killed = JobFacts {
            exit_code: Some(0),
            signal: Some(9),
            ..facts("FAILED")
        };
        check(&killed, None, "ended by signal 9");
    }
}
