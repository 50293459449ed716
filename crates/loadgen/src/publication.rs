//! Publishes the run's database from a thread of its own: closed levels at once, the open one every ten seconds.
//!
//! The thread shares nothing with the request path but the disk. A directory that is full or slow delays publications
//! and is told of; what is measured does not wait for it.

use std::{collections::BTreeSet, thread, time::Duration};

use anyhow::{Context, anyhow};
use gipfel_model::format_duration;
use gipfel_results_db::Publisher;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use crate::{leisure, work::WorkPlace};

/// What is measured lies on this machine alone for at most so long, unless publications take long.
const INTERVAL: Duration = Duration::from_secs(10);
/// A publication takes at most this part of the time.
const SHARE: u32 = 10;
/// After a failure the next attempt waits for so long.
const RETRY: Duration = Duration::from_secs(5);
/// A publication that takes longer is told of.
const SLOW: Duration = Duration::from_secs(30);
/// How long the last publication may take and be tried again.
pub(crate) const FAREWELL: Duration = Duration::from_mins(2);
/// The last publication is given so much longer than its attempts, which may be slow.
const GRACE: Duration = Duration::from_secs(10);

/// How publishing stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    /// The levels that were published closed.
    pub(crate) levels: BTreeSet<u32>,
    /// What the longest publication took.
    pub(crate) longest: Duration,
    /// When the attempt that goes on began.
    began: Option<Instant>,
    /// When publications began to fail, and why the last one did.
    problem: Option<(Instant, String)>,
}

impl Status {
    /// What whoever watches should know.
    pub(crate) fn warning(&self, now: Instant) -> Option<String> {
        let since = |then: Instant| {
            let seconds = now.saturating_duration_since(then).as_secs();
            format_duration(Duration::from_secs(seconds))
        };
        if let Some((then, problem)) = &self.problem {
            return Some(format!(
                "the results cannot be published for {}: {problem}; the measurement goes on and so do the attempts",
                since(*then)
            ));
        }
        let slow = self
            .began
            .filter(|began| now.saturating_duration_since(*began) > SLOW)?;
        Some(format!(
            "the results are being published for {}: the run's directory is slow; the measurement goes on",
            since(slow)
        ))
    }
}

/// What the thread is told.
#[derive(Debug)]
enum Request {
    /// A level is closed and committed.
    LevelClosed(u32),
    /// Nothing more will be written; the last publication may be tried for so long.
    End(Duration),
}

/// Tells the publishing thread of closed levels.
#[derive(Clone, Debug)]
pub(crate) struct Closed(mpsc::UnboundedSender<Request>);

impl Closed {
    /// This level is closed and committed.
    pub(crate) fn tell(&self, level: u32) {
        // A thread that is gone is noticed in the end.
        let _ = self.0.send(Request::LevelClosed(level));
    }
}

/// The publishing of a run.
#[derive(Debug)]
pub(crate) struct Publication {
    requests: mpsc::UnboundedSender<Request>,
    status: watch::Receiver<Status>,
    ended: oneshot::Receiver<Result<(), String>>,
}

impl Publication {
    /// Begins to publish the database, which is there and whose writers leave its log alone.
    pub(crate) async fn begin(place: WorkPlace) -> anyhow::Result<Self> {
        let publisher = place
            .publisher()
            .await
            .context("failed to prepare the publication of the results")?;
        let (requests, requests_in) = mpsc::unbounded_channel();
        let (tell, status) = watch::channel(Status::default());
        let (end, ended) = oneshot::channel();
        let thread = Thread {
            place,
            publisher,
            requests: requests_in,
            status: tell,
            waiting: BTreeSet::new(),
            timing: Timing::new(Instant::now()),
        };
        thread::Builder::new()
            .name("publisher".to_owned())
            .spawn(move || {
                leisure::give_way();
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build();
                let outcome = match runtime {
                    Ok(runtime) => runtime.block_on(thread.run()),
                    Err(error) => Err(error.to_string()),
                };
                // Nobody waits any more if this fails.
                let _ = end.send(outcome);
            })
            .context("failed to start the thread that publishes")?;
        Ok(Self {
            requests,
            status,
            ended,
        })
    }

    /// How publishing stands.
    pub(crate) fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// For whoever closes levels.
    pub(crate) fn closed(&self) -> Closed {
        Closed(self.requests.clone())
    }

    /// Publishes everything, now that all writers have closed the database; tries for as long as `limit`.
    pub(crate) async fn end(self, limit: Duration) -> anyhow::Result<()> {
        // A thread that is gone does not answer either.
        let _ = self.requests.send(Request::End(limit));
        let ended = tokio::time::timeout(limit + GRACE, self.ended).await;
        match ended {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(problem))) => Err(anyhow!(problem)),
            Ok(Err(_)) => Err(anyhow!("the thread that publishes panicked")),
            Err(_) => Err(anyhow!(
                "publishing has not ended within {}: the run's directory is slow",
                format_duration(limit)
            )),
        }
    }
}

/// When publications follow each other.
#[derive(Clone, Copy, Debug)]
struct Timing {
    began: Instant,
    ended: Instant,
    failed: bool,
    first: bool,
}

impl Timing {
    fn new(now: Instant) -> Self {
        Self {
            began: now,
            ended: now,
            failed: false,
            first: true,
        }
    }

    /// When the next one is due; `closed`: there is a closed level that is not published.
    fn due(&self, closed: bool) -> Instant {
        let took = self.ended.saturating_duration_since(self.began);
        if self.first {
            self.began
        } else if self.failed {
            self.ended + took.max(RETRY)
        } else if closed {
            // At most half of the time, also when levels are short.
            self.ended + took
        } else {
            self.began + INTERVAL.max(SHARE * took)
        }
    }

    fn attempted(&mut self, began: Instant, ended: Instant, failed: bool) {
        *self = Self {
            began,
            ended,
            failed,
            first: false,
        };
    }
}

/// What the thread has.
struct Thread {
    place: WorkPlace,
    publisher: Publisher,
    requests: mpsc::UnboundedReceiver<Request>,
    status: watch::Sender<Status>,
    /// Closed levels that are not published.
    waiting: BTreeSet<u32>,
    timing: Timing,
}

impl Thread {
    async fn run(mut self) -> Result<(), String> {
        let outcome = loop {
            let due = self.timing.due(!self.waiting.is_empty());
            tokio::select! {
                biased;
                request = self.requests.recv() => match request {
                    Some(Request::LevelClosed(level)) => {
                        self.waiting.insert(level);
                    }
                    Some(Request::End(limit)) => break self.end(limit).await,
                    // The run could not begin.
                    None => break Ok(()),
                },
                () = tokio::time::sleep_until(due) => {
                    // A failure is told of, and followed by another attempt.
                    let _ = self.attempt(false).await;
                }
            }
        };
        let closed = self.publisher.close().await;
        outcome.and(closed.map_err(|error| chain(&error)))
    }

    /// The last publication, tried again until it succeeds or the time is up.
    async fn end(&mut self, limit: Duration) -> Result<(), String> {
        let give_up = Instant::now() + limit;
        loop {
            let outcome = self.attempt(true).await;
            let again = Instant::now() + RETRY;
            if outcome.is_ok() || again > give_up {
                return outcome;
            }
            tokio::time::sleep_until(again).await;
        }
    }

    async fn attempt(&mut self, complete: bool) -> Result<(), String> {
        let began = Instant::now();
        self.status.send_modify(|status| status.began = Some(began));
        let outcome = self.publisher.publish(complete).await;
        let ended = Instant::now();
        self.timing.attempted(began, ended, outcome.is_err());
        let outcome = match outcome {
            Ok(done) => {
                tracing::debug!(pieces = done.pieces, bytes = done.bytes, sent = done.sent_bytes, took = ?(ended - began), "published");
                self.note();
                Ok(())
            }
            Err(error) => {
                let problem = chain(&error);
                tracing::warn!("the results cannot be published: {problem}");
                Err(problem)
            }
        };
        let covered = match outcome {
            Ok(()) => std::mem::take(&mut self.waiting),
            Err(_) => BTreeSet::new(),
        };
        self.status.send_modify(|status| {
            status.began = None;
            status.longest = status.longest.max(ended - began);
            status.levels.extend(covered);
            status.problem = match &outcome {
                Ok(()) => None,
                Err(problem) => {
                    let since = status.problem.as_ref().map_or(began, |(since, _)| *since);
                    Some((since, problem.clone()))
                }
            };
        });
        outcome
    }

    fn note(&self) {
        let Some(manifest) = self.publisher.last() else {
            return;
        };
        if let Err(error) = self.place.note_published(&manifest.sha256) {
            // The next process on this machine then begins from what is published, which is as good.
            tracing::warn!(%error, "failed to note what was published");
        }
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += ": ";
        text += &cause.to_string();
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publications_keep_their_distance() {
        let zero = Instant::now();
        let at = |seconds: u64| zero + Duration::from_secs(seconds);
        let check = |began: u64, ended: u64, failed: bool, open: u64, closed: u64| {
            let mut timing = Timing::new(zero);
            assert_eq!(timing.due(false), zero, "the first one comes at once");
            timing.attempted(at(began), at(ended), failed);
            assert_eq!((timing.due(false), timing.due(true)), (at(open), at(closed)));
        };
        check(100, 100, false, 110, 100);
        check(100, 101, false, 110, 102);
        check(100, 103, false, 130, 106);
        check(100, 100, true, 105, 105);
        check(100, 140, true, 180, 180);
    }

    #[test]
    fn whoever_watches_is_told() {
        let zero = Instant::now();
        let at = |seconds: u64| zero + Duration::from_secs(seconds);
        let check = |status: &Status, expected: Option<&str>| {
            assert_eq!(status.warning(at(100)).as_deref(), expected);
        };
        let mut status = Status {
            began: Some(at(80)),
            ..Status::default()
        };
        check(&status, None);
        status.began = Some(at(60));
        check(
            &status,
            Some(
                "the results are being published for 40s: the run's directory is slow; the measurement goes on",
            ),
        );
        status.problem = Some((at(25), "cannot write `x`: no space".to_owned()));
        check(
            &status,
            Some(
                "the results cannot be published for 1min15s: cannot write `x`: no space; the measurement goes on and so do the \
                 attempts",
            ),
        );
    }
}
