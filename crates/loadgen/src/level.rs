//! One level, from its first request to its verdict.

use std::time::Duration;

use gipfel_model::{
    ArrivalRate, LevelProgress, LevelRecord, LevelState, Phase, Stage, Validity, Verdict,
    progress::LevelSummary,
};
use gipfel_peak_search::judge;
use gipfel_stream_client::Clock;
use gipfel_workload::{Segment, SegmentEnd, count_arrivals};
use hdrhistogram::serialization::{Serializer, V2Serializer};
use tokio::time::MissedTickBehavior;

use crate::{
    board::{Board, LEAD_NS, Step, Timing, ttft_p95_ms},
    messages::{LevelOrder, Order, Report, no_gaps},
    session::Session,
    stop::StopReason,
    writer::WriterMessage,
};

/// How often the level's state is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Arrivals within this time of a cut may not have been sent yet without the client being late.
const CUT_GRACE_NS: i64 = 50_000_000;
/// How long the server may take to answer once its load is gone.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// How long the server may take to forget what was cancelled.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// The segments of a level attempt: warm-up, measured window, tail. No index is used by two attempts.
pub(crate) fn segments(level: u32, rate: ArrivalRate, timing: &Timing) -> Vec<(Phase, Segment)> {
    let segment = |offset: u32, start_ns, end| Segment {
        index: level * 3 + offset,
        rate,
        start_ns,
        end,
    };
    let mut segments = Vec::with_capacity(3);
    if timing.measured_from_ns > timing.start_ns {
        let warmup = segment(0, timing.start_ns, SegmentEnd::At(timing.measured_from_ns));
        segments.push((Phase::Warmup, warmup));
    }
    let measured = segment(1, timing.measured_from_ns, SegmentEnd::At(timing.measured_to_ns));
    let tail = segment(2, timing.measured_to_ns, SegmentEnd::At(timing.drain_until_ns));
    segments.push((Phase::Measured, measured));
    segments.push((Phase::Tail, tail));
    segments
}

/// What is known of a level while it runs.
struct Attempt {
    record: LevelRecord,
    timing: Timing,
    measured: Segment,
    /// Wall clock minus monotonic clock at the start.
    wall_offset_ns: i64,
}

impl Attempt {
    /// Enters a worker's report.
    fn take(&self, report: Option<Report>, board: &mut Board) -> Result<(), StopReason> {
        match report {
            Some(Report::Update {
                worker,
                level,
                tally,
                ttfts,
                delays_ns,
            }) if level == self.record.level => {
                board.apply(worker, tally, &ttfts, &delays_ns);
                Ok(())
            }
            Some(Report::Update { .. } | Report::Flushed { .. }) => Ok(()),
            Some(Report::Failed(message)) => Err(StopReason::Failed(message)),
            None => Err(StopReason::Failed("every worker has left".to_owned())),
        }
    }
}

impl Session<'_> {
    /// Measures one level to its verdict, or says why it could not.
    pub(crate) async fn measure(
        &mut self,
        rate: ArrivalRate,
        warmup: Duration,
        measured: Duration,
    ) -> Result<LevelRecord, StopReason> {
        let mut attempt = self.begin(rate, warmup, measured).await?;
        let workload = &self.config.workload;
        let scheduled = count_arrivals(workload.seed, workload.arrivals, &attempt.measured);
        let mut board = Board::new(&self.config.slos, scheduled, self.crew.len());
        let followed = self.follow(&attempt, &mut board).await;
        let cut_ns = self.clock.now_ns();
        // Whatever has happened: what was sent is recorded.
        let cut = self.cut(&attempt, &mut board).await;
        let mut outcome = followed.and(cut);
        if outcome.is_ok() {
            outcome = self.check_server().await;
        }
        if let Err(reason) = outcome {
            attempt.record.state = LevelState::Broken;
            attempt.record.ended_unix_ns = Some(Clock::unix_now_ns());
            // If this fails too, the writer's own error is the one that is reported.
            let _ = self.write(WriterMessage::Level(Box::new(attempt.record))).await;
            return Err(reason);
        }
        self.conclude(&mut attempt, &mut board, cut_ns);
        self.write(WriterMessage::Level(Box::new(attempt.record.clone())))
            .await?;
        self.flush().await?;
        self.tell(&attempt.record, &mut board);
        let idle = self.scraper.until_idle(attempt.record.level, IDLE_LIMIT);
        // The level is complete and kept; the caller looks for the signal before the next one.
        let _ = self.stop.unless(idle).await;
        Ok(attempt.record)
    }

    async fn begin(
        &mut self,
        rate: ArrivalRate,
        warmup: Duration,
        measured: Duration,
    ) -> Result<Attempt, StopReason> {
        let level = self.next_level;
        self.next_level += 1;
        let drain = self.config.timeouts.drain;
        let plan = || Timing::new(self.clock.now_ns() + LEAD_NS, warmup, measured, drain);
        let wall_offset_ns = wall_offset_ns(self.clock);
        let record = |timing: &Timing| open_record(level, rate, timing, wall_offset_ns);
        self.write(WriterMessage::Level(Box::new(record(&plan()))))
            .await?;
        self.flush().await?;
        // Planned anew, since the disk may have taken longer than the lead.
        let timing = plan();
        let record = record(&timing);
        self.write(WriterMessage::Level(Box::new(record.clone()))).await?;
        let segments = segments(level, rate, &timing);
        let measured = segments
            .iter()
            .find(|(phase, _)| *phase == Phase::Measured)
            .map(|(_, segment)| *segment);
        let measured = measured.unwrap_or_else(|| unreachable!("every level has a measured segment"));
        self.crew.order(&Order::Begin(LevelOrder { level, segments }));
        self.open_level.set(Some(level));
        tracing::info!(%rate, level, "level begins");
        Ok(Attempt {
            record,
            timing,
            measured,
            wall_offset_ns,
        })
    }

    /// Follows the level until it can be cut, the run is told to stop, or the server or the writer is gone.
    async fn follow(&mut self, attempt: &Attempt, board: &mut Board) -> Result<(), StopReason> {
        let mut ticker = tokio::time::interval(LOOK_INTERVAL);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known_connect_errors = 0;
        loop {
            tokio::select! {
                report = self.crew.report() => attempt.take(report, board)?,
                _ = ticker.tick() => {
                    self.stop.check()?;
                    self.check_writer()?;
                    if self.watcher.is_due() {
                        self.show(attempt, board);
                    }
                    if board.step(&attempt.timing, self.clock.now_ns()) != Step::Continue {
                        return Ok(());
                    }
                    let connect_errors = board.total().connect_errors;
                    if connect_errors > known_connect_errors {
                        known_connect_errors = connect_errors;
                        if self.stop.unless(self.probe.is_gone()).await? {
                            return Err(self.server_gone());
                        }
                    }
                }
            }
        }
    }

    /// A dead server is no overloaded one: a level is judged only if the server answers once its load is gone.
    async fn check_server(&self) -> Result<(), StopReason> {
        if self.stop.unless(self.probe.answers(ANSWER_LIMIT)).await? {
            Ok(())
        } else {
            Err(self.server_gone())
        }
    }

    fn show(&mut self, attempt: &Attempt, board: &mut Board) {
        let Timing {
            start_ns,
            measured_from_ns,
            measured_to_ns,
            ..
        } = attempt.timing;
        let now = self.clock.now_ns();
        let phase = match now {
            now if now < measured_from_ns => Phase::Warmup,
            now if now < measured_to_ns => Phase::Measured,
            _ => Phase::Tail,
        };
        let total = board.total();
        self.watcher.current(LevelProgress {
            level: attempt.record.level,
            rate: attempt.record.rate,
            phase,
            elapsed_s: (now - start_ns).max(0) as f64 / 1e9,
            planned_s: (measured_to_ns - start_ns) as f64 / 1e9,
            sent: total.dispatched,
            ended: total.ended,
            failed: total.failed,
            in_flight: total.in_flight,
            ttft_p95_ms: ttft_p95_ms(&mut board.ttfts),
        });
    }

    /// Says how a complete level ended.
    fn tell(&mut self, record: &LevelRecord, board: &mut Board) {
        let Some(verdict) = &record.verdict else { return };
        tracing::info!(rate = %record.rate, %verdict, "level is over");
        self.watcher.level(LevelSummary {
            level: record.level,
            rate: record.rate,
            ttft_p95_ms: ttft_p95_ms(&mut board.ttfts),
            completed_rate: record.completed_rate,
            stage: record.stage,
            verdict: Some(verdict.clone()),
        });
    }

    /// Cancels what is left and waits until every worker has handed everything over.
    async fn cut(&mut self, attempt: &Attempt, board: &mut Board) -> Result<(), StopReason> {
        self.open_level.set(None);
        self.crew.order(&Order::Cut);
        let mut gaps = no_gaps();
        let mut missing = self.crew.len();
        while missing > 0 {
            match self.crew.report().await {
                Some(Report::Flushed { level, gaps: more }) if level == attempt.record.level => {
                    // Both have the same bounds, so that nothing can be out of range.
                    let _ = gaps.add(*more);
                    missing -= 1;
                }
                report => attempt.take(report, board)?,
            }
        }
        let mut histogram = Vec::new();
        // Writing to memory cannot fail; no histogram is the honest remainder if it ever did.
        let _ = V2Serializer::new().serialize(&gaps, &mut histogram);
        self.write(WriterMessage::Gaps {
            level: attempt.record.level,
            rank: self.scraper.rank,
            histogram,
        })
        .await
    }

    /// Fills in what the level has shown.
    fn conclude(&self, attempt: &mut Attempt, board: &mut Board, cut_ns: i64) {
        let Attempt {
            record,
            timing,
            measured,
            wall_offset_ns: start_offset_ns,
        } = attempt;
        let workload = &self.config.workload;
        let count_until = |end_ns: i64| {
            let segment = Segment {
                end: SegmentEnd::At(end_ns),
                ..*measured
            };
            if end_ns <= measured.start_ns {
                0
            } else {
                count_arrivals(workload.seed, workload.arrivals, &segment)
            }
        };
        let window_end_ns = cut_ns.min(timing.measured_to_ns);
        let due = count_until((cut_ns - CUT_GRACE_NS).min(timing.measured_to_ns));
        let total = board.total();
        let end_offset_ns = wall_offset_ns(self.clock);
        let step_ns = end_offset_ns - *start_offset_ns;
        // No rate is claimed from a window that a cut has left nothing of.
        let window_ns = window_end_ns - timing.measured_from_ns;
        let rate = |count: u64| {
            if window_ns > 0 {
                count as f64 / (window_ns as f64 / 1e9)
            } else {
                0.0
            }
        };
        record.state = LevelState::Complete;
        record.ended_unix_ns = Some(self.clock.now_ns() + end_offset_ns);
        record.offered_rate = rate(count_until(window_end_ns));
        record.sent_rate = rate(total.measured_dispatched);
        record.completed_rate = rate(total.completed_in_window);
        record.attainment = board.attainments();
        record.validity = board.validity(due, step_ns);
        record.verdict = Some(verdict(record, board, cut_ns < timing.measured_to_ns));
    }
}

fn verdict(record: &LevelRecord, board: &Board, early: bool) -> Verdict {
    let verdict = judge(&record.attainment, &record.validity);
    if early && matches!(verdict, Verdict::Accept) {
        // Cannot happen while only certain rejections end a window early; never claim it if it does.
        let ended = board.total().measured_ended;
        let reason = format!("the window ended early with {ended} requests");
        return Verdict::Unresolved { reason };
    }
    verdict
}

/// Wall clock minus monotonic clock: of a few looks the one that was disturbed least.
fn wall_offset_ns(clock: Clock) -> i64 {
    let look = |_| {
        let before = clock.now_ns();
        let unix = Clock::unix_now_ns();
        let after = clock.now_ns();
        (after - before, unix - i64::midpoint(before, after))
    };
    (0..8).map(look).min().map_or(0, |(_, offset)| offset)
}

fn open_record(level: u32, rate: ArrivalRate, timing: &Timing, wall_offset_ns: i64) -> LevelRecord {
    LevelRecord {
        level,
        rate,
        stage: Stage::Level,
        state: LevelState::Open,
        start_ns: timing.start_ns,
        warmup_ns: timing.measured_from_ns - timing.start_ns,
        measured_ns: timing.measured_to_ns - timing.measured_from_ns,
        started_unix_ns: timing.start_ns + wall_offset_ns,
        ended_unix_ns: None,
        offered_rate: 0.0,
        sent_rate: 0.0,
        completed_rate: 0.0,
        attainment: Vec::new(),
        validity: Validity::default(),
        verdict: None,
        evidence: None,
    }
}
