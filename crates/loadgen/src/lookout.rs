//! What is looked at each second beside the load: a file that asks to stop, and the server's heartbeat.

use std::{
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use gipfel_model::format_duration;
use tokio::time::MissedTickBehavior;

use crate::{
    HEARTBEAT_TIMEOUT, Options, STOP_FILE,
    files::beside,
    heartbeat::Pulse,
    stop::{StopReason, Stopper},
};

const INTERVAL: Duration = Duration::from_secs(1);

/// Stops the run when a file says so.
pub(crate) struct Lookout {
    stopper: Stopper,
    stop_file: PathBuf,
    heartbeat: Option<Heartbeat>,
}

struct Heartbeat {
    path: PathBuf,
    pulse: Pulse,
    timeout: Duration,
    looked: Instant,
}

impl Lookout {
    pub(crate) fn new(options: &Options, stopper: Stopper) -> Self {
        let timeout = options.heartbeat_timeout.unwrap_or(HEARTBEAT_TIMEOUT);
        let heartbeat = |path: &PathBuf| Heartbeat {
            path: path.clone(),
            pulse: Pulse::new(timeout),
            timeout,
            looked: Instant::now(),
        };
        Self {
            stopper,
            stop_file: options.directory.join(STOP_FILE),
            heartbeat: options.heartbeat_file.as_ref().map(heartbeat),
        }
    }

    /// Looks until there is a reason to stop.
    pub(crate) async fn run(mut self) {
        let mut ticker = tokio::time::interval(INTERVAL);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticker.tick().await;
            if let Some(reason) = self.look().await {
                return self.stopper.stop(reason);
            }
        }
    }

    async fn look(&mut self) -> Option<StopReason> {
        let stop_file = self.stop_file.clone();
        // A file that cannot be looked for asks for nothing.
        if beside(move || stop_file.try_exists()).await.unwrap_or(false) {
            tracing::info!("the file `{}` asks to stop", self.stop_file.display());
            return Some(StopReason::Told);
        }
        self.heartbeat.as_mut()?.look().await
    }
}

impl Heartbeat {
    async fn look(&mut self) -> Option<StopReason> {
        let path = self.path.clone();
        let content = match beside(move || std::fs::read(path)).await {
            Ok(content) => Some(content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(%error, "failed to read `{}`", self.path.display());
                None
            }
        };
        let since = self.looked.elapsed();
        self.looked = Instant::now();
        if self.pulse.beats(content, since) {
            return None;
        }
        Some(StopReason::Failed(format!(
            "the server's job is gone: `{}` has not changed for {} and says `{}`",
            self.path.display(),
            format_duration(self.timeout),
            self.pulse.last_word()
        )))
    }
}
