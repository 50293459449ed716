//! The client: exchanges over pooled connections.

use std::cell::RefCell;
use std::fmt;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use http::{Method, Request, Uri};

use crate::answer::Answer;
use crate::clock::Clock;
use crate::connection::RequestBody;
use crate::deadline::{Deadline, after};
use crate::dial::Dialer;
use crate::errors::{ClientError, GetError};
use crate::exchange::{Ending, Exchange, Limits, Watch};
use crate::form::AnswerForm;
use crate::pool::Pool;
use crate::run::{Failure, Run};
use crate::target::Target;

/// How a [`Client`] connects.
#[derive(Clone)]
pub struct ClientOptions {
    /// The longest time for a connection to be made, TLS included.
    pub connect_timeout: Duration,
    /// A key that is sent as bearer token.
    pub bearer: Option<String>,
    /// So many idle connections are kept.
    pub max_idle: usize,
    /// The form of the answers to [`Client::stream`].
    pub form: AnswerForm,
    /// Headers of one's own, which may be secret; they go before those that the client sends by itself.
    pub headers: Vec<(String, String)>,
    /// Certificates in PEM of authorities that are trusted beside the public ones.
    pub authorities: Option<Vec<u8>>,
    /// An HTTP proxy. It is asked for a tunnel to `https` servers, else it passes the requests on.
    pub proxy: Option<Target>,
    /// HTTP/2 without a fall-back; with `http`, by prior knowledge. The futures of the client must then run in a
    /// `LocalSet`. Times are taken where an exchange meets the connection that it shares with others.
    pub http2: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            bearer: None,
            max_idle: 4096,
            form: AnswerForm::Events,
            headers: Vec::new(),
            authorities: None,
            proxy: None,
            http2: false,
        }
    }
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClientOptions")
            .field("connect_timeout", &self.connect_timeout)
            .field("bearer", &self.bearer.as_ref().map(|_| "***"))
            .field("max_idle", &self.max_idle)
            .field("form", &self.form)
            .field("proxy", &self.proxy)
            .field("http2", &self.http2)
            .finish_non_exhaustive()
    }
}

/// A client of one server, for one thread. A clone shares the connections.
#[derive(Clone)]
pub struct Client {
    inner: Rc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) clock: Clock,
    pub(crate) dialer: Dialer,
    pub(crate) pool: Pool,
    pub(crate) form: AnswerForm,
    target: Target,
    /// Whether requests name the whole URL: HTTP/2 has no other form, and a proxy must know the server.
    whole_urls: bool,
    stream_headers: HeaderMap,
    get_headers: HeaderMap,
    /// The paths that were asked for, as they go on the wire.
    paths: RefCell<Vec<(String, Uri)>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("target", &self.inner.target)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the server at `target`. Nothing is sent yet.
    ///
    /// # Errors
    /// TLS cannot be set up, or the host or the key cannot be sent in a header.
    pub fn new(clock: Clock, target: Target, options: ClientOptions) -> Result<Self, ClientError> {
        if options.proxy.as_ref().is_some_and(Target::is_tls) {
            return Err(ClientError::ProxyScheme);
        }
        let get_headers = headers(&target, &options)?;
        let stream_headers = stream_headers(&target, &options)?;
        let dialer = Dialer::new(clock, &target, &options)?;
        let pool = Pool::new(clock, options.max_idle);
        let whole_urls = options.http2 || (options.proxy.is_some() && !target.is_tls());
        let paths = RefCell::default();
        let inner = Inner {
            clock,
            dialer,
            pool,
            form: options.form,
            target,
            whole_urls,
            stream_headers,
            get_headers,
            paths,
        };
        Ok(Self {
            inner: Rc::new(inner),
        })
    }

    /// Connections that are open, busy or idle.
    pub fn open_connections(&self) -> usize {
        self.inner.dialer.open_connections()
    }

    /// Sends `body` to `path` and reads the answer, a completion in the client's form, to its end.
    ///
    /// The clock points appear in `watch` while it runs; each gap between two chunks with tokens is given to
    /// `on_gap`. An answer that comes as a whole has no first token and no gap: of the limits only the total one
    /// holds for it. Dropping the future closes the connection.
    pub async fn stream(
        &self,
        path: &str,
        body: Bytes,
        limits: Limits,
        watch: Rc<Watch>,
        mut on_gap: impl FnMut(i64),
    ) -> Exchange {
        let client = &*self.inner;
        let sleep = pin!(tokio::time::sleep(Duration::ZERO));
        let mut run = Run::new(client, limits, &watch, Deadline::new(client.clock, sleep));
        let mut answer = Answer::new(client.form);
        let (ending, end_ns, error) = match client.uri(path) {
            None => (
                Ending::ConnectError,
                client.clock.now_ns(),
                Some(format!("`{path}` is not a valid path")),
            ),
            Some(uri) => {
                let request = || request(Method::POST, &uri, &client.stream_headers, body.clone());
                run.stream(request, &mut answer, &mut on_gap).await
            }
        };
        let usage = answer.usage();
        Exchange {
            ending,
            http_status: Some(watch.http_status.get()).filter(|status| *status != 0),
            connect_ns: run.connect_ns(),
            end_ns,
            input_tokens: usage.prompt_tokens,
            output_tokens: usage.completion_tokens,
            cached_tokens: usage.cached_tokens(),
            finish_reason: answer.finish_reason().map(str::to_owned),
            error,
        }
    }

    /// Reads a short answer whole: its status and its body, whatever the status.
    ///
    /// # Errors
    /// No complete answer of at most `max_bytes` came within `timeout`.
    pub async fn get(
        &self,
        path: &str,
        timeout: Duration,
        max_bytes: usize,
    ) -> Result<(u16, Bytes), GetError> {
        let client = &*self.inner;
        let uri = client.uri(path).ok_or_else(|| GetError::Path {
            path: path.to_owned(),
        })?;
        let request = || request(Method::GET, &uri, &client.get_headers, Bytes::new());
        let start_ns = client.clock.now_ns();
        let due_ns = after(start_ns, timeout);
        let limits = Limits {
            scheduled_ns: start_ns,
            first_token_ns: due_ns,
            between_tokens: timeout,
            total_ns: due_ns,
        };
        let watch = Watch::new();
        let sleep = pin!(tokio::time::sleep(Duration::ZERO));
        let mut run = Run::new(client, limits, &watch, Deadline::new(client.clock, sleep));
        let target = || client.target.authority();
        let whole = run
            .whole(request, max_bytes)
            .await
            .map_err(|failure| match failure {
                Failure::TimedOut(_) => GetError::Timeout {
                    target: target(),
                    timeout_ms: timeout.as_millis(),
                },
                Failure::Connect(source) => GetError::Connect {
                    target: target(),
                    source,
                },
                Failure::Broken(source) => GetError::Broken {
                    target: target(),
                    source,
                },
            })?;
        whole.ok_or_else(|| GetError::TooLong {
            target: target(),
            max_bytes,
        })
    }
}

impl Inner {
    fn uri(&self, path: &str) -> Option<Uri> {
        let mut paths = self.paths.borrow_mut();
        if let Some((_, uri)) = paths.iter().find(|(known, _)| known == path) {
            return Some(uri.clone());
        }
        let wire = if self.whole_urls {
            self.target.absolute(path)
        } else {
            self.target.path(path)
        };
        let uri: Uri = wire.parse().ok().filter(|_| path.starts_with('/'))?;
        paths.push((path.to_owned(), uri.clone()));
        Some(uri)
    }
}

fn request(method: Method, uri: &Uri, headers: &HeaderMap, body: Bytes) -> Request<RequestBody> {
    let mut request = Request::new(RequestBody::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = uri.clone();
    *request.headers_mut() = headers.clone();
    request
}

/// The fields of a request whose answer is a completion, but for the body's length.
pub(crate) fn stream_headers(target: &Target, options: &ClientOptions) -> Result<HeaderMap, ClientError> {
    let mut headers = headers(target, options)?;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static(options.form.media_type()));
    Ok(headers)
}

fn headers(target: &Target, options: &ClientOptions) -> Result<HeaderMap, ClientError> {
    let mut headers = HeaderMap::with_capacity(8);
    if !options.http2 {
        let authority = target.authority();
        let host =
            HeaderValue::try_from(&authority).map_err(|_| ClientError::HostHeader { host: authority })?;
        headers.insert(HOST, host);
    }
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("gipfel/", env!("CARGO_PKG_VERSION"))),
    );
    if let Some(bearer) = &options.bearer {
        let mut value = HeaderValue::try_from(format!("Bearer {bearer}")).map_err(|_| ClientError::Key)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    for (name, value) in &options.headers {
        let unusable = || ClientError::Header { name: name.clone() };
        let key = HeaderName::try_from(name.as_str()).map_err(|_| unusable())?;
        let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| unusable())?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_shown() {
        let options = ClientOptions {
            bearer: Some("sk-secret".to_owned()),
            ..ClientOptions::default()
        };
        let target = Target::parse("http://h").unwrap();
        assert!(!format!("{options:?}").contains("secret"));
        let client = Client::new(Clock::start(), target.clone(), options).unwrap();
        assert!(!format!("{client:?} {:?}", client.inner.get_headers).contains("secret"));
        let broken = ClientOptions {
            bearer: Some("sk-secret\n".to_owned()),
            ..ClientOptions::default()
        };
        let error = Client::new(Clock::start(), target, broken).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
}
