//! Progress for people and for programs.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use gipfel_backend::Failure;
use gipfel_experiment::{DeploymentPhase, RunOutcome, RunPhase, Update};
use gipfel_model::{Phase, Progress, RunState, Stage};
use gipfel_results_analysis::Summary;
use serde_json::json;

use crate::{
    cli::OutputArguments,
    progress_words::{closed, standing},
    status_line::StatusLine,
};

/// Plain lines say where a level stands at most this often.
const LEVEL_LINE_INTERVAL: Duration = Duration::from_secs(5);
/// And where a search stands.
const SEARCH_LINE_INTERVAL: Duration = Duration::from_secs(30);

/// Prints what happens: lines on standard error, or one JSON object per event on standard output. On a terminal, where
/// everything stands now is one line that is written over.
pub struct Display {
    json: bool,
    state: RefCell<State>,
}

struct State {
    started: Instant,
    line: StatusLine,
    runs: BTreeMap<String, RunLines>,
}

/// What was said of a run.
#[derive(Default)]
struct RunLines {
    levels_shown: usize,
    /// What the last line said where it stands, and when.
    said: Option<(Place, Instant)>,
    /// Where it stands now.
    status: String,
}

/// Where a run stands, as far as a change of it is worth a line.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Level(u32, Phase),
    Search(Stage),
}

impl Display {
    /// A display of the chosen form; `live` asks for the line that is written over.
    pub fn new(json: bool, live: bool) -> Self {
        let state = State {
            started: Instant::now(),
            line: StatusLine::new(live && !json),
            runs: BTreeMap::new(),
        };
        Self {
            json,
            state: RefCell::new(state),
        }
    }

    pub(crate) fn of(output: &OutputArguments) -> Self {
        Self::new(output.json, !output.no_live)
    }

    /// Says one thing that is no update of the driver.
    pub fn note(&self, text: &str) {
        if self.json {
            self.event(&json!({"event": "note", "message": text}));
        } else {
            self.line(text);
        }
    }

    /// Shows an update.
    pub fn show(&self, update: &Update) {
        if self.json {
            self.event(&event(update));
            return;
        }
        match update {
            Update::Deployment { id, phase } => self.line(&deployment_line(id.as_str(), phase)),
            Update::Run { id, phase } => {
                if matches!(phase, RunPhase::Ended(_)) {
                    self.state.borrow_mut().end(id.as_str());
                }
                self.line(&run_line(id.as_str(), phase));
            }
            Update::Progress { progress, .. } => self.progress(progress),
            Update::Trouble { about, message } => self.line(&format!("{about}: {message}")),
            Update::Unreachable { about } => {
                self.line(&format!(
                    "{about}: does not answer; it is still ours and looked for"
                ));
            }
        }
    }

    /// Prints the summary as the last event.
    #[expect(clippy::unused_self, reason = "one of the display's events")]
    pub(crate) fn summary(&self, summary: &Summary) -> anyhow::Result<()> {
        let event = json!({"event": "summary", "summary": serde_json::to_value(summary)?});
        crate::print(&format!("{event}\n"))
    }

    /// Takes the line away that is written over; what follows is printed below.
    pub(crate) fn clear(&self) {
        let mut state = self.state.borrow_mut();
        state.runs.clear();
        state.draw();
    }

    fn progress(&self, progress: &Progress) {
        let mut state = self.state.borrow_mut();
        for line in state.take(progress) {
            state.print(&line);
        }
        state.draw();
    }

    fn line(&self, text: &str) {
        self.state.borrow_mut().print(text);
    }

    #[expect(clippy::unused_self, reason = "the counterpart of `line`")]
    fn event(&self, value: &serde_json::Value) {
        // Nor is a standard output that takes nothing: what is measured is kept, and the summary at the end says it.
        let _ = crate::print(&format!("{value}\n"));
    }
}

impl State {
    /// Takes the progress of a run; the lines that stay of it.
    fn take(&mut self, progress: &Progress) -> Vec<String> {
        let is_live = self.line.is_live();
        let run = self.runs.entry(progress.run_id.to_string()).or_default();
        let mut lines: Vec<String> = progress
            .levels
            .iter()
            .skip(run.levels_shown)
            .map(closed)
            .collect();
        run.levels_shown = run.levels_shown.max(progress.levels.len());
        let status = standing(progress).filter(|_| progress.state == RunState::Running);
        if !is_live && let (Some(status), Some(place)) = (&status, place(progress)) {
            lines.extend(run.is_due(place).then(|| status.clone()));
        }
        run.status = status.unwrap_or_default();
        lines
    }

    /// The run is over; it stands nowhere any more.
    fn end(&mut self, run: &str) {
        self.runs.remove(run);
        self.draw();
    }

    fn print(&mut self, text: &str) {
        let seconds = self.started.elapsed().as_secs();
        self.line.print(&stamped(seconds, text));
    }

    fn draw(&mut self) {
        let statuses = self.runs.values().map(|run| run.status.trim());
        let statuses: Vec<&str> = statuses.filter(|status| !status.is_empty()).collect();
        if statuses.is_empty() {
            self.line.set("");
        } else {
            let seconds = self.started.elapsed().as_secs();
            self.line.set(&stamped(seconds, &statuses.join(" | ")));
        }
    }
}

impl RunLines {
    /// Whether a line is due that says where the run stands.
    fn is_due(&mut self, place: Place) -> bool {
        let interval = match place {
            Place::Level(..) => LEVEL_LINE_INTERVAL,
            Place::Search(_) => SEARCH_LINE_INTERVAL,
        };
        let is_due = self
            .said
            .is_none_or(|(said, at)| said != place || at.elapsed() >= interval);
        if is_due {
            self.said = Some((place, Instant::now()));
        }
        is_due
    }
}

fn place(progress: &Progress) -> Option<Place> {
    let search = progress.search.as_ref().map(|search| Place::Search(search.stage));
    let level = progress.current.as_ref();
    search.or_else(|| level.map(|current| Place::Level(current.level, current.phase)))
}

fn stamped(seconds: u64, text: &str) -> String {
    format!("[{:3}:{:02}] {text}", seconds / 60, seconds % 60)
}

fn deployment_line(id: &str, phase: &DeploymentPhase) -> String {
    let what = match phase {
        DeploymentPhase::Pending => "waits for its turn".to_owned(),
        DeploymentPhase::Submitting { .. } => "is being started".to_owned(),
        DeploymentPhase::Settling { .. } => "may have been started; looking for it".to_owned(),
        DeploymentPhase::Starting { .. } => "is loading".to_owned(),
        DeploymentPhase::Ready { endpoint, .. } => format!("is ready at {}", endpoint.url),
        DeploymentPhase::Diagnosing { failure, .. } => format!("failed: {}", failure_words(failure)),
        DeploymentPhase::Ending { .. } => "is being ended".to_owned(),
        DeploymentPhase::Kept { endpoint, .. } => format!("is left running at {}", endpoint.url),
        DeploymentPhase::Lost { message, .. } => format!("could not be ended: {message}"),
        DeploymentPhase::Ended(_) => "has ended".to_owned(),
    };
    format!("server {id} {what}")
}

fn run_line(id: &str, phase: &RunPhase) -> String {
    let what = match phase {
        RunPhase::Waiting => "waits for its server".to_owned(),
        RunPhase::Submitting { .. } => "is being started".to_owned(),
        RunPhase::Settling { .. } => "may have been started; looking for it".to_owned(),
        RunPhase::Running { .. } => "is measuring".to_owned(),
        RunPhase::Checking { .. } => "has ended; looking at its server".to_owned(),
        RunPhase::Stopping { .. } => "is asked to stop".to_owned(),
        RunPhase::Ending { .. } => "is being ended".to_owned(),
        RunPhase::Collecting { .. } => "is being collected".to_owned(),
        RunPhase::Lost { message, .. } => format!("could not be ended: {message}"),
        RunPhase::Ended(RunOutcome::Completed) => "is complete".to_owned(),
        RunPhase::Ended(RunOutcome::Stopped) => "was stopped; what was measured is kept".to_owned(),
        RunPhase::Ended(RunOutcome::Failed(failure)) => format!("failed: {}", failure_words(failure)),
    };
    format!("run {id} {what}")
}

/// The failure's class and sentence; its log tail is shown once, at the end.
pub(crate) fn failure_words(failure: &Failure) -> String {
    format!("{}: {}", failure.reason, failure.message)
}

fn event(update: &Update) -> serde_json::Value {
    match update {
        Update::Deployment { id, phase } => {
            json!({"event": "deployment", "deployment": id, "phase": phase.name(), "detail": phase})
        }
        Update::Run { id, phase } => {
            json!({"event": "run", "run": id, "phase": phase.name(), "detail": phase})
        }
        Update::Progress { id, progress } => json!({"event": "progress", "run": id, "progress": progress}),
        Update::Trouble { about, message } => json!({"event": "trouble", "about": about, "message": message}),
        Update::Unreachable { about } => json!({"event": "unreachable", "about": about}),
    }
}

#[cfg(test)]
#[path = "display_tests.rs"]
mod tests;
