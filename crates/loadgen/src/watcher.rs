//! `progress.json`: what is told to whoever watches.

use std::{
    io,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use gipfel_model::{
    LevelProgress, PeakEstimate, Progress, RunId, RunState, SearchProgress, progress::LevelSummary,
    progress::PROGRESS_FORMAT,
};
use gipfel_stream_client::Clock;
use tokio::{sync::watch, time::MissedTickBehavior};

use crate::{files, publication::Status};

/// How often the file is replaced.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long the last word may take to reach the file.
const FAREWELL: Duration = Duration::from_secs(30);

/// Keeps `progress.json` up to date.
pub(crate) struct Watcher {
    file: Writing,
    progress: Progress,
    written: Option<Instant>,
    publication: Option<watch::Receiver<Status>>,
    /// Levels that are over and not published: a machine that is lost takes them with it, so nobody is told of them.
    unpublished: Vec<LevelSummary>,
}

impl Watcher {
    pub(crate) fn new(directory: PathBuf, run_id: RunId) -> io::Result<Self> {
        let progress = Progress {
            header: PROGRESS_FORMAT.header(),
            run_id,
            state: RunState::Waiting,
            updated_unix_ms: 0,
            pid: std::process::id(),
            levels: Vec::new(),
            current: None,
            search: None,
            planned_levels: None,
            error: None,
            warning: None,
        };
        Ok(Self {
            file: Writing::begin(directory)?,
            progress,
            written: None,
            publication: None,
            unpublished: Vec::new(),
        })
    }

    /// From now on levels are told of when they are published, and how that stands.
    pub(crate) fn follow(&mut self, publication: watch::Receiver<Status>) {
        self.publication = Some(publication);
    }

    /// Keeps the file young until `work` is done.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut ticker = tokio::time::interval(INTERVAL);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                value = &mut work => return value,
                _ = ticker.tick() => self.write(),
            }
        }
    }

    /// Waits until the last word has reached the file, or it takes too long.
    pub(crate) fn leave(self) {
        self.file.end();
    }

    /// Takes what is known before anything is sent; it is shown with the next state.
    pub(crate) fn plan(&mut self, planned_levels: Option<u32>, earlier: Vec<LevelSummary>) {
        self.progress.planned_levels = planned_levels;
        self.progress.levels = earlier;
    }

    /// Says where the run stands, at once.
    pub(crate) fn state(&mut self, state: RunState, error: Option<String>) {
        self.progress.state = state;
        self.progress.error = error;
        if state != RunState::Running {
            self.progress.current = None;
        }
        self.write();
    }

    /// Whether the file is a second old.
    pub(crate) fn is_due(&self) -> bool {
        self.written.is_none_or(|written| written.elapsed() >= INTERVAL)
    }

    /// Says where the level stands.
    pub(crate) fn current(&mut self, current: LevelProgress) {
        self.progress.current = Some(current);
        self.write();
    }

    /// Takes where an adaptive search stands; it is shown with the next level.
    pub(crate) fn search(&mut self, search: SearchProgress) {
        self.progress.search = Some(search);
    }

    /// Takes the last estimate of a search.
    pub(crate) fn search_ended(&mut self, estimate: Option<PeakEstimate>) {
        if let Some(search) = &mut self.progress.search {
            search.estimate = estimate;
        }
    }

    /// Says that a level is over, at once unless it is yet to be published.
    pub(crate) fn level(&mut self, summary: LevelSummary) {
        if self
            .progress
            .current
            .as_ref()
            .is_some_and(|current| current.level == summary.level)
        {
            self.progress.current = None;
        }
        self.unpublished.push(summary);
        self.write();
    }

    fn write(&mut self) {
        self.written = Some(Instant::now());
        self.progress.updated_unix_ms = Clock::unix_now_ns() / 1_000_000;
        let known = match &self.publication {
            Some(publication) => {
                let status = publication.borrow();
                self.progress.warning = status.warning(tokio::time::Instant::now());
                let is_known = |one: &mut LevelSummary| status.levels.contains(&one.level);
                self.unpublished.extract_if(.., is_known).collect()
            }
            None => std::mem::take(&mut self.unpublished),
        };
        self.progress.levels.extend(known);
        self.file.replace(self.progress.clone());
    }
}

/// Writes the file on a thread of its own: a slow file system must not hold up who decides on the load.
struct Writing {
    progress: mpsc::Sender<Progress>,
    ended: mpsc::Receiver<()>,
}

impl Writing {
    fn begin(directory: PathBuf) -> io::Result<Self> {
        let (progress, progress_in) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        thread::Builder::new()
            .name("progress".to_owned())
            .spawn(move || {
                write_all(&directory, &progress_in);
                // Nobody waits any more if this fails.
                let _ = end.send(());
            })?;
        Ok(Self { progress, ended })
    }

    fn replace(&self, progress: Progress) {
        // The thread leaves after this sender.
        let _ = self.progress.send(progress);
    }

    fn end(self) {
        drop(self.progress);
        if self.ended.recv_timeout(FAREWELL).is_err() {
            tracing::warn!(
                "the last progress.json was not written within {} s",
                FAREWELL.as_secs()
            );
        }
    }
}

/// Writes what comes; of what has come meanwhile, only the last.
fn write_all(directory: &Path, progress: &mpsc::Receiver<Progress>) {
    while let Ok(mut last) = progress.recv() {
        while let Ok(newer) = progress.try_recv() {
            last = newer;
        }
        if let Err(error) = files::write_progress(directory, &last) {
            // Nobody sees the progress then, but the measurement does not depend on it.
            tracing::warn!(%error, "failed to replace progress.json");
        }
    }
}
