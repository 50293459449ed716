//! The run: database, writer, workers and search put together on one thread that sends nothing itself.

use std::{cell::Cell, fs, path::PathBuf, rc::Rc, time::Duration};

use anyhow::{Context, anyhow};
use gipfel_engine::engine;
use gipfel_model::{EndpointSpec, LevelRecord, Provenance, Rates, RunConfig, RunState};
use gipfel_peak_search::{AdaptiveSearch, Command, LevelSearch};
use gipfel_results_db::ResultsDb;
use gipfel_stream_client::Clock;

use crate::{
    ENDPOINT_TIMEOUT, Options,
    adaptive::Strategy,
    board::nanos,
    crew::{Crew, Job, worker_count},
    database_name,
    dataset::Prompts,
    earlier::Earlier,
    endpoint_file,
    gaps::GapsBook,
    guard::Guard,
    health::Probe,
    ledger::Ledger,
    leisure,
    level::wall_offset_ns,
    lookout::Lookout,
    numbers::Numbers,
    pace::Pace,
    publication::{self, Publication},
    ranks::{self, ClosedParts, Company, Place, TakenParts, Terms},
    scrape::Scraper,
    session::Session,
    setup::{self, Identity},
    stop::{Stop, StopReason, Stopper},
    time_limit::TimeLimit,
    watcher::Watcher,
    work::WorkPlace,
    writer::{self, Recorder, WriterMessage},
};

/// The time between the decision for a piece of load and its first request.
const LEAD: Duration = Duration::from_millis(200);
/// Even when the job's time is up, one attempt is made to publish the results.
const LEAST_FAREWELL: Duration = Duration::from_secs(5);
/// Idle connections of the controller: for scrapes and probes.
const MAX_IDLE_CONNECTIONS: usize = 2;

/// Carries out the run that `options` names.
pub(crate) async fn run(options: &Options) -> anyhow::Result<RunState> {
    let place = Place::find(options.rank, options.of, |name| std::env::var(name).ok())?;
    if place.rank == 0 {
        control(options, place, Plan::resume).await
    } else {
        ranks::serve(options, place).await
    }
}

/// Carries out the run as rank 0, which decides by the plan.
pub(crate) async fn control(
    options: &Options,
    place: Place,
    plan: impl FnOnce(&RunConfig, &Earlier) -> Plan,
) -> anyhow::Result<RunState> {
    let (stopper, stop) = Stop::on_signals().context("failed to listen for signals")?;
    let config = setup::read_config(&options.config)?;
    fs::create_dir_all(&options.directory)
        .with_context(|| format!("failed to create `{}`", options.directory.display()))?;
    let mut watcher = Watcher::new(options.directory.clone(), config.run_id.clone())
        .context("failed to start the thread that writes progress.json")?;
    tokio::task::spawn_local(Lookout::new(options, stopper.clone()).run());
    // In a box, since it is large and the futures of its callers hold it.
    let outcome = Box::pin(carry_out(
        &config,
        options,
        place,
        plan,
        (&stopper, &stop),
        &mut watcher,
    ))
    .await;
    match &outcome {
        Ok(ending) => watcher.state(ending.state, ending.reason.clone()),
        Err(error) => watcher.state(RunState::Failed, Some(format!("{error:#}"))),
    }
    watcher.leave();
    outcome.map(|ending| ending.state)
}

/// How a run ended that did not fail.
struct Ending {
    state: RunState,
    /// What cut it short, if that was nobody's word.
    reason: Option<String>,
}

/// What decides which load comes next.
pub(crate) enum Plan {
    Levels(LevelSearch),
    Search(Box<dyn Strategy>),
}

impl Plan {
    /// The plan that goes on after the levels of earlier processes.
    fn resume(config: &RunConfig, earlier: &Earlier) -> Self {
        match &config.schedule.rates {
            Rates::Search(spec) => {
                let (levels, next) = (earlier.levels(), earlier.next_level());
                let search = AdaptiveSearch::resume(spec, &config.slos, levels, next, earlier.spent());
                Self::Search(Box::new(search))
            }
            Rates::Listed(_) | Rates::Doubling { .. } => {
                let completed: Vec<LevelRecord> = earlier.completed().cloned().collect();
                Self::Levels(LevelSearch::resume(&config.schedule, &completed))
            }
        }
    }

    /// The same plan, whose orders must reach other machines through files. Alone, the search's own lead is enough.
    fn with_lead(self, lead: Duration) -> Self {
        match self {
            Self::Search(search) => Self::Search(search.with_lead(lead)),
            levels @ Self::Levels(_) => levels,
        }
    }

    /// How many levels there are at most, if that is known.
    fn levels(&self) -> Option<u32> {
        match self {
            Self::Levels(search) => search.planned_levels(),
            Self::Search(_) => None,
        }
    }

    /// Whether nothing is left to do. Of an adaptive search only its own word says so, which the run's state keeps.
    fn is_over(&self, earlier: &Earlier) -> bool {
        match self {
            Self::Levels(search) => matches!(search.next(earlier.spent()), Command::Done(_)),
            Self::Search(_) => earlier.state == RunState::Completed,
        }
    }

    /// Shows what is known before anything is sent.
    fn show(&self, watcher: &mut Watcher) {
        if let Self::Search(search) = self {
            watcher.search(search.progress());
        }
    }

    async fn carry_out(self, session: &mut Session<'_>) -> Result<(), StopReason> {
        session.begins()?;
        match self {
            Self::Levels(search) => session.search_levels(search).await,
            Self::Search(mut search) => session.adapt(&mut *search).await,
        }
    }
}

async fn carry_out(
    config: &RunConfig,
    options: &Options,
    place: Place,
    plan: impl FnOnce(&RunConfig, &Earlier) -> Plan,
    (stopper, stop): (&Stopper, &Stop),
    watcher: &mut Watcher,
) -> anyhow::Result<Ending> {
    let shelf = Shelf::find(config, options)?;
    let prompts = Prompts::load(&config.workload)?;
    let (path, known) = (shelf.database.clone(), config.clone());
    let opening = leisure::at_leisure(async move || Earlier::open(&path, &known).await);
    let (db, run, earlier) = opening.await.context("failed to start a thread")??;
    let publication = shelf.publish(&db).await?;
    if let Some(publication) = &publication {
        watcher.follow(publication.status());
    }
    let limit = time_limit(options, publication.as_ref())?;
    let taken = ranks::take_parts(&options.directory, &db, run, &config.run_id).await?;
    if publication.is_none() {
        taken.remove()?;
    }
    let plan = plan(config, &earlier);
    watcher.plan(plan.levels(), earlier.summaries(&db, run).await?);
    if plan.is_over(&earlier) {
        tracing::info!("the search was over already");
        plan.show(watcher);
        if !place.is_alone() {
            ranks::say_that_it_is_over(&options.directory)?;
        }
        db.set_run_state(run, RunState::Completed, None).await?;
        let parts = ranks::take_parts(&options.directory, &db, run, &config.run_id).await?;
        db.close().await?;
        shelf.settle(publication, parts, limit.as_ref(), watcher).await?;
        return Ok(Ending {
            state: RunState::Completed,
            reason: None,
        });
    }
    plan.show(watcher);
    watcher.state(RunState::Waiting, None);
    if let Some(limit) = &limit {
        tokio::task::spawn_local(limit.clone().watch(stopper.clone()));
    }

    let used = match prompts.count() {
        Some(_) => earlier.requests_sent(&db, run).await?,
        None => 0,
    };
    let clock = Clock::start();
    let shift_ns = earlier.shift_ns(clock.anchor_unix_ns());
    let (rows, rows_in) = writer::recorder();
    let closed = publication.as_ref().map(Publication::closed);
    let writing = tokio::task::spawn_local(writer::run(db, run, shift_ns, closed, rows_in));
    let start = Start {
        config,
        options,
        place,
        clock,
        shift_ns,
        prompts: &prompts,
        used,
        limit: limit.clone(),
        closed: ClosedParts::default(),
    };
    let outcome = measure(&start, &earlier, plan, stop, watcher, &rows).await;
    let (state, reason) = match outcome {
        Ok(()) => (RunState::Completed, None),
        Err(StopReason::Told) => (RunState::Stopped, None),
        Err(StopReason::TimeUp(reason)) => (RunState::Stopped, Some(reason)),
        Err(StopReason::Failed(message)) => (RunState::Failed, Some(message)),
    };
    let last_word = WriterMessage::RunState {
        state,
        error: reason.clone(),
    };
    // The writer may have failed already; its own error is the one to report then.
    let _ = rows.write(last_word);
    drop(rows);
    let written = writing.await.context("the database writer panicked")?;
    let mut parts = TakenParts::default();
    let mut shown = Ok(());
    if !place.is_alone() && written.is_ok() {
        shown = start.closed.shown().await;
        if shown.is_ok() {
            let db = shelf.reopen().await?;
            parts = ranks::take_parts(&options.directory, &db, run, &config.run_id).await?;
            db.close().await?;
        }
    }
    // Also if the writer has failed: what it has written until then is as good as ever.
    let settled = shelf.settle(publication, parts, limit.as_ref(), watcher).await;
    written.context("failed to write the result database")?;
    settled?;
    shown?;
    match (state, reason) {
        (RunState::Failed, Some(message)) => Err(anyhow!(message)),
        (state, reason) => Ok(Ending { state, reason }),
    }
}

/// The end of the job's time, if it is known.
fn time_limit(options: &Options, publication: Option<&Publication>) -> anyhow::Result<Option<TimeLimit>> {
    let end_at = TimeLimit::find(options.end_at, |name| std::env::var(name).ok())?;
    let status = publication.map(Publication::status);
    Ok(end_at.map(|end_at| TimeLimit::new(end_at, Clock::unix_now_ns(), status)))
}

/// Where the run's database is, and whether it is published.
struct Shelf {
    database: PathBuf,
    work: Option<WorkPlace>,
}

impl Shelf {
    fn find(config: &RunConfig, options: &Options) -> anyhow::Result<Self> {
        let place = |work: &PathBuf| WorkPlace::prepare(work, &options.directory, &config.run_id);
        let work = options.work.as_ref().map(place).transpose()?;
        let database = match &work {
            Some(work) => work.database().to_owned(),
            None => options.directory.join(database_name(&config.run_id)),
        };
        Ok(Self { database, work })
    }

    /// Begins to publish the database if it is not in the run's directory itself.
    async fn publish(&self, db: &ResultsDb) -> anyhow::Result<Option<Publication>> {
        let Some(work) = &self.work else { return Ok(None) };
        db.leave_log_to_publisher().await?;
        Publication::begin(work.clone()).await.map(Some)
    }

    async fn reopen(&self) -> anyhow::Result<ResultsDb> {
        let db = ResultsDb::open(&self.database).await?;
        if self.work.is_some() {
            db.leave_log_to_publisher().await?;
        }
        Ok(db)
    }

    /// Publishes what there is, if it is to be published, and then removes the ranks' parts that were taken into it.
    async fn settle(
        &self,
        publication: Option<Publication>,
        parts: TakenParts,
        limit: Option<&TimeLimit>,
        watcher: &mut Watcher,
    ) -> anyhow::Result<()> {
        if let Some(publication) = publication {
            let time = limit.map_or(publication::FAREWELL, |limit| {
                limit.left().clamp(LEAST_FAREWELL, publication::FAREWELL)
            });
            watcher.during(publication.end(time)).await.with_context(|| {
                let database = self.database.display();
                format!("what was measured last is not published; it is in `{database}` on the load generator's node")
            })?;
        }
        parts.remove()
    }
}

/// What is settled before anything is sent.
struct Start<'a> {
    config: &'a RunConfig,
    options: &'a Options,
    place: Place,
    clock: Clock,
    /// What the writer adds to the times of this process.
    shift_ns: i64,
    prompts: &'a Prompts,
    /// How many prompts earlier processes have used.
    used: u64,
    limit: Option<TimeLimit>,
    /// The parts of other ranks that are to be taken over.
    closed: ClosedParts,
}

impl Start<'_> {
    /// Waits for the other ranks, if there are any.
    async fn gather(&self) -> anyhow::Result<Option<Company>> {
        if self.place.is_alone() {
            return Ok(None);
        }
        let Identity { node, build, config } = Identity::find(&self.options.config)?;
        let terms = Terms {
            place: self.place,
            workers: worker_count(self.config),
            node,
            build,
            config,
            clock: self.clock,
            wall_offset_ns: wall_offset_ns(self.clock),
            shift_ns: self.shift_ns,
            closed: self.closed.clone(),
        };
        Company::gather(&self.options.directory, &terms).await.map(Some)
    }

    /// Where the requests go; waits for the server's word if it is to come.
    async fn endpoint(&self) -> anyhow::Result<EndpointSpec> {
        let configured = self.config.endpoint.clone();
        let Some(path) = &self.options.endpoint_file else {
            return Ok(configured);
        };
        let limit = self.options.endpoint_timeout.unwrap_or(ENDPOINT_TIMEOUT);
        let url = endpoint_file::wait(path, limit).await?;
        tracing::info!(url, "the server's address is known");
        Ok(EndpointSpec { url, ..configured })
    }
}

/// Waits for the server, measures what the search asks for, and sends the workers away.
async fn measure(
    start: &Start<'_>,
    earlier: &Earlier,
    mut plan: Plan,
    stop: &Stop,
    watcher: &mut Watcher,
    rows: &Recorder,
) -> Result<(), StopReason> {
    let Start {
        config,
        clock,
        prompts,
        used,
        ..
    } = *start;
    let company = watcher.during(stop.unless(start.gather())).await??;
    let endpoint = watcher.during(stop.unless(start.endpoint())).await??;
    let config = &RunConfig {
        endpoint,
        ..config.clone()
    };
    let workers = company.as_ref().map_or(worker_count(config), Company::workers);
    let mut facts = setup::provenance(workers, company.as_ref().map_or(&[], Company::nodes));
    setup::add_prompts(&mut facts, config, prompts);
    let clocks = company.as_ref().map_or(&[][..], Company::clocks);
    facts.set(ranks::CLOCKS, clocks.join("; "));
    if start.options.endpoint_file.is_some() {
        facts.set(Provenance::ENDPOINT, &config.endpoint.url);
    }
    // An error means that the writer has failed, which is noticed before anything is sent.
    let _ = rows.write(WriterMessage::Provenance(facts));
    let mut job = Job {
        config,
        engine: engine(config.backend),
        model: String::new(),
        clock,
        reach: setup::reach(config, &config.endpoint)?,
        rows: rows.clone(),
        rank: 0,
        prompts,
    };
    let clients = job
        .reach
        .clients(clock, MAX_IDLE_CONNECTIONS)
        .map_err(anyhow::Error::from)?;
    let waiting = setup::served_model(&clients, job.engine, config);
    job.model = watcher.during(stop.unless(waiting)).await??;
    // Who started the server may not reach it, and has not told.
    if !config.provenance.0.contains_key(Provenance::ENGINE_VERSION)
        && let Some(version) = setup::engine_version(&clients, job.engine).await
    {
        let mut facts = Provenance::default();
        facts.set(Provenance::ENGINE_VERSION, version);
        let _ = rows.write(WriterMessage::Provenance(facts));
    }
    let mut crew = Crew::hire(&job, worker_count(config))
        .context("failed to start the workers")
        .map_err(StopReason::from)?;
    leisure::give_way();
    let mut lead = LEAD;
    if let Some(mut company) = company {
        lead = company.lead();
        plan = plan.with_lead(lead);
        company.start(&job.model, &config.endpoint.url)?;
        crew.join(company);
    }
    let gaps = GapsBook::new(crew.len());
    let scraper = Scraper {
        clock,
        clients: clients.clone(),
        engine: job.engine,
        rank: 0,
    };
    let open_level = Rc::new(Cell::new(None));
    let scraping = tokio::task::spawn_local(scraper.clone().run(Rc::clone(&open_level), rows.clone()));
    let mut session = Session {
        config,
        clock,
        crew,
        watcher,
        scraper,
        probe: Probe {
            clients,
            engine: job.engine,
        },
        open_level,
        next_level: earlier.next_level(),
        rows: rows.clone(),
        stop: stop.clone(),
        limit: start.limit.clone(),
        ledger: Ledger::new(&config.slos),
        gaps,
        guard: Guard::default(),
        pace: Pace::new(config.workload.seed, config.workload.arrivals),
        numbers: Numbers::new(&config.workload, prompts.count(), used),
        lead_ns: nanos(lead),
        spent: earlier.spent(),
    };
    let outcome = plan.carry_out(&mut session).await;
    session.crew.leave().await;
    scraping.abort();
    // Its sender of rows goes with it, however it ends.
    let _ = scraping.await;
    outcome
}
