//! No secret is in any error, log or debug text of a conversation in which the server leaks them all.
//!
//! It is a program of its own, since the log is that of a whole process.

#[expect(dead_code, reason = "of what the other tests share only a part is needed")]
#[path = "../it/recordings.rs"]
mod recordings;
#[expect(dead_code, reason = "of what the other tests share only a part is needed")]
#[path = "../it/server.rs"]
mod server;
#[path = "../it/speak.rs"]
mod speak;
#[expect(dead_code, reason = "of what the other tests share only a part is needed")]
#[path = "../it/support.rs"]
mod support;
#[path = "../it/unspoken.rs"]
mod unspoken;

use std::{
    io,
    sync::{Arc, Mutex},
};

use firecrest_client::{Authentication, ClientCredentials, RetryPolicy, TransferOptions};
use serde_json::json;

use crate::{
    recordings::{Exchange, Recording},
    server::{Reply, Request, Server},
    speak::{Heard, speak},
    support::{QUICK, SECRET, TOKEN, bearer, chain, path, quick_wait, system, token_reply, with_tokens},
    unspoken::is_unspoken,
};

/// What stands for the signature of presigned URLs.
const SIGNATURE: &str = "presigned-signature";

/// Systems whose direct limit is so small that all transfers are staged.
fn systems() -> Reply {
    let operation = json!({ "max_ops_file_size": 5, "data_transfer": { "serviceType": "s3" } });
    Reply::json(
        200,
        &json!({ "systems": [{ "name": "clariden", "dataOperation": operation }] }),
    )
}

/// Where the log goes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn shown(heard: Heard) -> String {
    match heard {
        Heard::Value(value) => value,
        Heard::Refused {
            status,
            message,
            class,
            text,
        } => format!("{status:?} {message} {class:?} {text}"),
    }
}

/// What the client says of all recorded exchanges, where redacted tokens are those that it shows.
async fn replay() -> Vec<String> {
    let exchange: Arc<Mutex<Option<Exchange>>> = Arc::default();
    let playing = Arc::clone(&exchange);
    let server = Server::start(move |request| {
        let Some(exchange) = playing
            .lock()
            .expect("no panic")
            .clone()
            .filter(|_| request.path != "/token")
        else {
            return token_reply(0, 300);
        };
        let token = bearer(request).unwrap_or_default();
        let body = String::from_utf8_lossy(&exchange.body()).replace("<redacted-jwt>", token);
        exchange
            .headers
            .iter()
            .fold(Reply::new(exchange.status, body), |reply, (name, value)| {
                reply.header(name, if name == "auth-token" { token } else { value })
            })
    })
    .await;
    let client = with_tokens(&server.url())
        .retry_policy(RetryPolicy::never())
        .build()
        .expect("a client");
    let mut texts = Vec::new();
    for recording in Recording::all() {
        for (index, recorded) in recording.exchanges.iter().enumerate() {
            if recorded.url.starts_with('/') && !is_unspoken(&recording.name, index) {
                *exchange.lock().expect("no panic") = Some(recorded.clone());
                texts.extend(speak(&client, recorded).await.map(shown));
            }
        }
    }
    texts
}

/// A server that repeats in each refusal what it was shown.
fn leak(request: &Request, server: &str) -> Reply {
    let token = bearer(request).unwrap_or_default().to_owned();
    let url = format!(
        "{server}/bucket/key?partNumber=1&X-Amz-Credential=key/{SIGNATURE}&X-Amz-Signature={SIGNATURE}"
    );
    let leaks = format!("token {token}, Bearer {token}, client_secret={SECRET} and {url}");
    match request.path.rsplit('/').next().unwrap_or_default() {
        "refusing-token" => Reply::new(401, leaks),
        "token" => token_reply(0, 300),
        "systems" => systems(),
        "userinfo" => Reply::refusal(401, &leaks).header("auth-token", token),
        "nodes" => Reply::new(502, format!("<html>{leaks}</html>")),
        "partitions" => Reply::json(200, &json!({ "partitions": leaks })),
        "reservations" => {
            Reply::json(429, &json!({ "code": "900800", "message": leaks })).header("retry-after", "99")
        }
        "upload" => {
            let url = match request.json()["path"].as_str() {
                Some("/scratch/cut") => url.replace("/key", "/cut"),
                // Nobody listens on the first port.
                Some("/scratch/closed") => url.replace(server, "http://127.0.0.1:1"),
                _ => url,
            };
            let directives =
                json!({ "partsUploadUrls": [url], "completeUploadUrl": url, "maxPartSize": 100 });
            Reply::json(
                201,
                &json!({ "transferJob": { "jobId": "7" }, "transferDirectives": directives }),
            )
        }
        "cut" => Reply::nothing(),
        "download" => Reply::json(201, &json!({ "transferJob": { "jobId": [url] } })),
        "stat" => Reply::json(200, &json!({ "output": { "mode": 33_188, "size": 100 } })),
        "key" => Reply::new(
            403,
            format!(
                "<Error><Code>SignatureDoesNotMatch</Code><SignatureProvided>{SIGNATURE}</SignatureProvided></Error>"
            ),
        ),
        _ => Reply::refusal(500, &leaks),
    }
}

#[tokio::test]
async fn secrets_are_in_no_text() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).expect("no other log");

    let url = Arc::new(Mutex::new(String::new()));
    let leaking = Arc::clone(&url);
    let server = Server::start(move |request| leak(request, &leaking.lock().expect("no panic"))).await;
    *url.lock().expect("no panic") = server.url();
    let builder = with_tokens(&server.url()).retry_policy(RetryPolicy { attempts: 2, ..QUICK });
    let mut texts = vec![format!("{builder:?}")];
    let client = builder.build().expect("a client");
    texts.push(format!("{client:?}"));
    let (status, files, clariden) = (client.status(), client.files(&system()), system());
    let errors: Vec<firecrest_client::Error> = vec![
        status.user_info(&clariden).await.expect_err("refused"),
        status.nodes(&clariden).await.expect_err("refused"),
        status
            .partitions(&clariden, false)
            .await
            .expect_err("not readable"),
        status.reservations(&clariden).await.expect_err("throttled"),
        files.view(&path("/scratch/x")).await.expect_err("refused"),
    ];
    texts.extend(
        errors
            .iter()
            .flat_map(|error| [chain(error), format!("{error:?}"), format!("{error:#?}")]),
    );

    let directory = tempfile::tempdir().expect("a directory");
    let source = directory.path().join("source");
    std::fs::write(&source, [7; 100]).expect("written");
    let options = TransferOptions {
        account: Some("a-lab01".to_owned()),
        wait: quick_wait(),
        ..TransferOptions::default()
    };
    let transfers = client.transfers(&clariden);
    let up = transfers
        .upload(&source, &path("/scratch/x"), &options)
        .await
        .expect_err("refused by the storage");
    let down = transfers
        .download(&path("/scratch/x"), &source, &options)
        .await
        .expect_err("not readable");
    texts.extend(
        [&up, &down]
            .iter()
            .flat_map(|error| [chain(error), format!("{error:?}")]),
    );
    assert!(
        chain(&up).contains("the storage answered HTTP 403: SignatureDoesNotMatch"),
        "{}",
        chain(&up)
    );

    for (target, expected) in [
        ("/scratch/cut", "no whole answer came"),
        ("/scratch/closed", "cannot be reached"),
    ] {
        let error = transfers
            .upload(&source, &path(target), &options)
            .await
            .expect_err("no answer");
        assert!(chain(&error).contains(expected), "{}", chain(&error));
        texts.extend([chain(&error), format!("{error:?}")]);
    }
    let credentials = ClientCredentials {
        token_url: format!("{}/refusing-token", server.url()).parse().expect("a URL"),
        id: "me".to_owned(),
        secret: SECRET.into(),
        scopes: Vec::new(),
    };
    let authentication = Authentication::ClientCredentials(credentials);
    let refused = with_tokens(&server.url())
        .authentication(authentication)
        .build()
        .expect("a client");
    let error = refused.status().systems().await.expect_err("no token");
    texts.extend([chain(&error), format!("{error:?}")]);

    texts.extend(replay().await);
    assert!(texts.len() > 200, "the texts are those of the recordings, too");

    let logged = String::from_utf8_lossy(&log.0.lock().expect("no panic")).into_owned();
    assert!(
        logged.contains("/filesystem/clariden/transfer/upload"),
        "the log is that of the calls"
    );
    texts.push(logged);
    assert!(
        server
            .seen()
            .iter()
            .any(|request| bearer(request).is_some_and(|token| token.starts_with(TOKEN)))
    );
    for secret in [SECRET, TOKEN, SIGNATURE] {
        for text in &texts {
            assert!(!text.contains(secret), "{secret} is in: {text}");
        }
    }
}
