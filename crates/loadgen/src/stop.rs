//! Why a run ends early, and how everybody who waits learns of it.

use std::io;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Why a run ends before its levels are measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// Somebody told us to.
    Told,
    /// Its time is used up; it can go on in another process.
    TimeUp(String),
    /// It cannot go on.
    Failed(String),
}

impl From<anyhow::Error> for StopReason {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(format!("{error:#}"))
    }
}

/// Why the run must stop, in a form that every wait can notice.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Receiver<Option<StopReason>>);

/// Stops the run.
#[derive(Clone, Debug)]
pub(crate) struct Stopper(watch::Sender<Option<StopReason>>);

impl Stopper {
    /// The first reason counts.
    pub(crate) fn stop(&self, reason: StopReason) {
        self.0.send_if_modified(|told| {
            let first = told.is_none();
            told.get_or_insert(reason);
            first
        });
    }
}

impl Stop {
    /// A run that goes on until its stopper says otherwise.
    pub(crate) fn new() -> (Stopper, Self) {
        let (tell, told) = watch::channel(None);
        (Stopper(tell), Self(told))
    }

    /// Listens to SIGTERM and SIGINT from now on.
    pub(crate) fn on_signals() -> io::Result<(Stopper, Self)> {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (stopper, stop) = Self::new();
        let teller = stopper.clone();
        tokio::task::spawn_local(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            teller.stop(StopReason::Told);
        });
        Ok((stopper, stop))
    }

    /// An error once there is a reason.
    pub(crate) fn check(&self) -> Result<(), StopReason> {
        self.0.borrow().clone().map_or(Ok(()), Err)
    }

    /// What `work` brings, unless there is a reason to stop first.
    pub(crate) async fn unless<T>(&self, work: impl Future<Output = T>) -> Result<T, StopReason> {
        let mut told = self.0.clone();
        let reason = async {
            match told.wait_for(Option::is_some).await {
                Ok(reason) => (*reason).clone(),
                // Nobody can say anything any more.
                Err(_) => None,
            }
        };
        tokio::select! {
            biased;
            Some(reason) = reason => Err(reason),
            value = work => Ok(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_with_the_first_reason() {
        let (stopper, stop) = Stop::new();
        assert!(stop.check().is_ok());
        assert_eq!(stop.unless(async { 1 }).await, Ok(1));
        let (waited, ()) = tokio::join!(stop.unless(std::future::pending::<()>()), async {
            stopper.stop(StopReason::Told);
        });
        assert_eq!(waited, Err(StopReason::Told));
        stopper.stop(StopReason::TimeUp("late".to_owned()));
        drop(stopper);
        assert_eq!(stop.check(), Err(StopReason::Told));
        assert_eq!(stop.unless(async {}).await, Err(StopReason::Told));
    }

    #[tokio::test]
    async fn a_wait_goes_on_when_nobody_can_stop_it() {
        let (stopper, stop) = Stop::new();
        drop(stopper);
        assert_eq!(stop.unless(async { 1 }).await, Ok(1));
    }
}
