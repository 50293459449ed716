//! Why a transfer failed.

use std::{io, path::PathBuf};

use crate::{
    error::Error,
    files::{Sha256, UploadError},
    jobs::{JobState, WaitError},
    names::{JobId, RemotePath},
};

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
