//! Adaptive searches, from their first step to their answer.

use std::time::Duration;

use gipfel_model::{
    ArrivalProcess, ArrivalRate, LevelState, Phase, Rates, RunConfig, RunState, SearchSpec, Slo, Stage,
};
use gipfel_peak_search::evidence_of;
use rustix::process::Signal;

use crate::support::{Level, RunDirectory, Sim, config, loadgen};

/// A search from 10 requests a second, whose ramp takes most of its budget.
fn search(url: &str, budget: Duration) -> RunConfig {
    let mut config = config(url, &[], &["ttft p95 <= 2s"]);
    config.schedule.rates = Rates::Search(SearchSpec {
        min_rate: ArrivalRate::per_second(10.0).expect("a rate"),
        budget: Some(budget),
        ..SearchSpec::default()
    });
    config.workload.arrivals = ArrivalProcess::Poisson;
    config
}

/// The counts that decided are those of the rows.
fn check_counts(level: &Level, slos: &[Slo]) {
    let evidence = level.record.evidence.as_ref().expect("evidence");
    let from_rows = evidence_of(&level.record, &level.requests, slos);
    for (second, theirs) in evidence.seconds.iter().zip(&from_rows.seconds) {
        assert_eq!(second.arrivals, theirs.arrivals, "{:?}", level.record);
        assert_eq!(second.input_tokens, theirs.input_tokens);
        assert_eq!(second.output_tokens, theirs.output_tokens);
    }
}

#[test]
fn a_search_is_taken_up_where_it_was_killed_and_stays_over() {
    // Four requests of 0.1 s at a time: 40 a second.
    let sim = Sim::narrow();
    let config = search(&sim.url, Duration::from_secs(16));
    let slos = config.slos.clone();
    let directory = RunDirectory::new(config);
    let mut first = directory.spawn(loadgen());
    directory.wait_for_progress("the second level", |progress| {
        let shown = progress
            .current
            .as_ref()
            .is_some_and(|current| current.level == 1);
        shown && progress.levels.len() == 1 && progress.search.is_some()
    });
    first.signal(Signal::KILL);
    first.exit();
    let broken = directory.results();
    assert_eq!(broken.run.state, RunState::Running);
    assert_eq!(broken.levels[0].record.state, LevelState::Complete);

    assert_eq!(directory.run().expect("a run"), RunState::Completed);
    let results = directory.results();
    assert_eq!(results.run.state, RunState::Completed);
    assert_eq!(
        results.levels[0], broken.levels[0],
        "what was learnt stays as it is"
    );
    let attempts = broken.levels.len();
    assert!(results.levels.len() > attempts, "{results:?}");
    for level in &results.levels[1..attempts] {
        assert_eq!(level.record.state, LevelState::Broken);
    }
    let mut earlier_end_ns = 0;
    for level in &results.levels[attempts..] {
        let record = &level.record;
        assert_eq!(record.state, LevelState::Complete, "{record:?}");
        assert_ne!(record.stage, Stage::Level);
        assert_eq!(record.verdict, None, "{record:?}");
        assert!(record.start_ns >= earlier_end_ns, "{record:?}");
        earlier_end_ns = record.start_ns + record.warmup_ns + record.measured_ns;
        assert!(!level.requests.is_empty());
        check_counts(level, &slos);
    }
    let progress = directory.progress().expect("progress.json");
    assert_eq!(progress.state, RunState::Completed);
    let search = progress.search.expect("a search");
    assert!(search.elapsed_s > 10.0, "{search:?}");

    // A run that is over stays over, without its server.
    drop(sim);
    assert_eq!(directory.run().expect("it was complete"), RunState::Completed);
    assert_eq!(directory.results().levels, results.levels);
}

#[test]
fn a_search_that_is_told_to_stop_keeps_its_closed_levels() {
    let sim = Sim::narrow();
    let directory = RunDirectory::new(search(&sim.url, Duration::from_mins(10)));
    let mut process = directory.spawn(loadgen());
    directory.wait_for_progress("the second level", |progress| {
        let shown = progress
            .current
            .as_ref()
            .is_some_and(|current| current.level == 1);
        shown && progress.levels.len() == 1
    });
    process.signal(Signal::TERM);
    assert_eq!(process.exit().code(), Some(130));
    let results = directory.results();
    assert_eq!(results.run.state, RunState::Stopped);
    let states: Vec<LevelState> = results.levels.iter().map(|level| level.record.state).collect();
    assert_eq!(states, [LevelState::Complete, LevelState::Broken]);
    let of_broken = &results.levels[1].requests;
    assert!(!of_broken.is_empty(), "what was sent is kept");
}

#[test]
fn a_search_does_not_judge_a_dead_server() {
    let sim = Sim::narrow();
    let url = sim.url.clone();
    let directory = RunDirectory::new(search(&url, Duration::from_mins(10)));
    let outcome = std::thread::scope(|scope| {
        let run = scope.spawn(|| directory.run());
        directory.wait_for_phase(0, Phase::Warmup);
        drop(sim);
        run.join().expect("a run")
    });
    let message = outcome.expect_err("the server is gone").to_string();
    assert_eq!(message, format!("the server at {url} does not answer any more"));
    let results = directory.results();
    assert_eq!(results.run.state, RunState::Failed);
    for level in &results.levels {
        assert_eq!(level.record.state, LevelState::Broken, "{:?}", level.record);
    }
}

#[test]
fn windows_grow_with_the_latency_of_the_level() {
    // Twenty tokens of 50 ms: a second for each request.
    let sim = Sim::start(5e7, 512, gipfel_inference_sim::Faults::default());
    let mut config = config(&sim.url, &[40.0], &["ttft p50 <= 10s"]);
    config.schedule.exact_windows = false;
    config.schedule.warmup = Duration::from_millis(1_500);
    config.schedule.measured = Duration::from_secs(2);
    let directory = RunDirectory::new(config);
    assert_eq!(directory.run().expect("a run"), RunState::Completed);
    let results = directory.results();
    let [level] = &results.levels[..] else {
        panic!("one level: {results:?}")
    };
    let record = &level.record;
    let e2e_ns = record
        .evidence
        .as_ref()
        .and_then(|evidence| evidence.e2e_p50_s)
        .expect("a median")
        * 1e9;
    assert!(record.warmup_ns as f64 >= 2.7 * e2e_ns, "{record:?}");
    assert!(record.measured_ns as f64 >= 4.5 * e2e_ns, "{record:?}");
    assert!(record.measured_ns <= 20_000_000_000, "{record:?}");
    let measured = level.of_phase(Phase::Measured);
    assert_eq!(record.attainment[0].scheduled, measured.len() as u64);
    assert_eq!(record.attainment[0].decided, measured.len() as u64);
    // Constant arrivals go on over the seams of the pieces.
    let mut scheduled: Vec<i64> = level.requests.iter().map(|one| one.scheduled_ns).collect();
    scheduled.sort_unstable();
    for pair in scheduled.windows(2) {
        assert!((pair[1] - pair[0] - 25_000_000).abs() <= 1, "{pair:?}");
    }
}
