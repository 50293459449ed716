//! Gzip files: the database out of what came home, and the load generator on its way out.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Write},
    path::Path,
};

use flate2::{Compression, bufread::MultiGzDecoder, write::GzEncoder};
use tempfile::NamedTempFile;

/// Unpacks a gzip file of any number of members, whose checksum is known to be right, and puts the result in its place when it is whole.
pub(super) fn gunzip(packed: &Path, to: &Path) -> io::Result<()> {
    let temporary = to.with_extension("db.new");
    let mut from = MultiGzDecoder::new(BufReader::new(File::open(packed)?));
    let mut file = BufWriter::new(File::create(&temporary)?);
    io::copy(&mut from, &mut file)?;
    file.flush()?;
    file.get_ref().sync_all()?;
    // What an earlier fetch has left beside it belongs to another database.
    for suffix in ["db-wal", "db-shm"] {
        match fs::remove_file(to.with_extension(suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(&temporary, to)?;
    fs::remove_file(packed)
}

/// The file, packed, with the same bytes each time.
pub(super) fn gzip(file: &Path) -> io::Result<NamedTempFile> {
    let packed = NamedTempFile::new()?;
    let mut encoder = GzEncoder::new(BufWriter::new(packed.as_file()), Compression::best());
    io::copy(&mut File::open(file)?, &mut encoder)?;
    encoder.finish()?.flush()?;
    Ok(packed)
}
