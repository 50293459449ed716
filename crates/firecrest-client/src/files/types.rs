//! What the server tells of files.

use std::{fmt, num::NonZeroU64, str::FromStr};

use serde::Deserialize;

use crate::lenient;

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Entry {
    /// The name.
    pub name: String,
    /// What it is.
    #[serde(rename = "type", deserialize_with = "entry_kind")]
    pub kind: EntryKind,
    /// Where a link points.
    #[serde(default)]
    pub link_target: Option<String>,
    /// The owner's name, or number.
    #[serde(default, deserialize_with = "lenient::optional_text")]
    pub user: Option<String>,
    /// The group's name, or number.
    #[serde(default, deserialize_with = "lenient::optional_text")]
    pub group: Option<String>,
    /// The permissions as `ls` writes them.
    #[serde(default)]
    pub permissions: Option<String>,
    /// The time of the last change, in the cluster's time zone, which is not told.
    #[serde(default)]
    pub last_modified: Option<String>,
    /// The size in bytes.
    #[serde(deserialize_with = "lenient::number")]
    pub size: u64,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// Something else, by the letter of `ls`.
    Other(String),
}

fn entry_kind<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<EntryKind, D::Error> {
    let text = lenient::text(deserializer)?;
    Ok(match text.as_str() {
        "-" => EntryKind::File,
        "d" => EntryKind::Directory,
        "l" => EntryKind::Link,
        _ => EntryKind::Other(text),
    })
}

/// How a directory is listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Entries whose names begin with a dot, too.
    pub show_hidden: bool,
    /// Numbers for the owner and the group.
    pub numeric_ids: bool,
    /// All directories below, too.
    pub recursive: bool,
    /// What links point to, in place of the links.
    pub dereference: bool,
}

/// Size, owner, times and kind of a file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Stat {
    /// Kind and permissions as the system call writes them.
    pub mode: u32,
    /// The size in bytes.
    #[serde(deserialize_with = "lenient::number")]
    pub size: u64,
    /// The owner's number.
    #[serde(default)]
    pub uid: Option<u32>,
    /// The group's number.
    #[serde(default)]
    pub gid: Option<u32>,
    /// The time of the last change of content, in seconds since 1970.
    #[serde(default, rename = "mtime")]
    pub modified_s: Option<i64>,
}

impl Stat {
    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.mode & 0o170_000 == 0o100_000
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }
}

/// Which portion of a file is wanted from one of its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Portion {
    /// Ten lines.
    Usual,
    /// So many lines.
    Lines(NonZeroU64),
    /// So many bytes.
    Bytes(NonZeroU64),
    /// Head: all but the last lines. Tail: from this line on, the first being 1.
    AllButLines(NonZeroU64),
    /// Head: all but the last bytes. Tail: from this byte on, the first being 1.
    AllButBytes(NonZeroU64),
}

/// A portion of a text file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Piece {
    /// The text; what is not UTF-8 is replaced.
    pub content: String,
    /// `lines` or `bytes`.
    #[serde(default)]
    pub content_type: Option<String>,
    /// Where it begins, from the end if negative.
    #[serde(default)]
    pub start_position: Option<i64>,
    /// Where it ends, from the end if negative.
    #[serde(default)]
    pub end_position: Option<i64>,
}

/// Permissions of a file, as three or four octal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMode(u16);

impl FileMode {
    /// A file for its owner alone.
    pub const OWN_FILE: Self = Self(0o600);
    /// A directory for its owner alone.
    pub const OWN_DIRECTORY: Self = Self(0o700);
    /// A program for everybody.
    pub const PROGRAM: Self = Self(0o755);

    /// Takes permissions, the bits above them included.
    pub fn try_new(bits: u16) -> Option<Self> {
        (bits <= 0o7777).then_some(Self(bits))
    }

    /// The permissions as a number.
    pub fn bits(self) -> u16 {
        self.0
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:03o}", self.0)
    }
}

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// The SHA-256 of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self::from_digest(sha2::Sha256::digest(bytes).as_slice())
    }

    /// The bytes of a finished digest.
    pub(crate) fn from_digest(digest: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest);
        Self(bytes)
    }
}

/// Takes the bytes of a finished digest.
impl From<[u8; 32]> for Sha256 {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Sha256({self})")
    }
}

/// The text is no SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 has 64 hexadecimal digits")]
pub struct Sha256Error;

impl FromStr for Sha256 {
    type Err = Sha256Error;

    fn from_str(text: &str) -> Result<Self, Sha256Error> {
        let text = text.trim();
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Sha256Error);
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| Sha256Error)?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_read_and_written() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Sha256::of(b"").to_string(), empty);
        assert_eq!(empty.to_uppercase().parse(), Ok(Sha256::of(b"")));
        let check = |text: &str| assert_eq!(text.parse::<Sha256>(), Err(Sha256Error), "{text}");
        check("");
        check(&empty[1..]);
        check(&"é".repeat(32));
    }

    #[test]
    fn modes_are_written() {
        let check = |bits: u16, expected: Option<&str>| {
            assert_eq!(
                FileMode::try_new(bits).map(|mode| mode.to_string()).as_deref(),
                expected
            );
        };
        check(0o755, Some("755"));
        check(0o4755, Some("4755"));
        check(0o7, Some("007"));
        check(0o10000, None);
    }
}
