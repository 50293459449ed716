//! Processes of this machine: which of them belong to an object, and whether they live.
//!
//! A process id says little: ids are used again. A process is known by its id together with the time of its start,
//! and its descendants by what they inherit: the process group, the environment and the log that they write to.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(any(test, not(target_os = "linux")))]
mod portable;

use std::{fmt, io, path::PathBuf, str::FromStr};

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(not(target_os = "linux"))]
use portable as system;

pub(crate) use system::{boot, list, signal, status};

/// Names the object, in the environment of its processes.
pub(crate) const ID_VARIABLE: &str = "GIPFEL_ID";
/// Names the campaign, in the environment of its processes.
pub(crate) const CAMPAIGN_VARIABLE: &str = "GIPFEL_CAMPAIGN";

/// One process, not to be mistaken for a later one of the same id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProcessKey {
    pub(crate) pid: u32,
    /// When it started, in the system's words.
    pub(crate) start: String,
}

impl fmt::Display for ProcessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} start {}", self.pid, self.start)
    }
}

impl FromStr for ProcessKey {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Self> {
        let parse = || {
            let (pid, start) = text.strip_prefix("pid ")?.split_once(" start ")?;
            Some(Self {
                pid: pid.parse().ok()?,
                start: start.to_owned(),
            })
        };
        parse()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("`{text}` names no process")))
    }
}

/// Whether a process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Lives,
    /// It ended and waits for its parent; its id is not used again meanwhile.
    Zombie,
    /// No such process, or a later one of the same id.
    Gone,
}

/// A process as a search of all shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) key: ProcessKey,
    pub(crate) group: u32,
    pub(crate) zombie: bool,
    /// From its environment, where that can be read.
    pub(crate) id: Option<String>,
    pub(crate) campaign: Option<String>,
    /// The files that its standard output and error are, where that can be read.
    pub(crate) outputs: Vec<PathBuf>,
}

/// An object whose processes are looked for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) id: String,
    /// The process that became the engine or the load generator, which leads the group.
    pub(crate) leader: Option<ProcessKey>,
    /// Where its output goes, without symbolic links.
    pub(crate) log: Option<PathBuf>,
}

impl Wanted {
    /// The processes of the object that live.
    ///
    /// Membership of the group counts only while its leader is there, if only as a zombie: afterwards the number
    /// may be another group's.
    pub(crate) fn members(&self, processes: &[Process]) -> Vec<ProcessKey> {
        let leader = self
            .leader
            .as_ref()
            .filter(|leader| processes.iter().any(|process| process.key == **leader));
        let belongs = |process: &Process| {
            leader.is_some_and(|leader| process.key == *leader || process.group == leader.pid)
                || process.id.as_ref() == Some(&self.id)
                || self.log.as_ref().is_some_and(|log| process.outputs.contains(log))
        };
        let this = std::process::id();
        processes
            .iter()
            .filter(|process| !process.zombie && process.key.pid != this && belongs(process))
            .map(|process| process.key.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, start: &str, group: u32) -> Process {
        let key = ProcessKey {
            pid,
            start: start.to_owned(),
        };
        Process {
            key,
            group,
            zombie: false,
            id: None,
            campaign: None,
            outputs: Vec::new(),
        }
    }

    #[test]
    fn members_are_told_from_strangers() {
        let wanted = Wanted {
            id: "d-1".to_owned(),
            leader: Some(ProcessKey {
                pid: 10,
                start: "5".to_owned(),
            }),
            log: Some(PathBuf::from("/r/d-1/server.log")),
        };
        let check = |processes: &[Process], expected: &[u32]| {
            let members: Vec<u32> = wanted.members(processes).into_iter().map(|key| key.pid).collect();
            assert_eq!(members, expected, "{processes:?}");
        };
        let leader = process(10, "5", 10);
        let child = process(11, "6", 10);
        let left_the_group = Process {
            id: Some("d-1".to_owned()),
            ..process(12, "7", 12)
        };
        let renamed_itself = Process {
            outputs: vec!["/r/d-1/server.log".into()],
            ..process(13, "7", 10)
        };
        let stranger = Process {
            id: Some("d-2".to_owned()),
            ..process(14, "7", 14)
        };
        let all = [
            leader.clone(),
            child.clone(),
            left_the_group.clone(),
            renamed_itself.clone(),
            stranger.clone(),
        ];
        check(&all, &[10, 11, 12, 13]);
        let zombie = Process {
            zombie: true,
            ..leader
        };
        check(&[zombie, child.clone(), stranger.clone()], &[11]);
        check(
            &[child.clone(), left_the_group, renamed_itself, stranger],
            &[12, 13],
        );
        let reused = process(10, "9", 10);
        check(&[reused, child], &[]);
        check(
            &[Process {
                id: Some("d-1".to_owned()),
                ..process(std::process::id(), "1", 1)
            }],
            &[],
        );
    }

    #[test]
    fn keys_are_read_as_written() {
        let key = ProcessKey {
            pid: 7,
            start: "Sat Nov 21 22:42:10 2026".to_owned(),
        };
        assert_eq!(key.to_string().parse::<ProcessKey>().unwrap(), key);
        assert!("7 8".parse::<ProcessKey>().is_err());
    }
}
