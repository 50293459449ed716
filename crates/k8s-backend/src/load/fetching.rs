//! Brings home what a load generator has published, and back what a new one goes on from.

use std::path::{Path, PathBuf};

use gipfel_backend::{BackendError, Handle};
use gipfel_model::{
    Published,
    published::{PUBLISHED_FILE, Piece},
};

use super::{Detail, K8sLoads, home::is_piece, not_executed, not_kept};
use crate::{exec::ExecError, record::State};

/// Pieces that one observation brings home at most, so that it does not take minutes.
const PIECES_AT_ONCE: usize = 8;

/// What a script says that only does something.
pub(super) const SAID_BYTES: u64 = 4096;

/// How often what breaks off is tried again.
const TRIES: u32 = 4;

impl K8sLoads {
    pub(super) async fn bring(&self, handle: &Handle, directory: &Path) -> Result<PathBuf, BackendError> {
        let id = handle.name.as_str();
        let operation = || format!("fetch the database of `{id}`");
        let detail = Detail::of(handle)?;
        let is_over = matches!(self.state(id)?, Some(State::Ended { .. }));
        let pod = if is_over {
            None
        } else {
            self.running_pod(id, &detail).await?
        };
        if let Some(pod) = &pod {
            self.bring_all(id, pod).await?;
        }
        let home = self.home(id);
        let manifest = home.manifest();
        let manifest = manifest.ok_or_else(|| {
            BackendError::permanent(operation(), "the load generator has published nothing")
        })?;
        let database = directory.join(format!("run_{id}.db"));
        home.unpack(&manifest, &database)
            .map_err(|error| BackendError::permanent(operation(), error))?;
        if let Some(pod) = &pod {
            self.let_go(id, pod).await;
        }
        Ok(database)
    }

    /// Brings all that is published. A newer publication takes pieces of the older one away, so that it is looked for anew.
    async fn bring_all(&self, id: &str, pod: &str) -> Result<(), BackendError> {
        let mut last = None;
        for _ in 0..TRIES {
            let Some(published) = self.look(id, pod).await?.and_then(|look| look.published) else {
                return Ok(());
            };
            match self.bring_pieces(id, pod, &published, usize::MAX).await {
                Ok(_) => {
                    let kept = self.home(id).keep_manifest(&published);
                    return kept.map_err(|error| not_kept(id, error));
                }
                Err(error) => last = Some(error),
            }
        }
        last.map_or(Ok(()), Err)
    }

    /// Brings some of what is published, and keeps it once it is whole.
    pub(super) async fn keep_published(
        &self,
        id: &str,
        pod: &str,
        published: &Published,
    ) -> Result<(), BackendError> {
        if self.bring_pieces(id, pod, published, PIECES_AT_ONCE).await? {
            let kept = self.home(id).keep_manifest(published);
            kept.map_err(|error| not_kept(id, error))?;
        }
        Ok(())
    }

    /// Brings at most so many pieces of those that are not here; whether all are here then.
    async fn bring_pieces(
        &self,
        id: &str,
        pod: &str,
        published: &Published,
        most: usize,
    ) -> Result<bool, BackendError> {
        let home = self.home(id);
        let missing: Vec<&Piece> = published.pieces.iter().filter(|piece| !home.has(piece)).collect();
        for piece in missing.iter().take(most) {
            let bytes = self.piece(id, pod, piece).await?;
            home.keep_piece(piece, &bytes)
                .map_err(|error| not_kept(id, error))?;
        }
        Ok(missing.len() <= most)
    }

    async fn piece(&self, id: &str, pod: &str, piece: &Piece) -> Result<Vec<u8>, BackendError> {
        let operation = || format!("fetch the piece `{}` of `{id}`", piece.name);
        let script = format!("cat \"$GIPFEL_RESULTS/{}\"", piece.name);
        let mut tries = 0;
        loop {
            tries += 1;
            match self.execute(pod, &script, None, piece.bytes).await {
                Ok(bytes) if is_piece(piece, &bytes) => return Ok(bytes),
                Ok(_) if tries < TRIES => {}
                Ok(_) => return Err(BackendError::permanent(operation(), "it has another checksum")),
                Err(error) if error.is_retryable() && tries < TRIES => {}
                Err(error) => return Err(not_executed(operation(), error)),
            }
        }
    }

    /// Tells the pod that nobody will read from it. One that does not hear it leaves after a day.
    async fn let_go(&self, id: &str, pod: &str) {
        let script = "[ ! -e \"$GIPFEL_RESULTS/ended.txt\" ] || : > \"$GIPFEL_RESULTS/fetched\"";
        if let Err(error) = self.execute(pod, script, None, SAID_BYTES).await {
            tracing::debug!(run = id, %error, "the pod does not know that its results were fetched");
        }
    }

    /// Brings the pieces that are kept here into a pod that waits for them.
    pub(super) async fn restore(&self, id: &str, detail: &Detail, pod: &str) -> Result<(), BackendError> {
        let restoring = |error| not_executed(format!("bring back what `{id}` has published"), error);
        let mark = detail.mark();
        // Before the script has begun, or after it was told to go on, there is nothing to bring.
        let script = format!(
            "[ ! -e \"$GIPFEL_RESULTS/{mark}/begun\" ] || [ -e \"$GIPFEL_RESULTS/{mark}/restored\" ] || echo waits"
        );
        let said = self
            .execute(pod, &script, None, SAID_BYTES)
            .await
            .map_err(restoring)?;
        if said.is_empty() {
            return Ok(());
        }
        let home = self.home(id);
        let Some(manifest) = home.manifest() else {
            // To begin anew would lose what the other machine has kept.
            tracing::warn!(
                run = id,
                "it waits for what was measured, which another machine has kept"
            );
            return Ok(());
        };
        for piece in &manifest.pieces {
            let bytes = home.piece(piece).map_err(|error| not_kept(id, error))?;
            self.put(pod, &piece.name, bytes).await.map_err(restoring)?;
        }
        let text = serde_json::to_vec(&manifest).map_err(|error| not_kept(id, error.into()))?;
        self.put(pod, PUBLISHED_FILE, text).await.map_err(restoring)?;
        let script = format!(": > \"$GIPFEL_RESULTS/{mark}/restored\"");
        self.execute(pod, &script, None, SAID_BYTES)
            .await
            .map_err(restoring)?;
        Ok(())
    }

    /// Writes a file of the results; it is not there before it is whole.
    async fn put(&self, pod: &str, name: &str, bytes: Vec<u8>) -> Result<(), ExecError> {
        let length = bytes.len();
        let script = format!(
            "head -c {length} > \"$GIPFEL_RESULTS/{name}.new\" && [ \"$(wc -c < \"$GIPFEL_RESULTS/{name}.new\")\" -eq {length} ] && mv -f \"$GIPFEL_RESULTS/{name}.new\" \"$GIPFEL_RESULTS/{name}\""
        );
        self.execute(pod, &script, Some(bytes), SAID_BYTES)
            .await
            .map(drop)
    }
}
