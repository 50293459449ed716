//! The client: credentials, limits and retries around every call.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use reqwest::Url;
use tokio::time::Instant;

use crate::{
    answer::Refusal,
    backoff::{self, GaveUp, Next, Past, RetryPolicy},
    builder::{BuildError, ClientBuilder},
    call::Call,
    classify::classify,
    done::Done,
    environment::EnvironmentError,
    error::{Cause, Error, Trail},
    files::Files,
    http::{Http, Reply},
    ids::random_id,
    jobs::Jobs,
    limits::Limits,
    names::SystemName,
    request::Authority,
    secret::Secret,
    status::Status,
    token::{Credential, TokenError, margin},
    transfers::Transfers,
};

/// A client of one FirecREST v2 deployment.
///
/// Clones share connections, the token, the limits and the correlation id.
///
/// ```no_run
/// # async fn example() -> anyhow::Result<()> {
/// use firecrest_client::{Authentication, Client, ClientCredentials, SystemName};
///
/// let client = Client::builder("https://api.cscs.ch/ml/firecrest/v2")
///     .authentication(Authentication::ClientCredentials(ClientCredentials {
///         token_url: "https://auth.cscs.ch/auth/realms/firecrest-clients/protocol/openid-connect/token".parse()?,
///         id: "my-client".to_owned(),
///         secret: std::fs::read_to_string("secret")?.trim().into(),
///         scopes: Vec::new(),
///     }))
///     .build()?;
/// let clariden: SystemName = "clariden".parse()?;
/// println!("{:?}", client.status().user_info(&clariden).await?.accounts);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Client(Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) base: Url,
    pub(crate) authority: Authority,
    pub(crate) http: Http,
    pub(crate) limits: Limits,
    pub(crate) policy: RetryPolicy,
    pub(crate) timeout: Duration,
    pub(crate) correlation_id: String,
}

impl Client {
    /// Begins a client of the API at this base URL, which may have a path.
    pub fn builder(base_url: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(base_url.into())
    }

    /// A client from the variables of the environment; see [`ClientBuilder::from_environment`].
    pub fn from_environment() -> Result<Self, FromEnvironmentError> {
        Ok(ClientBuilder::from_environment()?.build()?)
    }

    pub(crate) fn assemble(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    /// Systems, their health and limits, users, partitions, nodes and reservations.
    pub fn status(&self) -> Status<'_> {
        Status::new(self)
    }

    /// The files of a system.
    pub fn files(&self, system: &SystemName) -> Files {
        Files::new(self.clone(), system.clone())
    }

    /// The jobs of a system.
    pub fn jobs(&self, system: &SystemName) -> Jobs {
        Jobs::new(self.clone(), system.clone())
    }

    /// Uploads and downloads of any size.
    pub fn transfers(&self, system: &SystemName) -> Transfers {
        Transfers::new(self.clone(), system.clone())
    }

    /// The id that all requests of this client carry as `X-Correlation-ID`.
    pub fn correlation_id(&self) -> &str {
        &self.0.correlation_id
    }

    /// What the client shows to be let in; a token is had from its issuer, if there is none yet.
    ///
    /// It tells whether the issuer takes the credentials, and nothing of whether the API does.
    pub async fn credential(&self) -> Result<Credential, TokenError> {
        match &self.0.authority {
            Authority::ApiKey(_) => Ok(Credential::ApiKey),
            Authority::Tokens(tokens) => {
                let life = tokens.life().await?;
                Ok(Credential::Token {
                    life,
                    margin: margin(life),
                })
            }
        }
    }

    pub(crate) fn http(&self) -> &Http {
        &self.0.http
    }

    pub(crate) fn policy(&self) -> &RetryPolicy {
        &self.0.policy
    }

    /// Carries a call out, with the retries that its kind allows.
    pub(crate) async fn run(&self, call: Call) -> Result<Done, Error> {
        let policy = if call.is_single {
            RetryPolicy::never()
        } else {
            self.0.policy
        };
        let mut begun = None;
        let mut past = Past {
            attempts: 0,
            spent: Duration::ZERO,
            renewed: false,
        };
        loop {
            past.attempts += 1;
            let request_id = random_id();
            let (outcome, token) = self.attempt(&call, &request_id, &mut begun).await;
            let is_sent = !matches!(outcome, Err(Cause::Token(_)));
            past.spent = begun.map_or(Duration::ZERO, |begun: Instant| begun.elapsed());
            let trail = Trail {
                method: call.verb.as_str(),
                path: call.path.clone(),
                attempts: past.attempts,
                spent: past.spent,
                request_id: if is_sent { request_id } else { String::new() },
            };
            let cause = match outcome {
                Ok(Reply { status, body, .. }) => {
                    return Ok(Done {
                        body,
                        status,
                        trail,
                        kind: call.kind,
                        is_secret: call.is_secret,
                        credential: token,
                    });
                }
                Err(cause) => cause,
            };
            let class = classify(call.kind, cause.failure());
            let asked = cause.asked(Timestamp::now());
            if let (Cause::Refused(Refusal { status: 429, .. }), Some(wait)) = (&cause, asked) {
                self.0.limits.pause(wait);
            }
            let next = match &cause {
                // The issuer was asked as often as the policy allows.
                Cause::Token(error) => Next::GiveUp(error.gave_up),
                Cause::Refused(refusal) if call.last_status == Some(refusal.status) => {
                    Next::GiveUp(GaveUp::Permanent)
                }
                _ => backoff::next(&policy, past, class, asked, rand::random()),
            };
            match (next, &self.0.authority) {
                (Next::Wait(wait), _) => {
                    tracing::debug!(method = trail.method, path = trail.path, ?wait, %cause, "the call is tried again");
                    tokio::time::sleep(wait).await;
                }
                (Next::Renew, Authority::Tokens(tokens)) => {
                    past.renewed = true;
                    if let Some(refused) = &token {
                        tokens.refuse(refused).await;
                    }
                }
                (Next::Renew, Authority::ApiKey(_)) => {
                    return Err(Error::new(trail, class, GaveUp::Unauthenticated, cause));
                }
                (Next::GiveUp(gave_up), _) => return Err(Error::new(trail, class, gave_up, cause)),
            }
        }
    }

    /// One attempt, and the credential that it showed.
    async fn attempt(
        &self,
        call: &Call,
        request_id: &str,
        begun: &mut Option<Instant>,
    ) -> (Result<Reply, Cause>, Option<Secret>) {
        let _permit = self.0.limits.begin().await;
        // Waiting for the call's turn is not counted: the time of a call begins with its first attempt.
        let begun = *begun.get_or_insert_with(Instant::now);
        let credential = match (&self.0.authority, call.is_public) {
            (_, true) => None,
            (Authority::ApiKey(key), false) => Some(key.clone()),
            (Authority::Tokens(tokens), false) => match tokens.token().await {
                Ok(token) => Some(token),
                Err(error) => return (Err(Cause::Token(error)), None),
            },
        };
        let sent = self
            .0
            .http
            .send(&self.0.base, |client| {
                self.0.request(client, call, request_id, credential.as_ref())
            })
            .await;
        let status = sent.as_ref().map_or(0, |reply| reply.status);
        let ms = begun.elapsed().as_millis();
        tracing::debug!(
            method = call.verb.as_str(),
            path = call.path,
            status,
            ms,
            request_id,
            "call"
        );
        let outcome = sent.and_then(|reply| {
            if (200..300).contains(&reply.status) {
                return Ok(reply);
            }
            let known: Vec<&str> = credential.iter().map(Secret::expose).collect();
            Err(Cause::Refused(Refusal::read(
                reply.status,
                &reply.body,
                reply.wait,
                &known,
            )))
        });
        (outcome, credential)
    }
}

/// Why no client could be made from the environment.
#[derive(Debug, thiserror::Error)]
pub enum FromEnvironmentError {
    /// Variables are missing or wrong.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The values do not make a client.
    #[error(transparent)]
    Build(#[from] BuildError),
}
