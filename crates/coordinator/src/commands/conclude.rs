//! How a campaign ended: what lives, what failed, the table, the exit code.

use std::path::PathBuf;

use gipfel_experiment::{DeploymentPhase, Left, RunOutcome};
use gipfel_results_analysis::{Conclusion, Summary};

use crate::{
    campaign::Finished,
    cli::OutputArguments,
    commands::{results, run},
    display::{self, Display},
    exit::Exit,
    failure::Failure,
};

/// Says how the campaign ended and chooses the exit code.
pub(crate) fn conclude(
    finished: &Finished,
    output: &OutputArguments,
    display: &Display,
) -> Result<Exit, Failure> {
    display.clear();
    let state = &finished.state;
    state
        .live()
        .iter()
        .filter(|live| !live.kept)
        .for_each(|live| display.note(&format!("still lives: {live}")));
    for trouble in &finished.not_merged {
        display.note(trouble);
    }
    show_failures(finished, display);
    let exit = show_answer(&finished.databases, output, display)?;
    if state.is_unfinished() && finished.left != Left::Finished {
        display.note(&format!(
            "{} goes on",
            run::resume_command(&state.campaign_id, output)
        ));
    }
    let failed = |outcome: Option<&RunOutcome>| matches!(outcome, Some(RunOutcome::Failed(_)));
    let uncollected = state
        .runs()
        .any(|(_, run)| run.collect_error.is_some() && run.database.is_none());
    Ok(match finished.left {
        Left::Interrupted => Exit::Interrupted,
        Left::Detached => Exit::Done,
        Left::Finished if uncollected || !finished.not_merged.is_empty() => Exit::ExperimentFailed,
        Left::Finished if state.runs().any(|(_, run)| failed(run.outcome())) => Exit::ExperimentFailed,
        Left::Finished => exit,
    })
}

/// Prints the table of the runs of these databases, and chooses the exit code by their answers.
pub(crate) fn show_answer(
    databases: &[PathBuf],
    output: &OutputArguments,
    display: &Display,
) -> Result<Exit, Failure> {
    let mut all: Option<Summary> = None;
    for database in databases.iter().filter(|database| database.exists()) {
        match results::read_summary(database, &[]) {
            Ok(summary) => match &mut all {
                Some(all) => all.extend(summary),
                None => all = Some(summary),
            },
            Err(failure) => display.note(failure.render().trim_end()),
        }
    }
    let Some(summary) = all else {
        return Ok(Exit::Unresolved);
    };
    if output.json {
        display.summary(&summary)?;
    } else {
        results::print_summary(&summary, results::Form::default())?;
    }
    Ok(answer(&summary))
}

fn show_failures(finished: &Finished, display: &Display) {
    for (deployment, run) in finished.state.runs() {
        if let Some(RunOutcome::Failed(failure)) = run.outcome() {
            let words = display::failure_words(failure);
            display.note(&format!("{} on {}: {words}", run.id, deployment.id));
            for line in failure.log_tail.lines() {
                display.note(&format!("  | {line}"));
            }
        }
        if let Some(error) = &run.collect_error {
            display.note(&format!(
                "run {}: its database could not be collected: {error}",
                run.id
            ));
        }
    }
    for deployment in &finished.state.deployments {
        if let DeploymentPhase::Kept { handle, endpoint } = &deployment.phase {
            let (id, url) = (&deployment.id, &endpoint.url);
            display.note(&format!(
                "server {id} is left running at {url}; ending its process ends it: {}",
                handle.detail
            ));
        }
    }
}

/// 0 when every run has an answer; 10 when no run that has none could have one, since nothing passes; else 12.
fn answer(summary: &Summary) -> Exit {
    let conclusions = summary.runs.iter().map(|run| run.answer.conclusion);
    let missing: Vec<Conclusion> = conclusions
        .filter(|conclusion| *conclusion != Conclusion::Answered)
        .collect();
    if missing.is_empty() {
        Exit::Done
    } else if missing
        .iter()
        .all(|conclusion| *conclusion == Conclusion::NothingPasses)
    {
        Exit::NoRate
    } else {
        Exit::Unresolved
    }
}
