//! What a failed attempt means for the call: the pure heart of every retry.

use crate::answer::{Origin, Refusal};

/// What kind of call failed: whether it may be repeated depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// Changes nothing.
    Read,
    /// Changes something, and has the same effect however often it is carried out.
    Repeatable,
    /// Starts a job: carried out twice, it starts two.
    Submit,
    /// Starts a transfer job that waits for its content: carried out twice, one of the two waits in vain.
    StartUpload,
}

/// How a failed attempt may be continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The call had no effect, or one that may be repeated: try again later.
    Retry,
    /// The same call will be refused again.
    Permanent,
    /// The call must not be repeated before it is known whether it had its effect.
    Ambiguous,
    /// The token was refused: renew it once.
    Unauthenticated,
}

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure<'a> {
    /// The server, or a gateway, refused.
    Refused(&'a Refusal),
    /// The connection could not be made: the request never left.
    NotSent,
    /// The connection broke, or no answer came in time: the request may have had its effect.
    NoAnswer,
    /// The answer says success and could not be read.
    Unreadable,
    /// No token could be had, so the call was not made.
    NoToken {
        /// Whether one may be had later.
        may_pass: bool,
    },
}

/// Classifies a failed attempt.
///
/// | what was answered | reads and repeatable changes | submissions and starts of uploads |
/// | --- | --- | --- |
/// | 401 | unauthenticated | unauthenticated |
/// | 429; 424 and 503 of the server that say that nothing ran | retry | retry |
/// | 408, 425, other 424 and 503, 502, 504, 520 to 599; no whole answer | retry | ambiguous |
/// | 500 with the text of a command that refused | permanent | permanent |
/// | 500 when the storage is down | retry | retry |
/// | any other 500 | retry | ambiguous |
/// | success that cannot be read | permanent | ambiguous |
/// | no connection, no token for now | retry | retry |
/// | any other status | permanent | permanent |
pub fn classify(kind: CallKind, failure: Failure<'_>) -> Class {
    match failure {
        Failure::Refused(refusal) => classify_refusal(kind, refusal),
        Failure::NotSent | Failure::NoToken { may_pass: true } => Class::Retry,
        Failure::NoAnswer => unless_repeated(kind),
        Failure::Unreadable => match kind {
            CallKind::Submit | CallKind::StartUpload => Class::Ambiguous,
            CallKind::Read | CallKind::Repeatable => Class::Permanent,
        },
        Failure::NoToken { may_pass: false } => Class::Permanent,
    }
}

/// The class of a failure after which the effect of the call is unknown.
fn unless_repeated(kind: CallKind) -> Class {
    match kind {
        CallKind::Read | CallKind::Repeatable => Class::Retry,
        CallKind::Submit | CallKind::StartUpload => Class::Ambiguous,
    }
}

fn classify_refusal(kind: CallKind, refusal: &Refusal) -> Class {
    match refusal.status {
        401 => Class::Unauthenticated,
        // A quota is checked by the gateway, before the call is made.
        429 => Class::Retry,
        424 | 503 if never_ran(refusal) => Class::Retry,
        408 | 424 | 425 | 502..=504 | 520..=599 => unless_repeated(kind),
        500 => classify_internal(kind, refusal),
        // Success that was not expected, redirects, what the client got wrong, what the server cannot do.
        0..=407 | 409..=423 | 426..=428 | 430..=499 | 501 | 505..=519 | 600.. => Class::Permanent,
    }
}

/// Whether the server says that it did not come to carry the command out.
fn never_ran(refusal: &Refusal) -> bool {
    refusal.origin == Origin::Firecrest && NEVER_RAN.iter().any(|text| refusal.mentions(text))
}

const NEVER_RAN: &[&str] = &[
    "Unable to open a new SSH channel",
    "Unable to establish SSH connection",
    "is unhealthy",
];

/// The server answers 500 to nearly everything, faults of the user included: only the text tells.
fn classify_internal(kind: CallKind, refusal: &Refusal) -> Class {
    let mentions = |texts: &[&str]| texts.iter().any(|text| refusal.mentions(text));
    if mentions(NO_CREDENTIALS) {
        Class::Permanent
    } else if mentions(STORAGE_DOWN) {
        // The storage is asked for its URLs before the transfer job is submitted.
        Class::Retry
    } else if mentions(TRANSIENT) {
        unless_repeated(kind)
    } else if mentions(PERMANENT) {
        Class::Permanent
    } else {
        unless_repeated(kind)
    }
}

const NO_CREDENTIALS: &[&str] = &["No SSH credentials found"];

const STORAGE_DOWN: &[&str] = &["Could not connect to the endpoint URL"];

/// Texts of Slurm and of file systems that pass: they win over the permanent ones around them.
const TRANSIENT: &[&str] = &[
    "Unable to contact slurm controller",
    "Slurm temporarily unable",
    "Socket timed out",
    "Resource temporarily unavailable",
    "Connection refused",
    "Connection reset",
    "Connection timed out",
    "Communication connection failure",
    "Zero Bytes were transmitted or received",
    "Message connection timeout",
    "Slurm backup controller in standby mode",
    "Stale file handle",
    "Transport endpoint",
    "Interrupted system call",
    "Input/output error",
    "timeout limit exceeded",
];

/// Texts of commands that ran and refused what they were asked.
const PERMANENT: &[&str] = &[
    "std_err:sbatch:",
    "sbatch: error:",
    "sbatch: unrecognized option",
    "sbatch: invalid option",
    "sacct: fatal:",
    "already completing or completed",
    "Invalid job id",
    "Access/permission denied",
    "Remote process failed with exit status",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KINDS: [CallKind; 4] = [
        CallKind::Read,
        CallKind::Repeatable,
        CallKind::Submit,
        CallKind::StartUpload,
    ];

    fn refusal(status: u16, message: &str) -> Refusal {
        let body = serde_json::json!({ "errorType": "error", "message": message }).to_string();
        Refusal::read(status, body.as_bytes(), None, &[])
    }

    /// The classes for a read, a repeatable change, a submit and the start of an upload.
    fn check(status: u16, message: &str, expected: [Class; 4]) {
        let refusal = refusal(status, message);
        let found = KINDS.map(|kind| classify(kind, Failure::Refused(&refusal)));
        assert_eq!(found, expected, "{status} {message}");
    }

    use Class::{Ambiguous as A, Permanent as P, Retry as R, Unauthenticated as U};

    #[test]
    fn refusals_are_classified() {
        check(401, "Access token expired", [U; 4]);
        check(400, "The provided path (x) is not an absolute path.", [P; 4]);
        check(403, "Permission denied", [P; 4]);
        check(404, "Job not found.", [P; 4]);
        check(413, "File to upload is too large.", [P; 4]);
        check(307, "", [P; 4]);
        check(408, "Command execution timeout limit exceeded.", [R, R, A, A]);
        check(424, "Unable to open a new SSH channel.", [R; 4]);
        check(424, "something else", [R, R, A, A]);
        check(429, "Message throttled out", [R; 4]);
        check(502, "", [R, R, A, A]);
        check(503, "", [R, R, A, A]);
        check(
            503,
            "The ssh service for the requested system (x) is unhealthy.",
            [R; 4],
        );
        check(504, "", [R, R, A, A]);
    }

    #[test]
    fn the_text_of_a_500_decides() {
        check(500, "('Channel not open for sending',)", [R, R, A, A]);
        check(500, "('No SSH credentials found for user:ghost',)", [P; 4]);
        check(500, "(111, 'Connection refused')", [R, R, A, A]);
        check(
            500,
            "exit_status:1 std_err:sbatch: error: Invalid account",
            [P; 4],
        );
        check(
            500,
            "exit_status:1 std_err:sbatch: error: Unable to contact slurm controller",
            [R, R, A, A],
        );
        check(
            500,
            "std_err:sbatch: error: Batch job submission failed: Socket timed out on send/recv",
            [R, R, A, A],
        );
        check(
            500,
            "std_err:scancel: error: Kill job error on job id 1: Access/permission denied",
            [P; 4],
        );
        check(
            500,
            "('Could not connect to the endpoint URL: \"http://s\"',)",
            [R; 4],
        );
        check(
            500,
            "Remote process failed with exit status:2 and error message: unexpected EOF",
            [P; 4],
        );
        check(
            500,
            "Remote process failed with exit status:1 and error message:cat: x: Stale file handle",
            [R, R, A, A],
        );
    }

    #[test]
    fn causes_count_like_the_message() {
        let body = serde_json::json!({
            "errorType": "error", "message": "Error executing Slurm command.",
            "causedBy": ["Unexpected Slurm command response. std_err:sacct: fatal: Bad job/step specified: abc"],
        });
        let refusal = Refusal::read(500, body.to_string().as_bytes(), None, &[]);
        assert_eq!(classify(CallKind::Read, Failure::Refused(&refusal)), P);
    }

    #[test]
    fn lost_answers_are_classified() {
        let check = |failure, expected: [Class; 4]| {
            assert_eq!(KINDS.map(|kind| classify(kind, failure)), expected, "{failure:?}");
        };
        check(Failure::NotSent, [R; 4]);
        check(Failure::NoAnswer, [R, R, A, A]);
        check(Failure::Unreadable, [P, P, A, A]);
        check(Failure::NoToken { may_pass: true }, [R; 4]);
        check(Failure::NoToken { may_pass: false }, [P; 4]);
    }

    proptest! {
        /// A submit is repeated only where the text says that nothing ran.
        #[test]
        fn submits_are_not_repeated(status in 0u16..=700, message in "\\PC{0,80}") {
            let refusal = refusal(status, &message);
            let class = classify(CallKind::Submit, Failure::Refused(&refusal));
            if class == Class::Retry {
                prop_assert!(status == 429 || never_ran(&refusal) || refusal.mentions(STORAGE_DOWN[0]));
            }
        }

        /// What may be repeated without harm is never called ambiguous.
        #[test]
        fn reads_are_never_ambiguous(status in 0u16..=700, message in "\\PC{0,80}") {
            let refusal = refusal(status, &message);
            for kind in [CallKind::Read, CallKind::Repeatable] {
                prop_assert_ne!(classify(kind, Failure::Refused(&refusal)), Class::Ambiguous);
            }
        }
    }

    /// The call of a recorded request.
    fn kind_of(method: &str, url: &str) -> CallKind {
        match (method, url.rsplit('/').next().unwrap_or_default()) {
            ("GET", _) => CallKind::Read,
            ("POST", "jobs") => CallKind::Submit,
            ("POST", "upload") => CallKind::StartUpload,
            _ => CallKind::Repeatable,
        }
    }

    /// Every error of the recordings, those of calls that this client does not make included.
    #[test]
    fn recorded_errors_are_classified() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings");
        let mut lines = std::collections::BTreeSet::new();
        for file in std::fs::read_dir(directory).expect("the recordings") {
            let text = std::fs::read_to_string(file.expect("a file").path()).expect("a text");
            let recording: serde_json::Value = serde_json::from_str(&text).expect("a document");
            for exchange in recording["exchanges"].as_array().expect("exchanges") {
                let status = exchange["status"]
                    .as_u64()
                    .and_then(|status| u16::try_from(status).ok());
                let (method, url) = (exchange["method"].as_str(), exchange["url"].as_str());
                let (Some(status), Some(method), Some(url)) = (status, method, url) else {
                    panic!("an exchange lacks its line: {exchange}");
                };
                if status < 300 || !url.starts_with('/') {
                    continue;
                }
                let body = exchange["response_body"]["json"].to_string();
                let refusal = Refusal::read(status, body.as_bytes(), None, &[]);
                let class = classify(kind_of(method, url), Failure::Refused(&refusal));
                let messages = std::iter::once(&refusal.message).chain(&refusal.caused_by);
                let messages: Vec<&str> = messages.map(String::as_str).collect();
                let kind = kind_of(method, url);
                lines.insert(format!(
                    "{status} {kind:?} {class:?}: {}",
                    messages.join(" < ").replace('\n', " ")
                ));
            }
        }
        let lines: Vec<String> = lines.into_iter().collect();
        insta::assert_snapshot!("recorded_errors", lines.join("\n"));
    }
}
