//! The packed file: the same bytes from the same contents, whenever and by whomever it is made.

use std::{fs, io::Write, num::NonZeroU64, path::Path};

use anyhow::{Context, ensure};
use flate2::{Compression, GzBuilder};
use gipfel_model::{
    BundleManifest,
    bundle::{BUNDLE_FORMAT, BUNDLE_MANIFEST, BUNDLED_PROGRAM},
};
use sha2::{Digest, Sha256};

use super::program;

/// The notices' file in the bundle.
const NOTICES: &str = "LICENSES.txt";

/// SHA-256 in hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    gipfel_model::provenance::hexadecimal(&Sha256::digest(bytes))
}

/// What the program is.
pub(crate) fn manifest(built: &Path, target: &str) -> anyhow::Result<BundleManifest> {
    let bytes = fs::read(built).with_context(|| format!("failed to read {}", built.display()))?;
    Ok(BundleManifest {
        header: BUNDLE_FORMAT.header(),
        name: BUNDLED_PROGRAM.to_owned(),
        version: program::version()?,
        commit: program::commit(),
        modified: program::is_modified(),
        target: target.to_owned(),
        sha256: sha256_hex(&bytes),
        bytes: bytes.len() as u64,
    })
}

/// Packs the program with its manifest and notices, writes the archive and its checksum, and returns the archive's length,
/// which is at most `limit`.
pub(crate) fn pack(
    archive: &Path,
    built: &Path,
    manifest: &BundleManifest,
    notices: &str,
    limit: Option<u64>,
) -> anyhow::Result<u64> {
    let program = fs::read(built).with_context(|| format!("failed to read {}", built.display()))?;
    let mut text = serde_json::to_string_pretty(manifest).context("failed to write the manifest")?;
    text.push('\n');
    let packed = gzip_tar(
        &[
            (NOTICES, 0o644, notices.as_bytes()),
            (BUNDLED_PROGRAM, 0o755, &program),
            (BUNDLE_MANIFEST, 0o644, text.as_bytes()),
        ],
        Effort::Smallest,
    )?;
    let length = packed.len() as u64;
    // What an earlier build left is not what a release is to carry.
    if archive.exists() {
        fs::remove_file(archive).with_context(|| format!("failed to remove {}", archive.display()))?;
    }
    if let Some(limit) = limit {
        ensure!(
            length <= limit,
            "the bundle for {} has {length} bytes, {limit} are allowed: direct uploads to a cluster end near there",
            manifest.target
        );
    }
    fs::write(archive, &packed).with_context(|| format!("failed to write {}", archive.display()))?;
    let name = archive.file_name().unwrap_or_default().to_string_lossy();
    let sum = archive.with_file_name(format!("{name}.sha256"));
    fs::write(&sum, format!("{}  {name}\n", sha256_hex(&packed)))
        .with_context(|| format!("failed to write {}", sum.display()))?;
    Ok(length)
}

/// A gzip-packed tar archive of files, sorted, without times, owners or the packer's name.
pub(crate) fn gzip_tar(files: &[(&str, u32, &[u8])], effort: Effort) -> anyhow::Result<Vec<u8>> {
    let mut files = files.to_vec();
    files.sort_by_key(|(name, ..)| *name);
    let mut archive = tar::Builder::new(Vec::new());
    for (name, mode, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        archive
            .append_data(&mut header, name, bytes)
            .with_context(|| format!("failed to pack {name}"))?;
    }
    let archive = archive.into_inner().context("failed to end the archive")?;
    match effort {
        Effort::Ordinary => {
            let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
            encoder.write_all(&archive).context("failed to pack")?;
            encoder.finish().context("failed to pack")
        }
        Effort::Smallest => {
            let mut packed = Vec::new();
            zopfli::compress(packing(), zopfli::Format::Gzip, archive.as_slice(), &mut packed)
                .context("failed to pack")?;
            Ok(packed)
        }
    }
}

/// How long packing may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Seconds.
    Ordinary,
    /// A minute, for some per cent less.
    Smallest,
}

/// More than a few iterations take long and gain next to nothing.
fn packing() -> zopfli::Options {
    zopfli::Options {
        iteration_count: NonZeroU64::MIN.saturating_add(4),
        ..zopfli::Options::default()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_same_contents_make_the_same_archive() {
        let files: [(&str, u32, &[u8]); 2] = [("b", 0o755, b"two"), ("a", 0o644, b"one")];
        let mut turned = files;
        turned.reverse();
        for effort in [Effort::Ordinary, Effort::Smallest] {
            let packed = gzip_tar(&files, effort).expect("an archive");
            assert_eq!(packed, gzip_tar(&turned, effort).expect("an archive"));
            check(&packed);
        }
    }

    fn check(packed: &[u8]) {
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
        let mut found = Vec::new();
        for entry in archive.entries().expect("entries") {
            let mut entry = entry.expect("an entry");
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("a text");
            let header = entry.header();
            let name = entry.path().expect("a path").display().to_string();
            found.push((
                name,
                header.mode().ok(),
                header.mtime().ok(),
                header.uid().ok(),
                text,
            ));
        }
        let expect =
            |name: &str, mode, text: &str| (name.to_owned(), Some(mode), Some(0), Some(0), text.to_owned());
        assert_eq!(found, [expect("a", 0o644, "one"), expect("b", 0o755, "two")]);
    }
}
