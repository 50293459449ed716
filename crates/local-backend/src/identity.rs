//! A process of this machine, as another process knows it.

use std::{fmt, io};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::process::{self, ProcessKey, Status};

/// A process that is not mistaken for a later one of the same id: whoever finds it in a file can ask whether it lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessIdentity {
    /// Its id.
    pub pid: u32,
    /// When it started, in the system's words.
    pub start: String,
}

impl ProcessIdentity {
    /// This process.
    pub fn current() -> io::Result<Self> {
        let pid = std::process::id();
        let this = process::list()?
            .into_iter()
            .find(|process| process.key.pid == pid);
        let this = this.ok_or_else(|| io::Error::other(format!("the system does not list process {pid}")))?;
        Ok(Self {
            pid,
            start: this.key.start,
        })
    }

    /// Whether this very process lives.
    pub fn lives(&self) -> io::Result<bool> {
        Ok(process::status(&self.key())? == Status::Lives)
    }

    /// Asks this very process to end; one that is gone is no error.
    pub fn terminate(&self) -> io::Result<()> {
        process::signal(&self.key(), Signal::TERM)
    }

    fn key(&self) -> ProcessKey {
        ProcessKey {
            pid: self.pid,
            start: self.start.clone(),
        }
    }
}

impl fmt::Display for ProcessIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_process_of_the_same_id_is_another_one() {
        let this = ProcessIdentity::current().unwrap();
        assert!(this.lives().unwrap());
        let other = ProcessIdentity {
            start: "1".to_owned(),
            ..this
        };
        assert!(!other.lives().unwrap());
        other.terminate().unwrap();
    }
}
