//! The one writer of the result database: batches rows, at most half a second apart. Nobody waits for it: what it cannot
//! keep up with is given up by the workers, and the level with it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use gipfel_model::{LevelRecord, LevelState, Provenance, RequestRecord, RunState, ScrapeRecord};
use gipfel_results_db::{DbError, ResultsDb, RunKey};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::publication::Closed;

/// Rows lie at most this long in memory.
const BATCH_INTERVAL: Duration = Duration::from_millis(500);
/// Rows of one transaction.
const BATCH_ROWS: usize = 20_000;
/// Rows that may wait for the disk, so that a disk that stands still takes up no more than some 80 MB.
const MAX_WAITING_ROWS: usize = 200_000;
/// A commit that takes longer is worth a word.
const SLOW_COMMIT: Duration = Duration::from_secs(1);

/// What is to be written.
#[derive(Debug)]
pub(crate) enum WriterMessage {
    Requests(Vec<RequestRecord>),
    Scrape(ScrapeRecord),
    Level(Box<LevelRecord>),
    Gaps {
        level: u32,
        rank: u32,
        histogram: Vec<u8>,
    },
    RunState {
        state: RunState,
        error: Option<String>,
    },
    Provenance(Provenance),
    /// Everything before it is committed when the answer comes.
    Flush(oneshot::Sender<()>),
}

/// The writer has failed, and says itself why.
#[derive(Debug)]
pub(crate) struct WriterGone;

/// The way to the writer.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    messages: mpsc::UnboundedSender<WriterMessage>,
    disk: Arc<Disk>,
}

/// What the writer receives.
pub(crate) struct Incoming {
    messages: mpsc::UnboundedReceiver<WriterMessage>,
    disk: Arc<Disk>,
}

/// How the disk keeps up.
#[derive(Debug, Default)]
struct Disk {
    waiting_rows: AtomicUsize,
    slowest_commit_ns: AtomicU64,
}

/// A way to a writer that is yet to run.
pub(crate) fn recorder() -> (Recorder, Incoming) {
    let (sender, messages) = mpsc::unbounded_channel();
    let disk = Arc::new(Disk::default());
    let recorder = Recorder {
        messages: sender,
        disk: Arc::clone(&disk),
    };
    (recorder, Incoming { messages, disk })
}

impl Recorder {
    /// Hands over what is to be written, and does not wait for it.
    pub(crate) fn write(&self, message: WriterMessage) -> Result<(), WriterGone> {
        if let WriterMessage::Requests(rows) = &message {
            self.disk.waiting_rows.fetch_add(rows.len(), Ordering::Relaxed);
        }
        self.messages.send(message).map_err(|_| WriterGone)
    }

    /// Hands rows over, unless too many wait for the disk already: then they stay where they are.
    pub(crate) fn offer(&self, rows: &mut Vec<RequestRecord>) {
        let waiting = self.disk.waiting_rows.load(Ordering::Relaxed);
        if !rows.is_empty() && waiting + rows.len() <= MAX_WAITING_ROWS {
            // An error means that the writer has failed, which whoever leads the run notices.
            let _ = self.write(WriterMessage::Requests(std::mem::take(rows)));
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.messages.is_closed()
    }

    /// How long the slowest commit since the last time took.
    pub(crate) fn take_slowest_commit(&self) -> Duration {
        Duration::from_nanos(self.disk.slowest_commit_ns.swap(0, Ordering::Relaxed))
    }
}

/// Writes until every sender is gone, then closes the database.
///
/// The times of what comes count from this process's anchor; `shift_ns` after the run's anchor. Of each level that is
/// closed, `closed` learns once it is committed.
///
/// # Errors
/// The first failure ends it: a full disk does not mend itself, and the caller must stop measuring.
pub(crate) async fn run(
    db: ResultsDb,
    run: RunKey,
    shift_ns: i64,
    closed: Option<Closed>,
    incoming: Incoming,
) -> Result<(), DbError> {
    let Incoming { mut messages, disk } = incoming;
    let mut batch = Batch {
        shift_ns,
        closed,
        disk,
        ..Batch::default()
    };
    loop {
        let message = match batch.due {
            Some(due) => tokio::select! {
                message = messages.recv() => message,
                () = tokio::time::sleep_until(due) => {
                    batch.commit(&db, run).await?;
                    continue;
                }
            },
            None => messages.recv().await,
        };
        let Some(message) = message else { break };
        write(&db, run, &mut batch, message).await?;
    }
    batch.commit(&db, run).await?;
    db.close().await
}

async fn write(
    db: &ResultsDb,
    run: RunKey,
    batch: &mut Batch,
    message: WriterMessage,
) -> Result<(), DbError> {
    match message {
        WriterMessage::Requests(rows) => batch.requests.extend(rows.into_iter().map(|mut row| {
            row.scheduled_ns += batch.shift_ns;
            row
        })),
        WriterMessage::Scrape(mut row) => {
            row.at_ns += batch.shift_ns;
            batch.scrapes.push(row);
        }
        WriterMessage::Level(mut level) => {
            level.start_ns += batch.shift_ns;
            // A level is complete only when its rows are.
            batch.commit(db, run).await?;
            db.put_level(run, &level).await?;
            if level.state != LevelState::Open
                && let Some(closed) = &batch.closed
            {
                closed.tell(level.level);
            }
        }
        WriterMessage::Gaps {
            level,
            rank,
            histogram,
        } => db.put_gaps(run, level, rank, &histogram).await?,
        WriterMessage::RunState { state, error } => {
            batch.commit(db, run).await?;
            db.set_run_state(run, state, error.as_deref()).await?;
        }
        WriterMessage::Provenance(facts) => db.set_provenance(run, &facts).await?,
        WriterMessage::Flush(done) => {
            batch.commit(db, run).await?;
            // Nobody waits any more if this fails.
            let _ = done.send(());
        }
    }
    batch.note_pending();
    if batch.requests.len() >= BATCH_ROWS {
        batch.commit(db, run).await
    } else {
        Ok(())
    }
}

#[derive(Default)]
struct Batch {
    shift_ns: i64,
    closed: Option<Closed>,
    disk: Arc<Disk>,
    requests: Vec<RequestRecord>,
    scrapes: Vec<ScrapeRecord>,
    due: Option<Instant>,
}

impl Batch {
    fn note_pending(&mut self) {
        let pending = !self.requests.is_empty() || !self.scrapes.is_empty();
        if pending && self.due.is_none() {
            self.due = Some(Instant::now() + BATCH_INTERVAL);
        }
    }

    async fn commit(&mut self, db: &ResultsDb, run: RunKey) -> Result<(), DbError> {
        self.due = None;
        if !self.requests.is_empty() || !self.scrapes.is_empty() {
            let began = Instant::now();
            db.append(run, &self.requests, &self.scrapes).await?;
            self.note_commit(began.elapsed());
            self.requests.clear();
            self.scrapes.clear();
        }
        Ok(())
    }

    fn note_commit(&self, took: Duration) {
        let rows = self.requests.len();
        self.disk.waiting_rows.fetch_sub(rows, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.disk.slowest_commit_ns.fetch_max(nanos, Ordering::Relaxed);
        if took >= SLOW_COMMIT {
            let seconds = took.as_secs_f64();
            tracing::warn!(
                rows,
                "the disk is slow: it took {seconds:.1} s to keep what was measured"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use gipfel_model::Phase;
    use gipfel_stream_client::Watch;

    use super::*;
    use crate::compose::{self, Planned};

    fn record(request: i64) -> RequestRecord {
        let planned = Planned {
            rank: 0,
            level: 0,
            phase: Phase::Measured,
            request,
            scheduled_ns: 0,
            second: 0,
            input: 1,
            output: 1,
            endpoint: 0,
        };
        compose::shed(&planned, &Watch::new(), 0)
    }

    #[test]
    fn a_disk_that_stands_still_takes_up_bounded_memory_and_nobodys_time() {
        let (recorder, mut incoming) = recorder();
        let mut held = Vec::new();
        let mut taken = 0;
        for _ in 0..30 {
            held.extend((0..10_000).map(record));
            let before = held.len();
            recorder.offer(&mut held);
            taken += before - held.len();
        }
        assert_eq!((taken, held.len()), (MAX_WAITING_ROWS, 100_000));
        // What the controller says is never held back, and keeps its place behind the rows.
        recorder
            .write(WriterMessage::Provenance(Provenance::default()))
            .expect("a writer");
        let mut rows = 0;
        while let Ok(WriterMessage::Requests(some)) = incoming.messages.try_recv() {
            rows += some.len();
            incoming
                .disk
                .waiting_rows
                .fetch_sub(some.len(), Ordering::Relaxed);
        }
        assert_eq!(rows, MAX_WAITING_ROWS);
        recorder.offer(&mut held);
        assert!(held.is_empty(), "there is room again");
        drop(incoming);
        assert!(recorder.is_closed());
    }
}
