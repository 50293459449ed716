//! Load generators as files: those that this executable carries for clusters, and those that a user names.

use std::{
    io::{self, Read},
    str::FromStr,
};

use flate2::read::GzDecoder;
use gipfel_model::{
    BundleManifest, FormatError,
    bundle::{BUNDLE_FORMAT, BUNDLE_MANIFEST, BUNDLED_PROGRAM},
    provenance::hexadecimal,
};
use sha2::{Digest, Sha256};

// `EMBEDDED`: the bundles that the build was given in `GIPFEL_BUNDLES`, packed as they are uploaded.
include!(concat!(env!("OUT_DIR"), "/bundles.rs"));

/// The first bytes of a gzip file.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A kind of node that there are bundles for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Grace, as on Alps.
    Aarch64,
    /// Everything else.
    X86_64,
}

impl Architecture {
    /// As `uname -m` says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64",
            Self::X86_64 => "x86_64",
        }
    }

    /// The target of its bundle.
    pub fn target(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64-unknown-linux-musl",
            Self::X86_64 => "x86_64-unknown-linux-musl",
        }
    }
}

impl FromStr for Architecture {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "aarch64" | "arm64" | "aarch64-unknown-linux-musl" => Ok(Self::Aarch64),
            "x86_64" | "amd64" | "x86_64-unknown-linux-musl" => Ok(Self::X86_64),
            _ => Err("expected `aarch64` or `x86_64`".to_owned()),
        }
    }
}

/// A load generator with what its manifest says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// What it is.
    pub manifest: BundleManifest,
    /// The program.
    pub program: Vec<u8>,
}

/// Why a bundle is refused.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It cannot be unpacked.
    #[error("it is no packed load generator")]
    Damaged(#[source] io::Error),
    /// It lacks one of its files.
    #[error("it holds no `{0}`")]
    Missing(&'static str),
    /// Its manifest cannot be read.
    #[error("its `{BUNDLE_MANIFEST}` is damaged")]
    Manifest(#[source] serde_json::Error),
    /// Its manifest is of another version.
    #[error("its `{BUNDLE_MANIFEST}` cannot be used")]
    Version(#[source] FormatError),
    /// The program is not the one that the manifest names.
    #[error("its program has the SHA-256 {found}, its manifest says {expected}")]
    OtherProgram {
        /// What is there.
        found: String,
        /// What the manifest says.
        expected: String,
    },
}

/// Whether these bytes are packed.
pub(crate) fn is_packed(bytes: &[u8]) -> bool {
    bytes.starts_with(&GZIP)
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// The bundles that this executable carries, packed; none in a build that was given none.
pub fn embedded() -> impl Iterator<Item = Result<Bundle, BundleError>> {
    EMBEDDED.iter().map(|packed| Bundle::unpack(packed))
}

impl Bundle {
    /// Reads a packed bundle and checks that its program is the one that its manifest names.
    pub fn unpack(packed: &[u8]) -> Result<Self, BundleError> {
        let mut program = None;
        let mut manifest = None;
        let mut archive = tar::Archive::new(GzDecoder::new(packed));
        for entry in archive.entries().map_err(BundleError::Damaged)? {
            let mut entry = entry.map_err(BundleError::Damaged)?;
            let path = entry.path().map_err(BundleError::Damaged)?.into_owned();
            let place = match path.to_str() {
                Some(BUNDLED_PROGRAM) => &mut program,
                Some(BUNDLE_MANIFEST) => &mut manifest,
                _ => continue,
            };
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(BundleError::Damaged)?;
            *place = Some(bytes);
        }
        let program = program.ok_or(BundleError::Missing(BUNDLED_PROGRAM))?;
        let manifest = manifest.ok_or(BundleError::Missing(BUNDLE_MANIFEST))?;
        let manifest: BundleManifest = serde_json::from_slice(&manifest).map_err(BundleError::Manifest)?;
        BUNDLE_FORMAT
            .check(&manifest.header)
            .map_err(BundleError::Version)?;
        let found = sha256(&program);
        if found != manifest.sha256 {
            return Err(BundleError::OtherProgram {
                found,
                expected: manifest.sha256,
            });
        }
        Ok(Self { manifest, program })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use flate2::{Compression, write::GzEncoder};

    use super::*;

    /// A bundle with a program of the caller's.
    pub(crate) fn packed(program: &[u8], change: impl FnOnce(&mut BundleManifest)) -> Vec<u8> {
        let mut manifest = BundleManifest {
            header: BUNDLE_FORMAT.header(),
            name: BUNDLED_PROGRAM.to_owned(),
            version: "0.1.0".to_owned(),
            commit: None,
            modified: false,
            target: Architecture::X86_64.target().to_owned(),
            sha256: sha256(program),
            bytes: program.len() as u64,
        };
        change(&mut manifest);
        let text = serde_json::to_vec(&manifest).expect("a manifest");
        archive(&[(BUNDLED_PROGRAM, program), (BUNDLE_MANIFEST, &text)])
    }

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, bytes) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, name, *bytes).expect("packed");
        }
        archive.into_inner().and_then(GzEncoder::finish).expect("packed")
    }

    #[test]
    fn a_bundle_is_what_its_manifest_says() {
        let bundle = Bundle::unpack(&packed(b"program", |_| ())).expect("a bundle");
        assert_eq!(bundle.program, b"program");
        let check = |packed: &[u8], expected: &str| {
            let error = Bundle::unpack(packed).expect_err("refused");
            let error = anyhow::Error::from(error);
            assert!(format!("{error:#}").starts_with(expected), "{error:#}");
        };
        let other = packed(b"program", |manifest| manifest.sha256 = "00".to_owned());
        check(&other, "its program has the SHA-256 ");
        let newer = packed(b"program", |manifest| manifest.header.minor = 99);
        check(
            &newer,
            "its `manifest.json` cannot be used: the file has gipfel-bundle version 1.99",
        );
        check(b"\x1f\x8bnothing", "it is no packed load generator");
        check(
            &archive(&[(BUNDLED_PROGRAM, b"x")]),
            "it holds no `manifest.json`",
        );
        check(&archive(&[]), "it holds no `gipfel-loadgen`");
    }

    #[test]
    fn what_is_embedded_can_be_used() {
        for bundle in embedded() {
            assert!(bundle.is_ok(), "{bundle:?}");
        }
    }
}
