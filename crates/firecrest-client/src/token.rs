//! Access tokens: had once, shared by all calls, renewed before the server refuses them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;
use tokio::{sync::Mutex, time::Instant};

use crate::{
    answer::{Origin, Refusal},
    backoff::{self, GaveUp, Next, Past, RetryPolicy},
    classify::{CallKind, Class, classify},
    error::Cause,
    http::{Http, Reply, form},
    secret::Secret,
};

/// The life of a token whose issuer does not tell.
const UNTOLD_LIFE: Duration = Duration::from_mins(5);

/// The server refuses tokens with less than this left.
const REFUSED: Duration = Duration::from_secs(30);

/// The margin of tokens that live long enough for it.
const MARGIN: Duration = Duration::from_secs(90);

/// How long before its end a token of this life is renewed.
///
/// A token of five minutes is renewed 90 s before its end. For shorter lives the margin shrinks, and stays
/// above the 30 s within which the server refuses, unless the life itself is as short.
pub(crate) fn margin(life: Duration) -> Duration {
    match life.checked_sub(REFUSED) {
        Some(useful) if !useful.is_zero() => MARGIN.min(REFUSED + useful / 2),
        _ => life / 2,
    }
}

/// Client credentials as the issuer of tokens takes them.
#[derive(Clone)]
pub struct ClientCredentials {
    /// The token endpoint.
    pub token_url: reqwest::Url,
    /// The client's id.
    pub id: String,
    /// The client's secret.
    pub secret: Secret,
    /// The scopes to ask for; none asks for the client's default scopes.
    pub scopes: Vec<String>,
}

impl std::fmt::Debug for ClientCredentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut token_url = self.token_url.clone();
        // A URL that cannot have a user has none to hide.
        let _ = token_url.set_username("");
        let _ = token_url.set_password(None);
        formatter
            .debug_struct("ClientCredentials")
            .field("token_url", &token_url.as_str())
            .field("id", &self.id)
            .field("secret", &self.secret)
            .field("scopes", &self.scopes)
            .finish()
    }
}

/// Why no token could be had. Calls that waited for one renewal share its error.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{host} gave no token, asked {attempts} times in {spent:.1?}: {gave_up}")]
pub struct TokenError {
    /// The issuer's host.
    pub host: String,
    /// How many attempts were made.
    pub attempts: u32,
    /// The time they took.
    pub spent: Duration,
    /// Why there was no further attempt.
    pub gave_up: GaveUp,
    /// The last failure.
    #[source]
    pub cause: Arc<Cause>,
}

/// What a client shows to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credential {
    /// A key, which the client sends as it is.
    ApiKey,
    /// Access tokens that the issuer gives.
    Token {
        /// How long a token lives.
        life: Duration,
        /// How long before its end it is renewed.
        margin: Duration,
    },
}

#[derive(Debug, Clone)]
struct Token {
    secret: Secret,
    life: Duration,
    renew_at: Instant,
}

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    failure: Option<TokenError>,
}

/// Where the tokens of a client come from.
#[derive(Debug)]
pub(crate) struct TokenSource {
    credentials: ClientCredentials,
    http: Http,
    timeout: Duration,
    policy: RetryPolicy,
    state: Mutex<State>,
    /// Counts renewals, failed ones included: a call that waited while it grew shares the outcome.
    renewals: AtomicU64,
}

impl TokenError {
    /// Whether the issuer may give a token later.
    pub fn is_retryable(&self) -> bool {
        match self.gave_up {
            GaveUp::Attempts | GaveUp::OutOfTime { .. } => true,
            GaveUp::Permanent | GaveUp::Ambiguous | GaveUp::Unauthenticated => false,
        }
    }
}

impl TokenSource {
    pub(crate) fn new(
        credentials: ClientCredentials,
        http: Http,
        timeout: Duration,
        policy: RetryPolicy,
    ) -> Self {
        Self {
            credentials,
            http,
            timeout,
            policy,
            state: Mutex::default(),
            renewals: AtomicU64::new(0),
        }
    }

    /// A token with enough of its life left.
    pub(crate) async fn token(&self) -> Result<Secret, TokenError> {
        self.current().await.map(|token| token.secret)
    }

    /// The life of the tokens of this issuer.
    pub(crate) async fn life(&self) -> Result<Duration, TokenError> {
        self.current().await.map(|token| token.life)
    }

    async fn current(&self) -> Result<Token, TokenError> {
        let seen = self.renewals.load(Ordering::Acquire);
        let mut state = self.state.lock().await;
        if let Some(token) = &state.token
            && Instant::now() < token.renew_at
        {
            return Ok(token.clone());
        }
        if self.renewals.load(Ordering::Acquire) != seen
            && let Some(failure) = &state.failure
        {
            return Err(failure.clone());
        }
        let outcome = self.fetch().await;
        self.renewals.fetch_add(1, Ordering::AcqRel);
        *state = match &outcome {
            Ok(token) => State {
                token: Some(token.clone()),
                failure: None,
            },
            Err(failure) => State {
                token: None,
                failure: Some(failure.clone()),
            },
        };
        outcome
    }

    /// Drops the token that the server refused, unless another call has renewed it already.
    pub(crate) async fn refuse(&self, refused: &Secret) {
        let mut state = self.state.lock().await;
        if state.token.as_ref().is_some_and(|token| token.secret == *refused) {
            state.token = None;
        }
    }

    async fn fetch(&self) -> Result<Token, TokenError> {
        let begun = Instant::now();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let asked_at = Instant::now();
            let cause = match self.attempt().await {
                Ok((secret, life)) => {
                    tracing::debug!(life_s = life.as_secs(), attempts, "token renewed");
                    // The life counts from the request: the answer may have taken long.
                    let renew_at = asked_at + life.saturating_sub(margin(life));
                    return Ok(Token {
                        secret,
                        life,
                        renew_at,
                    });
                }
                Err(cause) => cause,
            };
            let past = Past {
                attempts,
                spent: begun.elapsed(),
                renewed: true,
            };
            let class = match classify(CallKind::Repeatable, cause.failure()) {
                // The issuer refuses the credentials themselves: there is nothing to renew.
                Class::Unauthenticated => Class::Permanent,
                class @ (Class::Retry | Class::Permanent | Class::Ambiguous) => class,
            };
            match backoff::next(
                &self.policy,
                past,
                class,
                cause.asked(Timestamp::now()),
                rand::random(),
            ) {
                Next::Wait(wait) => tokio::time::sleep(wait).await,
                Next::Renew => {}
                Next::GiveUp(gave_up) => {
                    return Err(TokenError {
                        host: self
                            .credentials
                            .token_url
                            .host_str()
                            .unwrap_or("the issuer")
                            .to_owned(),
                        attempts,
                        spent: begun.elapsed(),
                        gave_up,
                        cause: Arc::new(cause),
                    });
                }
            }
        }
    }

    async fn attempt(&self) -> Result<(Secret, Duration), Cause> {
        let mut fields = vec![
            ("grant_type", "client_credentials".to_owned()),
            ("client_id", self.credentials.id.clone()),
            ("client_secret", self.credentials.secret.expose().to_owned()),
        ];
        if !self.credentials.scopes.is_empty() {
            fields.push(("scope", self.credentials.scopes.join(" ")));
        }
        let send = |client: &reqwest::Client| {
            client
                .post(self.credentials.token_url.clone())
                .header("content-type", "application/x-www-form-urlencoded")
                .header("accept", "application/json")
                .timeout(self.timeout)
                .body(form(&fields))
        };
        let reply = self.http.send(&self.credentials.token_url, send).await?;
        read_token(&reply, self.credentials.secret.expose())
    }
}

/// Reads the issuer's answer.
fn read_token(reply: &Reply, secret: &str) -> Result<(Secret, Duration), Cause> {
    if !(200..300).contains(&reply.status) {
        let refusal = Refusal::read(reply.status, &reply.body, reply.wait, &[secret]);
        return Err(Cause::Refused(Refusal {
            origin: Origin::Issuer,
            ..refusal
        }));
    }
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let token = body
        .get("access_token")
        .and_then(Value::as_str)
        .filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
    let Some(token) = token else {
        // The body is not shown: it may hold a token under another name.
        return Err(Cause::Unreadable {
            status: reply.status,
            reason: "it has no `access_token` that a header can hold".to_owned(),
            excerpt: "<not shown>".to_owned(),
        });
    };
    let life = match body.get("expires_in") {
        Some(Value::Number(seconds)) => seconds.as_f64(),
        Some(Value::String(seconds)) => seconds.trim().parse().ok(),
        _ => None,
    };
    let life = life.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    // An instant cannot hold centuries.
    let life = life.unwrap_or(UNTOLD_LIFE).min(Duration::from_hours(24));
    Ok((Secret::new(token), life))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn margins_suit_the_life() {
        let check = |life: u64, expected: u64| {
            assert_eq!(
                margin(Duration::from_secs(life)),
                Duration::from_secs(expected),
                "{life} s"
            );
        };
        check(3600, 90);
        check(300, 90);
        check(150, 90);
        check(90, 60);
        check(34, 32);
        check(30, 15);
        check(10, 5);
        check(0, 0);
    }

    #[test]
    fn answers_are_read() {
        let check = |body: &str, expected: Option<u64>| {
            let reply = Reply {
                status: 200,
                wait: None,
                body: body.to_owned().into(),
            };
            let found = read_token(&reply, "x").ok().map(|(_, life)| life.as_secs());
            assert_eq!(found, expected, "{body}");
        };
        check(r#"{"access_token":"t","expires_in":300}"#, Some(300));
        check(r#"{"access_token":"t","expires_in":"120"}"#, Some(120));
        check(r#"{"access_token":"t"}"#, Some(300));
        check(r#"{"access_token":"t","expires_in":-1}"#, Some(300));
        check(r#"{"access_token":""}"#, None);
        check(r#"{"token":"t"}"#, None);
        check(r#"{"access_token":"t\nx"}"#, None);
        check("<html>", None);
    }

    proptest! {
        #[test]
        fn tokens_are_renewed_within_their_life(milliseconds in 0u64..10_000_000) {
            let life = Duration::from_millis(milliseconds);
            prop_assert!(margin(life) <= life);
            if life > REFUSED {
                prop_assert!(margin(life) >= REFUSED);
            }
        }
    }
}
