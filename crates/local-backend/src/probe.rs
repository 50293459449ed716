//! Asks a server over HTTP how it is.

use std::{sync::Arc, time::Duration};

use gipfel_engine::Engine;
use gipfel_model::{Access, EndpointSpec};
use reqwest::{
    Client, Proxy, Response, StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// A server that does not answer in this time is not ready, or too busy to say so.
const TIMEOUT: Duration = Duration::from_secs(3);

/// More of an answer is not read.
const MOST: usize = 1 << 20;

/// An answer that did not come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    #[error("the TLS settings are refused")]
    Tls(#[source] rustls::Error),
    #[error("nothing answers at {url}{way}")]
    Http {
        url: String,
        /// The proxy on the way, in words.
        way: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("the header `{0}` has a name or a value that HTTP cannot carry")]
    Header(String),
    #[error("the certificates of `ca_file` are no PEM text")]
    Authorities(#[source] rustls::pki_types::pem::Error),
    #[error("`ca_file` holds no certificate in PEM")]
    NoAuthority,
    #[error("the proxy's address cannot be used")]
    Proxy(#[source] reqwest::Error),
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
    way: String,
}

impl<'a> Probe<'a> {
    /// For a server of this machine at `base`.
    pub(crate) fn new(base: &'a str) -> Result<Self, ProbeError> {
        let spec = EndpointSpec::new(base);
        Self::of(base, &spec, &Access::default())
    }

    /// For the server at `base`, one of the endpoint's.
    pub(crate) fn of(base: &'a str, spec: &EndpointSpec, access: &Access) -> Result<Self, ProbeError> {
        // The load generator knows no proxy but the endpoint's own and follows no redirect, so what answers here must
        // be what answers there.
        let mut builder = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(TIMEOUT)
            .default_headers(headers(access)?);
        if let Some(proxy) = &spec.proxy {
            builder = builder.proxy(Proxy::all(proxy).map_err(ProbeError::Proxy)?);
        }
        if spec.http2 {
            builder = builder.http2_prior_knowledge();
        }
        let builder = builder.tls_backend_preconfigured(tls(base, access)?);
        let client = builder.build().map_err(|source| ProbeError::Http {
            url: base.to_owned(),
            way: String::new(),
            source,
        })?;
        let way = spec.proxy.as_ref();
        let way = way.map_or_else(String::new, |proxy| format!(" through the proxy {proxy}"));
        Ok(Self { client, base, way })
    }

    /// The answer of a path.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, ProbeError> {
        let url = format!("{}{path}", self.base);
        let failed = |source: reqwest::Error| ProbeError::Http {
            url: url.clone(),
            way: self.way.clone(),
            source: source.without_url(),
        };
        let mut response: Response = self.client.get(&url).send().await.map_err(failed)?;
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

/// The key as a bearer token, and the endpoint's own headers, which go before it.
fn headers(access: &Access) -> Result<HeaderMap, ProbeError> {
    let key = access
        .key
        .as_ref()
        .map(|key| ("authorization", format!("Bearer {}", key.expose())));
    let own = access.headers.iter();
    let own = own.map(|(name, value)| (name.as_str(), value.expose().to_owned()));
    let mut headers = HeaderMap::new();
    for (name, value) in key.into_iter().chain(own) {
        let unusable = || ProbeError::Header(name.to_owned());
        let header = HeaderName::try_from(name).map_err(|_| unusable())?;
        let mut value = HeaderValue::try_from(value).map_err(|_| unusable())?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

/// The trust of the load generator: the public authorities and the endpoint's own, not those of this machine.
fn tls(base: &str, access: &Access) -> Result<ClientConfig, ProbeError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ProbeError::Tls)?;
    let mut roots = RootCertStore::empty();
    if base.starts_with("https:") {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if let Some(pem) = &access.authorities {
            let known = roots.len();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(ProbeError::Authorities)?;
                roots.add(certificate).map_err(ProbeError::Tls)?;
            }
            if roots.len() == known {
                return Err(ProbeError::NoAuthority);
            }
        }
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
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
    async fn a_client_needs_no_installed_provider() {
        Probe::new("https://h").unwrap();
        let probe = Probe::new("http://127.0.0.1:1").unwrap();
        let error = probe.get("/health").await.unwrap_err();
        assert_eq!(error.to_string(), "nothing answers at http://127.0.0.1:1/health");
    }
}
