//! Files of any size, up and down: whole and verified, or an error.

mod download;
mod local;
mod pieces;
mod plan;
mod staging;
mod storage;
mod upload;

use std::{
    io,
    num::{NonZeroU64, NonZeroUsize},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::sync::OnceCell;

pub use self::pieces::RemotePiece;
use crate::{
    client::Client,
    error::Error,
    files::{Files, Sha256, UploadError},
    jobs::{JobState, WaitError, WaitOptions},
    names::{JobId, RemotePath, SystemName},
    status::System,
};

/// Uploads and downloads.
///
/// Small files go directly, in one call. Larger ones go through the staging storage of the site, by parts, with
/// a job on the cluster that moves them on. Every transfer is verified before it counts.
#[derive(Debug, Clone)]
pub struct Transfers {
    client: Client,
    system: SystemName,
    /// What the system allows, asked for once.
    known: Arc<OnceCell<Known>>,
}

/// What a system allows.
#[derive(Debug, Clone)]
struct Known {
    upload: u64,
    download: u64,
    needs_account: bool,
    /// How large files are transferred, as the server names it; nothing where there is no way.
    method: Option<String>,
}

/// The limit of servers that do not tell theirs.
const UNTOLD_LIMIT: u64 = 5_242_880;

/// The one way of large files that this client knows. Servers that do not tell theirs are asked for it.
const S3: &str = "s3";

impl Known {
    fn of(system: &System) -> Self {
        let upload = system.direct_upload_limit().unwrap_or(UNTOLD_LIMIT);
        Self {
            upload,
            download: crate::status::download_limit(upload),
            needs_account: system.transfers_need_account(),
            method: match &system.data_operation {
                Some(operation) => operation
                    .data_transfer
                    .as_ref()
                    .and_then(|transfer| transfer.service_type.clone()),
                None => Some(S3.to_owned()),
            },
        }
    }

    fn untold() -> Self {
        Self {
            upload: UNTOLD_LIMIT,
            download: crate::status::download_limit(UNTOLD_LIMIT),
            needs_account: false,
            method: Some(S3.to_owned()),
        }
    }

    /// Refuses a transfer through the storage that the server would refuse.
    fn check_staging(&self, options: &TransferOptions) -> Result<(), TransferError> {
        match &self.method {
            Some(method) if method == S3 => {}
            Some(method) => {
                return Err(TransferError::Method {
                    method: method.clone(),
                });
            }
            None => return Err(TransferError::NoStorage),
        }
        if self.needs_account && options.account.is_none() {
            return Err(TransferError::NoAccount);
        }
        Ok(())
    }
}

/// How a transfer is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferOptions {
    /// The account of the transfer job; some sites require one.
    pub account: Option<String>,
    /// How many parts or pieces are on their way at once.
    pub parallel: NonZeroUsize,
    /// The size of the parts of a download. The server chooses that of uploads.
    pub part_size: NonZeroU64,
    /// How the transfer is verified.
    pub verify: Verify,
    /// How the end of the transfer job is waited for.
    pub wait: WaitOptions,
}

impl Default for TransferOptions {
    /// Four parts of 64 MiB at once, verified by checksum, with half an hour for the transfer job.
    fn default() -> Self {
        const PARALLEL: NonZeroUsize = NonZeroUsize::new(4).unwrap();
        const PART_SIZE: NonZeroU64 = NonZeroU64::new(64 * 1024 * 1024).unwrap();
        Self {
            account: None,
            parallel: PARALLEL,
            part_size: PART_SIZE,
            verify: Verify::Checksum,
            wait: WaitOptions {
                total: Duration::from_mins(30),
                ..WaitOptions::default()
            },
        }
    }
}

/// How a transfer is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// By a checksum that the cluster computes. It has some seconds for it, which bounds the file's size.
    Checksum,
    /// By this checksum, which the local file must have: for files that are too large for the cluster's. After an
    /// upload the size on the cluster is compared.
    Sha256(Sha256),
    /// By the size alone.
    Size,
}

/// A transfer that is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transferred {
    /// The size in bytes.
    pub bytes: u64,
    /// The checksum of the local file.
    pub sha256: Sha256,
    /// The way it went.
    pub way: Way,
}

/// The way of a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// By one call, or one call for each piece.
    Direct,
    /// Through the staging storage, with this job.
    Staged(JobId),
}

/// Why a transfer failed. The destination of a download is as it was before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// A call of the API or an exchange with the storage failed.
    #[error(transparent)]
    Call(#[from] Error),
    /// A direct upload failed.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// A local file could not be read or written.
    #[error("{action} {} failed", path.display())]
    Local {
        /// What was done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// What is to be downloaded is no file.
    #[error("{0} is not a file: pack directories before the transfer")]
    NotAFile(RemotePath),
    /// The site requires an account.
    #[error(
        "transfer jobs of this system are charged to an account, and none is given: set `TransferOptions::account`"
    )]
    NoAccount,
    /// The site has another way.
    #[error(
        "large files of this system are transferred by `{method}`, and this client knows `s3`: send pieces that are small enough for direct transfers"
    )]
    Method {
        /// The site's way.
        method: String,
    },
    /// The site has no way.
    #[error("this system has no staging storage: send pieces that are small enough for direct transfers")]
    NoStorage,
    /// The server's plan for a transfer is of no use.
    #[error("the server's plan for the transfer is of no use: {0}")]
    Plan(String),
    /// The end of the transfer job was not seen.
    #[error("the transfer job {id} did not end well")]
    Wait {
        /// The job, which was told to end.
        id: JobId,
        /// What went wrong.
        #[source]
        error: WaitError,
    },
    /// The transfer job failed.
    #[error("the transfer job {id} ended as {state:?}; its log says: {log}")]
    Job {
        /// The job.
        id: JobId,
        /// How it ended.
        state: JobState,
        /// The end of its log.
        log: String,
    },
    /// The transfer failed, and so did the end of its job.
    #[error(
        "the transfer failed, and its job {id} could not be ended: it ends when its time is up, or cancel it"
    )]
    JobLeft {
        /// The job.
        id: JobId,
        /// Why the transfer failed.
        #[source]
        error: Box<TransferError>,
        /// Why the job could not be ended.
        cancel: Box<Error>,
    },
    /// The content has arrived, and whether it is right is not known.
    #[error(
        "{what} has arrived and could not be verified: the cluster has some seconds for a checksum; give one by \
         `Verify::Sha256`, or compare the size alone by `Verify::Size`"
    )]
    Unverified {
        /// What was to be verified.
        what: RemotePath,
        /// Why there is no checksum.
        #[source]
        error: Box<Error>,
    },
    /// The content is not what it should be.
    #[error("{what} has the SHA-256 {found} where {expected} is expected")]
    Checksum {
        /// What was verified.
        what: String,
        /// The checksum that it should have.
        expected: Sha256,
        /// The checksum that it has.
        found: Sha256,
    },
    /// The size is not what it should be.
    #[error("{what} has {found} bytes where {expected} are expected")]
    Size {
        /// What was verified.
        what: String,
        /// The size that it should have.
        expected: u64,
        /// The size that it has.
        found: u64,
    },
}

impl Transfers {
    pub(crate) fn new(client: Client, system: SystemName) -> Self {
        Self {
            client,
            system,
            known: Arc::default(),
        }
    }

    fn files(&self) -> Files {
        self.client.files(&self.system)
    }

    /// The checksum that the cluster computes of a file that has arrived.
    async fn remote_checksum(&self, what: &RemotePath) -> Result<Sha256, TransferError> {
        let unverified = |error| TransferError::Unverified {
            what: what.clone(),
            error: Box::new(error),
        };
        self.files().checksum(what).await.map_err(unverified)
    }

    /// What the system allows; servers do not change it while they run.
    async fn known(&self) -> Result<&Known, TransferError> {
        self.known
            .get_or_try_init(|| async {
                let system = self.client.status().system(&self.system).await?;
                // A system that is not listed refuses the transfer itself, and says so.
                Ok(system.as_ref().map_or_else(Known::untold, Known::of))
            })
            .await
    }
}
