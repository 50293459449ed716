//! `gipfel run` again on the same file: what earlier campaigns of the results directory have is not measured again.

use std::path::{Path, PathBuf};

use gipfel_experiment::{Decision, EarlierOutcome, EarlierRun, Journal, JournalError, decide, redirect_all};
use gipfel_model::{CampaignId, ExperimentSpec};

use crate::{
    campaign::Options,
    cli::{OutputArguments, RunArguments},
    commands::conclude,
    display::Display,
    exit::Exit,
    failure::Failure,
    words::command,
};

/// What is left to do.
pub(crate) struct Todo {
    /// What is measured.
    pub(crate) experiments: Vec<ExperimentSpec>,
    /// The results that are there already.
    pub(crate) databases: Vec<PathBuf>,
    /// Whether a failed experiment is not tried again.
    pub(crate) left_failed: bool,
}

impl Todo {
    /// Shows the results that are there, when there is nothing to measure.
    pub(crate) fn conclude(&self, output: &OutputArguments, display: &Display) -> Result<Exit, Failure> {
        if self.databases.is_empty() {
            return Ok(Exit::ExperimentFailed);
        }
        let exit = conclude::show_answer(&self.databases, &output.show, display)?;
        display.note(if self.left_failed {
            "what failed is left as it is; --retry all tries it again, --rerun measures everything again"
        } else {
            "nothing is left to measure; --rerun measures everything again"
        });
        Ok(with_left_failures(exit, self.left_failed))
    }
}

/// A failure that is left as it is still counts.
pub(crate) fn with_left_failures(exit: Exit, left_failed: bool) -> Exit {
    match exit {
        Exit::Interrupted => exit,
        _ if left_failed => Exit::ExperimentFailed,
        _ => exit,
    }
}

/// Looks into the earlier campaigns and says what comes of each experiment that they know.
pub(crate) fn todo(
    mut experiments: Vec<ExperimentSpec>,
    options: &Options,
    arguments: &RunArguments,
    display: &Display,
) -> Result<Todo, Failure> {
    let mut todo = Todo {
        experiments: Vec::new(),
        databases: Vec::new(),
        left_failed: false,
    };
    redirect_all(&mut experiments, &options.servers).map_err(Failure::usage)?;
    if arguments.rerun {
        todo.experiments = experiments;
        return Ok(todo);
    }
    let earlier = earlier_runs(&options.results_dir, display)?;
    let decisions = decide(&experiments, &earlier, &arguments.retry);
    for (experiment, decision) in experiments.into_iter().zip(decisions) {
        if let Some(words) = words(&experiment, &decision, &arguments.output) {
            display.note(&words);
        }
        match decision {
            Decision::Measure | Decision::MeasureAgain(_) => todo.experiments.push(experiment),
            Decision::Leave(_) => todo.left_failed = true,
            Decision::Skip(run) => {
                if let EarlierOutcome::Completed(database) = run.outcome {
                    todo.databases.push(database);
                }
            }
        }
    }
    Ok(todo)
}

/// The runs of all campaigns, the latest first. A campaign that cannot be read is named and passed over: it is no reason
/// not to measure.
fn earlier_runs(results_dir: &Path, display: &Display) -> Result<Vec<EarlierRun>, Failure> {
    let mut earlier = Vec::new();
    if !results_dir.is_dir() {
        // Whoever takes the directory for the campaign says what is wrong with it.
        return Ok(earlier);
    }
    for id in Journal::campaigns(results_dir).map_err(Failure::usage)? {
        match runs_of(results_dir, &id) {
            Ok(runs) => earlier.extend(runs),
            Err(error) => {
                let words = Failure::usage(error).render();
                display.note(&format!("campaign {id} is passed over: {}", words.trim_end()));
            }
        }
    }
    Ok(earlier)
}

fn runs_of(results_dir: &Path, id: &CampaignId) -> Result<Vec<EarlierRun>, JournalError> {
    let campaign = Journal::load(results_dir, id)?;
    let directory = results_dir.join(id.as_str());
    let runs = campaign.runs().map(|(_, run)| {
        let database = run.database.as_ref().map(|database| directory.join(database));
        EarlierRun {
            campaign: id.clone(),
            id: run.id.clone(),
            experiment: run.experiment.clone(),
            outcome: EarlierOutcome::of(run, database.filter(|database| database.is_file())),
        }
    });
    Ok(runs.collect())
}

/// What becomes of an experiment; nothing is said of one that is new.
fn words(experiment: &ExperimentSpec, decision: &Decision, output: &OutputArguments) -> Option<String> {
    let spec = &experiment.deployment;
    let kind = spec.placement.kind();
    let name = format!("{} on {}, {kind}", spec.model, spec.backend);
    match decision {
        Decision::Measure => None,
        Decision::Skip(run) => Some(format!(
            "skipped: {name} is complete, see {}; --rerun measures it again",
            match &run.outcome {
                EarlierOutcome::Completed(database) => database.display().to_string(),
                _ => run.id.to_string(),
            }
        )),
        Decision::Leave(run) => Some(format!(
            "skipped: {name} failed in run {}{}; --retry all tries it again",
            run.id,
            because(run)
        )),
        Decision::MeasureAgain(run) => Some(match run.outcome {
            EarlierOutcome::Unfinished => format!(
                "again: {name} is unfinished in run {}; {} would go on with it",
                run.id,
                command(&format!("resume {}", run.campaign), &output.show.results_dir)
            ),
            EarlierOutcome::WithoutResult => {
                format!("again: {name}; the database of run {} is gone", run.id)
            }
            EarlierOutcome::Failed(_) | EarlierOutcome::Completed(_) => {
                format!("again: {name} failed in run {}{}", run.id, because(run))
            }
        }),
    }
}

fn because(run: &EarlierRun) -> String {
    match run.outcome {
        EarlierOutcome::Failed(reason) => format!(" ({reason})"),
        _ => String::new(),
    }
}
