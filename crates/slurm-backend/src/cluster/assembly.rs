//! One local file out of pieces that come one by one, and are not brought again after a fault.

use std::{
    io,
    path::{Path, PathBuf},
};

use firecrest_client::Sha256;
use sha2::Digest as _;
use tokio::{fs, io::AsyncWriteExt as _};

use super::FilePiece;

/// A file that comes in pieces. Those that have come lie beside it, in a folder of their own, until it is whole.
pub(super) struct Assembly<'a> {
    pieces: &'a [FilePiece],
    whole: Sha256,
    local: &'a Path,
    folder: PathBuf,
}

/// Why pieces make no file.
#[derive(Debug, thiserror::Error)]
pub(super) enum AssemblyError {
    #[error("{action} {} failed", path.display())]
    Local {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{what} has the SHA-256 {found} where {expected} is expected")]
    Checksum {
        what: String,
        expected: Sha256,
        found: Sha256,
    },
}

fn fault(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AssemblyError + use<> {
    let path = path.to_owned();
    move |source| AssemblyError::Local { action, path, source }
}

impl<'a> Assembly<'a> {
    /// Begins, or goes on; nothing if the file is there already, with the right checksum.
    pub(super) async fn begin(
        pieces: &'a [FilePiece],
        whole: Sha256,
        local: &'a Path,
    ) -> Result<Option<Self>, AssemblyError> {
        match sha256_of(local).await {
            Ok(found) if found == whole => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fault("reading", local)(error)),
        }
        let folder = beside(local, ".pieces");
        fs::create_dir_all(&folder)
            .await
            .map_err(fault("creating", &folder))?;
        Ok(Some(Self {
            pieces,
            whole,
            local,
            folder,
        }))
    }

    fn place(&self, piece: &FilePiece) -> PathBuf {
        self.folder.join(piece.sha256.to_string())
    }

    /// The pieces that have not come yet.
    pub(super) async fn missing(&self) -> Result<Vec<&'a FilePiece>, AssemblyError> {
        let mut missing = Vec::new();
        for piece in self.pieces {
            let place = self.place(piece);
            if !fs::try_exists(&place).await.map_err(fault("finding", &place))? {
                missing.push(piece);
            }
        }
        Ok(missing)
    }

    /// Takes a piece that has come.
    pub(super) async fn keep(&self, piece: &FilePiece, content: &[u8]) -> Result<(), AssemblyError> {
        compare(piece.path.as_str(), piece.sha256, Sha256::of(content))?;
        let place = self.place(piece);
        let draft = beside(&place, ".part");
        fs::write(&draft, content)
            .await
            .map_err(fault("writing", &draft))?;
        fs::rename(&draft, &place)
            .await
            .map_err(fault("renaming", &draft))
    }

    /// Puts all pieces into the file, which takes its place once its checksum is right.
    pub(super) async fn finish(&self) -> Result<(), AssemblyError> {
        let draft = beside(self.local, ".part");
        let joined = self.join(&draft).await;
        if let Err(error) = joined {
            // Pieces that make no right file are brought anew.
            let _ = fs::remove_file(&draft).await;
            let _ = fs::remove_dir_all(&self.folder).await;
            return Err(error);
        }
        fs::rename(&draft, self.local)
            .await
            .map_err(fault("renaming", &draft))?;
        fs::remove_dir_all(&self.folder)
            .await
            .map_err(fault("removing", &self.folder))
    }

    async fn join(&self, draft: &Path) -> Result<(), AssemblyError> {
        let mut file = fs::File::create(draft).await.map_err(fault("creating", draft))?;
        let mut hasher = sha2::Sha256::new();
        for piece in self.pieces {
            let place = self.place(piece);
            let content = fs::read(&place).await.map_err(fault("reading", &place))?;
            hasher.update(&content);
            file.write_all(&content).await.map_err(fault("writing", draft))?;
        }
        let found = Sha256::from(<[u8; 32]>::from(hasher.finalize()));
        compare(
            &format!("the file made of {} pieces", self.pieces.len()),
            self.whole,
            found,
        )?;
        file.sync_all().await.map_err(fault("writing", draft))
    }
}

/// A hidden path beside another one.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(ending);
    path.with_file_name(name)
}

fn compare(what: &str, expected: Sha256, found: Sha256) -> Result<(), AssemblyError> {
    if expected == found {
        return Ok(());
    }
    Err(AssemblyError::Checksum {
        what: what.to_owned(),
        expected,
        found,
    })
}

/// The checksum of a local file.
pub(super) async fn sha256_of(path: &Path) -> io::Result<Sha256> {
    let file = fs::File::open(path).await?.into_std().await;
    let hashed = tokio::task::spawn_blocking(move || {
        let mut hasher = sha2::Sha256::new();
        let mut file = io::BufReader::with_capacity(1 << 18, file);
        loop {
            let chunk = io::BufRead::fill_buf(&mut file)?;
            if chunk.is_empty() {
                return Ok(Sha256::from(<[u8; 32]>::from(hasher.finalize())));
            }
            hasher.update(chunk);
            let length = chunk.len();
            io::BufRead::consume(&mut file, length);
        }
    });
    hashed.await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use firecrest_client::RemotePath;

    use super::*;

    fn piece(content: &[u8]) -> FilePiece {
        FilePiece {
            path: RemotePath::try_new("/there/piece").expect("a path"),
            sha256: Sha256::of(content),
        }
    }

    #[tokio::test]
    async fn pieces_are_brought_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let local = folder.path().join("run.db.gz");
        let pieces = [piece(b"one"), piece(b"two")];
        let whole = Sha256::of(b"onetwo");
        let begin = async || Assembly::begin(&pieces, whole, &local).await.expect("it begins");
        let first = begin().await.expect("an assembly");
        assert_eq!(first.missing().await.expect("a list").len(), 2);
        first.keep(&pieces[0], b"one").await.expect("kept");
        first
            .keep(&pieces[1], b"tow")
            .await
            .expect_err("another content is refused");
        let second = begin().await.expect("an assembly");
        assert_eq!(second.missing().await.expect("a list"), [&pieces[1]]);
        second.keep(&pieces[1], b"two").await.expect("kept");
        second.finish().await.expect("a file");
        assert_eq!(std::fs::read(&local).expect("the file"), b"onetwo");
        assert!(
            begin().await.is_none(),
            "a file that is there is not brought again"
        );
        let names = std::fs::read_dir(folder.path()).expect("the folder").count();
        assert_eq!(names, 1, "nothing else is left");
    }

    #[tokio::test]
    async fn a_wrong_whole_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let local = folder.path().join("run.db.gz");
        let pieces = [piece(b"one")];
        let assembly = Assembly::begin(&pieces, Sha256::of(b"other"), &local)
            .await
            .expect("it begins")
            .expect("an assembly");
        assembly.keep(&pieces[0], b"one").await.expect("kept");
        let error = assembly.finish().await.expect_err("it is another file");
        assert!(
            error.to_string().starts_with("the file made of 1 pieces has"),
            "{error}"
        );
        let names = std::fs::read_dir(folder.path()).expect("the folder").count();
        assert_eq!(names, 0);
    }
}
