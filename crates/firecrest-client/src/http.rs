//! One HTTP exchange: no retries, no credentials, no redirects.

use std::{
    fmt::{self, Write as _},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, RETRY_AFTER};

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

/// A pool of connections that is replaced after a fault.
///
/// The server closes connections after some of its errors without saying so, and the next request on such
/// a connection is lost. So after a 5xx or a broken connection a fresh pool serves the next request.
#[derive(Clone)]
pub(crate) struct Http {
    configure: Configure,
    current: Arc<Mutex<Pool>>,
}

struct Pool {
    generation: u64,
    client: reqwest::Client,
}

impl fmt::Debug for Http {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Http").finish_non_exhaustive()
    }
}

impl Http {
    pub(crate) fn new(configure: Configure) -> Result<Self, reqwest::Error> {
        let client = build(&configure)?;
        Ok(Self {
            configure,
            current: Arc::new(Mutex::new(Pool {
                generation: 0,
                client,
            })),
        })
    }

    /// Sends a request and reads the whole answer, whatever its status.
    pub(crate) async fn send(
        &self,
        request: impl FnOnce(&reqwest::Client) -> reqwest::RequestBuilder,
    ) -> Result<Reply, Cause> {
        let (generation, client) = self.pool();
        let outcome = exchange(request(&client)).await;
        let is_suspect = match &outcome {
            Ok(reply) => reply.status >= 500,
            Err(_) => true,
        };
        if is_suspect {
            self.replace(generation);
        }
        outcome
    }

    /// The pool that is current, for exchanges whose bodies are streamed.
    pub(crate) fn pool(&self) -> (u64, reqwest::Client) {
        let pool = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        (pool.generation, pool.client.clone())
    }

    /// Replaces the pool of this generation.
    pub(crate) fn replace(&self, generation: u64) {
        // The same settings were built before, so a failure to build them is not expected; the old pool
        // serves on then.
        let Ok(client) = build(&self.configure) else {
            return;
        };
        let mut pool = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.generation == generation {
            *pool = Pool {
                generation: generation + 1,
                client,
            };
        }
    }
}

fn build(configure: &Configure) -> Result<reqwest::Client, reqwest::Error> {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("firecrest-client/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(10))
        // A redirect would carry credentials to another host.
        .redirect(reqwest::redirect::Policy::none());
    configure(builder).build()
}

async fn exchange(request: reqwest::RequestBuilder) -> Result<Reply, Cause> {
    let mut response = request.send().await.map_err(Cause::transport)?;
    let status = response.status().as_u16();
    let wait = wait_of(response.headers());
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

pub(crate) fn wait_of(headers: &HeaderMap) -> Option<WaitHint> {
    headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()
        .and_then(WaitHint::from_header)
}

/// Fields as a form or a query writes them.
pub(crate) fn form<V: AsRef<str>>(fields: &[(&str, V)]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|(key, value)| format!("{}={}", encode(key), encode(value.as_ref())))
        .collect();
    fields.join("&")
}

fn encode(text: &str) -> String {
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
