//! Access tokens: shared, renewed in time, and renewed once when they are refused.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use firecrest_client::{Authentication, Cause, Class, Credential, GaveUp};
use serde_json::json;

use crate::{
    server::{Reply, Server},
    support::{API_KEY, TOKEN, bearer, chain, token_reply, with_key, with_tokens},
};

fn systems() -> Reply {
    Reply::json(200, &json!({ "systems": [] }))
}

/// A server that gives tokens of this life and refuses those that are listed.
async fn issuing(life_s: u64, refused: &'static [usize]) -> Server {
    let tokens = AtomicUsize::new(0);
    Server::start(move |request| {
        if request.path == "/token" {
            return token_reply(tokens.fetch_add(1, Ordering::SeqCst), life_s);
        }
        let token = bearer(request).expect("a token");
        if refused.iter().any(|number| token == format!("{TOKEN}-{number}")) {
            return Reply::refusal(401, "Access token expired").header("auth-token", token);
        }
        systems()
    })
    .await
}

#[tokio::test]
async fn concurrent_calls_share_one_renewal() {
    let server = issuing(300, &[]).await;
    let client = with_tokens(&server.url()).build().expect("a client");
    let status = client.status();
    let calls = (0..12).map(|_| status.systems());
    for outcome in futures_util::future::join_all(calls).await {
        outcome.expect("systems");
    }
    assert_eq!(server.count("POST /token"), 1);
    assert_eq!(server.count("GET /status/systems"), 12);
}

#[tokio::test]
async fn concurrent_refusals_share_one_renewal() {
    let server = issuing(300, &[0]).await;
    let client = with_tokens(&server.url())
        .in_flight(12.try_into().expect("not zero"))
        .build()
        .expect("a client");
    let status = client.status();
    let calls = (0..12).map(|_| status.systems());
    for outcome in futures_util::future::join_all(calls).await {
        outcome.expect("systems");
    }
    assert_eq!(
        server.count("POST /token"),
        2,
        "the token that was refused, and one renewal for all"
    );
}

#[tokio::test]
async fn a_refused_token_is_renewed_once() {
    let server = issuing(300, &[0, 1, 2, 3]).await;
    let client = with_tokens(&server.url()).build().expect("a client");
    let error = client.status().systems().await.expect_err("refused");
    assert_eq!(
        (error.class(), error.gave_up()),
        (Class::Unauthenticated, GaveUp::Unauthenticated)
    );
    assert_eq!((error.attempts(), server.count("POST /token")), (2, 2));
    assert!(
        error.to_string().contains("the credentials were refused"),
        "{error}"
    );
    assert!(!chain(&error).contains(TOKEN), "{}", chain(&error));
}

#[tokio::test]
async fn tokens_are_renewed_before_the_server_refuses_them() {
    // Of a life of 34 s all but two seconds are within the margin.
    let server = issuing(34, &[]).await;
    let client = with_tokens(&server.url()).build().expect("a client");
    client.status().systems().await.expect("systems");
    client.status().systems().await.expect("systems");
    assert_eq!(server.count("POST /token"), 1);
    let renewed = async {
        while server.count("POST /token") == 1 {
            client.status().systems().await.expect("systems");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), renewed)
        .await
        .expect("a renewal within the token's life");
}

#[tokio::test]
async fn failed_renewals_are_shared_and_repeated_within_bounds() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let server = Server::start(move |request| {
        assert_eq!(request.path, "/token", "nothing is called without a token");
        counted.fetch_add(1, Ordering::SeqCst);
        Reply::new(503, "<html>maintenance</html>").after(Duration::from_millis(20))
    })
    .await;
    let client = with_tokens(&server.url()).build().expect("a client");
    let status = client.status();
    let calls = (0..4).map(|_| status.systems());
    for outcome in futures_util::future::join_all(calls).await {
        let error = outcome.expect_err("no token");
        let Cause::Token(token) = error.cause() else {
            panic!("{error:?}")
        };
        assert_eq!((token.attempts, token.gave_up), (4, GaveUp::Attempts));
        assert!(
            chain(&error).contains("127.0.0.1 gave no token, asked 4 times in "),
            "{}",
            chain(&error)
        );
    }
    assert_eq!(
        tries.load(Ordering::SeqCst),
        4,
        "four calls share the four attempts of one renewal"
    );
}

#[tokio::test]
async fn scopes_are_asked_for() {
    let server = issuing(300, &[]).await;
    let client = with_tokens(&server.url())
        .authentication(Authentication::ClientCredentials(
            firecrest_client::ClientCredentials {
                token_url: format!("{}/token", server.url()).parse().expect("a URL"),
                id: "me & you".to_owned(),
                secret: "s".into(),
                scopes: vec!["openid".to_owned(), "firecrest".to_owned()],
            },
        ))
        .build()
        .expect("a client");
    client.status().systems().await.expect("systems");
    let body = String::from_utf8(server.seen()[0].body.clone()).expect("a text");
    assert_eq!(
        body,
        "grant_type=client_credentials&client_id=me%20%26%20you&client_secret=s&scope=openid%20firecrest"
    );
}

#[tokio::test]
async fn keys_are_shown_and_never_renewed() {
    let server = Server::start(|request| {
        assert_eq!(request.header("x-api-key"), Some(API_KEY));
        assert_eq!(request.header("authorization"), None);
        Reply::json(
            401,
            &json!({ "code": "900901", "message": "Invalid Credentials" }),
        )
    })
    .await;
    let client = with_key(&server.url()).build().expect("a client");
    let error = client.status().systems().await.expect_err("refused");
    assert_eq!((error.attempts(), error.status()), (1, Some(401)));
    assert!(chain(&error).contains("Invalid Credentials"), "{}", chain(&error));
}

#[tokio::test]
async fn credentials_are_told() {
    let server = issuing(300, &[]).await;
    let client = with_tokens(&server.url()).build().expect("a client");
    let (life, margin) = (Duration::from_mins(5), Duration::from_secs(90));
    assert_eq!(
        client.credential().await.expect("a token"),
        Credential::Token { life, margin }
    );
    client.status().systems().await.expect("systems");
    assert_eq!(server.count("POST /token"), 1);
    let client = with_key(&server.url()).build().expect("a client");
    assert_eq!(client.credential().await.expect("a key"), Credential::ApiKey);
}

#[tokio::test]
async fn liveness_needs_no_token() {
    let server = Server::start(|request| {
        assert_eq!(request.path, "/status/liveness/");
        assert_eq!(request.header("authorization"), None);
        Reply::json(
            200,
            &json!({ "healthcheck_runs": { "a_b": null }, "lastUpdate": 5 }),
        )
    })
    .await;
    let client = with_tokens(&server.url()).build().expect("a client");
    let liveness = client.status().liveness().await.expect("liveness");
    assert_eq!(liveness.healthcheck_runs.keys().collect::<Vec<_>>(), ["a_b"]);
    assert_eq!(liveness.last_update_s, Some(5));
}
