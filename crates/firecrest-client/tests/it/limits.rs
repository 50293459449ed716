//! Calls in flight and calls per minute.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use firecrest_client::RetryPolicy;

use serde_json::json;
use tokio::sync::Notify;

use crate::{
    server::{Reply, Server},
    support::{quick, with_key},
};

fn systems() -> Reply {
    Reply::json(200, &json!({ "systems": [] }))
}

#[tokio::test]
async fn no_more_calls_are_in_flight_than_allowed() {
    let server = Server::start(|_| systems().after(Duration::from_millis(20))).await;
    let client = quick(&server.url());
    let clone = client.clone();
    let (status, other) = (client.status(), clone.status());
    let calls = (0..16).map(|index| {
        if index % 2 == 0 {
            status.systems()
        } else {
            other.systems()
        }
    });
    for outcome in futures_util::future::join_all(calls).await {
        outcome.expect("systems");
    }
    assert_eq!(
        server.most_at_once(),
        4,
        "clones share the limit, and use all of it"
    );
}

#[tokio::test]
async fn a_call_that_waits_for_its_next_attempt_holds_no_place() {
    let released = Arc::new(Notify::new());
    let releasing = Arc::clone(&released);
    let server = Server::start_async(move |request| {
        let releasing = Arc::clone(&releasing);
        async move {
            if request.path.ends_with("/nodes") {
                return Reply::new(503, "").header("retry-after", "5");
            }
            releasing.notify_one();
            systems()
        }
    })
    .await;
    let client = with_key(&server.url())
        .in_flight(1.try_into().expect("not zero"))
        .build()
        .expect("a client");
    let system = "clariden".parse().expect("a name");
    let status = client.status();
    let throttled = status.nodes(&system);
    let other = async {
        while server.count("GET /status/clariden/nodes") == 0 {
            tokio::task::yield_now().await;
        }
        status.systems().await
    };
    tokio::select! {
        outcome = throttled => panic!("the wait was not kept: {outcome:?}"),
        outcome = other => { outcome.expect("systems"); }
    }
    tokio::time::timeout(Duration::from_secs(5), released.notified())
        .await
        .expect("served while the other waited");
}

#[tokio::test]
async fn a_call_that_is_throttled_holds_back_the_others() {
    let server = Server::start(|request| match request.path.as_str() {
        "/status/clariden/nodes" => Reply::new(429, "").header("retry-after", "1"),
        "/status/clariden/partitions" => Reply::new(429, "").header("retry-after", "3600"),
        _ => systems(),
    })
    .await;
    let once = RetryPolicy {
        total: Duration::from_mins(1),
        ..RetryPolicy::never()
    };
    let client = with_key(&server.url())
        .retry_policy(once)
        .build()
        .expect("a client");
    let system = "clariden".parse().expect("a name");
    let begun = Instant::now();
    client.status().nodes(&system).await.expect_err("throttled");
    client.status().systems().await.expect("systems");
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());

    client
        .status()
        .partitions(&system, false)
        .await
        .expect_err("throttled");
    let outcome = tokio::time::timeout(Duration::from_secs(30), client.status().systems()).await;
    outcome
        .expect("a wait beyond the deadline is left to each call")
        .expect("systems");
}

#[tokio::test]
async fn a_quota_is_kept() {
    let server = Server::start(|_| systems()).await;
    let client = with_key(&server.url())
        .calls_per_minute(3.try_into().expect("not zero"))
        .build()
        .expect("a client");
    for _ in 0..3 {
        client.status().systems().await.expect("systems");
    }
    let fourth = tokio::time::timeout(Duration::from_millis(300), client.status().systems()).await;
    assert!(fourth.is_err(), "the fourth call of the minute waits");
    assert_eq!(server.seen().len(), 3);
}
