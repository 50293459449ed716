//! Files that were cut into pieces on the cluster, each small enough for a direct download.

use std::path::Path;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use sha2::Digest as _;
use tokio::{fs::OpenOptions, io::AsyncWriteExt as _};

use super::{
    TransferError, TransferOptions, Transferred, Transfers, Way,
    local::{Draft, fault},
    upload::compare,
};
use crate::{files::Sha256, names::RemotePath};

/// A piece of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemotePiece {
    /// Where it is.
    pub path: RemotePath,
    /// Its own checksum, if known: a piece that arrives broken is then fetched once more.
    pub sha256: Option<Sha256>,
}

impl Transfers {
    /// Reads pieces of a file, in their order, into one local file with this checksum.
    ///
    /// It needs neither the storage nor a second job. Several pieces are on their way at once, and as many
    /// are held in memory.
    pub async fn download_pieces(
        &self,
        pieces: &[RemotePiece],
        sha256: Sha256,
        destination: &Path,
        options: &TransferOptions,
    ) -> Result<Transferred, TransferError> {
        let draft = Draft::create(destination).await?;
        let file = OpenOptions::new().append(true).open(draft.path()).await;
        let mut file = file.map_err(fault("writing", draft.path()))?;
        let (mut hasher, mut bytes) = (sha2::Sha256::new(), 0);
        // A closure over references inside of the stream would keep the future from being sent to other threads.
        let fetching: Vec<_> = pieces.iter().map(|piece| self.piece(piece)).collect();
        let mut contents = stream::iter(fetching).buffered(options.parallel.get());
        while let Some(content) = contents.next().await {
            let content = content?;
            hasher.update(&content);
            bytes += content.len() as u64;
            file.write_all(&content)
                .await
                .map_err(fault("writing", draft.path()))?;
        }
        file.flush().await.map_err(fault("writing", draft.path()))?;
        let found = Sha256::from_digest(hasher.finalize().as_slice());
        compare(&"the file made of the pieces", sha256, found)?;
        draft.keep().await?;
        Ok(Transferred {
            bytes,
            sha256: found,
            way: Way::Direct,
        })
    }

    async fn piece(&self, piece: &RemotePiece) -> Result<Bytes, TransferError> {
        let content = self.files().download(&piece.path).await?;
        let Some(expected) = piece.sha256 else {
            return Ok(content);
        };
        if Sha256::of(&content) == expected {
            return Ok(content);
        }
        let content = self.files().download(&piece.path).await?;
        compare(&piece.path, expected, Sha256::of(&content))?;
        Ok(content)
    }
}
