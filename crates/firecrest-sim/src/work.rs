//! What goes on although its caller has left, until the simulator ends.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

/// The longest wait for what cannot be ended, such as a write.
const LONGEST_END: Duration = Duration::from_secs(5);

/// The work of a simulator, none of which touches a file after its end.
#[derive(Debug)]
pub(crate) struct Work {
    is_over: watch::Sender<bool>,
    /// Each piece of work has a sender; when the last one is gone, nothing is received any more.
    held: Mutex<Option<mpsc::Sender<()>>>,
    gone: Mutex<Option<mpsc::Receiver<()>>>,
}

/// The end of the simulator waits until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    _sender: Option<mpsc::Sender<()>>,
}

impl Default for Work {
    fn default() -> Self {
        let (held, gone) = mpsc::channel(1);
        Self {
            is_over: watch::Sender::new(false),
            held: Mutex::new(Some(held)),
            gone: Mutex::new(Some(gone)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Work {
    /// Begins something that comes to nothing when the simulator ends before.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<Option<T>> {
        let (held, mut is_over) = (self.hold(), self.is_over.subscribe());
        tokio::spawn(async move {
            let _held = held;
            tokio::select! {
                biased;
                // The end of the sender is the simulator's.
                _ = is_over.wait_for(|is_over| *is_over) => None,
                done = work => Some(done),
            }
        })
    }

    /// For work that cannot be ended.
    pub(crate) fn hold(&self) -> Held {
        Held {
            _sender: lock(&self.held).clone(),
        }
    }

    /// Ends everything that waits.
    pub(crate) fn cancel(&self) {
        self.is_over.send_replace(true);
    }

    /// Ends everything, and waits until it is over.
    pub(crate) async fn end(&self) {
        self.cancel();
        lock(&self.held).take();
        let gone = lock(&self.gone).take();
        if let Some(mut gone) = gone {
            // What hangs on a file system is left.
            let _ = timeout(LONGEST_END, gone.recv()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use super::*;

    #[tokio::test]
    async fn the_end_waits_for_what_cannot_be_ended() {
        let work = Work::default();
        let waiting = work.spawn(std::future::pending::<()>());
        let (is_done, held) = (Arc::new(AtomicBool::new(false)), work.hold());
        let doing = Arc::clone(&is_done);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            doing.store(true, Ordering::Relaxed);
            drop(held);
        });
        work.end().await;
        assert!(is_done.load(Ordering::Relaxed));
        assert_eq!(waiting.await.expect("no panic"), None);
        let late = work.spawn(async { 1 });
        assert_eq!(
            late.await.expect("no panic"),
            None,
            "nothing begins after the end"
        );
    }
}
