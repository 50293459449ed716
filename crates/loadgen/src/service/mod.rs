//! The load generator as a service: it takes orders over HTTP and carries them out one at a time.
//!
//! Each run is a process of its own, started by a thread that gives way to nobody. What answers meanwhile gives way to
//! everything, and a run that dies takes the service with it as little as the service disturbs the run.

mod figures;
mod flat_config;
mod http;
mod launcher;
mod load_spec;
mod order;
mod routes;
mod state;
mod totals;

use std::{fs, io::Write, net::SocketAddr, path::PathBuf, rc::Rc};

use anyhow::{Context, anyhow, bail};
use gipfel_model::RunState;
use tokio::{net::TcpListener, sync::Semaphore};

use crate::{leisure, stop::Stop};

use launcher::Launcher;
use state::Service;

/// So many connections are served at a time; more of them wait.
const MAX_CONNECTIONS: usize = 64;
/// A file of this name in the service's directory says that all loads of `--specs` are over.
const COMPLETE_FILE: &str = "complete";

/// What the service is told.
#[derive(Clone, Debug, clap::Args)]
pub struct ServiceOptions {
    /// Where it listens, such as `0.0.0.0:8080`; it asks nobody for a password.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Where each run gets a directory of its own.
    #[arg(long, value_name = "DIRECTORY")]
    pub directory: PathBuf,
    /// Carry out the loads of this file, a JSON list of what `POST /start-load` or `POST /start` takes, one after another.
    #[arg(long, value_name = "FILE")]
    pub specs: Option<PathBuf>,
    /// End when the loads of `--specs` are over.
    #[arg(long, requires = "specs")]
    pub exit_when_done: bool,
}

/// Serves until SIGTERM or SIGINT, or until its loads are over; says how they ended.
///
/// # Errors
/// The service could not begin, or one of its loads failed.
pub fn serve_blocking(options: &ServiceOptions) -> anyhow::Result<RunState> {
    fs::create_dir_all(&options.directory)
        .with_context(|| format!("failed to create `{}`", options.directory.display()))?;
    let orders = match &options.specs {
        Some(path) => order::read_list(path)?,
        None => Vec::new(),
    };
    let (launcher, launches) = Launcher::new();
    let of_thread = options.clone();
    let serving = std::thread::Builder::new()
        .name("service".to_owned())
        .spawn(move || {
            leisure::give_way();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let local = tokio::task::LocalSet::new();
            let outcome = runtime.block_on(local.run_until(serve(of_thread, orders, launcher)));
            runtime.shutdown_background();
            outcome
        })?;
    // Until the service has left.
    launches.carry_out()?;
    serving.join().map_err(|_| anyhow!("the service panicked"))?
}

async fn serve(
    options: ServiceOptions,
    orders: Vec<order::Order>,
    launcher: Launcher,
) -> anyhow::Result<RunState> {
    let (_stopper, stop) = Stop::on_signals().context("failed to listen for signals")?;
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("failed to listen on {}", options.listen))?;
    writeln!(
        std::io::stdout(),
        "listening on http://{}",
        listener.local_addr()?
    )?;
    let service = Rc::new(Service::new(options.directory.clone(), launcher));
    let accepting = tokio::task::spawn_local(accept(listener, Rc::clone(&service)));
    let working = async {
        if options.specs.is_some() {
            // A task of its own, since a stop ends this wait and not the run.
            let service = Rc::clone(&service);
            let ending = tokio::task::spawn_local(async move { service.carry_out(orders).await }).await?;
            fs::write(options.directory.join(COMPLETE_FILE), "")?;
            if options.exit_when_done {
                return anyhow::Ok(ending);
            }
        }
        std::future::pending().await
    };
    let ending = match stop.unless(working).await {
        Ok(ending) => ending?,
        Err(_) if service.stop()? => {
            service.wait_until_idle().await;
            RunState::Stopped
        }
        Err(_) => RunState::Completed,
    };
    accepting.abort();
    if ending == RunState::Failed {
        bail!("a load failed");
    }
    Ok(ending)
}

async fn accept(listener: TcpListener, service: Rc<Service>) {
    let places = std::sync::Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // It is never closed.
        let Ok(place) = std::sync::Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let service = Rc::clone(&service);
                tokio::task::spawn_local(async move {
                    let answer = |request| routes::answer(Rc::clone(&service), request);
                    if let Err(error) = http::converse(stream, answer).await {
                        tracing::debug!("a connection broke: {error}");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("failed to accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// After a failure such as too many open files, which the next attempt would meet as well.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
