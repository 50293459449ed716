//! Files that are replaced whole, and calls that a slow file system must not hold anybody up with.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use gipfel_model::Progress;

/// Replaces `progress.json` by rename, so that a reader never sees half of it.
pub(crate) fn write_progress(directory: &Path, progress: &Progress) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(progress)?;
    let temporary = directory.join("progress.json.tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(&text)?;
    file.write_all(b"\n")?;
    fs::rename(temporary, directory.join("progress.json"))
}

/// Makes a call to the file system on another thread, since it may take long.
pub(crate) async fn beside<T: Send + 'static>(
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(call)
        .await
        .map_err(io::Error::other)?
}
