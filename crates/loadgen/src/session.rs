//! The measuring part of a run: what listed levels and searches have in common.

use std::{cell::Cell, rc::Rc, time::Duration};

use gipfel_model::{RunConfig, RunState};
use gipfel_peak_search::{Command, LevelSearch};
use gipfel_stream_client::Clock;
use tokio::sync::oneshot;

use crate::{
    cpu,
    crew::Crew,
    gaps::GapsBook,
    guard::Guard,
    health::Probe,
    ledger::Ledger,
    messages::{Order, Report, Source},
    numbers::Numbers,
    pace::Pace,
    scrape::Scraper,
    stop::{Stop, StopReason},
    time_limit::TimeLimit,
    watcher::Watcher,
    writer::{Recorder, WriterMessage},
};

/// How often the load is looked at.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(100);

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
    pub(crate) rows: Recorder,
    pub(crate) stop: Stop,
    /// The end of the job's time, if it has one.
    pub(crate) limit: Option<TimeLimit>,
    pub(crate) ledger: Ledger,
    pub(crate) gaps: GapsBook,
    pub(crate) guard: Guard,
    pub(crate) pace: Pace,
    pub(crate) numbers: Numbers,
    /// The time between the decision for a piece of load and its first request.
    pub(crate) lead_ns: i64,
    /// The time that earlier processes have used.
    pub(crate) spent: Duration,
}

impl Session<'_> {
    /// Says that the run measures from now on.
    pub(crate) fn begins(&mut self) -> Result<(), StopReason> {
        self.write(WriterMessage::RunState {
            state: RunState::Running,
            error: None,
        })?;
        self.watcher.state(RunState::Running, None);
        Ok(())
    }

    /// Measures the levels that the search asks for until it is done.
    pub(crate) async fn search_levels(&mut self, mut search: LevelSearch) -> Result<(), StopReason> {
        loop {
            self.stop.check()?;
            let elapsed = self.spent + Duration::from_nanos(self.clock.now_ns().max(0) as u64);
            match search.next(elapsed) {
                Command::Offer {
                    rate,
                    warmup,
                    measured,
                } => {
                    if let Some(limit) = &self.limit {
                        limit.admit(
                            rate,
                            Duration::from_nanos(self.lead_ns.unsigned_abs()) + warmup + measured,
                        )?;
                    }
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

    /// Enters a report; says who has handed everything over, or will never do so.
    pub(crate) fn take(&mut self, report: Option<Report>) -> Result<Option<Source>, StopReason> {
        match report {
            Some(Report::News(source, news)) => {
                self.ledger.apply(source, news);
                Ok(None)
            }
            Some(Report::Gaps {
                worker,
                level,
                gaps,
                last,
            }) => {
                if let Some(histogram) = self.gaps.enter(worker, level, *gaps, last) {
                    let rank = self.scraper.rank;
                    self.write(WriterMessage::Gaps {
                        level,
                        rank,
                        histogram,
                    })?;
                }
                Ok(None)
            }
            Some(Report::Flushed(source)) => Ok(Some(source)),
            Some(Report::RankLost(rank)) => {
                tracing::warn!(rank, "a rank is lost; the open levels are invalid");
                self.crew.lose(rank)?;
                self.ledger.lose(rank);
                Ok(Some(Source::Rank(rank)))
            }
            Some(Report::Failed(message)) => Err(StopReason::Failed(message)),
            None => Err(StopReason::Failed("every worker has left".to_owned())),
        }
    }

    /// Cancels what is left and waits until everybody has handed everything over.
    pub(crate) async fn cut(&mut self) -> Result<(), StopReason> {
        self.open_level.set(None);
        self.crew.order(&Order::Cut)?;
        let mut missing = self.crew.sources();
        while !missing.is_empty() {
            let report = self.crew.report().await;
            if let Some(source) = self.take(report)? {
                missing.remove(&source);
            }
        }
        self.numbers.cut(self.clock.now_ns());
        Ok(())
    }

    /// Looks at what may end the run at any moment: the signal, the writer, the server.
    pub(crate) async fn look(&mut self) -> Result<(), StopReason> {
        self.stop.check()?;
        self.check_writer()?;
        let look = cpu::of_this_process(self.clock, self.rows.take_slowest_commit());
        self.ledger.look(&look);
        if self
            .guard
            .finds_it_gone(&self.probe, self.ledger.connect_errors)
            .await
        {
            return Err(self.server_gone());
        }
        Ok(())
    }

    /// Hands over what is to be written: the load does not wait for the disk.
    pub(crate) fn write(&self, message: WriterMessage) -> Result<(), StopReason> {
        self.rows.write(message).map_err(|_| writer_failed())
    }

    /// Waits until everything written so far is committed.
    pub(crate) async fn flush(&self) -> Result<(), StopReason> {
        let (done, committed) = oneshot::channel();
        self.write(WriterMessage::Flush(done))?;
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
