//! The socket, with a time stamp at each read and at a request's first write.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

#[cfg(target_os = "linux")]
use tokio::io::Interest;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::clock::Clock;
use crate::exchange::NOT_YET;
#[cfg(target_os = "linux")]
use crate::received::{KernelClock, StampRoom, ask_for_stamps, receive};

/// What a connection's socket has seen in the current exchange.
#[derive(Debug)]
pub(crate) struct Stamps {
    clock: Clock,
    first_write_ns: Cell<i64>,
    last_read_ns: Cell<i64>,
    last_return_ns: Cell<i64>,
    received: Cell<bool>,
}

impl Stamps {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            first_write_ns: Cell::new(NOT_YET),
            last_read_ns: Cell::new(NOT_YET),
            last_return_ns: Cell::new(NOT_YET),
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

    /// When what the latest read brought was received: by the kernel where it tells, else by the read.
    pub(crate) fn last_read_ns(&self) -> i64 {
        self.last_read_ns.get()
    }

    /// When the latest read returned.
    pub(crate) fn last_return_ns(&self) -> i64 {
        self.last_return_ns.get()
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
        let now_ns = self.clock.now_ns();
        self.note_read(now_ns, now_ns, true);
    }

    fn note_read(&self, received_ns: i64, return_ns: i64, brought_bytes: bool) {
        self.last_read_ns.set(received_ns);
        self.last_return_ns.set(return_ns);
        if brought_bytes {
            self.received.set(true);
        }
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
    reader: Reader,
}

impl Stamped {
    pub(crate) fn new(tcp: TcpStream, stamps: Rc<Stamps>) -> Self {
        let reader = Reader::new(&tcp, stamps.clock);
        Self { tcp, stamps, reader }
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
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = ready!(this.reader.poll_read(&mut this.tcp, cx, buffer));
        let return_ns = this.stamps.clock.now_ns();
        let received_ns = this.reader.received_ns(return_ns);
        this.stamps
            .note_read(received_ns, return_ns, buffer.filled().len() > before);
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

/// Reads, and asks the kernel when it received what a read brings.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Reader {
    kernel_clock: KernelClock,
    room: StampRoom,
    stamp: Option<i64>,
}

#[cfg(target_os = "linux")]
impl Reader {
    fn new(tcp: &TcpStream, clock: Clock) -> Self {
        ask_for_stamps(tcp);
        Self {
            kernel_clock: KernelClock::new(clock),
            room: StampRoom::new(),
            stamp: None,
        }
    }

    fn poll_read(
        &mut self,
        tcp: &mut TcpStream,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(tcp.poll_read_ready(cx))?;
            let space = buffer.initialize_unfilled();
            let mut brought = None;
            let read = tcp.try_io(Interest::READABLE, || {
                let (length, stamp) = receive(tcp, space, &mut self.room)?;
                brought = Some((length, stamp));
                // A read that the buffer could hold has emptied the socket: the next one waits for an event.
                if length > 0 && length < space.len() {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(())
            });
            match (brought, read) {
                (Some((length, stamp)), _) => {
                    self.stamp = stamp;
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                (None, read) => {
                    self.stamp = None;
                    return Poll::Ready(read);
                }
            }
        }
    }

    fn received_ns(&mut self, return_ns: i64) -> i64 {
        self.kernel_clock.received_ns(self.stamp, return_ns)
    }
}

/// Reads where the kernel tells no times.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
struct Reader;

#[cfg(not(target_os = "linux"))]
impl Reader {
    fn new(_: &TcpStream, _: Clock) -> Self {
        Self
    }

    fn poll_read(
        &mut self,
        tcp: &mut TcpStream,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(tcp).poll_read(cx, buffer)
    }

    fn received_ns(&mut self, return_ns: i64) -> i64 {
        return_ns
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
