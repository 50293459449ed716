//! Who uses a results directory: one gipfel at a time drives a campaign in it.
//!
//! The driving process holds an advisory lock on `gipfel.lock` and says in it who it is. The lock goes with the process,
//! so a file that a dead one left stands in nobody's way. Commands that only read look at the words and take no lock.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use gipfel_local_backend::ProcessIdentity;
use gipfel_model::{CampaignId, FormatHeader, format::Format};
use serde::{Deserialize, Serialize};

use crate::{background, failure::directory_hint, ids::now_iso, words};

/// The file in the results directory.
const LOCK_FILE: &str = "gipfel.lock";

const OCCUPANT_FORMAT: Format = Format {
    name: "gipfel-lock",
    major: 1,
    minor: 0,
};

/// How long a lock may outlive the process that its file names: a child that is just being started holds it too.
const HANDOVER: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The gipfel that drives a campaign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Occupant {
    header: FormatHeader,
    /// Its process.
    pub process: ProcessIdentity,
    /// The machine that it runs on.
    pub host: String,
    /// What it drives.
    pub campaign: CampaignId,
    /// Since when, ISO 8601, UTC.
    pub since: String,
    /// What the user typed.
    pub command: String,
}

/// Why a results directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OccupancyError {
    /// Another gipfel drives a campaign in it.
    #[error(
        "another gipfel uses `{}`: {} has driven campaign `{}` since {} (`{}`)",
        directory.display(), occupant.whereabouts(), occupant.campaign, occupant.since, occupant.command
    )]
    Occupied {
        /// The results directory.
        directory: PathBuf,
        /// Who.
        occupant: Box<Occupant>,
    },
    /// Another process holds the lock and does not say who it is.
    #[error("another gipfel uses `{}` and has not said yet which campaign it drives", directory.display())]
    OccupiedByUnknown {
        /// The results directory.
        directory: PathBuf,
    },
    /// Something else has the directory's name.
    #[error("`{}` is no directory, so no results can be kept in it", .0.display())]
    NoDirectory(PathBuf),
    /// The file system refused.
    #[error("failed to {operation} `{}`", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl OccupancyError {
    /// What the user can do.
    pub fn hint(&self) -> String {
        match self {
            Self::Occupied { directory, .. } | Self::OccupiedByUnknown { directory } => format!(
                "{} shows it and {} ends it; another --results-dir can be used at the same time",
                words::command("attach", directory),
                words::command("cancel", directory)
            ),
            Self::NoDirectory(_) => "name another one with --results-dir".to_owned(),
            Self::Io { source, .. } => directory_hint(source).to_owned(),
        }
    }
}

impl Occupant {
    /// The process that drives a campaign under `results_dir` now; takes no lock. A process of another machine cannot be
    /// looked at from here, so its word is taken.
    pub fn find(results_dir: &Path) -> Option<Self> {
        let text = fs::read_to_string(results_dir.join(LOCK_FILE)).ok()?;
        let occupant = Self::read(&text)?;
        let lives = occupant.is_elsewhere() || occupant.process.lives().unwrap_or(true);
        lives.then_some(occupant)
    }

    /// Whether it runs on another machine.
    pub fn is_elsewhere(&self) -> bool {
        self.host != host()
    }

    /// `process 4711`, with the machine if it is another one.
    pub fn whereabouts(&self) -> String {
        if self.is_elsewhere() {
            format!("{} on {}", self.process, self.host)
        } else {
            self.process.to_string()
        }
    }

    fn read(text: &str) -> Option<Self> {
        let occupant: Self = serde_json::from_str(text).ok()?;
        OCCUPANT_FORMAT.check(&occupant.header).ok()?;
        Some(occupant)
    }
}

/// The right to drive a campaign in a results directory; it ends with this value or with the process.
#[derive(Debug)]
pub(crate) struct Occupancy {
    file: File,
}

impl Occupancy {
    /// Takes the directory for this campaign, and makes it if need be.
    pub(crate) fn take(directory: &Path, campaign: &CampaignId) -> Result<Self, OccupancyError> {
        if fs::metadata(directory).is_ok_and(|found| !found.is_dir()) {
            return Err(OccupancyError::NoDirectory(directory.to_owned()));
        }
        fs::create_dir_all(directory).map_err(io_error("create", directory))?;
        let path = directory.join(LOCK_FILE);
        let file = File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(io_error("open", &path))?;
        lock(&file, directory, &path)?;
        let mut occupancy = Self { file };
        let process = ProcessIdentity::current().map_err(io_error("find this process for", &path))?;
        occupancy
            .write(campaign, process)
            .map_err(io_error("write", &path))?;
        Ok(occupancy)
    }

    fn write(&mut self, campaign: &CampaignId, process: ProcessIdentity) -> io::Result<()> {
        let occupant = Occupant {
            header: OCCUPANT_FORMAT.header(),
            process,
            host: host(),
            campaign: campaign.clone(),
            since: now_iso(),
            command: command_line(),
        };
        let mut text = serde_json::to_vec_pretty(&occupant)?;
        text.push(b'\n');
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&text)
    }
}

impl Drop for Occupancy {
    /// A reader then need not ask whether the process lives; whoever cannot empty the file leaves that to the reader.
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
    }
}

/// Locks the file at once, or a moment later if whoever is named in it is dead.
fn lock(file: &File, directory: &Path, path: &Path) -> Result<(), OccupancyError> {
    let give_up = Instant::now() + HANDOVER;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(source)) => return Err(io_error("lock", path)(source)),
            Err(TryLockError::WouldBlock) => {}
        }
        let occupant = read_words(file).and_then(|text| Occupant::read(&text));
        match occupant {
            Some(occupant) if occupant.is_elsewhere() || occupant.process.lives().unwrap_or(true) => {
                return Err(OccupancyError::Occupied {
                    directory: directory.to_owned(),
                    occupant: Box::new(occupant),
                });
            }
            // The file is written right after the lock is taken.
            _ if Instant::now() < give_up => pause(),
            _ => {
                return Err(OccupancyError::OccupiedByUnknown {
                    directory: directory.to_owned(),
                });
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the pause between two looks of a bounded wait: a file system tells nobody of a lock that is given back"
)]
fn pause() {
    std::thread::sleep(LOOK_AGAIN);
}

fn read_words(mut file: &File) -> Option<String> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.read_to_string(&mut text).ok()?;
    Some(text)
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OccupancyError {
    move |source| OccupancyError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What the user typed, without the path of the program; keys are never in it.
fn command_line() -> String {
    let arguments = std::env::args_os().skip(1);
    let words = arguments.map(|word| match word.to_string_lossy() {
        word if word == background::BACKGROUND => background::DETACH.to_owned(),
        word => word.into_owned(),
    });
    std::iter::once("gipfel".to_owned())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn campaign(text: &str) -> CampaignId {
        text.parse().expect("a campaign")
    }

    #[test]
    fn a_directory_has_one_occupant() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = Occupancy::take(directory.path(), &campaign("c-1")).expect("it is free");
        let found = Occupant::find(directory.path()).expect("this process");
        assert_eq!(
            (found.campaign.as_str(), found.process.pid),
            ("c-1", std::process::id())
        );
        let error = Occupancy::take(directory.path(), &campaign("c-2")).expect_err("it is taken");
        let text = error.to_string();
        let pid = format!(
            "process {} has driven campaign `c-1` since 20",
            std::process::id()
        );
        assert!(text.contains(&pid), "{text}");
        drop(first);
        assert_eq!(Occupant::find(directory.path()), None);
        Occupancy::take(directory.path(), &campaign("c-2")).expect("it is free again");
    }

    #[test]
    fn what_a_dead_process_left_is_no_obstacle() {
        let directory = tempfile::tempdir().expect("a directory");
        drop(Occupancy::take(directory.path(), &campaign("c-1")).expect("it is free"));
        let dead = Occupant {
            header: OCCUPANT_FORMAT.header(),
            process: ProcessIdentity {
                pid: std::process::id(),
                start: "1".to_owned(),
            },
            host: host(),
            campaign: campaign("c-1"),
            since: now_iso(),
            command: "gipfel run a.yaml".to_owned(),
        };
        let check = |text: &str| {
            fs::write(directory.path().join(LOCK_FILE), text).expect("it is written");
            assert_eq!(Occupant::find(directory.path()), None, "{text}");
            Occupancy::take(directory.path(), &campaign("c-2")).expect("it is free");
        };
        check(&serde_json::to_string(&dead).expect("JSON"));
        check("");
        check("4711\n");
        let elsewhere = Occupant {
            host: "another-machine".to_owned(),
            ..dead
        };
        fs::write(
            directory.path().join(LOCK_FILE),
            serde_json::to_string(&elsewhere).expect("JSON"),
        )
        .expect("it is written");
        let found = Occupant::find(directory.path()).expect("its word is taken");
        assert!(found.whereabouts().ends_with(" on another-machine"));
        Occupancy::take(directory.path(), &campaign("c-2")).expect("the lock tells that it is gone");
    }

    #[test]
    fn what_is_no_directory_is_said() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("results");
        fs::write(&file, "").expect("it is written");
        let error = Occupancy::take(&file, &campaign("c-1")).expect_err("it is a file");
        assert!(
            error
                .to_string()
                .ends_with("is no directory, so no results can be kept in it")
        );
        let below = Occupancy::take(&file.join("deeper"), &campaign("c-1")).expect_err("a file is above");
        assert!(below.to_string().starts_with("failed to create"), "{below}");
    }
}
