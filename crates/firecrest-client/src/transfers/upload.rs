//! Uploads.

use std::path::Path;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    TransferError, TransferOptions, Transferred, Transfers, Verify, Way,
    local::{fault, sha256, size_of},
    plan::{complete_message, part_size, parts},
    staging::{Begun, UploadPlan},
    storage::Storage,
};
use crate::{
    files::{Sha256, UploadError},
    names::RemotePath,
};

impl Transfers {
    /// Writes a local file to the cluster, over one that is there already, and verifies it.
    ///
    /// A file within the direct limit goes in one call. A larger one goes through the staging storage, which
    /// takes up to a minute more: the job on the cluster looks for its content once a minute. When such a
    /// transfer fails, or its future is dropped, its job is ended. A transfer whose beginning got no clear answer
    /// is not begun again by itself: its job may wait for content already, until its time is up.
    pub async fn upload(
        &self,
        source: &Path,
        target: &RemotePath,
        options: &TransferOptions,
    ) -> Result<Transferred, TransferError> {
        let size = size_of(source).await?;
        if target.split().is_none() {
            return Err(UploadError::NoFile(target.clone()).into());
        }
        let local = sha256(source).await?;
        if let Verify::Sha256(expected) = options.verify {
            compare(&source.display(), expected, local)?;
        }
        let known = self.known().await?;
        let way = if size <= known.upload {
            let content = tokio::fs::read(source).await.map_err(fault("reading", source))?;
            self.files().upload(target, content).await?;
            Way::Direct
        } else {
            known.check_staging(options)?;
            self.upload_staged(source, target, size, options).await?
        };
        self.verify_remote(target, size, local, options).await?;
        Ok(Transferred {
            bytes: size,
            sha256: local,
            way,
        })
    }

    async fn upload_staged(
        &self,
        source: &Path,
        target: &RemotePath,
        size: u64,
        options: &TransferOptions,
    ) -> Result<Way, TransferError> {
        let (begun, plan) = self.begin_upload(target, size, options).await?;
        let sent = match plan {
            Ok(plan) => self.send_parts(source, size, &plan, &begun, options).await,
            Err(reason) => Err(TransferError::Plan(reason)),
        };
        if let Err(error) = sent {
            return Err(begun.abandon(error).await);
        }
        Ok(Way::Staged(begun.over()))
    }

    async fn send_parts(
        &self,
        source: &Path,
        size: u64,
        plan: &UploadPlan,
        begun: &Begun,
        options: &TransferOptions,
    ) -> Result<(), TransferError> {
        let part_size = part_size(size, plan.parts.len(), plan.largest_part).map_err(TransferError::Plan)?;
        let storage = Storage::new(&self.client);
        // A closure over references inside of the stream would keep the future from being sent to other threads.
        let sending: Vec<_> = plan
            .parts
            .iter()
            .zip(parts(size, part_size))
            .map(|(url, part)| storage.put_part(url, source, part))
            .collect();
        let tags: Vec<String> = stream::iter(sending)
            .buffered(options.parallel.get())
            .try_collect()
            .await?;
        storage.complete(&plan.complete, &complete_message(&tags)).await?;
        self.finish(begun, options).await
    }

    /// Compares what is on the cluster with what was sent.
    async fn verify_remote(
        &self,
        target: &RemotePath,
        size: u64,
        local: Sha256,
        options: &TransferOptions,
    ) -> Result<(), TransferError> {
        match options.verify {
            Verify::Checksum => compare(target, local, self.remote_checksum(target).await?),
            Verify::Sha256(_) | Verify::Size => {
                let found = self.files().stat_target(target).await?.size;
                compare_size(target, size, found)
            }
        }
    }
}

/// Refuses content that has another checksum.
pub(super) fn compare(what: &impl ToString, expected: Sha256, found: Sha256) -> Result<(), TransferError> {
    if expected == found {
        Ok(())
    } else {
        Err(TransferError::Checksum {
            what: what.to_string(),
            expected,
            found,
        })
    }
}

/// Refuses content of another size.
pub(super) fn compare_size(what: &impl ToString, expected: u64, found: u64) -> Result<(), TransferError> {
    if expected == found {
        Ok(())
    } else {
        Err(TransferError::Size {
            what: what.to_string(),
            expected,
            found,
        })
    }
}
