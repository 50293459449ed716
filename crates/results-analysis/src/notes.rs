//! What a reader of a run's figures has to know, in sentences.

use std::collections::BTreeMap;

use gipfel_model::{LevelState, Outcome, RunState, Stage, Verdict};
use gipfel_results_db::{Origin, RunRow};

use crate::{answer, shown, summary::LevelSummary, warnings};

pub(crate) fn notes(run: &RunRow, levels: &[LevelSummary]) -> Vec<String> {
    let mut notes = Vec::new();
    if run.origin == Origin::Predecessor {
        notes.push(
            "imported from a database of the predecessor: latencies count from the send, and whether the client \
             kept its schedule is not known"
                .to_owned(),
        );
    }
    notes.extend(state(run));
    if let Some((rejected, accepted)) = answer::non_monotonic(levels) {
        notes.push(format!(
            "{rejected} is rejected although {accepted} passes: measure again, or longer"
        ));
    }
    for level in levels {
        let rate = shown::level_rate(level);
        let own = of_level(level).into_iter();
        notes.extend(own.map(|note| format!("{rate} req/s: {note}")));
    }
    let (steps, listed): (Vec<_>, Vec<_>) = levels.iter().partition(|level| level.stage != Stage::Level);
    for level in listed {
        let rate = shown::level_rate(level);
        notes.extend(
            ended(&[level])
                .into_iter()
                .map(|note| format!("{rate} req/s: {note}")),
        );
    }
    notes.extend(ended(&steps));
    notes
}

fn state(run: &RunRow) -> Option<String> {
    let state = match run.state {
        RunState::Completed => return None,
        RunState::Waiting => "the run waits for its server",
        RunState::Running => "the run is not at its end",
        RunState::Stopped => "the run was stopped; what was measured is kept",
        RunState::Failed => "the run failed",
    };
    Some(match &run.error {
        Some(error) => format!("{state}: {error}"),
        None => state.to_owned(),
    })
}

fn of_level(level: &LevelSummary) -> Vec<String> {
    let mut notes = Vec::new();
    match (level.state, &level.verdict) {
        (LevelState::Broken, _) => notes.push("broken off; it counts for nothing".to_owned()),
        (LevelState::Open, _) => notes.push("not at its end".to_owned()),
        // One warning says it of all steps of a search.
        (_, Some(Verdict::Invalid { reason })) if level.stage == Stage::Level => {
            notes.push(format!("invalid, so no figures are given: {reason}"));
        }
        // A warning says it of violations that come in bursts.
        (_, Some(Verdict::Unresolved { reason })) if warnings::open_objective(level).is_none() => {
            notes.push(format!("unresolved: {reason}"));
        }
        _ => {}
    }
    notes.extend(level.faults.iter().cloned());
    notes
}

/// How the requests ended that did not complete, of all these levels together.
fn ended(levels: &[&LevelSummary]) -> Option<String> {
    let mut by_outcome: BTreeMap<&str, u64> = BTreeMap::new();
    let mut measured = 0;
    for level in levels.iter().filter(|level| level.state == LevelState::Complete) {
        measured += level.requests.measured;
        for (outcome, count) in &level.requests.by_outcome {
            // What a search sheds is its own doing.
            if level.stage == Stage::Level || outcome != Outcome::Shed.as_str() {
                *by_outcome.entry(outcome).or_default() += count;
            }
        }
    }
    let ended: u64 = by_outcome.values().sum();
    let by_outcome: Vec<String> = by_outcome
        .iter()
        .map(|(outcome, count)| format!("{outcome} {count}"))
        .collect();
    let worst = levels.iter().max_by_key(|level| level.requests.failed);
    let error = worst
        .and_then(|level| level.requests.most_frequent_error.as_ref())
        .map_or_else(String::new, |error| format!("; most often: {error}"));
    (ended > 0).then(|| {
        format!(
            "{ended} of {measured} measured requests did not complete ({}){error}",
            by_outcome.join(", ")
        )
    })
}
