//! One HTTP/1.1 connection, driven by the task that uses it.
//!
//! hyper gives a handle for requests and a future that moves the bytes, and is mostly used with the future in a
//! task of its own. Here both stand side by side and are polled together: a chunk reaches its reader in the
//! wake-up that read it, and who drops the connection closes the socket.

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

use crate::io::{Stamps, Transport};

pub(crate) type RequestBody = Full<Bytes>;

#[derive(Debug)]
pub(crate) struct Connection {
    driver: http1::Connection<TokioIo<Transport>, RequestBody>,
    requests: http1::SendRequest<RequestBody>,
    stamps: Rc<Stamps>,
    ended: bool,
    _open: Open,
}

impl Connection {
    pub(crate) async fn new(
        transport: Transport,
        stamps: Rc<Stamps>,
        open: Open,
    ) -> hyper::Result<Box<Self>> {
        let (requests, driver) = http1::handshake(TokioIo::new(transport)).await?;
        Ok(Box::new(Self {
            driver,
            requests,
            stamps,
            ended: false,
            _open: open,
        }))
    }

    pub(crate) fn stamps(&self) -> &Stamps {
        &self.stamps
    }

    /// Moves what can be moved and tells whether the connection can take a request.
    ///
    /// Nobody waits for an idle connection, so it is left with a waker that wakes nobody.
    pub(crate) fn is_ready(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        !self.ended && self.requests.is_ready()
    }

    /// Begins an exchange. The request leaves when the answer is polled.
    pub(crate) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
        self.stamps.begin();
        self.requests.send_request(request)
    }

    /// Waits for the head of the answer.
    pub(crate) fn poll_head<F>(&mut self, cx: &mut Context<'_>, head: Pin<&mut F>) -> Poll<F::Output>
    where
        F: Future,
    {
        self.drive(cx);
        head.poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Waits for the next piece of the answer's body. `None` is its end.
    #[inline]
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Incoming,
    ) -> Poll<Option<hyper::Result<Bytes>>> {
        loop {
            self.drive(cx);
            // The body only moves when the driver does, which has just been polled: there is no need for it to
            // wake this task.
            let frame = Pin::new(&mut *body).poll_frame(&mut Context::from_waker(Waker::noop()));
            match ready!(frame) {
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
