//! The recorded exchanges that the client does not speak, each with the reason.

/// A recording, the numbers of its exchanges, and why the client does not speak them.
pub(crate) const UNSPOKEN: &[(&str, &[usize], &str)] = &[
    (
        "03-liveness",
        &[1],
        "the path without its slash is redirected; the client sends the slash",
    ),
    (
        "06-mkdir",
        &[2, 3],
        "the client always makes the directories above, since only that may be repeated",
    ),
    (
        "08-upload-errors",
        &[3],
        "the client refuses a name with a blank or a quote before it is sent",
    ),
    (
        "14-head-tail",
        &[5],
        "lines and bytes at once cannot be asked for",
    ),
    (
        "17-symlink-compress-extract",
        &[0, 1, 2],
        "the client has neither links nor archives",
    ),
    (
        "19-path-and-routing-errors",
        &[0, 3],
        "the client refuses a path that is not absolute before it is sent",
    ),
    (
        "19-path-and-routing-errors",
        &[6, 7],
        "deliberately malformed: an unknown route, a missing path",
    ),
    (
        "23-job-submit-path",
        &[2, 3],
        "a job without a script, or with two, cannot be described",
    ),
    (
        "24-job-env",
        &[0],
        "the client refuses a variable with a comma, which the server would split",
    ),
    (
        "29-job-list",
        &[3],
        "a window that the server does not know cannot be asked for",
    ),
    (
        "32-job-unknown",
        &[3, 4, 5],
        "an id without digits, a task of an array and an unknown route are not sent",
    ),
    (
        "33-job-submit-errors",
        &[8],
        "the client refuses a script without an interpreter before it is sent",
    ),
    (
        "34-job-submit-validation",
        &[1, 2, 3],
        "deliberately malformed bodies",
    ),
    ("35-job-attach", &[0, 1], "the client does not attach to jobs"),
    (
        "42-download-large-s3",
        &[1],
        "the client asks for the object only once the transfer job has ended",
    ),
    (
        "43-transfer-errors",
        &[0],
        "the client refuses a transfer without the account that the site requires",
    ),
    (
        "43-transfer-errors",
        &[1, 3],
        "deliberately malformed: another transfer method, no directives",
    ),
    (
        "44-transfer-ops-jobs",
        &[0, 2, 3, 5],
        "copying, moving and removing by jobs report success when they fail",
    ),
    (
        "45-transfer-compress-extract",
        &[0, 1],
        "archives by jobs report success when they fail",
    ),
    (
        "51-auth-errors",
        &[0, 7],
        "the client always shows a token or a key",
    ),
    ("66-streamer", &[0, 4], "the streamer loses and damages files"),
    (
        "66b-streamer-manual",
        &[0],
        "the streamer loses and damages files",
    ),
];

/// Whether the exchange is listed as unspoken.
pub(crate) fn is_unspoken(recording: &str, index: usize) -> bool {
    UNSPOKEN
        .iter()
        .any(|(name, indices, _)| *name == recording && indices.contains(&index))
}
