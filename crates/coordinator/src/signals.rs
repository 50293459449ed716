//! What a user wants by a signal.

use std::io;

use gipfel_experiment::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that a driving process listens to: interrupt and terminate end the campaign, a closed terminal lets it
/// live on.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// Under `nohup` the signal is ignored, and listening would take that back.
    hangup: Option<Signal>,
}

impl Signals {
    /// Begins to listen; from then on none of them ends the process by itself.
    pub(crate) fn listen() -> io::Result<Self> {
        let hangup = if ignores_hangup() {
            None
        } else {
            Some(signal(SignalKind::hangup())?)
        };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup,
        })
    }

    /// The next wish. It may be dropped and asked for again.
    pub(crate) async fn next(&mut self) -> Command {
        let hung_up = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Command::Interrupt,
            _ = self.terminate.recv() => Command::Interrupt,
            _ = hung_up => Command::Detach,
        }
    }
}

/// Whether SIGHUP, the first signal, is ignored; where the system does not say so, it is not.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}
