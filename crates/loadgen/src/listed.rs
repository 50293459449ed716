//! Levels of a list or of doubling rates: each is measured to its verdict before the next one begins.

use std::time::Duration;

use gipfel_model::{ArrivalRate, LevelRecord, Phase, Stage, Verdict};
use gipfel_peak_search::judge;
use tokio::time::MissedTickBehavior;

use crate::{
    board::{Step, Timing, nanos},
    level::{Attempt, Numbering},
    pace::Stretch,
    session::{LOOK_INTERVAL, Session},
    stop::StopReason,
    windows::{E2e, Windows},
    writer::WriterMessage,
};

/// How long the server may take to forget what was cancelled.
const IDLE_LIMIT: Duration = Duration::from_secs(30);
/// A piece is appended so long before the lead, since the level is looked at ten times a second only.
const LOOK_MARGIN_NS: i64 = 300_000_000;

const SECOND_NS: i64 = 1_000_000_000;

/// A listed level while it runs.
struct Listed {
    attempt: Attempt,
    windows: Windows,
}

impl Listed {
    /// Seconds of warm-up, rounded up, and of the measured window as far as it has come.
    fn evidence_span(&self, now_ns: i64) -> (u32, u32) {
        let Timing {
            start_ns,
            measured_from_ns,
            measured_to_ns,
            ..
        } = self.windows.planned();
        let measured_ns = match self.windows.measured() {
            Some(_) => now_ns.min(measured_to_ns) - measured_from_ns,
            None => 0,
        };
        (
            whole_seconds(measured_from_ns - start_ns),
            whole_seconds(measured_ns),
        )
    }
}

fn whole_seconds(nanos: i64) -> u32 {
    u32::try_from(nanos.max(0).unsigned_abs().div_ceil(SECOND_NS as u64)).unwrap_or(u32::MAX)
}

impl Session<'_> {
    /// Measures one level to its verdict, or says why it could not.
    pub(crate) async fn measure(
        &mut self,
        rate: ArrivalRate,
        warmup: Duration,
        measured: Duration,
    ) -> Result<LevelRecord, StopReason> {
        let mut listed = self.begin(rate, warmup, measured).await?;
        let followed = self.follow(&mut listed).await;
        let cut_ns = self.clock.now_ns();
        // Whatever has happened: what was sent is recorded.
        let cut = self.cut().await;
        let mut outcome = followed.and(cut);
        if outcome.is_ok() {
            outcome = self.check_server().await;
        }
        if let Err(reason) = outcome {
            // If this fails too, the writer's own error is the one that is reported.
            let _ = self.break_off(listed.attempt);
            return Err(reason);
        }
        let record = self.conclude(listed, cut_ns);
        self.write(WriterMessage::Level(Box::new(record.clone())))?;
        self.flush().await?;
        if let Some(verdict) = &record.verdict {
            tracing::info!(rate = %record.rate, %verdict, "level is over");
        }
        let summary = self.summary(&record);
        self.watcher.level(summary);
        let idle = self.scraper.until_idle(record.level, IDLE_LIMIT);
        // The level is complete and kept; the caller looks for the signal before the next one.
        let _ = self.stop.unless(idle).await;
        Ok(record)
    }

    async fn begin(
        &mut self,
        rate: ArrivalRate,
        warmup: Duration,
        measured: Duration,
    ) -> Result<Listed, StopReason> {
        let level = self.next_level;
        let exact = self.config.schedule.exact_windows;
        let numbering = if exact { Numbering::Three } else { Numbering::Many };
        let mut attempt = self.attempt(
            level,
            rate,
            Stage::Level,
            numbering,
            self.clock.now_ns() + self.lead_ns,
        );
        attempt.record.warmup_ns = nanos(warmup);
        attempt.record.measured_ns = nanos(measured);
        self.write(WriterMessage::Level(Box::new(attempt.record.clone())))?;
        self.flush().await?;
        // Planned anew, since the disk may have taken longer than the lead.
        let start_ns = self.clock.now_ns() + self.lead_ns;
        attempt.record.started_unix_ns += start_ns - attempt.record.start_ns;
        attempt.record.start_ns = start_ns;
        self.write(WriterMessage::Level(Box::new(attempt.record.clone())))?;
        let mut windows = Windows::new(start_ns, warmup, measured, self.config.timeouts.drain);
        if !exact {
            let end_by_ns = match self.config.schedule.total_time {
                Some(total) => nanos(total.saturating_sub(self.spent)),
                None => i64::MAX,
            };
            windows = windows.stretched(self.lead_ns + LOOK_MARGIN_NS, end_by_ns);
        }
        let mut listed = Listed { attempt, windows };
        self.append_due(&mut listed, start_ns - self.lead_ns)?;
        self.open_level.set(Some(level));
        Ok(listed)
    }

    /// Appends what must be sent soon.
    fn append_due(&mut self, listed: &mut Listed, now_ns: i64) -> Result<(), StopReason> {
        let level = listed.attempt.record.level;
        let rate = listed.attempt.record.rate;
        let schedule = &self.config.schedule;
        let (counted, ramp) = (schedule.requests_per_level, schedule.warmup_ramp);
        while let Some((phase, span)) = listed.windows.next_piece(now_ns, self.e2e(level)) {
            let first = span.0 == listed.windows.planned().start_ns;
            let mut stretch = Stretch {
                rate,
                span,
                ramp: ramp && first && phase == Phase::Warmup,
            };
            if let Some(requests) = counted.filter(|_| phase == Phase::Measured) {
                stretch.span.1 = self.end_of_count(&listed.attempt, stretch, requests)?;
                listed.windows.end_measured(stretch.span.1);
            }
            let Timing {
                start_ns,
                measured_from_ns,
                ..
            } = listed.windows.planned();
            // The measured window begins with a whole second, so that none holds requests of both parts.
            let settle_ns = i64::from(whole_seconds(measured_from_ns - start_ns)) * SECOND_NS;
            let seconds_from_ns = match phase {
                Phase::Warmup => start_ns,
                Phase::Measured | Phase::Tail => measured_from_ns - settle_ns,
            };
            self.append(&mut listed.attempt, phase, stretch, seconds_from_ns)?;
        }
        Ok(())
    }

    /// The level's latency so far.
    fn e2e(&mut self, level: u32) -> E2e {
        let board = self.ledger.board(level);
        match board.e2e_p50_ns() {
            Some(median_ns) => E2e::Median(median_ns),
            None if board.total().ended > 0 => E2e::Median(0),
            None => E2e::Unknown,
        }
    }

    /// Follows the level until it can be cut, the run is told to stop, or the server or the writer is gone.
    async fn follow(&mut self, listed: &mut Listed) -> Result<(), StopReason> {
        let mut ticker = tokio::time::interval(LOOK_INTERVAL);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                report = self.crew.report() => {
                    self.take(report)?;
                }
                _ = ticker.tick() => {
                    self.look().await?;
                    let now_ns = self.clock.now_ns();
                    // Nobody but the board asks here.
                    self.ledger.take_new();
                    self.append_due(listed, now_ns)?;
                    if self.watcher.is_due() {
                        let planned_to_ns = listed.windows.planned().measured_to_ns;
                        self.show(&listed.attempt, planned_to_ns);
                    }
                    if self.step(listed, now_ns) != Step::Continue {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn step(&mut self, listed: &Listed, now_ns: i64) -> Step {
        let level = listed.attempt.record.level;
        let expected_ns = listed.windows.expected_measured_ns(self.e2e(level));
        let (settle_s, measured_s) = listed.evidence_span(now_ns);
        let board = self.ledger.board(level);
        // While a window is stretched, its requests to come are not counted yet.
        let expected = match listed.windows.settled() {
            Some(_) => 0,
            None => (expected_ns as f64 / 1e9 * listed.attempt.record.rate.get()) as u64,
        };
        let evidence = board.evidence(settle_s, measured_s);
        let attainments = board.attainments(&evidence, expected.max(board.scheduled));
        board.step(&attainments, listed.windows.settled().as_ref(), now_ns)
    }

    fn conclude(&mut self, listed: Listed, cut_ns: i64) -> LevelRecord {
        let (settle_s, measured_s) = listed.evidence_span(cut_ns);
        let planned_to_ns = listed.windows.planned().measured_to_ns;
        let Listed { mut attempt, .. } = listed;
        let board = self.ledger.board(attempt.record.level);
        let ended = board.total().measured_ended;
        let evidence = board.evidence(settle_s, measured_s);
        self.complete(&mut attempt, evidence, cut_ns);
        let mut record = attempt.record;
        let verdict = judge(&record.attainment, &record.validity);
        record.verdict = Some(match verdict {
            // Cannot happen while only certain rejections end a window early; never claim it if it does.
            Verdict::Accept if cut_ns < planned_to_ns => Verdict::Unresolved {
                reason: format!("the window ended early with {ended} requests"),
            },
            verdict => verdict,
        });
        record
    }
}
