//! The measuring part of a run: one level after the other.

use std::{cell::Cell, rc::Rc, time::Duration};

use gipfel_model::{RunConfig, RunState};
use gipfel_peak_search::{Command, LevelSearch};
use gipfel_stream_client::Clock;
use tokio::sync::{mpsc, oneshot};

use crate::{
    crew::Crew,
    health::Probe,
    scrape::Scraper,
    stop::{Stop, StopReason},
    watcher::Watcher,
    writer::WriterMessage,
};

/// A run in progress.
pub(crate) struct Session<'a> {
    pub(crate) config: &'a RunConfig,
    pub(crate) clock: Clock,
    pub(crate) crew: Crew,
    pub(crate) watcher: &'a mut Watcher,
    pub(crate) scraper: Scraper,
    pub(crate) probe: Probe,
    pub(crate) open_level: Rc<Cell<Option<u32>>>,
    pub(crate) next_level: u32,
    pub(crate) rows: mpsc::Sender<WriterMessage>,
    pub(crate) stop: Stop,
}

impl Session<'_> {
    /// Measures what the search asks for until it is done; earlier processes have used `spent` of the time.
    pub(crate) async fn search(
        &mut self,
        mut search: LevelSearch,
        spent: Duration,
    ) -> Result<(), StopReason> {
        self.write(WriterMessage::RunState {
            state: RunState::Running,
            error: None,
        })
        .await?;
        self.watcher.state(RunState::Running, None);
        loop {
            self.stop.check()?;
            let elapsed = spent + Duration::from_nanos(self.clock.now_ns().max(0) as u64);
            match search.next(elapsed) {
                Command::Offer {
                    rate,
                    warmup,
                    measured,
                } => {
                    let level = self.measure(rate, warmup, measured).await?;
                    if let Some(verdict) = &level.verdict {
                        search.observe(rate, verdict);
                    }
                }
                Command::Done(reason) => {
                    tracing::info!(?reason, "the search is over");
                    return Ok(());
                }
            }
        }
    }

    pub(crate) async fn write(&self, message: WriterMessage) -> Result<(), StopReason> {
        self.rows.send(message).await.map_err(|_| writer_failed())
    }

    /// Waits until everything written so far is committed.
    pub(crate) async fn flush(&self) -> Result<(), StopReason> {
        let (done, committed) = oneshot::channel();
        self.write(WriterMessage::Flush(done)).await?;
        committed.await.map_err(|_| writer_failed())
    }

    /// An error once the writer has given up: what would be measured then could not be kept.
    pub(crate) fn check_writer(&self) -> Result<(), StopReason> {
        if self.rows.is_closed() {
            Err(writer_failed())
        } else {
            Ok(())
        }
    }

    pub(crate) fn server_gone(&self) -> StopReason {
        StopReason::Failed(format!(
            "the server at {} does not answer any more",
            self.config.endpoint.url
        ))
    }
}

/// The writer itself says why.
fn writer_failed() -> StopReason {
    StopReason::Failed("the result database cannot be written".to_owned())
}
