//! What one exchange runs over: an HTTP/1.1 connection of its own, or a stream of a shared HTTP/2 session.
//!
//! hyper gives a handle for requests and a future that moves the bytes, and is mostly used with the future in a
//! task of its own. For HTTP/1.1 both stand side by side here and are polled together: a chunk reaches its reader in
//! the wake-up that read it, and who drops the connection closes the socket.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio_util::either::Either;

use crate::clock::Clock;
use crate::io::{Stamps, Transport};
use crate::session::{Session, Slot};

pub(crate) type RequestBody = Full<Bytes>;

/// The place of one exchange.
#[derive(Debug)]
pub(crate) struct Connection {
    wire: Wire,
    stamps: Rc<Stamps>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a connection is boxed as a whole")]
enum Wire {
    Http1(Http1),
    Http2(Slot),
}

#[derive(Debug)]
struct Http1 {
    driver: http1::Connection<TokioIo<Transport>, RequestBody>,
    requests: http1::SendRequest<RequestBody>,
    ended: bool,
    _open: Open,
}

impl Connection {
    /// An HTTP/1.1 connection; `stamps` are those of the transport.
    pub(crate) async fn http1(
        transport: Transport,
        stamps: Rc<Stamps>,
        open: Open,
    ) -> hyper::Result<Box<Self>> {
        let (requests, driver) = http1::handshake(TokioIo::new(transport)).await?;
        let wire = Wire::Http1(Http1 {
            driver,
            requests,
            ended: false,
            _open: open,
        });
        Ok(Box::new(Self { wire, stamps }))
    }

    /// A stream of a session, if it takes one more. Its stamps are taken where the exchange meets the session: a
    /// socket's read cannot be told apart by streams.
    pub(crate) fn http2(session: &Rc<Session>, clock: Clock) -> Option<Box<Self>> {
        let slot = Session::slot(session)?;
        Some(Box::new(Self {
            wire: Wire::Http2(slot),
            stamps: Rc::new(Stamps::new(clock)),
        }))
    }

    pub(crate) fn stamps(&self) -> &Stamps {
        &self.stamps
    }

    /// The session of a stream.
    pub(crate) fn session(&self) -> Option<&Rc<Session>> {
        match &self.wire {
            Wire::Http1(_) => None,
            Wire::Http2(slot) => Some(slot.session()),
        }
    }

    /// Moves what can be moved and tells whether the connection can take a request.
    ///
    /// Nobody waits for an idle connection, so it is left with a waker that wakes nobody.
    pub(crate) fn is_ready(&mut self) -> bool {
        match &mut self.wire {
            Wire::Http1(http1) => {
                http1.drive(&mut Context::from_waker(Waker::noop()));
                !http1.ended && http1.requests.is_ready()
            }
            Wire::Http2(slot) => slot.session().is_open(),
        }
    }

    /// Begins an exchange. The request leaves when the answer is polled.
    pub(crate) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
        self.stamps.begin();
        match &mut self.wire {
            Wire::Http1(http1) => Either::Left(http1.requests.send_request(request)),
            Wire::Http2(slot) => {
                self.stamps.wrote();
                Either::Right(slot.send(request))
            }
        }
    }

    /// Waits for the head of the answer.
    pub(crate) fn poll_head<F>(&mut self, cx: &mut Context<'_>, head: Pin<&mut F>) -> Poll<F::Output>
    where
        F: Future,
    {
        match &mut self.wire {
            Wire::Http1(http1) => {
                http1.drive(cx);
                head.poll(&mut Context::from_waker(Waker::noop()))
            }
            Wire::Http2(_) => {
                let head = ready!(head.poll(cx));
                self.stamps.read();
                Poll::Ready(head)
            }
        }
    }

    /// Waits for the next piece of the answer's body. `None` is its end.
    #[inline]
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Incoming,
    ) -> Poll<Option<hyper::Result<Bytes>>> {
        loop {
            let frame = match &mut self.wire {
                Wire::Http1(http1) => {
                    http1.drive(cx);
                    // The body only moves when the driver does, which has just been polled: there is no need for
                    // it to wake this task.
                    ready!(Pin::new(&mut *body).poll_frame(&mut Context::from_waker(Waker::noop())))
                }
                Wire::Http2(_) => {
                    let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
                    self.stamps.read();
                    frame
                }
            };
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl Http1 {
    #[inline]
    fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.ended {
            // How it ended, an error included, reaches the head or the body.
            self.ended = Pin::new(&mut self.driver).poll(cx).is_ready();
        }
    }
}

/// Counts a connection as open while it lives.
#[derive(Debug)]
pub(crate) struct Open(Rc<Cell<usize>>);

impl Open {
    pub(crate) fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
