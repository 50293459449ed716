//! A client of the FirecREST v2 REST API, by which users of a supercomputer reach its files and its scheduler
//! over HTTP.
//!
//! [`Client`] is where to begin. Its groups are [`Client::status`], [`Client::files`], [`Client::jobs`] and
//! [`Client::transfers`].
//!
//! What it holds to:
//!
//! - **Retries are bounded** in number and in time, and said in the error. What may be repeated is decided by
//!   [`classify()`] from the kind of call and the server's text, since the server answers 500 to faults of
//!   its users, too.
//! - **A submission is never repeated blindly.** [`Jobs::submit`] says whether a job was started, and
//!   [`Jobs::submit_or_adopt`] finds out when the server does not say.
//! - **A transfer is whole and verified**, or an error.
//! - **Secrets cannot be printed**: tokens, keys and presigned URLs are masked in errors and logs.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use firecrest_client::{Client, JobSpec, RemotePath, Script, SystemName};
//!
//! let client = Client::from_environment()?;
//! let clariden: SystemName = "clariden".parse()?;
//! let directory: RemotePath = "/capstor/scratch/cscs/me/run-1".parse()?;
//! client.files(&clariden).make_directory(&directory).await?;
//! let script = "#!/bin/bash -l\n#SBATCH --nodes=1 --time=00:05:00\nhostname\n".to_owned();
//! let mut job = JobSpec::new(directory, Script::Inline(script));
//! job.name = Some("run-1".parse()?);
//! let id = client.jobs(&clariden).submit(&job).await?;
//! println!("job {id}");
//! # Ok(())
//! # }
//! ```

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod answer;
mod backoff;
mod builder;
mod call;
mod classify;
mod client;
mod done;
mod environment;
mod error;
mod files;
mod http;
mod ids;
mod jobs;
mod keys;
mod lenient;
mod limits;
mod names;
mod redact;
mod request;
mod secret;
mod status;
mod token;
mod transfers;
mod wait_hint;

pub use self::{
    answer::{Origin, Refusal},
    backoff::{GaveUp, RetryPolicy},
    builder::{Authentication, BuildError, ClientBuilder},
    classify::{CallKind, Class, Failure, classify},
    client::{Client, FromEnvironmentError},
    environment::EnvironmentError,
    error::{Cause, Error, TransportError},
    files::{
        Entry, EntryKind, FileMode, Files, ListOptions, Piece, Portion, Sha256, Sha256Error, Stat,
        UploadError,
    },
    jobs::{
        AdoptError, AdoptPolicy, Adoption, Cancelled, Earlier, Job, JobFilter, JobMetadata, JobSpec,
        JobState, JobStatus, JobTime, Jobs, Look, Mark, MarkSeen, NodesError, Outcome, PendingReason, Script,
        Settling, SpecError, SubmitError, SubmitFault, Submitted, Task, TimeWindow, Verdict, WaitError,
        WaitOptions, expand_nodes,
    },
    names::{JobId, JobName, NameError, RemotePath, SystemName},
    secret::{PresignedUrl, Secret},
    status::{
        Account, DataOperation, DataTransfer, FileSystem, Group, Health, Liveness, Multipart, Node,
        Partition, Probing, Reservation, Scheduler, Ssh, SshTimeouts, Status, System, UserIdentity, UserInfo,
    },
    token::{ClientCredentials, Credential, TokenError},
    transfers::{RemotePiece, TransferError, TransferOptions, Transferred, Transfers, Verify, Way},
    wait_hint::WaitHint,
};
