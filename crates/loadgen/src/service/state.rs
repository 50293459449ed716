//! What the service does at present, and what came of it.

use std::{
    cell::{Cell, RefCell},
    fs, io,
    path::{Path, PathBuf},
    rc::Rc,
};

use anyhow::{Context, anyhow};
use gipfel_model::{Progress, RunConfig, RunState};
use tokio::sync::watch;

use super::{figures::Figures, launcher::Launcher, order::Order, totals::Totals};
use crate::{STOP_FILE, database_name};

/// The run that is on, or the last one.
pub(super) struct Job {
    pub(super) directory: PathBuf,
    pub(super) config: RunConfig,
}

impl Job {
    pub(super) fn database(&self) -> PathBuf {
        self.directory.join(database_name(&self.config.run_id))
    }

    /// What its process tells of it.
    pub(super) fn progress(&self) -> Option<Progress> {
        let text = fs::read(self.directory.join("progress.json")).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// What came of a run.
pub(super) struct Outcome {
    pub(super) state: RunState,
    pub(super) error: Option<String>,
    pub(super) figures: Vec<Figures>,
}

/// Why a run does not begin.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("Load generation is already running")]
    Busy,
    #[error("there is a run {0} in the service's directory")]
    Exists(String),
    #[error("failed to prepare the run's directory: {0}")]
    Directory(#[from] io::Error),
}

/// The service.
pub(super) struct Service {
    directory: PathBuf,
    launcher: Launcher,
    busy: watch::Sender<bool>,
    /// Whether loads of the file are still to come.
    listed: Cell<bool>,
    stopped: Cell<bool>,
    pub(super) job: RefCell<Option<Rc<Job>>>,
    /// Of the last run, once it is over.
    pub(super) outcome: RefCell<Option<Rc<Outcome>>>,
    pub(super) totals: RefCell<Totals>,
}

impl Service {
    pub(super) fn new(directory: PathBuf, launcher: Launcher) -> Self {
        Self {
            directory,
            launcher,
            busy: watch::Sender::new(false),
            listed: Cell::new(false),
            stopped: Cell::new(false),
            job: RefCell::default(),
            outcome: RefCell::default(),
            totals: RefCell::default(),
        }
    }

    /// Whether a run is on, or the next one of the file is about to begin.
    pub(super) fn is_busy(&self) -> bool {
        *self.busy.borrow() || self.listed.get()
    }

    /// Begins a run unless one is on.
    pub(super) fn start(self: &Rc<Self>, config: RunConfig) -> Result<(), StartError> {
        if self.is_busy() {
            return Err(StartError::Busy);
        }
        let job = self.prepare(config)?;
        let service = Rc::clone(self);
        tokio::task::spawn_local(async move { service.work(&job).await });
        Ok(())
    }

    /// Carries out the runs one after another and says how the worst of them ended; a stop ends them all.
    pub(super) async fn carry_out(self: &Rc<Self>, orders: Vec<Order>) -> RunState {
        self.listed.set(true);
        let mut ending = RunState::Completed;
        for order in orders {
            let state = match self.prepare(order()) {
                Ok(job) => self.work(&job).await,
                Err(error) => {
                    tracing::error!("{error}");
                    RunState::Failed
                }
            };
            if self.stopped.get() {
                ending = RunState::Stopped;
                break;
            }
            if state != RunState::Completed && ending != RunState::Failed {
                ending = state;
            }
        }
        self.listed.set(false);
        ending
    }

    /// Has the run stop, and those that were to follow it; false if none is on.
    pub(super) fn stop(&self) -> io::Result<bool> {
        if !self.is_busy() {
            return Ok(false);
        }
        self.stopped.set(true);
        if let Some(job) = &*self.job.borrow() {
            fs::write(job.directory.join(STOP_FILE), "")?;
        }
        Ok(true)
    }

    pub(super) async fn wait_until_idle(&self) {
        // Its sender is ours.
        let _ = self.busy.subscribe().wait_for(|busy| !busy).await;
    }

    fn prepare(&self, config: RunConfig) -> Result<Rc<Job>, StartError> {
        let directory = self.directory.join(config.run_id.as_str());
        match fs::create_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(StartError::Exists(config.run_id.to_string()));
            }
            created => created?,
        }
        let text = serde_json::to_vec_pretty(&config).map_err(io::Error::from)?;
        fs::write(directory.join("run_config.json"), text)?;
        let job = Rc::new(Job { directory, config });
        self.stopped.set(false);
        self.outcome.replace(None);
        self.job.replace(Some(Rc::clone(&job)));
        self.busy.send_replace(true);
        Ok(job)
    }

    async fn work(&self, job: &Job) -> RunState {
        let outcome = match self.launcher.run(&job.directory).await {
            Ok(exit) => outcome(job, exit.code()).await,
            Err(error) => failed(anyhow!(error).context("failed to start the run's process")),
        };
        for figures in &outcome.figures {
            self.totals.borrow_mut().add(figures);
        }
        if let Err(error) = write_results(&job.directory, &outcome) {
            tracing::error!("failed to write the results: {error}");
        }
        let state = outcome.state;
        self.outcome.replace(Some(Rc::new(outcome)));
        self.busy.send_replace(false);
        state
    }
}

fn failed(error: anyhow::Error) -> Outcome {
    Outcome {
        state: RunState::Failed,
        error: Some(format!("{error:#}")),
        figures: Vec::new(),
    }
}

/// What a process left that ended with `code`; absent if a signal ended it.
async fn outcome(job: &Job, code: Option<i32>) -> Outcome {
    let told = job.progress();
    let state = match code {
        Some(0) => RunState::Completed,
        Some(130) => RunState::Stopped,
        _ => RunState::Failed,
    };
    let error = told.and_then(|progress| progress.error);
    let error = match (state, error) {
        (RunState::Failed, None) => Some("the run's process ended without a word".to_owned()),
        (_, error) => error,
    };
    if !job.database().exists() {
        return Outcome {
            state,
            error,
            figures: Vec::new(),
        };
    }
    let read = Figures::read(&job.database(), &job.config).await;
    match read.context("failed to read the run's database") {
        Ok(figures) => Outcome {
            state,
            error,
            figures,
        },
        Err(fault) => failed(fault),
    }
}

/// Leaves the result beside the database, for whoever takes the directory away.
fn write_results(directory: &Path, outcome: &Outcome) -> io::Result<()> {
    let Some(figures) = outcome.figures.last() else {
        return Ok(());
    };
    fs::write(directory.join("result.json"), format!("{}\n", figures.json()))?;
    fs::write(directory.join("result.txt"), figures.text())
}
