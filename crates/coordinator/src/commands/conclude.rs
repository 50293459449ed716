//! How a campaign ended: what lives, what failed, the table, the exit code.

use std::path::PathBuf;

use gipfel_experiment::{DeploymentPhase, Left, RunOutcome};
use gipfel_model::{DeploymentId, DeploymentKind, DeploymentSpec, deployment::Placement};
use gipfel_results_analysis::{Conclusion, Summary};

use crate::{
    accounts, campaign::Finished, cli::ShowArguments, commands::results, display::Display, exit::Exit,
    failure::Failure, kubernetes, only, phase_words::failure_words, remedy, words,
};

/// Says how the campaign ended and chooses the exit code.
pub(crate) fn conclude(
    finished: &Finished,
    output: &ShowArguments,
    display: &Display,
) -> Result<Exit, Failure> {
    display.clear();
    let state = &finished.state;
    let live = state.live();
    let lives: Vec<_> = live.iter().filter(|live| !live.kept).collect();
    for live in &lives {
        display.note(&format!("still lives: {}", words::live(live)));
    }
    for trouble in &finished.not_merged {
        display.note(trouble);
    }
    show_failures(finished, output, display);
    let exit = show_answer(&finished.databases, output, display)?;
    for line in accounts::lines(state) {
        display.note(&line);
    }
    if state.is_unfinished() && finished.left != Left::Finished {
        let command = |verb: &str| {
            let words = format!("{verb} {}", state.campaign_id);
            words::command(&words, &output.results_dir)
        };
        display.note(&if lives.is_empty() {
            format!("nothing of it lives; {} goes on", command("resume"))
        } else {
            format!(
                "{} goes on with it, {} ends it",
                command("resume"),
                command("cancel")
            )
        });
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
    output: &ShowArguments,
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

fn show_failures(finished: &Finished, output: &ShowArguments, display: &Display) {
    let mut failed = false;
    for (_, run) in finished.state.runs() {
        let label = only::label(&run.experiment);
        if let Some(RunOutcome::Failed(failure)) = run.outcome() {
            failed = true;
            display.note(&format!("{label}: failed: {}", failure_words(failure)));
            // The load generator's last words are the message itself.
            let tail = failure.log_tail.lines();
            for line in tail.filter(|line| !line.ends_with(&failure.message)) {
                display.note(&format!("  | {line}"));
            }
            display.note(&format!("hint: {}", remedy::of_failure(failure, &run.experiment)));
        }
        let stopped = run.outcome() == Some(&RunOutcome::Stopped);
        if stopped && run.collect_error.is_some() && run.database.is_none() {
            display.note(&format!("{label}: was stopped before anything was measured"));
        } else if let Some(error) = &run.collect_error {
            display.note(&format!(
                "{label}: the database of run {} could not be collected: {error}",
                run.id
            ));
        }
    }
    if failed {
        let logs = words::command(
            &format!("logs {}", finished.state.campaign_id),
            &output.results_dir,
        );
        display.note(&format!("{logs} prints what servers and load generators said"));
    }
    for deployment in &finished.state.deployments {
        if let DeploymentPhase::Kept { handle, endpoint } = &deployment.phase {
            let (id, url) = (&deployment.id, &endpoint.url);
            let words = |verb: &str| words::command(&format!("{verb} {id}"), &output.results_dir);
            display.note(&match deployment.kind() {
                DeploymentKind::Slurm => format!(
                    "server {id} is left running at {url} until its walltime: `gipfel run` uses it with --on {id}, {} \
                     leads to it, {} ends it",
                    words("connect"),
                    words("clean --campaign")
                ),
                DeploymentKind::K8s => format!(
                    "server {id} is left running at {url}: `gipfel run` uses it with --on {id}; {} ends it",
                    kept_claim(&deployment.spec, id)
                ),
                DeploymentKind::Local | DeploymentKind::External => format!(
                    "server {id} is left running at {url}; ending its process ends it: {}",
                    handle.detail
                ),
            });
        }
    }
}

/// How a user ends a kept server: all its objects belong to its claim.
fn kept_claim(spec: &DeploymentSpec, id: &DeploymentId) -> String {
    let options = match &spec.placement {
        Placement::K8s(k8s) => kubernetes::of_server(k8s).options(),
        Placement::Local(_) | Placement::External(_) | Placement::Slurm(_) => String::new(),
    };
    let claim = gipfel_k8s_backend::object_name(id.as_str());
    format!("`kubectl{options} delete configmap {claim}`")
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
