//! Files of any size, up and down: whole and verified, or an error.

mod download;
mod error;
mod local;
mod options;
mod pieces;
mod plan;
mod staging;
mod storage;
mod upload;

use std::sync::Arc;

use tokio::sync::OnceCell;

pub use self::{
    error::TransferError,
    options::{TransferOptions, Verify},
    pieces::RemotePiece,
};
use crate::{
    client::Client,
    files::{Files, Sha256},
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
