//! The adaptive search, carried out: its directives become orders to the workers and records in the database.

use std::{collections::BTreeMap, time::Duration};

use gipfel_model::{
    ArrivalRate, Evidence, LevelRecord, LevelState, SearchProgress, Stage, Verdict, progress::LevelSummary,
};
use gipfel_peak_search::{AdaptiveSearch, Directive, Observation};
use tokio::{sync::oneshot, time::MissedTickBehavior};

use crate::{
    level::{Attempt, Numbering},
    messages::Order,
    pace::Stretch,
    session::{LOOK_INTERVAL, Session},
    stop::StopReason,
    writer::WriterMessage,
};

/// What was sent is reported by all workers within this time.
const REPORTED_NS: i64 = 300_000_000;

/// What decides; the search, or a script in its place.
pub(crate) trait Strategy {
    /// What to do after this observation.
    fn step(&mut self, observation: &Observation<'_>) -> Vec<Directive>;
    /// The client did not keep its part in this level.
    fn invalidate(&mut self, level: u32);
    /// Where it stands.
    fn progress(&self) -> SearchProgress;
    /// The same, whose orders take so long to reach everybody.
    fn with_lead(self: Box<Self>, lead: Duration) -> Box<dyn Strategy>;
}

impl Strategy for AdaptiveSearch {
    fn step(&mut self, observation: &Observation<'_>) -> Vec<Directive> {
        AdaptiveSearch::step(self, observation)
    }

    fn invalidate(&mut self, level: u32) {
        AdaptiveSearch::invalidate(self, level);
    }

    fn progress(&self) -> SearchProgress {
        AdaptiveSearch::progress(self)
    }

    fn with_lead(self: Box<Self>, lead: Duration) -> Box<dyn Strategy> {
        Box::new(AdaptiveSearch::with_lead(*self, lead))
    }
}

/// The levels of a search that are not told yet.
#[derive(Default)]
struct Sequence {
    /// Begun, without a first piece.
    begun: BTreeMap<u32, (ArrivalRate, Stage)>,
    /// Some of whose requests the search still waits for.
    open: BTreeMap<u32, Attempt>,
    /// Of which the search has learnt everything, while the last requests are being sent.
    closing: Vec<(Attempt, Evidence)>,
    /// On their way to the disk.
    written: Vec<(oneshot::Receiver<()>, LevelSummary)>,
    /// The complete levels of this process.
    complete: Vec<LevelRecord>,
    /// When a request was last known to have ended well.
    answered_ns: i64,
}

impl Sequence {
    /// The level whose load is on at this time.
    fn current(&self, now_ns: i64) -> Option<&Attempt> {
        let closing = self.closing.iter().map(|(attempt, _)| attempt);
        let known = self.open.values().chain(closing);
        known
            .filter(|attempt| attempt.record.start_ns <= now_ns)
            .max_by_key(|attempt| attempt.record.level)
    }
}

impl Session<'_> {
    /// Carries out the search until it is done.
    pub(crate) async fn adapt(&mut self, search: &mut dyn Strategy) -> Result<(), StopReason> {
        let mut sequence = Sequence::default();
        let driven = self.drive(search, &mut sequence).await;
        let cut_ns = self.clock.now_ns();
        // Whatever has happened: what was sent is recorded.
        let cut = self.cut().await;
        let outcome = match driven.and(cut) {
            Ok(()) => self.check_server().await,
            Err(reason) => Err(reason),
        };
        let kept = self.keep(&mut sequence, cut_ns, search).await;
        if let Err(StopReason::Failed(_)) = outcome {
            self.disown(&sequence).await?;
        }
        outcome.and(kept)
    }

    async fn drive(&mut self, search: &mut dyn Strategy, sequence: &mut Sequence) -> Result<(), StopReason> {
        let mut ticker = tokio::time::interval(LOOK_INTERVAL);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                report = self.crew.report() => {
                    self.take(report)?;
                }
                _ = ticker.tick() => {
                    self.look().await?;
                    if self.advance(search, sequence)? {
                        return Ok(());
                    }
                    self.complete_due(sequence, self.clock.now_ns(), search)?;
                    self.tell_written(sequence);
                    let current = sequence.current(self.clock.now_ns());
                    self.open_level.set(current.map(|attempt| attempt.record.level));
                    if self.watcher.is_due() {
                        self.watcher.search(search.progress());
                        if let Some(attempt) = current {
                            self.show(attempt, attempt.appended_to_ns);
                        }
                    }
                }
            }
        }
    }

    /// Tells the search what was observed and does what it says; whether it is done.
    fn advance(&mut self, search: &mut dyn Strategy, sequence: &mut Sequence) -> Result<bool, StopReason> {
        let (counts, e2e_ns) = self.ledger.take_new();
        let in_flight = self.ledger.in_flight();
        let now_ns = self.clock.now_ns();
        if !e2e_ns.is_empty() {
            sequence.answered_ns = now_ns;
        }
        let directives = search.step(&Observation {
            now_ns,
            counts: &counts,
            in_flight: in_flight.all,
            waiting: in_flight.waiting,
            oldest_waiting_ns: in_flight
                .oldest_waiting_ns
                .map_or(0, |oldest| (now_ns - oldest).max(0)),
            e2e_ns: &e2e_ns,
        });
        for directive in directives {
            if self.obey(directive, sequence)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn obey(&mut self, directive: Directive, sequence: &mut Sequence) -> Result<bool, StopReason> {
        match directive {
            Directive::Begin { level, stage, rate } => {
                sequence.begun.insert(level, (rate, stage));
            }
            Directive::Append {
                level,
                phase,
                rate,
                from_ns,
                to_ns,
            } => {
                if let Some((rate, stage)) = sequence.begun.remove(&level) {
                    let attempt = self.attempt(level, rate, stage, Numbering::Many, from_ns);
                    // Not flushed: the load may not wait for the disk. The writer keeps the order of what it is given.
                    self.write(WriterMessage::Level(Box::new(attempt.record.clone())))?;
                    sequence.open.insert(level, attempt);
                }
                if let Some(attempt) = sequence.open.get_mut(&level) {
                    let seconds_from_ns = attempt.record.start_ns;
                    let stretch = Stretch {
                        rate,
                        span: (from_ns, to_ns),
                        ramp: false,
                    };
                    self.append(attempt, phase, stretch, seconds_from_ns)?;
                }
            }
            Directive::Shed => self.crew.order(&Order::Shed)?,
            Directive::Close { level, evidence } => {
                if let Some(attempt) = sequence.open.remove(&level) {
                    sequence.closing.push((attempt, evidence));
                }
            }
            Directive::Done(answer) => {
                let peak_qps = answer.estimate.as_ref().map(|estimate| estimate.peak_qps);
                tracing::info!(?peak_qps, unresolved = ?answer.unresolved, "the search is over");
                self.watcher.search_ended(answer.estimate);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Completes the closed levels whose load has ended by `now_ns`.
    fn complete_due(
        &mut self,
        sequence: &mut Sequence,
        now_ns: i64,
        search: &mut dyn Strategy,
    ) -> Result<(), StopReason> {
        let reported_ns = now_ns - REPORTED_NS.max(self.lead_ns);
        let over = |one: &mut (Attempt, Evidence)| one.0.appended_to_ns <= reported_ns;
        let over: Vec<_> = sequence.closing.extract_if(.., over).collect();
        for (attempt, evidence) in over {
            let record = self.complete_level(attempt, evidence, now_ns)?;
            if !record.validity.is_valid() {
                search.invalidate(record.level);
            }
            let (done, committed) = oneshot::channel();
            self.write(WriterMessage::Flush(done))?;
            self.crew.order(&Order::Close(record.level))?;
            let summary = self.summary(&record);
            sequence.written.push((committed, summary));
            sequence.complete.push(record);
        }
        Ok(())
    }

    fn complete_level(
        &mut self,
        mut attempt: Attempt,
        evidence: Evidence,
        end_ns: i64,
    ) -> Result<LevelRecord, StopReason> {
        self.complete(&mut attempt, evidence, end_ns);
        let mut record = attempt.record;
        record.verdict = record.validity.reason().map(|reason| Verdict::Invalid { reason });
        let stage = record.stage;
        let verdict = record.verdict.as_ref().map(ToString::to_string);
        tracing::info!(rate = %record.rate, level = record.level, %stage, verdict, "level is over");
        self.write(WriterMessage::Level(Box::new(record.clone())))?;
        Ok(record)
    }

    /// Tells of the levels that have reached the disk.
    fn tell_written(&mut self, sequence: &mut Sequence) {
        let reached = |one: &mut (oneshot::Receiver<()>, LevelSummary)| one.0.try_recv().is_ok();
        for (_, summary) in sequence.written.extract_if(.., reached) {
            self.watcher.level(summary);
        }
    }

    /// Keeps what was closed when the load has ended, and marks what was not as broken.
    async fn keep(
        &mut self,
        sequence: &mut Sequence,
        cut_ns: i64,
        search: &mut dyn Strategy,
    ) -> Result<(), StopReason> {
        for (attempt, evidence) in std::mem::take(&mut sequence.closing) {
            let record = self.complete_level(attempt, evidence, cut_ns)?;
            if !record.validity.is_valid() {
                search.invalidate(record.level);
            }
            let summary = self.summary(&record);
            let (done, committed) = oneshot::channel();
            self.write(WriterMessage::Flush(done))?;
            sequence.written.push((committed, summary));
            sequence.complete.push(record);
        }
        for (_, attempt) in std::mem::take(&mut sequence.open) {
            self.break_off(attempt)?;
        }
        self.flush().await?;
        self.tell_written(sequence);
        Ok(())
    }

    /// A server that has died, or hangs, looks like an overloaded one. The levels since its last answer are no evidence.
    async fn disown(&mut self, sequence: &Sequence) -> Result<(), StopReason> {
        let unanswered = |record: &&LevelRecord| record.start_ns > sequence.answered_ns;
        for record in sequence.complete.iter().filter(unanswered) {
            tracing::warn!(
                level = record.level,
                "nothing was answered in this level, so it is no evidence"
            );
            let broken = LevelRecord {
                state: LevelState::Broken,
                verdict: None,
                evidence: None,
                ..record.clone()
            };
            self.write(WriterMessage::Level(Box::new(broken)))?;
        }
        self.flush().await
    }
}
