//! The load generator: open loop, a thread per core, honest about itself.
//!
//! It carries out a whole run from `run_config.json` without anybody watching: the search decides the levels, workers
//! send them on an absolute schedule, one writer streams the records to `run_<run id>.db`, and `progress.json` is
//! replaced each second. Started again on the same directory it keeps the completed levels and goes on.
//!
//! ```no_run
//! let options = gipfel_loadgen::Options {
//!     config: "run/run_config.json".into(),
//!     directory: "run".into(),
//!     ..gipfel_loadgen::Options::default()
//! };
//! let state = gipfel_loadgen::run_blocking(&options)?;
//! # anyhow::Ok(())
//! ```

mod adaptive;
mod arguments;
mod board;
mod compose;
mod controller;
mod cpu;
mod crew;
pub mod dataset;
mod descriptors;
mod earlier;
mod endpoint_file;
mod exposition;
mod files;
mod gaps;
mod guard;
mod health;
mod heartbeat;
mod ledger;
mod leisure;
mod level;
mod listed;
mod load;
mod lookout;
mod looks;
mod messages;
pub mod need;
mod numbers;
mod pace;
mod publication;
mod ranks;
mod reach;
mod scrape;
#[cfg(test)]
mod scripted;
pub mod self_test;
#[cfg(feature = "service")]
mod service;
mod session;
mod setup;
mod spread;
mod stop;
mod time_limit;
pub mod tokenizer;
mod upcoming;
mod watcher;
mod windows;
mod work;
mod worker;
mod writer;

use std::{path::PathBuf, time::Duration};

use gipfel_model::{RunId, RunState};

pub use arguments::{Arguments, MissingArguments, Task};
#[cfg(feature = "service")]
pub use service::{ServiceOptions, serve_blocking};

/// What the load generator is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The run's `run_config.json`.
    pub config: PathBuf,
    /// Where the database, `progress.json` and the log are written.
    pub directory: PathBuf,
    /// Which of several processes on one run directory this one is, from 0; unless `of` is 1, Slurm's `SLURM_PROCID`,
    /// else an indexed Job's `JOB_COMPLETION_INDEX`.
    pub rank: Option<u32>,
    /// How many processes send together, each with a `rank` of its own; Slurm's `SLURM_NTASKS`, else in an indexed Job
    /// `GIPFEL_RANKS`, else 1.
    pub of: Option<u32>,
    /// A directory of this machine that the database is written in; it is published into `directory` then.
    pub work: Option<PathBuf>,
    /// A file that will hold the server's URL, in place of the run configuration's.
    pub endpoint_file: Option<PathBuf>,
    /// How long that file is waited for; [`ENDPOINT_TIMEOUT`] by default.
    pub endpoint_timeout: Option<Duration>,
    /// A file that the server's job keeps changing while it lives.
    pub heartbeat_file: Option<PathBuf>,
    /// How long that file may stay as it is; [`HEARTBEAT_TIMEOUT`] by default.
    pub heartbeat_timeout: Option<Duration>,
    /// When the run must be over and published, in seconds since 1970; Slurm's `SLURM_JOB_END_TIME` by default.
    pub end_at: Option<u64>,
}

/// How long the server's URL is waited for unless the options say otherwise.
pub const ENDPOINT_TIMEOUT: Duration = Duration::from_mins(15);

/// How long the server's heartbeat may stay as it is unless the options say otherwise.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_mins(1);

/// A file of this name in a run's directory asks the load generator to stop, as SIGTERM does.
pub const STOP_FILE: &str = "stop";

/// The name of a run's database.
pub fn database_name(run: &RunId) -> String {
    format!("run_{run}.db")
}

/// Carries out the run and says how it ended; SIGTERM and SIGINT end it early with what was measured.
///
/// # Errors
/// The run could not begin or go on; `progress.json` says so too.
pub fn run_blocking(options: &Options) -> anyhow::Result<RunState> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(tokio::task::LocalSet::new().run_until(controller::run(options)));
    // Not by dropping it, which would wait for a name server that does not answer.
    runtime.shutdown_background();
    outcome
}
