//! A rank that is not rank 0: it sends what it is told, and says how that stands.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail};
use gipfel_engine::engine;
use gipfel_model::{EndpointSpec, RunConfig, RunState};
use gipfel_results_db::ResultsDb;
use gipfel_stream_client::Clock;
use tokio::{sync::oneshot, time::MissedTickBehavior};

use super::{
    Place,
    clocks::Ways,
    company::{COMPARED_BY, COMPARING_INTERVAL, POLL_INTERVAL, SILENCE, orders, words},
    hello,
    lines::{LineWriter, Stamped, publish, published},
    meeting, part,
    post::{Inbox, Look, Outbox, Silence},
    roll, session_directory,
    wire::{Command, Hello, Roll, Word},
};
use crate::{
    Options,
    crew::{Crew, Job, worker_count},
    dataset::Prompts,
    gaps::GapsBook,
    leisure,
    level::wall_offset_ns,
    messages::{InFlightCount, LevelNews, News, Order, Report, Source, ThreadTime},
    setup::{self, Identity},
    stop::{Stop, StopReason},
    writer::{self, Recorder, WriterMessage},
};

/// How long rank 0 may take to answer; it waits for the other ranks, too.
const PATIENCE: Duration = Duration::from_mins(5);
/// How often this rank says that it is there until it is answered.
const HELLO_INTERVAL: Duration = Duration::from_secs(1);
/// How often the load is reported.
const WORD_INTERVAL: Duration = Duration::from_millis(200);
/// A signal that comes to all ranks is answered by rank 0; one that rank 0 knows nothing of is obeyed after this time.
const OBEDIENCE: Duration = Duration::from_secs(10);
/// How long the last line to rank 0 may take.
const LAST_WORD: Duration = Duration::from_secs(30);

/// Takes part in the run until rank 0 says that it is over.
pub(crate) async fn serve(options: &Options, place: Place) -> anyhow::Result<RunState> {
    let (_, stop) = Stop::on_signals().context("failed to listen for signals")?;
    let config = setup::read_config(&options.config)?;
    let prompts = Prompts::load(&config.workload)?;
    let clock = Clock::start();
    let own = own_hello(options, &config, place, clock)?;
    let roll = match answer(&options.directory, &own, &stop).await {
        Ok(roll) => roll,
        Err(StopReason::Told | StopReason::TimeUp(_)) => return Ok(RunState::Stopped),
        Err(StopReason::Failed(message)) => bail!(message),
    };
    if roll.over {
        tracing::info!("the run is over already");
        return Ok(RunState::Completed);
    }
    let session = session_directory(&options.directory, &roll.session);
    let path = part::path(&session, &config.run_id, place.rank);
    let new = path.clone();
    let db = leisure::at_leisure(async move || ResultsDb::create(&new).await)
        .await
        .context("failed to start a thread")?
        .with_context(|| format!("failed to create `{}`", path.display()))?;
    let run = db.upsert_run(&config).await?;
    let mut post = Post::open(&session, place.rank, clock)
        .with_context(|| format!("failed to write in `{}`", session.display()))?;
    let by_wall_clock_ns = wall_offset_ns(clock) - roll.wall_offset_ns;
    let ahead_ns = match post.compare_clocks(place.rank, by_wall_clock_ns, &stop).await {
        Ok(Some(ahead_ns)) => ahead_ns,
        Ok(None) | Err(StopReason::Told | StopReason::TimeUp(_)) => return Ok(RunState::Stopped),
        Err(StopReason::Failed(message)) => bail!(message),
    };
    let (rows, rows_in) = writer::recorder();
    let writing = tokio::task::spawn_local(writer::run(db, run, roll.shift_ns + ahead_ns, None, rows_in));
    let mut member = Member {
        config: &config,
        prompts,
        clock,
        rank: place.rank,
        ahead_ns,
        orders: post.orders,
        silence: Silence::since(Instant::now()),
        words: post.words,
        rows,
        crew: None,
        gaps: GapsBook::new(own.workers as usize),
        flushing: BTreeSet::new(),
        unsaid: Unsaid::default(),
    };
    let outcome = member.follow(&stop).await;
    let farewell = member.leave().await;
    let written = writing.await.context("the database writer panicked")?;
    // After the part is closed, so that rank 0 may take it.
    farewell
        .write(gone(&path)?)
        .context("failed to take leave of rank 0")?;
    if !farewell.settle(LAST_WORD) {
        bail!("failed to take leave of rank 0: the shared directory does not answer");
    }
    written.context("failed to write the part of the result database")?;
    match outcome {
        Ok(()) => Ok(RunState::Completed),
        Err(StopReason::Told | StopReason::TimeUp(_)) => Ok(RunState::Stopped),
        Err(StopReason::Failed(message)) => Err(anyhow!(message)),
    }
}

/// That the part is closed, and how much rank 0 is to see of it.
fn gone(part: &Path) -> anyhow::Result<Word> {
    let name = part.file_name().unwrap_or_default();
    let metadata = fs::metadata(part).with_context(|| format!("failed to look at `{}`", part.display()))?;
    Ok(Word::Gone {
        part: name.to_string_lossy().into_owned(),
        bytes: metadata.len(),
    })
}

/// What goes to rank 0 and comes from it.
struct Post {
    orders: Inbox<Command>,
    words: Outbox<Word>,
}

impl Post {
    fn open(session: &Path, rank: u32, clock: Clock) -> std::io::Result<Self> {
        Ok(Self {
            orders: Inbox::follow(vec![(0, orders(session))], COMPARING_INTERVAL, clock)?,
            words: Outbox::new(LineWriter::to(words(session, rank)), clock)?,
        })
    }

    /// Compares the clocks until rank 0 has settled how much later than its own this rank's axis begins; nothing if it
    /// has left before.
    async fn compare_clocks(
        &mut self,
        rank: u32,
        by_wall_clock_ns: i64,
        stop: &Stop,
    ) -> Result<Option<i64>, StopReason> {
        let mut ticker = tokio::time::interval(COMPARING_INTERVAL);
        let mut silence = Silence::since(Instant::now());
        let mut ways = None;
        let mut first = true;
        loop {
            tokio::select! {
                look = self.orders.look() => {
                    let look = new_orders(look, &mut silence, COMPARED_BY)?;
                    for line in &look.0 {
                        match &line.value {
                            Command::Agreed(agreed) => {
                                self.orders.set_pace(POLL_INTERVAL);
                                let own = agreed.iter().find(|(known, _)| *known == rank);
                                return Ok(Some(own.map_or(by_wall_clock_ns, |(_, ahead_ns)| *ahead_ns)));
                            }
                            Command::Leave => return Ok(None),
                            // What was there before this rank looked has waited for it.
                            _ if first => {}
                            _ => ways = Some(Ways::add(ways, look.1 - line.at_ns)),
                        }
                    }
                    first &= look.0.is_empty();
                }
                _ = ticker.tick() => {
                    stop.check()?;
                    let word = Word::Compared { by_wall_clock_ns, ways };
                    self.words.write(word).map_err(unsaid)?;
                }
            }
        }
    }
}

/// The orders that a look has shown and when; an error when rank 0 has said nothing for longer than `limit`.
fn new_orders(
    look: Option<Look<Command>>,
    silence: &mut Silence,
    limit: Duration,
) -> Result<(Vec<Stamped<Command>>, i64), StopReason> {
    let look =
        look.ok_or_else(|| StopReason::Failed("the orders of rank 0 are not read any more".to_owned()))?;
    let lines = look
        .lines
        .map_err(|error| StopReason::Failed(format!("the orders of rank 0 cannot be read: {error}")))?;
    if silence.after_look(!lines.is_empty(), Instant::now()) > limit {
        let seconds = limit.as_secs();
        return Err(StopReason::Failed(format!(
            "rank 0 has said nothing for {seconds} s: it is gone"
        )));
    }
    Ok((lines, look.read_ns))
}

fn unsaid(error: std::io::Error) -> StopReason {
    StopReason::Failed(format!("rank 0 cannot be told anything: {error}"))
}

fn own_hello(options: &Options, config: &RunConfig, place: Place, clock: Clock) -> anyhow::Result<Hello> {
    let Identity {
        node,
        build,
        config: digest,
    } = Identity::find(&options.config)?;
    Ok(Hello {
        process: format!("{node}-{}-{}", std::process::id(), clock.anchor_unix_ns()),
        rank: place.rank,
        of: place.of,
        workers: worker_count(config),
        node,
        build,
        config: digest,
    })
}

/// Says that this rank is there until rank 0 answers.
async fn answer(directory: &Path, own: &Hello, stop: &Stop) -> Result<Roll, StopReason> {
    let meeting = meeting(directory);
    fs::create_dir_all(&meeting)
        .with_context(|| format!("failed to create `{}`", meeting.display()))
        .map_err(StopReason::from)?;
    let asking = async {
        let mut ticker = tokio::time::interval(POLL_INTERVAL);
        let mut said: Option<Instant> = None;
        loop {
            ticker.tick().await;
            // Again and again, since rank 0 removes what it finds when it begins.
            if said.is_none_or(|said| said.elapsed() >= HELLO_INTERVAL) {
                said = Some(Instant::now());
                publish(&hello(directory, own.rank), own)?;
            }
            let Some(answer) = published::<Roll>(&roll(directory))? else {
                continue;
            };
            if answer.over || answer.processes.contains(&own.process) {
                return Ok(answer);
            }
            if let Some((_, objection)) = answer.refused.iter().find(|(process, _)| *process == own.process) {
                bail!("{objection}");
            }
        }
    };
    let answer = stop.unless(tokio::time::timeout(PATIENCE, asking)).await?;
    let answer = answer.map_err(|_| {
        let (rank, of) = (own.rank, own.of);
        StopReason::Failed(format!(
            "rank {rank} of {of} had no answer of rank 0 within {} s: is rank 0 started on the same run directory?",
            PATIENCE.as_secs()
        ))
    })?;
    answer.map_err(StopReason::from)
}

/// What rank 0 has not been told yet.
#[derive(Default)]
struct Unsaid {
    in_flight: BTreeMap<Source, InFlightCount>,
    levels: BTreeMap<u32, LevelNews>,
    threads: BTreeMap<usize, ThreadTime>,
}

impl Unsaid {
    /// Takes the news of a worker.
    fn add(&mut self, source: Source, news: News) {
        self.in_flight.insert(source, news.in_flight);
        self.threads.extend(news.threads);
        for level in news.levels {
            let own = self.levels.entry(level.level).or_insert_with(|| LevelNews {
                level: level.level,
                ..LevelNews::default()
            });
            own.add(level);
        }
    }

    /// The news of the rank, on an axis that this one is `ahead_ns` ahead of.
    fn take(&mut self, ahead_ns: i64) -> News {
        let mut in_flight = InFlightCount::default();
        for count in self.in_flight.values() {
            in_flight.add(*count);
        }
        in_flight.oldest_waiting_ns = in_flight.oldest_waiting_ns.map(|at_ns| at_ns + ahead_ns);
        let threads = std::mem::take(&mut self.threads)
            .into_iter()
            .map(|(thread, time)| {
                let at_ns = time.at_ns + ahead_ns;
                (thread, ThreadTime { at_ns, ..time })
            });
        News {
            in_flight,
            levels: std::mem::take(&mut self.levels).into_values().collect(),
            threads: threads.collect(),
            wall_offset_ns: None,
        }
    }
}

struct Member<'a> {
    config: &'a RunConfig,
    prompts: Prompts,
    clock: Clock,
    rank: u32,
    /// How much later than rank 0's this process's axis begins.
    ahead_ns: i64,
    orders: Inbox<Command>,
    silence: Silence,
    words: Outbox<Word>,
    rows: Recorder,
    crew: Option<Crew>,
    gaps: GapsBook,
    /// The workers that have not handed everything over after a cut.
    flushing: BTreeSet<Source>,
    unsaid: Unsaid,
}

impl Member<'_> {
    /// Does what rank 0 orders, until it says that it is over.
    async fn follow(&mut self, stop: &Stop) -> Result<(), StopReason> {
        let mut signals = tokio::time::interval(POLL_INTERVAL);
        signals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut words = tokio::time::interval(WORD_INTERVAL);
        words.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told: Option<Instant> = None;
        loop {
            let reports = async {
                match &mut self.crew {
                    Some(crew) => crew.report().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                report = reports => self.take(report).await?,
                look = self.orders.look() => {
                    if self.obey_new(look)? {
                        return Ok(());
                    }
                }
                _ = signals.tick() => {
                    if let Err(reason) = stop.check()
                        && told.get_or_insert_with(Instant::now).elapsed() > OBEDIENCE
                    {
                        return Err(reason);
                    }
                }
                _ = words.tick() => self.say_news()?,
            }
        }
    }

    /// Does what is new among the orders; whether it is over.
    fn obey_new(&mut self, look: Option<Look<Command>>) -> Result<bool, StopReason> {
        let (lines, _) = new_orders(look, &mut self.silence, SILENCE)?;
        for line in lines {
            if self.obey(line.value)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn obey(&mut self, command: Command) -> Result<bool, StopReason> {
        match command {
            Command::Start { model, endpoint } => self.crew = Some(self.hire(model, endpoint)?),
            Command::Leave => return Ok(true),
            Command::Lost(rank) if rank == self.rank => {
                let message = format!("rank 0 has given rank {rank} up, since it had heard nothing of it");
                return Err(StopReason::Failed(message));
            }
            Command::Beat | Command::Agreed(_) | Command::Lost(_) => {}
            Command::Append(wire) => {
                let piece = wire.piece(self.ahead_ns).map_err(anyhow::Error::from)?;
                if let Some(crew) = &mut self.crew {
                    crew.append_shares(&piece, |worker| wire.share(self.rank, worker));
                }
            }
            Command::Shed => self.order(&Order::Shed),
            Command::Close(level) => self.order(&Order::Close(level)),
            Command::Cut => {
                self.flushing = self.crew.iter().flat_map(Crew::workers).collect();
                self.order(&Order::Cut);
            }
        }
        Ok(false)
    }

    fn order(&mut self, order: &Order) {
        if let Some(crew) = &mut self.crew {
            crew.order_workers(order);
        }
    }

    fn hire(&self, model: String, endpoint: String) -> Result<Crew, StopReason> {
        let endpoint = EndpointSpec {
            url: endpoint,
            ..self.config.endpoint.clone()
        };
        let job = Job {
            config: self.config,
            engine: engine(self.config.backend),
            model,
            clock: self.clock,
            reach: setup::reach(self.config, &endpoint)?,
            rows: self.rows.clone(),
            rank: self.rank,
            prompts: &self.prompts,
        };
        let crew = Crew::hire(&job, worker_count(self.config)).context("failed to start the workers");
        leisure::give_way();
        crew.map_err(StopReason::from)
    }

    async fn take(&mut self, report: Option<Report>) -> Result<(), StopReason> {
        match report {
            Some(Report::News(source, news)) => self.unsaid.add(source, news),
            Some(Report::Gaps {
                worker,
                level,
                gaps,
                last,
            }) => {
                if let Some(histogram) = self.gaps.enter(worker, level, *gaps, last) {
                    let rank = self.rank;
                    let gaps = WriterMessage::Gaps {
                        level,
                        rank,
                        histogram,
                    };
                    self.rows.write(gaps).map_err(|_| part_failed())?;
                }
            }
            Some(Report::Flushed(source)) => {
                self.flushing.remove(&source);
                if self.flushing.is_empty() {
                    // Only what is on the disk is handed over.
                    let (done, committed) = oneshot::channel();
                    self.rows
                        .write(WriterMessage::Flush(done))
                        .map_err(|_| part_failed())?;
                    committed.await.map_err(|_| part_failed())?;
                    self.say_news()?;
                    self.say(Word::Flushed)?;
                }
            }
            // It has no ranks of its own.
            Some(Report::RankLost(_)) => {}
            Some(Report::Failed(message)) => {
                self.say(Word::Failed(message.clone()))?;
                return Err(StopReason::Failed(message));
            }
            None => return Err(StopReason::Failed("every worker has left".to_owned())),
        }
        Ok(())
    }

    /// Says how the load stands, which is also a sign of life.
    fn say_news(&mut self) -> Result<(), StopReason> {
        if self.rows.is_closed() {
            let error = part_failed();
            self.say(Word::Failed(
                "its part of the result database cannot be written".to_owned(),
            ))?;
            return Err(error);
        }
        let news = News {
            wall_offset_ns: Some(wall_offset_ns(self.clock)),
            ..self.unsaid.take(self.ahead_ns)
        };
        self.say(Word::News(news))
    }

    fn say(&mut self, word: Word) -> Result<(), StopReason> {
        self.words.write(word).map_err(unsaid)
    }

    /// Cancels what is in flight and sends the workers away; what is left is to say that this rank is gone.
    async fn leave(mut self) -> Outbox<Word> {
        if let Some(mut crew) = self.crew.take() {
            crew.order_workers(&Order::Cut);
            crew.leave().await;
        }
        self.words
    }
}

/// The writer itself says why.
fn part_failed() -> StopReason {
    StopReason::Failed("its part of the result database cannot be written".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranks::{ClosedParts, Company, Terms};

    /// Two ranks of one process, so that their clocks are known; the other one's wall clock is wrong by so much.
    async fn check(wall_is_off: Duration, ahead: bool) -> Vec<String> {
        let directory = tempfile::tempdir().expect("a directory");
        let clock = Clock::start();
        let terms = Terms {
            place: Place { rank: 0, of: 2 },
            workers: 1,
            node: "here".to_owned(),
            build: "b".to_owned(),
            config: "c".to_owned(),
            clock,
            wall_offset_ns: wall_offset_ns(clock),
            shift_ns: 0,
            closed: ClosedParts::default(),
        };
        let (_stopper, stop) = Stop::new();
        let theirs = Clock::start();
        let member = async {
            let own = Hello {
                process: "there-1".to_owned(),
                rank: 1,
                of: 2,
                workers: 1,
                node: "there".to_owned(),
                build: "b".to_owned(),
                config: "c".to_owned(),
            };
            let roll = answer(directory.path(), &own, &stop).await.expect("an answer");
            let session = session_directory(directory.path(), &roll.session);
            let mut post = Post::open(&session, 1, theirs).expect("files");
            let off_ns = wall_is_off.as_nanos() as i64 * if ahead { 1 } else { -1 };
            let by_wall_clock_ns = wall_offset_ns(theirs) + off_ns - roll.wall_offset_ns;
            let ahead_ns = post.compare_clocks(1, by_wall_clock_ns, &stop).await;
            ahead_ns.expect("an agreement").expect("rank 0 is there")
        };
        let (company, ahead_ns) = tokio::join!(Company::gather(directory.path(), &terms), member);
        let company = company.expect("a company");
        // Both are clocks of this process: their wall-clock readings tell the truth.
        let truth_ns = wall_offset_ns(theirs) - wall_offset_ns(clock);
        let error_ns = (ahead_ns - truth_ns).abs();
        assert!(error_ns < 20_000_000, "{error_ns}: {:?}", company.clocks());
        company.clocks().to_vec()
    }

    #[tokio::test]
    async fn a_wrong_wall_clock_is_found_and_corrected() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let right = check(Duration::ZERO, true).await;
                assert!(right[0].contains("by the wall clock, proven within"), "{right:?}");
                let ahead = check(Duration::from_secs(1), true).await;
                assert!(
                    ahead[0].contains("ms ahead of that of rank 0; corrected"),
                    "{ahead:?}"
                );
                let behind = check(Duration::from_hours(1), false).await;
                assert!(
                    behind[0].contains("ms behind that of rank 0; corrected"),
                    "{behind:?}"
                );
            })
            .await;
    }
}
