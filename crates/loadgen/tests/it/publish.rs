//! Runs whose database is written on the machine itself and published into the run's directory.

use std::{fs, path::Path, process::Command, time::Duration};

use gipfel_model::{LevelState, Phase, RunConfig, RunState, published::MAX_PIECE_BYTES};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{Process, Results, RunDirectory, Sim, config, loadgen};

const LENIENT: &[&str] = &["ttft p50 <= 10s"];

fn with_work(work: &Path) -> Command {
    let mut command = loadgen();
    command.arg("--work").arg(work);
    command
}

fn node() -> TempDir {
    TempDir::new().expect("a directory")
}

fn states(results: &Results) -> Vec<LevelState> {
    results.levels.iter().map(|level| level.record.state).collect()
}

/// Two levels of which the second one takes long enough to be broken.
fn two_levels(url: &str) -> RunConfig {
    let mut config = config(url, &[20.0, 40.0], LENIENT);
    config.schedule.measured = Duration::from_secs(3);
    config
}

#[test]
fn a_run_is_published_whole() {
    let sim = Sim::fast();
    let directory = RunDirectory::new(config(&sim.url, &[20.0, 40.0], LENIENT));
    let node = node();
    let work = node.path().join("not/there/yet");
    assert_eq!(directory.spawn(with_work(&work)).exit().code(), Some(0));
    assert!(
        !directory.database().exists(),
        "the shared directory sees no SQLite"
    );
    let (manifest, results) = directory.published().expect("published");
    assert!(manifest.complete);
    assert!(manifest.pieces.iter().all(|piece| piece.bytes <= MAX_PIECE_BYTES));
    assert_eq!(results.run.state, RunState::Completed);
    assert_eq!(states(&results), [LevelState::Complete; 2]);
    assert!(
        results
            .levels
            .iter()
            .all(|level| level.gaps.len() == 1 && level.requests.len() >= 20)
    );
    let progress = directory.progress().expect("progress.json");
    assert_eq!((progress.levels.len(), progress.warning), (2, None));

    // A run that is over is so on every machine, without its server.
    drop(sim);
    let elsewhere = self::node();
    assert_eq!(
        directory.spawn(with_work(elsewhere.path())).exit().code(),
        Some(0)
    );
    let (again, same) = directory.published().expect("published");
    assert_eq!(same.levels, results.levels);
    assert!(again.complete);
    assert_eq!(
        directory.progress().expect("progress.json").levels,
        progress.levels
    );
}

/// Breaks a run in its second level and has it taken up on another machine.
fn check_taken_up(signal: Signal) {
    let sim = Sim::fast();
    let directory = RunDirectory::new(two_levels(&sim.url));
    let first_node = node();
    let mut first = directory.spawn(with_work(first_node.path()));
    directory.wait_for_phase(1, Phase::Measured);
    directory.wait_for_progress("the first level", |progress| progress.levels.len() == 1);
    first.signal(signal);
    first.exit();
    let (manifest, broken) = directory.published().expect("published");
    assert_eq!(manifest.complete, signal == Signal::TERM);
    assert_eq!(
        broken.levels[0].record.state,
        LevelState::Complete,
        "{:?}",
        states(&broken)
    );
    if signal == Signal::TERM {
        assert_eq!(broken.run.state, RunState::Stopped);
        assert_eq!(states(&broken), [LevelState::Complete, LevelState::Broken]);
        assert!(!broken.levels[1].requests.is_empty());
    }
    let second_node = node();
    assert_eq!(
        directory.spawn(with_work(second_node.path())).exit().code(),
        Some(0)
    );
    let (manifest, results) = directory.published().expect("published");
    assert!(manifest.complete);
    assert_eq!(
        results.levels[0], broken.levels[0],
        "a completed level stays as it is"
    );
    let complete = results
        .levels
        .iter()
        .filter(|level| level.record.state == LevelState::Complete);
    let rates: Vec<f64> = complete.map(|level| level.record.rate.get()).collect();
    assert_eq!(rates, [20.0, 40.0]);

    // The first machine has an older database, which is not taken for what is published.
    assert_eq!(
        directory.spawn(with_work(first_node.path())).exit().code(),
        Some(0)
    );
    let (_, same) = directory.published().expect("published");
    assert_eq!(same.levels, results.levels);
}

#[test]
fn a_terminated_run_goes_on_elsewhere() {
    check_taken_up(Signal::TERM);
}

#[test]
fn a_killed_run_goes_on_elsewhere() {
    check_taken_up(Signal::KILL);
}

#[test]
fn a_killed_run_goes_on_here_with_all_that_it_has() {
    let sim = Sim::fast();
    let directory = RunDirectory::new(two_levels(&sim.url));
    let node = node();
    let mut first = directory.spawn(with_work(node.path()));
    directory.wait_for_phase(1, Phase::Measured);
    directory.wait_for_progress("some requests", |progress| {
        progress
            .current
            .as_ref()
            .is_some_and(|current| current.ended > 60)
    });
    first.signal(Signal::KILL);
    first.exit();
    let (_, published) = directory.published().expect("published");
    let rows = |results: &Results| -> usize { results.levels.iter().map(|level| level.requests.len()).sum() };
    assert_eq!(directory.spawn(with_work(node.path())).exit().code(), Some(0));
    let (_, results) = directory.published().expect("published");
    assert_eq!(
        states(&results),
        [LevelState::Complete, LevelState::Broken, LevelState::Complete]
    );
    let of_broken = results.levels[1].requests.len();
    let known = published.levels.get(1).map_or(0, |level| level.requests.len());
    assert!(
        of_broken > known,
        "{of_broken} rows here, {known} published, {} in all",
        rows(&results)
    );
}

/// A little chance that is the same each time.
struct Moments(u64);

impl Moments {
    fn next(&mut self, within: Duration) -> Duration {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        within.mul_f64((self.0 >> 33) as f64 / (1_u64 << 31) as f64)
    }
}

#[expect(clippy::disallowed_methods, reason = "the moment of the kill")]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

#[test]
fn no_closed_level_is_lost_at_any_moment() {
    let sim = Sim::fast();
    let mut config = config(&sim.url, &[20.0, 30.0, 40.0, 50.0, 60.0, 70.0], LENIENT);
    config.schedule.measured = Duration::from_millis(600);
    let directory = RunDirectory::new(config);
    let mut moments = Moments(7);
    let mut closed = Vec::new();
    for round in 0..8 {
        let node = node();
        let mut process = directory.spawn(with_work(node.path()));
        pause(moments.next(Duration::from_millis(2_500)));
        process.signal_if_alive(Signal::KILL);
        process.exit();
        let told: Vec<u32> = directory
            .progress()
            .iter()
            .flat_map(|progress| progress.levels.iter().map(|level| level.level))
            .collect();
        let Some((_, results)) = directory.published() else {
            assert!(told.is_empty(), "round {round}: {told:?}");
            continue;
        };
        let complete: Vec<u32> = results
            .levels
            .iter()
            .filter(|level| level.record.state == LevelState::Complete)
            .map(|level| level.record.level)
            .collect();
        assert!(
            told.iter().all(|level| complete.contains(level)),
            "round {round}: {told:?} {complete:?}"
        );
        for level in &closed {
            assert!(
                results.levels.contains(level),
                "round {round}: a closed level has changed"
            );
        }
        closed = results
            .levels
            .into_iter()
            .filter(|level| level.record.state == LevelState::Complete)
            .collect();
    }
    let node = node();
    assert_eq!(directory.spawn(with_work(node.path())).exit().code(), Some(0));
    let (manifest, results) = directory.published().expect("published");
    assert!(manifest.complete);
    let complete: Vec<f64> = results
        .levels
        .iter()
        .filter(|level| level.record.state == LevelState::Complete)
        .map(|level| level.record.rate.get())
        .collect();
    assert_eq!(complete, [20.0, 30.0, 40.0, 50.0, 60.0, 70.0]);
    assert!(closed.iter().all(|level| results.levels.contains(level)));
    // What the killed ones have left is gone.
    let named = manifest.pieces.len();
    let there = pieces(&directory);
    assert!(there.len() <= 2 * named + 1, "{there:?}");
}

fn pieces(directory: &RunDirectory) -> Vec<String> {
    fs::read_dir(directory.path())
        .expect("a directory")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| name.starts_with("published-"))
        .collect()
}

#[test]
fn what_is_damaged_is_not_taken_up() {
    let sim = Sim::fast();
    let directory = RunDirectory::new(config(&sim.url, &[20.0], LENIENT));
    let node = node();
    assert_eq!(directory.spawn(with_work(node.path())).exit().code(), Some(0));
    let (manifest, _) = directory.published().expect("published");
    let piece = directory.path().join(&manifest.pieces[0].name);
    let bytes = fs::read(&piece).expect("a piece");
    let check = |bytes: &[u8], expected: &str| {
        fs::write(&piece, bytes).expect("written");
        let elsewhere = self::node();
        assert_eq!(
            directory.spawn(with_work(elsewhere.path())).exit().code(),
            Some(11)
        );
        let error = directory
            .progress()
            .expect("progress.json")
            .error
            .expect("a cause");
        assert!(
            error.starts_with("failed to go on from what is published in `"),
            "{error}"
        );
        assert!(error.contains(expected), "{error}");
    };
    check(&bytes[..bytes.len() / 2], "is too short");
    let mut other = bytes.clone();
    other[40] ^= 4;
    check(&other, "is damaged: its SHA-256 is ");
    // Here the database itself is still there.
    assert_eq!(directory.spawn(with_work(node.path())).exit().code(), Some(0));
}

#[test]
fn a_directory_that_takes_nothing_delays_no_level() {
    let sim = Sim::fast();
    let directory = RunDirectory::new(config(&sim.url, &[20.0, 30.0, 40.0], LENIENT));
    // In the place of the file that would be renamed: a directory stands for a disk that is full.
    let obstacle = directory.path().join("published.json.new");
    fs::create_dir(&obstacle).expect("a directory");
    let node = node();
    let mut process = directory.spawn(with_work(node.path()));
    directory.wait_for_progress("the warning", |progress| {
        let warning = progress.warning.as_deref().unwrap_or_default();
        warning.starts_with("the results cannot be published for ") && warning.contains("published.json")
    });
    directory.wait_for_progress("the third level", |progress| {
        progress
            .current
            .as_ref()
            .is_some_and(|current| current.level == 2)
    });
    let progress = directory.progress().expect("progress.json");
    assert!(
        progress.levels.is_empty(),
        "nobody is told of what could be lost: {progress:?}"
    );
    fs::remove_dir(&obstacle).expect("removed");
    assert_eq!(process.exit().code(), Some(0));
    let (manifest, results) = directory.published().expect("published");
    assert!(manifest.complete);
    assert_eq!(states(&results), [LevelState::Complete; 3]);
    let progress = directory.progress().expect("progress.json");
    assert_eq!((progress.levels.len(), progress.warning), (3, None));
}

#[test]
fn a_directory_that_stands_still_delays_no_level() {
    let sim = Sim::fast();
    let directory = RunDirectory::new(config(&sim.url, &[20.0, 30.0, 40.0], LENIENT));
    // Who opens this to write waits until somebody reads.
    let stuck = directory.path().join("published.json.new");
    let made = Command::new("mkfifo").arg(&stuck).status().expect("mkfifo");
    assert!(made.success());
    let node = node();
    let mut process = directory.spawn(with_work(node.path()));
    directory.wait_for_phase(2, Phase::Measured);
    let progress = directory.progress().expect("progress.json");
    assert!(progress.levels.is_empty(), "{progress:?}");
    // It wakes, and the attempt that waited fails.
    drop(fs::File::open(&stuck).expect("somebody writes"));
    assert_eq!(process.exit().code(), Some(0));
    let (manifest, results) = directory.published().expect("published");
    assert!(manifest.complete);
    assert_eq!(states(&results), [LevelState::Complete; 3]);
}

fn ranks(directory: &RunDirectory, nodes: &[TempDir]) -> Vec<Process> {
    let of = nodes.len().to_string();
    let start = |(rank, node): (usize, &TempDir)| {
        let mut command = with_work(node.path());
        command.args(["--rank", &rank.to_string(), "--of", &of]);
        directory.spawn(command)
    };
    nodes.iter().enumerate().map(start).collect()
}

#[test]
fn ranks_publish_together_and_go_on_elsewhere() {
    let sim = Sim::fast();
    let directory = RunDirectory::new(two_levels(&sim.url));
    let nodes = [node(), node()];
    let mut processes = ranks(&directory, &nodes);
    directory.wait_for_phase(1, Phase::Measured);
    directory.wait_for_progress("the first level", |progress| progress.levels.len() == 1);
    for process in &mut processes {
        process.signal(Signal::KILL);
        process.exit();
    }
    for mut process in ranks(&directory, &[node(), node()]) {
        assert_eq!(process.exit().code(), Some(0));
    }
    let (_, results) = directory.published().expect("published");
    let complete = results
        .levels
        .iter()
        .filter(|level| level.record.state == LevelState::Complete);
    for level in complete {
        for rank in [0, 1] {
            assert!(
                level.requests.iter().any(|request| request.rank == rank),
                "rank {rank}"
            );
        }
        assert_eq!(level.gaps.len(), 2);
    }
    let left = fs::read_dir(directory.path().join("ranks")).expect("a directory");
    let sessions = left.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().is_dir()));
    assert_eq!(sessions.count(), 0, "the parts are in what is published");
}
