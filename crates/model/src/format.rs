//! The header of every versioned file, and the rule for reading another version's.

use serde::{Deserialize, Serialize};

/// Names a file's format and its version.
///
/// A reader accepts its own major version with any minor version up to its own; a newer minor version may hold
/// what the reader does not understand, so it is refused as well, with a sentence that says which side is older.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormatHeader {
    /// The format's name, such as `gipfel-run-config`.
    pub format: String,
    /// Changes when old readers or old files break.
    pub major: u32,
    /// Changes when something is added.
    pub minor: u32,
}

/// Why a file of a format is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The file is of another kind.
    #[error("this is a `{found}` file, expected `{expected}`")]
    OtherFormat {
        /// What the file says.
        found: String,
        /// What the reader wants.
        expected: &'static str,
    },
    /// The file was written by a newer version.
    #[error(
        "the file has {format} version {found}, written by a newer gipfel; this gipfel is older and reads up to {known}"
    )]
    FileIsNewer {
        /// The format's name.
        format: &'static str,
        /// The file's version.
        found: String,
        /// The reader's version.
        known: String,
    },
    /// The file was written by an older version that is no longer read.
    #[error(
        "the file has {format} version {found}, written by an older gipfel; this gipfel is newer and reads from {known}"
    )]
    FileIsOlder {
        /// The format's name.
        format: &'static str,
        /// The file's version.
        found: String,
        /// The reader's version.
        known: String,
    },
}

/// A format as its reader and writer know it.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// The format's name.
    pub name: &'static str,
    /// The major version that is written and read.
    pub major: u32,
    /// The minor version that is written; lower ones are read too.
    pub minor: u32,
}

impl Format {
    /// The header to write.
    pub fn header(&self) -> FormatHeader {
        FormatHeader {
            format: self.name.to_owned(),
            major: self.major,
            minor: self.minor,
        }
    }

    /// Checks a header that was read.
    pub fn check(&self, header: &FormatHeader) -> Result<(), FormatError> {
        if header.format != self.name {
            return Err(FormatError::OtherFormat {
                found: header.format.clone(),
                expected: self.name,
            });
        }
        let found = format!("{}.{}", header.major, header.minor);
        let known = format!("{}.{}", self.major, self.minor);
        if (header.major, header.minor) > (self.major, self.minor) {
            return Err(FormatError::FileIsNewer {
                format: self.name,
                found,
                known,
            });
        }
        if header.major < self.major {
            return Err(FormatError::FileIsOlder {
                format: self.name,
                found,
                known,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_says_which_side_is_older() {
        let format = Format {
            name: "gipfel-test",
            major: 2,
            minor: 1,
        };
        let check = |name: &str, major, minor, expected: Option<&str>| {
            let header = FormatHeader {
                format: name.to_owned(),
                major,
                minor,
            };
            let found = format.check(&header).err().map(|error| error.to_string());
            assert_eq!(found.is_some(), expected.is_some(), "{found:?}");
            assert!(found.unwrap_or_default().contains(expected.unwrap_or_default()));
        };
        check("gipfel-test", 2, 1, None);
        check("gipfel-test", 2, 0, None);
        check("gipfel-test", 2, 2, Some("this gipfel is older"));
        check("gipfel-test", 3, 0, Some("this gipfel is older"));
        check("gipfel-test", 1, 9, Some("this gipfel is newer"));
        check("other", 2, 1, Some("expected `gipfel-test`"));
    }
}
