//! A server that plays scripts: one for each connection, in the order they come.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Reads a request whole.
    Request,
    /// Writes these pieces one by one.
    Send(Vec<Vec<u8>>),
    /// Waits until the client has closed the connection.
    UntilClosed,
}

/// What a connection has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) requests: Vec<String>,
    pub(crate) closed_by_client: bool,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: JoinHandle<Vec<Seen>>,
}

impl Server {
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits for all scripts to come to their end.
    pub(crate) async fn seen(self) -> Vec<Seen> {
        tokio::time::timeout(PATIENCE, self.seen)
            .await
            .expect("the scripts end")
            .unwrap()
    }
}

pub(crate) async fn play(scripts: Vec<Vec<Step>>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = tokio::spawn(async move {
        let mut connections = Vec::new();
        for script in scripts {
            let (tcp, _) = listener.accept().await.unwrap();
            connections.push(tokio::spawn(play_one(tcp, script)));
        }
        let mut seen = Vec::new();
        for connection in connections {
            seen.push(connection.await.unwrap());
        }
        seen
    });
    Server { address, seen }
}

async fn play_one(mut tcp: TcpStream, script: Vec<Step>) -> Seen {
    tcp.set_nodelay(true).unwrap();
    let mut seen = Seen::default();
    for step in script {
        match step {
            Step::Request => match read_request(&mut tcp).await {
                Some(request) => seen.requests.push(request),
                None => seen.closed_by_client = true,
            },
            Step::Send(pieces) => {
                for piece in pieces {
                    // The client may have seen enough.
                    if tcp.write_all(&piece).await.is_err() {
                        seen.closed_by_client = true;
                    }
                    tokio::task::yield_now().await;
                }
            }
            Step::UntilClosed => {
                let mut rest = Vec::new();
                // A reset is a close, too.
                let _ = tcp.read_to_end(&mut rest).await;
                assert_eq!(rest, b"");
                seen.closed_by_client = true;
            }
        }
    }
    seen
}

async fn read_request(tcp: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            if body.len() == length {
                return Some(text.into_owned());
            }
        }
        if tcp.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

/// A stream in the chunked transfer coding, each event a chunk.
pub(crate) fn chunked(events: &str) -> Vec<u8> {
    let mut answer = head("transfer-encoding: chunked\r\n");
    for event in events.split_inclusive("\n\n") {
        answer.extend_from_slice(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
    }
    answer.extend_from_slice(b"0\r\n\r\n");
    answer
}

/// A stream that ends with the connection.
pub(crate) fn until_close(events: &str) -> Vec<u8> {
    [head("connection: close\r\n"), events.into()].concat()
}

pub(crate) fn head(fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n{fields}\r\n").into_bytes()
}

/// An answer that is no stream.
pub(crate) fn plain(status: &str, content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

pub(crate) fn send(bytes: impl Into<Vec<u8>>) -> Step {
    Step::Send(vec![bytes.into()])
}
