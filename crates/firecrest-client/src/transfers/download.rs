//! Downloads.

use std::path::Path;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    TransferError, TransferOptions, Transferred, Transfers, Verify, Way,
    local::{Draft, fault, sha256},
    plan::parts,
    staging::Begun,
    storage::Storage,
    upload::{compare, compare_size},
};
use crate::{names::RemotePath, secret::PresignedUrl};

impl Transfers {
    /// Reads a file of the cluster into a local one, and verifies it.
    ///
    /// A file within the direct limit comes in one call. A larger one comes through the staging storage by
    /// parts, each of which goes on from where it was after a cut. The destination appears whole or not at
    /// all. When such a transfer fails, or its future is dropped, its job is ended.
    pub async fn download(
        &self,
        source: &RemotePath,
        destination: &Path,
        options: &TransferOptions,
    ) -> Result<Transferred, TransferError> {
        let stat = self.files().stat_target(source).await?;
        if !stat.is_file() {
            return Err(TransferError::NotAFile(source.clone()));
        }
        let known = self.known().await?;
        let is_direct = stat.size <= known.download;
        if !is_direct {
            known.check_staging(options)?;
        }
        let draft = Draft::create(destination).await?;
        let way = if is_direct {
            self.download_direct(source, stat.size, &draft).await?
        } else {
            self.download_staged(source, stat.size, &draft, options).await?
        };
        let local = sha256(draft.path()).await?;
        match options.verify {
            Verify::Checksum => compare(source, self.remote_checksum(source).await?, local)?,
            Verify::Sha256(expected) => compare(source, expected, local)?,
            Verify::Size => {}
        }
        draft.keep().await?;
        Ok(Transferred {
            bytes: stat.size,
            sha256: local,
            way,
        })
    }

    async fn download_direct(
        &self,
        source: &RemotePath,
        size: u64,
        draft: &Draft,
    ) -> Result<Way, TransferError> {
        let content = self.files().download(source).await?;
        compare_size(source, size, content.len() as u64)?;
        tokio::fs::write(draft.path(), &content)
            .await
            .map_err(fault("writing", draft.path()))?;
        Ok(Way::Direct)
    }

    async fn download_staged(
        &self,
        source: &RemotePath,
        size: u64,
        draft: &Draft,
        options: &TransferOptions,
    ) -> Result<Way, TransferError> {
        draft.resize(size).await?;
        let (begun, url) = self.begin_download(source, options).await?;
        let fetched = match url {
            Ok(url) => self.fetch_parts(&begun, &url, size, draft, options).await,
            Err(reason) => Err(TransferError::Plan(reason)),
        };
        match fetched {
            Ok(()) => Ok(Way::Staged(begun.over())),
            Err(error) => Err(begun.abandon(error).await),
        }
    }

    async fn fetch_parts(
        &self,
        begun: &Begun,
        url: &PresignedUrl,
        size: u64,
        draft: &Draft,
        options: &TransferOptions,
    ) -> Result<(), TransferError> {
        // The object is there once the job has ended; before, the storage answers 404.
        self.finish(begun, options).await?;
        let storage = Storage::new(&self.client);
        let path = draft.path();
        stream::iter(parts(size, options.part_size.get() as u64))
            .map(|part| storage.get_part(url, path, part, part.length == size))
            .buffer_unordered(options.parallel.get())
            .try_collect()
            .await
    }
}
