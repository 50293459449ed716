//! One HTTP exchange: no retries, no credentials, no redirects.

use std::{
    fmt::{self, Write as _},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use reqwest::{
    Url,
    header::{HeaderMap, HeaderValue, RETRY_AFTER},
};
use tokio::time::Instant;

use crate::{
    error::{Cause, TransportError},
    wait_hint::WaitHint,
};

/// No body of the API is larger: files come in pieces of some megabytes.
const LARGEST_BODY: usize = 256 * 1024 * 1024;

/// Changes the settings of the HTTP client before it is built.
pub(crate) type Configure = Arc<dyn Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder + Send + Sync>;

/// An answer of which all has come.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) wait: Option<WaitHint>,
    pub(crate) body: Bytes,
}

/// How long a connection without a request is kept. The server closes idle connections after five seconds, and
/// a request that meets the closing is lost.
const IDLE: Duration = Duration::from_secs(4);

/// Connections, shared by all clones.
///
/// The server closes connections after some of its errors without saying so, and the next request on such a
/// connection is lost. So after a 5xx or a broken connection no kept connection is used until all that were kept
/// then are dropped.
#[derive(Clone)]
pub(crate) struct Http(Arc<Shared>);

struct Shared {
    configure: Configure,
    /// With and without encryption: reading the certificates of the machine takes a while.
    kept: PerScheme,
    fresh: PerScheme,
    last_fault: Mutex<Option<Instant>>,
}

/// A client for each scheme, built when it is needed.
#[derive(Default)]
struct PerScheme {
    encrypted: OnceLock<reqwest::Client>,
    plain: OnceLock<reqwest::Client>,
}

impl fmt::Debug for Http {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Http").finish_non_exhaustive()
    }
}

impl Http {
    /// Connections for a base URL; an error tells of settings that cannot be met.
    pub(crate) fn new(configure: Configure, base: &Url) -> Result<Self, reqwest::Error> {
        let (kept, fresh) = (PerScheme::default(), PerScheme::default());
        let http = Self(Arc::new(Shared {
            configure,
            kept,
            fresh,
            last_fault: Mutex::new(None),
        }));
        http.client(base)?;
        Ok(http)
    }

    /// Sends a request to this URL and reads the whole answer, whatever its status.
    pub(crate) async fn send(
        &self,
        url: &Url,
        request: impl FnOnce(&reqwest::Client) -> reqwest::RequestBuilder,
    ) -> Result<Reply, Cause> {
        let client = self.client(url).map_err(Cause::transport)?;
        let outcome = exchange(request(&client)).await;
        let is_fault = match &outcome {
            Ok(reply) => reply.status >= 500,
            Err(_) => true,
        };
        if is_fault {
            self.distrust();
        }
        outcome
    }

    /// The client for a request to this URL.
    pub(crate) fn client(&self, url: &Url) -> Result<reqwest::Client, reqwest::Error> {
        let Shared {
            configure,
            kept,
            fresh,
            last_fault,
        } = &*self.0;
        let last_fault = *last_fault.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = last_fault.is_some_and(|fault| fault.elapsed() < 2 * IDLE);
        let clients = if is_fresh { fresh } else { kept };
        let is_encrypted = url.scheme() == "https";
        let client = if is_encrypted {
            &clients.encrypted
        } else {
            &clients.plain
        };
        if let Some(client) = client.get() {
            return Ok(client.clone());
        }
        let built = build(configure, is_encrypted, is_fresh)?;
        Ok(client.get_or_init(|| built).clone())
    }

    /// Uses no connection that is kept now.
    pub(crate) fn distrust(&self) {
        *self.0.last_fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

fn build(
    configure: &Configure,
    is_encrypted: bool,
    is_fresh: bool,
) -> Result<reqwest::Client, reqwest::Error> {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("firecrest-client/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(10))
        .pool_idle_timeout(IDLE)
        // A redirect would carry credentials to another host.
        .redirect(reqwest::redirect::Policy::none());
    let builder = if is_fresh {
        builder.pool_max_idle_per_host(0)
    } else {
        builder
    };
    let builder = if is_encrypted {
        builder
    } else {
        builder.tls_certs_only([])
    };
    configure(builder).build()
}

async fn exchange(request: reqwest::RequestBuilder) -> Result<Reply, Cause> {
    let mut response = request.send().await.map_err(Cause::transport)?;
    let status = response.status().as_u16();
    let wait = wait_of(status, response.headers());
    let mut body = BytesMut::new();
    // Once the head has come the request was sent, whatever becomes of the body.
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| Cause::NoAnswer(TransportError::new(error)))?
    {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST_BODY {
            return Err(Cause::Unreadable {
                status,
                reason: format!("it is larger than {LARGEST_BODY} bytes"),
                excerpt: "<not shown>".to_owned(),
            });
        }
    }
    Ok(Reply {
        status,
        wait,
        body: body.freeze(),
    })
}

/// The wait that the headers ask for. Some gateways tell when a quota begins anew, and mean it as a wait only
/// when they throttle.
pub(crate) fn wait_of(status: u16, headers: &HeaderMap) -> Option<WaitHint> {
    let read = |value: &HeaderValue| value.to_str().ok().and_then(WaitHint::from_header);
    let reset = headers.get("ratelimit-reset").filter(|_| status == 429);
    headers
        .get(RETRY_AFTER)
        .and_then(read)
        .or_else(|| reset.and_then(read))
}

/// Fields as a form or a query writes them.
pub(crate) fn form<V: AsRef<str>>(fields: &[(&str, V)]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|(key, value)| format!("{}={}", encode(key), encode(value.as_ref())))
        .collect();
    fields.join("&")
}

/// A text as a part of a path or of a query.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => {
                // Writing to a string does not fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_written() {
        let check = |fields: &[(&str, &str)], expected: &str| assert_eq!(form(fields), expected);
        check(&[], "");
        check(&[("a", "b"), ("path", "/x y&zé")], "a=b&path=%2Fx%20y%26z%C3%A9");
    }
}
