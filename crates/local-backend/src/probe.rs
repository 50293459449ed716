//! Asks a server over HTTP how it is.

use std::{sync::Arc, time::Duration};

use gipfel_engine::Engine;
use gipfel_model::Secret;
use reqwest::{Client, Response, StatusCode, redirect};
use rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider};

/// A server that does not answer in this time is not ready, or too busy to say so.
const TIMEOUT: Duration = Duration::from_secs(3);

/// More of an answer is not read.
const MOST: usize = 1 << 20;

/// An answer that did not come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    #[error("no TLS provider is installed, which `https` needs; the program installs one at its start")]
    NoProvider,
    #[error("the TLS settings are refused")]
    Tls(#[source] rustls::Error),
    #[error("nothing answers at {url}")]
    Http {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("the answer of {0} is longer than {MOST} bytes")]
    TooLong(String),
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
}

/// Asks one server.
#[derive(Debug)]
pub(crate) struct Probe<'a> {
    client: Client,
    base: &'a str,
    key: Option<&'a Secret>,
}

impl<'a> Probe<'a> {
    /// For the server at `base`, with a key if it wants one.
    pub(crate) fn new(base: &'a str, key: Option<&'a Secret>) -> Result<Self, ProbeError> {
        // The load generator uses no proxy and follows no redirect, so what answers here must be the server itself.
        let builder = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(TIMEOUT);
        let builder = if base.starts_with("https:") {
            CryptoProvider::get_default().ok_or(ProbeError::NoProvider)?;
            builder
        } else {
            // Without TLS settings of our own, reqwest asks for a provider even when none is needed.
            builder.tls_backend_preconfigured(no_tls().map_err(ProbeError::Tls)?)
        };
        let client = builder.build().map_err(|source| ProbeError::Http {
            url: base.to_owned(),
            source,
        })?;
        Ok(Self { client, base, key })
    }

    /// The answer of a path.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, ProbeError> {
        let url = format!("{}{path}", self.base);
        let failed = |source: reqwest::Error| ProbeError::Http {
            url: url.clone(),
            source: source.without_url(),
        };
        let mut request = self.client.get(&url);
        if let Some(key) = self.key {
            request = request.bearer_auth(key.expose());
        }
        let mut response: Response = request.send().await.map_err(failed)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MOST {
                return Err(ProbeError::TooLong(url));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, body })
    }

    /// The engine's version, if it tells.
    pub(crate) async fn version(&self, engine: &Engine) -> Option<String> {
        let answer = self.get(engine.version_path()?).await.ok()?;
        answer
            .status
            .is_success()
            .then(|| engine.read_version(&answer.body))
            .flatten()
    }
}

fn no_tls() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

/// Whether an answer of `/v1/models` names a model.
pub(crate) fn lists_a_model(body: &[u8]) -> bool {
    let answer: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let models = answer.as_ref().and_then(|answer| answer.get("data")?.as_array());
    models.is_some_and(|models| !models.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models() {
        let check = |body: &str, expected| assert_eq!(lists_a_model(body.as_bytes()), expected, "{body}");
        check(r#"{"object":"list","data":[{"id":"m"}]}"#, true);
        check(r#"{"object":"list","data":[]}"#, false);
        check(r#"{"data":"m"}"#, false);
        check("not json", false);
    }

    #[tokio::test]
    async fn a_client_needs_no_provider_for_http() {
        assert!(matches!(
            Probe::new("https://h", None),
            Err(ProbeError::NoProvider)
        ));
        let probe = Probe::new("http://127.0.0.1:1", None).unwrap();
        let error = probe.get("/health").await.unwrap_err();
        assert_eq!(error.to_string(), "nothing answers at http://127.0.0.1:1/health");
    }
}
