//! Waiting for the end of a job.

use std::{collections::VecDeque, sync::Mutex, time::Duration};

use firecrest_client::{JobState, WaitError, WaitOptions};
use serde_json::json;

use crate::{
    replay_staged::job,
    server::{Reply, Server},
    support::{chain, job_id, quick, quick_wait, system},
};

/// Waits while the server gives these answers, the last one again and again.
async fn wait(replies: Vec<Reply>, options: &WaitOptions) -> Result<Vec<JobState>, WaitError> {
    let replies = Mutex::new(VecDeque::from(replies));
    let server = Server::start(move |request| {
        assert_eq!(
            request.line(),
            "GET /compute/clariden/jobs/7",
            "a wait does nothing to the job"
        );
        let mut replies = replies.lock().expect("no panic");
        if replies.len() > 1 {
            replies.pop_front()
        } else {
            replies.front().cloned()
        }
        .expect("an answer")
    })
    .await;
    let jobs = quick(&server.url())
        .jobs(&system())
        .wait(&job_id("7"), options)
        .await?;
    Ok(jobs.into_iter().map(|job| job.status.state).collect())
}

fn not_found() -> Reply {
    Reply::refusal(404, "Job not found.")
}

fn accounting_away() -> Reply {
    Reply::refusal(500, "Error executing Slurm command.")
}

#[tokio::test]
async fn the_end_is_seen_in_spite_of_faults() {
    let replies = vec![
        not_found(),
        job("7", "PENDING"),
        accounting_away(),
        job("7", "RUNNING"),
        Reply::nothing(),
        Reply::json(200, &json!({ "jobs": [] })),
        job("7", "PENDING"),
        job("7", "RUNNING"),
        job("7", "CANCELLED by 25001"),
    ];
    let states = wait(replies, &quick_wait()).await.expect("the end");
    assert_eq!(
        states,
        [JobState::Cancelled {
            by: Some("25001".to_owned())
        }]
    );
}

#[tokio::test]
async fn all_tasks_of_an_array_must_end() {
    let tasks = |states: [&str; 2]| {
        let task = |index: usize| json!({ "jobId": format!("7_{index}"), "name": "x", "status": { "state": states[index] } });
        Reply::json(200, &json!({ "jobs": [task(0), task(1)] }))
    };
    let replies = vec![tasks(["COMPLETED", "RUNNING"]), tasks(["COMPLETED", "FAILED"])];
    assert_eq!(
        wait(replies, &quick_wait()).await.expect("the end"),
        [JobState::Completed, JobState::Failed]
    );
}

#[tokio::test]
async fn waits_end() {
    let short = WaitOptions {
        total: Duration::from_millis(50),
        ..quick_wait()
    };
    let error = wait(vec![job("7", "RUNNING")], &short)
        .await
        .expect_err("out of time");
    assert!(
        error.to_string().starts_with("job 7 has not ended after "),
        "{error}"
    );
    assert!(error.to_string().ends_with("; it is Running"), "{error}");

    let error = wait(vec![accounting_away()], &short)
        .await
        .expect_err("out of time");
    assert!(
        chain(&error).contains("it is not seen yet; caused by: GET /compute/clariden/jobs/7"),
        "{}",
        chain(&error)
    );

    let error = wait(vec![job("7", "RUNNING"), not_found()], &quick_wait())
        .await
        .expect_err("lost");
    assert!(matches!(error, WaitError::Lost { .. }), "{error:?}");

    for refusal in [
        Reply::refusal(403, "Permission denied"),
        Reply::refusal(404, "System not found"),
    ] {
        let error = wait(vec![refusal], &quick_wait()).await.expect_err("refused");
        assert!(matches!(error, WaitError::Call(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_gateway_that_asks_for_an_hour_is_not_asked_again() {
    let server = Server::start(|_| Reply::new(429, "").header("retry-after", "3600")).await;
    let jobs = quick(&server.url()).jobs(&system());
    let error = jobs
        .wait(&job_id("7"), &quick_wait())
        .await
        .expect_err("throttled");
    assert!(matches!(error, WaitError::OutOfTime { .. }), "{error:?}");
    assert!(chain(&error).contains("HTTP 429"), "{}", chain(&error));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_wait_that_the_gateway_asks_for_is_kept() {
    let begun = std::time::Instant::now();
    let replies = vec![
        Reply::new(503, "").header("retry-after", "1"),
        job("7", "COMPLETED"),
    ];
    wait(replies, &quick_wait()).await.expect("the end");
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_job_that_will_not_start_is_said() {
    let status = json!({ "state": "PENDING", "stateReason": "PartitionTimeLimit" });
    let hopeless = Reply::json(
        200,
        &json!({ "jobs": [{ "jobId": "7", "name": "x", "status": status }] }),
    );
    let error = wait(vec![hopeless], &quick_wait()).await.expect_err("hopeless");
    assert_eq!(
        error.to_string(),
        "job 7 will not start: PartitionTimeLimit; cancel it and change what it asks for"
    );
}
