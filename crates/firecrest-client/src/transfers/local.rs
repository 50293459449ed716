//! The local side of transfers.

use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use sha2::Digest as _;
use tokio::{
    fs::{File, OpenOptions},
    io::{AsyncReadExt as _, AsyncSeekExt as _},
    sync::mpsc,
};

use super::TransferError;
use crate::{files::Sha256, ids::random_id};

/// What is read or hashed at once.
const CHUNK: usize = 256 * 1024;

/// Adds to an error of a local file what was done to which.
pub(super) fn fault(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TransferError + use<> {
    let path = path.to_owned();
    move |source| TransferError::Local { action, path, source }
}

/// The checksum of a file.
pub(super) async fn sha256(path: &Path) -> Result<Sha256, TransferError> {
    let read = async {
        let mut file = File::open(path).await?;
        let mut hasher = sha2::Sha256::new();
        let mut buffer = vec![0; CHUNK];
        loop {
            match file.read(&mut buffer).await? {
                0 => return Ok(Sha256::from_digest(hasher.finalize().as_slice())),
                count => hasher.update(&buffer[..count]),
            }
        }
    };
    read.await.map_err(fault("reading", path))
}

/// A range of a file as the body of a request, of which the length is known: the storage takes no other.
pub(super) struct FileRange {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
}

impl FileRange {
    /// Begins to read the range. The reading ends when the body is dropped.
    pub(super) fn read(path: PathBuf, offset: u64, length: u64) -> Self {
        let (sender, chunks) = mpsc::channel(2);
        tokio::spawn(async move {
            if let Err(error) = send_range(&path, offset, length, &sender).await {
                // Nobody listens to the error when the body was dropped.
                let _ = sender.send(Err(error)).await;
            }
        });
        Self { chunks, left: length }
    }
}

async fn send_range(
    path: &Path,
    offset: u64,
    length: u64,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let mut file = File::open(path).await?;
    file.seek(io::SeekFrom::Start(offset)).await?;
    let mut left = length;
    while left > 0 {
        let mut chunk = vec![0; usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK))];
        file.read_exact(&mut chunk).await?;
        left -= chunk.len() as u64;
        if sender.send(Ok(chunk.into())).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

impl Body for FileRange {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.chunks.poll_recv(context).map(|chunk| {
            chunk.map(|chunk| {
                let chunk = chunk?;
                self.left = self.left.saturating_sub(chunk.len() as u64);
                Ok(Frame::data(chunk))
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// A file beside its destination that takes the destination's place once it is whole, and goes otherwise.
#[derive(Debug)]
pub(super) struct Draft {
    path: PathBuf,
    destination: PathBuf,
    is_kept: bool,
}

impl Draft {
    /// Makes an empty file beside a destination that is a file or not there.
    pub(super) async fn create(destination: &Path) -> Result<Self, TransferError> {
        let checked = check_destination(destination).await;
        let name = checked.map_err(fault("writing", destination))?;
        let mut draft_name = std::ffi::OsString::from(".");
        draft_name.push(name);
        draft_name.push(format!(".{}.part", &random_id()[..8]));
        let draft = Self {
            path: destination.with_file_name(draft_name),
            destination: destination.to_owned(),
            is_kept: false,
        };
        let created = File::create_new(&draft.path).await;
        created.map_err(fault("creating", &draft.path))?;
        Ok(draft)
    }

    /// Gives the file this size, before parts are written into their places.
    pub(super) async fn resize(&self, size: u64) -> Result<(), TransferError> {
        let resize = async {
            let file = OpenOptions::new().write(true).open(&self.path).await?;
            file.set_len(size).await
        };
        resize.await.map_err(fault("writing", &self.path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the file in the destination's place, once it is on the disk.
    pub(super) async fn keep(mut self) -> Result<(), TransferError> {
        let write = async {
            OpenOptions::new()
                .write(true)
                .open(&self.path)
                .await?
                .sync_all()
                .await
        };
        write.await.map_err(fault("writing", &self.path))?;
        let done = tokio::fs::rename(&self.path, &self.destination).await;
        done.map_err(fault("renaming the download to", &self.destination))?;
        self.is_kept = true;
        Ok(())
    }
}

/// The name of a destination. A download would take the place of a device as well, and a directory would be found
/// only once all has come.
async fn check_destination(destination: &Path) -> io::Result<&std::ffi::OsStr> {
    let refuse = |kind, reason| Err(io::Error::new(kind, reason));
    let ends_with_slash = destination.as_os_str().as_encoded_bytes().ends_with(b"/");
    match (destination.file_name(), tokio::fs::metadata(destination).await) {
        (_, Ok(metadata)) if metadata.is_dir() => refuse(
            io::ErrorKind::IsADirectory,
            "it is a directory: name the file in it",
        ),
        (None, _) => refuse(io::ErrorKind::InvalidInput, "it names no file"),
        _ if ends_with_slash => refuse(
            io::ErrorKind::InvalidInput,
            "it names no file: leave out the last `/`",
        ),
        (_, Ok(metadata)) if !metadata.is_file() => refuse(
            io::ErrorKind::InvalidInput,
            "it is not a regular file, and a download would take its place",
        ),
        (Some(name), _) => Ok(name),
    }
}

/// Refuses what is no file to send: a device has no end.
pub(super) async fn size_of(source: &Path) -> Result<u64, TransferError> {
    let metadata = tokio::fs::metadata(source)
        .await
        .map_err(fault("reading", source))?;
    if metadata.is_file() {
        return Ok(metadata.len());
    }
    let error = io::Error::new(
        io::ErrorKind::InvalidInput,
        "it is not a file: pack directories before the transfer",
    );
    Err(fault("reading", source)(error))
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_kept {
            // A file that cannot be removed is named as unfinished.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn drafts_go_unless_they_are_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let destination = directory.path().join("result.db");
        let count = || {
            std::fs::read_dir(directory.path())
                .expect("the directory")
                .count()
        };
        let draft = Draft::create(&destination).await.expect("a draft");
        draft.resize(u64::MAX).await.expect_err("no file is as large");
        drop(draft);
        assert_eq!(count(), 0);
        let draft = Draft::create(&destination).await.expect("a draft");
        draft.resize(10).await.expect("a size");
        draft.keep().await.expect("kept");
        assert_eq!(count(), 1);
        assert_eq!(std::fs::metadata(&destination).expect("a file").len(), 10);
    }

    #[tokio::test]
    async fn only_files_are_written_and_sent() {
        let directory = tempfile::tempdir().expect("a directory");
        let check = async |destination: &Path, expected: &str| {
            let error = Draft::create(destination).await.expect_err("refused");
            let source = std::error::Error::source(&error).expect("a reason");
            assert!(source.to_string().contains(expected), "{error}: {source}");
        };
        check(directory.path(), "it is a directory").await;
        check(&directory.path().join("new/"), "leave out the last `/`").await;
        check(&directory.path().join("missing/.."), "it names no file").await;
        check(Path::new("/dev/null"), "not a regular file").await;
        check(&directory.path().join("missing/file"), "No such file").await;
        for source in [directory.path(), Path::new("/dev/zero")] {
            size_of(source).await.expect_err("refused");
        }
    }

    #[tokio::test]
    async fn files_are_hashed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        let content = vec![7; 3 * CHUNK + 5];
        std::fs::write(&path, &content).expect("written");
        assert_eq!(sha256(&path).await.expect("a checksum"), Sha256::of(&content));
        let error = sha256(&directory.path().join("missing"))
            .await
            .expect_err("no file");
        assert!(error.to_string().starts_with("reading "), "{error}");
    }
}
