//! The way of a request's tokens from the engine's thread to its connection.
//!
//! The engine only counts: it stores how many tokens exist and wakes the connection's task, which clones the same
//! pre-rendered bytes for each token. All wakers of a step are handed over at once, so the engine's thread wakes
//! the runtime once a step and not once a token.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
        mpsc::Sender,
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::Notify;

use crate::engine::{Clock, Command, MonotonicClock};

/// How many tokens of a request exist, and who waits for more.
#[derive(Debug, Default)]
pub(crate) struct TokenStream {
    available: AtomicU32,
    waker: Mutex<Option<Waker>>,
}

impl TokenStream {
    fn poll_more_than(&self, sent: u32, context: &mut Context<'_>) -> Poll<u32> {
        let available = self.available.load(Ordering::Acquire);
        if available > sent {
            return Poll::Ready(available);
        }
        *lock(&self.waker) = Some(context.waker().clone());
        // The engine may have stored between the look and the waker.
        let available = self.available.load(Ordering::Acquire);
        if available > sent {
            Poll::Ready(available)
        } else {
            Poll::Pending
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Every critical section is a single move, so a poisoned value is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Streams with new tokens, on their way to the runtime.
#[derive(Debug, Default)]
pub(crate) struct Handover {
    ready: Mutex<Vec<Arc<TokenStream>>>,
    notify: Notify,
}

impl Handover {
    /// Publishes a step's tokens; leaves `tokens` empty.
    pub(crate) fn publish(&self, tokens: &mut Vec<(Arc<TokenStream>, u32)>) {
        if tokens.is_empty() {
            return;
        }
        let mut ready = lock(&self.ready);
        for (stream, number) in tokens.drain(..) {
            stream.available.store(number, Ordering::Release);
            ready.push(stream);
        }
        drop(ready);
        self.notify.notify_one();
    }

    /// Wakes the connections' tasks, for ever.
    pub(crate) async fn wake_connections(&self) {
        let mut streams = Vec::new();
        loop {
            self.notify.notified().await;
            std::mem::swap(&mut *lock(&self.ready), &mut streams);
            for stream in streams.drain(..) {
                let waker = lock(&stream.waker).take();
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
    }
}

/// What a request asks of the engine, in tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) prompt: u32,
    /// Tokens of the prompt that a prefix cache holds.
    pub(crate) cached: u32,
    pub(crate) output: u32,
}

/// A request that lives in the engine. Dropped before its last token, it is cancelled there.
#[derive(Debug)]
pub(crate) struct Ticket {
    id: u64,
    output: u32,
    taken: u32,
    stream: Arc<TokenStream>,
    commands: Sender<Command>,
    clock: MonotonicClock,
}

impl Ticket {
    /// Hands a request to the engine; it arrives now.
    pub(crate) fn submit(
        id: u64,
        work: Work,
        commands: &Sender<Command>,
        clock: MonotonicClock,
    ) -> Option<Self> {
        let stream = Arc::new(TokenStream::default());
        let command = Command::Submit {
            id,
            work,
            stream: Arc::clone(&stream),
            at_ns: clock.now_ns(),
        };
        commands.send(command).ok()?;
        Some(Self {
            id,
            output: work.output,
            taken: 0,
            stream,
            commands: commands.clone(),
            clock,
        })
    }

    pub(crate) fn poll_take(&mut self, context: &mut Context<'_>) -> Poll<u32> {
        let Poll::Ready(_) = self.stream.poll_more_than(self.taken, context) else {
            return Poll::Pending;
        };
        self.taken += 1;
        Poll::Ready(self.taken)
    }

    /// Waits until all tokens exist.
    pub(crate) async fn finished(mut self) {
        while self.taken < self.output {
            std::future::poll_fn(|context| self.poll_take(context)).await;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.taken < self.output {
            let command = Command::Cancel {
                id: self.id,
                at_ns: self.clock.now_ns(),
            };
            // An engine that is gone holds nothing any more.
            let _ = self.commands.send(command);
        }
    }
}

/// The pre-rendered bytes of a streamed answer.
#[derive(Clone, Debug)]
pub(crate) struct Chunks {
    /// The role chunk: it goes out together with the first token.
    pub(crate) role: Bytes,
    /// Any token but the last.
    pub(crate) token: Bytes,
    /// The last token with the finish reason, the usage chunk if asked for, and the end of the stream.
    pub(crate) last: Bytes,
}

/// What goes wrong in a stream, by choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// The connection closes without a word in place of this token.
    Cut {
        /// Counts tokens from 1.
        at: u32,
    },
    /// These bytes end the stream in place of this token.
    Error {
        /// Counts tokens from 1.
        at: u32,
        /// The error event and the end of the stream.
        event: Bytes,
    },
}

/// A streamed answer.
#[derive(Debug)]
pub(crate) struct TokenBody {
    ticket: Option<Ticket>,
    output: u32,
    role: Option<Bytes>,
    chunks: Chunks,
    mishap: Option<Mishap>,
}

impl TokenBody {
    pub(crate) fn new(ticket: Ticket, chunks: Chunks, mishap: Option<Mishap>) -> Self {
        Self {
            output: ticket.output,
            ticket: Some(ticket),
            role: Some(chunks.role.clone()),
            chunks,
            mishap,
        }
    }

    fn bytes_of(&mut self, number: u32) -> std::io::Result<Bytes> {
        let token = match &self.mishap {
            Some(Mishap::Cut { at }) if *at == number => {
                self.ticket = None;
                return Err(std::io::Error::other("the stream is cut, as asked for"));
            }
            Some(Mishap::Error { at, event }) if *at == number => {
                self.ticket = None;
                event
            }
            _ if number == self.output => {
                self.ticket = None;
                &self.chunks.last
            }
            _ => &self.chunks.token,
        };
        Ok(match self.role.take() {
            Some(role) => [role.as_ref(), token.as_ref()].concat().into(),
            None => token.clone(),
        })
    }
}

impl Body for TokenBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let this = self.get_mut();
        let Some(ticket) = &mut this.ticket else {
            return Poll::Ready(None);
        };
        let Poll::Ready(number) = ticket.poll_take(context) else {
            return Poll::Pending;
        };
        Poll::Ready(Some(this.bytes_of(number).map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.ticket.is_none()
    }
}
