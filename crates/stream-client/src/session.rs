//! An HTTP/2 connection, which many exchanges share.

use std::cell::Cell;
use std::rc::Rc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;

use crate::connection::{Open, RequestBody};
use crate::io::Transport;

/// So many streams share a connection; then another one is made. Servers allow about as many, and a stream above
/// what the server allows would wait in this client, where nobody sees it.
pub(crate) const MAX_STREAMS: usize = 100;

/// What a server may send of one answer before it is read. Answers are small; what arrives is read at once.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Streams that are given up at a level's end are remembered, so that what still arrives for them is no error.
const MAX_RESET_STREAMS: usize = 1024;

/// One connection and how many exchanges run over it.
#[derive(Debug)]
pub(crate) struct Session {
    requests: http2::SendRequest<RequestBody>,
    streams: Cell<usize>,
    _open: Open,
}

/// The place of one exchange in a session; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Slot(Rc<Session>);

#[derive(Clone)]
struct LocalExecutor;

impl<F: Future + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

impl Session {
    /// Begins a session. Its bytes are moved by a task of the present `LocalSet`, which ends with the session.
    pub(crate) async fn new(transport: Transport, open: Open) -> hyper::Result<Rc<Self>> {
        let (requests, driver) = http2::Builder::new(LocalExecutor)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_reset_streams(MAX_RESET_STREAMS)
            .handshake(TokioIo::new(transport))
            .await?;
        tokio::task::spawn_local(async move {
            // How it ended, an error included, reaches every exchange of the session.
            let _ = driver.await;
        });
        Ok(Rc::new(Self {
            requests,
            streams: Cell::new(0),
            _open: open,
        }))
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.requests.is_closed()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    /// A place for one more exchange, if there is one.
    pub(crate) fn slot(session: &Rc<Self>) -> Option<Slot> {
        let streams = session.streams.get();
        if streams >= MAX_STREAMS || !session.is_open() {
            return None;
        }
        session.streams.set(streams + 1);
        Some(Slot(Rc::clone(session)))
    }
}

impl Slot {
    pub(crate) fn session(&self) -> &Rc<Session> {
        &self.0
    }

    pub(crate) fn send(
        &self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
        self.0.requests.clone().send_request(request)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
    }
}
