//! What the words of Slurm, of file systems and of ssh mean for a call.

use super::{ClusterErrorKind, refusal::Refusal};

/// What a text of a command that failed tells; nothing if it has no word that is known.
///
/// What passes wins over what does not: a controller that is away is told beside the refusal that it leads to.
pub(super) fn kind_of(text: &str) -> Option<ClusterErrorKind> {
    let lower = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(AWAY) {
        Some(ClusterErrorKind::Away)
    } else if has(FULL) {
        Some(ClusterErrorKind::Full)
    } else if let Some(refusal) = Refusal::of_text(text) {
        Some(refusal.kind())
    } else {
        has(FORBIDDEN).then_some(ClusterErrorKind::Forbidden)
    }
}

const AWAY: &[&str] = &[
    "unable to contact slurm controller",
    "slurm temporarily unable",
    "slurm backup controller in standby",
    "socket timed out",
    "resource temporarily unavailable",
    "connection refused",
    "connection reset",
    "connection timed out",
    "communication connection failure",
    "zero bytes were transmitted",
    "message connection timeout",
    "timeout limit exceeded",
    "stale file handle",
    "transport endpoint",
    "interrupted system call",
    "input/output error",
];

const FULL: &[&str] = &["no space left on device", "disk quota exceeded", "quota exceeded"];

const FORBIDDEN: &[&str] = &[
    "permission denied",
    "operation not permitted",
    "access/permission denied",
    "read-only file system",
];

/// Whether a text says that a file or directory is not there.
pub(super) fn is_missing_file(text: &str) -> bool {
    text.contains("No such file or directory")
}

/// Whether a text says that Slurm does not know the job, or that it has ended.
pub(super) fn is_unknown_job(text: &str) -> bool {
    text.contains("Invalid job id") || text.contains("already completing or completed")
}

/// Whether a text says that this Slurm keeps no accounts.
pub(super) fn has_no_accounting(text: &str) -> bool {
    text.contains("accounting storage is disabled")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_known() {
        use ClusterErrorKind::{Account, Away, Forbidden, Full, Invalid, Limit, Partition, Walltime};
        let check =
            |text: &str, expected: Option<ClusterErrorKind>| assert_eq!(kind_of(text), expected, "{text}");
        let refused = |why: &str| format!("sbatch: error: Batch job submission failed: {why}");
        check(
            &refused("Invalid account or account/partition combination specified"),
            Some(Account),
        );
        check(&refused("Invalid partition name specified"), Some(Partition));
        check(&refused("Invalid qos specification"), Some(Partition));
        check(&refused("Requested reservation is invalid"), Some(Partition));
        check(
            &refused("User's group not permitted to use this partition"),
            Some(Partition),
        );
        check(
            &refused("Requested time limit is invalid (missing or exceeds some limit)"),
            Some(Walltime),
        );
        check("sbatch: error: Invalid --time specification", Some(Walltime));
        check(
            "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates \
             accounting/QOS policy (job submit limit, user's size and/or time limits)",
            Some(Limit),
        );
        check(
            &refused("Unable to contact slurm controller (connect failure)"),
            Some(Away),
        );
        check(&refused("Socket timed out on send/recv operation"), Some(Away));
        check("cat: write error: No space left on device", Some(Full));
        check("cat: write error: Disk quota exceeded", Some(Full));
        check(
            "mkdir: cannot create directory '/x': Permission denied",
            Some(Forbidden),
        );
        check(
            &refused("Requested node configuration is not available"),
            Some(Invalid),
        );
        check("Account parameter is required on this system.", Some(Account));
    }
}
