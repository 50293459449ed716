//! Publishing: the database of a run that goes on, in pieces that another machine can take.
//!
//! The writer appends to the write-ahead log and never touches the file itself; only the publisher brings the log into
//! the file, so between two of its checkpoints the file stands still and is a whole database. It is read in chunks that
//! are packed one by one. A run's rows are added at the end of the file, so a chunk that is full of them stays as it is
//! and is neither packed nor sent again; what changes each time is the small first chunk, the last one, and the few in
//! which the upper pages lie of the trees that grow.
//!
//! The log is never locked for long: a checkpoint that does not wait (`PASSIVE`) holds up neither writers nor readers.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use gipfel_model::{
    Published,
    provenance::hexadecimal,
    published::{MAX_PIECE_BYTES, PUBLISHED_FILE, Piece},
};
use sha2::{Digest, Sha256};
use sqlx::{Connection, SqliteConnection};

use crate::{
    error::DbError,
    open::{self, Access, ResultsDb},
};

/// The first pages: the header and the roots of all tables, which change with every growth of the file.
const FIRST_CHUNK: u64 = 64 << 10;
/// The others. Packed they are one piece each, unless their content is unusual.
const CHUNK: u64 = 6 << 20;
/// Fast rather than small: what is open is packed again and again.
const LEVEL: u32 = 3;
const PREFIX: &str = "published-";
const SUFFIX: &str = ".gz";
/// The end of a name while the file is written.
const TEMPORARY: &str = ".new";

type Sum = [u8; 32];

/// What a publication was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Publication {
    /// The pieces of the whole database.
    pub pieces: usize,
    /// Their length together.
    pub bytes: u64,
    /// How much of it was not there yet; 0 when nothing has changed.
    pub sent_bytes: u64,
}

/// Publishes a database that somebody else writes.
///
/// Everything here blocks: use it on a thread of its own.
#[derive(Debug)]
pub struct Publisher {
    connection: SqliteConnection,
    database: PathBuf,
    /// Opened once, and closed after the connection: as soon as a process closes any descriptor of a file, its locks on
    /// that file, SQLite's among them, are gone.
    file: File,
    /// Where packed pieces are kept, so that the sum of all can be taken.
    packed: PathBuf,
    directory: PathBuf,
    /// The pieces of the chunks of the last publication.
    chunks: HashMap<Sum, Vec<Piece>>,
    /// The pieces that are known to be in the directory.
    present: BTreeSet<String>,
    /// All of ours that may be there, also what earlier processes and failed attempts have left.
    ours: BTreeSet<String>,
    last: Option<Published>,
}

impl ResultsDb {
    /// Leaves it to a publisher to bring the write-ahead log into the file. Every connection that writes a database
    /// which is published must do this first.
    pub async fn leave_log_to_publisher(&self) -> Result<(), DbError> {
        let mut connection = self.connection().await;
        sqlx::query("PRAGMA wal_autocheckpoint = 0")
            .execute(&mut *connection)
            .await
            .map_err(|source| self.fault("prepare the publication", source))?;
        Ok(())
    }
}

impl Publisher {
    /// Publishes the database at `database`, whose writers leave the log to it, into `directory`; `packed` is a directory
    /// of its own beside the database, which is emptied.
    pub async fn open(database: &Path, packed: &Path, directory: &Path) -> Result<Self, DbError> {
        let mut connection = open::connect(database, Access::Write).await?;
        let failed = |source| DbError::statement(database, "prepare the publication", source);
        sqlx::query("PRAGMA wal_autocheckpoint = 0")
            .execute(&mut connection)
            .await
            .map_err(failed)?;
        let file = File::open(database).map_err(|error| DbError::file(database, "open", error))?;
        empty(packed).map_err(|error| DbError::file(packed, "empty", error))?;
        let manifest = directory.join(PUBLISHED_FILE);
        // One that cannot be used is replaced: whoever goes on with a run has refused it before.
        let last = match fs::read(&manifest) {
            Ok(text) => Published::parse(&text).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(DbError::file(&manifest, "read", error)),
        };
        let ours = pieces_in(directory).map_err(|error| DbError::file(directory, "list", error))?;
        Ok(Self {
            connection,
            database: database.to_owned(),
            file,
            packed: packed.to_owned(),
            directory: directory.to_owned(),
            chunks: HashMap::new(),
            present: BTreeSet::new(),
            ours,
            last,
        })
    }

    /// Publishes what is committed. After a failure the publication before is as whole as it was, and another attempt
    /// may be made; `complete` says that it is the last one.
    ///
    /// # Errors
    /// The disk is full, the directory is not there or cannot be written, or a last publication cannot have everything.
    pub async fn publish(&mut self, complete: bool) -> Result<Publication, DbError> {
        self.checkpoint(complete).await?;
        let pieces = self.pack()?;
        let sum = self.sum(&pieces)?;
        let manifest = Published::new(sum, pieces, complete);
        let mut done = Publication {
            pieces: manifest.pieces.len(),
            bytes: manifest.bytes,
            sent_bytes: 0,
        };
        if self.last.as_ref() == Some(&manifest) {
            return Ok(done);
        }
        self.sweep(&manifest);
        done.sent_bytes = self.send(&manifest)?;
        self.replace_manifest(&manifest)?;
        self.last = Some(manifest);
        Ok(done)
    }

    /// What is published now.
    pub fn last(&self) -> Option<&Published> {
        self.last.as_ref()
    }

    /// Closes the connection; the database stays as it is.
    pub async fn close(self) -> Result<(), DbError> {
        let closed = self.connection.close().await;
        drop(self.file);
        // What is left of it is emptied by whoever comes next.
        let _ = fs::remove_dir_all(&self.packed);
        closed.map_err(|source| DbError::statement(&self.database, "close the database", source))
    }

    /// Brings what is committed into the file.
    async fn checkpoint(&mut self, complete: bool) -> Result<(), DbError> {
        let (busy, log, brought): (i64, i64, i64) = sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)")
            .fetch_one(&mut self.connection)
            .await
            .map_err(|source| DbError::statement(&self.database, "read the write-ahead log", source))?;
        let path = || self.database.clone();
        if log < 0 {
            return Err(DbError::NoLog { path: path() });
        }
        // Otherwise the file is as of an earlier commit, which is as good until the last publication.
        if complete && (busy != 0 || log != brought) {
            return Err(DbError::InUse { path: path() });
        }
        Ok(())
    }

    /// Packs the chunks that have changed.
    fn pack(&mut self) -> Result<Vec<Piece>, DbError> {
        let cannot_read = |error| DbError::file(&self.database, "read", error);
        let length = self.file.metadata().map_err(cannot_read)?.len();
        let (mut known, mut all) = (HashMap::new(), Vec::new());
        let mut buffer = Vec::new();
        let mut offset = 0;
        while offset < length {
            let size = if offset == 0 { FIRST_CHUNK } else { CHUNK };
            buffer.resize(size.min(length - offset) as usize, 0);
            self.file
                .read_exact_at(&mut buffer, offset)
                .map_err(cannot_read)?;
            offset += buffer.len() as u64;
            let sum: Sum = Sha256::digest(&buffer).into();
            let pieces = match self.chunks.get(&sum) {
                Some(pieces) => pieces.clone(),
                None => self.pack_chunk(&buffer)?,
            };
            all.extend_from_slice(&pieces);
            known.insert(sum, pieces);
        }
        let needed: BTreeSet<&String> = all.iter().map(|piece| &piece.name).collect();
        for piece in std::mem::replace(&mut self.chunks, known).into_values().flatten() {
            if !needed.contains(&piece.name) {
                // One that stays takes up room until the end, and no more.
                let _ = fs::remove_file(self.packed.join(&piece.name));
            }
        }
        Ok(all)
    }

    /// A chunk as one member of the gzip file, cut into pieces.
    fn pack_chunk(&self, chunk: &[u8]) -> Result<Vec<Piece>, DbError> {
        let mut packer = GzEncoder::new(Vec::with_capacity(chunk.len() / 2), Compression::new(LEVEL));
        let packed = packer.write_all(chunk).and_then(|()| packer.finish());
        let packed = packed.map_err(|error| DbError::file(&self.database, "pack", error))?;
        let mut pieces = Vec::new();
        for bytes in packed.chunks(MAX_PIECE_BYTES as usize) {
            let sha256 = hexadecimal(&Sha256::digest(bytes));
            let name = format!("{PREFIX}{}{SUFFIX}", &sha256[..32]);
            let path = self.packed.join(&name);
            fs::write(&path, bytes).map_err(|error| DbError::file(&path, "write", error))?;
            pieces.push(Piece {
                name,
                sha256,
                bytes: bytes.len() as u64,
            });
        }
        Ok(pieces)
    }

    /// The sum of all pieces in their order.
    fn sum(&self, pieces: &[Piece]) -> Result<String, DbError> {
        let mut sum = Sha256::new();
        for piece in pieces {
            sum.update(self.packed_piece(piece)?);
        }
        Ok(hexadecimal(&sum.finalize()))
    }

    fn packed_piece(&self, piece: &Piece) -> Result<Vec<u8>, DbError> {
        let path = self.packed.join(&piece.name);
        fs::read(&path).map_err(|error| DbError::file(&path, "read", error))
    }

    /// Brings the pieces into the directory that are not there; how many bytes those have.
    fn send(&mut self, manifest: &Published) -> Result<u64, DbError> {
        let mut sent = 0;
        for piece in &manifest.pieces {
            let target = self.directory.join(&piece.name);
            let is_there = self.present.contains(&piece.name)
                || fs::metadata(&target).is_ok_and(|there| there.len() == piece.bytes);
            if !is_there {
                let bytes = self.packed_piece(piece)?;
                self.ours.insert(piece.name.clone());
                replace(&target, &bytes).map_err(|error| DbError::file(&target, "write", error))?;
                sent += piece.bytes;
            }
            self.present.insert(piece.name.clone());
        }
        // The manifest may not reach the disk before what it names.
        sync_directory(&self.directory)?;
        Ok(sent)
    }

    fn replace_manifest(&self, manifest: &Published) -> Result<(), DbError> {
        let path = self.directory.join(PUBLISHED_FILE);
        let mut text = serde_json::to_vec_pretty(manifest)
            .map_err(|error| DbError::file(&path, "write", io::Error::other(error)))?;
        text.push(b'\n');
        replace(&path, &text).map_err(|error| DbError::file(&path, "write", error))?;
        sync_directory(&self.directory)
    }

    /// Removes what neither the last publication nor the next one names; what the last one has replaced could be fetched
    /// until now.
    fn sweep(&mut self, next: &Published) {
        let mut needed = names(next);
        needed.extend(self.last.iter().flat_map(names));
        self.present.retain(|name| needed.contains(name));
        // One that does not go is tried again next time.
        let directory = &self.directory;
        self.ours
            .retain(|name| needed.contains(name) || !is_gone(&directory.join(name)));
    }
}

fn names(manifest: &Published) -> BTreeSet<String> {
    manifest.pieces.iter().map(|piece| piece.name.clone()).collect()
}

/// Removes a file; whether it is not there any more.
fn is_gone(path: &Path) -> bool {
    match fs::remove_file(path) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Makes an empty directory that nobody else can look into.
fn empty(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

/// What earlier processes have left of pieces, whole or not.
fn pieces_in(directory: &Path) -> io::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory)? {
        let Ok(name) = entry?.file_name().into_string() else {
            continue;
        };
        let whole = name.strip_suffix(TEMPORARY).unwrap_or(&name);
        if whole.starts_with(PREFIX) && whole.ends_with(SUFFIX) {
            found.insert(name);
        }
    }
    Ok(found)
}

/// Replaces a file by rename, once all of it is on the disk.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(TEMPORARY);
    let fresh = PathBuf::from(fresh);
    let written = write_synced(&fresh, bytes).and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        // On a full disk what is half written would be in the way.
        let _ = fs::remove_file(&fresh);
    }
    written
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_directory(directory: &Path) -> Result<(), DbError> {
    let synced = File::open(directory).and_then(|file| file.sync_all());
    match synced {
        // Some file systems know no such thing.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        outcome => outcome.map_err(|error| DbError::file(directory, "write into", error)),
    }
}
