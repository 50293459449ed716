//! Retries: when, how often and how long a call is repeated, and what its error says.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use firecrest_client::{Cancelled, Class, GaveUp, Outcome, RetryPolicy, Script, SubmitFault};
use serde_json::json;

use crate::{
    server::{Reply, Server},
    support::{QUICK, chain, job_id, path, quick, system, with_key},
};

/// A server that gives these answers one after another, and the last one again and again.
async fn answering(replies: Vec<Reply>) -> Server {
    let next = AtomicUsize::new(0);
    Server::start(move |_| {
        let index = next.fetch_add(1, Ordering::SeqCst).min(replies.len() - 1);
        replies[index].clone()
    })
    .await
}

fn systems() -> Reply {
    Reply::json(200, &json!({ "systems": [] }))
}

/// Asks for the systems; whether it succeeded, and how many requests came.
async fn check(replies: Vec<Reply>, expected: (bool, usize)) {
    let text = format!("{replies:?}");
    let server = answering(replies).await;
    let outcome = quick(&server.url()).status().systems().await;
    assert_eq!(
        (outcome.is_ok(), server.seen().len()),
        expected,
        "{text}: {outcome:?}"
    );
}

#[tokio::test]
async fn what_may_pass_is_repeated() {
    check(
        vec![
            Reply::refusal(503, "unhealthy"),
            Reply::refusal(408, "timeout"),
            systems(),
        ],
        (true, 3),
    )
    .await;
    check(vec![Reply::nothing(), systems()], (true, 2)).await;
    check(vec![systems().cut_after(4), systems()], (true, 2)).await;
    check(vec![Reply::new(502, "<html>bad</html>"), systems()], (true, 2)).await;
    check(
        vec![
            Reply::refusal(500, "('Channel not open for sending',)"),
            systems(),
        ],
        (true, 2),
    )
    .await;
    check(vec![Reply::refusal(503, "")], (false, 4)).await;
    check(vec![Reply::refusal(404, "System not found")], (false, 1)).await;
    check(vec![Reply::refusal(500, "std_err:sbatch: error: no")], (false, 1)).await;
    check(vec![Reply::new(200, "<html>welcome</html>")], (false, 1)).await;
    check(
        vec![Reply::new(307, "").header("location", "http://elsewhere.example/")],
        (false, 1),
    )
    .await;
}

#[tokio::test]
async fn errors_say_what_was_tried() {
    let server = answering(vec![Reply::refusal(
        503,
        "The ssh service for the requested system (x) is unhealthy.",
    )])
    .await;
    let error = quick(&server.url())
        .files(&system())
        .stat(&path("/scratch/x"))
        .await
        .expect_err("refused");
    assert_eq!(
        (error.method(), error.path()),
        ("GET", "/filesystem/clariden/ops/stat")
    );
    assert_eq!(
        (error.status(), error.attempts(), error.class()),
        (Some(503), 4, Class::Retry)
    );
    assert_eq!(error.gave_up(), GaveUp::Attempts);
    assert!(error.is_retryable());
    let seen = server.seen();
    assert_eq!(Some(error.request_id()), seen[3].header("x-request-id"));
    let text = chain(&error);
    assert!(
        text.starts_with("GET /filesystem/clariden/ops/stat failed after 4 attempts in "),
        "{text}"
    );
    assert!(
        text.contains(": no more attempts are allowed (request id "),
        "{text}"
    );
    assert!(text.ends_with(
        "caused by: the server answered HTTP 503: The ssh service for the requested system (x) is unhealthy. (the health \
         check may be some minutes old: try again later, or see the site's status page)"
    ), "{text}");
}

#[tokio::test]
async fn each_attempt_has_an_id_of_its_own() {
    let server = answering(vec![Reply::refusal(503, ""), systems()]).await;
    let client = with_key(&server.url())
        .correlation_id("run-7")
        .build()
        .expect("a client");
    client.status().systems().await.expect("systems");
    let seen = server.seen();
    let ids: Vec<_> = seen
        .iter()
        .map(|request| request.header("x-request-id").expect("an id"))
        .collect();
    assert_ne!(ids[0], ids[1]);
    assert!(
        seen.iter()
            .all(|request| request.header("x-correlation-id") == Some("run-7"))
    );
}

#[tokio::test]
async fn a_base_url_may_have_a_path() {
    let server = answering(vec![systems()]).await;
    quick(&format!("{}/ml/firecrest/v2/", server.url()))
        .status()
        .systems()
        .await
        .expect("systems");
    assert_eq!(server.seen()[0].target, "/ml/firecrest/v2/status/systems");
}

#[tokio::test]
async fn an_unreachable_server_is_said() {
    let server = answering(vec![systems()]).await;
    let url = server.url();
    drop(server);
    let client = with_key(&url)
        .retry_policy(RetryPolicy { attempts: 2, ..QUICK })
        .build()
        .expect("a client");
    let error = client.status().systems().await.expect_err("nobody listens");
    assert_eq!((error.attempts(), error.class()), (2, Class::Retry));
    assert!(
        chain(&error).contains("the server cannot be reached, so the request was not sent"),
        "{}",
        chain(&error)
    );
}

#[tokio::test]
async fn a_server_that_does_not_encrypt_is_not_spoken_to() {
    let server = answering(vec![systems()]).await;
    let url = server.url().replace("http:", "https:");
    let client = with_key(&url)
        .retry_policy(RetryPolicy::never())
        .build()
        .expect("a client");
    let error = client.status().systems().await.expect_err("no handshake");
    assert!(
        chain(&error).contains("so the request was not sent"),
        "{}",
        chain(&error)
    );
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn slow_answers_end_in_time() {
    let server = answering(vec![systems().after(Duration::from_mins(1))]).await;
    let client = with_key(&server.url())
        .timeout(Duration::from_millis(50))
        .retry_policy(RetryPolicy { attempts: 2, ..QUICK })
        .build()
        .expect("a client");
    let begun = Instant::now();
    let error = client.status().systems().await.expect_err("too slow");
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(error.attempts(), 2);
    assert!(
        chain(&error).contains("the time for one attempt ran out"),
        "{}",
        chain(&error)
    );
}

#[tokio::test]
async fn the_wait_that_a_server_asks_for_is_kept() {
    let throttled = Reply::new(429, "").header("retry-after", "1");
    let server = answering(vec![throttled, systems()]).await;
    let begun = Instant::now();
    quick(&server.url()).status().systems().await.expect("systems");
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_wait_beyond_the_deadline_is_said_at_once() {
    let date = "Fri, 31 Dec 2100 23:59:59 GMT";
    let gateway = json!({
        "code": "900802", "message": "Message throttled out", "description": "You have exceeded your quota",
        "nextAccessTime": "2100-Jan-01 04:00:00+0000 UTC",
    });
    for throttled in [
        Reply::new(429, "").header("retry-after", "3600"),
        Reply::new(503, "").header("retry-after", date),
        Reply::json(429, &gateway),
    ] {
        let server = answering(vec![throttled]).await;
        let error = quick(&server.url())
            .status()
            .systems()
            .await
            .expect_err("throttled");
        assert_eq!((error.attempts(), server.seen().len()), (1, 1));
        assert!(
            matches!(error.gave_up(), GaveUp::OutOfTime { asked: true, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("the server asks to wait "), "{error}");
    }
}

/// After a 5xx the server closes the connection without saying so, and late: it is not used again.
#[tokio::test]
async fn connections_are_not_used_after_a_fault() {
    let server = answering(vec![
        systems(),
        systems(),
        Reply::refusal(500, "('Channel not open for sending',)"),
        systems(),
        systems(),
    ])
    .await;
    let client = quick(&server.url());
    for _ in 0..4 {
        client.status().systems().await.expect("systems");
    }
    let connections: Vec<_> = server.seen().iter().map(|request| request.connection).collect();
    assert_eq!(connections[..3], [1, 1, 1]);
    assert!(!connections[3..].contains(&1), "{connections:?}");
}

#[tokio::test]
async fn what_is_gone_counts_as_cancelled_and_removed() {
    let gone =
        "std_err:scancel: error: Kill job error on job id 51: Job/step already completing or completed";
    let server = answering(vec![Reply::refusal(408, "timeout"), Reply::refusal(500, gone)]).await;
    let cancelled = quick(&server.url())
        .jobs(&system())
        .cancel(&job_id("51"))
        .await
        .expect("gone");
    assert_eq!(cancelled, Cancelled::AlreadyGone);

    let missing = Reply::refusal(404, "rm: cannot remove '/scratch/x': No such file or directory");
    let server = answering(vec![Reply::nothing(), missing.clone()]).await;
    quick(&server.url())
        .files(&system())
        .remove(&path("/scratch/x"))
        .await
        .expect("removed by the first attempt");
    let server = answering(vec![missing]).await;
    quick(&server.url())
        .files(&system())
        .remove(&path("/scratch/x"))
        .await
        .expect_err("never there");
    let server = answering(vec![Reply::nothing(), Reply::refusal(404, "System not found")]).await;
    quick(&server.url())
        .files(&system())
        .remove(&path("/scratch/x"))
        .await
        .expect_err("no such system");
}

fn job() -> firecrest_client::JobSpec {
    firecrest_client::JobSpec::new(path("/scratch"), Script::Inline("#!/bin/bash\ntrue\n".to_owned()))
}

/// Submits; what the error says was started, and how many requests came.
async fn check_submit(replies: Vec<Reply>, expected: (Result<&str, Outcome>, usize)) {
    let text = format!("{replies:?}");
    let server = answering(replies).await;
    let outcome = quick(&server.url()).jobs(&system()).submit(&job()).await;
    let outcome = outcome.map_err(|error| {
        assert!(matches!(error.fault, SubmitFault::Call(_)), "{error:?}");
        error.outcome
    });
    let found = (
        outcome
            .as_ref()
            .map(firecrest_client::JobId::as_str)
            .map_err(Clone::clone),
        server.seen().len(),
    );
    assert_eq!(found, expected, "{text}");
}

#[tokio::test]
async fn submissions_are_repeated_only_when_nothing_was_started() {
    let created = Reply::json(201, &json!({ "jobId": "43" }));
    check_submit(vec![created.clone()], (Ok("43"), 1)).await;
    check_submit(vec![Reply::json(201, &json!({ "job_id": 43 }))], (Ok("43"), 1)).await;
    let unhealthy = Reply::refusal(
        503,
        "The scheduler service for the requested system (x) is unhealthy.",
    );
    check_submit(
        vec![Reply::new(429, ""), unhealthy.clone(), created.clone()],
        (Ok("43"), 3),
    )
    .await;
    check_submit(vec![unhealthy], (Err(Outcome::NotStarted), 4)).await;
    check_submit(
        vec![Reply::refusal(500, "std_err:sbatch: error: no")],
        (Err(Outcome::NotStarted), 1),
    )
    .await;
    check_submit(
        vec![Reply::refusal(403, "AssocMaxSubmitJobLimit")],
        (Err(Outcome::NotStarted), 1),
    )
    .await;
    for lost in [
        Reply::refusal(500, "('Channel not open for sending',)"),
        Reply::refusal(408, "Command execution timeout limit exceeded."),
        Reply::new(502, ""),
        Reply::new(503, "<html>"),
        Reply::nothing(),
        created.clone().cut_after(3),
        Reply::new(201, "<html>"),
        Reply::json(201, &json!({ "jobId": "abc" })),
    ] {
        check_submit(vec![lost, created.clone()], (Err(Outcome::Unknown), 1)).await;
    }
}

#[tokio::test]
async fn empty_files_are_written_although_the_server_refuses() {
    for (size, is_written) in [(0, true), (7, false)] {
        let stat = Reply::json(200, &json!({ "output": { "mode": 33_188, "size": size } }));
        let server = answering(vec![
            Reply::refusal(424, "Unable to open a new SSH channel."),
            Reply::refusal(408, "Command execution timeout limit exceeded."),
            stat,
        ])
        .await;
        let outcome = quick(&server.url())
            .files(&system())
            .upload(&path("/scratch/empty"), "")
            .await;
        assert_eq!(outcome.is_ok(), is_written);
        assert_eq!(server.seen().len(), 3);
    }
}
