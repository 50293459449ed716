//! States of jobs, and why they wait.

/// A job's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// It waits. A job that ran may come back to it after a node's failure.
    Pending,
    /// Its nodes are being prepared.
    Configuring,
    /// It runs.
    Running,
    /// It is stopped, with its nodes kept.
    Suspended,
    /// It ends.
    Completing,
    /// It waits again after it ran.
    Requeued,
    /// Its size changes.
    Resizing,
    /// It ended with exit code 0.
    Completed,
    /// It ended with another exit code or by a signal.
    Failed,
    /// It was cancelled, by the user of this number if known.
    Cancelled {
        /// The user's number.
        by: Option<String>,
    },
    /// Its time ran out.
    Timeout,
    /// One of its nodes failed.
    NodeFail,
    /// One of its nodes could not be started.
    BootFail,
    /// It used more memory than it may.
    OutOfMemory,
    /// It made way for another job.
    Preempted,
    /// Its deadline passed.
    Deadline,
    /// It went to another cluster of a federation.
    Revoked,
    /// Another state, by its first word.
    Unknown(String),
}

impl JobState {
    /// Reads a state as Slurm writes it: by its first word, since `CANCELLED by 25001` is one, too.
    pub fn parse(text: &str) -> Self {
        let mut words = text.split_whitespace();
        let first = words.next().unwrap_or_default();
        // Slurm marks with a plus that a column was too narrow.
        match first.trim_end_matches('+').to_ascii_uppercase().as_str() {
            "PENDING" => Self::Pending,
            "CONFIGURING" => Self::Configuring,
            "RUNNING" => Self::Running,
            "SUSPENDED" | "STOPPED" => Self::Suspended,
            "COMPLETING" | "STAGE_OUT" | "SIGNALING" => Self::Completing,
            "REQUEUED" | "REQUEUE_FED" | "REQUEUE_HOLD" | "SPECIAL_EXIT" => Self::Requeued,
            "RESIZING" => Self::Resizing,
            "COMPLETED" => Self::Completed,
            "FAILED" => Self::Failed,
            "CANCELLED" => Self::Cancelled {
                by: words.nth(1).map(str::to_owned),
            },
            "TIMEOUT" => Self::Timeout,
            "NODE_FAIL" => Self::NodeFail,
            "BOOT_FAIL" => Self::BootFail,
            "OUT_OF_MEMORY" => Self::OutOfMemory,
            "PREEMPTED" => Self::Preempted,
            "DEADLINE" => Self::Deadline,
            "REVOKED" => Self::Revoked,
            _ => Self::Unknown(first.to_owned()),
        }
    }

    /// Whether the job has ended. A state that is not known has not: it may still run.
    pub fn is_ended(&self) -> bool {
        match self {
            Self::Completed
            | Self::Failed
            | Self::Cancelled { .. }
            | Self::Timeout
            | Self::NodeFail
            | Self::BootFail
            | Self::OutOfMemory
            | Self::Preempted
            | Self::Deadline
            | Self::Revoked => true,
            Self::Pending
            | Self::Configuring
            | Self::Running
            | Self::Suspended
            | Self::Completing
            | Self::Requeued
            | Self::Resizing
            | Self::Unknown(_) => false,
        }
    }

    /// Whether the job ended well. The exit code does not tell.
    pub fn is_success(&self) -> bool {
        *self == Self::Completed
    }
}

/// Why a pending job waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PendingReason {
    /// Nothing is told yet.
    Untold,
    /// For its turn, for nodes, for a time, for other jobs.
    Waits(String),
    /// A limit of its user, account or quality of service, of what runs at once or was given to them.
    Limit(String),
    /// It asks for what will not be given.
    Never(String),
}

/// Reasons that no passing of time removes.
const NEVER: &[&str] = &[
    "PartitionTimeLimit",
    "PartitionNodeLimit",
    "PartitionConfig",
    "DependencyNeverSatisfied",
    "BadConstraints",
    "InvalidAccount",
    "InvalidQOS",
    "AccountNotAllowed",
    "QOSNotAllowed",
    "ReservationDeleted",
];

impl PendingReason {
    /// Reads a reason as Slurm writes it.
    pub fn of(text: &str) -> Self {
        let reason = text.split([' ', ',', '(']).next().unwrap_or_default();
        if matches!(reason, "" | "None") {
            Self::Untold
        } else if NEVER.contains(&reason) || is_of_one_job(reason) {
            Self::Never(reason.to_owned())
        } else if reason.starts_with("Assoc") || reason.starts_with("QOS") {
            Self::Limit(reason.to_owned())
        } else {
            Self::Waits(reason.to_owned())
        }
    }
}

/// Whether a limit is of what a single job may ask for: no job that ends makes room below it.
fn is_of_one_job(reason: &str) -> bool {
    let is_limit = reason.starts_with("Assoc") || reason.starts_with("QOS");
    is_limit && (reason.contains("PerJob") || reason.contains("PerNode") || reason.starts_with("QOSMin"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn states_are_read() {
        let check = |text: &str, expected: JobState, is_ended: bool| {
            let state = JobState::parse(text);
            assert_eq!(state, expected, "{text}");
            assert_eq!(state.is_ended(), is_ended, "{text}");
        };
        check("PENDING", JobState::Pending, false);
        check(
            "CANCELLED by 25001",
            JobState::Cancelled {
                by: Some("25001".to_owned()),
            },
            true,
        );
        check("CANCELLED", JobState::Cancelled { by: None }, true);
        check("CANCELLED+", JobState::Cancelled { by: None }, true);
        check("TIMEOUT", JobState::Timeout, true);
        check("NODE_FAIL", JobState::NodeFail, true);
        check("CONFIGURING", JobState::Configuring, false);
        check("PREEMPTED", JobState::Preempted, true);
        check("WHATEVER 1", JobState::Unknown("WHATEVER".to_owned()), false);
        check("", JobState::Unknown(String::new()), false);
    }

    #[test]
    fn reasons_are_read() {
        let check = |text: &str, expected: PendingReason| assert_eq!(PendingReason::of(text), expected);
        check("None", PendingReason::Untold);
        check("Priority", PendingReason::Waits("Priority".to_owned()));
        check(
            "PartitionTimeLimit",
            PendingReason::Never("PartitionTimeLimit".to_owned()),
        );
        check(
            "QOSMaxJobsPerUserLimit",
            PendingReason::Limit("QOSMaxJobsPerUserLimit".to_owned()),
        );
        for limit in [
            "QOSMaxNodePerJobLimit",
            "AssocMaxWallDurationPerJobLimit",
            "QOSMinNode",
        ] {
            check(limit, PendingReason::Never(limit.to_owned()));
        }
        for limit in ["QOSMaxNodePerUserLimit", "AssocGrpCpuLimit", "AssocMaxJobsLimit"] {
            check(limit, PendingReason::Limit(limit.to_owned()));
        }
        check(
            "ReqNodeNotAvail, UnavailableNodes:nid1",
            PendingReason::Waits("ReqNodeNotAvail".to_owned()),
        );
    }

    proptest! {
        #[test]
        fn any_text_is_a_state(text in "\\PC{0,40}") {
            let state = JobState::parse(&text);
            prop_assert!(!state.is_success() || state.is_ended());
        }
    }
}
