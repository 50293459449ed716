//! Where an experiment stands, and what it waits for, in words.

use gipfel_experiment::{Deployment, DeploymentPhase, Run, RunOutcome, RunPhase};
use gipfel_model::{Phase, Progress, RunState, Stage};

use super::experiment::{Group, Snapshot};
use crate::words::clock;

/// What is looked at.
pub(super) struct Subject<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) deployment: &'a Deployment,
    /// Among the runs of its server.
    pub(super) place: usize,
    pub(super) run: &'a Run,
    pub(super) progress: Option<&'a Progress>,
    /// Unix time in milliseconds.
    pub(super) now: i64,
}

/// Where it stands.
pub(super) struct Standing {
    pub(super) group: Group,
    pub(super) words: String,
    /// The words are few, and there are figures beside them.
    pub(super) measures: bool,
    pub(super) failed: bool,
}

pub(super) fn of(subject: &Subject<'_>) -> Standing {
    match &subject.run.phase {
        RunPhase::Waiting => before_its_run(subject),
        RunPhase::Submitting { .. } => runs("its load generator is being started"),
        RunPhase::Settling { .. } => runs("its load generator may have been started; looking for it"),
        RunPhase::Running { failures, .. } if *failures > 0 => runs(&format!(
            "its load generator does not answer ({failures} looks); it is still ours and looked for"
        )),
        RunPhase::Running { queued, .. } => at_work(subject, *queued),
        RunPhase::Checking { .. } => runs("its load generator has ended; looking at its server"),
        RunPhase::Stopping { .. } => runs("stops; what was measured is kept"),
        RunPhase::Ending { .. } => runs("its load generator is being ended"),
        RunPhase::Collecting { .. } => runs("its results are being collected"),
        RunPhase::Lost { message, .. } => Standing {
            failed: true,
            ..over(&format!(
                "its load generator could not be ended and may live: {message}"
            ))
        },
        RunPhase::Ended(outcome) => ended(subject, outcome),
    }
}

fn ended(subject: &Subject<'_>, outcome: &RunOutcome) -> Standing {
    let measures = subject
        .progress
        .is_some_and(|progress| !progress.levels.is_empty());
    let words = match outcome {
        RunOutcome::Completed => "complete",
        RunOutcome::Stopped => "stopped",
        RunOutcome::Failed(failure) => {
            return Standing {
                failed: true,
                ..over(&format!("failed: {}: {}", failure.reason, failure.message))
            };
        }
    };
    Standing {
        measures,
        ..over(words)
    }
}

fn before_its_run(subject: &Subject<'_>) -> Standing {
    match &subject.deployment.phase {
        DeploymentPhase::Pending if subject.deployment.attempt > 0 => {
            waits("its server did not start and is tried again")
        }
        DeploymentPhase::Pending if subject.snapshot.is_full() => waits(&format!(
            "waits for its turn: number {} in line, {} at once",
            subject.snapshot.turn(&subject.deployment.id),
            subject.snapshot.campaign.max_parallel
        )),
        DeploymentPhase::Pending => waits("is about to start"),
        phase if is_next(subject) => runs(&server_words(subject, phase)),
        _ => waits("waits for the experiment before it on the same server"),
    }
}

/// Whether it is the first of its server that has not begun, and none is under way.
fn is_next(subject: &Subject<'_>) -> bool {
    let mut before = subject.deployment.runs.iter().take(subject.place);
    before.all(|run| run.phase.is_over())
}

fn server_words(subject: &Subject<'_>, phase: &DeploymentPhase) -> String {
    let since = |since: i64| clock((subject.now - since) as f64 / 1000.0);
    match phase {
        DeploymentPhase::Pending => "waits for its server".to_owned(),
        DeploymentPhase::Submitting { since: at } => format!("its server is being started {}", since(*at)),
        DeploymentPhase::Settling { .. } => "its server may have been started; looking for it".to_owned(),
        DeploymentPhase::Starting { failures, .. } if *failures > 0 => {
            format!("its server cannot be looked at ({failures} looks); it is still ours and looked for")
        }
        DeploymentPhase::Starting {
            queued_since: Some(at),
            ..
        } => format!("its server is in the queue {}", since(*at)),
        DeploymentPhase::Starting {
            since: at,
            give_up_at,
            ..
        } => loading(subject, at.map(since), at.zip(*give_up_at)),
        DeploymentPhase::Ready { .. } | DeploymentPhase::Kept { .. } => {
            "its server is ready; it is about to be measured".to_owned()
        }
        DeploymentPhase::Diagnosing { .. } => "its server failed; reading its log".to_owned(),
        DeploymentPhase::Ending { since: at, .. } => format!("its server is being ended {}", since(*at)),
        DeploymentPhase::Lost { message, .. } => format!("its server could not be ended: {message}"),
        DeploymentPhase::Ended(_) => "its server has ended".to_owned(),
    }
}

/// `loading 1:20 of at most 15:00: <the last line of its log>`.
fn loading(subject: &Subject<'_>, elapsed: Option<String>, bounds: Option<(i64, i64)>) -> String {
    let verb = if subject.deployment.owned {
        "loading"
    } else {
        "waiting for its server to answer"
    };
    let elapsed = elapsed.map_or_else(String::new, |elapsed| format!(" {elapsed}"));
    let most = bounds.map_or_else(String::new, |(since, give_up_at)| {
        format!(" of at most {}", clock((give_up_at - since) as f64 / 1000.0))
    });
    let line = subject.snapshot.last_lines.get(&subject.deployment.id);
    let line = line.map_or_else(String::new, |line| format!(": {line}"));
    format!("{verb}{elapsed}{most}{line}")
}

fn at_work(subject: &Subject<'_>, queued: bool) -> Standing {
    let loading = &subject.deployment.phase;
    let server_loads = matches!(loading, DeploymentPhase::Starting { .. });
    let Some(progress) = subject.progress else {
        return match (queued, server_loads) {
            (true, true) => runs(&format!(
                "{}; its load generator waits for its place",
                server_words(subject, loading)
            )),
            (true, false) => runs("its server is ready; its load generator waits for its place"),
            (false, true) => runs(&server_words(subject, loading)),
            (false, false) => runs("its load generator is starting"),
        };
    };
    let words = match progress.state {
        RunState::Waiting if server_loads => return runs(&server_words(subject, loading)),
        RunState::Waiting => return runs("its load generator waits for the server to answer"),
        RunState::Running => measuring_words(progress),
        RunState::Completed => "finishing",
        RunState::Stopped => "stopping",
        RunState::Failed => return runs("its load generator gave up; looking at its server"),
    };
    Standing {
        measures: true,
        ..runs(words)
    }
}

fn measuring_words(progress: &Progress) -> &'static str {
    match (&progress.search, &progress.current) {
        (Some(search), _) => match search.stage {
            Stage::Ramp => "rising",
            Stage::Bracket => "narrowing",
            Stage::Track | Stage::Level => "near peak",
        },
        (None, Some(current)) => match current.phase {
            Phase::Warmup => "warm-up",
            Phase::Measured => "measuring",
            Phase::Tail => "draining",
        },
        (None, None) => "settling",
    }
}

fn runs(words: &str) -> Standing {
    standing(Group::Running, words)
}

fn waits(words: &str) -> Standing {
    standing(Group::Waiting, words)
}

fn over(words: &str) -> Standing {
    standing(Group::Over, words)
}

fn standing(group: Group, words: &str) -> Standing {
    Standing {
        group,
        words: words.to_owned(),
        measures: false,
        failed: false,
    }
}

#[cfg(test)]
mod tests {
    use gipfel_backend::{Failure, FailureReason};
    use gipfel_experiment::DeploymentOutcome;
    use gipfel_model::BackendKind;

    use super::*;
    use crate::view::samples::{self, NOW, handle};

    fn lost_answer() -> Failure {
        Failure {
            reason: FailureReason::ServerFailed,
            message: "the answer was lost".to_owned(),
            log_tail: String::new(),
        }
    }

    fn words(change: impl FnOnce(&mut Deployment)) -> String {
        let mut deployment = samples::deployment(0, "m", BackendKind::Vllm);
        change(&mut deployment);
        let snapshot = Snapshot::new(samples::campaign(vec![deployment]));
        snapshot.experiments(NOW)[0].state.clone()
    }

    fn server(phase: DeploymentPhase) -> String {
        words(|deployment| deployment.phase = phase)
    }

    fn load(phase: RunPhase) -> String {
        words(|deployment| deployment.runs[0].phase = phase)
    }

    #[test]
    fn every_phase_says_what_is_waited_for() {
        use DeploymentPhase as D;
        use RunPhase as R;
        let handle = || handle("x");
        let since = NOW - 65_000;
        let outcome = || RunOutcome::Completed;
        let lines = [
            server(D::Pending),
            words(|deployment| deployment.attempt = 1),
            server(D::Submitting { since }),
            server(D::Settling {
                since: None,
                failure: lost_answer(),
            }),
            server(D::Starting {
                handle: handle(),
                queued_since: Some(since),
                since: Some(NOW),
                give_up_at: None,
                failures: 0,
            }),
            server(D::Starting {
                handle: handle(),
                queued_since: None,
                since: Some(since),
                give_up_at: Some(since + 900_000),
                failures: 0,
            }),
            server(D::Starting {
                handle: handle(),
                queued_since: None,
                since: None,
                give_up_at: None,
                failures: 4,
            }),
            server(D::Diagnosing {
                handle: handle(),
                failure: lost_answer(),
            }),
            server(D::Ending {
                handle: handle(),
                outcome: DeploymentOutcome::Done,
                since,
                failures: 0,
            }),
            load(R::Submitting { call_off: None }),
            load(R::Settling {
                call_off: None,
                failure: lost_answer(),
            }),
            load(R::Running {
                handle: handle(),
                queued: true,
                failures: 0,
            }),
            load(R::Running {
                handle: handle(),
                queued: false,
                failures: 0,
            }),
            load(R::Running {
                handle: handle(),
                queued: false,
                failures: 4,
            }),
            load(R::Checking {
                handle: handle(),
                outcome: outcome(),
                since,
            }),
            load(R::Stopping {
                handle: handle(),
                outcome: outcome(),
                asked: true,
                give_up_at: NOW,
            }),
            load(R::Ending {
                handle: handle(),
                outcome: outcome(),
                since,
                failures: 0,
            }),
            load(R::Lost {
                handle: handle(),
                outcome: outcome(),
                message: "permission denied".to_owned(),
            }),
            load(R::Ended(RunOutcome::Failed(lost_answer()))),
        ];
        insta::assert_snapshot!(lines.join("\n"), @"
        is about to start
        its server did not start and is tried again
        its server is being started 1:05
        its server may have been started; looking for it
        its server is in the queue 1:05
        loading 1:05 of at most 15:00
        its server cannot be looked at (4 looks); it is still ours and looked for
        its server failed; reading its log
        its server is being ended 1:05
        its load generator is being started
        its load generator may have been started; looking for it
        its server is ready; its load generator waits for its place
        its load generator is starting
        its load generator does not answer (4 looks); it is still ours and looked for
        its load generator has ended; looking at its server
        stops; what was measured is kept
        its load generator is being ended
        its load generator could not be ended and may live: permission denied
        failed: server-failed: the answer was lost
        ");
    }

    #[test]
    fn experiments_of_one_server_go_one_after_another() {
        let mut deployment = samples::measured(samples::deployment(0, "m", BackendKind::Vllm));
        let mut later = deployment.runs[0].clone();
        later.phase = RunPhase::Waiting;
        deployment.runs.push(later);
        let mut snapshot = Snapshot::new(samples::campaign(vec![deployment]));
        let second = |snapshot: &Snapshot| snapshot.experiments(NOW)[1].state.clone();
        assert_eq!(
            second(&snapshot),
            "waits for the experiment before it on the same server"
        );
        snapshot.campaign.deployments[0].runs[0].phase = RunPhase::Ended(RunOutcome::Completed);
        assert_eq!(
            second(&snapshot),
            "its server is ready; it is about to be measured"
        );
    }
}
