//! As much of HTTP/1.1 as a service of one machine needs: no more than what can be bounded.

use std::{io, time::Duration};

use tokio::{
    fs::File,
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// The head of a request may have so many bytes, and so many fields.
const MAX_HEAD_BYTES: usize = 16 << 10;
const MAX_FIELDS: usize = 64;
/// The body of a request may have so many bytes.
const MAX_BODY_BYTES: usize = 4 << 20;
/// A whole request must be there within this time of the answer before it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Each piece of an answer must be taken within this time.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// A refused request is read on for so long, so that its sender reads the refusal.
const LINGER: Duration = Duration::from_secs(1);
const PIECE_BYTES: usize = 64 << 10;

pub(super) const JSON: &str = "application/json";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// A request that is there as a whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) body: Vec<u8>,
}

/// What is answered.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    content_type: &'static str,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Bytes(Vec<u8>),
    File { file: File, bytes: u64 },
}

impl Response {
    pub(super) fn new(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            content_type,
            body: Body::Bytes(body.into()),
        }
    }

    pub(super) fn json(status: u16, value: &serde_json::Value) -> Self {
        Self::new(status, JSON, format!("{value}\n"))
    }

    pub(super) fn error(status: u16, error: &str) -> Self {
        Self::json(status, &serde_json::json!({ "error": error }))
    }

    pub(super) async fn file(file: File) -> io::Result<Self> {
        let bytes = file.metadata().await?.len();
        Ok(Self {
            status: 200,
            content_type: "application/vnd.sqlite3",
            body: Body::File { file, bytes },
        })
    }
}

/// What the head of a request says.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    method: String,
    path: String,
    query: String,
    /// Of the head itself.
    bytes: usize,
    body_bytes: usize,
    keep_alive: bool,
    expects_continue: bool,
}

/// Why a request is not answered as it was meant.
#[derive(Debug, PartialEq, Eq)]
struct Refusal(u16, &'static str);

const MALFORMED: Refusal = Refusal(400, "the request is no HTTP/1.1");

/// The head at the begin of `bytes`, once it is there as a whole.
fn parse_head(bytes: &[u8]) -> Result<Option<Head>, Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD_BYTES => length,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD_BYTES => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal(431, "the head of the request is too large"));
        }
        Err(_) => return Err(MALFORMED),
    };
    let (path, query) = match parsed.path.unwrap_or_default().split_once('?') {
        Some((path, query)) => (path, query),
        None => (parsed.path.unwrap_or_default(), ""),
    };
    let mut head = Head {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        bytes: length,
        body_bytes: 0,
        keep_alive: parsed.version == Some(1),
        expects_continue: false,
    };
    let mut told = None;
    for field in parsed.headers.iter() {
        let value = field.value.trim_ascii();
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(Refusal(
                501,
                "a body needs a content-length; transfer-encoding is not understood",
            ));
        } else if field.name.eq_ignore_ascii_case("content-length") {
            let length = content_length(value)?;
            // Two lengths that differ are how a second request is smuggled.
            if told.replace(length).is_some_and(|before| before != length) {
                return Err(MALFORMED);
            }
            head.body_bytes = length;
        } else if field.name.eq_ignore_ascii_case("connection") {
            head.keep_alive = match value {
                _ if value.eq_ignore_ascii_case(b"close") => false,
                _ if value.eq_ignore_ascii_case(b"keep-alive") => true,
                _ => head.keep_alive,
            };
        } else if field.name.eq_ignore_ascii_case("expect") {
            head.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
        }
    }
    Ok(Some(head))
}

fn content_length(value: &[u8]) -> Result<usize, Refusal> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(MALFORMED);
    }
    let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    match length {
        Some(length) if length <= MAX_BODY_BYTES => Ok(length),
        _ => Err(Refusal(413, "the body has more than 4194304 bytes")),
    }
}

/// Answers the requests of one connection, one after another.
pub(super) async fn converse<S, A>(mut stream: S, answer: impl Fn(Request) -> A) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Future<Output = Response>,
{
    let mut received = Vec::new();
    loop {
        let arrival = timeout(REQUEST_TIMEOUT, receive(&mut stream, &mut received)).await;
        let (head, request) = match arrival {
            Ok(Ok(Ok(Some(whole)))) => whole,
            Ok(Ok(Ok(None))) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Ok(Ok(Err(refusal))) => return refuse(&mut stream, &refusal).await,
            Err(_) if received.is_empty() => return Ok(()),
            Err(_) => return refuse(&mut stream, &Refusal(408, "the request took too long")).await,
        };
        let response = answer(request).await;
        send(&mut stream, response, head.method == "HEAD", head.keep_alive).await?;
        if !head.keep_alive {
            return stream.shutdown().await;
        }
    }
}

/// The next request, or nothing when the other side has closed before one.
async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    received: &mut Vec<u8>,
) -> io::Result<Result<Option<(Head, Request)>, Refusal>> {
    let head = loop {
        match parse_head(received) {
            Err(refusal) => return Ok(Err(refusal)),
            Ok(Some(head)) => break head,
            Ok(None) if stream.read_buf(received).await? == 0 => {
                return Ok(if received.is_empty() {
                    Ok(None)
                } else {
                    Err(MALFORMED)
                });
            }
            Ok(None) => {}
        }
    };
    let whole = head.bytes + head.body_bytes;
    if head.expects_continue && received.len() < whole {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    while received.len() < whole {
        if stream.read_buf(received).await? == 0 {
            return Ok(Err(MALFORMED));
        }
    }
    let rest = received.split_off(whole);
    let body = std::mem::replace(received, rest).split_off(head.bytes);
    let request = Request {
        method: head.method.clone(),
        path: head.path.clone(),
        query: head.query.clone(),
        body,
    };
    Ok(Ok(Some((head, request))))
}

/// Says why, and closes once the other side had the time to read it.
async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, refusal: &Refusal) -> io::Result<()> {
    let Refusal(status, reason) = *refusal;
    send(stream, Response::error(status, reason), false, false).await?;
    stream.shutdown().await?;
    let mut rest = vec![0; PIECE_BYTES];
    let draining = async { while matches!(stream.read(&mut rest).await, Ok(1..)) {} };
    // Whoever goes on sending after that is not waited for.
    let _ = timeout(LINGER, draining).await;
    Ok(())
}

async fn send<S: AsyncWrite + Unpin>(
    stream: &mut S,
    response: Response,
    without_body: bool,
    keep_alive: bool,
) -> io::Result<()> {
    let bytes = match &response.body {
        Body::Bytes(bytes) => bytes.len() as u64,
        Body::File { bytes, .. } => *bytes,
    };
    let head = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: {}\r\ncontent-length: {bytes}\r\nconnection: {}\r\n\r\n",
        response.status,
        reason(response.status),
        response.content_type,
        if keep_alive { "keep-alive" } else { "close" }
    );
    write(stream, head.as_bytes()).await?;
    match response.body {
        _ if without_body => {}
        Body::Bytes(bytes) => {
            for piece in bytes.chunks(PIECE_BYTES) {
                write(stream, piece).await?;
            }
        }
        Body::File { file, bytes } => {
            let mut file = file.take(bytes);
            let (mut piece, mut left) = (vec![0; PIECE_BYTES], bytes);
            while left > 0 {
                let read = file.read(&mut piece).await?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                write(stream, &piece[..read]).await?;
                left -= read as u64;
            }
        }
    }
    stream.flush().await
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> io::Result<()> {
    timeout(WRITE_TIMEOUT, stream.write_all(bytes)).await?
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is answered to `sent`, by a server that answers with the method, the path, the query and the body.
    async fn answers(sent: &[u8]) -> String {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        client.write_all(sent).await.expect("room");
        client.shutdown().await.expect("open");
        let echo = async |request: Request| {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let Request {
                method, path, query, ..
            } = request;
            Response::new(200, TEXT, format!("{method} {path} {query} {body}"))
        };
        converse(server, echo).await.expect("a conversation");
        let mut answers = String::new();
        client.read_to_string(&mut answers).await.expect("text");
        answers
    }

    #[tokio::test]
    async fn requests_of_one_connection_are_answered_in_turn() {
        let sent = b"GET /status?a=1 HTTP/1.1\r\nhost: x\r\n\r\n\
                     POST /start HTTP/1.1\r\ncontent-length: 2\r\nConnection: close\r\n\r\n{}GET /late HTTP/1.1\r\n\r\n";
        assert_eq!(
            answers(sent).await,
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 16\r\n\
             connection: keep-alive\r\n\r\nGET /status a=1 HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\n\
             content-length: 15\r\nconnection: close\r\n\r\nPOST /start  {}"
        );
        assert!(
            answers(b"HEAD / HTTP/1.0\r\n\r\n")
                .await
                .ends_with("close\r\n\r\n")
        );
    }

    #[tokio::test]
    async fn what_is_hostile_is_refused_and_closed() {
        let check = async |sent: Vec<u8>, status: &str| {
            let answer = answers(&sent).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{status}: {answer}"
            );
            assert!(
                answer.contains("connection: close") && answer.contains("{\"error\":"),
                "{answer}"
            );
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        };
        let head = |fields: &str| format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n").into_bytes();
        check(b"\x16\x03\x01\x02\x00\x01".to_vec(), "400").await;
        check(b"GET / HTTP/1.1\r\nhost".to_vec(), "400").await;
        check(head("content-length: 3"), "400").await;
        check(head("content-length: -1"), "400").await;
        check(head("content-length: +1"), "400").await;
        check(head("content-length: 1\r\ncontent-length: 2"), "400").await;
        check(head("content-length: 4194305"), "413").await;
        check(head("content-length: 99999999999999999999999"), "413").await;
        check(head("transfer-encoding: chunked"), "501").await;
        check(head(&format!("a: {}", "b".repeat(MAX_HEAD_BYTES))), "431").await;
        check(format!("GET /{}", "a".repeat(MAX_HEAD_BYTES)).into_bytes(), "431").await;
        check(head(&["a: b"; MAX_FIELDS + 1].join("\r\n")), "431").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_does_not_come_is_not_waited_for() {
        let check = async |sent: &[u8], expected: &str| {
            let (mut client, server) = tokio::io::duplex(1 << 16);
            client.write_all(sent).await.expect("room");
            let nothing = async |_| Response::new(200, TEXT, "");
            converse(server, nothing).await.expect("a conversation");
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.expect("text");
            assert!(
                answer.starts_with(expected) && answer.is_empty() == expected.is_empty(),
                "{answer}"
            );
        };
        check(b"", "").await;
        check(b"GET /sta", "HTTP/1.1 408 ").await;
    }
}
