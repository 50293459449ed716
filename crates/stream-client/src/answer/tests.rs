use std::cell::RefCell;

use proptest::prelude::*;

use super::*;

mod dialects;

pub(crate) const FIXTURES: [(&str, &str); 8] = [
    ("dynamo", include_str!("../../tests/fixtures/dynamo.sse")),
    ("llamacpp", include_str!("../../tests/fixtures/llamacpp.sse")),
    ("vllm", include_str!("../../tests/fixtures/vllm.sse")),
    (
        "vllm-completions",
        include_str!("../../tests/fixtures/vllm-completions.sse"),
    ),
    (
        "vllm-engine-dead",
        include_str!("../../tests/fixtures/vllm-engine-dead.sse"),
    ),
    (
        "vllm-logprobs",
        include_str!("../../tests/fixtures/vllm-logprobs.sse"),
    ),
    (
        "vllm-speculative",
        include_str!("../../tests/fixtures/vllm-speculative-usage-on-each.sse"),
    ),
    (
        "vllm-two-choices",
        include_str!("../../tests/fixtures/vllm-two-choices.sse"),
    ),
];

fn fixture(name: &str) -> &'static str {
    FIXTURES.iter().find(|fixture| fixture.0 == name).unwrap().1
}

/// What is seen of a stream that comes in these pieces, each at its own nanosecond from 0.
fn summary<'a>(form: AnswerForm, pieces: impl IntoIterator<Item = &'a [u8]>, timed: bool) -> String {
    let watch = Watch::new();
    let gaps = RefCell::new(Vec::new());
    let mut answer = Answer::new(form);
    let mut last_ns = 0;
    for (at_ns, piece) in (0..).zip(pieces) {
        last_ns = if timed { at_ns } else { 0 };
        answer.feed(piece, last_ns, &watch, &mut |gap| gaps.borrow_mut().push(gap));
    }
    if answer.decided_ns().is_none() {
        answer.complete(last_ns, &watch, &mut |gap| gaps.borrow_mut().push(gap));
    }
    let end = if answer.decided_ns().is_some() {
        End::Decided
    } else {
        End::Complete
    };
    let (ending, error) = answer.ending(&end);
    let usage = answer.usage();
    let times = if timed {
        let points = [
            &watch.first_chunk_ns,
            &watch.first_token_ns,
            &watch.first_output_ns,
            &watch.last_token_ns,
        ];
        let decided = answer.decided_ns();
        let gaps = gaps.borrow();
        format!(
            " {:?} gaps {gaps:?} max {} end {decided:?}",
            points.map(std::cell::Cell::get),
            watch.itl_max_ns.get()
        )
    } else {
        assert_eq!(gaps.borrow().len() as u32, watch.chunks.get().saturating_sub(1));
        String::new()
    };
    let counts = [
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.cached_tokens(),
    ];
    let counts = counts
        .map(|count| count.map_or("-".to_owned(), |count| count.to_string()))
        .join("/");
    let finish = answer.finish_reason().unwrap_or("-");
    let error = error.map_or(String::new(), |error| format!(": {error}"));
    format!(
        "{ending} {finish}, {} chunks, tokens {counts}{times}{error}",
        watch.chunks.get()
    )
}

/// Whole, at each split into two, and byte by byte.
fn check_form(form: AnswerForm, body: &str, expected: &str) {
    let bytes = body.as_bytes();
    assert_eq!(summary(form, [bytes], false), expected, "{body}");
    for at in 0..=bytes.len() {
        let (left, right) = bytes.split_at(at);
        assert_eq!(
            summary(form, [left, right], false),
            expected,
            "split at {at}: {body}"
        );
    }
    assert_eq!(
        summary(form, bytes.chunks(1), false),
        expected,
        "byte by byte: {body}"
    );
}

fn check(stream: &str, expected: &str) {
    check_form(AnswerForm::Events, stream, expected);
}

/// One event a nanosecond.
fn check_times(events: &[&str], expected: &str) {
    let events: Vec<String> = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    assert_eq!(
        summary(AnswerForm::Events, events.iter().map(String::as_bytes), true),
        expected
    );
}

#[test]
fn what_servers_send() {
    check(fixture("vllm"), "ok length, 4 chunks, tokens 26/24/-");
    check(fixture("llamacpp"), "ok length, 3 chunks, tokens 40/24/24");
    check(fixture("dynamo"), "ok length, 3 chunks, tokens 26/24/0");
    check(fixture("vllm-completions"), "ok length, 3 chunks, tokens 5/8/-");
    check(fixture("vllm-speculative"), "ok length, 6 chunks, tokens 42/64/-");
    check(fixture("vllm-two-choices"), "ok length, 4 chunks, tokens 26/8/-");
    check(fixture("vllm-logprobs"), "ok length, 2 chunks, tokens -/-/-");
    check(
        fixture("vllm-engine-dead"),
        "stream_error -, 0 chunks, tokens -/-/-: EngineCore encountered an issue. See stack trace (above) for the root cause.",
    );
}

#[test]
fn carriage_returns_and_comments() {
    check(
        &fixture("vllm").replace('\n', "\r\n"),
        "ok length, 4 chunks, tokens 26/24/-",
    );
    check(
        &fixture("vllm").replace('\n', "\r"),
        "ok length, 4 chunks, tokens 26/24/-",
    );
    let pinged = fixture("dynamo").replace("data: ", ": ping\n\nevent: x\nid: 1\ndata:");
    check(&pinged, "ok length, 3 chunks, tokens 26/24/0");
}

#[test]
fn endings() {
    let token = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let finish = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let done = "data: [DONE]\n\n";
    check(
        &format!("{token}{finish}{done}"),
        "ok stop, 1 chunks, tokens -/-/-",
    );
    check(&format!("{token}{finish}"), "ok stop, 1 chunks, tokens -/-/-");
    check(
        &format!("{token}{done}"),
        "stream_cut -, 1 chunks, tokens -/-/-: the stream came to `[DONE]` without a finish reason",
    );
    let cut = "stream_cut -, 1 chunks, tokens -/-/-: the stream ended without a finish reason";
    check(token, cut);
    check(&format!("{token}{}", finish.trim_end()), cut);
    check(
        "",
        "stream_cut -, 0 chunks, tokens -/-/-: the stream ended without a finish reason",
    );
    check(
        &format!("{token}data: {{\"error\":\"overloaded\"}}\n\n{finish}{done}"),
        "stream_error -, 1 chunks, tokens -/-/-: overloaded",
    );
    check(
        "data: {\"object\":\"error\",\"message\":\"no\",\"code\":400}\n\n",
        "stream_error -, 0 chunks, tokens -/-/-: no",
    );
    check(
        "data: [1]\n\n",
        "parse_error -, 0 chunks, tokens -/-/-: an event of the stream is no JSON object: [1]",
    );
    check(
        "data: {\"a\":\n\n",
        "parse_error -, 0 chunks, tokens -/-/-: an event of the stream is no JSON: \
         EOF while parsing a value at line 1 column 5: {\"a\":",
    );
    check(
        &format!("{finish}{done}{token}"),
        "ok stop, 0 chunks, tokens -/-/-",
    );
    check(
        &format!("data: {{\"keep\":\"alive\"}}\n\n{finish}"),
        "ok stop, 0 chunks, tokens -/-/-",
    );
}

#[test]
fn a_broken_connection_cuts_even_after_the_finish_reason() {
    let mut answer = Answer::new(AnswerForm::Events);
    let finish = b"data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n";
    answer.feed(finish, 0, &Watch::new(), &mut |_| {});
    let (ending, error) = answer.ending(&End::Broken("reset".to_owned()));
    assert_eq!(
        (ending, error.as_deref()),
        (Ending::StreamCut, Some("the stream broke: reset"))
    );
}

#[test]
fn clock_points() {
    let role = r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#;
    let empty = r#"{"choices":[{"delta":{"content":""}}]}"#;
    let thought = r#"{"choices":[{"delta":{"reasoning_content":"a"}}]}"#;
    let token = r#"{"choices":[{"delta":{"content":"a"}}]}"#;
    let finish = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
    let usage = r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    check_times(
        &[
            role, empty, thought, token, empty, empty, token, finish, usage, "[DONE]",
        ],
        "ok stop, 3 chunks, tokens 1/2/- [1, 2, 3, 6] gaps [1, 3] max 3 end Some(9)",
    );
    check_times(
        &[role, usage, finish],
        "ok stop, 0 chunks, tokens 1/2/- [2, -1, -1, -1] gaps [] max 0 end None",
    );
    let role_with_text =
        r#"{"choices":[{"delta":{"role":"assistant","content":"a"},"finish_reason":"stop"}]}"#;
    check_times(
        &[role_with_text],
        "ok stop, 1 chunks, tokens -/-/- [0, 0, 0, 0] gaps [] max 0 end None",
    );
}

#[test]
fn messages_of_servers() {
    let check = |body: &str, expected: &str| assert_eq!(server_message(body.as_bytes()), expected);
    check(r#"{"error":{"message":"too long","code":400}}"#, "too long");
    check(r#"{"error":"Unauthorized"}"#, "Unauthorized");
    check(
        r#"{"message":"Model not found","type":"Not Found","code":404}"#,
        "Model not found",
    );
    check(r#"{"detail":"Not Found"}"#, "Not Found");
    check(
        r#"{"detail":[{"loc":["body"]}]}"#,
        r#"{"detail":[{"loc":["body"]}]}"#,
    );
    check(" Bad Gateway\n", "Bad Gateway");
    check("", "");
    assert_eq!(
        server_message("é".repeat(1500).as_bytes()).chars().count(),
        MAX_MESSAGE_CHARS + 1
    );
}

#[test]
fn an_event_without_end() {
    let mut answer = Answer::new(AnswerForm::Events);
    let piece = [b'x'; 4096];
    for at_ns in 0..1000 {
        answer.feed(&piece, at_ns, &Watch::new(), &mut |_| {});
    }
    let (ending, error) = answer.ending(&End::Complete);
    assert_eq!(ending, Ending::ParseError);
    assert_eq!(
        error.as_deref(),
        Some("an event of the stream is longer than 1048576 bytes")
    );
}

proptest! {
    #[test]
    fn any_split_reads_the_same(
        which in 0..FIXTURES.len(),
        cuts in proptest::collection::vec(0.0..1.0, 0..40),
    ) {
        let stream = FIXTURES[which].1.as_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut: f64| (cut * stream.len() as f64) as usize).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        prop_assert_eq!(
            summary(AnswerForm::Events, pieces, false),
            summary(AnswerForm::Events, [stream], false)
        );
    }
}

#[test]
fn what_only_looks_like_the_event_before_it() {
    let token = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let two_lines = "data: {\"choices\":[{\"delta\":\ndata: {\"content\":\"a\"}}]}\n\n";
    let end = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let check = |middle: &str, expected: &str| check(&[token, token, middle, end].concat(), expected);
    check(token, "ok stop, 3 chunks, tokens -/-/-");
    check(
        &[two_lines, two_lines].concat(),
        "ok stop, 4 chunks, tokens -/-/-",
    );
    check(
        &token.replace("\n\n", "\r\n\r\n"),
        "ok stop, 3 chunks, tokens -/-/-",
    );
    check(
        &token.replace("\n\n", "\ndata:\n\n"),
        "ok stop, 3 chunks, tokens -/-/-",
    );
    check(&token.replace("\"a\"", "\"\""), "ok stop, 2 chunks, tokens -/-/-");
    check(
        &token.replace("\"a\"", "\"a\nb\""),
        "parse_error -, 2 chunks, tokens -/-/-: an event of the stream is no JSON: \
         EOF while parsing a string at line 1 column 34: {\"choices\":[{\"delta\":{\"content\":\"a",
    );
}
