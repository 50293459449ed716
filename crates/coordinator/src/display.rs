//! Progress for people and for programs.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::Write,
    time::{Duration, Instant},
};

use gipfel_backend::Failure;
use gipfel_experiment::{DeploymentPhase, RunOutcome, RunPhase, Update};
use gipfel_model::{LevelProgress, Phase, Progress, Verdict};
use gipfel_results_analysis::Summary;
use serde_json::json;

/// Plain lines say where a level stands at most this often.
const LEVEL_LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Prints what happens: plain lines on standard error, or one JSON object per event on standard output.
pub struct Display {
    json: bool,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    started: Option<Instant>,
    runs: BTreeMap<String, RunState>,
}

#[derive(Default)]
struct RunState {
    levels_shown: usize,
    level_line: Option<(u32, Phase, Instant)>,
}

impl Display {
    /// A display of the chosen form.
    pub fn new(json: bool) -> Self {
        let state = State {
            started: Some(Instant::now()),
            ..State::default()
        };
        Self {
            json,
            state: RefCell::new(state),
        }
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
            Update::Run { id, phase } => self.line(&run_line(id.as_str(), phase)),
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
    pub(crate) fn summary(&self, summary: &Summary) -> anyhow::Result<()> {
        self.event(&json!({"event": "summary", "summary": serde_json::to_value(summary)?}));
        Ok(())
    }

    fn progress(&self, progress: &Progress) {
        let mut state = self.state.borrow_mut();
        let run = state.runs.entry(progress.run_id.to_string()).or_default();
        let mut lines = Vec::new();
        for level in progress.levels.iter().skip(run.levels_shown) {
            let completed = level.completed_rate;
            let ttft = milliseconds(level.ttft_p95_ms);
            lines.push(format!(
                "  {}: TTFT p95 {ttft}, completed {completed:.2} req/s: {}",
                level.rate,
                level.verdict.as_ref().map(verdict_words).unwrap_or_default()
            ));
        }
        run.levels_shown = progress.levels.len();
        if let Some(current) = &progress.current {
            let due = run.level_line.is_none_or(|(level, phase, at)| {
                level != current.level || phase != current.phase || at.elapsed() >= LEVEL_LINE_INTERVAL
            });
            if due {
                run.level_line = Some((current.level, current.phase, Instant::now()));
                lines.push(level_line(current));
            }
        }
        drop(state);
        for line in lines {
            self.line(&line);
        }
    }

    /// A closed standard error is no reason to stop measuring.
    fn line(&self, text: &str) {
        let elapsed = self
            .state
            .borrow()
            .started
            .map_or(0, |started| started.elapsed().as_secs());
        let _ = writeln!(
            std::io::stderr(),
            "[{:3}:{:02}] {text}",
            elapsed / 60,
            elapsed % 60
        );
    }

    #[expect(clippy::unused_self, reason = "the counterpart of `line`")]
    fn event(&self, value: &serde_json::Value) {
        crate::print(&format!("{value}\n"));
    }
}

fn level_line(current: &LevelProgress) -> String {
    let phase = match current.phase {
        Phase::Warmup => "warm-up",
        Phase::Measured => "measuring",
        Phase::Tail => "waiting for the measured requests",
    };
    let ttft = match current.phase {
        Phase::Warmup => String::new(),
        Phase::Measured | Phase::Tail => format!(", TTFT p95 so far {}", milliseconds(current.ttft_p95_ms)),
    };
    let failed = if current.failed > 0 {
        format!(", {} failed", current.failed)
    } else {
        String::new()
    };
    format!(
        "  {}: {phase}, {:.0} of {:.0} s, {} in flight{failed}{ttft}",
        current.rate, current.elapsed_s, current.planned_s, current.in_flight
    )
}

fn milliseconds(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.0} ms"))
}

fn verdict_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept => "passes".to_owned(),
        Verdict::Reject { slo } => format!("rejected ({slo})"),
        Verdict::Unresolved { reason } => format!("unresolved: {reason}"),
        Verdict::Invalid { reason } => format!("invalid: {reason}"),
    }
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
