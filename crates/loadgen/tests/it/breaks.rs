//! Runs that are broken off, and what becomes of them.

use std::{process::Command, thread, time::Duration};

use gipfel_model::{LengthDistribution, LevelState, Phase, RunState, ScrapeRecord};
use rustix::process::Signal;

use crate::support::{RunDirectory, Sim, config, loadgen};

const LENIENT: &[&str] = &["ttft p50 <= 10s"];

/// Breaks a run in its second level, and has it taken up again.
fn check_resume(signal: Signal, state: RunState, level_state: LevelState) {
    let sim = Sim::fast();
    let mut config = config(&sim.url, &[20.0, 40.0], LENIENT);
    config.schedule.measured = Duration::from_secs(3);
    let directory = RunDirectory::new(config);
    let mut first = directory.spawn(loadgen());
    directory.wait_for_phase(1, Phase::Measured);
    first.signal(signal);
    let status = first.exit();
    let broken = directory.results();
    assert_eq!(broken.run.state, state);
    let states: Vec<LevelState> = broken.levels.iter().map(|level| level.record.state).collect();
    assert_eq!(states, [LevelState::Complete, level_state]);
    if signal == Signal::TERM {
        assert_eq!(status.code(), Some(130));
        let progress = directory.progress().expect("progress.json");
        assert_eq!((progress.state, progress.levels.len()), (RunState::Stopped, 1));
        assert!(!broken.levels[1].requests.is_empty(), "what was sent is kept");
    }

    let mut second = directory.spawn(loadgen());
    assert_eq!(second.exit().code(), Some(0));
    let results = directory.results();
    assert_eq!(results.run.state, RunState::Completed);
    let [complete, interrupted, anew] = &results.levels[..] else {
        panic!("three attempts: {results:?}")
    };
    assert_eq!(complete, &broken.levels[0], "a completed level stays as it is");
    assert_eq!(interrupted.record.state, LevelState::Broken);
    assert_eq!(interrupted.record.verdict, None);
    assert_eq!(interrupted.requests, broken.levels[1].requests);
    assert_eq!(anew.verdict(), Some("accept"), "{:?}", anew.record);
    assert_eq!(anew.record.rate, interrupted.record.rate);
    let progress = directory.progress().expect("progress.json");
    let shown: Vec<u32> = progress.levels.iter().map(|level| level.level).collect();
    assert_eq!(shown, [0, 2]);

    // One axis of time: the second process goes on where the wall clock is, not at zero.
    let anchor = |index: usize| {
        let record = &results.levels[index].record;
        record.started_unix_ns - record.start_ns
    };
    assert!((anchor(2) - anchor(0)).abs() < 1_000_000_000);
    let latest_of = |level: u32| {
        let scrapes = results.scrapes.iter().filter(|scrape| scrape.level == level);
        scrapes.map(|scrape: &ScrapeRecord| scrape.at_ns).max()
    };
    assert!(latest_of(2) > latest_of(1));
    let sent = interrupted.requests.iter().map(|one| one.scheduled_ns).max();
    assert!(anew.requests.iter().map(|one| Some(one.scheduled_ns)).min() > Some(sent));
}

#[test]
fn a_terminated_run_is_taken_up_again() {
    check_resume(Signal::TERM, RunState::Stopped, LevelState::Broken);
}

#[test]
fn a_killed_run_is_taken_up_again() {
    check_resume(Signal::KILL, RunState::Running, LevelState::Open);
}

/// An address at which nobody listens.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}", listener.local_addr().expect("an address"))
}

#[test]
fn a_run_that_waits_for_its_server_can_be_stopped() {
    let directory = RunDirectory::new(config(&nobody(), &[20.0], LENIENT));
    let mut process = directory.spawn(loadgen());
    directory.wait_for_progress("the wait", |progress| progress.state == RunState::Waiting);
    process.signal(Signal::TERM);
    assert_eq!(process.exit().code(), Some(130));
    let progress = directory.progress().expect("progress.json");
    assert_eq!(progress.state, RunState::Stopped);
    let results = directory.results();
    assert_eq!(results.run.state, RunState::Stopped);
    assert!(results.levels.is_empty());
}

/// Kills the server in this phase of the first level.
fn check_dead_server(phase: Phase) {
    let sim = Sim::fast();
    let url = sim.url.clone();
    let mut config = config(&url, &[100.0], &["ttft p95 <= 10s"]);
    // Progress is written once a second: each phase is long enough to be seen in it.
    config.schedule.warmup = Duration::from_secs(3);
    config.schedule.measured = Duration::from_secs(3);
    // Each takes three seconds, so that the tail is as long.
    config.workload.output_length = LengthDistribution::Fixed { value: 3_000 };
    let directory = RunDirectory::new(config);
    let outcome = thread::scope(|scope| {
        let run = scope.spawn(|| directory.run());
        directory.wait_for_phase(0, phase);
        drop(sim);
        run.join().expect("a run")
    });
    let message = outcome.expect_err("the server is gone").to_string();
    assert_eq!(message, format!("the server at {url} does not answer any more"));
    let progress = directory.progress().expect("progress.json");
    assert_eq!(
        (progress.state, progress.error),
        (RunState::Failed, Some(message.clone()))
    );
    assert!(progress.levels.is_empty());
    let results = directory.results();
    assert_eq!(
        (results.run.state, results.run.error),
        (RunState::Failed, Some(message))
    );
    let [level] = &results.levels[..] else {
        panic!("one level")
    };
    assert_eq!((level.record.state, level.verdict()), (LevelState::Broken, None));
    assert!(!level.requests.is_empty());
}

#[test]
fn a_server_that_dies_while_it_warms_up_ends_the_run() {
    check_dead_server(Phase::Warmup);
}

#[test]
fn a_server_that_dies_in_the_measured_window_is_not_judged() {
    check_dead_server(Phase::Measured);
}

#[test]
fn a_server_that_dies_in_the_tail_is_not_judged() {
    check_dead_server(Phase::Tail);
}

#[test]
fn a_full_disk_ends_the_run_with_its_cause() {
    let sim = Sim::fast();
    let directory = RunDirectory::new(config(&sim.url, &[400.0], LENIENT));
    // A limit on the size of files stands for the disk; in blocks of 512 bytes.
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 300; exec \"$0\" \"$@\""])
        .arg(loadgen().get_program());
    let mut process = directory.spawn(command);
    assert_eq!(process.exit().code(), Some(11));
    let progress = directory.progress().expect("progress.json");
    assert_eq!(progress.state, RunState::Failed);
    let error = progress.error.expect("a cause");
    assert!(
        error.starts_with("failed to write the result database: "),
        "{error}"
    );
    assert!(
        error.contains(&directory.database().display().to_string()),
        "{error}"
    );
    let results = directory.results();
    assert!(
        results
            .levels
            .iter()
            .all(|level| level.record.state == LevelState::Open)
    );
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let directory = RunDirectory::new(config("http://127.0.0.1:1", &[20.0], LENIENT));
    let mut options = directory.options();
    options.directory = options.config.join("run");
    let error = gipfel_loadgen::run_blocking(&options).expect_err("a file is no directory");
    let expected = format!("failed to create `{}`", options.directory.display());
    assert!(format!("{error:#}").starts_with(&expected), "{error:#}");

    std::fs::create_dir(directory.database()).expect("a directory in the database's place");
    let error = directory.run().expect_err("a directory is no database");
    let expected = format!(
        "failed to open the result database `{}`",
        directory.database().display()
    );
    assert!(format!("{error:#}").starts_with(&expected), "{error:#}");
    let progress = directory.progress().expect("progress.json");
    assert_eq!(
        (progress.state, progress.error),
        (RunState::Failed, Some(format!("{error:#}")))
    );
}
