//! Every recorded exchange of a call that the client makes: the request is the recorded one, and the answer is
//! read into the right type or error.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use firecrest_client::{Client, RetryPolicy};
use serde_json::{Map, Value};

use crate::{
    recordings::{Exchange, Recording},
    replay_staged::is_staged_elsewhere,
    server::{Reply, Request, Server},
    speak::{Heard, speak},
    support::{bearer, token_reply, with_tokens},
    unspoken::{UNSPOKEN, is_unspoken},
};

/// What is played now, and how the requests differed from it.
#[derive(Default)]
struct Stage {
    exchange: Option<Exchange>,
    differences: Vec<String>,
}

#[tokio::test]
async fn recorded_exchanges_are_spoken() {
    let stage: Arc<Mutex<Stage>> = Arc::default();
    let (server, client) = start(&stage).await;
    let mut lines = Vec::new();
    for recording in Recording::all()
        .iter()
        .filter(|recording| recording.name != "01-token")
    {
        for (index, exchange) in recording.exchanges.iter().enumerate() {
            if is_unspoken(&recording.name, index) || is_staged_elsewhere(recording, index) {
                continue;
            }
            let title = format!("{}#{index} {} {}", recording.name, exchange.method, exchange.url);
            let before = server.seen().len();
            *stage.lock().expect("no panic") = Stage {
                exchange: Some(exchange.clone()),
                differences: Vec::new(),
            };
            let heard = speak(&client, exchange)
                .await
                .unwrap_or_else(|| panic!("no call for {title}"));
            assert!(server.seen().len() > before, "{title}: nothing was sent");
            let differences = std::mem::take(&mut stage.lock().expect("no panic").differences);
            assert!(differences.is_empty(), "{title}: {}", differences.join("; "));
            lines.push(format!(
                "{} -> {} {}",
                shorten(&title, 150),
                exchange.status,
                judge(&title, exchange, &heard)
            ));
        }
    }
    insta::assert_snapshot!("replay", lines.join("\n"));
}

/// A server that plays what is on the stage, and a client that makes one attempt.
async fn start(stage: &Arc<Mutex<Stage>>) -> (Server, Client) {
    let (playing, tokens) = (Arc::clone(stage), AtomicUsize::new(0));
    let server = Server::start(move |request| {
        if request.path == "/token" {
            return token_reply(tokens.fetch_add(1, Ordering::SeqCst), 300);
        }
        let mut stage = playing.lock().expect("no panic");
        let exchange = stage.exchange.clone().expect("an exchange");
        if is_look_after_empty_upload(&exchange, request) {
            return Reply::new(200, r#"{"output":{"mode":33188,"size":0}}"#);
        }
        let differences = differences(&exchange, request);
        stage.differences.extend(differences);
        play(&exchange, request)
    })
    .await;
    let client = with_tokens(&server.url())
        .retry_policy(RetryPolicy::never())
        .build()
        .expect("a client");
    (server, client)
}

/// After an empty file was refused with 408 the client looks whether it was written all the same.
fn is_look_after_empty_upload(exchange: &Exchange, request: &Request) -> bool {
    exchange.url.contains("/ops/upload") && exchange.status == 408 && request.path.ends_with("/ops/stat")
}

/// The recorded answer. Redacted tokens are those that the client has shown, as the real server echoes them.
fn play(exchange: &Exchange, request: &Request) -> Reply {
    exchange.headers.iter().fold(
        Reply::new(exchange.status, exchange.body()),
        |reply, (name, value)| {
            let value = if name == "auth-token" {
                bearer(request).unwrap_or_default()
            } else {
                value
            };
            reply.header(name, value)
        },
    )
}

/// How a request differs from the recorded one.
pub(crate) fn differences(exchange: &Exchange, request: &Request) -> Vec<String> {
    let (path, query) = exchange.target();
    let mut found = Vec::new();
    let mut compare = |what: &str, recorded: String, ours: String| {
        if recorded != ours {
            found.push(format!("the {what} is {ours} where {recorded} was recorded"));
        }
    };
    compare("method", exchange.method.clone(), request.method.clone());
    // Liveness is the one path with a slash at its end; names of systems have no case.
    compare("path", path.to_lowercase(), request.path.to_lowercase());
    compare(
        "query",
        format!("{:?}", without_defaults(query)),
        format!("{:?}", without_defaults(request.query.clone())),
    );
    match exchange.content_type.as_deref() {
        Some("application/json") => {
            compare(
                "body",
                one_style(&exchange.request["json"]).to_string(),
                one_style(&request.json()).to_string(),
            );
            compare(
                "type",
                "application/json".to_owned(),
                request.header("content-type").unwrap_or_default().to_owned(),
            );
        }
        Some(recorded) => compare("form", recorded_form(exchange, recorded), form(request)),
        None => compare(
            "body",
            String::new(),
            String::from_utf8_lossy(&request.body).into_owned(),
        ),
    }
    if path != "/status/liveness/" && bearer(request).is_none() {
        found.push("no token was shown".to_owned());
    }
    for id in ["x-request-id", "x-correlation-id"] {
        if request.header(id).is_none_or(|id| id.len() != 36) {
            found.push(format!("no {id} was sent"));
        }
    }
    found
}

/// The official client sends flags that are not set; ours leaves the server's defaults to the server.
fn without_defaults(mut query: Vec<(String, String)>) -> Vec<(String, String)> {
    query.retain(|(_, value)| value != "false");
    query.sort();
    query
}

/// The value with keys in camel case and the older name of a path replaced: releases and clients differ.
pub(crate) fn one_style(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut one = Map::new();
            for (key, value) in object {
                let camel = key.split('_').enumerate().map(|(index, word)| {
                    let upper = index > 0;
                    let first = word
                        .chars()
                        .take(1)
                        .map(|c| if upper { c.to_ascii_uppercase() } else { c });
                    first.chain(word.chars().skip(1)).collect::<String>()
                });
                let key = camel.collect::<String>();
                let key = if key == "sourcePath" {
                    "path".to_owned()
                } else {
                    key
                };
                one.insert(key, one_style(value));
            }
            Value::Object(one)
        }
        other => other.clone(),
    }
}

/// The recorded form without its boundary: its text, or its size where the text was left out.
fn recorded_form(exchange: &Exchange, content_type: &str) -> String {
    let boundary = content_type.split_once("boundary=").expect("a boundary").1;
    match exchange.request["text"].as_str() {
        // The official client guesses types from names; the server looks at none.
        Some(text) => text
            .replace(boundary, "BOUNDARY")
            .replace("text/plain", "application/octet-stream"),
        None => exchange.request["omitted"].as_str().expect("a size").to_owned(),
    }
}

fn form(request: &Request) -> String {
    let boundary = request
        .header("content-type")
        .and_then(|text| text.split_once("boundary="))
        .expect("a boundary")
        .1;
    if request.body.len() > 100_000 {
        return format!("{} bytes", request.body.len());
    }
    String::from_utf8_lossy(&request.body).replace(boundary, "BOUNDARY")
}

/// Checks that the outcome is that of the recorded status, and gives its text.
fn judge(title: &str, exchange: &Exchange, heard: &Heard) -> String {
    let message = exchange.response["json"]["message"]
        .as_str()
        .unwrap_or_default()
        .trim();
    let is_gone = exchange.method == "DELETE"
        && (message.contains("already completing or completed") || message.contains("Invalid job id"));
    let is_written = exchange.url.contains("/ops/upload") && exchange.status == 408;
    let is_success = (200..300).contains(&exchange.status) || is_gone || is_written;
    match heard {
        Heard::Value(value) => {
            assert!(is_success, "{title}: {value}");
            shorten(value, 260)
        }
        Heard::Refused {
            status,
            message: found,
            class,
            text,
        } => {
            assert!(!is_success, "{title}: {text}");
            assert_eq!(*status, Some(exchange.status), "{title}");
            assert_eq!(found, message, "{title}");
            format!("{class:?}: {}", shorten(text, 400))
        }
    }
}

fn shorten(text: &str, longest: usize) -> String {
    let text = text.replace('\n', " ");
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[test]
fn every_recording_is_accounted_for() {
    let recordings = Recording::all();
    assert_eq!(recordings.len(), 69);
    let (mut spoken, mut staged, mut unspoken) = (0, 0, 0);
    for recording in &recordings {
        for index in 0..recording.exchanges.len() {
            match (
                is_unspoken(&recording.name, index),
                is_staged_elsewhere(recording, index),
            ) {
                (true, true) => panic!("{}#{index} is in two tables", recording.name),
                (true, false) => unspoken += 1,
                (false, true) => staged += 1,
                (false, false) => spoken += 1,
            }
        }
    }
    let listed: usize = UNSPOKEN.iter().map(|(_, indices, _)| indices.len()).sum();
    assert_eq!(
        listed, unspoken,
        "each entry of the table of unspoken exchanges is one of a recording"
    );
    assert_eq!((spoken, staged, unspoken), (239, 24, 40));
}
