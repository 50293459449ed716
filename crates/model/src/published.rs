//! `published.json`: what of a run's database lies in the run's directory, for whoever takes it home or goes on with it.

use serde::{Deserialize, Serialize};

use crate::format::{Format, FormatError, FormatHeader};

/// The format of `published.json`.
pub const PUBLISHED_FORMAT: Format = Format {
    name: "gipfel-published",
    major: 1,
    minor: 0,
};

/// The manifest's file, in the run's directory.
pub const PUBLISHED_FILE: &str = "published.json";

/// No piece is longer: each can be fetched by one direct download.
pub const MAX_PIECE_BYTES: u64 = 3_500_000;

/// One file of a publication. Its content never changes: what is different has another name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Piece {
    /// The file, beside the manifest.
    pub name: String,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// The file's length in bytes.
    pub bytes: u64,
}

/// `published.json`. The pieces in their order are one gzip file of the whole database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// The format and its version.
    pub header: FormatHeader,
    /// SHA-256 of all pieces in their order, in hexadecimal.
    pub sha256: String,
    /// The length of all pieces together.
    pub bytes: u64,
    /// The pieces.
    pub pieces: Vec<Piece>,
    /// The load generator has ended, and this is the last that it has published.
    pub complete: bool,
}

/// Why a manifest is refused.
#[derive(Debug, thiserror::Error)]
pub enum PublishedError {
    /// It is no JSON, or not of the documented form.
    #[error("it is not of the documented form")]
    Form(#[source] serde_json::Error),
    /// It is of another version.
    #[error("it cannot be used")]
    Version(#[source] FormatError),
    /// A piece has a name that none of ours has.
    #[error("it names a piece `{}`, which is no plain file name", .0.escape_debug())]
    PieceName(String),
    /// A piece is longer than any of ours.
    #[error("it says that the piece `{name}` has {bytes} bytes; none has more than {MAX_PIECE_BYTES}")]
    PieceLength {
        /// The piece.
        name: String,
        /// What it says.
        bytes: u64,
    },
    /// The lengths do not fit together.
    #[error("it says that there are {said} bytes, but its pieces have {sum}")]
    Length {
        /// What it says of all pieces.
        said: u64,
        /// What it says of each, added up.
        sum: u64,
    },
}

impl Published {
    /// The manifest of these pieces, which have this SHA-256 together.
    pub fn new(sha256: String, pieces: Vec<Piece>, complete: bool) -> Self {
        Self {
            header: PUBLISHED_FORMAT.header(),
            sha256,
            bytes: pieces.iter().map(|piece| piece.bytes).sum(),
            pieces,
            complete,
        }
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// It is damaged, of another version, or names files that may lie elsewhere.
    pub fn parse(text: &[u8]) -> Result<Self, PublishedError> {
        // The header first: a newer file should be refused for its version, not for a key that it added.
        let value: serde_json::Value = serde_json::from_slice(text).map_err(PublishedError::Form)?;
        let header = serde_json::from_value(value["header"].clone()).map_err(PublishedError::Form)?;
        PUBLISHED_FORMAT.check(&header).map_err(PublishedError::Version)?;
        let manifest: Self = serde_json::from_value(value).map_err(PublishedError::Form)?;
        let mut sum = 0_u64;
        for Piece { name, bytes, .. } in &manifest.pieces {
            if !is_plain(name) {
                return Err(PublishedError::PieceName(name.clone()));
            }
            if *bytes > MAX_PIECE_BYTES {
                return Err(PublishedError::PieceLength {
                    name: name.clone(),
                    bytes: *bytes,
                });
            }
            sum = sum.saturating_add(*bytes);
        }
        let said = manifest.bytes;
        if said == sum {
            Ok(manifest)
        } else {
            Err(PublishedError::Length { said, sum })
        }
    }
}

/// Whoever fetches the pieces writes files of these names.
fn is_plain(name: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=128).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(is_known)
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    fn manifest() -> Published {
        let piece = |name: &str, bytes| Piece {
            name: name.to_owned(),
            sha256: "00".repeat(32),
            bytes,
        };
        Published::new(
            "11".repeat(32),
            vec![
                piece("published-1.gz", 7),
                piece("published-2.gz", MAX_PIECE_BYTES),
            ],
            false,
        )
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let text = serde_json::to_vec(&manifest()).expect("JSON");
        assert_eq!(Published::parse(&text).expect("a manifest"), manifest());
        assert_eq!(manifest().bytes, MAX_PIECE_BYTES + 7);
    }

    #[test]
    fn other_manifests_are_refused() {
        let check = |change: &dyn Fn(&mut serde_json::Value), expected: &str| {
            let mut value = serde_json::to_value(manifest()).expect("JSON");
            change(&mut value);
            let error = Published::parse(value.to_string().as_bytes()).expect_err("refused");
            let source = error.source().map(|source| format!(": {source}"));
            let found = format!("{error}{}", source.unwrap_or_default());
            assert!(found.starts_with(expected), "{found}");
        };
        check(
            &|value| value["header"]["minor"] = 9.into(),
            "it cannot be used: the file has gipfel-published version 1.9",
        );
        check(
            &|value| value["more"] = 1.into(),
            "it is not of the documented form: unknown field `more`",
        );
        check(&|value| *value = 1.into(), "it is not of the documented form");
        for name in ["", "../key", "a/b", ".hidden", "a\nb"] {
            let expected = format!("it names a piece `{}`", name.escape_debug());
            check(&|value| value["pieces"][0]["name"] = name.into(), &expected);
        }
        check(
            &|value| value["pieces"][1]["bytes"] = 3_500_001.into(),
            "it says that the piece `published-2.gz` has 3500001 bytes; none has more than 3500000",
        );
        check(
            &|value| value["bytes"] = 7.into(),
            "it says that there are 7 bytes, but its pieces have 3500007",
        );
        let error = Published::parse(b"{").expect_err("half a file");
        assert_eq!(error.to_string(), "it is not of the documented form");
    }
}
