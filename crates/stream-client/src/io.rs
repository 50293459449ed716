//! The socket, with a time stamp at each read and at a request's first write.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::clock::Clock;
use crate::exchange::NOT_YET;

/// What a connection's socket has seen in the current exchange.
#[derive(Debug)]
pub(crate) struct Stamps {
    clock: Clock,
    first_write_ns: Cell<i64>,
    last_read_ns: Cell<i64>,
    received: Cell<bool>,
}

impl Stamps {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            first_write_ns: Cell::new(NOT_YET),
            last_read_ns: Cell::new(NOT_YET),
            received: Cell::new(false),
        }
    }

    /// Starts an exchange: the next write is its first.
    pub(crate) fn begin(&self) {
        self.first_write_ns.set(NOT_YET);
        self.received.set(false);
    }

    /// When the exchange's first byte was handed to the socket.
    pub(crate) fn first_write_ns(&self) -> i64 {
        self.first_write_ns.get()
    }

    /// When the latest read returned.
    pub(crate) fn last_read_ns(&self) -> i64 {
        self.last_read_ns.get()
    }

    /// Whether any byte has come since the exchange began.
    pub(crate) fn received(&self) -> bool {
        self.received.get()
    }

    /// The exchange's bytes are handed on now, to what is no socket of its own.
    pub(crate) fn wrote(&self) {
        self.first_write_ns.set(self.clock.now_ns());
    }

    /// Something of the exchange has come from what is no socket of its own.
    pub(crate) fn read(&self) {
        self.last_read_ns.set(self.clock.now_ns());
        self.received.set(true);
    }

    fn note_write(&self, started_ns: i64) {
        if self.first_write_ns.get() == NOT_YET {
            self.first_write_ns.set(started_ns);
        }
    }
}

/// A TCP connection that stamps. It lies below TLS: what is stamped is the socket, not the decryption.
#[derive(Debug)]
pub(crate) struct Stamped {
    tcp: TcpStream,
    stamps: Rc<Stamps>,
}

impl Stamped {
    pub(crate) fn new(tcp: TcpStream, stamps: Rc<Stamps>) -> Self {
        Self { tcp, stamps }
    }

    /// The time before a write, read only if that write may be an exchange's first.
    fn before_write(&self) -> i64 {
        if self.stamps.first_write_ns.get() == NOT_YET {
            self.stamps.clock.now_ns()
        } else {
            NOT_YET
        }
    }

    fn after_write(&self, started_ns: i64, written: &io::Result<usize>) {
        if written.is_ok() {
            self.stamps.note_write(started_ns);
        }
    }
}

impl AsyncRead for Stamped {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.tcp).poll_read(cx, buffer));
        self.stamps.last_read_ns.set(self.stamps.clock.now_ns());
        if buffer.filled().len() > before {
            self.stamps.received.set(true);
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Stamped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let started_ns = self.before_write();
        let written = ready!(Pin::new(&mut self.tcp).poll_write(cx, bytes));
        self.after_write(started_ns, &written);
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let started_ns = self.before_write();
        let written = ready!(Pin::new(&mut self.tcp).poll_write_vectored(cx, pieces));
        self.after_write(started_ns, &written);
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// Plain or encrypted.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(Stamped),
    Tls(Box<TlsStream<Stamped>>),
}

impl AsyncRead for Transport {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
