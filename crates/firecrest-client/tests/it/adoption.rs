//! Submissions without a clear answer: found, or submitted again only when nothing was started.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use firecrest_client::{
    AdoptError, AdoptPolicy, Adoption, Earlier, JobSpec, Mark, Outcome, Script, SubmitError, SubmitFault,
    Submitted,
};
use serde_json::{Value, json};

use crate::{
    server::{Reply, Request, Server},
    support::{chain, job_id, job_name, path, quick, quick_adoption, system},
};

/// A cluster of which the answers to submissions are given, and what a look sees after each.
#[derive(Default)]
struct Cluster {
    submits: VecDeque<Reply>,
    submitted: usize,
    /// The ids in the list, or no list.
    list: VecDeque<Option<Vec<&'static str>>>,
    /// The mark's content, or none; a refusal for what cannot be read.
    mark: VecDeque<Result<&'static str, Reply>>,
}

fn absent() -> Reply {
    Reply::refusal(404, "cat: /scratch/run/jobid: No such file or directory")
}

/// The next of some answers; the last one stays.
fn next<T: Clone>(queue: &mut VecDeque<T>) -> Option<T> {
    if queue.len() > 1 {
        queue.pop_front()
    } else {
        queue.front().cloned()
    }
}

impl Cluster {
    fn answer(&mut self, request: &Request) -> Reply {
        match request.method.as_str() {
            "POST" => {
                self.submitted += 1;
                next(&mut self.submits).expect("a submission was not expected")
            }
            _ if request.path.ends_with("/view") => {
                assert_eq!(request.parameter("path"), Some("/scratch/run/jobid"));
                match next(&mut self.mark) {
                    Some(Ok(text)) => Reply::json(200, &json!({ "output": text })),
                    Some(Err(refusal)) => refusal,
                    None => absent(),
                }
            }
            _ => {
                assert_eq!(
                    (request.parameter("name"), request.parameter("time_window")),
                    (Some("run-1"), Some("7d"))
                );
                match next(&mut self.list) {
                    None => Reply::json(200, &json!({ "jobs": others() })),
                    Some(Some(ids)) => Reply::json(200, &json!({ "jobs": jobs(&ids) })),
                    Some(None) => Reply::refusal(500, "Error executing Slurm command."),
                }
            }
        }
    }
}

/// Older servers ignore the name and list all jobs.
fn others() -> Vec<Value> {
    vec![json!({ "jobId": "1", "name": "another", "status": { "state": "RUNNING" } })]
}

fn jobs(ids: &[&str]) -> Vec<Value> {
    let mut jobs = others();
    jobs.extend(
        ids.iter()
            .map(|id| json!({ "jobId": id, "name": "run-1", "status": { "state": "PENDING" } })),
    );
    jobs
}

async fn start(cluster: Cluster) -> (Server, Arc<Mutex<Cluster>>) {
    let cluster = Arc::new(Mutex::new(cluster));
    let answering = Arc::clone(&cluster);
    let server = Server::start(move |request| answering.lock().expect("no panic").answer(request)).await;
    (server, cluster)
}

fn mark() -> Mark {
    Mark::new(path("/scratch/run/jobid"))
}

fn spec() -> JobSpec {
    let mut spec = JobSpec::new(
        path("/scratch/run"),
        Script::Inline("#!/bin/bash\ntrue\n".to_owned()),
    );
    spec.name = Some(job_name("run-1"));
    spec
}

fn created() -> Reply {
    Reply::json(201, &json!({ "jobId": "43" }))
}

fn lost() -> Reply {
    Reply::refusal(500, "('Channel not open for sending',)")
}

/// Submits or adopts; the outcome, and how often the job was submitted.
async fn submit(cluster: Cluster, earlier: Earlier) -> (Result<Submitted, SubmitError>, usize) {
    let (server, cluster) = start(cluster).await;
    let jobs = quick(&server.url()).jobs(&system());
    let outcome = jobs
        .submit_or_adopt(&spec(), &mark(), earlier, &quick_adoption())
        .await;
    let submitted = cluster.lock().expect("no panic").submitted;
    (outcome, submitted)
}

async fn check(cluster: Cluster, earlier: Earlier, expected: (Submitted, usize)) {
    let (outcome, submitted) = submit(cluster, earlier).await;
    let outcome = outcome.unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!((outcome, submitted), expected);
}

#[tokio::test]
async fn a_clear_answer_needs_no_look() {
    let cluster = Cluster {
        submits: [created()].into(),
        ..Cluster::default()
    };
    check(cluster, Earlier::Never, (Submitted::Now(job_id("43")), 1)).await;
    let blind = Cluster {
        submits: [created()].into(),
        list: [None].into(),
        ..Cluster::default()
    };
    check(blind, Earlier::Never, (Submitted::Now(job_id("43")), 1)).await;
}

#[tokio::test]
async fn an_earlier_submission_is_adopted() {
    let listed = || Cluster {
        list: [Some(vec!["41"])].into(),
        ..Cluster::default()
    };
    check(listed(), Earlier::Possible, (Submitted::Adopted(job_id("41")), 0)).await;
    check(listed(), Earlier::Never, (Submitted::Adopted(job_id("41")), 0)).await;
    let marked = Cluster {
        list: [None].into(),
        mark: [Ok("41\n")].into(),
        ..Cluster::default()
    };
    check(marked, Earlier::Possible, (Submitted::Adopted(job_id("41")), 0)).await;
    let array = Cluster {
        list: [Some(vec!["41_0", "41_1", "41"])].into(),
        ..Cluster::default()
    };
    check(array, Earlier::Possible, (Submitted::Adopted(job_id("41")), 0)).await;
}

#[tokio::test]
async fn a_lost_answer_is_found_late() {
    let cluster = Cluster {
        submits: [lost()].into(),
        list: [Some(vec![]), None, None, Some(vec![]), Some(vec!["41"])].into(),
        ..Cluster::default()
    };
    check(cluster, Earlier::Never, (Submitted::Adopted(job_id("41")), 1)).await;
}

#[tokio::test]
async fn a_job_that_the_list_lacks_is_found_by_its_mark() {
    let cluster = Cluster {
        submits: [lost()].into(),
        list: [Some(vec![])].into(),
        mark: [Err(absent()), Err(absent()), Ok(""), Ok("41\n")].into(),
        ..Cluster::default()
    };
    check(cluster, Earlier::Never, (Submitted::Adopted(job_id("41")), 1)).await;
}

#[tokio::test]
async fn a_job_is_submitted_again_when_nothing_was_started() {
    let cluster = Cluster {
        submits: [lost(), Reply::nothing(), created()].into(),
        ..Cluster::default()
    };
    check(cluster, Earlier::Possible, (Submitted::Now(job_id("43")), 3)).await;
}

#[tokio::test]
async fn submissions_are_bounded() {
    let (outcome, submitted) = submit(
        Cluster {
            submits: [lost()].into(),
            ..Cluster::default()
        },
        Earlier::Never,
    )
    .await;
    let error = outcome.expect_err("lost each time");
    assert_eq!((error.outcome, submitted), (Outcome::NotStarted, 3));
}

#[tokio::test]
async fn a_refusal_is_no_reason_to_look() {
    let refused = Reply::refusal(
        500,
        "std_err:sbatch: error: Batch job submission failed: Invalid account",
    );
    let (outcome, submitted) = submit(
        Cluster {
            submits: [refused].into(),
            ..Cluster::default()
        },
        Earlier::Never,
    )
    .await;
    let error = outcome.expect_err("refused");
    assert_eq!((&error.outcome, submitted), (&Outcome::NotStarted, 1));
    assert!(chain(&error).contains("Invalid account"), "{}", chain(&error));
}

#[tokio::test]
async fn what_cannot_be_seen_is_unknown() {
    let cluster = Cluster {
        submits: [lost()].into(),
        list: [None].into(),
        ..Cluster::default()
    };
    let (server, cluster) = start(cluster).await;
    let policy = AdoptPolicy {
        total: std::time::Duration::from_millis(100),
        ..quick_adoption()
    };
    let jobs = quick(&server.url()).jobs(&system());
    let error = jobs
        .submit_or_adopt(&spec(), &mark(), Earlier::Never, &policy)
        .await
        .expect_err("unknown");
    assert_eq!(
        (&error.outcome, cluster.lock().expect("no panic").submitted),
        (&Outcome::Unknown, 1)
    );
    let text = chain(&error);
    assert!(
        text.contains("it is not settled whether a job `run-1` was started"),
        "{text}"
    );
    assert!(text.contains("Error executing Slurm command."), "{text}");
}

#[tokio::test]
async fn several_jobs_of_one_submission_are_named() {
    let cluster = Cluster {
        list: [Some(vec!["41"])].into(),
        mark: [Ok("42")].into(),
        ..Cluster::default()
    };
    let (outcome, _) = submit(cluster, Earlier::Possible).await;
    let error = outcome.expect_err("two jobs");
    assert_eq!(error.outcome, Outcome::Started(job_id("41")));
    assert!(
        chain(&error).contains("41, 42; cancel all but one"),
        "{}",
        chain(&error)
    );
}

#[tokio::test]
async fn a_job_without_a_name_is_not_submitted() {
    let (server, _) = start(Cluster::default()).await;
    let spec = JobSpec { name: None, ..spec() };
    let jobs = quick(&server.url()).jobs(&system());
    let error = jobs
        .submit_or_adopt(&spec, &mark(), Earlier::Never, &quick_adoption())
        .await
        .expect_err("no name");
    assert!(matches!(error.fault, SubmitFault::NoName), "{error:?}");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_refused_look_ends_the_search() {
    let server = Server::start(|_| Reply::refusal(404, "System not found")).await;
    let jobs = quick(&server.url()).jobs(&system());
    let error = jobs
        .adopt(&job_name("run-1"), &mark(), &quick_adoption())
        .await
        .expect_err("refused");
    assert!(matches!(error, AdoptError::Refused { .. }), "{error:?}");
}

#[tokio::test]
async fn nothing_is_settled_by_looks_alone() {
    let (server, _) = start(Cluster::default()).await;
    let jobs = quick(&server.url()).jobs(&system());
    let adoption = jobs
        .adopt(&job_name("run-1"), &mark(), &quick_adoption())
        .await
        .expect("settled");
    assert_eq!(adoption, Adoption::Nothing);
    assert!(server.count("GET /compute/clariden/jobs") >= 3);
    assert!(server.count("GET /filesystem/clariden/ops/view") >= 3);
}

#[tokio::test]
async fn looks_keep_the_wait_that_a_gateway_asks_for() {
    let server = Server::start(|_| Reply::new(429, "").header("retry-after", "3600")).await;
    let jobs = quick(&server.url()).jobs(&system());
    let error = jobs
        .adopt(&job_name("run-1"), &mark(), &quick_adoption())
        .await
        .expect_err("throttled");
    assert!(
        matches!(error, AdoptError::Unsettled { looks: 1, .. }),
        "{error:?}"
    );
    assert_eq!(server.seen().len(), 2, "the list and the mark");
}
