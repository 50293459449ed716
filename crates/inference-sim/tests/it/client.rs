//! A small HTTP client, and the server under test.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use bytes::Bytes;
use gipfel_inference_sim::{ServeError, ServerProfile, SimOptions, serve};
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

const LIMIT: Duration = Duration::from_secs(20);

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) text: String,
    /// Whether the body ended as HTTP wants it.
    pub(crate) complete: bool,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect("JSON")
    }

    /// The data of each server-sent event; text that is no JSON as a string.
    pub(crate) fn events(&self) -> Vec<Value> {
        let event = |text: &str| {
            let data = text.strip_prefix("data: ").expect("a data event");
            serde_json::from_str(data).unwrap_or_else(|_| Value::from(data))
        };
        self.text.split_terminator("\n\n").map(event).collect()
    }
}

/// An answer whose head has come. Dropped, it closes its connection.
pub(crate) struct OpenStream {
    response: http::Response<Incoming>,
    connection: AbortOnDrop,
}

impl OpenStream {
    pub(crate) async fn rest(self) -> Reply {
        let (head, mut body) = self.response.into_parts();
        let mut bytes = Vec::new();
        let complete = loop {
            match body.frame().await {
                None => break true,
                Some(Err(_)) => break false,
                Some(Ok(frame)) => bytes.extend(frame.into_data().unwrap_or_default()),
            }
        };
        drop(self.connection);
        let content_type = head
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        Reply {
            status: head.status.as_u16(),
            content_type: content_type.unwrap_or_default().to_owned(),
            text: String::from_utf8(bytes).expect("UTF-8"),
            complete,
        }
    }
}

pub(crate) struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A request on its way. Dropped, it closes its connection.
pub(crate) struct Pending {
    response: std::pin::Pin<Box<dyn Future<Output = hyper::Result<http::Response<Incoming>>>>>,
    connection: AbortOnDrop,
}

pub(crate) struct TestServer {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServeError>>,
}

impl TestServer {
    pub(crate) async fn start(profile: ServerProfile, options: SimOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, profile, options, async {
            let _ = stopped.await;
        }));
        Self { address, stop, task }
    }

    /// Fails unless the server ends in time and without an error.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        let ended = tokio::time::timeout(LIMIT, self.task)
            .await
            .expect("the server stops");
        ended.expect("no panic").expect("no error");
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        let request = Request::get(path).body(Full::default()).expect("a request");
        self.open(request).await.rest().await
    }

    pub(crate) async fn post(&self, path: &str, body: String) -> Reply {
        let request = Request::post(path).body(Full::from(body)).expect("a request");
        let reply = async { self.open(request).await.rest().await };
        tokio::time::timeout(LIMIT, reply)
            .await
            .expect("an answer in time")
    }

    pub(crate) async fn open_stream(&self, body: &str) -> OpenStream {
        let request = Request::post("/v1/chat/completions").body(Full::from(body.to_owned()));
        self.open(request.expect("a request")).await
    }

    async fn open(&self, request: Request<Full<Bytes>>) -> OpenStream {
        let pending = self.dispatch(request).await;
        OpenStream {
            response: pending.response.await.expect("an answer"),
            connection: pending.connection,
        }
    }

    /// Sends a chat request without waiting for its answer.
    pub(crate) async fn send(&self, body: &str) -> Pending {
        let request = Request::post("/v1/chat/completions").body(Full::from(body.to_owned()));
        self.dispatch(request.expect("a request")).await
    }

    async fn dispatch(&self, mut request: Request<Full<Bytes>>) -> Pending {
        let host = self.address.to_string().parse().expect("a header");
        request.headers_mut().insert(header::HOST, host);
        let stream = TcpStream::connect(self.address).await.expect("a connection");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("a handshake");
        let connection = AbortOnDrop(tokio::spawn(async move {
            // An aborted or cut connection is what some tests are about.
            let _ = connection.await;
        }));
        Pending {
            response: Box::pin(sender.send_request(request)),
            connection,
        }
    }

    pub(crate) async fn metrics(&self) -> BTreeMap<String, f64> {
        let text = self.get("/metrics").await.text;
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            let name = name.split('{').next()?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(sample)
            .collect()
    }

    /// Looks at running and waiting requests and the use of the cache until they are as wanted.
    pub(crate) async fn until_load(&self, running: u32, waiting: u32, caches: bool) {
        self.until(&format!("{running} running and {waiting} waiting"), |metrics| {
            let is = |name: &str, value: u32| metrics[name].to_bits() == f64::from(value).to_bits();
            is("vllm:num_requests_running", running)
                && is("vllm:num_requests_waiting", waiting)
                && (metrics["vllm:kv_cache_usage_perc"] > 0.0) == caches
        })
        .await;
    }

    /// Looks at the metrics until they are as wanted; fails with the last ones.
    async fn until(&self, what: &str, wanted: impl Fn(&BTreeMap<String, f64>) -> bool) {
        let deadline = tokio::time::Instant::now() + LIMIT;
        loop {
            let metrics = self.metrics().await;
            if wanted(&metrics) {
                return;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "not in time: {what}; {metrics:?}"
            );
        }
    }

    pub(crate) async fn until_idle(&self) {
        self.until_load(0, 0, false).await;
    }
}
