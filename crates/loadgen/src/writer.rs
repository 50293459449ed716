//! The one writer of the result database: batches rows, at most half a second apart.

use std::time::Duration;

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
/// Messages that wait for the disk before the workers begin to hold their records themselves.
pub(crate) const QUEUE: usize = 64;

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
    mut messages: mpsc::Receiver<WriterMessage>,
) -> Result<(), DbError> {
    let mut batch = Batch {
        shift_ns,
        closed,
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
            db.append(run, &self.requests, &self.scrapes).await?;
            self.requests.clear();
            self.scrapes.clear();
        }
        Ok(())
    }
}
