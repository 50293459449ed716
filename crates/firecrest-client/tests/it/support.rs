//! What the tests share: a client that does not wait long, and access tokens.

use std::time::Duration;

use firecrest_client::{
    AdoptPolicy, Authentication, Client, ClientBuilder, ClientCredentials, JobId, JobName, RemotePath,
    RetryPolicy, SystemName, WaitOptions,
};
use serde_json::json;

use crate::server::{Reply, Request};

/// The client's secret: no error, log or debug text may hold it.
pub(crate) const SECRET: &str = "swordfish-client-secret";

/// How the access tokens of the tests begin.
pub(crate) const TOKEN: &str = "opaque-access-token";

/// The API key of the tests.
pub(crate) const API_KEY: &str = "sesame-api-key";

/// Retries in milliseconds.
pub(crate) const QUICK: RetryPolicy = RetryPolicy {
    attempts: 4,
    total: Duration::from_secs(20),
    initial: Duration::from_millis(2),
    longest: Duration::from_millis(8),
    jitter: 0.5,
};

/// Looks for lost jobs in milliseconds.
pub(crate) fn quick_adoption() -> AdoptPolicy {
    AdoptPolicy {
        grace: Duration::from_millis(20),
        looks: 3,
        interval: Duration::from_millis(10),
        total: Duration::from_secs(5),
        ..AdoptPolicy::default()
    }
}

/// Looks at jobs every few milliseconds.
pub(crate) fn quick_wait() -> WaitOptions {
    WaitOptions {
        total: Duration::from_secs(10),
        initial: Duration::from_millis(2),
        longest: Duration::from_millis(10),
        unknown_for: Duration::from_millis(100),
    }
}

pub(crate) fn with_key(base_url: &str) -> ClientBuilder {
    Client::builder(base_url)
        .authentication(Authentication::ApiKey(API_KEY.into()))
        .retry_policy(QUICK)
        .timeout(Duration::from_secs(10))
}

/// A client whose tokens come from `/token` of the server.
pub(crate) fn with_tokens(server_url: &str) -> ClientBuilder {
    let credentials = ClientCredentials {
        token_url: format!("{server_url}/token").parse().expect("a URL"),
        id: "f7t-tester".to_owned(),
        secret: SECRET.into(),
        scopes: Vec::new(),
    };
    with_key(server_url).authentication(Authentication::ClientCredentials(credentials))
}

pub(crate) fn quick(server_url: &str) -> Client {
    with_key(server_url).build().expect("a client")
}

/// The answer to a request for a token, with a number in it.
pub(crate) fn token_reply(number: usize, life_s: u64) -> Reply {
    Reply::json(
        200,
        &json!({ "access_token": format!("{TOKEN}-{number}"), "expires_in": life_s, "token_type": "Bearer" }),
    )
}

/// The token that a request shows.
pub(crate) fn bearer(request: &Request) -> Option<&str> {
    request.header("authorization")?.strip_prefix("Bearer ")
}

pub(crate) fn system() -> SystemName {
    "clariden".parse().expect("a name")
}

pub(crate) fn path(text: &str) -> RemotePath {
    text.parse().expect("a path")
}

pub(crate) fn job_name(text: &str) -> JobName {
    text.parse().expect("a name")
}

pub(crate) fn job_id(text: &str) -> JobId {
    text.parse().expect("an id")
}

/// An error with its causes, as a program prints it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str("; caused by: ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
