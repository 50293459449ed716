//! What tells a load generator of the job that it is part of: files of the server's job, and the end of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gipfel_model::{ArrivalProcess, ArrivalRate, LevelState, Phase, Provenance, Rates, RunState, SearchSpec};

use crate::support::{RunDirectory, Sim, config, loadgen};

const LENIENT: &[&str] = &["ttft p50 <= 10s"];
/// Where nobody listens; the address must come from the file.
const NOBODY: &str = "http://127.0.0.1:1";

fn with(arguments: &[&str], path: &Path) -> Command {
    let mut command = loadgen();
    let path = path.to_str().expect("a text");
    command.args(arguments.iter().map(|argument| argument.replace("PATH", path)));
    command
}

fn write(path: &Path, text: &str) {
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, text).expect("written");
    fs::rename(&fresh, path).expect("renamed");
}

fn error(directory: &RunDirectory) -> String {
    let progress = directory.progress().expect("progress.json");
    assert_eq!(progress.state, RunState::Failed);
    progress.error.expect("a cause")
}

#[test]
fn the_servers_address_is_waited_for() {
    let sim = Sim::fast();
    let directory = RunDirectory::new(config(NOBODY, &[20.0], LENIENT));
    let file = directory.path().join("endpoint.txt");
    let mut process = directory.spawn(with(&["--endpoint-file", "PATH"], &file));
    directory.wait_for_progress("the wait", |progress| progress.state == RunState::Waiting);
    let began = directory.progress().map(|progress| progress.updated_unix_ms);
    directory.wait_for_progress("a sign of life", |progress| {
        Some(progress.updated_unix_ms) > began
    });
    write(&file, &format!("{}\n", sim.url));
    assert_eq!(process.exit().code(), Some(0));
    let results = directory.results();
    assert_eq!(results.levels[0].verdict(), Some("accept"));
    assert_eq!(results.provenance.0[Provenance::ENDPOINT], sim.url);
}

#[test]
fn all_ranks_send_to_the_servers_address() {
    let sim = Sim::fast();
    let directory = RunDirectory::new(config(NOBODY, &[40.0], LENIENT));
    let file = directory.path().join("endpoint.txt");
    let start = |rank: &str| {
        let mut command = with(&["--endpoint-file", "PATH", "--of", "2"], &file);
        command.args(["--rank", rank]);
        directory.spawn(command)
    };
    let processes = [start("0"), start("1")];
    directory.wait_for_progress("the wait", |progress| progress.state == RunState::Waiting);
    write(&file, &sim.url);
    for mut process in processes {
        assert_eq!(process.exit().code(), Some(0));
    }
    let results = directory.results();
    for rank in [0, 1] {
        assert!(
            results.levels[0]
                .requests
                .iter()
                .any(|request| request.rank == rank)
        );
    }
}

#[test]
fn an_address_that_is_none_is_shown() {
    let directory = RunDirectory::new(config(NOBODY, &[20.0], LENIENT));
    let file = directory.path().join("endpoint.txt");
    write(&file, "nid001234\n");
    let mut process = directory.spawn(with(&["--endpoint-file", "PATH"], &file));
    assert_eq!(process.exit().code(), Some(11));
    let expected = "endpoint.txt` must hold one line `http://HOST:PORT`, found `nid001234\\n`";
    assert!(error(&directory).ends_with(expected), "{}", error(&directory));
}

#[test]
fn an_address_that_does_not_come_ends_the_wait() {
    let directory = RunDirectory::new(config(NOBODY, &[20.0], LENIENT));
    let file = directory.path().join("endpoint.txt");
    let arguments = ["--endpoint-file", "PATH", "--endpoint-timeout", "1s"];
    let mut process = directory.spawn(with(&arguments, &file));
    assert_eq!(process.exit().code(), Some(11));
    let error = error(&directory);
    assert!(
        error.starts_with("the server's address was not in `") && error.contains("` within 1s: its job"),
        "{error}"
    );
}

/// Changes a file as the server's job does, until it is told not to.
fn beat(path: &Path, beats: &AtomicBool) {
    let mut count = 0;
    while beats.load(Ordering::Relaxed) {
        count += 1;
        write(path, &format!("{count} serving\n"));
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "the time between two heartbeats")]
fn pause() {
    thread::sleep(Duration::from_millis(200));
}

#[test]
fn a_server_whose_heart_stops_ends_the_run() {
    let sim = Sim::fast();
    let mut config = config(&sim.url, &[20.0, 40.0], LENIENT);
    config.schedule.measured = Duration::from_secs(3);
    config.schedule.rates = Rates::Listed(
        [20.0, 40.0, 60.0, 80.0, 100.0]
            .map(|rate| ArrivalRate::per_second(rate).expect("a rate"))
            .to_vec(),
    );
    let directory = RunDirectory::new(config);
    let file = directory.path().join("heartbeat");
    let beats = AtomicBool::new(true);
    thread::scope(|scope| {
        scope.spawn(|| beat(&file, &beats));
        let arguments = ["--heartbeat-file", "PATH", "--heartbeat-timeout", "3s"];
        let mut process = directory.spawn(with(&arguments, &file));
        // Longer than the limit: a heart that beats is well.
        directory.wait_for_phase(1, Phase::Measured);
        beats.store(false, Ordering::Relaxed);
        assert_eq!(process.exit().code(), Some(11));
    });
    let error = error(&directory);
    assert!(error.starts_with("the server's job is gone: `"), "{error}");
    assert!(
        error.contains("has not changed for 3s and says `") && error.ends_with(" serving`"),
        "{error}"
    );
    let results = directory.results();
    assert_eq!(results.run.state, RunState::Failed);
    assert_eq!(results.levels[0].record.state, LevelState::Complete);
    let last = results.levels.last().expect("a level");
    assert_eq!((last.record.state, last.verdict()), (LevelState::Broken, None));
    assert!(results.levels.len() < 5, "{results:?}");
}

#[test]
fn a_file_stops_a_run() {
    let sim = Sim::fast();
    let mut config = config(&sim.url, &[20.0, 40.0], LENIENT);
    config.schedule.measured = Duration::from_secs(10);
    let directory = RunDirectory::new(config);
    let mut process = directory.spawn(loadgen());
    directory.wait_for_phase(0, Phase::Measured);
    fs::write(directory.path().join("stop"), "").expect("written");
    assert_eq!(process.exit().code(), Some(130));
    let progress = directory.progress().expect("progress.json");
    assert_eq!((progress.state, progress.error), (RunState::Stopped, None));
    let results = directory.results();
    assert_eq!(results.run.state, RunState::Stopped);
    assert_eq!(results.levels[0].record.state, LevelState::Broken);
    assert!(!results.levels[0].requests.is_empty(), "what was sent is kept");
}

/// So many seconds from now.
fn in_seconds(seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    (now.as_secs() + seconds).to_string()
}

fn check_cut(directory: &RunDirectory, reason: &str) {
    let progress = directory.progress().expect("progress.json");
    let said = progress.error.clone().unwrap_or_default();
    assert_eq!(progress.state, RunState::Stopped);
    assert!(
        said.starts_with("the job's time is nearly up: ") && said.contains(reason),
        "{said}"
    );
    let (manifest, results) = directory.published().expect("published");
    assert!(manifest.complete);
    assert_eq!(results.run.state, RunState::Stopped);
    assert_eq!(results.run.error.as_ref(), Some(&said));
    assert!(
        results
            .levels
            .iter()
            .all(|level| level.record.state != LevelState::Open)
    );
    assert_eq!(
        results.levels[0].record.state,
        LevelState::Complete,
        "{:?}",
        results.levels
    );
}

fn with_end(work: &Path, end: &str) -> Command {
    let mut command = loadgen();
    command.args(["--end-at", end, "--work"]).arg(work);
    command
}

#[test]
fn no_level_begins_that_the_jobs_time_cannot_hold() {
    let sim = Sim::fast();
    let mut listed = config(&sim.url, &[20.0, 30.0, 40.0], LENIENT);
    listed.schedule.measured = Duration::from_secs(4);
    let directory = RunDirectory::new(listed);
    let work: PathBuf = directory.path().join("node");
    // Fifteen seconds are kept for the end; what is left holds one level and no second one.
    let mut process = directory.spawn(with_end(&work, &in_seconds(15 + 9)));
    assert_eq!(process.exit().code(), Some(130));
    check_cut(&directory, "a level at ");
    // A further job goes on; it knows its end from Slurm.
    let mut command = loadgen();
    command
        .env("SLURM_JOB_END_TIME", in_seconds(600))
        .arg("--work")
        .arg(directory.path().join("other"));
    assert_eq!(directory.spawn(command).exit().code(), Some(0));
    let (_, results) = directory.published().expect("published");
    assert_eq!(
        (results.run.state, results.run.error),
        (RunState::Completed, None)
    );
    let states: Vec<_> = results.levels.iter().map(|level| level.record.state).collect();
    assert_eq!(states, [LevelState::Complete; 3]);
}

#[test]
fn a_search_closes_what_it_has_before_the_jobs_end() {
    let sim = Sim::narrow();
    let mut search = config(&sim.url, &[], &["ttft p95 <= 2s"]);
    search.schedule.rates = Rates::Search(SearchSpec {
        min_rate: ArrivalRate::per_second(10.0).expect("a rate"),
        budget: Some(Duration::from_mins(10)),
        ..SearchSpec::default()
    });
    search.workload.arrivals = ArrivalProcess::Poisson;
    let directory = RunDirectory::new(search);
    let work = directory.path().join("node");
    let mut process = directory.spawn(with_end(&work, &in_seconds(15 + 14)));
    assert_eq!(process.exit().code(), Some(130));
    check_cut(&directory, " are left to publish the results");
}
