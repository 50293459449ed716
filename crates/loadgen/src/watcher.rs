//! `progress.json`: what is told to whoever watches.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use gipfel_model::{
    LevelProgress, PeakEstimate, Progress, RunId, RunState, SearchProgress, progress::LevelSummary,
    progress::PROGRESS_FORMAT,
};
use gipfel_stream_client::Clock;

use crate::files;

/// How often the file is replaced.
const INTERVAL: Duration = Duration::from_secs(1);

/// Keeps `progress.json` up to date.
pub(crate) struct Watcher {
    directory: PathBuf,
    progress: Progress,
    written: Option<Instant>,
}

impl Watcher {
    pub(crate) fn new(directory: PathBuf, run_id: RunId) -> Self {
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
        };
        Self {
            directory,
            progress,
            written: None,
        }
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

    /// Says that a level is over, at once.
    pub(crate) fn level(&mut self, summary: LevelSummary) {
        if self
            .progress
            .current
            .as_ref()
            .is_some_and(|current| current.level == summary.level)
        {
            self.progress.current = None;
        }
        self.progress.levels.push(summary);
        self.write();
    }

    fn write(&mut self) {
        self.written = Some(Instant::now());
        self.progress.updated_unix_ms = Clock::unix_now_ns() / 1_000_000;
        if let Err(error) = files::write_progress(&self.directory, &self.progress) {
            // Nobody sees the progress then, but the measurement does not depend on it.
            tracing::warn!(%error, "failed to replace progress.json");
        }
    }
}
