//! All endings of an answer that comes.

use gipfel_stream_client::{AnswerForm, ClientOptions, Limits};

use crate::script::{Step, chunked, head, plain, play, send, until_close};
use crate::*;

/// One exchange whose answer comes whole, byte by byte, and in pieces of 7; then the server closes.
fn check(bytes: impl Into<Vec<u8>>, expected: &str) {
    let bytes = bytes.into();
    run(async || {
        for size in [bytes.len().max(1), 1, 7] {
            let pieces = bytes.chunks(size).map(<[u8]>::to_vec).collect();
            let server = play(vec![vec![Step::Request, Step::Send(pieces)]]).await;
            let outcome = Caller::new(&server.url()).stream().await;
            assert_eq!(show(&outcome), in_its_words(expected), "in pieces of {size}");
            server.seen().await;
        }
    });
}

const ALL: &str = "[sent head chunk token output]";

#[test]
fn a_complete_exchange() {
    run(async || {
        let server = play(vec![vec![
            Step::Request,
            send(chunked(&answer())),
            Step::UntilClosed,
        ]])
        .await;
        let caller = Caller::with(
            &server.url(),
            ClientOptions {
                bearer: Some("key".to_owned()),
                ..options()
            },
        );
        let start = caller.clock.now_ns();
        let (exchange, watch) = caller.stream().await;
        let points = [
            start,
            watch.send_ns.get(),
            watch.header_ns.get(),
            watch.first_chunk_ns.get(),
            watch.first_token_ns.get(),
            watch.last_token_ns.get(),
            exchange.end_ns,
            caller.clock.now_ns(),
        ];
        assert!(points.is_sorted(), "{points:?}");
        assert_eq!(watch.first_token_ns, watch.first_output_ns);
        assert_eq!(
            *caller.gaps.borrow(),
            [watch.last_token_ns.get() - watch.first_token_ns.get()]
        );
        assert_eq!(watch.itl_max_ns.get(), caller.gaps.borrow()[0]);
        let connect = exchange.connect_ns.unwrap();
        assert!((1..=watch.send_ns.get() - start).contains(&connect), "{connect}");
        assert_eq!(
            (exchange.input_tokens, exchange.output_tokens),
            (Some(3), Some(2))
        );
        assert_eq!(
            (exchange.cached_tokens, exchange.finish_reason.as_deref()),
            (Some(1), Some("length"))
        );
        let address = server.address;
        drop(caller);
        let request = server.seen().await.remove(0).requests.remove(0);
        assert_eq!(
            request,
            format!(
                "POST {PATH} HTTP/1.1\r\nhost: {address}\r\nuser-agent: gipfel/{}\r\nauthorization: Bearer key\r\n\
                 content-type: application/json\r\naccept: text/event-stream\r\ncontent-length: 15\r\n\r\n{BODY}",
                env!("CARGO_PKG_VERSION")
            )
        );
    });
}

#[test]
fn streams_of_every_framing() {
    check(chunked(&answer()), &format!("ok 200 {ALL} 2"));
    check(until_close(&answer()), &format!("ok 200 {ALL} 2"));
    check(
        [head("content-length: 14\r\n"), DONE.into()].concat(),
        "stream_cut 200 [sent head] 0: the stream came to `[DONE]` without a finish reason",
    );
    let whole = answer();
    check(
        [
            head(&format!("content-length: {}\r\n", whole.len())),
            whole.into(),
        ]
        .concat(),
        &format!("ok 200 {ALL} 2"),
    );
    check(until_close(&[TOKEN, FINISH].concat()), &format!("ok 200 {ALL} 1"));
    check(
        format!("HTTP/1.1 200 OK\r\n\r\n{}", answer()),
        &format!("ok 200 {ALL} 2"),
    );
    check(
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream\r\n\r\n{}",
            answer()
        ),
        &format!("ok 200 {ALL} 2"),
    );
}

#[test]
fn cut_streams() {
    let cut = "the stream ended without a finish reason";
    check(
        chunked(&[ROLE, TOKEN].concat()),
        &format!("stream_cut 200 {ALL} 1: {cut}"),
    );
    check(until_close(ROLE), &format!("stream_cut 200 [sent head] 0: {cut}"));
    let mut broken = chunked(&[ROLE, TOKEN, FINISH].concat());
    broken.truncate(broken.len() - 5);
    let incomplete =
        "the stream broke: error reading a body from connection: unexpected EOF during chunk size line";
    check(broken, &format!("stream_cut 200 {ALL} 1: {incomplete}"));
    check(
        &b"HTTP/1.1 200 OK\r\ncontent-ty"[..],
        "stream_cut - [sent] 0: connection closed before message completed",
    );
    check(
        "",
        "stream_cut - [sent] 0: connection closed before message completed",
    );
}

#[test]
fn errors_in_the_stream() {
    let error = "data: {\"error\": {\"message\": \"engine died\", \"code\": 500}}\n\n";
    check(
        chunked(&[error, DONE].concat()),
        "stream_error 200 [sent head] 0: engine died",
    );
    check(
        chunked(&[TOKEN, error, DONE].concat()),
        &format!("stream_error 200 {ALL} 1: engine died"),
    );
}

#[test]
fn refusals() {
    let json = "application/json";
    check(
        plain(
            "400 Bad Request",
            json,
            r#"{"error":{"message":"too long","code":400}}"#,
        ),
        "http_error 400 [sent head] 0: too long",
    );
    check(
        plain("401 Unauthorized", json, r#"{"error":"Unauthorized"}"#),
        "http_error 401 [sent head] 0: Unauthorized",
    );
    check(
        plain("404 Not Found", json, r#"{"message":"Model not found"}"#),
        "http_error 404 [sent head] 0: Model not found",
    );
    check(
        plain("503 Busy", "text/html", "<h1>busy</h1>"),
        "http_error 503 [sent head] 0: <h1>busy</h1>",
    );
    check(
        plain("405 No", json, ""),
        "http_error 405 [sent head] 0: HTTP 405 without a text",
    );
    check(
        plain("204 Empty", json, ""),
        "http_error 204 [sent head] 0: HTTP 204 without a text",
    );
    let unfinished = "HTTP/1.1 500 Oh\r\ncontent-length: 90\r\n\r\nhalf";
    check(unfinished, "http_error 500 [sent head] 0: half");
}

#[test]
fn a_long_refusal_is_not_read_whole() {
    run(async || {
        let body = "x".repeat(1 << 20);
        let server = play(vec![vec![
            Step::Request,
            send(plain("500 Oh", "text/plain", &body)),
        ]])
        .await;
        let (exchange, _) = Caller::new(&server.url()).stream().await;
        assert_eq!(exchange.ending, gipfel_stream_client::Ending::HttpError);
        assert!(exchange.error.unwrap().len() < 1100);
    });
}

#[test]
fn what_is_no_stream() {
    check(
        plain(
            "200 OK",
            "application/json",
            r#"{"error":{"message":"no streams here"}}"#,
        ),
        "parse_error 200 [sent head] 0: the answer is `application/json`, \
         not the `text/event-stream` that was asked for: no streams here",
    );
    check(
        "SSH-2.0-OpenSSH\r\n\r\n",
        "parse_error - [sent] 0: invalid HTTP version parsed",
    );
    let long = [
        head("connection: close\r\n"),
        b"data: ".to_vec(),
        vec![b'x'; 1 << 20],
    ]
    .concat();
    run(async move || {
        let server = play(vec![vec![Step::Request, send(long.clone()), Step::UntilClosed]]).await;
        let outcome = Caller::new(&server.url()).stream().await;
        let expected = "parse_error 200 [sent head] 0: an event of the stream is longer than 1048576 bytes";
        assert_eq!(show(&outcome), expected);
    });
}

/// What comes of this answer in this form, its first token due at once.
fn check_form(form: AnswerForm, answer: Vec<u8>, expected: &str) {
    run(async move || {
        let server = play(vec![vec![Step::Request, send(answer.clone())]]).await;
        let caller = Caller::with(&server.url(), ClientOptions { form, ..options() });
        let limits = match form {
            AnswerForm::Whole => Limits {
                first_token_ns: 0,
                ..caller.limits()
            },
            AnswerForm::Events | AnswerForm::Lines => caller.limits(),
        };
        assert_eq!(show(&caller.stream_within(limits).await), in_its_words(expected));
        drop(caller);
        let accept = server.seen().await[0].requests[0].clone();
        let media_type = match form {
            AnswerForm::Events => "text/event-stream",
            AnswerForm::Lines => "application/x-ndjson",
            AnswerForm::Whole => "application/json",
        };
        assert!(accept.contains(&format!("accept: {media_type}\r\n")), "{accept}");
    });
}

#[test]
fn answers_in_other_forms() {
    let whole = r#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}"#;
    let json = plain("200 OK", "application/json", whole);
    check_form(AnswerForm::Whole, json.clone(), "ok 200 [sent head] 1");
    check_form(
        AnswerForm::Whole,
        plain("400 No", "application/json", r#"{"error":"no"}"#),
        "http_error 400 [sent head] 0: no",
    );
    check_form(
        AnswerForm::Whole,
        chunked(TOKEN),
        "parse_error 200 [sent head] 0: the answer is `text/event-stream`, \
         not the `application/json` that was asked for: data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}",
    );
    let mut half = json;
    half.truncate(half.len() - 9);
    check_form(
        AnswerForm::Whole,
        half,
        "stream_cut 200 [sent head] 0: the stream broke: error reading a body from connection: \
         end of file before message length reached",
    );
    let lines = "{\"response\":\"a\"}\n{\"response\":\"b\"}\n{\"done\":true,\"eval_count\":2}\n";
    check_form(
        AnswerForm::Lines,
        plain("200 OK", "application/x-ndjson", lines),
        &format!("ok 200 {ALL} 2"),
    );
}
