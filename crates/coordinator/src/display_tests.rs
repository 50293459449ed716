use gipfel_backend::FailureReason;
use gipfel_model::{
    ArrivalRate, FormatHeader, LevelProgress, SearchProgress,
    progress::{LevelSummary, PROGRESS_FORMAT},
};

use super::*;

#[test]
fn a_failed_run_names_the_class() {
    let failure = Failure {
        reason: FailureReason::ServerFailed,
        message: "the server's process 7 is gone".to_owned(),
        log_tail: "last words".to_owned(),
    };
    let phase = RunPhase::Ended(RunOutcome::Failed(failure));
    insta::assert_snapshot!(run_line("r", &phase), @"run r failed: server-failed: the server's process 7 is gone");
}

#[test]
fn an_update_is_one_json_object() {
    let update = Update::Unreachable {
        about: "d-1".to_owned(),
    };
    insta::assert_snapshot!(event(&update), @r#"{"about":"d-1","event":"unreachable"}"#);
}

fn state() -> State {
    State {
        started: Instant::now(),
        line: StatusLine::new(false),
        runs: BTreeMap::new(),
    }
}

/// A search at 25 req/s after so many levels.
fn search(stage: Stage, levels: u32) -> Progress {
    let rate = ArrivalRate::per_second(25.0).expect("a rate");
    let header: FormatHeader = PROGRESS_FORMAT.header();
    Progress {
        header,
        run_id: "20261121-224312_m_sim_local_0a1f".parse().expect("a run"),
        state: RunState::Running,
        updated_unix_ms: 0,
        pid: 1,
        levels: (0..levels)
            .map(|level| LevelSummary {
                level,
                rate,
                ttft_p95_ms: None,
                completed_rate: 25.0,
                stage,
                worst: None,
                verdict: None,
            })
            .collect(),
        current: Some(LevelProgress {
            level: levels,
            rate,
            phase: Phase::Measured,
            elapsed_s: 1.0,
            planned_s: 100.0,
            sent: 25,
            ended: 20,
            failed: 0,
            in_flight: 5,
            ttft_p95_ms: None,
        }),
        search: Some(SearchProgress {
            stage,
            estimate: None,
            bracket: None,
            elapsed_s: 10.0,
            budget_s: 900.0,
        }),
        planned_levels: None,
        error: None,
    }
}

#[test]
fn plain_lines_come_with_what_changes() {
    let mut state = state();
    let mut count = |progress: &Progress| state.take(progress).len();
    assert_eq!(count(&search(Stage::Ramp, 0)), 1, "it begins");
    assert_eq!(count(&search(Stage::Ramp, 0)), 0, "nothing is new");
    assert_eq!(count(&search(Stage::Ramp, 2)), 2, "two levels are over");
    assert_eq!(
        count(&search(Stage::Bracket, 3)),
        2,
        "one more, and another stage"
    );
    let over = Progress {
        state: RunState::Completed,
        ..search(Stage::Track, 4)
    };
    assert_eq!(count(&over), 1, "the last level, and no stage any more");
}

#[test]
fn a_run_that_is_over_stands_nowhere() {
    let mut state = state();
    state.take(&search(Stage::Ramp, 0));
    let id = "20261121-224312_m_sim_local_0a1f";
    assert!(state.runs[id].status.contains("search: rising, at 25.0 req/s"));
    state.end(id);
    assert!(state.runs.is_empty());
}
