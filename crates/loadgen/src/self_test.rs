//! `--self-test`: whether this machine has what a run needs.
//!
//! Each part is really used, as a run uses it: a deadline is waited for, a socket is written to, a database is made.

use std::{
    fmt::{self, Write as _},
    fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream, ToSocketAddrs},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use gipfel_model::Quantile;
use gipfel_results_db::ResultsDb;
use gipfel_statistics::{OrderStatistic, Sample};
use gipfel_stream_client::{Clock, DeadlineTimer, trusted_roots};
use rustix::process::{Resource, getrlimit};

use crate::setup::own_digest;

/// The exit code when something is not as it should be, as `doctor` has it.
pub const FAULT: u8 = 14;

/// A timer that is later than this at the 99th percentile cannot keep a schedule.
const LATEST_WAKE: Duration = Duration::from_millis(10);

/// Below this many open files a level of a few hundred requests at once cannot be sent.
const FEW_DESCRIPTORS: u64 = 1024;

const DEADLINES: usize = 200;
const ALLOCATING_THREADS: usize = 8;
const ALLOCATIONS: usize = 20_000;

/// Which program tests itself.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Its version.
    pub version: &'a str,
    /// The allocator that is linked into it.
    pub allocator: &'a str,
}

/// What was found of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The part.
    pub part: &'static str,
    /// What is there, or what is wrong with it.
    pub outcome: Result<String, String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match &self.outcome {
            Ok(text) => ("ok", text),
            Err(text) => ("fault", text),
        };
        write!(formatter, "{word:<6} {:<10} {text}", self.part)
    }
}

/// Tests this machine, prints the findings and says whether all is as it should be.
pub fn passes(program: &Program<'_>, directory: &Path) -> bool {
    let findings = findings(program, directory);
    let mut text = format!(
        "gipfel-loadgen {} for {}-{}, sha256 {}\n",
        program.version,
        std::env::consts::ARCH,
        std::env::consts::OS,
        own_digest()
            .as_deref()
            .unwrap_or("unknown: the program's file cannot be read")
    );
    for finding in &findings {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{finding}");
    }
    // Who does not read the findings still learns the outcome.
    let _ = io::stdout().write_all(text.as_bytes());
    findings.iter().all(|finding| finding.outcome.is_ok())
}

/// Tests this machine; the database is tried out in `directory`.
pub fn findings(program: &Program<'_>, directory: &Path) -> Vec<Finding> {
    let finding = |part, outcome: anyhow::Result<String>| Finding {
        part,
        outcome: outcome.map_err(|error| format!("{error:#}")),
    };
    vec![
        finding("pages", Ok(format!("{} bytes", rustix::param::page_size()))),
        finding("allocator", allocator(program.allocator)),
        finding("clock", clock()),
        finding("timer", timer()),
        finding("sockets", sockets()),
        finding("files", descriptors()),
        finding("names", names()),
        finding("database", database(directory)),
        finding("tls", tls()),
    ]
}

/// Threads allocate and free at once, which is where allocators differ.
fn allocator(name: &str) -> anyhow::Result<String> {
    let began = Instant::now();
    let workers: Vec<_> = (0..ALLOCATING_THREADS).map(|_| thread::spawn(allocate)).collect();
    let mut lengths = 0_usize;
    for worker in workers {
        lengths += worker
            .join()
            .map_err(|_| anyhow::anyhow!("a thread that allocates panicked"))?;
    }
    ensure!(lengths > 0, "nothing was allocated");
    let count = (ALLOCATING_THREADS * ALLOCATIONS) as f64;
    let rate = count / began.elapsed().as_secs_f64() / 1e6;
    Ok(format!(
        "{name}; {ALLOCATING_THREADS} threads, {rate:.1} million allocations a second"
    ))
}

fn allocate() -> usize {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    let mut lengths = 0;
    for index in 0..ALLOCATIONS {
        let buffer = Vec::with_capacity(16 + (index * 37) % 4000);
        lengths += buffer.capacity();
        kept.push(buffer);
        if kept.len() > 64 {
            kept.swap_remove(index % 64);
        }
    }
    lengths
}

fn clock() -> anyhow::Result<String> {
    let clock = Clock::start();
    let mut smallest = i64::MAX;
    let mut last = clock.now_ns();
    for _ in 0..100_000 {
        let now = clock.now_ns();
        ensure!(now >= last, "the monotonic clock went back by {} ns", last - now);
        if now > last {
            smallest = smallest.min(now - last);
        }
        last = now;
    }
    ensure!(smallest < i64::MAX, "the monotonic clock stands still");
    Ok(format!("monotonic, steps of {smallest} ns"))
}

fn timer() -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut late = runtime.block_on(deadlines())?;
    let mut at = |quantile: Quantile| match late.at_rank(quantile.rank(DEADLINES)) {
        Some(OrderStatistic::Finite(nanoseconds)) => Duration::from_nanos(nanoseconds.unsigned_abs()),
        Some(OrderStatistic::Infinite) | None => Duration::MAX,
    };
    let (median, p99) = (at(Quantile::MEDIAN), at(Quantile::P99));
    let words = format!("deadlines late by p50 {median:.1?}, p99 {p99:.1?}");
    ensure!(
        p99 <= LATEST_WAKE,
        "{words}: this machine is too busy, or its timer too coarse, for an open-loop schedule"
    );
    Ok(words)
}

/// How late each of some deadlines, a millisecond apart, was answered, in nanoseconds.
async fn deadlines() -> io::Result<Sample> {
    let clock = Clock::start();
    let mut timer = DeadlineTimer::new(clock)?;
    let mut late = Sample::new();
    for _ in 0..DEADLINES {
        let deadline = clock.now_ns() + 1_000_000;
        timer.until(deadline).await;
        late.push_finite(clock.now_ns() - deadline);
    }
    Ok(late)
}

fn sockets() -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").context("nothing can be listened on")?;
    let address = listener.local_addr()?;
    let mut client = TcpStream::connect_timeout(&address, Duration::from_secs(5))
        .context("a listener on 127.0.0.1 cannot be connected to")?;
    let (mut server, _) = listener.accept()?;
    client.write_all(b"gipfel")?;
    let mut answer = [0; 6];
    server.set_read_timeout(Some(Duration::from_secs(5)))?;
    server
        .read_exact(&mut answer)
        .context("what was sent does not arrive")?;
    ensure!(&answer == b"gipfel", "what was sent arrives damaged");
    let six = TcpListener::bind("[::1]:0").is_ok();
    Ok(format!(
        "127.0.0.1 answers; IPv6 is {}",
        if six { "there" } else { "not there" }
    ))
}

fn descriptors() -> anyhow::Result<String> {
    let limit = getrlimit(Resource::Nofile);
    let soft = limit.current.unwrap_or(u64::MAX);
    ensure!(
        soft >= FEW_DESCRIPTORS,
        "at most {soft} open files: raise it with `ulimit -n` before the load generator starts"
    );
    Ok(match limit.current {
        Some(soft) => format!("at most {soft} open"),
        None => "no limit on those open".to_owned(),
    })
}

fn names() -> anyhow::Result<String> {
    let mut addresses = ("localhost", 80)
        .to_socket_addrs()
        .context("`localhost` has no address here; name servers by their address")?;
    let first = addresses.next().context("`localhost` has no address")?;
    Ok(format!("localhost is {}", first.ip()))
}

fn database(directory: &Path) -> anyhow::Result<String> {
    let folder = directory.join(format!("gipfel-self-test-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot write into {}", directory.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(try_database(&folder.join("test.db")));
    let removed = fs::remove_dir_all(&folder);
    outcome?;
    removed.with_context(|| format!("cannot remove {}", folder.display()))?;
    Ok(format!(
        "SQLite writes, reads and checks in {}",
        directory.display()
    ))
}

async fn try_database(path: &Path) -> anyhow::Result<()> {
    let database = ResultsDb::create(path).await?;
    database.close().await?;
    let database = ResultsDb::open(path).await?;
    database.integrity_check().await?;
    Ok(database.close().await?)
}

fn tls() -> anyhow::Result<String> {
    let roots = trusted_roots()?;
    ensure!(roots > 0, "no authority is trusted");
    Ok(format!("ring; {roots} public authorities"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: Program<'static> = Program {
        version: "1.2.3",
        allocator: "the system's",
    };

    #[test]
    fn this_machine_has_what_a_run_needs() {
        let directory = tempfile::tempdir().expect("a directory");
        let findings = findings(&PROGRAM, directory.path());
        // How late timers are is the machine's business, and tests run beside other work.
        for finding in findings.iter().filter(|finding| finding.part != "timer") {
            assert!(finding.outcome.is_ok(), "{finding}");
        }
        assert_eq!(findings.len(), 9);
        let left = fs::read_dir(directory.path()).expect("readable").count();
        assert_eq!(left, 0, "the database is removed");
    }

    #[test]
    fn a_directory_that_is_not_there_is_a_fault() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file");
        fs::write(&file, "").expect("written");
        let findings = findings(&PROGRAM, &file);
        let database = findings.iter().find(|finding| finding.part == "database");
        let text = database.map(ToString::to_string).unwrap_or_default();
        assert!(text.starts_with("fault  database   cannot write into "), "{text}");
    }
}
