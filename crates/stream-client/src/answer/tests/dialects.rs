//! Answers in the shapes of each engine.

use super::*;

/// A stream of these chunks, with its end.
fn events(chunks: &[&str]) -> String {
    let events = chunks.iter().chain(&["[DONE]"]);
    events.flat_map(|chunk| ["data: ", chunk, "\n\n"]).collect()
}

/// What is seen of these chunks, cut anywhere.
fn check_events(chunks: &[&str], expected: &str) {
    check(&events(chunks), expected);
}

fn check_lines(lines: &[&str], expected: &str) {
    check_form(AnswerForm::Lines, &lines.join("\n"), expected);
    check_form(AnswerForm::Lines, &(lines.join("\r\n") + "\n"), expected);
}

fn check_whole(answer: &str, expected: &str) {
    check_form(AnswerForm::Whole, answer, expected);
}

const VLLM_ROLE: &str = r#"{"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"prompt_token_ids":null}"#;

#[test]
fn vllm() {
    check_events(
        &[
            VLLM_ROLE,
            r#"{"id":"c","choices":[{"index":0,"delta":{"reasoning":"hm"},"logprobs":null,"finish_reason":null,"token_ids":null}]}"#,
            r#"{"id":"c","choices":[{"index":0,"delta":{"content":"yes"},"logprobs":null,"finish_reason":"stop","stop_reason":null}]}"#,
            r#"{"id":"c","choices":[],"usage":{"prompt_tokens":9,"total_tokens":12,"completion_tokens":3},"system_fingerprint":"v"}"#,
        ],
        "ok stop, 2 chunks, tokens 9/3/-",
    );
    check_events(
        &[
            VLLM_ROLE,
            r#"{"id":"c","choices":[{"index":0,"delta":{"tool_calls":[{"id":"t","type":"function","index":0,"function":{"name":"look","arguments":""}}]},"finish_reason":null}]}"#,
            r#"{"id":"c","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"at\": 1}"}}]},"finish_reason":null}]}"#,
            r#"{"id":"c","choices":[{"index":0,"delta":{"content":""},"finish_reason":"tool_calls"}]}"#,
        ],
        "ok tool_calls, 2 chunks, tokens -/-/-",
    );
    let usage_on_each = |tokens: u32, delta: &str, finish: &str| {
        format!(
            r#"{{"id":"c","choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}],"usage":{{"prompt_tokens":9,"total_tokens":0,"completion_tokens":{tokens}}}}}"#
        )
    };
    check_events(
        &[
            &usage_on_each(0, r#"{"role":"assistant","content":""}"#, "null"),
            &usage_on_each(1, r#"{"content":"a"}"#, "null"),
            &usage_on_each(4, r#"{"content":"b c d"}"#, r#""length""#),
        ],
        "ok length, 2 chunks, tokens 9/4/-",
    );
    check_events(
        &[
            r#"{"id":"c","object":"text_completion","choices":[{"index":0,"text":"a","logprobs":null,"finish_reason":null,"stop_reason":null}],"usage":null}"#,
            r#"{"id":"c","object":"text_completion","choices":[{"index":0,"text":"","logprobs":null,"finish_reason":"length","stop_reason":null}],"usage":null}"#,
            r#"{"id":"c","object":"text_completion","choices":[],"usage":{"prompt_tokens":2,"total_tokens":4,"completion_tokens":2}}"#,
        ],
        "ok length, 1 chunks, tokens 2/2/-",
    );
    check_events(
        &[
            r#"{"error": {"message": "the engine died", "type": "InternalServerError", "param": null, "code": 500}}"#,
        ],
        "stream_error -, 0 chunks, tokens -/-/-: the engine died",
    );
}

#[test]
fn llama_cpp() {
    check_events(
        &[
            r#"{"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],"id":"c"}"#,
            r#"{"choices":[{"finish_reason":null,"index":0,"delta":{"reasoning_content":"hm"}}],"id":"c"}"#,
            r#"{"choices":[{"finish_reason":null,"index":0,"delta":{"content":"a"}}],"id":"c"}"#,
            r#"{"choices":[{"finish_reason":"stop","index":0,"delta":{}}],"id":"c","timings":{"cache_n":5,"predicted_n":3}}"#,
            r#"{"choices":[],"id":"c","usage":{"completion_tokens":3,"prompt_tokens":6,"total_tokens":9,"prompt_tokens_details":{"cached_tokens":5}},"timings":{"cache_n":5}}"#,
        ],
        "ok stop, 2 chunks, tokens 6/3/5",
    );
    check_events(
        &[
            r#"{"choices":[{"text":"a","index":0,"logprobs":null,"finish_reason":null}],"id":"c"}"#,
            r#"{"choices":[{"text":"","index":0,"logprobs":null,"finish_reason":"length"}],"id":"c","usage":{"completion_tokens":1,"prompt_tokens":2}}"#,
        ],
        "ok length, 1 chunks, tokens 2/1/-",
    );
    check_whole(
        r#"{"choices":[{"finish_reason":"length","index":0,"message":{"role":"assistant","content":"a b"}}],"usage":{"completion_tokens":2,"prompt_tokens":6,"prompt_tokens_details":{"cached_tokens":5}},"timings":{}}"#,
        "ok length, 1 chunks, tokens 6/2/5",
    );
}

#[test]
fn dynamo() {
    check_events(
        &[
            r#"{"id":"c","choices":[{"index":0,"delta":{"content":"a","role":"assistant"},"finish_reason":null,"logprobs":null}]}"#,
            r#"{"id":"c","choices":[{"index":0,"delta":{"content":"b"},"finish_reason":null,"logprobs":null}]}"#,
            r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"length","logprobs":null}]}"#,
            r#"{"id":"c","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,"prompt_tokens_details":{"audio_tokens":null,"cached_tokens":0}}}"#,
        ],
        "ok length, 2 chunks, tokens 5/2/0",
    );
    check_events(
        &[r#"{"error":{"message":"no room","type":"internal_server_error","code":500}}"#],
        "stream_error -, 0 chunks, tokens -/-/-: no room",
    );
    check_whole(
        r#"{"id":"c","choices":[{"text":"a","index":0,"finish_reason":"length"}],"usage":{"prompt_tokens":5,"completion_tokens":8,"prompt_tokens_details":{"audio_tokens":null,"cached_tokens":0}}}"#,
        "ok length, 1 chunks, tokens 5/8/0",
    );
}

#[test]
fn sglang() {
    check_events(
        &[
            r#"{"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning_content":null,"tool_calls":null},"finish_reason":null,"matched_stop":null}],"usage":null}"#,
            r#"{"id":"c","choices":[{"index":0,"delta":{"role":null,"content":"a","reasoning_content":null,"tool_calls":null},"finish_reason":null,"matched_stop":null}],"usage":null}"#,
            r#"{"id":"c","choices":[{"index":0,"delta":{"role":null,"content":null,"reasoning_content":null,"tool_calls":null},"finish_reason":"length","matched_stop":null}],"usage":null}"#,
            r#"{"id":"c","choices":[],"usage":{"prompt_tokens":3,"total_tokens":4,"completion_tokens":1,"prompt_tokens_details":null}}"#,
        ],
        "ok length, 1 chunks, tokens 3/1/-",
    );
    check_events(
        &[
            r#"{"error": {"object": "error", "message": "aborted", "type": "ServiceUnavailable", "param": null, "code": 503}}"#,
        ],
        "stream_error -, 0 chunks, tokens -/-/-: aborted",
    );
    check_whole(
        r#"{"object":"error","message":"too long","type":"BadRequestError","param":null,"code":400}"#,
        "stream_error -, 0 chunks, tokens -/-/-: too long",
    );
}

#[test]
fn ollama() {
    let last = r#"{"model":"m","created_at":"2026-01-01T00:00:01Z","message":{"role":"assistant","content":""},"done":true,"done_reason":"length","total_duration":9,"load_duration":1,"prompt_eval_count":4,"prompt_eval_duration":2,"eval_count":3,"eval_duration":5}"#;
    check_lines(
        &[
            r#"{"model":"m","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":"","thinking":"hm"},"done":false}"#,
            r#"{"model":"m","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":"a"},"done":false}"#,
            last,
        ],
        "ok length, 2 chunks, tokens 4/3/-",
    );
    check_lines(
        &[
            r#"{"model":"m","response":"a","done":false}"#,
            r#"{"model":"m","response":"","done":true,"done_reason":"stop","context":[1,2],"eval_count":1}"#,
            r#"{"model":"m","response":"after the end","done":false}"#,
        ],
        "ok stop, 1 chunks, tokens -/1/-",
    );
    check_lines(
        &[
            r#"{"message":{"content":"","tool_calls":[{"function":{"name":"look","arguments":{"at":1}}}]},"done":false}"#,
            r#"{"message":{"content":""},"done":true}"#,
        ],
        "ok done, 1 chunks, tokens -/-/-",
    );
    check_lines(
        &[
            r#"{"response":"a","done":false}"#,
            r#"{"error":"the runner died"}"#,
        ],
        "stream_error -, 1 chunks, tokens -/-/-: the runner died",
    );
    check_lines(
        &[r#"{"response":"a","done":false}"#],
        "stream_cut -, 1 chunks, tokens -/-/-: the stream ended without a finish reason",
    );
    check_lines(
        &["[1]"],
        "parse_error -, 0 chunks, tokens -/-/-: a line of the stream is no JSON object: [1]",
    );
    check_whole(last, "ok length, 0 chunks, tokens 4/3/-");
    check_whole(
        r#"{"model":"m","response":"a b","done":true,"done_reason":"stop","prompt_eval_count":4,"eval_count":3}"#,
        "ok stop, 1 chunks, tokens 4/3/-",
    );
}

#[test]
fn answers_that_come_as_a_whole() {
    check_whole(
        r#"{"choices":[{"message":{"content":null,"reasoning":"hm","tool_calls":[]},"finish_reason":"stop"}]}"#,
        "ok stop, 1 chunks, tokens -/-/-",
    );
    check_whole(
        r#"{"choices":[{"message":{"content":null,"tool_calls":[{"function":{"name":"f"}}]},"finish_reason":"tool_calls"}]}"#,
        "ok tool_calls, 1 chunks, tokens -/-/-",
    );
    check_whole(
        r#"{"choices":[{"message":{"content":"a"}}]}"#,
        "stream_cut -, 1 chunks, tokens -/-/-: the answer has no finish reason",
    );
    check_whole(
        r#"{"error":"busy"}"#,
        "stream_error -, 0 chunks, tokens -/-/-: busy",
    );
    check_whole(
        "",
        "parse_error -, 0 chunks, tokens -/-/-: the answer is no JSON: EOF while parsing a value at line 1 column 0: ",
    );
}

/// The end of the body is all that is known of its times.
#[test]
fn a_whole_answer_has_no_first_token() {
    let pieces = [r#"{"choices":[{"text":"a","#, r#""finish_reason":"stop"}]}"#];
    assert_eq!(
        summary(AnswerForm::Whole, pieces.map(str::as_bytes), true),
        "ok stop, 1 chunks, tokens -/-/- [-1, -1, -1, 1] gaps [] max 0 end None"
    );
}
