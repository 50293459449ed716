//! How a client is set up.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use reqwest::Url;

use crate::{
    backoff::RetryPolicy,
    client::{Client, Shared},
    environment::{EnvironmentError, read},
    http::{Configure, Http},
    ids::random_id,
    limits::{Limits, at_least_one},
    request::authority,
    secret::Secret,
    token::ClientCredentials,
};

/// How the client shows who it is.
#[derive(Debug, Clone)]
pub enum Authentication {
    /// A client's id and secret, which buy access tokens.
    ClientCredentials(ClientCredentials),
    /// A key of a service account, sent as `X-API-Key`.
    ApiKey(Secret),
}

/// The settings of a [`Client`].
#[derive(Clone)]
#[must_use]
pub struct ClientBuilder {
    base_url: String,
    authentication: Option<Authentication>,
    in_flight: NonZeroUsize,
    per_minute: Option<NonZeroUsize>,
    policy: RetryPolicy,
    timeout: Duration,
    correlation_id: Option<String>,
    configure: Configure,
}

/// Why a client could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The base URL is not one.
    #[error("the base URL `{url}` is of no use: {reason}; an example is https://api.cscs.ch/ml/firecrest/v2")]
    BaseUrl {
        /// The URL as it was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There are no credentials.
    #[error(
        "no credentials are set: give client credentials or an API key with `ClientBuilder::authentication`"
    )]
    NoAuthentication,
    /// The key has characters that no header may have.
    #[error("the API key is empty or has characters that no HTTP header may have, such as a line's end")]
    ApiKey,
    /// The token endpoint holds a user or a password.
    #[error(
        "the URL of the token endpoint holds a user or a password: give the client's id and secret instead"
    )]
    TokenUrl,
    /// The correlation id has characters that no header may have.
    #[error(
        "the correlation id is empty or has characters that no HTTP header may have, such as a line's end"
    )]
    CorrelationId,
    /// The HTTP client could not be made.
    #[error("the HTTP client could not be set up")]
    Http(#[source] reqwest::Error),
}

/// Calls in flight: the server opens several channels for some calls, and ssh servers allow ten.
const IN_FLIGHT: NonZeroUsize = at_least_one(4);

/// The server itself may take ten seconds for a call, and more behind a gateway.
const TIMEOUT: Duration = Duration::from_secs(30);

impl ClientBuilder {
    pub(crate) fn new(base_url: String) -> Self {
        Self {
            base_url,
            authentication: None,
            in_flight: IN_FLIGHT,
            per_minute: None,
            policy: RetryPolicy::default(),
            timeout: TIMEOUT,
            correlation_id: None,
            configure: Arc::new(|builder| builder),
        }
    }

    /// Settings from the variables of the environment. An error names all that is missing or wrong.
    ///
    /// The base URL is `FIRECREST_URL` or `BACKEND_API_BASE_URL`. The credentials are `FIRECREST_API_KEY`, or
    /// `FIRECREST_CLIENT_ID`, `FIRECREST_CLIENT_SECRET`, `FIRECREST_TOKEN_URL` and, if wanted,
    /// `FIRECREST_SCOPES`; each of these may also be named `OAUTH_…`, and the
    /// token endpoint `AUTH_TOKEN_URL` as for the official client.
    pub fn from_environment() -> Result<Self, EnvironmentError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// Settings from variables that are looked up by name, such as those of an `.env` file; see
    /// [`from_environment`](Self::from_environment).
    pub fn from_variables(look_up: impl Fn(&str) -> Option<String>) -> Result<Self, EnvironmentError> {
        let (base_url, authentication) = read(look_up)?;
        Ok(Self::new(base_url).authentication(authentication))
    }

    /// Sets the credentials.
    pub fn authentication(mut self, authentication: Authentication) -> Self {
        self.authentication = Some(authentication);
        self
    }

    /// Sets how many calls may be in flight at once; 4 if not set.
    pub fn in_flight(mut self, calls: NonZeroUsize) -> Self {
        self.in_flight = calls;
        self
    }

    /// Sets how many calls may begin in any minute: the quota of the application. Not limited if not set.
    pub fn calls_per_minute(mut self, calls: NonZeroUsize) -> Self {
        self.per_minute = Some(calls);
        self
    }

    /// Sets the bounds of retries.
    pub fn retry_policy(mut self, policy: RetryPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the time for one attempt of a call; 30 s if not set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the id that all requests carry as `X-Correlation-ID`; a random one if not set.
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// Changes the settings of the HTTP client below: a proxy, a certificate authority.
    pub fn configure_http(
        mut self,
        configure: impl Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder + Send + Sync + 'static,
    ) -> Self {
        self.configure = Arc::new(configure);
        self
    }

    /// Builds the client. Nothing is sent yet.
    ///
    /// A process without a default provider of cryptography for `rustls` gets `ring` as its default.
    pub fn build(self) -> Result<Client, BuildError> {
        let base = check_base_url(&self.base_url)?;
        let authentication = self.authentication.ok_or(BuildError::NoAuthentication)?;
        check_authentication(&authentication)?;
        let correlation_id = self.correlation_id.unwrap_or_else(random_id);
        if !is_header(&correlation_id) {
            return Err(BuildError::CorrelationId);
        }
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Another thread may have installed one meanwhile, which serves as well.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let http = Http::new(self.configure, &base).map_err(BuildError::Http)?;
        Ok(Client::assemble(Shared {
            base,
            authority: authority(authentication, &http, self.timeout, self.policy),
            http,
            limits: Limits::new(self.in_flight, self.per_minute, self.policy.total),
            policy: self.policy,
            timeout: self.timeout,
            correlation_id,
        }))
    }
}

impl std::fmt::Debug for ClientBuilder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ClientBuilder")
            .field("base_url", &without_user(&self.base_url))
            .field("authentication", &self.authentication)
            .finish_non_exhaustive()
    }
}

fn check_base_url(text: &str) -> Result<Url, BuildError> {
    let refuse = |reason: &str| BuildError::BaseUrl {
        url: without_user(text).to_owned(),
        reason: reason.to_owned(),
    };
    let url = Url::parse(text.trim()).map_err(|error| refuse(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("it is neither http nor https"));
    }
    if holds_user(&url) {
        // The URL is shown in errors, so it may hold no password.
        return Err(refuse("it holds a user or a password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("it has a query or a fragment"));
    }
    Ok(url)
}

/// What is left of a URL, of whatever form, without a user and a password.
fn without_user(text: &str) -> &str {
    text.rsplit_once('@').map_or(text, |(_, rest)| rest)
}

fn holds_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

fn check_authentication(authentication: &Authentication) -> Result<(), BuildError> {
    match authentication {
        Authentication::ApiKey(key) if !is_header(key.expose()) => Err(BuildError::ApiKey),
        Authentication::ClientCredentials(credentials) if holds_user(&credentials.token_url) => {
            Err(BuildError::TokenUrl)
        }
        Authentication::ApiKey(_) | Authentication::ClientCredentials(_) => Ok(()),
    }
}

/// Whether a header can hold the text, and needs to.
fn is_header(text: &str) -> bool {
    !text.is_empty() && reqwest::header::HeaderValue::from_str(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_are_checked() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let found = check_base_url(text).map_err(|error| error.to_string());
            match (&found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.as_str(), expected),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
                _ => panic!("{text}: {found:?}"),
            }
        };
        check(
            "https://api.example/ml/firecrest/v2/",
            Ok("https://api.example/ml/firecrest/v2/"),
        );
        check(" http://127.0.0.1:8000 ", Ok("http://127.0.0.1:8000/"));
        check("api.example/v2", Err("relative URL without a base"));
        check("ftp://api.example", Err("neither http nor https"));
        check("https://api.example?x=1", Err("a query"));
        check(
            "https://me:swordfish@api.example",
            Err("`api.example` is of no use: it holds a user"),
        );
    }

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        for text in [
            "https://me:swordfish@api.example",
            "https://me:swordfish@api.example:port/v2",
            "ftp://me:swordfish@api.example",
            "https://me:sword@fish@api.example",
            "me:swordfish@api.example",
        ] {
            let error = check_base_url(text).expect_err("of no use").to_string();
            let builder = format!("{:?}", Client::builder(text));
            for shown in [error, builder] {
                assert!(!shown.contains("fish"), "{shown}");
                assert!(shown.contains("api.example"), "{shown}");
            }
        }
        let credentials = ClientCredentials {
            token_url: "https://me:swordfish@auth.example".parse().expect("a URL"),
            id: "me".to_owned(),
            secret: "x".into(),
            scopes: Vec::new(),
        };
        assert!(!format!("{credentials:?}").contains("swordfish"));
        let built = Client::builder("https://api.example")
            .authentication(Authentication::ClientCredentials(credentials))
            .build();
        assert!(matches!(built, Err(BuildError::TokenUrl)));
    }

    #[test]
    fn correlation_ids_are_checked() {
        let build = |id: &str| {
            Client::builder("http://127.0.0.1")
                .authentication(Authentication::ApiKey("key".into()))
                .correlation_id(id)
                .build()
        };
        assert!(build("run-1").is_ok());
        assert!(matches!(build("run\n1"), Err(BuildError::CorrelationId)));
        assert!(matches!(build(""), Err(BuildError::CorrelationId)));
    }

    #[test]
    fn keys_are_checked() {
        let build = |key: &str| {
            Client::builder("http://127.0.0.1")
                .authentication(Authentication::ApiKey(key.into()))
                .build()
                .map(|_| ())
        };
        assert!(build("abc").is_ok());
        assert!(matches!(build("a\nb"), Err(BuildError::ApiKey)));
        assert!(matches!(build(""), Err(BuildError::ApiKey)));
    }
}
