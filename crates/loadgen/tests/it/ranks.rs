//! Several processes that send as one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use gipfel_model::{
    ArrivalProcess, ArrivalRate, LengthDistribution, LevelState, Phase, Provenance, Rates, RunConfig,
    RunState, SearchSpec, ValidityFault,
};
use rustix::process::Signal;

use crate::support::{Level, Process, RunDirectory, Sim, config, loadgen, wait_for};

const LENIENT: &[&str] = &["ttft p50 <= 10s"];

fn mixed(url: &str, rates: &[f64]) -> RunConfig {
    let mut config = config(url, rates, LENIENT);
    config.workload.arrivals = ArrivalProcess::Poisson;
    config.workload.input_length = LengthDistribution::Uniform { min: 4, max: 40 };
    config.workload.output_length = LengthDistribution::Uniform { min: 2, max: 30 };
    config
}

fn start(directory: &RunDirectory, rank: u32, of: u32) -> Process {
    let mut command = loadgen();
    command.args(["--rank", &rank.to_string(), "--of", &of.to_string()]);
    directory.spawn(command)
}

fn start_all(directory: &RunDirectory, of: u32) -> Vec<Process> {
    (0..of).map(|rank| start(directory, rank, of)).collect()
}

/// Number, time after the level's start, input and output of what is sent in any case; each once.
fn sent(level: &Level) -> BTreeSet<(i64, i64, u32, u32)> {
    let planned = level.requests.iter().filter(|one| one.phase != Phase::Tail);
    let sent: Vec<_> = planned
        .map(|one| {
            let at_ns = one.scheduled_ns - level.record.start_ns;
            (one.request, at_ns, one.requested_input, one.requested_output)
        })
        .collect();
    let once: BTreeSet<_> = sent.iter().copied().collect();
    assert_eq!(once.len(), sent.len(), "each request once");
    once
}

fn ranks(level: &Level) -> BTreeSet<u32> {
    level.requests.iter().map(|one| one.rank).collect()
}

#[test]
fn four_ranks_send_the_requests_of_one() {
    let sim = Sim::fast();
    let alone = RunDirectory::new(mixed(&sim.url, &[60.0, 90.0]));
    assert_eq!(alone.run().expect("a run"), RunState::Completed);
    let together = RunDirectory::new(mixed(&sim.url, &[60.0, 90.0]));
    for mut process in start_all(&together, 4) {
        assert_eq!(process.exit().code(), Some(0));
    }
    let (alone, together) = (alone.results(), together.results());
    assert_eq!(together.run.state, RunState::Completed);
    assert_eq!(together.provenance.0[Provenance::WORKERS], "4");
    assert_eq!(together.levels.len(), 2);
    for (one, four) in alone.levels.iter().zip(&together.levels) {
        assert_eq!(sent(one), sent(four));
        assert_eq!(ranks(four), BTreeSet::from([0, 1, 2, 3]));
        assert_eq!(four.gaps.len(), 4, "one histogram for each rank");
        assert_eq!(four.verdict(), Some("accept"), "{:?}", four.record);
        let measured = four.of_phase(Phase::Measured).len() as u64;
        assert_eq!(four.record.attainment[0].decided, measured);
    }
}

/// Each rank's sends against the schedule, and against one clock that all of them share.
#[test]
fn four_ranks_begin_as_the_schedule_says() {
    let sim = Sim::fast();
    let mut config = config(&sim.url, &[80.0], LENIENT);
    config.schedule.measured = Duration::from_secs(4);
    let directory = RunDirectory::new(config);
    for mut process in start_all(&directory, 4) {
        assert_eq!(process.exit().code(), Some(0));
    }
    let results = directory.results();
    let level = &results.levels[0];
    let clocks = &results.provenance.0["rank_clocks"];
    assert_eq!(
        clocks.matches("by the wall clock, proven within").count(),
        3,
        "{clocks}"
    );
    for rank in 0..4 {
        let of_rank = || level.requests.iter().filter(|one| one.rank == rank);
        let late = of_rank().filter_map(|one| one.send_ns);
        // The others may have waited for a core.
        let least = late.min().expect("requests");
        assert!(
            (0..1_000_000).contains(&least),
            "rank {rank} sends {least} ns late"
        );
        // Constant arrivals: on one axis all ranks' requests are evenly apart.
        for one in of_rank() {
            let at_ns = one.scheduled_ns - level.record.start_ns;
            let off_ns = at_ns.rem_euclid(12_500_000);
            let off_ns = off_ns.min(12_500_000 - off_ns);
            assert!(
                off_ns < 1_000_000,
                "rank {rank} has a request {off_ns} ns beside the schedule"
            );
        }
    }
}

/// Copies what one of two directories holds of the ranks' meeting into the other one, as late as a network file system whose
/// clients ask only now and then.
struct Relay<'a> {
    from: &'a RunDirectory,
    to: &'a RunDirectory,
    delay: Duration,
    /// Which files, by the begin of their names; those that tell of others come first.
    names: &'a [&'a str],
    /// What was seen when, and is on its way.
    seen: Vec<(Instant, PathBuf, Vec<u8>)>,
    last: BTreeMap<PathBuf, Vec<u8>>,
}

impl<'a> Relay<'a> {
    fn new(from: &'a RunDirectory, to: &'a RunDirectory, names: &'a [&'a str], delay: Duration) -> Self {
        Self {
            from,
            to,
            delay,
            names,
            seen: Vec::new(),
            last: BTreeMap::new(),
        }
    }

    /// The files, in the order of the names.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut directories = vec![self.from.path().join("ranks")];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    directories.push(path);
                    continue;
                }
                let name = entry.file_name().to_string_lossy().into_owned();
                // SQLite's journals come and go; one that is shown when it has gone would undo what the database holds.
                let of_a_writer = [".tmp", "-journal", "-wal", "-shm"];
                let is_whole = !of_a_writer.iter().any(|part| name.contains(part));
                let nth = self.names.iter().position(|begin| name.starts_with(begin));
                if let Some(nth) = nth.filter(|_| is_whole) {
                    files.push((nth, path));
                }
            }
        }
        files.sort();
        files.into_iter().map(|(_, path)| path).collect()
    }

    fn turn(&mut self) {
        let mut new = Vec::new();
        for path in self.files() {
            let Ok(text) = fs::read(&path) else { continue };
            if self.last.get(&path) != Some(&text) {
                self.last.insert(path.clone(), text.clone());
                new.push((path, text));
            }
        }
        // What was read first is shown last: no file system shows that a file is closed before it shows the file.
        let now = Instant::now();
        self.seen
            .extend(new.into_iter().rev().map(|(path, text)| (now, path, text)));
        let due = self
            .seen
            .iter()
            .take_while(|(since, ..)| since.elapsed() >= self.delay)
            .count();
        for (_, path, text) in self.seen.drain(..due) {
            let target = self
                .to
                .path()
                .join(path.strip_prefix(self.from.path()).expect("below it"));
            fs::create_dir_all(target.parent().expect("a directory")).expect("a directory");
            let temporary = target.with_extension("relayed");
            fs::write(&temporary, text).expect("a file");
            fs::rename(temporary, target).expect("a file");
        }
    }
}

#[test]
fn a_directory_that_shows_everything_late_costs_no_level() {
    let delay = Duration::from_secs(2);
    let sim = Sim::fast();
    let run = || mixed(&sim.url, &[40.0, 60.0]);
    let (here, there) = (RunDirectory::new(run()), RunDirectory::new(run()));
    let mut orders = Relay::new(&here, &there, &["roll", "orders"], delay);
    let mut words = Relay::new(&there, &here, &["hello", "rank1", "run_"], delay);
    let mut zero = start(&here, 0, 2);
    let mut one = start(&there, 1, 2);
    wait_for("both ranks to end", || {
        orders.turn();
        words.turn();
        (zero.has_ended() && one.has_ended()).then_some(())
    });
    assert_eq!(zero.exit().code(), Some(0));
    assert_eq!(one.exit().code(), Some(0));
    let results = here.results();
    let verdicts: Vec<_> = results.levels.iter().map(Level::verdict).collect();
    assert_eq!(
        verdicts,
        [Some("accept"), Some("accept")],
        "{:?}",
        results.levels[0].record.validity
    );
    for level in &results.levels {
        assert_eq!(ranks(level), BTreeSet::from([0, 1]));
        sent(level);
    }
}

/// All ranks wait for a file system that answers nothing for longer than a rank may be silent.
#[test]
fn ranks_that_have_all_waited_go_on() {
    let sim = Sim::fast();
    let mut config = mixed(&sim.url, &[40.0, 60.0]);
    config.schedule.measured = Duration::from_secs(3);
    let directory = RunDirectory::new(config);
    let mut processes = start_all(&directory, 2);
    directory.wait_for_phase(0, Phase::Measured);
    for process in &processes {
        process.signal(Signal::STOP);
    }
    let stopped = Instant::now();
    wait_for("longer than a rank may be silent", || {
        (stopped.elapsed() > Duration::from_secs(22)).then_some(())
    });
    for process in &processes {
        process.signal(Signal::CONT);
    }
    for process in &mut processes {
        assert_eq!(process.exit().code(), Some(0));
    }
    let results = directory.results();
    let lost = |level: &Level| {
        let faults = &level.record.validity.faults;
        faults
            .iter()
            .any(|fault| matches!(fault, ValidityFault::RankLost { .. }))
    };
    assert!(
        !results.levels.iter().any(lost),
        "{:?}",
        results.levels[0].record.validity
    );
    assert_eq!(
        results.levels[0].verdict(),
        Some("invalid"),
        "it was not sent as scheduled"
    );
    assert_eq!(results.levels[1].verdict(), Some("accept"));
    assert_eq!(ranks(&results.levels[1]), BTreeSet::from([0, 1]));
}

/// Rank 1 of three gets a signal in the second of three levels.
fn check_lost(signal: Signal) {
    let sim = Sim::fast();
    let mut config = mixed(&sim.url, &[40.0, 60.0, 80.0]);
    config.schedule.warmup = Duration::from_secs(2);
    config.schedule.measured = Duration::from_secs(3);
    let directory = RunDirectory::new(config);
    let mut processes = start_all(&directory, 3);
    directory.wait_for_phase(1, Phase::Measured);
    processes[1].signal(signal);
    if signal == Signal::STOP {
        directory.wait_for_phase(2, Phase::Warmup);
        processes[1].signal(Signal::CONT);
        assert_eq!(
            processes[1].exit().code(),
            Some(11),
            "it is told that it was given up"
        );
    } else {
        processes[1].exit();
    }
    for rank in [0, 2] {
        assert_eq!(processes[rank].exit().code(), Some(0), "rank {rank}");
    }
    let results = directory.results();
    assert_eq!(results.run.state, RunState::Completed);
    let verdicts: Vec<_> = results.levels.iter().map(Level::verdict).collect();
    assert_eq!(verdicts, [Some("accept"), Some("invalid"), Some("accept")]);
    let [before, lost, after] = &results.levels[..] else {
        panic!("three levels")
    };
    assert!(
        lost.record
            .validity
            .faults
            .contains(&ValidityFault::RankLost { rank: 1 }),
        "{:?}",
        lost.record.validity
    );
    assert_eq!(ranks(before), BTreeSet::from([0, 1, 2]));
    assert_eq!(ranks(lost), BTreeSet::from([0, 1, 2]), "what it had sent is kept");
    assert_eq!(
        ranks(after),
        BTreeSet::from([0, 2]),
        "its share goes to the others"
    );
    sent(lost);
    let measured = after.of_phase(Phase::Measured).len() as u64;
    assert_eq!(after.record.attainment[0].scheduled, measured);
}

#[test]
fn a_killed_rank_invalidates_the_level_of_its_loss_and_no_other() {
    check_lost(Signal::KILL);
}

#[test]
fn a_rank_that_slept_disturbs_no_level_when_it_wakes() {
    check_lost(Signal::STOP);
}

#[test]
fn killed_ranks_are_taken_up_again() {
    let sim = Sim::fast();
    let mut config = mixed(&sim.url, &[40.0, 60.0]);
    config.schedule.measured = Duration::from_secs(3);
    let directory = RunDirectory::new(config);
    let mut processes = start_all(&directory, 2);
    directory.wait_for_phase(1, Phase::Measured);
    for process in &mut processes {
        process.signal(Signal::KILL);
        process.exit();
    }
    for mut process in start_all(&directory, 2) {
        assert_eq!(process.exit().code(), Some(0));
    }
    let results = directory.results();
    let states: Vec<_> = results.levels.iter().map(|level| level.record.state).collect();
    assert_eq!(
        states,
        [LevelState::Complete, LevelState::Broken, LevelState::Complete]
    );
    for level in &results.levels {
        assert_eq!(
            ranks(level),
            BTreeSet::from([0, 1]),
            "level {}",
            level.record.level
        );
        sent(level);
    }
    // A run that is over needs nobody.
    drop(sim);
    for mut process in start_all(&directory, 2) {
        assert_eq!(process.exit().code(), Some(0));
    }
    assert_eq!(directory.results().levels, results.levels);
}

#[test]
fn ranks_of_another_number_are_refused() {
    let sim = Sim::fast();
    let directory = RunDirectory::new(mixed(&sim.url, &[40.0]));
    let mut other = start(&directory, 1, 3);
    let hello = directory.path().join("ranks").join("hello.1.json");
    wait_for("rank 1", || hello.exists().then_some(()));
    let mut zero = start(&directory, 0, 2);
    assert_eq!(other.exit().code(), Some(11));
    assert_eq!(zero.exit().code(), Some(11));
    let error = directory.progress().and_then(|progress| progress.error);
    let expected =
        "rank 1 was started as one of 3 processes, rank 0 as one of 2: start all of them with one number";
    assert_eq!(error.as_deref(), Some(expected));

    // What they have left behind keeps nobody from beginning well.
    for mut process in start_all(&directory, 2) {
        assert_eq!(process.exit().code(), Some(0));
    }
}

#[test]
fn ranks_search_together() {
    let sim = Sim::narrow();
    let mut config = mixed(&sim.url, &[]);
    config.slos = vec!["ttft p95 <= 2s".parse().expect("an objective")];
    config.schedule.rates = Rates::Search(SearchSpec {
        min_rate: ArrivalRate::per_second(20.0).expect("a rate"),
        budget: Some(Duration::from_secs(12)),
        ..SearchSpec::default()
    });
    let directory = RunDirectory::new(config);
    for mut process in start_all(&directory, 2) {
        assert_eq!(process.exit().code(), Some(0));
    }
    let results = directory.results();
    assert!(results.levels.len() >= 2, "{results:?}");
    for level in &results.levels {
        assert_eq!(level.record.state, LevelState::Complete);
        assert_eq!(level.record.verdict, None, "{:?}", level.record);
        sent(level);
    }
    // The last one may have ended with the budget, before anything was decided.
    for level in &results.levels[..results.levels.len() - 1] {
        let evidence = level.record.evidence.as_ref().expect("evidence");
        let counted: u32 = evidence.seconds.iter().map(|second| second.arrivals).sum();
        assert!(
            counted > 0 && level.requests.len() >= counted as usize,
            "{level:?}"
        );
    }
}
