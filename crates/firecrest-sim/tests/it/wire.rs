//! The smallest HTTP client that shows everything.

use std::{io, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The connection ended without a whole answer.
#[derive(Debug)]
pub(crate) struct Lost;

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A request that is being put together.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl Outgoing {
    pub(crate) fn new(method: &str, url: impl Into<String>) -> Self {
        let method = method.parse().expect("a method");
        Self {
            method,
            url: url.into(),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .body(body.to_string())
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let (authority, target) = split(&self.url);
        let mut request = Request::builder().method(&self.method).uri(target);
        request = request.header(header::HOST, authority);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(Full::new(self.body.clone())).expect("a request")
    }

    /// Sends the request over a connection of its own.
    pub(crate) async fn send(&self) -> Result<Reply, Lost> {
        let exchange = async {
            let (authority, _) = split(&self.url);
            let stream = TcpStream::connect(authority).await.map_err(|_: io::Error| Lost)?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
                .await
                .map_err(|_: hyper::Error| Lost)?;
            tokio::spawn(connection);
            let response = sender
                .send_request(self.request())
                .await
                .map_err(|_: hyper::Error| Lost)?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.map_err(|_: hyper::Error| Lost)?.to_bytes();
            Ok(Reply {
                status: parts.status,
                headers: parts.headers,
                body,
            })
        };
        timeout(Duration::from_secs(30), exchange)
            .await
            .expect("an answer in time")
    }
}

/// Sends two requests over one connection; gives the status of each that was answered.
pub(crate) async fn over_one_connection(first: &Outgoing, second: &Outgoing) -> [Option<u16>; 2] {
    let (authority, _) = split(&first.url);
    let stream = TcpStream::connect(authority).await.expect("a connection");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .expect("a connection");
    tokio::spawn(connection);
    let mut statuses = [None, None];
    for (status, outgoing) in statuses.iter_mut().zip([first, second]) {
        let sent = async {
            sender.ready().await.ok()?;
            let response = sender.send_request(outgoing.request()).await.ok()?;
            let status = response.status().as_u16();
            response.into_body().collect().await.ok()?;
            Some(status)
        };
        *status = timeout(Duration::from_secs(30), sent)
            .await
            .expect("an answer in time");
    }
    statuses
}

fn split(url: &str) -> (&str, &str) {
    let rest = url.strip_prefix("http://").expect("an http URL");
    rest.split_at(rest.find('/').expect("a path"))
}

/// Waits until `probe` has found something.
pub(crate) async fn eventually<T, F: Future<Output = Result<T, String>>>(probe: impl Fn() -> F) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match probe().await {
            Ok(found) => return found,
            Err(seen) => assert!(
                Instant::now() < deadline,
                "it did not happen in 20 s; last seen: {seen}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
