//! What this machine keeps of a run: what it published, what it said of itself, and its log.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use gipfel_backend::unpack_database;
use gipfel_model::{
    Published,
    published::{PUBLISHED_FILE, Piece},
};
use sha2::{Digest, Sha256};

use crate::{files::replace, name::hexadecimal};

const PROGRESS: &str = "progress.json";
const LOG: &str = "benchmarker.log";

/// The directory of one run.
#[derive(Clone, Debug)]
pub(super) struct Home {
    directory: PathBuf,
}

impl Home {
    pub(super) fn new(root: &Path, run: &str) -> Self {
        Self {
            directory: root.join(run),
        }
    }

    fn published(&self) -> PathBuf {
        self.directory.join("published")
    }

    /// The kept manifest, all of whose pieces are there.
    pub(super) fn manifest(&self) -> Option<Published> {
        let text = fs::read(self.published().join(PUBLISHED_FILE)).ok()?;
        let manifest = Published::parse(&text).ok()?;
        let is_whole = manifest.pieces.iter().all(|piece| self.has(piece));
        is_whole.then_some(manifest)
    }

    /// Whether a piece is kept as it has to be.
    pub(super) fn has(&self, piece: &Piece) -> bool {
        self.piece(piece).is_ok_and(|bytes| is_piece(piece, &bytes))
    }

    pub(super) fn piece(&self, piece: &Piece) -> io::Result<Vec<u8>> {
        fs::read(self.published().join(&piece.name))
    }

    pub(super) fn keep_piece(&self, piece: &Piece, bytes: &[u8]) -> io::Result<()> {
        replace(&self.published().join(&piece.name), bytes)
    }

    /// Keeps a manifest whose pieces are all there; others go.
    pub(super) fn keep_manifest(&self, manifest: &Published) -> io::Result<()> {
        let text = serde_json::to_vec(manifest)?;
        replace(&self.published().join(PUBLISHED_FILE), &text)?;
        for entry in fs::read_dir(self.published())? {
            let entry = entry?;
            let name = entry.file_name();
            let is_named = manifest.pieces.iter().any(|piece| name == *piece.name);
            if !is_named && name != PUBLISHED_FILE {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// The last word of the load generator on itself.
    pub(super) fn progress(&self) -> Option<Vec<u8>> {
        fs::read(self.directory.join(PROGRESS)).ok()
    }

    pub(super) fn keep_progress(&self, text: &[u8]) -> io::Result<()> {
        replace(&self.directory.join(PROGRESS), text)
    }

    /// What an earlier load generator has said of itself is not of the next one.
    pub(super) fn forget_progress(&self) -> io::Result<()> {
        match fs::remove_file(self.directory.join(PROGRESS)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub(super) fn log(&self) -> String {
        let bytes = fs::read(self.directory.join(LOG)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(super) fn keep_log(&self, log: &str) -> io::Result<()> {
        replace(&self.directory.join(LOG), log.as_bytes())
    }

    /// Puts the kept pieces together as the database; their sum has to be right.
    pub(super) fn unpack(&self, manifest: &Published, to: &Path) -> io::Result<()> {
        if let Some(directory) = to.parent() {
            fs::create_dir_all(directory)?;
        }
        let packed = to.with_extension("db.gz");
        let mut sum = Sha256::new();
        let mut file = BufWriter::new(File::create(&packed)?);
        for piece in &manifest.pieces {
            let bytes = self.piece(piece)?;
            sum.update(&bytes);
            file.write_all(&bytes)?;
        }
        file.flush()?;
        if hexadecimal(&sum.finalize()) != manifest.sha256 {
            return Err(io::Error::other("the pieces together have another checksum"));
        }
        unpack_database(&packed, to)
    }
}

pub(super) fn is_piece(piece: &Piece, bytes: &[u8]) -> bool {
    bytes.len() as u64 == piece.bytes && hexadecimal(&Sha256::digest(bytes)) == piece.sha256
}

/// The file, packed, with the same bytes each time.
pub(super) fn gzip(file: &Path) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut bytes = BufReader::new(File::open(file)?);
    io::copy(&mut bytes.by_ref(), &mut encoder)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(name: &str, bytes: &[u8]) -> Piece {
        Piece {
            name: name.to_owned(),
            sha256: hexadecimal(&Sha256::digest(bytes)),
            bytes: bytes.len() as u64,
        }
    }

    #[test]
    fn a_database_is_made_of_kept_pieces() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let database = directory.path().join("in");
        fs::write(&database, vec![7_u8; 300_000])?;
        let packed = gzip(&database)?;
        let (first, second) = packed.split_at(100);
        let pieces = vec![piece("published-1.gz", first), piece("published-2.gz", second)];
        let manifest = Published::new(hexadecimal(&Sha256::digest(&packed)), pieces.clone(), true);
        let home = Home::new(directory.path(), "r-1");
        home.keep_piece(&pieces[0], first)?;
        home.keep_piece(&piece("published-0.gz", b"old"), b"old")?;
        home.keep_piece(&pieces[1], b"damaged")?;
        home.keep_manifest(&manifest)?;
        assert_eq!(home.manifest(), None, "a piece is damaged");
        assert!(home.has(&pieces[0]) && !home.has(&pieces[1]));
        home.keep_piece(&pieces[1], second)?;
        assert_eq!(home.manifest().as_ref(), Some(&manifest));
        assert!(
            home.piece(&piece("published-0.gz", b"old")).is_err(),
            "it is of no use"
        );
        let to = directory.path().join("run_r-1.db");
        home.unpack(&manifest, &to)?;
        assert_eq!(fs::read(&to)?, fs::read(&database)?);
        let wrong = Published::new("00".repeat(32), pieces, true);
        assert!(home.unpack(&wrong, &to).is_err(), "the sum of all is proven too");
        Ok(())
    }
}
