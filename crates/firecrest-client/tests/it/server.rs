//! A small HTTP server that answers as a test tells it to, faults of the connection included.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream, tcp::OwnedWriteHalf},
};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// The path without the query.
    pub(crate) path: String,
    /// The pairs of the query, decoded.
    pub(crate) query: Vec<(String, String)>,
    /// The path with the query, as it came.
    pub(crate) target: String,
    /// Headers by lower-case name.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// The number of the connection it came by.
    pub(crate) connection: usize,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Method and path: what most tests tell requests apart by.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// What the server does with a request.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    ending: Ending,
    delay: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The connection is kept for the next request.
    Kept,
    /// The connection is closed after so many bytes of the body.
    CutAfter(usize),
    /// The connection is closed without an answer.
    Nothing,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            ending: Ending::Kept,
            delay: Duration::ZERO,
        }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, body.to_string()).header("content-type", "application/json")
    }

    /// A refusal of the server's own form.
    pub(crate) fn refusal(status: u16, message: &str) -> Self {
        Self::json(
            status,
            &serde_json::json!({
                "errorType": "error", "message": message, "causedBy": null, "data": null, "user": "tester",
            }),
        )
    }

    /// No answer: the connection is closed.
    pub(crate) fn nothing() -> Self {
        Self {
            ending: Ending::Nothing,
            ..Self::new(0, "")
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn cut_after(self, bytes: usize) -> Self {
        Self {
            ending: Ending::CutAfter(bytes),
            ..self
        }
    }

    /// The same with one byte of the body changed.
    pub(crate) fn damaged(mut self) -> Self {
        self.body[0] ^= 1;
        self
    }

    pub(crate) fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

type Answer = Pin<Box<dyn Future<Output = Reply> + Send>>;
type Handler = Arc<dyn Fn(Request) -> Answer + Send + Sync>;

/// A server that runs until it is dropped.
pub(crate) struct Server {
    address: String,
    seen: Arc<Mutex<Vec<Request>>>,
    busy: Arc<Busy>,
    accepting: tokio::task::JoinHandle<()>,
}

/// How many requests are being answered, and how many at most were at once.
#[derive(Debug, Default)]
struct Busy {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    /// A server whose handler answers at once.
    pub(crate) async fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_async(move |request| std::future::ready(handler(&request))).await
    }

    /// A server whose handler may wait.
    pub(crate) async fn start_async<F>(handler: impl Fn(Request) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |request| Box::pin(handler(request)));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (seen, busy) = (Arc::default(), Arc::default());
        let accepting = tokio::spawn(accept(listener, handler, Arc::clone(&seen), Arc::clone(&busy)));
        Self {
            address,
            seen,
            busy,
            accepting,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().expect("no panic").clone()
    }

    /// How many requests of this method and path came.
    pub(crate) fn count(&self, line: &str) -> usize {
        self.seen()
            .iter()
            .filter(|request| request.line() == line)
            .count()
    }

    /// How many requests at most were being answered at once.
    pub(crate) fn most_at_once(&self) -> usize {
        self.busy.most.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, handler: Handler, seen: Arc<Mutex<Vec<Request>>>, busy: Arc<Busy>) {
    let mut connection = 0;
    while let Ok((stream, _)) = listener.accept().await {
        connection += 1;
        tokio::spawn(serve(
            stream,
            connection,
            Arc::clone(&handler),
            Arc::clone(&seen),
            Arc::clone(&busy),
        ));
    }
}

async fn serve(
    stream: TcpStream,
    connection: usize,
    handler: Handler,
    seen: Arc<Mutex<Vec<Request>>>,
    busy: Arc<Busy>,
) {
    // Nagle's algorithm would hold back the ends of answers.
    let _ = stream.set_nodelay(true);
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    while let Some(request) = read(&mut reader, connection).await {
        seen.lock().expect("no panic").push(request.clone());
        let now = busy.now.fetch_add(1, Ordering::SeqCst) + 1;
        busy.most.fetch_max(now, Ordering::SeqCst);
        let reply = handler(request).await;
        tokio::time::sleep(reply.delay).await;
        busy.now.fetch_sub(1, Ordering::SeqCst);
        if !write(&mut writer, &reply).await {
            return;
        }
    }
}

async fn read(reader: &mut BufReader<tokio::net::tcp::OwnedReadHalf>, connection: usize) -> Option<Request> {
    let line = read_line(reader).await?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let line = read_line(reader).await?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().expect("a length"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await.ok()?;
    let url = reqwest::Url::parse("http://server")
        .and_then(|base| base.join(&target))
        .ok()?;
    Some(Request {
        method,
        path: url.path().to_owned(),
        query: url.query_pairs().into_owned().collect(),
        target,
        headers,
        body,
        connection,
    })
}

async fn read_line(reader: &mut BufReader<tokio::net::tcp::OwnedReadHalf>) -> Option<String> {
    let mut line = String::new();
    match reader.read_line(&mut line).await {
        Ok(count) if count > 0 => Some(line.trim_end().to_owned()),
        _ => None,
    }
}

/// Writes the answer; whether the connection goes on.
async fn write(writer: &mut OwnedWriteHalf, reply: &Reply) -> bool {
    if reply.ending == Ending::Nothing {
        return false;
    }
    let mut lines = vec![format!("HTTP/1.1 {} X", reply.status)];
    lines.extend(
        reply
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}")),
    );
    if reply.status != 204 {
        lines.push(format!("content-length: {}", reply.body.len()));
    }
    let head = lines.join("\r\n") + "\r\n\r\n";
    let body = match reply.ending {
        Ending::CutAfter(bytes) => &reply.body[..bytes.min(reply.body.len())],
        Ending::Kept | Ending::Nothing => &reply.body,
    };
    let written = async {
        writer.write_all(head.as_bytes()).await?;
        writer.write_all(body).await?;
        writer.flush().await
    };
    written.await.is_ok() && reply.ending == Ending::Kept
}
