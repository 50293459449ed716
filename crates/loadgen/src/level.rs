//! One level, from its first request to its record; common to listed levels and to those of a search.

use std::{collections::BTreeMap, time::Duration};

use gipfel_model::{
    ArrivalProcess, ArrivalRate, Attainment, Evidence, LevelProgress, LevelRecord, LevelState, Phase, Stage,
    Validity, progress::LevelSummary,
};
use gipfel_stream_client::Clock;
use gipfel_workload::{Segment, SegmentEnd, count_arrivals};

use crate::{
    board::ttft_p95_ms,
    messages::{Append, Source},
    pace::{Pace, Stretch, segment_index},
    session::Session,
    stop::StopReason,
    writer::WriterMessage,
};

/// Arrivals within this time of a cut may not have been sent yet without the client being late.
const CUT_GRACE_NS: i64 = 50_000_000;
/// How long the server may take to answer once its load is gone.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// The numbers of a level's segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbering {
    /// Three segments: warm-up, measured window, tail.
    Three,
    /// As many as it takes.
    Many,
}

/// What is known of a level while it runs.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) record: LevelRecord,
    numbering: Numbering,
    /// How many segments it has so far.
    segments: u32,
    /// The segments of the measured window.
    measured: Vec<Segment>,
    /// Begin and end of the measured window so far.
    pub(crate) window: Option<(i64, i64)>,
    /// The end of what is appended.
    pub(crate) appended_to_ns: i64,
    /// Wall clock minus monotonic clock at the start, here and on the other machines.
    wall_offset_ns: i64,
    other_offsets_ns: BTreeMap<Source, i64>,
}

impl Attempt {
    /// How many requests are scheduled in the measured window before this time.
    fn scheduled_until(&self, session: &Session<'_>, end_ns: i64) -> u64 {
        let workload = &session.config.workload;
        let count = |segment: &Segment| {
            let end = match segment.end {
                SegmentEnd::At(end) => SegmentEnd::At(end.min(end_ns)),
                other => other,
            };
            let before = segment.start_ns < end_ns;
            let segment = Segment { end, ..*segment };
            if before {
                count_arrivals(workload.seed, workload.arrivals, &segment)
            } else {
                0
            }
        };
        self.measured.iter().map(count).sum()
    }

    /// The number of the next segment, which is one of this phase.
    fn next_index(&self, phase: Phase) -> Result<u32, StopReason> {
        let level = self.record.level;
        let nth = match phase {
            Phase::Warmup => 0,
            Phase::Measured => 1,
            Phase::Tail => 2,
        };
        match self.numbering {
            Numbering::Three => Ok(level * 3 + nth),
            Numbering::Many => segment_index(level, self.segments).ok_or_else(|| {
                StopReason::Failed("the run has more levels than requests can be numbered for".to_owned())
            }),
        }
    }

    /// Whether the schedule begins anew with each segment: constant arrivals do so at the begin of exact windows.
    fn begins_anew(&self, process: ArrivalProcess) -> bool {
        self.numbering == Numbering::Three && process == ArrivalProcess::Constant
    }

    /// The part of the level that is sent at this time.
    fn phase(&self, now_ns: i64) -> Phase {
        match self.window {
            Some((from, to)) if now_ns >= from => {
                if now_ns < to {
                    Phase::Measured
                } else {
                    Phase::Tail
                }
            }
            _ => Phase::Warmup,
        }
    }
}

impl Session<'_> {
    /// A level that begins, and its open record.
    pub(crate) fn attempt(
        &mut self,
        level: u32,
        rate: ArrivalRate,
        stage: Stage,
        numbering: Numbering,
        start_ns: i64,
    ) -> Attempt {
        let wall_offset_ns = wall_offset_ns(self.clock);
        self.next_level = self.next_level.max(level + 1);
        self.ledger.open(level);
        if stage == Stage::Level {
            self.pace = Pace::new(self.config.workload.seed, self.config.workload.arrivals);
        }
        tracing::info!(%rate, level, %stage, "level begins");
        Attempt {
            record: open_record(level, rate, stage, start_ns, wall_offset_ns),
            numbering,
            segments: 0,
            measured: Vec::new(),
            window: None,
            appended_to_ns: start_ns,
            wall_offset_ns,
            other_offsets_ns: self.ledger.wall_offsets_ns(),
        }
    }

    /// Has the workers send a piece of the level. The level's second 0 begins at `seconds_from_ns`.
    pub(crate) fn append(
        &mut self,
        attempt: &mut Attempt,
        phase: Phase,
        stretch: Stretch,
        seconds_from_ns: i64,
    ) -> Result<(), StopReason> {
        let level = attempt.record.level;
        let span = stretch.span;
        let index = attempt.next_index(phase)?;
        if attempt.begins_anew(self.config.workload.arrivals) {
            self.pace = Pace::new(self.config.workload.seed, self.config.workload.arrivals);
        }
        let segment = self.pace.segment(index, stretch);
        attempt.segments += 1;
        attempt.appended_to_ns = span.1;
        if phase == Phase::Measured {
            attempt.measured.extend(segment);
            attempt.window = Some(attempt.window.map_or(span, |(from, _)| (from, span.1)));
            let workload = &self.config.workload;
            let count = |segment| count_arrivals(workload.seed, workload.arrivals, &segment);
            let board = self.ledger.board(level);
            board.scheduled += segment.map_or(0, count);
        }
        self.ledger.board(level).watch(phase, span);
        // What a search calls tail is sent to its end.
        let cut = phase == Phase::Tail && attempt.record.stage == Stage::Level;
        let first_request = match &segment {
            Some(segment) => self.numbers.take(segment, cut)?,
            None => 0,
        };
        self.crew.append(&Append {
            level,
            phase,
            span,
            seconds_from_ns,
            segment,
            first_request,
        })
    }

    /// The end of the measured window that holds so many requests.
    pub(crate) fn end_of_count(
        &self,
        attempt: &Attempt,
        stretch: Stretch,
        requests: u32,
    ) -> Result<i64, StopReason> {
        let index = attempt.next_index(Phase::Measured)?;
        let workload = &self.config.workload;
        let pace = if attempt.begins_anew(workload.arrivals) {
            Pace::new(workload.seed, workload.arrivals)
        } else {
            self.pace
        };
        Ok(pace.end_of_count(index, stretch, requests))
    }

    /// Fills in what the level has shown, once nothing is sent of it any more; the load ended at `end_ns`.
    pub(crate) fn complete(&mut self, attempt: &mut Attempt, evidence: Evidence, end_ns: i64) {
        let (from, to) = attempt
            .window
            .unwrap_or((attempt.appended_to_ns, attempt.appended_to_ns));
        let to = to.min(end_ns).max(from);
        let offered = attempt.scheduled_until(self, to);
        let due = attempt.scheduled_until(self, (end_ns - CUT_GRACE_NS).min(to));
        let end_offset_ns = wall_offset_ns(self.clock);
        let step_ns = self.clock_step(attempt, end_offset_ns);
        // No rate is claimed from a window that a cut has left nothing of.
        let rate = |count: u64| {
            if to > from {
                count as f64 / ((to - from) as f64 / 1e9)
            } else {
                0.0
            }
        };
        let board = self.ledger.board(attempt.record.level);
        let total = board.total();
        let record = &mut attempt.record;
        record.state = LevelState::Complete;
        record.warmup_ns = from - record.start_ns;
        record.measured_ns = to - from;
        record.ended_unix_ns = Some(self.clock.now_ns() + end_offset_ns);
        record.offered_rate = rate(offered);
        // What was sent later than the window was not sent at its rate.
        record.sent_rate = rate(total.sent_in_window);
        record.completed_rate = rate(total.completed_in_window);
        record.attainment = board.attainments(&evidence, board.scheduled);
        record.validity = board.validity(&record.attainment, due, step_ns);
        record.evidence = Some(evidence);
    }

    /// By how much a wall clock has stepped since the level's start, the one of this machine or of another rank's.
    fn clock_step(&self, attempt: &Attempt, end_offset_ns: i64) -> i64 {
        let mut step_ns = end_offset_ns - attempt.wall_offset_ns;
        for (source, offset_ns) in self.ledger.wall_offsets_ns() {
            let before = attempt
                .other_offsets_ns
                .get(&source)
                .copied()
                .unwrap_or(offset_ns);
            if (offset_ns - before).abs() > step_ns.abs() {
                step_ns = offset_ns - before;
            }
        }
        step_ns
    }

    /// Records that a level was broken off.
    pub(crate) fn break_off(&mut self, mut attempt: Attempt) -> Result<(), StopReason> {
        attempt.record.state = LevelState::Broken;
        attempt.record.ended_unix_ns = Some(Clock::unix_now_ns());
        self.ledger.close(attempt.record.level);
        self.write(WriterMessage::Level(Box::new(attempt.record)))
    }

    /// A dead server is no overloaded one: a level is judged only if the server answers once its load is gone.
    pub(crate) async fn check_server(&self) -> Result<(), StopReason> {
        if self.stop.unless(self.probe.answers(ANSWER_LIMIT)).await? {
            Ok(())
        } else {
            Err(self.server_gone())
        }
    }

    /// Shows where a level stands.
    pub(crate) fn show(&mut self, attempt: &Attempt, planned_to_ns: i64) {
        let now = self.clock.now_ns();
        let record = &attempt.record;
        let in_flight = self.ledger.in_flight().all;
        let board = self.ledger.board(record.level);
        let total = board.total();
        self.watcher.current(LevelProgress {
            level: record.level,
            rate: record.rate,
            phase: attempt.phase(now),
            elapsed_s: (now - record.start_ns).max(0) as f64 / 1e9,
            planned_s: (planned_to_ns - record.start_ns) as f64 / 1e9,
            sent: total.dispatched,
            ended: total.ended,
            failed: total.failed,
            in_flight,
            ttft_p95_ms: ttft_p95_ms(&board.ttfts),
        });
    }

    /// What is told of a complete level, which is forgotten then.
    pub(crate) fn summary(&mut self, record: &LevelRecord) -> LevelSummary {
        let board = self.ledger.board(record.level);
        let ttft_p95_ms = ttft_p95_ms(&board.ttfts);
        self.ledger.close(record.level);
        LevelSummary {
            level: record.level,
            rate: record.rate,
            ttft_p95_ms,
            completed_rate: record.completed_rate,
            stage: record.stage,
            worst: Attainment::worst(&record.attainment).cloned(),
            verdict: record.verdict.clone(),
        }
    }
}

/// Wall clock minus monotonic clock: of a few looks the one that was disturbed least.
pub(crate) fn wall_offset_ns(clock: Clock) -> i64 {
    let look = |_| {
        let before = clock.now_ns();
        let unix = Clock::unix_now_ns();
        let after = clock.now_ns();
        (after - before, unix - i64::midpoint(before, after))
    };
    (0..8).map(look).min().map_or(0, |(_, offset)| offset)
}

fn open_record(
    level: u32,
    rate: ArrivalRate,
    stage: Stage,
    start_ns: i64,
    wall_offset_ns: i64,
) -> LevelRecord {
    LevelRecord {
        level,
        rate,
        stage,
        state: LevelState::Open,
        start_ns,
        warmup_ns: 0,
        measured_ns: 0,
        started_unix_ns: start_ns + wall_offset_ns,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_three_segments_keep_their_numbers() {
        let check = |level, phase, index| {
            let rate = ArrivalRate::per_second(5.0).expect("a rate");
            let attempt = Attempt {
                record: open_record(level, rate, Stage::Level, 0, 0),
                numbering: Numbering::Three,
                segments: 0,
                measured: Vec::new(),
                window: None,
                appended_to_ns: 0,
                wall_offset_ns: 0,
                other_offsets_ns: BTreeMap::new(),
            };
            assert_eq!(attempt.next_index(phase).ok(), Some(index));
        };
        check(0, Phase::Warmup, 0);
        check(0, Phase::Tail, 2);
        check(4, Phase::Warmup, 12);
        check(4, Phase::Measured, 13);
    }
}
