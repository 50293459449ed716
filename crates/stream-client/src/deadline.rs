//! The one timer of an exchange.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use crate::clock::{Clock, nanos};

/// A timer that follows a deadline which mostly moves away: it is set anew when it has gone off too early or
/// the deadline has come nearer, never for each token.
pub(crate) struct Deadline<'a> {
    clock: Clock,
    sleep: Pin<&'a mut Sleep>,
    armed_ns: i64,
}

impl<'a> Deadline<'a> {
    /// `sleep` is any; it is set anew at once.
    pub(crate) fn new(clock: Clock, sleep: Pin<&'a mut Sleep>) -> Self {
        Self {
            clock,
            sleep,
            armed_ns: i64::MAX,
        }
    }

    /// Ready when the clock shows `due_ns`, as accurate as the runtime's timer.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, due_ns: i64) -> Poll<()> {
        if due_ns < self.armed_ns {
            self.arm(due_ns);
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            if self.clock.now_ns() >= due_ns {
                return Poll::Ready(());
            }
            self.arm(due_ns);
        }
        Poll::Pending
    }

    /// Waits for what `poll` brings, but not past `due_ns`.
    pub(crate) async fn before<T>(
        &mut self,
        due_ns: i64,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Option<T> {
        std::future::poll_fn(|cx| match poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => self.poll(cx, due_ns).map(|()| None),
        })
        .await
    }

    fn arm(&mut self, due_ns: i64) {
        self.armed_ns = due_ns;
        self.sleep.as_mut().reset(self.clock.instant_at(due_ns).into());
    }
}

/// `point_ns` moved on by `duration`.
pub(crate) fn after(point_ns: i64, duration: Duration) -> i64 {
    point_ns.saturating_add(nanos(duration))
}
