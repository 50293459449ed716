//! Why a run ends early, and the signals that tell it to.

use std::io;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Why a run ends before its levels are measured.
#[derive(Debug)]
pub(crate) enum StopReason {
    /// Somebody told us to.
    Told,
    /// It cannot go on.
    Failed(String),
}

impl From<anyhow::Error> for StopReason {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(format!("{error:#}"))
    }
}

/// SIGTERM and SIGINT, in a form that every wait can notice.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Listens from now on.
    pub(crate) fn on_signals() -> io::Result<Self> {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (tell, told) = watch::channel(false);
        tokio::task::spawn_local(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tell.send_replace(true);
        });
        Ok(Self(told))
    }

    /// An error once the signal has come.
    pub(crate) fn check(&self) -> Result<(), StopReason> {
        if *self.0.borrow() {
            Err(StopReason::Told)
        } else {
            Ok(())
        }
    }

    /// What `work` brings, unless the signal comes first.
    pub(crate) async fn unless<T>(&self, work: impl Future<Output = T>) -> Result<T, StopReason> {
        let mut told = self.0.clone();
        tokio::select! {
            biased;
            Ok(_) = told.wait_for(|told| *told) => Err(StopReason::Told),
            value = work => Ok(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_with_the_signal() {
        let (tell, told) = watch::channel(false);
        let stop = Stop(told);
        assert!(stop.check().is_ok());
        assert_eq!(stop.unless(async { 1 }).await.expect("nobody said stop"), 1);
        let (waited, ()) = tokio::join!(stop.unless(std::future::pending::<()>()), async {
            tell.send_replace(true);
        });
        assert!(matches!(waited, Err(StopReason::Told)));
        drop(tell);
        assert!(matches!(stop.check(), Err(StopReason::Told)));
        assert!(matches!(stop.unless(async {}).await, Err(StopReason::Told)));
    }
}
