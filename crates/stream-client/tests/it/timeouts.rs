//! Limits that are reached.

use gipfel_stream_client::GetError;

use crate::script::{Step, head, play, send};
use crate::*;

const MILLISECOND: i64 = 1_000_000;

/// One exchange with a server that sends this much and then nothing; the limits are in milliseconds.
fn check(bytes: impl Into<Vec<u8>>, [first, between, total]: [i64; 3], expected: &str) {
    let bytes = bytes.into();
    run(async || {
        let server = play(vec![vec![Step::Request, send(bytes.clone()), Step::UntilClosed]]).await;
        let caller = Caller::new(&server.url());
        let now = caller.clock.now_ns();
        let limits = Limits {
            scheduled_ns: now,
            first_token_ns: now + first * MILLISECOND,
            between_tokens: Duration::from_millis(between as u64),
            total_ns: now + total * MILLISECOND,
        };
        let outcome = caller.stream_within(limits).await;
        assert_eq!(show(&outcome), expected);
        let took = outcome.0.end_ns - now;
        assert!(
            took >= [first, between, total].into_iter().min().unwrap() * MILLISECOND,
            "{took}"
        );
        assert_eq!(caller.open_connections(), 0);
        assert!(server.seen().await[0].closed_by_client);
    });
}

fn stream(events: &str) -> Vec<u8> {
    [head("connection: close\r\n"), events.into()].concat()
}

#[test]
fn the_first_token() {
    check("", [30, 9000, 9000], "timeout_first_token - [sent] 0");
    check(
        stream(""),
        [30, 9000, 9000],
        "timeout_first_token 200 [sent head] 0",
    );
    check(
        stream(&[ROLE, ": ping\n\n"].concat()),
        [30, 1, 9000],
        "timeout_first_token 200 [sent head] 0",
    );
}

#[test]
fn the_next_token() {
    let seen = "200 [sent head chunk token output]";
    check(
        stream(TOKEN),
        [9000, 30, 9000],
        &format!("timeout_between_tokens {seen} 1"),
    );
    check(
        stream(&[TOKEN, TOKEN].concat()),
        [9000, 30, 9000],
        &format!("timeout_between_tokens {seen} 2"),
    );
    check(
        stream(&[TOKEN, FINISH].concat()),
        [9000, 30, 9000],
        &format!("timeout_between_tokens {seen} 1"),
    );
}

#[test]
fn the_whole() {
    check("", [9000, 9000, 30], "timeout_total - [sent] 0");
    check("", [30, 9000, 30], "timeout_total - [sent] 0");
    check(
        stream(TOKEN),
        [9000, 9000, 30],
        "timeout_total 200 [sent head chunk token output] 1",
    );
}

/// A limit that has passed before the exchange begins.
#[test]
fn too_late_to_begin() {
    run(async || {
        let server = play(vec![]).await;
        let caller = Caller::new(&server.url());
        let limits = Limits {
            first_token_ns: -5,
            ..caller.limits()
        };
        let (exchange, _) = caller.stream_within(limits).await;
        let ending = exchange.ending.as_str();
        assert!(
            ["timeout_first_token", "connect_error"].contains(&ending),
            "{ending}"
        );
    });
}

#[test]
fn each_token_moves_the_limit() {
    run(async || {
        let (listener, url) = listen().await;
        let server = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt;
            let (mut tcp, _) = listener.accept().await.unwrap();
            tcp.write_all(&stream("")).await.unwrap();
            for _ in 0..8 {
                tcp.write_all(TOKEN.as_bytes()).await.unwrap();
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
            tcp.write_all([FINISH, DONE].concat().as_bytes()).await.unwrap();
        });
        let caller = Caller::new(&url);
        let limits = Limits {
            between_tokens: Duration::from_millis(200),
            ..caller.limits()
        };
        let outcome = caller.stream_within(limits).await;
        assert_eq!(show(&outcome), "ok 200 [sent head chunk token output] 8");
        assert_eq!(caller.gaps.borrow().len(), 7);
        server.await.unwrap();
    });
}

/// A peer that never takes part in the TLS handshake.
#[test]
fn connecting() {
    run(async || {
        let (listener, url) = listen().await;
        let url = url.replace("http:", "https:");
        let options = ClientOptions {
            connect_timeout: Duration::from_millis(40),
            ..options()
        };
        let caller = Caller::with(&url, options);
        let outcome = caller.stream().await;
        assert_eq!(show(&outcome), "timeout_connect - [] 0");
        assert!(outcome.0.connect_ns.unwrap() >= 40 * MILLISECOND);
        let limits = Limits {
            total_ns: caller.clock.now_ns() + 20 * MILLISECOND,
            ..caller.limits()
        };
        assert_eq!(show(&caller.stream_within(limits).await), "timeout_total - [] 0");
        assert_eq!(caller.open_connections(), 0);
        drop(listener);
    });
}

#[test]
fn a_get() {
    run(async || {
        let server = play(vec![vec![Step::Request, Step::UntilClosed]]).await;
        let caller = Caller::new(&server.url());
        let error = caller
            .client
            .get("/metrics", Duration::from_millis(30), 10)
            .await
            .unwrap_err();
        assert!(
            matches!(error, GetError::Timeout { timeout_ms: 30, .. }),
            "{error}"
        );
        assert!(server.seen().await[0].closed_by_client);
    });
}

async fn listen() -> (tokio::net::TcpListener, String) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}
