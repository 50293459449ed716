//! The course of one exchange: connection, head, body, and back to the pool.

use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;

use crate::answer::{Answer, End};
use crate::client::Inner;
use crate::connection::{Connection, RequestBody};
use crate::deadline::{Deadline, after};
use crate::dial::{Dialled, out_of_sockets};
use crate::exchange::{Ending, Limits, NOT_YET, Watch};
use crate::refusal::{MAX_REFUSAL_BYTES, Refusal};

/// So long the rest of a body may take once its exchange is decided, for the connection to be used again.
const REUSE_WITHIN: Duration = Duration::from_millis(250);

/// An exchange that brought no answer, or not all of it.
#[derive(Debug)]
pub(crate) enum Failure {
    TimedOut(Ending),
    Connect(io::Error),
    Broken(hyper::Error),
}

pub(crate) struct Run<'a> {
    client: &'a Inner,
    limits: Limits,
    watch: &'a Watch,
    deadline: Deadline<'a>,
    connect_ns: Option<i64>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(client: &'a Inner, limits: Limits, watch: &'a Watch, deadline: Deadline<'a>) -> Self {
        Self {
            client,
            limits,
            watch,
            deadline,
            connect_ns: None,
        }
    }

    /// How long connecting took, if it was necessary.
    pub(crate) fn connect_ns(&self) -> Option<i64> {
        self.connect_ns
    }

    /// An exchange that is measured: its ending, when that was reached, and the error text.
    pub(crate) async fn stream(
        &mut self,
        request: impl Fn() -> Request<RequestBody>,
        answer: &mut Answer,
        on_gap: &mut impl FnMut(i64),
    ) -> (Ending, i64, Option<String>) {
        let (mut connection, response) = match self.head(request).await {
            Ok(head) => head,
            Err(failure) => return self.failed(&failure),
        };
        let content_type = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let refusal = Refusal::of(response.status().as_u16(), content_type, self.client.form);
        let mut body = response.into_body();
        if let Some(refusal) = refusal {
            let text = self.read_refusal(&mut connection, &mut body).await;
            let ending = refusal.ending();
            let end_ns = connection.stamps().last_read_ns();
            self.recycle(connection, body).await;
            return (ending, end_ns, Some(refusal.describe(&text)));
        }
        match self.read(&mut connection, &mut body, answer, on_gap).await {
            Err(failure) => self.failed(&failure),
            Ok(end) => {
                let end_ns = answer.decided_ns().unwrap_or(connection.stamps().last_read_ns());
                let (ending, error) = answer.ending(&end);
                match end {
                    End::Decided => self.recycle(connection, body).await,
                    End::Complete => self.client.pool.put(connection),
                    End::Broken(_) => {}
                }
                (ending, end_ns, error)
            }
        }
    }

    /// A short exchange: the status and the whole body, or `None` if that is longer than `max_bytes`.
    pub(crate) async fn whole(
        &mut self,
        request: impl Fn() -> Request<RequestBody>,
        max_bytes: usize,
    ) -> Result<Option<(u16, Bytes)>, Failure> {
        let (mut connection, response) = self.head(request).await?;
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let mut whole = Vec::new();
        while let Some(piece) = self.piece(&mut connection, &mut body).await? {
            if whole.len() + piece.len() > max_bytes {
                return Ok(None);
            }
            whole.extend_from_slice(&piece);
        }
        self.client.pool.put(connection);
        Ok(Some((status, whole.into())))
    }

    /// Sends the request and waits for the head of the answer. A pooled connection that turns out to be dead
    /// before the first byte of an answer is replaced by a new one, once.
    async fn head(
        &mut self,
        request: impl Fn() -> Request<RequestBody>,
    ) -> Result<(Box<Connection>, Response<Incoming>), Failure> {
        if let Some(mut connection) = self.client.pool.take() {
            match self.send(&mut connection, request()).await {
                Err(Failure::Broken(_)) if !connection.stamps().received() => {
                    self.watch.send_ns.set(NOT_YET);
                }
                sent => return sent.map(|response| (connection, response)),
            }
        }
        let mut connection = self.connect().await?;
        let response = self.send(&mut connection, request()).await?;
        Ok((connection, response))
    }

    async fn connect(&mut self) -> Result<Box<Connection>, Failure> {
        let start_ns = self.client.clock.now_ns();
        let (mut due_ns, mut ending) = self.due();
        let connect_due_ns = after(start_ns, self.client.dialer.timeout());
        if connect_due_ns < due_ns {
            (due_ns, ending) = (connect_due_ns, Ending::TimeoutConnect);
        }
        let mut dial = pin!(self.client.dialer.dial());
        let dialled = self.deadline.before(due_ns, |cx| dial.as_mut().poll(cx)).await;
        self.connect_ns = Some(self.client.clock.now_ns() - start_ns);
        let dialled = dialled
            .ok_or(Failure::TimedOut(ending))?
            .map_err(Failure::Connect)?;
        match dialled {
            Dialled::Connection(connection) => Ok(connection),
            Dialled::Session(session) => {
                let stream = Connection::http2(&session, self.client.clock);
                self.client.pool.keep(session);
                stream.ok_or_else(|| Failure::Connect(io::ErrorKind::ConnectionReset.into()))
            }
        }
    }

    async fn send(
        &mut self,
        connection: &mut Connection,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, Failure> {
        let mut head = pin!(connection.send(request));
        let watch = self.watch;
        let poll = |cx: &mut Context<'_>| {
            let head: Poll<_> = connection.poll_head(cx, head.as_mut());
            if watch.send_ns.get() == NOT_YET {
                watch.send_ns.set(connection.stamps().first_write_ns());
            }
            head
        };
        let response = self.wait(poll).await?.map_err(Failure::Broken)?;
        watch.header_ns.set(connection.stamps().last_read_ns());
        watch.http_status.set(response.status().as_u16());
        Ok(response)
    }

    /// Reads the stream until its ending is decided or the body ends.
    async fn read(
        &mut self,
        connection: &mut Connection,
        body: &mut Incoming,
        answer: &mut Answer,
        on_gap: &mut impl FnMut(i64),
    ) -> Result<End, Failure> {
        while answer.decided_ns().is_none() {
            match self.piece(connection, body).await {
                Ok(Some(piece)) => {
                    answer.feed(&piece, connection.stamps().last_read_ns(), self.watch, on_gap);
                    self.watch.note_first_token(
                        connection.stamps().last_return_ns(),
                        answer.finish_reason().is_some(),
                    );
                }
                Ok(None) => {
                    answer.complete(connection.stamps().last_read_ns(), self.watch, on_gap);
                    return Ok(End::Complete);
                }
                Err(Failure::Broken(error)) => return Ok(End::Broken(chain(&error))),
                Err(failure) => return Err(failure),
            }
        }
        Ok(End::Decided)
    }

    /// The text of a refusal, as much of it as comes in time.
    async fn read_refusal(&mut self, connection: &mut Connection, body: &mut Incoming) -> Vec<u8> {
        let mut text = Vec::new();
        while let Ok(Some(piece)) = self.piece(connection, body).await {
            text.extend_from_slice(&piece);
            if text.len() >= MAX_REFUSAL_BYTES {
                text.truncate(MAX_REFUSAL_BYTES);
                break;
            }
        }
        text
    }

    /// Reads what is left of the body, which after `[DONE]` is the end of the transfer coding, and gives the
    /// connection back. A server that takes its time loses the connection.
    async fn recycle(&mut self, mut connection: Box<Connection>, mut body: Incoming) {
        let due_ns = after(self.client.clock.now_ns(), REUSE_WITHIN);
        loop {
            let piece = self
                .deadline
                .before(due_ns, |cx| connection.poll_piece(cx, &mut body))
                .await;
            match piece {
                Some(Some(Ok(_))) if self.client.clock.now_ns() < due_ns => {}
                Some(None) => return self.client.pool.put(connection),
                _ => return,
            }
        }
    }

    async fn piece(
        &mut self,
        connection: &mut Connection,
        body: &mut Incoming,
    ) -> Result<Option<Bytes>, Failure> {
        let piece = self.wait(|cx| connection.poll_piece(cx, body)).await?;
        piece.transpose().map_err(Failure::Broken)
    }

    async fn wait<T>(&mut self, poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Result<T, Failure> {
        let (due_ns, ending) = self.due();
        self.deadline
            .before(due_ns, poll)
            .await
            .ok_or(Failure::TimedOut(ending))
    }

    /// The limit that comes next.
    fn due(&self) -> (i64, Ending) {
        self.limits.next(self.client.form, self.watch)
    }

    fn failed(&self, failure: &Failure) -> (Ending, i64, Option<String>) {
        let (ending, text) = match failure {
            Failure::TimedOut(ending) => (*ending, None),
            Failure::Connect(error) if out_of_sockets(error) => (Ending::OutOfSockets, Some(chain(error))),
            Failure::Connect(error) => (Ending::ConnectError, Some(chain(error))),
            Failure::Broken(error) if error.is_parse() => (Ending::ParseError, Some(chain(error))),
            Failure::Broken(error) => (Ending::StreamCut, Some(chain(error))),
        };
        (ending, self.client.clock.now_ns(), text)
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
