//! Notices beside the load that the server is gone.

use tokio::task::JoinHandle;

use crate::health::Probe;

/// Looks at the server whenever connections to it have failed. The look is a task of its own: it may take seconds, in
/// which the load must go on.
#[derive(Default)]
pub(crate) struct Guard {
    known_connect_errors: u64,
    looking: Option<JoinHandle<bool>>,
}

impl Guard {
    /// Whether a look that is over found that nobody listens; begins one when there are new connect errors.
    pub(crate) async fn finds_it_gone(&mut self, probe: &Probe, connect_errors: u64) -> bool {
        if let Some(look) = self.looking.take_if(|look| look.is_finished()) {
            // A look that panicked has found nothing.
            return look.await.unwrap_or(false);
        }
        if self.looking.is_none() && connect_errors > self.known_connect_errors {
            self.known_connect_errors = connect_errors;
            let probe = probe.clone();
            self.looking = Some(tokio::task::spawn_local(async move { probe.is_gone().await }));
        }
        false
    }
}
