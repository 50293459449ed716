//! A stateful FirecREST v2 server for tests and demonstrations.
//!
//! Files lie in a folder, jobs run as processes or through a real Slurm, large files go through presigned storage, and
//! calls fail on demand. Errors, limits and timeouts are those of the real server.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use firecrest_sim::{Failure, Options, Rule, Simulator};
//!
//! let folder = tempfile::tempdir()?;
//! let running = Simulator::start(Options::demo(folder.path())).await?;
//! println!("{} {}", running.base_url, running.token_url);
//! running.fail(Rule::once(Failure::CutAfter, "POST", "/compute/alps/jobs"));
//! running.stop().await;
//! # Ok(())
//! # }
//! ```

mod answer;
mod call;
mod check;
pub mod cli;
mod clock;
mod cluster;
mod compute;
mod control;
mod failures;
mod files;
mod filesystem;
mod health;
mod identity;
mod jobs;
mod journal;
mod mishap;
mod multipart;
mod options;
mod orders;
mod paths;
mod remote;
mod route;
mod running;
mod server;
mod span;
mod state;
mod status;
mod storage;
mod token;
mod work;

pub use failures::{Chance, Failure, RandomFailures, Rule, Service, Target};
pub use jobs::job::JobState;
pub use journal::{CallRecord, SubmitRecord, TransferRecord};
pub use options::{
    AccountLimit, ClusterOptions, FileSystemOptions, GroupOptions, Limits, Options, OptionsError,
    PartitionOptions, ReservationOptions, SystemOptions, TokenOptions, UserOptions,
};
pub use orders::{JobSummary, OrderError};
pub use remote::{SchedulerState, Services, SshState};
pub use running::{Running, Simulator, StartError};
pub use span::{SpanError, parse_span};
pub use token::Secret;
