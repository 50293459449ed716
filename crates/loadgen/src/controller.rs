//! The run: database, writer, workers and search put together on one thread that sends nothing itself.

use std::{cell::Cell, fs, rc::Rc};

use anyhow::{Context, anyhow};
use gipfel_engine::engine;
use gipfel_model::{LevelRecord, RunConfig, RunState};
use gipfel_peak_search::{Command, LevelSearch};
use gipfel_stream_client::{Client, Clock, Target};
use tokio::sync::mpsc;

use crate::{
    Options,
    crew::{Crew, Job, worker_count},
    database_name,
    earlier::Earlier,
    health::Probe,
    scrape::Scraper,
    session::Session,
    setup,
    stop::{Stop, StopReason},
    watcher::Watcher,
    writer::{self, WriterMessage},
};

/// Idle connections of the controller: for scrapes and probes.
const MAX_IDLE_CONNECTIONS: usize = 2;

/// Carries out the run that `options` names.
pub(crate) async fn run(options: &Options) -> anyhow::Result<RunState> {
    let stop = Stop::on_signals().context("failed to listen for signals")?;
    let config = setup::read_config(&options.config)?;
    fs::create_dir_all(&options.directory)
        .with_context(|| format!("failed to create `{}`", options.directory.display()))?;
    let mut watcher = Watcher::new(options.directory.clone(), config.run_id.clone());
    let outcome = carry_out(&config, options, &stop, &mut watcher).await;
    match &outcome {
        Ok(state) => watcher.state(*state, None),
        Err(error) => watcher.state(RunState::Failed, Some(format!("{error:#}"))),
    }
    outcome
}

async fn carry_out(
    config: &RunConfig,
    options: &Options,
    stop: &Stop,
    watcher: &mut Watcher,
) -> anyhow::Result<RunState> {
    let path = options.directory.join(database_name(&config.run_id));
    let (db, run, earlier) = Earlier::open(&path, config).await?;
    let completed: Vec<LevelRecord> = earlier.completed().cloned().collect();
    let search = LevelSearch::resume(&config.schedule, &completed);
    watcher.plan(search.planned_levels(), earlier.summaries(&db, run).await?);
    if let Command::Done(reason) = search.next(earlier.spent()) {
        tracing::info!(?reason, "the search was over already");
        db.set_run_state(run, RunState::Completed, None).await?;
        db.close().await?;
        return Ok(RunState::Completed);
    }
    watcher.state(RunState::Waiting, None);
    db.set_provenance(run, &setup::provenance(config)).await?;

    let clock = Clock::start();
    let shift_ns = earlier.shift_ns(clock.anchor_unix_ns());
    let (rows, rows_in) = mpsc::channel(writer::QUEUE);
    let writing = tokio::task::spawn_local(writer::run(db, run, shift_ns, rows_in));
    let outcome = measure(config, clock, &earlier, search, stop, watcher, &rows).await;
    let (state, failure) = match outcome {
        Ok(()) => (RunState::Completed, None),
        Err(StopReason::Told) => (RunState::Stopped, None),
        Err(StopReason::Failed(message)) => (RunState::Failed, Some(message)),
    };
    let last_word = WriterMessage::RunState {
        state,
        error: failure.clone(),
    };
    // The writer may have failed already; its own error is the one to report then.
    let _ = rows.send(last_word).await;
    drop(rows);
    writing
        .await
        .context("the database writer panicked")?
        .context("failed to write the result database")?;
    match failure {
        None => Ok(state),
        Some(message) => Err(anyhow!(message)),
    }
}

/// Waits for the server, measures what the search asks for, and sends the workers away.
async fn measure(
    config: &RunConfig,
    clock: Clock,
    earlier: &Earlier,
    search: LevelSearch,
    stop: &Stop,
    watcher: &mut Watcher,
    rows: &mpsc::Sender<WriterMessage>,
) -> Result<(), StopReason> {
    let mut job = Job {
        config,
        engine: engine(config.backend),
        model: String::new(),
        clock,
        target: Target::parse(&config.endpoint.url).map_err(anyhow::Error::from)?,
        key: setup::read_api_key(&config.endpoint.api_key)?,
        rows: rows.clone(),
    };
    let options = job.client_options(MAX_IDLE_CONNECTIONS);
    let client = Client::new(clock, job.target.clone(), options).map_err(anyhow::Error::from)?;
    let waiting = setup::served_model(&client, job.engine, config);
    job.model = stop.unless(waiting).await??;
    let crew = Crew::hire(&job, worker_count(config))
        .context("failed to start the workers")
        .map_err(StopReason::from)?;
    let scraper = Scraper {
        clock,
        client: client.clone(),
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
            client,
            engine: job.engine,
        },
        open_level,
        next_level: earlier.next_level(),
        rows: rows.clone(),
        stop: stop.clone(),
    };
    let outcome = session.search(search, earlier.spent()).await;
    session.crew.leave().await;
    scraping.abort();
    // Its sender of rows goes with it, however it ends.
    let _ = scraping.await;
    outcome
}
