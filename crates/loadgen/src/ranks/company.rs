//! The other ranks, seen from rank 0.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail};
use tokio::{sync::mpsc, task::JoinHandle, time::MissedTickBehavior};

use super::{
    Place,
    lines::{LineReader, LineWriter, publish, published},
    meeting, roll, session_directory,
    wire::{Command, Hello, Roll, WireAppend, Word},
};
use crate::{
    messages::{Append, Order, Report, Source},
    stop::StopReason,
};

/// How long the other ranks may take to say that they are there.
const GATHERING: Duration = Duration::from_mins(2);
/// How often the files are looked at.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// A rank without a sign of life for so long is lost.
const SILENCE: Duration = Duration::from_secs(5);
/// How often rank 0 gives a sign of life.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);
/// How long the ranks may take to close their parts once it is over.
const FAREWELL: Duration = Duration::from_secs(30);

/// What rank 0 tells the others of itself.
pub(crate) struct Terms {
    pub(crate) place: Place,
    /// How many of its own threads send.
    pub(crate) workers: u32,
    pub(crate) node: String,
    /// The sha256 of its program and of its run configuration.
    pub(crate) build: String,
    pub(crate) config: String,
    /// The wall-clock time of its anchor.
    pub(crate) anchor_unix_ns: i64,
    /// What it adds to its times, so that the run has one axis.
    pub(crate) shift_ns: i64,
}

/// The ranks that take part. They are told to leave when it is dropped.
pub(crate) struct Company {
    /// The threads of rank 0 and of the ranks that are not lost.
    workers: BTreeMap<u32, u32>,
    nodes: Vec<String>,
    orders: Rc<RefCell<LineWriter<Command>>>,
    reports: mpsc::UnboundedReceiver<Report>,
    listening: JoinHandle<()>,
}

impl Company {
    /// Waits until every rank is there, and agrees with them on the session.
    pub(crate) async fn gather(directory: &Path, terms: &Terms) -> anyhow::Result<Self> {
        let meeting = meeting(directory);
        fs::create_dir_all(&meeting).with_context(|| format!("failed to create `{}`", meeting.display()))?;
        // What an earlier process has left says nothing; those that live say it again.
        for path in hello_files(directory)? {
            let _ = fs::remove_file(path);
        }
        let own = own_hello(terms);
        let gathered = tokio::time::timeout(GATHERING, everybody(directory, &own)).await;
        let hellos = match gathered {
            Ok(Ok(hellos)) => hellos,
            Ok(Err(error)) => return Err(refuse(directory, error)),
            Err(_) => return Err(refuse(directory, anyhow!(absent(directory, &own)))),
        };
        let session = format!("session-{}-{}", terms.anchor_unix_ns, std::process::id());
        let session_directory = session_directory(directory, &session);
        fs::create_dir_all(&session_directory)
            .with_context(|| format!("failed to create `{}`", session_directory.display()))?;
        let orders = LineWriter::create(&session_directory.join("orders.jsonl"))
            .with_context(|| format!("failed to write in `{}`", session_directory.display()))?;
        let answer = Roll {
            session,
            processes: hellos.iter().map(|hello| hello.process.clone()).collect(),
            refused: Vec::new(),
            over: false,
            anchor_unix_ns: terms.anchor_unix_ns,
            shift_ns: terms.shift_ns,
        };
        publish(&roll(directory), &answer)
            .with_context(|| format!("failed to write in `{}`", meeting.display()))?;
        tracing::info!(ranks = terms.place.of, "all ranks are there");
        Ok(Self::new(terms, &hellos, orders, &session_directory))
    }

    fn new(terms: &Terms, hellos: &[Hello], orders: LineWriter<Command>, session_directory: &Path) -> Self {
        let (report, reports) = mpsc::unbounded_channel();
        let orders = Rc::new(RefCell::new(orders));
        let mut workers = BTreeMap::from([(terms.place.rank, terms.workers)]);
        workers.extend(hellos.iter().map(|hello| (hello.rank, hello.workers)));
        let listener = Listener {
            ranks: hellos
                .iter()
                .map(|hello| Heard::new(session_directory, hello.rank))
                .collect(),
            orders: Rc::clone(&orders),
            report,
        };
        let nodes = hellos.iter().map(|hello| hello.node.clone()).collect();
        Self {
            workers,
            nodes,
            orders,
            reports,
            listening: tokio::task::spawn_local(listener.run()),
        }
    }

    /// The threads of all ranks.
    pub(crate) fn workers(&self) -> u32 {
        self.workers.values().sum()
    }

    /// The machines of the other ranks.
    pub(crate) fn nodes(&self) -> &[String] {
        &self.nodes
    }

    /// The ranks that are not lost, without rank 0.
    pub(crate) fn sources(&self) -> BTreeSet<Source> {
        self.workers
            .keys()
            .filter(|rank| **rank != 0)
            .map(|rank| Source::Rank(*rank))
            .collect()
    }

    /// The next report of another rank; `None` when they have all left.
    pub(crate) async fn report(&mut self) -> Option<Report> {
        self.reports.recv().await
    }

    /// Tells the ranks that the server answers, and where.
    pub(crate) fn start(&mut self, model: &str, endpoint: &str) -> Result<(), StopReason> {
        self.command(&Command::Start {
            model: model.to_owned(),
            endpoint: endpoint.to_owned(),
        })
    }

    /// Has the ranks send their shares of the piece. The threads of rank 0 are the first ones.
    pub(crate) fn append(&mut self, piece: &Append) -> Result<(), StopReason> {
        let mut first = Vec::with_capacity(self.workers.len());
        let mut of = 0;
        for (rank, workers) in &self.workers {
            first.push((*rank, of));
            of += workers;
        }
        self.command(&Command::Append(WireAppend::new(piece, first, of)))
    }

    /// Orders the ranks the same.
    pub(crate) fn order(&mut self, order: &Order) -> Result<(), StopReason> {
        match order {
            // Each has a share of its own.
            Order::Append(piece, _) => self.append(piece),
            Order::Shed => self.command(&Command::Shed),
            Order::Close(level) => self.command(&Command::Close(*level)),
            Order::Cut => self.command(&Command::Cut),
        }
    }

    /// Gives a rank up: the others share what is appended from now on.
    pub(crate) fn lose(&mut self, rank: u32) -> Result<(), StopReason> {
        self.workers.remove(&rank);
        self.command(&Command::Lost(rank))
    }

    fn command(&mut self, command: &Command) -> Result<(), StopReason> {
        let written = self.orders.borrow_mut().write(command);
        written.map_err(|error| {
            StopReason::Failed(format!(
                "the orders to the other ranks cannot be written: {error}"
            ))
        })
    }

    /// Sends the ranks away and waits until they have closed their parts, or are lost.
    pub(crate) async fn dismiss(mut self) {
        if self.command(&Command::Leave).is_ok() {
            // What is reported meanwhile is known from the cut.
            let left = async { while self.reports.recv().await.is_some() {} };
            if tokio::time::timeout(FAREWELL, left).await.is_err() {
                tracing::warn!("a rank did not leave within {} s", FAREWELL.as_secs());
            }
        }
    }
}

impl Drop for Company {
    fn drop(&mut self) {
        self.listening.abort();
        // Without it they leave when they have heard nothing for a while.
        let _ = self.orders.borrow_mut().write(&Command::Leave);
    }
}

/// Tells the other ranks that the run is complete already.
pub(crate) fn say_that_it_is_over(directory: &Path) -> anyhow::Result<()> {
    let path = roll(directory);
    let answer = Roll {
        over: true,
        ..Roll::default()
    };
    fs::create_dir_all(meeting(directory))
        .and_then(|()| publish(&path, &answer))
        .with_context(|| format!("failed to write `{}`", path.display()))
}

fn own_hello(terms: &Terms) -> Hello {
    Hello {
        process: String::new(),
        rank: terms.place.rank,
        of: terms.place.of,
        workers: terms.workers,
        node: terms.node.clone(),
        build: terms.build.clone(),
        config: terms.config.clone(),
    }
}

/// Waits for the word of every rank; an error when one of them cannot take part.
async fn everybody(directory: &Path, own: &Hello) -> anyhow::Result<Vec<Hello>> {
    let mut ticker = tokio::time::interval(POLL_INTERVAL);
    loop {
        ticker.tick().await;
        let hellos = present(directory)?;
        if let Some(objection) = hellos.iter().find_map(|hello| hello.objection(own)) {
            bail!("{objection}");
        }
        if (1..own.of).all(|rank| hellos.iter().any(|hello| hello.rank == rank)) {
            return Ok(hellos);
        }
    }
}

/// Sends those away that are there, since they cannot begin without the others.
fn refuse(directory: &Path, error: anyhow::Error) -> anyhow::Error {
    let hellos = present(directory).unwrap_or_default();
    let refused = hellos
        .into_iter()
        .map(|hello| (hello.process, format!("{error:#}")));
    let answer = Roll {
        refused: refused.collect(),
        ..Roll::default()
    };
    match publish(&roll(directory), &answer) {
        Ok(()) => error,
        Err(failure) => error.context(format!("the other ranks cannot be told: {failure}")),
    }
}

/// The files of the ranks that have said that they are there.
fn hello_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(meeting(directory))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let is_hello = name.is_some_and(|name| name.starts_with("hello."));
        if is_hello && path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The ranks that have said that they are there.
fn present(directory: &Path) -> io::Result<Vec<Hello>> {
    let mut hellos = Vec::new();
    for path in hello_files(directory)? {
        // One that was removed meanwhile will come again.
        hellos.extend(published::<Hello>(&path)?);
    }
    hellos.sort_by_key(|hello| hello.rank);
    Ok(hellos)
}

/// Which ranks did not come.
fn absent(directory: &Path, own: &Hello) -> String {
    let hellos = present(directory).unwrap_or_default();
    let missing: Vec<String> = (1..own.of)
        .filter(|rank| hellos.iter().all(|hello| hello.rank != *rank))
        .map(|rank| rank.to_string())
        .collect();
    format!(
        "rank {} of {} did not come within {} s: start all of them on the same run directory (with `srun`), or one alone \
         with `--of 1`",
        missing.join(", "),
        own.of,
        GATHERING.as_secs()
    )
}

/// What one rank says.
struct Heard {
    rank: u32,
    words: LineReader<Word>,
    last: Instant,
}

impl Heard {
    fn new(session_directory: &Path, rank: u32) -> Self {
        Self {
            rank,
            words: LineReader::new(words(session_directory, rank)),
            last: Instant::now(),
        }
    }
}

/// The file to which a rank appends what it says.
pub(super) fn words(session_directory: &Path, rank: u32) -> PathBuf {
    session_directory.join(format!("rank{rank}.jsonl"))
}

/// Reads what the ranks say, until all of them have gone.
struct Listener {
    ranks: Vec<Heard>,
    orders: Rc<RefCell<LineWriter<Command>>>,
    report: mpsc::UnboundedSender<Report>,
}

impl Listener {
    async fn run(mut self) {
        let mut ticker = tokio::time::interval(POLL_INTERVAL);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beaten = Instant::now();
        while !self.ranks.is_empty() {
            ticker.tick().await;
            let report = &self.report;
            self.ranks.retain_mut(|heard| listen(heard, report));
            if beaten.elapsed() >= BEAT_INTERVAL {
                beaten = Instant::now();
                // An order that cannot be written is noticed by whoever gives it.
                let _ = self.orders.borrow_mut().write(&Command::Beat);
            }
        }
    }
}

/// Reports what a rank has said since the last time; whether there is more to hear of it.
fn listen(heard: &mut Heard, report: &mpsc::UnboundedSender<Report>) -> bool {
    let rank = heard.rank;
    let words = match heard.words.read() {
        Ok(words) => words,
        Err(error) => {
            let message = format!("what rank {rank} says cannot be read: {error}");
            let _ = report.send(Report::Failed(message));
            return false;
        }
    };
    if !words.is_empty() {
        heard.last = Instant::now();
    }
    for word in words {
        // Rank 0 has left if nobody listens.
        let _ = report.send(match word {
            Word::News(news) => Report::News(Source::Rank(rank), news),
            Word::Flushed => Report::Flushed(Source::Rank(rank)),
            Word::Failed(message) => Report::Failed(format!("rank {rank}: {message}")),
            Word::Gone => {
                let _ = report.send(Report::RankLost(rank));
                return false;
            }
        });
    }
    let lost = heard.last.elapsed() > SILENCE;
    if lost {
        let _ = report.send(Report::RankLost(rank));
    }
    !lost
}
