//! What was published, made a database again.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    vec,
};

use flate2::read::MultiGzDecoder;
use gipfel_model::{
    Published,
    provenance::hexadecimal,
    published::{PUBLISHED_FILE, Piece, PublishedError},
};
use sha2::{Digest, Sha256};

/// What every SQLite database begins with.
const MAGIC: &[u8] = b"SQLite format 3\0";
const BUFFER: usize = 128 << 10;

/// Why a publication is not taken for a database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The manifest cannot be read.
    #[error("cannot read `{}`", path.display())]
    ManifestFile {
        /// The manifest.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// The manifest is damaged, or of another version.
    #[error("`{}` cannot be used", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: PublishedError,
    },
    /// A piece cannot be read.
    #[error("cannot read the published piece `{name}`")]
    Read {
        /// The piece.
        name: String,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// A piece is shorter than its manifest says.
    #[error("the published piece `{name}` is too short: fetch it again")]
    Short {
        /// The piece.
        name: String,
    },
    /// A piece is not what its manifest says.
    #[error(
        "the published piece `{name}` is damaged: its SHA-256 is {found}, not {expected}; fetch it again"
    )]
    Damaged {
        /// The piece.
        name: String,
        /// What is there.
        found: String,
        /// What the manifest says.
        expected: String,
    },
    /// The pieces are well, but not together.
    #[error("the published pieces are not those of one database: their SHA-256 is {found}, not {expected}")]
    OtherWhole {
        /// What is there.
        found: String,
        /// What the manifest says.
        expected: String,
    },
    /// There is more than the manifest says.
    #[error("there is more than the published pieces")]
    Long,
    /// The pieces are as they were published, but no packed database.
    #[error("the published pieces hold no database")]
    NoDatabase,
    /// The pieces cannot be unpacked.
    #[error("the published pieces cannot be unpacked")]
    Packing(#[source] io::Error),
    /// The database cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The database.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
}

/// Makes the database at `to` of what was published: `pieces` are the bytes of all of them, in the manifest's order.
///
/// The database appears under its name only when every piece is proven whole; one that is there is replaced.
///
/// # Errors
/// Something is missing, damaged or too much, or the database cannot be written. Nothing is changed at `to` then.
pub fn unpack(manifest: &Published, pieces: impl Read, to: &Path) -> Result<(), UnpackError> {
    let cannot_write = |source| UnpackError::Write {
        path: to.to_owned(),
        source,
    };
    if manifest.pieces.is_empty() {
        return Err(UnpackError::NoDatabase);
    }
    let folder = match to.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut fresh = tempfile::NamedTempFile::new_in(folder).map_err(cannot_write)?;
    let mut checked = Checked::new(manifest, pieces);
    let unpacked = copy(&mut MultiGzDecoder::new(&mut checked), fresh.as_file_mut());
    // Whatever the packing says, a damaged piece is named.
    checked.finish()?;
    match unpacked {
        Ok(()) => {}
        Err(CopyError::Read(source)) => return Err(UnpackError::Packing(source)),
        Err(CopyError::NoDatabase) => return Err(UnpackError::NoDatabase),
        Err(CopyError::Write(source)) => return Err(cannot_write(source)),
    }
    fresh.as_file().sync_all().map_err(cannot_write)?;
    // The log of a database that was here would be taken for the new one's.
    for suffix in ["-wal", "-shm"] {
        let mut name = to.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(PathBuf::from(name)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(cannot_write(error)),
        }
    }
    fresh.persist(to).map_err(|error| cannot_write(error.error))?;
    Ok(())
}

/// What a run's directory says that is published; nothing if it says nothing.
///
/// # Errors
/// The manifest cannot be read, is damaged or of another version.
pub fn find(directory: &Path) -> Result<Option<Published>, UnpackError> {
    let path = directory.join(PUBLISHED_FILE);
    match std::fs::read(&path) {
        Ok(text) => match Published::parse(&text) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(source) => Err(UnpackError::Manifest { path, source }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(UnpackError::ManifestFile { path, source }),
    }
}

/// Makes the database at `to` of the pieces that lie in `directory`.
///
/// # Errors
/// As those of [`unpack`].
pub fn unpack_from(directory: &Path, manifest: &Published, to: &Path) -> Result<(), UnpackError> {
    let pieces = Files {
        directory,
        coming: manifest.pieces.clone().into_iter(),
        file: None,
    };
    unpack(manifest, pieces, to)
}

/// The pieces of a directory, one after the other.
struct Files<'a> {
    directory: &'a Path,
    coming: vec::IntoIter<Piece>,
    file: Option<File>,
}

impl Read for Files<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(file) = &mut self.file {
                let count = file.read(buffer)?;
                if count > 0 {
                    return Ok(count);
                }
            }
            let Some(piece) = self.coming.next() else {
                return Ok(0);
            };
            self.file = Some(File::open(self.directory.join(piece.name))?);
        }
    }
}

enum CopyError {
    Read(io::Error),
    NoDatabase,
    Write(io::Error),
}

fn copy(from: &mut impl Read, to: &mut File) -> Result<(), CopyError> {
    let mut head = Vec::with_capacity(MAGIC.len());
    from.by_ref()
        .take(MAGIC.len() as u64)
        .read_to_end(&mut head)
        .map_err(CopyError::Read)?;
    if head != MAGIC {
        return Err(CopyError::NoDatabase);
    }
    to.write_all(&head).map_err(CopyError::Write)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CopyError::Read(error)),
        };
        to.write_all(&buffer[..count]).map_err(CopyError::Write)?;
    }
}

/// Passes on what comes and compares it with the manifest.
struct Checked<'a, R> {
    manifest: &'a Published,
    from: R,
    /// The piece that is being read, and how much of it has come.
    piece: usize,
    come: u64,
    of_piece: Sha256,
    of_all: Sha256,
    fault: Option<UnpackError>,
}

impl<'a, R: Read> Checked<'a, R> {
    fn new(manifest: &'a Published, from: R) -> Self {
        Self {
            manifest,
            from,
            piece: 0,
            come: 0,
            of_piece: Sha256::new(),
            of_all: Sha256::new(),
            fault: None,
        }
    }

    /// Reads what is left and says what was wrong with any of it.
    fn finish(mut self) -> Result<(), UnpackError> {
        let mut rest = vec![0; BUFFER];
        while self.fault.is_none() {
            match self.step(&mut rest) {
                Ok(0) => break,
                Ok(_) => {}
                Err(fault) => self.fault = Some(fault),
            }
        }
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if read(&mut self.from, &mut [0]).is_ok_and(|count| count > 0) {
            return Err(UnpackError::Long);
        }
        let found = hexadecimal(&self.of_all.finalize());
        let expected = self.manifest.sha256.clone();
        if found == expected {
            Ok(())
        } else {
            Err(UnpackError::OtherWhole { found, expected })
        }
    }

    /// Reads of the piece whose turn it is; nothing is left after the last one.
    fn step(&mut self, buffer: &mut [u8]) -> Result<usize, UnpackError> {
        let manifest = self.manifest;
        let Some(piece) = manifest.pieces.get(self.piece) else {
            return Ok(0);
        };
        let left = usize::try_from(piece.bytes - self.come).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        let count = read(&mut self.from, &mut buffer[..wanted]).map_err(|source| UnpackError::Read {
            name: piece.name.clone(),
            source,
        })?;
        if count == 0 && left > 0 {
            return Err(UnpackError::Short {
                name: piece.name.clone(),
            });
        }
        self.of_piece.update(&buffer[..count]);
        self.of_all.update(&buffer[..count]);
        self.come += count as u64;
        if self.come == piece.bytes {
            self.end_piece(&piece.name, &piece.sha256)?;
        }
        Ok(count)
    }

    fn end_piece(&mut self, name: &str, expected: &str) -> Result<(), UnpackError> {
        let found = hexadecimal(&self.of_piece.finalize_reset());
        self.piece += 1;
        self.come = 0;
        if found == expected {
            return Ok(());
        }
        Err(UnpackError::Damaged {
            name: name.to_owned(),
            found,
            expected: expected.to_owned(),
        })
    }
}

impl<R: Read> Read for Checked<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        match self.step(buffer) {
            Ok(count) => Ok(count),
            Err(fault) => {
                let words = io::Error::other(fault.to_string());
                self.fault = Some(fault);
                Err(words)
            }
        }
    }
}

fn read(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
