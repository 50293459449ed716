//! What a server or a run has come to, in one line that stays.

use gipfel_backend::Failure;
use gipfel_experiment::{DeploymentPhase, RunOutcome, RunPhase};

/// Whether a server is on its way to another phase, of which nothing needs to be known later.
pub(crate) fn is_passing(phase: &DeploymentPhase) -> bool {
    match phase {
        DeploymentPhase::Pending
        | DeploymentPhase::Submitting { .. }
        | DeploymentPhase::Settling { .. }
        | DeploymentPhase::Starting { .. }
        | DeploymentPhase::Ending { .. }
        | DeploymentPhase::Ended(_) => true,
        DeploymentPhase::Ready { .. }
        | DeploymentPhase::Diagnosing { .. }
        | DeploymentPhase::Kept { .. }
        | DeploymentPhase::Lost { .. } => false,
    }
}

/// With the experiment's label for people who watch, else with the id, by which files are found.
pub(crate) fn deployment_line(id: &str, label: Option<&str>, phase: &DeploymentPhase) -> String {
    let what = match phase {
        DeploymentPhase::Pending => "waits for its turn".to_owned(),
        DeploymentPhase::Submitting { .. } => "is being started".to_owned(),
        DeploymentPhase::Settling { .. } => "may have been started; looking for it".to_owned(),
        DeploymentPhase::Starting {
            queued_since: Some(_),
            ..
        } => "waits in the queue".to_owned(),
        DeploymentPhase::Starting { .. } => "is loading".to_owned(),
        DeploymentPhase::Ready { endpoint, .. } => format!("is ready at {}", endpoint.url),
        DeploymentPhase::Diagnosing { failure, .. } => format!("failed: {}", failure_words(failure)),
        DeploymentPhase::Ending { .. } => "is being ended".to_owned(),
        DeploymentPhase::Kept { endpoint, .. } => format!("is left running at {}", endpoint.url),
        DeploymentPhase::Lost { message, .. } => format!("could not be ended: {message}"),
        DeploymentPhase::Ended(_) => "has ended".to_owned(),
    };
    match label {
        Some(label) => format!("{label}: its server {what}"),
        None => format!("server {id} {what}"),
    }
}

/// The same for a run.
pub(crate) fn run_line(id: &str, label: Option<&str>, phase: &RunPhase) -> String {
    let what = match phase {
        RunPhase::Waiting => "waits for its server".to_owned(),
        RunPhase::Submitting { .. } => "is being started".to_owned(),
        RunPhase::Settling { .. } => "may have been started; looking for it".to_owned(),
        RunPhase::Running { queued: true, .. } => "waits for its place or its server".to_owned(),
        RunPhase::Running { .. } => "is measuring".to_owned(),
        // What a further load generator makes good is said nowhere else.
        RunPhase::Checking {
            outcome: RunOutcome::Failed(failure),
            ..
        } => format!("has ended: {}; looking at its server", failure_words(failure)),
        RunPhase::Checking { .. } => "has ended; looking at its server".to_owned(),
        RunPhase::Stopping { .. } => "is asked to stop".to_owned(),
        RunPhase::Ending { .. } => "is being ended".to_owned(),
        RunPhase::Collecting { .. } => "is being collected".to_owned(),
        RunPhase::Lost { message, .. } => format!("could not be ended: {message}"),
        RunPhase::Ended(RunOutcome::Completed) => "is complete".to_owned(),
        RunPhase::Ended(RunOutcome::Stopped) => "was stopped; what was measured is kept".to_owned(),
        RunPhase::Ended(RunOutcome::Failed(failure)) => format!("failed: {}", failure_words(failure)),
    };
    match label {
        Some(label) => format!("{label} {what}"),
        None => format!("run {id} {what}"),
    }
}

/// The failure's class and sentence; its log tail is shown once, at the end.
pub(crate) fn failure_words(failure: &Failure) -> String {
    format!("{}: {}", failure.reason, failure.message)
}

#[cfg(test)]
mod tests {
    use gipfel_backend::FailureReason;
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn a_failed_run_names_the_class() {
        let failure = Failure {
            reason: FailureReason::ServerFailed,
            message: "the server's process 7 is gone".to_owned(),
            log_tail: "last words".to_owned(),
        };
        let phase = RunPhase::Ended(RunOutcome::Failed(failure));
        assert_snapshot!(run_line("r", None, &phase), @"run r failed: server-failed: the server's process 7 is gone");
        assert_snapshot!(run_line("r", Some("m on sim"), &phase), @"m on sim failed: server-failed: the server's process 7 is gone");
    }
}
