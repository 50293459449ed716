//! Progress for people and for programs.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

use gipfel_experiment::{Campaign, Driver, Limits, Update};
use gipfel_model::{DeploymentId, Phase, Progress, RunId, RunState, Stage};
use gipfel_results_analysis::Summary;

use crate::{
    cli::ShowArguments,
    events,
    exit::Exit,
    phase_words::{deployment_line, is_passing, run_line},
    progress_words::{closed, standing},
    terminal::LiveLines,
    view::{
        Group, Snapshot,
        experiment::label,
        files::CampaignFiles,
        lines::{Line, Style},
        table::{self, Size},
    },
    words::clock,
};

/// Plain lines say where a level stands at most this often.
const LEVEL_LINE_INTERVAL: Duration = Duration::from_secs(5);
/// And where a search stands, or what is waited for.
const SEARCH_LINE_INTERVAL: Duration = Duration::from_secs(30);

/// The table is drawn at most this often for what happens.
const DRAW_INTERVAL: Duration = Duration::from_millis(100);

/// Prints what happens: lines on standard error, or one JSON object per event on standard output. On a terminal, where
/// everything stands now is a table below those lines that is written over.
pub struct Display {
    json: bool,
    state: RefCell<State>,
}

struct State {
    started: Instant,
    lines: LiveLines,
    runs: BTreeMap<RunId, RunLines>,
    watched: Option<Watched>,
}

/// The campaign whose experiments are shown.
struct Watched {
    files: CampaignFiles,
    snapshot: Snapshot,
    /// The journal has changed since it was read.
    is_stale: bool,
    /// When the table was drawn last.
    drawn: Option<Instant>,
    /// What was over when it was taken up; that it is over is no news.
    over_before: BTreeSet<String>,
    /// This process drives it, so its time is that of the display.
    is_driven_here: bool,
    /// What an interrupt of this process does.
    footer: &'static str,
}

/// What was said of a run.
#[derive(Default)]
struct RunLines {
    /// The last level that was told of; levels are counted over all attempts.
    told: Option<u32>,
    /// What the last line said where it stands, and when.
    said: Option<(Place, Instant)>,
    /// When something was last said of what it waits for.
    waited: Option<Instant>,
}

/// Where a run stands, as far as a change of it is worth a line.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Level(u32, Phase),
    Search(Stage),
}

impl Display {
    /// A display of the chosen form; `live` asks for the table that is written over.
    pub fn new(json: bool, live: bool) -> Self {
        let state = State {
            started: Instant::now(),
            lines: LiveLines::new(live && !json),
            runs: BTreeMap::new(),
            watched: None,
        };
        Self {
            json,
            state: RefCell::new(state),
        }
    }

    pub(crate) fn of(show: &ShowArguments) -> Self {
        Self::new(show.json, !show.no_live)
    }

    /// Says which campaign is shown from now on, which process drives it, and what an interrupt of this one does.
    pub(crate) fn begin(&self, campaign: &Campaign, results_dir: &Path, driver: u32, footer: &'static str) {
        let files = CampaignFiles::new(results_dir, &campaign.campaign_id);
        if self.json {
            self.event(&events::campaign(campaign, &files.directory(), driver));
            return;
        }
        let mut state = self.state.borrow_mut();
        let count = match campaign.runs().count() {
            1 => "1 experiment".to_owned(),
            n => format!("{n} experiments"),
        };
        let (id, results_dir) = (&campaign.campaign_id, results_dir.display());
        state.print(&format!("campaign {id} in {results_dir}: {count}"));
        // Whatever cannot be read yet is told as if it were new.
        let earlier = files
            .snapshot()
            .map(|snapshot| snapshot.progress)
            .unwrap_or_default();
        let mut snapshot = Snapshot::new(campaign.clone());
        snapshot.progress.clone_from(&earlier);
        state.watched = Some(Watched {
            files,
            over_before: over(campaign),
            snapshot,
            is_stale: false,
            drawn: None,
            is_driven_here: driver == std::process::id(),
            footer,
        });
        state.know(&earlier);
    }

    /// Begins with what happened before: programs are told all of it, people see it in the table.
    pub(crate) fn take_up(&self, snapshot: &Snapshot) {
        if self.json {
            let changes = snapshot.campaign.changes_since(None, &Limits::default());
            for change in &changes {
                self.show(change);
            }
            return;
        }
        let mut state = self.state.borrow_mut();
        if let Some(watched) = &mut state.watched {
            watched.snapshot = snapshot.clone();
        }
        if !state.lines.is_live() {
            let experiments = snapshot.experiments(Driver::unix_now_ms());
            for experiment in experiments {
                state.print(&format!("{}: {}", experiment.label(), experiment.state));
            }
        }
        state.draw();
    }

    /// Says one thing that is no update of the driver.
    pub fn note(&self, text: &str) {
        if self.json {
            self.event(&events::note(text));
        } else {
            self.line(text);
        }
    }

    /// Shows an update.
    pub fn show(&self, update: &Update) {
        if self.json {
            self.event(&events::update(update));
            return;
        }
        let is_news = self.state.borrow_mut().is_news(update);
        self.state.borrow_mut().learn(update);
        if !is_news {
            return;
        }
        let is_live = self.state.borrow().lines.is_live();
        match update {
            // The table shows what is under way, so only what stays is a line then.
            Update::Deployment { phase, .. } if is_live && is_passing(phase) => {}
            Update::Run { phase, .. } if is_live && !phase.is_over() => {}
            Update::Deployment { id, phase } => {
                let label = self.state.borrow().server_label(id).filter(|_| is_live);
                self.line(&deployment_line(id.as_str(), label.as_deref(), phase));
            }
            Update::Run { id, phase } => {
                let label = self.state.borrow().run_label(id).filter(|_| is_live);
                self.line(&run_line(id.as_str(), label.as_deref(), phase));
            }
            Update::Progress { progress, .. } => {
                let mut state = self.state.borrow_mut();
                let lines = state.take(progress);
                for line in &lines {
                    state.print(line);
                }
            }
            Update::Trouble { about, message } => self.line(&format!("{about}: {message}")),
            Update::Unreachable { about } => {
                self.line(&format!(
                    "{about}: does not answer; it is still ours and looked for"
                ));
            }
        }
        self.state.borrow_mut().draw_soon();
    }

    /// Lets time pass: what counts seconds goes on, and what is waited for is said again.
    pub(crate) fn tick(&self) {
        if self.json {
            return;
        }
        let mut state = self.state.borrow_mut();
        state.refresh();
        if state.lines.is_live() {
            state.draw();
        } else {
            let lines = state.waits();
            for line in &lines {
                state.print(line);
            }
        }
    }

    /// Prints the summary as an event.
    pub(crate) fn summary(&self, summary: &Summary) -> anyhow::Result<()> {
        self.event(&events::summary(summary)?);
        Ok(())
    }

    /// Prints how the program ends, as the last event.
    pub(crate) fn end(&self, exit: Exit) {
        if self.json {
            self.event(&events::end(exit));
        }
    }

    /// Says what an interrupt of this process does from now on.
    pub(crate) fn footer(&self, footer: &'static str) {
        let mut state = self.state.borrow_mut();
        if let Some(watched) = &mut state.watched {
            watched.footer = footer;
        }
        state.draw();
    }

    /// Takes the table away that is written over; what follows is printed below.
    pub(crate) fn clear(&self) {
        let mut state = self.state.borrow_mut();
        state.watched = None;
        state.lines.set(&[]);
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
    /// Says what is known of each run already, and does not tell of it again.
    fn know(&mut self, earlier: &BTreeMap<RunId, Progress>) {
        for (id, progress) in earlier.iter().filter(|(_, progress)| !progress.levels.is_empty()) {
            self.runs.entry(id.clone()).or_default().tell(progress);
            let levels = match progress.levels.len() {
                1 => "1 level".to_owned(),
                n => format!("{n} levels"),
            };
            let label = self.label(id);
            self.print(&format!("  {label}{levels} measured before"));
        }
    }

    /// Whether an update tells more than that what was over is so still.
    fn is_news(&mut self, update: &Update) -> bool {
        let Some(watched) = &mut self.watched else {
            return true;
        };
        match update {
            Update::Deployment { id, phase } => !(watched.over_before.remove(id.as_str()) && phase.is_over()),
            Update::Run { id, phase } => !(watched.over_before.remove(id.as_str()) && phase.is_over()),
            Update::Progress { .. } | Update::Trouble { .. } | Update::Unreachable { .. } => true,
        }
    }

    /// Keeps the snapshot up to date with what is told.
    fn learn(&mut self, update: &Update) {
        let Some(watched) = &mut self.watched else {
            return;
        };
        match update {
            Update::Progress { id, progress } => {
                let progress = (**progress).clone();
                watched.snapshot.progress.insert(id.clone(), progress);
            }
            Update::Deployment { .. } | Update::Run { .. } | Update::Unreachable { .. } => {
                watched.is_stale = true;
            }
            Update::Trouble { .. } => {}
        }
    }

    /// Reads what has changed on disk: the journal is written before anybody is told.
    fn refresh(&mut self) {
        let Some(watched) = &mut self.watched else {
            return;
        };
        // One that cannot be read now is read the next time.
        if let (true, Ok(campaign)) = (watched.is_stale, watched.files.journal()) {
            watched.snapshot.campaign = campaign;
            watched.is_stale = false;
        }
        watched.files.read_last_lines(&mut watched.snapshot);
    }

    /// Takes the progress of a run; the lines that stay of it.
    fn take(&mut self, progress: &Progress) -> Vec<String> {
        let is_live = self.lines.is_live();
        let label = self.label(&progress.run_id);
        let run = self.runs.entry(progress.run_id.clone()).or_default();
        let mut lines: Vec<String> = progress
            .levels
            .iter()
            .filter(|level| run.told.is_none_or(|told| level.level > told))
            .map(closed)
            .collect();
        run.tell(progress);
        let status = standing(progress).filter(|_| progress.state == RunState::Running);
        if let (false, Some(status), Some(place)) = (is_live, status, place(progress))
            && run.is_due(place)
        {
            lines.push(status);
        }
        lines.iter().map(|line| format!("  {label}{line}")).collect()
    }

    /// Which experiment a line is about, where there are several.
    fn label(&self, id: &RunId) -> String {
        let watched = self.watched.as_ref();
        let several = watched.is_some_and(|watched| watched.snapshot.campaign.runs().nth(1).is_some());
        let label = self.run_label(id).filter(|_| several);
        label.map_or_else(String::new, |label| format!("{label}: "))
    }

    fn run_label(&self, id: &RunId) -> Option<String> {
        let (_, run) = self.watched.as_ref()?.snapshot.campaign.run(id)?;
        Some(label(&run.experiment))
    }

    /// That of the server's first experiment.
    fn server_label(&self, id: &DeploymentId) -> Option<String> {
        let deployment = self.watched.as_ref()?.snapshot.campaign.deployment(id)?;
        deployment.runs.first().map(|run| label(&run.experiment))
    }

    /// Plain lines about what has been waited for since the last one.
    fn waits(&mut self) -> Vec<String> {
        let Some(watched) = &self.watched else {
            return Vec::new();
        };
        let experiments = watched.snapshot.experiments(Driver::unix_now_ms());
        let waiting = experiments
            .iter()
            .filter(|experiment| experiment.group == Group::Running && experiment.figures.is_none());
        let mut lines = Vec::new();
        for experiment in waiting {
            let run = self.runs.entry(experiment.run.clone()).or_default();
            let since = run.waited.get_or_insert_with(Instant::now);
            if since.elapsed() >= SEARCH_LINE_INTERVAL {
                run.waited = Some(Instant::now());
                lines.push(format!("{}: {}", experiment.label(), experiment.state));
            }
        }
        lines
    }

    fn print(&mut self, text: &str) {
        let seconds = self.started.elapsed().as_secs();
        self.lines.print(&stamped(seconds, text));
    }

    /// Draws at most some times a second, however many things happen at once; the next tick draws what is left.
    fn draw_soon(&mut self) {
        let drawn = self.watched.as_ref().and_then(|watched| watched.drawn);
        if self.lines.is_live() && drawn.is_none_or(|drawn| drawn.elapsed() >= DRAW_INTERVAL) {
            self.refresh();
            self.draw();
        }
    }

    fn draw(&mut self) {
        if let Some(watched) = &mut self.watched {
            watched.drawn = Some(Instant::now());
        }
        let Some(watched) = self.watched.as_ref().filter(|_| self.lines.is_live()) else {
            return;
        };
        let footer = if watched.is_driven_here {
            let elapsed = clock(self.started.elapsed().as_secs_f64());
            format!(" {elapsed}  {}", watched.footer)
        } else {
            format!(" {}", watched.footer)
        };
        let lines = table_lines(
            &watched.snapshot,
            &footer,
            LiveLines::size(),
            Driver::unix_now_ms(),
        );
        self.lines.set(&lines);
    }
}

/// The servers and runs that are over, by their ids.
fn over(campaign: &Campaign) -> BTreeSet<String> {
    let servers = campaign.deployments.iter();
    let servers = servers.filter(|server| server.phase.is_over());
    let runs = campaign.runs().filter(|(_, run)| run.phase.is_over());
    servers
        .map(|server| server.id.to_string())
        .chain(runs.map(|(_, run)| run.id.to_string()))
        .collect()
}

/// The table at the bottom of a terminal; it takes half of its height at most.
fn table_lines(snapshot: &Snapshot, footer: &str, size: Size, now: i64) -> Vec<Line> {
    let room = Size {
        rows: (size.rows / 2).saturating_sub(2).clamp(1, 20),
        ..size
    };
    let mut lines = table::render(&snapshot.experiments(now), room);
    lines.push(Line::of(footer, Style::Dim).cut(size.columns));
    lines
}

impl RunLines {
    /// The levels that are over are known from now on.
    fn tell(&mut self, progress: &Progress) {
        let last = progress.levels.iter().map(|level| level.level).max();
        self.told = self.told.max(last);
    }

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

#[cfg(test)]
#[path = "display_tests.rs"]
mod tests;
