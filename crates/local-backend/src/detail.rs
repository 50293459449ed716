//! What the handles of this backend say, as text: journals keep it for later processes.

use std::{fmt, io, path::Path, str::FromStr};

use crate::process::ProcessKey;

/// What a handle's detail says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Detail {
    /// The mark's number; 0 for a process that was found without one.
    pub(crate) number: u32,
    pub(crate) leader: ProcessKey,
    /// The object's directory: whoever has the handle may have another root, as a campaign that uses the server of
    /// an earlier one. Absent in the handles of earlier versions, and where it is not known or is no text.
    pub(crate) directory: Option<String>,
}

impl Detail {
    /// The directory in words that can be read again.
    pub(crate) fn directory(path: &Path) -> Option<String> {
        let path = path.canonicalize().ok()?;
        path.to_str().map(str::to_owned)
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mark {} {}", self.number, self.leader)?;
        self.directory
            .as_ref()
            .map_or(Ok(()), |directory| write!(f, " in {directory}"))
    }
}

impl FromStr for Detail {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Self> {
        let wrong = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("`{text}` is no detail of a local process"),
            )
        };
        let (number, rest) = text
            .strip_prefix("mark ")
            .and_then(|rest| rest.split_once(' '))
            .ok_or_else(wrong)?;
        // The first one: a start holds no such word, a path may.
        let (leader, directory) = match rest.split_once(" in ") {
            Some((leader, directory)) if Path::new(directory).is_absolute() => (leader, Some(directory)),
            Some(_) => return Err(wrong()),
            None => (rest, None),
        };
        Ok(Self {
            number: number.parse().map_err(|_| wrong())?,
            leader: leader.parse()?,
            directory: directory.map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_read_as_written() {
        for start in ["4711", "Sat Nov 21 2026"] {
            for directory in [
                None,
                Some("/r/c-1/d-1"),
                Some("/what is in here/in /d\n\"ä\""),
                Some("/"),
            ] {
                let detail = Detail {
                    number: 2,
                    leader: ProcessKey {
                        pid: 7,
                        start: start.to_owned(),
                    },
                    directory: directory.map(str::to_owned),
                };
                assert_eq!(detail.to_string().parse::<Detail>().unwrap(), detail);
            }
        }
    }

    #[test]
    fn the_details_of_earlier_versions_are_read() {
        let detail: Detail = "mark 1 pid 7 start 4711".parse().unwrap();
        assert_eq!((detail.number, detail.leader.pid, detail.directory), (1, 7, None));
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "mark",
            "mark x pid 1 start 2",
            "mark 1 pid x start 2",
            "mark 1 2",
            "mark 1 pid 1 start 2 in results/d-1",
            "mark 1 pid 1 start 2 in ",
        ] {
            assert!(text.parse::<Detail>().is_err(), "{text}");
        }
    }
}
