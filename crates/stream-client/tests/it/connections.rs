//! Connections: made, kept, replaced, given up.

use std::pin::pin;
use std::task::Poll;

use gipfel_stream_client::{Ending, GetError};

use crate::script::{Step, chunked, head, plain, play, send};
use crate::*;

const OK: &str = "ok 200 [sent head chunk token output] 2";

#[test]
fn a_finished_exchange_gives_its_connection_back() {
    run(async || {
        let exchange = [Step::Request, send(chunked(&answer()))];
        let server = play(vec![
            [&exchange[..], &exchange, &exchange, &[Step::UntilClosed]].concat(),
        ])
        .await;
        let caller = Caller::new(&server.url());
        for round in 0..3 {
            let outcome = caller.stream().await;
            assert_eq!(show(&outcome), OK);
            assert_eq!(outcome.0.connect_ns.is_some(), round == 0);
            assert_eq!(caller.open_connections(), 1);
        }
        drop(caller);
        let seen = server.seen().await;
        assert_eq!(seen[0].requests.len(), 3);
    });
}

#[test]
fn the_most_recently_used_connection_goes_first() {
    run(async || {
        let one = vec![Step::Request, send(chunked(&answer())), Step::UntilClosed];
        let three = [&one[..2], &one[..2], &one[..]].concat();
        // The second connection is the last to be given back, so the later exchanges take it.
        let server = play(vec![one, three]).await;
        let caller = Caller::new(&server.url());
        let second = async {
            tokio::task::yield_now().await;
            caller.stream().await
        };
        let (first, second) = tokio::join!(caller.stream(), second);
        assert_eq!((show(&first), show(&second)), (OK.to_owned(), OK.to_owned()));
        assert_eq!(caller.open_connections(), 2);
        for _ in 0..2 {
            assert_eq!(caller.stream().await.0.connect_ns, None);
        }
        drop(caller);
        let mut counts: Vec<usize> = server
            .seen()
            .await
            .iter()
            .map(|seen| seen.requests.len())
            .collect();
        counts.sort_unstable();
        assert_eq!(counts, [1, 3]);
    });
}

#[test]
fn no_more_than_max_idle_are_kept() {
    run(async || {
        let one = vec![Step::Request, send(chunked(&answer())), Step::UntilClosed];
        let server = play(vec![one.clone(), one]).await;
        let caller = Caller::with(
            &server.url(),
            ClientOptions {
                max_idle: 0,
                ..options()
            },
        );
        for _ in 0..2 {
            assert!(caller.stream().await.0.connect_ns.is_some());
            assert_eq!(caller.open_connections(), 0);
        }
        assert!(server.seen().await.iter().all(|seen| seen.closed_by_client));
    });
}

#[test]
fn connection_close_is_respected() {
    run(async || {
        let answer = answer();
        let closing = head(&format!(
            "connection: close\r\ncontent-length: {}\r\n",
            answer.len()
        ));
        let one = vec![
            Step::Request,
            send([closing, answer.into()].concat()),
            Step::UntilClosed,
        ];
        let server = play(vec![one.clone(), one]).await;
        let caller = Caller::new(&server.url());
        for _ in 0..2 {
            let outcome = caller.stream().await;
            assert_eq!(show(&outcome), OK);
            assert!(outcome.0.connect_ns.is_some());
            assert_eq!(caller.open_connections(), 0);
        }
        server.seen().await;
    });
}

#[test]
fn a_refusal_keeps_the_connection_too() {
    run(async || {
        let refusal = send(plain("503 Busy", "application/json", "{}"));
        let server = play(vec![vec![
            Step::Request,
            refusal,
            Step::Request,
            send(chunked(&answer())),
        ]])
        .await;
        let caller = Caller::new(&server.url());
        assert_eq!(caller.stream().await.0.ending, Ending::HttpError);
        let outcome = caller.stream().await;
        assert_eq!((show(&outcome), outcome.0.connect_ns), (OK.to_owned(), None));
    });
}

/// The server takes the second request on the kept connection and dies before it answers.
#[test]
fn a_connection_that_dies_before_the_answer_is_replaced() {
    run(async || {
        let answered = [Step::Request, send(chunked(&answer()))];
        let first = [&answered[..], &[Step::Request]].concat();
        let server = play(vec![first, answered.to_vec()]).await;
        let caller = Caller::new(&server.url());
        caller.stream().await;
        let before = caller.clock.now_ns();
        let outcome = caller.stream().await;
        assert_eq!(show(&outcome), OK);
        let connect = outcome.0.connect_ns.unwrap();
        assert!(
            outcome.1.send_ns.get() >= before + connect,
            "the send is that of the new connection"
        );
        let seen = server.seen().await;
        assert_eq!((seen[0].requests.len(), seen[1].requests.len()), (2, 1));
    });
}

#[test]
fn the_replacement_is_not_replaced() {
    run(async || {
        let first = vec![Step::Request, send(chunked(&answer())), Step::Request];
        let server = play(vec![first, vec![Step::Request]]).await;
        let caller = Caller::new(&server.url());
        caller.stream().await;
        let outcome = caller.stream().await;
        assert_eq!(
            show(&outcome),
            "stream_cut - [sent] 0: connection closed before message completed"
        );
        assert_eq!(caller.open_connections(), 0);
    });
}

/// With a byte of the answer there, sending again would count one request twice.
#[test]
fn an_answer_that_has_begun_is_not_asked_for_again() {
    run(async || {
        let first = vec![
            Step::Request,
            send(chunked(&answer())),
            Step::Request,
            send("HTTP/1.1 200"),
        ];
        let server = play(vec![first]).await;
        let caller = Caller::new(&server.url());
        caller.stream().await;
        assert_eq!(caller.stream().await.0.ending, Ending::StreamCut);
    });
}

#[test]
fn a_closed_idle_connection_is_found_out() {
    run(async || {
        let one = vec![Step::Request, send(chunked(&answer()))];
        let server = play(vec![one.clone(), one]).await;
        let caller = Caller::new(&server.url());
        assert_eq!(show(&caller.stream().await), OK);
        // Whether the close has arrived or not, the next exchange succeeds.
        let outcome = caller.stream().await;
        assert_eq!(show(&outcome), OK);
        assert!(outcome.0.connect_ns.is_some());
        server.seen().await;
    });
}

#[test]
fn dropping_the_exchange_closes_the_connection() {
    run_client(async {
        let stream = [head("connection: keep-alive\r\n"), [ROLE, TOKEN].concat().into()].concat();
        let server = play(vec![vec![Step::Request, send(stream), Step::UntilClosed]]).await;
        let caller = Caller::new(&server.url());
        let watch = Rc::new(Watch::new());
        {
            let stream = caller
                .client
                .stream(PATH, BODY.into(), caller.limits(), Rc::clone(&watch), |_| {});
            let mut stream = pin!(stream);
            std::future::poll_fn(|cx| {
                assert!(stream.as_mut().poll(cx).is_pending());
                if watch.chunks.get() == 1 {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            assert_eq!(caller.open_connections(), 1);
        }
        assert_eq!(caller.open_connections(), 0);
        assert!(watch.send_ns.get() > 0 && watch.first_token_ns.get() >= watch.header_ns.get());
        assert!(server.seen().await[0].closed_by_client);
    });
}

#[test]
fn nobody_listens() {
    run(async || {
        let server = play(vec![]).await;
        let url = server.url();
        server.seen().await;
        let caller = Caller::new(&url);
        let outcome = caller.stream().await;
        assert_eq!(outcome.0.ending, Ending::ConnectError);
        assert!(outcome.0.error.unwrap().contains("refused"));
        assert!(outcome.0.connect_ns.is_some());
        assert_eq!(outcome.1.send_ns.get(), NOT_YET);
        let error = caller
            .client
            .get("/health", Duration::from_secs(5), 10)
            .await
            .unwrap_err();
        assert!(matches!(error, GetError::Connect { .. }), "{error}");
    });
}

#[test]
fn a_host_by_name_is_looked_up() {
    run(async || {
        let one = vec![Step::Request, send(chunked(&answer()))];
        let server = play(vec![one]).await;
        let caller = Caller::new(&format!("http://localhost:{}", server.address.port()));
        assert_eq!(show(&caller.stream().await), OK);
    });
}

#[test]
fn gets() {
    run(async || {
        let get = |body: &str| [Step::Request, send(plain("200 OK", "text/plain", body))];
        let script = [
            &get("fine")[..],
            &[Step::Request, send(plain("503 No", "text/plain", ""))],
            &get("12345678901"),
        ];
        let server = play(vec![script.concat()]).await;
        let caller = Caller::new(&format!("{}/llm/", server.url()));
        let get = async |path| caller.client.get(path, Duration::from_secs(5), 10).await;
        assert_eq!(get("/health").await.unwrap(), (200, "fine".into()));
        assert_eq!(get("/health").await.unwrap(), (503, "".into()));
        assert!(matches!(
            get("/metrics").await,
            Err(GetError::TooLong { max_bytes: 10, .. })
        ));
        assert!(matches!(get("health").await, Err(GetError::Path { .. })));
        assert_eq!(caller.open_connections(), 0);
        let seen = server.seen().await;
        assert!(
            seen[0].requests[2].starts_with("GET /llm/metrics HTTP/1.1\r\n"),
            "{seen:?}"
        );
    });
}
