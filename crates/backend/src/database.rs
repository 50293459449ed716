//! Databases that come home packed.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Write},
    path::Path,
};

use flate2::bufread::MultiGzDecoder;

/// Unpacks a database from a gzip file of any number of members, whose checksum is known to be right. It is put in its place
/// when it is whole, and the packed file goes.
pub fn unpack_database(packed: &Path, to: &Path) -> io::Result<()> {
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
