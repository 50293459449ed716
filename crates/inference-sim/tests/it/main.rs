//! The simulator through real sockets.

mod client;

use std::time::Duration;

use client::{Reply, TestServer};
use gipfel_inference_sim::{Fault, Faults, Profiles, ServerProfile, SimOptions};

/// Steps of 2 ms, so that tests are quick and a stream is still long enough to be broken off.
fn profile() -> ServerProfile {
    let text = r#"
        [[server]]
        name = "test"
        t0_ms = 2
        token_us = 1
        context_ns = 1
        token_budget = 512
        max_seqs = 2
        kv_tokens = 100_000
        slos = ["ttft p95 <= 500ms"]
        [server.workload]
        input = { distribution = "fixed", value = 5 }
        output = { distribution = "fixed", value = 3 }
    "#;
    let profiles = Profiles::parse(text, "test").expect("a profile");
    profiles.select(None).expect("one profile").clone()
}

fn body(rest: &str) -> String {
    format!(r#"{{"model":"test","messages":[{{"role":"user","content":"a b c d"}}]{rest}}}"#)
}

const STREAMED: &str =
    r#","stream":true,"stream_options":{"include_usage":true},"ignore_eos":true,"max_tokens":"#;

async fn chat(server: &TestServer, rest: &str) -> Reply {
    server.post("/v1/chat/completions", body(rest)).await
}

#[tokio::test]
async fn a_stream_has_role_tokens_usage_and_end() {
    let server = TestServer::start(profile(), SimOptions::default()).await;
    let reply = chat(&server, &format!("{STREAMED}3")).await;
    assert_eq!((reply.status, reply.complete), (200, true));
    assert_eq!(reply.content_type, "text/event-stream; charset=utf-8");
    let events = reply.events();
    assert_eq!(events.len(), 6);
    let delta = |at: usize| events[at]["choices"][0]["delta"].to_string();
    assert_eq!(delta(0), r#"{"content":"","role":"assistant"}"#);
    for token in 1..=3 {
        assert_eq!(delta(token), r#"{"content":" peak"}"#);
    }
    assert!(events[2]["choices"][0]["finish_reason"].is_null());
    assert_eq!(events[3]["choices"][0]["finish_reason"], "length");
    assert_eq!(events[4]["choices"].to_string(), "[]");
    assert_eq!(
        events[4]["usage"].to_string(),
        r#"{"completion_tokens":3,"prompt_tokens":4,"total_tokens":7}"#
    );
    assert_eq!(events[5], "[DONE]");
    server.stop().await;
}

#[tokio::test]
async fn usage_is_sent_only_when_asked_for() {
    let server = TestServer::start(profile(), SimOptions::default()).await;
    // A single token comes with its finish reason.
    let reply = chat(&server, r#","stream":true,"max_tokens":1"#).await;
    let events = reply.events();
    assert_eq!(events.len(), 3);
    assert_eq!(events[1]["choices"][0]["finish_reason"], "length");
    assert_eq!(events[2], "[DONE]");
    server.stop().await;
}

#[tokio::test]
async fn an_answer_can_come_at_once() {
    let server = TestServer::start(profile(), SimOptions::default()).await;
    let reply = chat(&server, "").await;
    assert_eq!(reply.status, 200);
    let answer = reply.json();
    assert_eq!(answer["choices"][0]["message"]["content"], " peak peak peak");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 3);
    server.stop().await;
}

#[tokio::test]
async fn the_other_paths_answer() {
    let options = SimOptions {
        model: Some("other".to_owned()),
        ..SimOptions::default()
    };
    let server = TestServer::start(profile(), options).await;
    let models = server.get("/v1/models").await;
    assert_eq!(models.json()["data"][0]["id"], "other");
    assert_eq!(models.json()["data"][0]["max_model_len"], 100_000);
    let health = server.get("/health").await;
    assert_eq!((health.status, health.text.as_str()), (200, ""));
    assert!(server.get("/version").await.json()["version"].is_string());
    assert_eq!(server.get("/nothing").await.status, 404);
    assert_eq!(server.get("/v1/chat/completions").await.status, 405);
    let unknown = chat(&server, "").await;
    assert_eq!(
        (unknown.status, unknown.json()["error"]["type"].as_str()),
        (404, Some("NotFoundError"))
    );
    let broken = server.post("/v1/chat/completions", "{".to_owned()).await;
    assert_eq!(
        (broken.status, broken.json()["error"]["code"].as_i64()),
        (400, Some(400))
    );
    server.stop().await;
}

#[tokio::test]
async fn metrics_count_tokens_and_steps() {
    let server = TestServer::start(profile(), SimOptions::default()).await;
    for _ in 0..3 {
        chat(&server, &format!("{STREAMED}5")).await;
    }
    let metrics = server.metrics().await;
    let value = |name: &str| metrics.get(name).copied();
    assert_eq!(value("vllm:prompt_tokens_total"), Some(12.0));
    assert_eq!(value("vllm:generation_tokens_total"), Some(15.0));
    assert_eq!(value("vllm:num_preemptions_total"), Some(0.0));
    assert_eq!(value("vllm:prefix_cache_queries_total"), Some(0.0));
    assert_eq!(value("vllm:prefix_cache_hits_total"), Some(0.0));
    assert_eq!(value("gipfel_sim_step_seconds_count"), Some(15.0));
    let elapsed = value("gipfel_sim_step_seconds_sum").unwrap_or_default();
    let modelled = value("gipfel_sim_modelled_step_seconds_sum").unwrap_or_default();
    assert!(modelled > 0.02 && elapsed >= modelled, "{elapsed} {modelled}");
    server.until_idle().await;
    server.stop().await;
}

#[tokio::test]
async fn a_disconnect_frees_slot_and_cache() {
    let server = TestServer::start(profile(), SimOptions::default()).await;
    let body = body(&format!("{STREAMED}50000"));
    let first = server.open_stream(&body).await;
    let second = server.open_stream(&body).await;
    let third = server.open_stream(&body).await;
    server.until_load(2, 1, true).await;
    drop(first);
    server.until_load(2, 0, true).await;
    drop((second, third));
    server.until_idle().await;
    server.stop().await;
}

#[tokio::test]
async fn an_unstreamed_request_is_cancelled_too() {
    let server = TestServer::start(profile(), SimOptions::default()).await;
    let body = body(r#","max_tokens":50000"#);
    let request = server.send(&body).await;
    server.until_load(1, 0, true).await;
    drop(request);
    server.until_idle().await;
    server.stop().await;
}

#[tokio::test]
async fn streams_fail_as_asked_for() {
    let options = SimOptions {
        faults: Faults {
            cut_every: Some(2),
            error_every: Some(3),
            fail_after_requests: Some(4),
            ..Faults::default()
        },
        ..SimOptions::default()
    };
    let server = TestServer::start(profile(), options).await;
    let rest = format!("{STREAMED}6");
    let whole = chat(&server, &rest).await;
    assert!(whole.complete && whole.text.ends_with("data: [DONE]\n\n"));
    let cut = chat(&server, &rest).await;
    assert_eq!((cut.status, cut.complete), (200, false));
    assert_eq!(cut.events().len(), 4, "{}", cut.text);
    let error = chat(&server, &rest).await;
    assert_eq!((error.status, error.complete), (200, true));
    let events = error.events();
    assert_eq!(events.len(), 6);
    assert_eq!(events[4]["error"]["code"], 500);
    assert_eq!(events[5], "[DONE]");
    server.until_idle().await;
    assert_eq!(server.get("/health").await.status, 200);
    chat(&server, &rest).await;
    assert_eq!(server.get("/health").await.status, 503);
    assert_eq!(chat(&server, &rest).await.status, 500);
    server.stop().await;
}

async fn with_faults(faults: &[&str]) -> TestServer {
    let faults: Vec<Fault> = faults
        .iter()
        .map(|fault| fault.parse().expect("a fault"))
        .collect();
    let options = SimOptions {
        faults: Faults::of(&faults).expect("each once"),
        ..SimOptions::default()
    };
    TestServer::start(profile(), options).await
}

#[tokio::test]
async fn a_request_that_is_drawn_to_fail_is_refused_at_once() {
    let server = with_faults(&["errors=100%", "cut=100%"]).await;
    let reply = chat(&server, &format!("{STREAMED}6")).await;
    assert_eq!(reply.status, 500);
    assert_eq!(
        reply.json()["error"]["message"],
        "this request failed as asked for"
    );
    assert_eq!(server.get("/health").await.status, 200);
    let metrics = server.metrics().await;
    assert_eq!(metrics.get("gipfel_sim_step_seconds_count"), Some(&0.0));
    server.stop().await;
}

#[tokio::test]
async fn a_share_of_the_streams_is_cut() {
    let server = with_faults(&["cut=100%"]).await;
    let reply = chat(&server, &format!("{STREAMED}6")).await;
    assert_eq!((reply.status, reply.complete), (200, false));
    server.until_idle().await;
    server.stop().await;
}

#[tokio::test]
async fn answers_stop_early_and_prompts_are_cached() {
    let server = with_faults(&["short=100%", "prefix-cache=50%"]).await;
    for _ in 0..3 {
        let reply = chat(&server, &format!("{STREAMED}6")).await;
        let events = reply.events();
        assert_eq!(events[3]["choices"][0]["finish_reason"], "stop");
        let usage = &events[4]["usage"];
        assert_eq!(usage["completion_tokens"], 3);
        assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 2);
    }
    let metrics = server.metrics().await;
    let value = |name: &str| metrics.get(name).copied();
    assert_eq!(value("vllm:prefix_cache_queries_total"), Some(12.0));
    assert_eq!(value("vllm:prefix_cache_hits_total"), Some(6.0));
    assert_eq!(value("vllm:time_to_first_token_seconds_count"), Some(3.0));
    assert_eq!(value("vllm:request_queue_time_seconds_count"), Some(3.0));
    let ttft = value("vllm:time_to_first_token_seconds_sum").unwrap_or_default();
    assert!(ttft > 3.0 * 0.0015, "three steps of 2 ms: {ttft}");
    server.stop().await;
}

#[tokio::test]
async fn a_stall_holds_the_tokens_back() {
    // The tokens take 1.2 s by themselves.
    let server = with_faults(&["stall=300ms/every=1s"]).await;
    let began = std::time::Instant::now();
    let reply = chat(&server, &format!("{STREAMED}600")).await;
    assert!(reply.complete);
    assert!(
        began.elapsed() >= Duration::from_millis(1300),
        "{:?}",
        began.elapsed()
    );
    server.stop().await;
}

#[tokio::test]
async fn stopping_closes_open_streams() {
    let server = TestServer::start(profile(), SimOptions::default()).await;
    let stream = server.open_stream(&body(&format!("{STREAMED}50000"))).await;
    server.stop().await;
    let rest = tokio::time::timeout(Duration::from_secs(10), stream.rest()).await;
    assert!(!rest.expect("the stream ends").complete);
}
