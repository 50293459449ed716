//! What is left to measure when a file is run again.

use std::{fmt, path::PathBuf, str::FromStr};

use gipfel_backend::FailureReason;
use gipfel_model::{CampaignId, ExperimentSpec, RunId};

use crate::run::{Run, RunOutcome, RunPhase};

/// A run of an earlier campaign.
#[derive(Clone, Debug, PartialEq)]
pub struct EarlierRun {
    /// Its campaign.
    pub campaign: CampaignId,
    /// Its name.
    pub id: RunId,
    /// What was asked for.
    pub experiment: ExperimentSpec,
    /// What it came to.
    pub outcome: EarlierOutcome,
}

/// What an earlier run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EarlierOutcome {
    /// Everything is measured and stands in this database.
    Completed(PathBuf),
    /// It failed.
    Failed(FailureReason),
    /// It goes on, or was interrupted.
    Unfinished,
    /// It was measured, and its database is gone.
    WithoutResult,
}

impl EarlierOutcome {
    /// What `run` came to; `database` is the one that it left, if that is there.
    pub fn of(run: &Run, database: Option<PathBuf>) -> Self {
        match (&run.phase, run.outcome(), database) {
            (_, Some(RunOutcome::Completed), Some(database)) => Self::Completed(database),
            (_, Some(RunOutcome::Completed), None) => Self::WithoutResult,
            (RunPhase::Ended(_), Some(RunOutcome::Failed(failure)), _) => Self::Failed(failure.reason),
            _ => Self::Unfinished,
        }
    }
}

/// What becomes of an experiment.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It is measured for the first time.
    Measure,
    /// It is measured although this earlier run failed, was interrupted, or lost its result.
    MeasureAgain(EarlierRun),
    /// It has this result already.
    Skip(EarlierRun),
    /// It failed, and is not to be tried again.
    Leave(EarlierRun),
}

/// Decides about each experiment. `earlier` begins with the latest; each of its runs stands for one experiment.
///
/// Experiments are the same when their specifications are equal in every part, with all defaults filled in. A result
/// goes before a later failure.
pub fn decide(wanted: &[ExperimentSpec], earlier: &[EarlierRun], retry: &Retry) -> Vec<Decision> {
    let mut left: Vec<&EarlierRun> = earlier.iter().collect();
    let decisions = wanted.iter().map(|experiment| {
        let is_same = |run: &&EarlierRun| run.experiment == *experiment;
        let is_complete = |run: &&EarlierRun| matches!(run.outcome, EarlierOutcome::Completed(_));
        let complete = left.iter().position(|run| is_same(run) && is_complete(run));
        let Some(index) = complete.or_else(|| left.iter().position(is_same)) else {
            return Decision::Measure;
        };
        let run = left.remove(index).clone();
        match run.outcome {
            EarlierOutcome::Completed(_) => Decision::Skip(run),
            EarlierOutcome::Failed(reason) if !retry.includes(reason) => Decision::Leave(run),
            EarlierOutcome::Failed(_) | EarlierOutcome::Unfinished | EarlierOutcome::WithoutResult => {
                Decision::MeasureAgain(run)
            }
        }
    });
    decisions.collect()
}

/// Which failures are tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Every one.
    All,
    /// None.
    None,
    /// Those for these reasons.
    Only(Vec<FailureReason>),
}

impl Retry {
    fn includes(&self, reason: FailureReason) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Only(reasons) => reasons.contains(&reason),
        }
    }
}

/// Every reason, with the names that stand for it beside its own.
const REASONS: &[(FailureReason, &[&str])] = &[
    (FailureReason::OutOfMemory, &["oom"]),
    (FailureReason::PortTaken, &[]),
    (FailureReason::ModelNotFound, &[]),
    (FailureReason::CommandNotFound, &[]),
    (FailureReason::ReadyTimeout, &["timeout"]),
    (FailureReason::TimeLimit, &["timeout"]),
    (FailureReason::ServerFailed, &[]),
    (FailureReason::LoadFailed, &[]),
    (FailureReason::Cancelled, &[]),
];

/// A text that names no reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{found}` is no reason of a failure; write all, none, or some of {}, separated by commas",
    names()
)]
pub struct UnknownReason {
    found: String,
}

fn names() -> String {
    let mut names: Vec<&str> = REASONS
        .iter()
        .flat_map(|(reason, others)| others.iter().copied().chain([reason.as_str()]))
        .collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

impl FromStr for Retry {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        match text.trim() {
            "all" => return Ok(Self::All),
            "none" => return Ok(Self::None),
            _ => {}
        }
        let mut reasons = Vec::new();
        for name in text.split(',').map(str::trim) {
            let named = REASONS
                .iter()
                .filter(|(reason, others)| reason.as_str() == name || others.contains(&name));
            let before = reasons.len();
            reasons.extend(named.map(|(reason, _)| *reason));
            if reasons.len() == before {
                return Err(UnknownReason {
                    found: name.to_owned(),
                });
            }
        }
        Ok(Self::Only(reasons))
    }
}

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::None => f.write_str("none"),
            Self::Only(reasons) => {
                let names: Vec<&str> = reasons.iter().map(|reason| reason.as_str()).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use gipfel_backend::Failure;

    use super::*;
    use crate::samples::{experiment, local};

    /// `model` of an earlier run and what it came to: `done`, `gone`, `open`, or the reason of its failure.
    fn earlier(number: usize, (model, outcome): (&str, &str)) -> EarlierRun {
        let reason = || match Retry::from_str(outcome) {
            Ok(Retry::Only(reasons)) => reasons[0],
            other => panic!("{other:?}"),
        };
        EarlierRun {
            campaign: "c-1".parse().unwrap(),
            id: format!("r-{number}").parse().unwrap(),
            experiment: experiment(model, local()),
            outcome: match outcome {
                "done" => EarlierOutcome::Completed("run.db".into()),
                "gone" => EarlierOutcome::WithoutResult,
                "open" => EarlierOutcome::Unfinished,
                _ => EarlierOutcome::Failed(reason()),
            },
        }
    }

    fn words(decision: &Decision) -> String {
        match decision {
            Decision::Measure => "new".to_owned(),
            Decision::MeasureAgain(run) => format!("again {}", run.id),
            Decision::Skip(run) => format!("skip {}", run.id),
            Decision::Leave(run) => format!("leave {}", run.id),
        }
    }

    #[test]
    fn what_is_complete_is_skipped_and_failures_are_tried_again() {
        let check = |wanted: &[&str], runs: &[(&str, &str)], retry: &str, expected: &[&str]| {
            let wanted: Vec<ExperimentSpec> = wanted.iter().map(|model| experiment(model, local())).collect();
            let runs: Vec<EarlierRun> = runs
                .iter()
                .enumerate()
                .map(|(number, run)| earlier(number, *run))
                .collect();
            let decisions = decide(&wanted, &runs, &retry.parse().unwrap());
            let found: Vec<String> = decisions.iter().map(words).collect();
            assert_eq!(found, expected, "{wanted:?} {runs:?} {retry}");
        };
        check(&["a", "b"], &[], "all", &["new", "new"]);
        check(&["a", "b"], &[("a", "done")], "all", &["skip r-0", "new"]);
        // Each result stands for one experiment.
        check(&["a", "a"], &[("a", "done")], "all", &["skip r-0", "new"]);
        check(&["a"], &[("a", "oom"), ("a", "done")], "none", &["skip r-1"]);
        check(&["a"], &[("a", "oom"), ("a", "timeout")], "all", &["again r-0"]);
        check(&["a"], &[("a", "oom")], "none", &["leave r-0"]);
        check(&["a"], &[("a", "oom")], "timeout", &["leave r-0"]);
        check(&["a"], &[("a", "time-limit")], "oom,timeout", &["again r-0"]);
        check(&["a"], &[("a", "open")], "none", &["again r-0"]);
        check(&["a"], &[("a", "gone")], "none", &["again r-0"]);
    }

    #[test]
    fn every_part_of_an_experiment_counts() {
        let done = earlier(0, ("a", "done"));
        let check = |change: fn(&mut ExperimentSpec)| {
            let mut wanted = experiment("a", local());
            change(&mut wanted);
            assert_eq!(
                decide(&[wanted], std::slice::from_ref(&done), &Retry::All),
                [Decision::Measure]
            );
        };
        check(|experiment| experiment.workload.seed += 1);
        check(|experiment| experiment.repeat += 1);
        check(|experiment| experiment.workers = Some(2));
        check(|experiment| experiment.deployment.instance += 1);
        check(|experiment| {
            let seed = ("seed".to_owned(), 1.into());
            experiment.deployment.backend_config.extend([seed]);
        });
    }

    #[test]
    fn what_a_run_came_to() {
        let check = |phase: RunPhase, database: Option<&str>, expected: EarlierOutcome| {
            let mut run = Run::new("r-1".parse().unwrap(), experiment("a", local()));
            run.phase = phase;
            assert_eq!(EarlierOutcome::of(&run, database.map(PathBuf::from)), expected);
        };
        let failed = RunOutcome::Failed(Failure {
            reason: FailureReason::OutOfMemory,
            message: "no memory".to_owned(),
            log_tail: String::new(),
        });
        let done = EarlierOutcome::Completed("a.db".into());
        check(RunPhase::Waiting, None, EarlierOutcome::Unfinished);
        check(RunPhase::Ended(RunOutcome::Completed), Some("a.db"), done);
        check(
            RunPhase::Ended(RunOutcome::Completed),
            None,
            EarlierOutcome::WithoutResult,
        );
        check(
            RunPhase::Ended(RunOutcome::Stopped),
            Some("a.db"),
            EarlierOutcome::Unfinished,
        );
        let out_of_memory = EarlierOutcome::Failed(FailureReason::OutOfMemory);
        check(RunPhase::Ended(failed), Some("a.db"), out_of_memory);
    }

    #[test]
    fn reasons_have_names() {
        let check = |text: &str, expected: &str| {
            let found = text
                .parse::<Retry>()
                .map_or_else(|error| error.to_string(), |retry| retry.to_string());
            assert_eq!(found, expected, "{text}");
        };
        check("all", "all");
        check("none", "none");
        check("oom, timeout", "out-of-memory,ready-timeout,time-limit");
        check("server-failed", "server-failed");
        check(
            "oom,memory",
            "`memory` is no reason of a failure; write all, none, or some of cancelled, command-not-found, \
             load-failed, model-not-found, oom, out-of-memory, port-taken, ready-timeout, server-failed, time-limit, \
             timeout, separated by commas",
        );
    }
}
