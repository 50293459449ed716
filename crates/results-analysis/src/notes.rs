//! What a reader of a run's figures has to know, in sentences.

use gipfel_model::{LevelState, RunState, Verdict};
use gipfel_results_db::{Origin, RunRow};

use crate::{answer, summary::LevelSummary};

/// A prompt is unique from its first word; more than a chat template's share of cached tokens is a mistake.
const PREFIX_CACHE_LIMIT: f64 = 0.1;

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
        notes.extend(
            of_level(level)
                .into_iter()
                .map(|note| format!("{}: {note}", level.rate)),
        );
    }
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
        (_, Some(Verdict::Invalid { reason })) => {
            notes.push(format!("invalid, so no figures are given: {reason}"));
        }
        _ => {}
    }
    notes.extend(failures(level));
    if let Some(share) = level
        .prefix_cache_hit_share
        .filter(|share| *share > PREFIX_CACHE_LIMIT)
    {
        notes.push(format!(
            "{:.0} % of the prompt tokens came from the server's prefix cache, so its figures are too good",
            share * 100.0
        ));
    }
    notes.extend(level.faults.iter().cloned());
    notes
}

fn failures(level: &LevelSummary) -> Option<String> {
    let counts = &level.requests;
    if level.state != LevelState::Complete || counts.by_outcome.is_empty() {
        return None;
    }
    let by_outcome: Vec<String> = counts
        .by_outcome
        .iter()
        .map(|(outcome, count)| format!("{outcome} {count}"))
        .collect();
    let ended = counts.failed + counts.shed;
    Some(format!(
        "{ended} of {} measured requests did not complete ({})",
        counts.measured,
        by_outcome.join(", ")
    ))
}
