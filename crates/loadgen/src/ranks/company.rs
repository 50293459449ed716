//! The other ranks, seen from rank 0.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail};
use gipfel_stream_client::Clock;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    Place,
    clocks::{Agreement, Ways, agree},
    lines::{LineWriter, publish, published},
    meeting,
    part::ClosedParts,
    post::{Inbox, Look, Outbox, Silence},
    roll, session_directory,
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
/// How often they are while the clocks are compared.
pub(super) const COMPARING_INTERVAL: Duration = Duration::from_millis(10);
/// For how long the clocks are compared once every rank has answered.
const COMPARING: Duration = Duration::from_secs(1);
/// How long a rank may take to answer when its clock is to be compared.
pub(super) const COMPARED_BY: Duration = Duration::from_mins(1);
/// The time between the decision for a piece of load and its first request, on a directory that is as quick as most.
const LEAST_LEAD: Duration = Duration::from_secs(1);
/// The same on the slowest directory that is waited for.
const MOST_LEAD: Duration = Duration::from_mins(1);
/// A rank without a sign of life for so long is lost, and without rank 0's for so long a rank leaves. A file system may
/// stall for ten seconds, or show others only after a while what was written.
pub(super) const SILENCE: Duration = Duration::from_secs(20);
/// How often rank 0 gives a sign of life.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);
/// How long the ranks may take to close their parts once it is over.
const FAREWELL: Duration = Duration::from_mins(1);
/// How long the last line to them may take.
const LAST_WORD: Duration = Duration::from_secs(30);

/// What rank 0 tells the others of itself.
pub(crate) struct Terms {
    pub(crate) place: Place,
    /// How many of its own threads send.
    pub(crate) workers: u32,
    pub(crate) node: String,
    /// The sha256 of its program and of its run configuration.
    pub(crate) build: String,
    pub(crate) config: String,
    pub(crate) clock: Clock,
    /// Wall clock minus monotonic clock.
    pub(crate) wall_offset_ns: i64,
    /// What it adds to its times, so that the run has one axis.
    pub(crate) shift_ns: i64,
    /// Where the parts are noted that the others close.
    pub(crate) closed: ClosedParts,
}

/// The ranks that take part. They are told to leave when it is dropped.
pub(crate) struct Company {
    /// The threads of rank 0 and of the ranks that are not lost.
    workers: BTreeMap<u32, u32>,
    nodes: Vec<String>,
    lead: Duration,
    /// What the comparison of the clocks has shown, in words.
    clocks: Vec<String>,
    orders: Rc<Outbox<Command>>,
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
        let session = format!("session-{}-{}", terms.clock.anchor_unix_ns(), std::process::id());
        let session_directory = session_directory(directory, &session);
        fs::create_dir_all(&session_directory)
            .with_context(|| format!("failed to create `{}`", session_directory.display()))?;
        let mut post = Post::open(&session_directory, &hellos, terms)
            .with_context(|| format!("failed to write in `{}`", session_directory.display()))?;
        let answer = Roll {
            session,
            processes: hellos.iter().map(|hello| hello.process.clone()).collect(),
            refused: Vec::new(),
            over: false,
            wall_offset_ns: terms.wall_offset_ns,
            shift_ns: terms.shift_ns,
        };
        publish(&roll(directory), &answer)
            .with_context(|| format!("failed to write in `{}`", meeting.display()))?;
        tracing::info!(ranks = terms.place.of, "all ranks are there");
        let agreements = post.compare_clocks(&hellos).await?;
        Ok(Self::new(terms, &hellos, post, &agreements, session_directory))
    }

    fn new(
        terms: &Terms,
        hellos: &[Hello],
        post: Post,
        agreements: &BTreeMap<u32, Agreement>,
        session_directory: PathBuf,
    ) -> Self {
        let (report, reports) = mpsc::unbounded_channel();
        let orders = Rc::new(post.orders);
        let mut workers = BTreeMap::from([(terms.place.rank, terms.workers)]);
        workers.extend(hellos.iter().map(|hello| (hello.rank, hello.workers)));
        let now = Instant::now();
        let listener = Listener {
            silences: hellos
                .iter()
                .map(|hello| (hello.rank, Silence::since(now)))
                .collect(),
            words: post.words,
            orders: Rc::clone(&orders),
            report,
            closed: terms.closed.clone(),
            session_directory,
        };
        let mut clocks = Vec::new();
        for hello in hellos {
            if let Some(agreement) = agreements.get(&hello.rank) {
                let words = agreement.in_words(hello.rank, &hello.node);
                if agreement.wall_is_off_ns.is_some() {
                    tracing::warn!("{words}");
                }
                clocks.push(words);
            }
        }
        Self {
            workers,
            nodes: hellos.iter().map(|hello| hello.node.clone()).collect(),
            lead: lead(agreements.values()),
            clocks,
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

    /// The time between the decision for a piece of load and its first request.
    pub(crate) fn lead(&self) -> Duration {
        self.lead
    }

    /// How well the ranks' clocks agree, in words.
    pub(crate) fn clocks(&self) -> &[String] {
        &self.clocks
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
        self.command(Command::Start {
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
        self.command(Command::Append(WireAppend::new(piece, first, of)))
    }

    /// Orders the ranks the same.
    pub(crate) fn order(&mut self, order: &Order) -> Result<(), StopReason> {
        match order {
            // Each has a share of its own.
            Order::Append(piece, _) => self.append(piece),
            Order::Shed => self.command(Command::Shed),
            Order::Close(level) => self.command(Command::Close(*level)),
            Order::Cut => self.command(Command::Cut),
        }
    }

    /// Gives a rank up: the others share what is appended from now on.
    pub(crate) fn lose(&mut self, rank: u32) -> Result<(), StopReason> {
        self.workers.remove(&rank);
        self.command(Command::Lost(rank))
    }

    fn command(&mut self, command: Command) -> Result<(), StopReason> {
        let written = self.orders.write(command);
        written.map_err(|error| {
            StopReason::Failed(format!(
                "the orders to the other ranks cannot be written: {error}"
            ))
        })
    }

    /// Sends the ranks away and waits until they have closed their parts, or are lost.
    pub(crate) async fn dismiss(mut self) {
        if self.command(Command::Leave).is_ok() {
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
        if self.orders.write(Command::Leave).is_ok() && !self.orders.settle(LAST_WORD) {
            tracing::warn!(
                "the shared directory does not answer; the other ranks could not be told to leave"
            );
        }
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

/// The file to which a rank appends what it says.
pub(super) fn words(session_directory: &Path, rank: u32) -> PathBuf {
    session_directory.join(format!("rank{rank}.jsonl"))
}

/// The file to which rank 0 appends its orders.
pub(super) fn orders(session_directory: &Path) -> PathBuf {
    session_directory.join("orders.jsonl")
}

/// How long before its first request a piece of load is decided on, for it to be known everywhere in time.
fn lead<'a>(agreements: impl Iterator<Item = &'a Agreement>) -> Duration {
    let longest_way = agreements.map(|agreement| agreement.longest_way).max();
    let usual = 2 * POLL_INTERVAL;
    let slow = longest_way
        .map(|way| 2 * way.saturating_sub(usual))
        .unwrap_or_default();
    (LEAST_LEAD + slow).min(MOST_LEAD)
}

/// What goes to the other ranks and comes from them.
struct Post {
    words: Inbox<Word>,
    orders: Outbox<Command>,
}

/// What the comparison with a rank has shown so far.
#[derive(Default)]
struct Compared {
    by_wall_clock_ns: i64,
    here: Option<Ways>,
    there: Option<Ways>,
}

impl Post {
    fn open(session_directory: &Path, hellos: &[Hello], terms: &Terms) -> io::Result<Self> {
        let mut files = Vec::with_capacity(hellos.len());
        for hello in hellos {
            let path = words(session_directory, hello.rank);
            // A network file system may believe for half a minute that a file is not there which it did not find once.
            fs::write(&path, b"")?;
            files.push((hello.rank, path));
        }
        let writer = LineWriter::create(&orders(session_directory))?;
        Ok(Self {
            words: Inbox::follow(files, COMPARING_INTERVAL, terms.clock)?,
            orders: Outbox::new(writer, terms.clock)?,
        })
    }

    /// Compares the clocks and tells every rank what is settled. One that does not answer is lost soon enough.
    async fn compare_clocks(&mut self, hellos: &[Hello]) -> anyhow::Result<BTreeMap<u32, Agreement>> {
        let mut compared: BTreeMap<u32, Compared> = hellos
            .iter()
            .map(|hello| (hello.rank, Compared::default()))
            .collect();
        let give_up = Instant::now() + COMPARED_BY;
        let mut enough = give_up;
        let mut ticker = tokio::time::interval(COMPARING_INTERVAL);
        while Instant::now() < enough {
            tokio::select! {
                look = self.words.look() => {
                    let look = look.context("the thread that reads what the ranks say has panicked")?;
                    take_look(&mut compared, look)?;
                    let answered = compared.values().all(|one| one.here.is_some() && one.there.is_some());
                    if answered && enough == give_up {
                        enough = give_up.min(Instant::now() + COMPARING);
                    }
                }
                _ = ticker.tick() => self.orders.write(Command::Beat).context("the orders to the other ranks cannot be written")?,
            }
        }
        let agreements: BTreeMap<u32, Agreement> = compared
            .into_iter()
            .filter_map(|(rank, one)| Some((rank, agree(one.by_wall_clock_ns, one.here?, one.there?))))
            .collect();
        let agreed = agreements
            .iter()
            .map(|(rank, one)| (*rank, one.ahead_ns))
            .collect();
        self.orders
            .write(Command::Agreed(agreed))
            .context("the orders to the other ranks cannot be written")?;
        self.words.set_pace(POLL_INTERVAL);
        Ok(agreements)
    }
}

fn take_look(compared: &mut BTreeMap<u32, Compared>, look: Look<Word>) -> anyhow::Result<()> {
    let rank = look.rank;
    let lines = look
        .lines
        .with_context(|| format!("what rank {rank} says cannot be read"))?;
    let Some(one) = compared.get_mut(&rank) else {
        return Ok(());
    };
    for line in lines {
        match line.value {
            Word::Compared {
                by_wall_clock_ns,
                ways,
            } => {
                one.here = Some(Ways::add(one.here, look.read_ns - line.at_ns));
                one.by_wall_clock_ns = by_wall_clock_ns;
                one.there = ways.or(one.there);
            }
            Word::Failed(message) => bail!("rank {rank}: {message}"),
            Word::Gone { .. } => bail!("rank {rank} has left before the run began"),
            Word::News(_) | Word::Flushed => {}
        }
    }
    Ok(())
}

/// Reads what the ranks say, until all of them have gone.
struct Listener {
    silences: BTreeMap<u32, Silence>,
    words: Inbox<Word>,
    orders: Rc<Outbox<Command>>,
    report: mpsc::UnboundedSender<Report>,
    closed: ClosedParts,
    session_directory: PathBuf,
}

impl Listener {
    async fn run(mut self) {
        let mut beats = tokio::time::interval(BEAT_INTERVAL);
        while !self.silences.is_empty() {
            tokio::select! {
                look = self.words.look() => match look {
                    Some(look) => self.take(look),
                    None => return self.report(Report::Failed("what the ranks say is not read any more".to_owned())),
                },
                // An order that cannot be written is noticed by whoever gives it.
                _ = beats.tick() => drop(self.orders.write(Command::Beat)),
            }
        }
    }

    /// Reports what a rank has said since the last time.
    fn take(&mut self, look: Look<Word>) {
        let rank = look.rank;
        // One that has gone is not listened to.
        let Some(silence) = self.silences.get_mut(&rank) else {
            return;
        };
        let lines = match look.lines {
            Ok(lines) => lines,
            Err(error) => {
                self.silences.remove(&rank);
                return self.report(Report::Failed(format!(
                    "what rank {rank} says cannot be read: {error}"
                )));
            }
        };
        if silence.after_look(!lines.is_empty(), Instant::now()) > SILENCE {
            self.silences.remove(&rank);
            return self.report(Report::RankLost(rank));
        }
        for line in lines {
            match line.value {
                Word::News(news) => self.report(Report::News(Source::Rank(rank), news)),
                Word::Flushed => self.report(Report::Flushed(Source::Rank(rank))),
                Word::Failed(message) => self.report(Report::Failed(format!("rank {rank}: {message}"))),
                Word::Compared { .. } => {}
                Word::Gone { part, bytes } => {
                    self.closed.note(self.session_directory.join(part), bytes);
                    self.silences.remove(&rank);
                    self.report(Report::RankLost(rank));
                }
            }
        }
    }

    fn report(&self, report: Report) {
        // Rank 0 has left if nobody listens.
        let _ = self.report.send(report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lead_grows_with_the_directory() {
        let check = |way_ms: u64, lead_ms: u64| {
            let agreement = Agreement {
                ahead_ns: 0,
                within_ns: 0,
                wall_is_off_ns: None,
                longest_way: Duration::from_millis(way_ms),
            };
            assert_eq!(lead([agreement].iter()), Duration::from_millis(lead_ms));
        };
        check(12, 1_000);
        check(700, 2_000);
        check(3_200, 7_000);
        check(120_000, 60_000);
        assert_eq!(lead([].iter()), LEAST_LEAD);
    }
}
