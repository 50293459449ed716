//! The promises of [`Cluster`], as a suite that every way to a cluster passes.
//!
//! A broken promise is a panic that names it. The suite runs real scripts, which a harness for a cluster without a system
//! behind it carries out by itself.

use std::path::Path;

use firecrest_client::{
    AdoptPolicy, Adoption, Earlier, FileMode, JobId, JobName, JobState, Mark, RemotePath, Sha256,
};
use gipfel_backend::BoxFuture;

use super::{
    Cluster, ClusterErrorKind, ClusterFacts, FilePiece, JobFacts, JobRequest, SubmitEffect, SubmitFailure,
};

/// How often something is looked for before the suite gives up; the harness decides how long a pause is.
const LOOKS: u32 = 400;

/// What the suite needs of a cluster.
pub trait ClusterHarness: Send + Sync {
    /// The cluster.
    fn cluster(&self) -> &dyn Cluster;
    /// A directory that is not there yet, in one that is; each call may give the same one.
    fn directory(&self) -> RemotePath;
    /// A local directory, which is there.
    fn local(&self) -> &Path;
    /// What names of jobs begin with, so that no earlier job has one of them.
    fn prefix(&self) -> &str;
    /// The `#SBATCH` lines that every job needs, such as its partition; each with its end of line.
    fn directives(&self) -> String {
        "#SBATCH --nodes=1 --time=00:05:00\n".to_owned()
    }
    /// How long it takes to know that nothing was started.
    fn policy(&self) -> AdoptPolicy;
    /// Waits until looking again can show something new.
    fn pause(&self) -> BoxFuture<'_, ()>;
}

fn mode(bits: u16) -> FileMode {
    FileMode::try_new(bits).expect("a mode")
}

fn below(directory: &RemotePath, name: &str) -> RemotePath {
    directory.join(name).expect("a path")
}

/// Checks what is promised of files.
pub async fn files_contract(harness: &dyn ClusterHarness) {
    let cluster = harness.cluster();
    let directory = below(&harness.directory(), "files");
    directories(cluster, &directory).await;
    small_files(cluster, &directory).await;
    ends_of_files(cluster, &directory).await;
    programs(harness, &directory).await;
    pieces(harness, &directory).await;
    cluster
        .remove(&directory)
        .await
        .expect("a directory can be removed");
    let left = cluster
        .list(&directory)
        .await
        .expect("a missing directory is no error");
    assert_eq!(left, None, "what was removed is not there");
    cluster
        .remove(&directory)
        .await
        .expect("a directory that is not there can be removed");
}

async fn directories(cluster: &dyn Cluster, directory: &RemotePath) {
    let ClusterFacts { user, .. } = cluster.facts().await.expect("the cluster tells of itself");
    assert!(!user.is_empty(), "the user has a name");
    let found = cluster
        .list(directory)
        .await
        .expect("a missing directory is no error");
    assert_eq!(found, None, "a directory that was not made is not there");
    for _ in 0..2 {
        cluster
            .make_directory(directory)
            .await
            .expect("a directory is made with those above it, and again");
    }
    let found = cluster.list(directory).await.expect("a directory can be listed");
    assert_eq!(found, Some(Vec::new()), "a new directory is empty");
}

async fn small_files(cluster: &dyn Cluster, directory: &RemotePath) {
    let path = below(directory, "a-file.txt");
    let missing = below(directory, "missing");
    assert_eq!(cluster.read(&missing, 10).await.expect("no error"), None);
    assert_eq!(cluster.tail(&missing, 10).await.expect("no error"), None);
    assert_eq!(cluster.stat(&missing).await.expect("no error"), None);
    cluster.remove(&missing).await.expect("no error");

    let all_bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
    cluster
        .write(&path, &all_bytes, mode(0o600))
        .await
        .expect("a file is written");
    let found = cluster.read(&path, 5000).await.expect("a file is read");
    assert_eq!(
        found.as_deref(),
        Some(all_bytes.as_slice()),
        "every byte comes back"
    );
    let error = cluster
        .read(&path, 4999)
        .await
        .expect_err("a longer file is an error");
    assert_eq!(error.kind, ClusterErrorKind::Invalid, "{error:?}");
    let stat = cluster.stat(&path).await.expect("a file has a stat");
    let stat = stat.expect("the file is there");
    assert_eq!(
        (stat.bytes, stat.mode),
        (5000, 0o600),
        "its length and mode are told"
    );
    assert!(
        stat.modified > 1_500_000_000,
        "its time is told: {}",
        stat.modified
    );

    cluster
        .write(&path, b"shorter\n", mode(0o600))
        .await
        .expect("a file is written over another");
    let found = cluster.read(&path, 100).await.expect("a file is read");
    assert_eq!(
        found.as_deref(),
        Some(&b"shorter\n"[..]),
        "nothing of the old one is left"
    );
    let names = cluster.list(directory).await.expect("a directory can be listed");
    assert_eq!(
        names,
        Some(vec!["a-file.txt".to_owned()]),
        "only the file is there, and no draft of it"
    );
    let elsewhere = below(&below(directory, "nowhere"), "file");
    let error = cluster.write(&elsewhere, b"x", mode(0o600)).await;
    error.expect_err("a file in a directory that is not there is an error");
}

async fn ends_of_files(cluster: &dyn Cluster, directory: &RemotePath) {
    let path = below(directory, "log");
    let lines: Vec<String> = (0..2000).map(|line| format!("line {line:04}\n")).collect();
    let text = lines.concat();
    cluster
        .write(&path, text.as_bytes(), mode(0o600))
        .await
        .expect("a file is written");
    let check = async |bytes: u64, expected: &str| {
        let tail = cluster
            .tail(&path, bytes)
            .await
            .expect("a tail")
            .expect("the file");
        assert_eq!(
            tail, expected,
            "the last {bytes} bytes, from the beginning of a line on"
        );
    };
    check(20, "line 1998\nline 1999\n").await;
    check(25, "line 1998\nline 1999\n").await;
    check(1_000_000, &text).await;
}

async fn programs(harness: &dyn ClusterHarness, directory: &RemotePath) {
    let cluster = harness.cluster();
    let (local, path) = (harness.local().join("program"), below(directory, "program"));
    let content: Vec<u8> = (0..700_000u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&local, &content).expect("a local file");
    for _ in 0..2 {
        cluster
            .put(&local, &path, mode(0o755))
            .await
            .expect("a program is brought there, and again");
    }
    let stat = cluster.stat(&path).await.expect("a stat").expect("the program");
    assert_eq!((stat.bytes, stat.mode), (content.len() as u64, 0o755));
    let found = cluster.read(&path, 10_000_000).await.expect("a file is read");
    assert_eq!(
        found.as_deref(),
        Some(content.as_slice()),
        "every byte comes back"
    );
    std::fs::write(&local, b"#!/bin/sh\n").expect("a local file");
    cluster
        .put(&local, &path, mode(0o755))
        .await
        .expect("another program takes its place");
    let found = cluster.read(&path, 100).await.expect("a file is read");
    assert_eq!(found.as_deref(), Some(&b"#!/bin/sh\n"[..]));
}

async fn pieces(harness: &dyn ClusterHarness, directory: &RemotePath) {
    let cluster = harness.cluster();
    let contents: Vec<Vec<u8>> = (0..3u8).map(|piece| vec![piece; 100_000]).collect();
    let mut pieces = Vec::new();
    for (index, content) in contents.iter().enumerate() {
        let path = below(directory, &format!("piece-{index}"));
        cluster
            .write(&path, content, mode(0o600))
            .await
            .expect("a piece is written");
        pieces.push(FilePiece {
            path,
            sha256: Sha256::of(content),
        });
    }
    let whole = contents.concat();
    let local = harness.local().join("whole");
    let error = cluster.fetch(&pieces, Sha256::of(b"other"), &local).await;
    error.expect_err("a file with another checksum is an error");
    assert!(!local.exists(), "and it is not there");
    cluster
        .fetch(&pieces, Sha256::of(&whole), &local)
        .await
        .expect("pieces come home");
    assert_eq!(std::fs::read(&local).expect("the file"), whole);
    let gone = FilePiece {
        path: below(directory, "gone"),
        sha256: Sha256::of(b"gone"),
    };
    let error = cluster
        .fetch(&[gone], Sha256::of(b"gone"), &harness.local().join("gone"))
        .await;
    error.expect_err("a piece that is not there is an error");
}

/// Checks what is promised of jobs.
pub async fn jobs_contract(harness: &dyn ClusterHarness) {
    let cluster = harness.cluster();
    let nobody = JobId::try_new("99999999").expect("an id");
    assert_eq!(
        cluster.job(&nobody).await.expect("no error"),
        None,
        "a job that is not there is no error"
    );
    cluster
        .cancel(&nobody)
        .await
        .expect("a job that is not there can be cancelled");
    endless_job(harness).await;
    ending_jobs(harness).await;
    absent_job(harness).await;
}

/// A job of this name, with a directory of its own; it writes its mark and goes on with these lines of shell.
pub async fn job_request(harness: &dyn ClusterHarness, tag: &str, lines: &str) -> JobRequest {
    let name = format!("{}{tag}", harness.prefix());
    let directory = below(&harness.directory(), tag);
    harness
        .cluster()
        .make_directory(&directory)
        .await
        .expect("a directory is made");
    let mark = Mark::new(below(&directory, "jobid"));
    let (directives, marking) = (harness.directives(), mark.script_lines());
    JobRequest {
        name: JobName::try_new(name).expect("a name"),
        script: format!("#!/bin/bash\n{directives}#SBATCH --output=job.log\n{marking}{lines}\n"),
        directory,
        mark,
    }
}

/// The job with further `#SBATCH` lines, which win over those that stand before them.
pub fn with_directives(mut request: JobRequest, directives: &str) -> JobRequest {
    let output = "#SBATCH --output";
    request.script = request
        .script
        .replacen(output, &format!("{directives}\n{output}"), 1);
    request
}

/// Waits until a job is as wanted, and tells how it is then.
pub async fn until(
    harness: &dyn ClusterHarness,
    id: &JobId,
    what: &str,
    is_wanted: impl Fn(&JobFacts) -> bool,
) -> JobFacts {
    let mut seen = None;
    for _ in 0..LOOKS {
        let facts = harness.cluster().job(id).await.expect("a job is told");
        if let Some(facts) = &facts
            && is_wanted(facts)
        {
            return facts.clone();
        }
        seen = facts;
        harness.pause().await;
    }
    panic!("job {id} {what}: not within {LOOKS} looks; it is {seen:?}");
}

async fn endless_job(harness: &dyn ClusterHarness) {
    let cluster = harness.cluster();
    let request = job_request(harness, "endless", "echo begun > begun\nexec sleep 300").await;
    let id = cluster
        .submit(&request, Earlier::Never)
        .await
        .expect("a job is submitted");
    let again = cluster
        .submit(&request, Earlier::Possible)
        .await
        .expect("a submission can be repeated");
    assert_eq!(again, id, "a name is one job");
    let facts = until(harness, &id, "runs", |facts| facts.state == JobState::Running).await;
    assert_eq!(facts.name, request.name.as_str());
    assert_eq!(facts.nodes.len(), 1, "its node is told: {:?}", facts.nodes);
    assert!(facts.started.is_some(), "the time of its start is told");
    let begun = below(&request.directory, "begun");
    for look in 0.. {
        let found = cluster.read(&begun, 100).await.expect("a file is read");
        if found.as_deref() == Some(b"begun\n") {
            break;
        }
        assert!(look < LOOKS, "the job runs in its directory");
        harness.pause().await;
    }
    let adoption = cluster
        .adopt(&request.name, &request.mark, &harness.policy())
        .await;
    assert_eq!(
        adoption.expect("a look"),
        Adoption::Found(id.clone()),
        "a job is found by its name and mark"
    );
    let listed = cluster.jobs().await.expect("jobs are listed");
    let listed = listed.iter().find(|job| job.id == id);
    let listed = listed.expect("a running job is in the list");
    assert_eq!(
        (&listed.name, &listed.state, &listed.nodes),
        (&facts.name, &facts.state, &facts.nodes),
        "the list tells the same of it"
    );
    for _ in 0..2 {
        cluster.cancel(&id).await.expect("a job is cancelled, and again");
    }
    let ended = until(harness, &id, "ends", |facts| facts.state.is_ended()).await;
    assert!(
        matches!(ended.state, JobState::Cancelled { .. }),
        "a cancelled job has ended as such: {:?}",
        ended.state
    );
    cluster.cancel(&id).await.expect("an ended job can be cancelled");
    let again = cluster.submit(&request, Earlier::Possible).await;
    assert_eq!(
        again.expect("it is taken up"),
        id,
        "a job that has ended has its name for good"
    );
}

async fn ending_jobs(harness: &dyn ClusterHarness) {
    let check = async |tag: &str, lines: &str, expected: (JobState, Option<i32>)| {
        let request = job_request(harness, tag, lines).await;
        let id = harness
            .cluster()
            .submit(&request, Earlier::Never)
            .await
            .expect("a job is submitted");
        let facts = until(harness, &id, "ends", |facts| facts.state.is_ended()).await;
        assert_eq!((facts.state, facts.exit_code), expected, "{tag}");
    };
    check("completes", "exit 0", (JobState::Completed, Some(0))).await;
    check("fails", "exit 3", (JobState::Failed, Some(3))).await;
}

async fn absent_job(harness: &dyn ClusterHarness) {
    let request = job_request(harness, "absent", "exit 0").await;
    let adoption = harness
        .cluster()
        .adopt(&request.name, &request.mark, &harness.policy())
        .await;
    assert_eq!(
        adoption.expect("it is settled"),
        Adoption::Nothing,
        "a job that was never submitted is not there"
    );
}

/// Checks that a submission with these further `#SBATCH` lines is refused so, and starts nothing.
pub async fn refusal_contract(
    harness: &dyn ClusterHarness,
    tag: &str,
    directives: &str,
    kind: ClusterErrorKind,
) {
    let request = with_directives(job_request(harness, tag, "exit 0").await, directives);
    let SubmitFailure { effect, source } = harness
        .cluster()
        .submit(&request, Earlier::Never)
        .await
        .expect_err("the submission is refused");
    assert_eq!(
        (effect, source.kind),
        (SubmitEffect::NotStarted, kind),
        "{tag}: {source:?}"
    );
}
