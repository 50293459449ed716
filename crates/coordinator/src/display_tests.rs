use gipfel_experiment::{RunOutcome, RunPhase};
use gipfel_model::{
    ArrivalRate, FormatHeader, LevelProgress, SearchProgress,
    progress::{LevelSummary, PROGRESS_FORMAT},
};

use super::*;
use crate::view::samples;

fn state() -> State {
    State {
        started: Instant::now(),
        lines: LiveLines::new(false),
        runs: BTreeMap::new(),
        watched: None,
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
        warning: None,
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
fn a_line_names_its_experiment_where_there_are_several() {
    let mut state = state();
    let mut progress = samples::level(32.0, 30.0, Some(101.0));
    assert_eq!(
        state.take(&progress)[0],
        "  24 req/s: TTFT p95 88 ms, completed 23.90 req/s: passes"
    );
    state.watched = Some(Watched {
        files: CampaignFiles::new(Path::new("results"), &"c-1".parse().expect("a campaign")),
        snapshot: samples::snapshot(),
        over_before: BTreeSet::new(),
        is_stale: false,
        drawn: None,
        is_driven_here: true,
        footer: "",
    });
    progress.run_id = "r-1".parse().expect("a run");
    assert!(
        state.take(&progress)[0].starts_with("  swiss-ai/Apertus-70B-Instruct-2509 on sglang: 24 req/s: ")
    );
}

#[test]
fn what_was_over_before_is_no_news() {
    let mut state = state();
    state.watched = Some(Watched {
        files: CampaignFiles::new(Path::new("results"), &"c-1".parse().expect("a campaign")),
        over_before: over(&samples::snapshot().campaign),
        snapshot: samples::snapshot(),
        is_stale: false,
        drawn: None,
        is_driven_here: true,
        footer: "",
    });
    let mut is_news = |run: &str, phase: RunPhase| {
        state.is_news(&Update::Run {
            id: run.parse().expect("a run"),
            phase,
        })
    };
    let complete = || RunPhase::Ended(RunOutcome::Completed);
    assert!(!is_news("r-5", complete()), "it was complete before");
    assert!(is_news("r-0", complete()), "it was measured");
    assert!(
        is_news("r-4", RunPhase::Waiting),
        "it had failed and is done again"
    );
    assert!(is_news("r-4", complete()), "it is complete now");
}

#[test]
fn plain_lines_say_what_is_waited_for() {
    let mut state = state();
    state.watched = Some(Watched {
        files: CampaignFiles::new(Path::new("results"), &"c-1".parse().expect("a campaign")),
        snapshot: samples::snapshot(),
        over_before: BTreeSet::new(),
        is_stale: false,
        drawn: None,
        is_driven_here: true,
        footer: "",
    });
    assert_eq!(state.waits(), Vec::<String>::new(), "not at once");
    let long_ago = Instant::now()
        .checked_sub(SEARCH_LINE_INTERVAL)
        .expect("the machine is up for longer");
    for run in state.runs.values_mut() {
        run.waited = Some(long_ago);
    }
    let lines = state.waits();
    assert!(lines[0].starts_with("llama-405b on vllm: loading "), "{lines:?}");
    assert_eq!(lines.len(), 1);
    assert_eq!(state.waits(), Vec::<String>::new(), "not twice");
}

#[test]
fn the_table_takes_half_of_the_terminal() {
    let size = Size {
        columns: 80,
        rows: 10,
    };
    let lines = table_lines(
        &samples::snapshot(),
        " 3:12  interrupt to end it",
        size,
        samples::NOW,
    );
    let text: Vec<String> = lines.iter().map(|line| line.render(false)).collect();
    insta::assert_snapshot!(text.join("\n"), @"
    Model             Backend State      Rate TTFT p95   QPS       Peak req/s  Left
    apertus-8b-instr… vllm    near peak  25.4   172 ms  24.4 25.3 (24.1–26.4)  8:12
    Apertus-70B-Inst… sglang  measuring  3.25   412 ms  2.23           ≥ 24.0  4:00
    + 1 run, 1 wait, 2 done
    3:12  interrupt to end it
    ");
}
