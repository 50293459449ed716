//! The load generator, packed on its way out.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use flate2::{Compression, write::GzEncoder};
use tempfile::NamedTempFile;

/// The file, packed, with the same bytes each time.
pub(super) fn gzip(file: &Path) -> io::Result<NamedTempFile> {
    let packed = NamedTempFile::new()?;
    let mut encoder = GzEncoder::new(BufWriter::new(packed.as_file()), Compression::best());
    io::copy(&mut File::open(file)?, &mut encoder)?;
    encoder.finish()?.flush()?;
    Ok(packed)
}
