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
use tokio::{
    sync::{mpsc, oneshot},
    time::MissedTickBehavior,
};

use super::{
    Place,
    company::{POLL_INTERVAL, words},
    hello,
    lines::{LineReader, LineWriter, publish, published},
    meeting, part, roll, session_directory,
    wire::{Command, Hello, Roll, Word},
};
use crate::{
    Options,
    crew::{Crew, Job, worker_count},
    dataset::Prompts,
    gaps::GapsBook,
    level::wall_offset_ns,
    messages::{InFlightCount, LevelNews, News, Order, Report, Source, ThreadTime},
    setup::{self, Identity},
    stop::{Stop, StopReason},
    writer::{self, WriterMessage},
};

/// How long rank 0 may take to answer; it waits for the other ranks, too.
const PATIENCE: Duration = Duration::from_mins(5);
/// How often this rank says that it is there until it is answered.
const HELLO_INTERVAL: Duration = Duration::from_secs(1);
/// How often the load is reported.
const WORD_INTERVAL: Duration = Duration::from_millis(200);
/// A signal that comes to all ranks is answered by rank 0; one that rank 0 knows nothing of is obeyed after this time.
const OBEDIENCE: Duration = Duration::from_secs(10);
/// Without an order or a sign of life for so long, rank 0 is gone, or has given this rank up for the same reason: what it
/// sends from then on would disturb levels that do not count it.
const SILENCE: Duration = Duration::from_secs(5);

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
    let ahead_ns = clock.anchor_unix_ns() - roll.anchor_unix_ns;
    let path = part::path(&session, &config.run_id, place.rank);
    let db = ResultsDb::create(&path)
        .await
        .with_context(|| format!("failed to create `{}`", path.display()))?;
    let run = db.upsert_run(&config).await?;
    let (rows, rows_in) = mpsc::channel(writer::QUEUE);
    let writing = tokio::task::spawn_local(writer::run(db, run, roll.shift_ns + ahead_ns, None, rows_in));
    let mut member = Member {
        config: &config,
        prompts,
        clock,
        rank: place.rank,
        ahead_ns,
        orders: LineReader::new(session.join("orders.jsonl")),
        heard: Instant::now(),
        words: LineWriter::create(&words(&session, place.rank))
            .with_context(|| format!("failed to write in `{}`", session.display()))?,
        rows,
        crew: None,
        gaps: GapsBook::new(own.workers as usize),
        flushing: BTreeSet::new(),
        unsaid: Unsaid::default(),
    };
    let outcome = member.follow(&stop).await;
    let mut farewell = member.leave().await;
    let written = writing.await.context("the database writer panicked")?;
    // After the part is closed, so that rank 0 may take it.
    farewell
        .write(&Word::Gone)
        .context("failed to take leave of rank 0")?;
    written.context("failed to write the part of the result database")?;
    match outcome {
        Ok(()) => Ok(RunState::Completed),
        Err(StopReason::Told | StopReason::TimeUp(_)) => Ok(RunState::Stopped),
        Err(StopReason::Failed(message)) => Err(anyhow!(message)),
    }
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
    orders: LineReader<Command>,
    heard: Instant,
    words: LineWriter<Word>,
    rows: mpsc::Sender<WriterMessage>,
    crew: Option<Crew>,
    gaps: GapsBook,
    /// The workers that have not handed everything over after a cut.
    flushing: BTreeSet<Source>,
    unsaid: Unsaid,
}

impl Member<'_> {
    /// Does what rank 0 orders, until it says that it is over.
    async fn follow(&mut self, stop: &Stop) -> Result<(), StopReason> {
        let mut orders = tokio::time::interval(POLL_INTERVAL);
        orders.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
                _ = orders.tick() => {
                    if let Err(reason) = stop.check()
                        && told.get_or_insert_with(Instant::now).elapsed() > OBEDIENCE
                    {
                        return Err(reason);
                    }
                    if self.obey_new()? {
                        return Ok(());
                    }
                }
                _ = words.tick() => self.say_news()?,
            }
        }
    }

    /// Does what is new among the orders; whether it is over.
    fn obey_new(&mut self) -> Result<bool, StopReason> {
        let commands = self
            .orders
            .read()
            .map_err(|error| StopReason::Failed(format!("the orders of rank 0 cannot be read: {error}")))?;
        if !commands.is_empty() {
            self.heard = Instant::now();
        } else if self.heard.elapsed() > SILENCE {
            let seconds = SILENCE.as_secs();
            return Err(StopReason::Failed(format!(
                "rank 0 has said nothing for {seconds} s: it is gone"
            )));
        }
        for command in commands {
            if self.obey(command)? {
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
            Command::Beat | Command::Lost(_) => {}
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
                    self.rows.send(gaps).await.map_err(|_| part_failed())?;
                }
            }
            Some(Report::Flushed(source)) => {
                self.flushing.remove(&source);
                if self.flushing.is_empty() {
                    // Only what is on the disk is handed over.
                    let (done, committed) = oneshot::channel();
                    self.rows
                        .send(WriterMessage::Flush(done))
                        .await
                        .map_err(|_| part_failed())?;
                    committed.await.map_err(|_| part_failed())?;
                    self.say_news()?;
                    self.say(&Word::Flushed)?;
                }
            }
            // It has no ranks of its own.
            Some(Report::RankLost(_)) => {}
            Some(Report::Failed(message)) => {
                self.say(&Word::Failed(message.clone()))?;
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
            self.say(&Word::Failed(
                "its part of the result database cannot be written".to_owned(),
            ))?;
            return Err(error);
        }
        let news = News {
            wall_offset_ns: Some(wall_offset_ns(self.clock)),
            ..self.unsaid.take(self.ahead_ns)
        };
        self.say(&Word::News(news))
    }

    fn say(&mut self, word: &Word) -> Result<(), StopReason> {
        let written = self.words.write(word);
        written.map_err(|error| StopReason::Failed(format!("rank 0 cannot be told anything: {error}")))
    }

    /// Cancels what is in flight and sends the workers away; what is left is to say that this rank is gone.
    async fn leave(mut self) -> LineWriter<Word> {
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
