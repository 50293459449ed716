//! What servers and load generators have in common: processes of this machine with a directory each.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use gipfel_backend::{BackendError, Found, Handle};
use gipfel_model::CampaignId;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use crate::{
    detail::Detail,
    files,
    launch::{Children, describe},
    mark::{self, Mark, Marks},
    process::{self, ProcessKey, Status, Wanted},
};

/// What handles of this backend call it.
pub(crate) const SYSTEM: &str = "local";

/// How much of a log is looked at.
const LOG_BYTES: u64 = 1 << 20;

/// How long processes may take to go when they are killed.
const DYING: Duration = Duration::from_secs(10);

/// The directories under one root and the processes that belong to them.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) root: PathBuf,
    pub(crate) children: Children,
    /// How long processes may take to end when they are asked to.
    pub(crate) grace: Duration,
}

/// Which log of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Log {
    Server,
    Benchmarker,
}

impl Log {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Server => "server.log",
            Self::Benchmarker => "benchmarker.log",
        }
    }
}

impl Machine {
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The directory of the object that a handle stands for: where the handle says, which may be under another root;
    /// under this one when the handle does not say, or when the directory has been moved here.
    pub(crate) fn directory_of(&self, handle: &Handle) -> PathBuf {
        let detail: Option<Detail> = handle.detail.parse().ok();
        detail
            .and_then(|detail| detail.directory)
            .map(PathBuf::from)
            .filter(|directory| directory.is_dir())
            .unwrap_or_else(|| self.directory(&handle.name))
    }

    /// The object's directory, made if need be, without symbolic links: processes are told by their log's path.
    pub(crate) fn make_directory(&self, name: &str) -> io::Result<PathBuf> {
        let directory = self.directory(name);
        fs::create_dir_all(&directory)?;
        directory.canonicalize()
    }

    /// The handle of a marked object under this root.
    pub(crate) fn handle(&self, name: &str, mark: &Mark) -> Handle {
        let detail = Detail {
            number: mark.number,
            leader: mark.leader.clone(),
            directory: Detail::directory(&self.directory(name)),
        };
        Handle {
            system: SYSTEM.to_owned(),
            name: name.to_owned(),
            detail: detail.to_string(),
        }
    }

    /// What is known of a name. `restarts`: one that has ended may be started again, so that a late start of it must
    /// be settled as well.
    pub(crate) async fn find(&self, name: &str, restarts: bool) -> Result<Found, BackendError> {
        let operation = || format!("find `{name}`");
        let failed = |error| BackendError::transient(operation(), error);
        let directory = self.directory(name);
        loop {
            let marks = mark::read_settled(&directory, name)
                .await
                .map_err(|error| failed(Box::new(error)))?;
            let Marks {
                highest,
                started,
                unwritten,
            } = marks;
            if unwritten {
                return Ok(Found::Unsettled);
            }
            if let Some(mark) = &started {
                let over = !self.lives(name, mark)?;
                if !over || !restarts {
                    return Ok(Found::Started(self.handle(name, mark)));
                }
            }
            if mark::settle(&directory, highest + 1).map_err(|error| failed(Box::new(error)))? {
                return Ok(started.map_or(Found::Absent, |mark| Found::Started(self.handle(name, &mark))));
            }
        }
    }

    /// Everything of a campaign that lives, by marks and by the environment of processes.
    pub(crate) fn find_campaign(&self, campaign: &CampaignId) -> Result<Vec<Handle>, BackendError> {
        let operation = || format!("search for what lives of campaign `{campaign}`");
        let failed = |error: io::Error| BackendError::transient(operation(), error);
        let processes = process::list().map_err(failed)?;
        let mut found = Vec::new();
        let mut names = BTreeSet::new();
        for name in self.names().map_err(failed)? {
            let marks = mark::read_all(&self.directory(&name))
                .map_err(|error| BackendError::permanent(operation(), error))?;
            let Some(mark) = marks.started.filter(|mark| mark.attempt.campaign == *campaign) else {
                continue;
            };
            let handle = self.handle(&name, &mark);
            match self.wanted_by(&handle) {
                Ok((wanted, _)) if wanted.members(&processes).is_empty() => {}
                Ok(_) => found.push(handle),
                Err(error) => tracing::warn!(%name, error = %chain(&error), "cannot tell whether it lives"),
            }
            names.insert(name);
        }
        for process in processes.into_iter().filter(|process| !process.zombie) {
            let (Some(id), Some(of)) = (process.id, process.campaign) else {
                continue;
            };
            if of == campaign.as_str() && process.key.pid != std::process::id() && names.insert(id.clone()) {
                let detail = Detail {
                    number: 0,
                    leader: process.key,
                    directory: None,
                };
                found.push(Handle {
                    system: SYSTEM.to_owned(),
                    name: id,
                    detail: detail.to_string(),
                });
            }
        }
        Ok(found)
    }

    /// The mark that a handle stands for; without one when its process was found by its environment only.
    pub(crate) fn mark(&self, handle: &Handle) -> Result<(Detail, Option<Mark>), BackendError> {
        let operation = || format!("look up `{}`", handle.name);
        let permanent = |error: io::Error| BackendError::permanent(operation(), error);
        if handle.system != SYSTEM {
            return Err(permanent(io::Error::other(format!(
                "it belongs to `{}`, not to this backend",
                handle.system
            ))));
        }
        let detail: Detail = handle.detail.parse().map_err(permanent)?;
        let mark = mark::read(&self.directory_of(handle), detail.number)
            .map_err(|error| BackendError::permanent(operation(), error))?;
        Ok((detail, mark))
    }

    /// Whether the marked process lives.
    pub(crate) fn lives(&self, name: &str, mark: &Mark) -> Result<bool, BackendError> {
        self.children.reap();
        if !Self::is_here(name, mark)? {
            return Ok(false);
        }
        let status = process::status(&mark.leader);
        let status = status.map_err(|error| BackendError::transient(format!("observe `{name}`"), error))?;
        Ok(status == Status::Lives)
    }

    /// Whether the process ids of a mark are those of this machine since its last start. Of another machine's
    /// process nothing can be said.
    fn is_here(name: &str, mark: &Mark) -> Result<bool, BackendError> {
        let operation = || format!("observe `{name}`");
        let boot = process::boot().map_err(|error| BackendError::transient(operation(), error))?;
        if mark.attempt.boot == boot {
            return Ok(true);
        }
        if mark.attempt.host == host() {
            return Ok(false);
        }
        let message = format!(
            "it was started on `{}`, and this is `{}`: run gipfel there",
            mark.attempt.host,
            host()
        );
        Err(BackendError::permanent(operation(), message))
    }

    /// Ends all processes of an object: asks them, waits, kills what is left, waits again.
    pub(crate) async fn end(&self, handle: &Handle) -> Result<(), BackendError> {
        let failed = |error: io::Error| BackendError::transient(format!("end `{}`", handle.name), error);
        let (wanted, mark) = self.wanted_by(handle)?;
        if let Some(mark) = &mark
            && self.lives(&handle.name, mark)?
        {
            let directory = self.directory_of(handle);
            files::replace(&ended_by_us(&directory, mark.number), b"ended on request\n").map_err(failed)?;
        }
        self.end_processes(&wanted).await.map_err(failed)
    }

    /// Asks the processes of an object to end and returns at once.
    pub(crate) fn ask_to_end(&self, handle: &Handle) -> Result<(), BackendError> {
        let failed = |error: io::Error| BackendError::transient(format!("stop `{}`", handle.name), error);
        let (wanted, _) = self.wanted_by(handle)?;
        for key in wanted.members(&process::list().map_err(failed)?) {
            process::signal(&key, Signal::TERM).map_err(failed)?;
        }
        Ok(())
    }

    /// Ends what is left of an object whose main process is gone, such as an engine's workers.
    pub(crate) async fn end_leftovers(&self, handle: &Handle) -> Result<(), BackendError> {
        let (wanted, _) = self.wanted_by(handle)?;
        let failed = |error| BackendError::transient(format!("end what is left of `{}`", handle.name), error);
        self.end_processes(&wanted).await.map_err(failed)
    }

    fn wanted_by(&self, handle: &Handle) -> Result<(Wanted, Option<Mark>), BackendError> {
        let (detail, mark) = self.mark(handle)?;
        let here = mark
            .as_ref()
            .map_or(Ok(true), |mark| Self::is_here(&handle.name, mark))?;
        Ok((self.wanted(handle, here.then_some(detail.leader)), mark))
    }

    async fn end_processes(&self, wanted: &Wanted) -> io::Result<()> {
        let mut living = Vec::new();
        for (signal, wait) in [(Signal::TERM, self.grace), (Signal::KILL, DYING)] {
            let deadline = Instant::now() + wait;
            let mut signalled = BTreeSet::new();
            let mut pause = Duration::from_millis(5);
            // A process that starts another one and ends can hide both from one search, so two must be empty.
            let mut empty = 0;
            loop {
                self.children.reap();
                living = wanted.members(&process::list()?);
                empty = if living.is_empty() { empty + 1 } else { 0 };
                if empty == 2 {
                    return Ok(());
                }
                for key in &living {
                    if signalled.insert(key.clone()) {
                        process::signal(key, signal)?;
                    }
                }
                if !living.is_empty() && Instant::now() >= deadline {
                    break;
                }
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(50));
            }
        }
        let living: Vec<String> = living.iter().map(|key| key.pid.to_string()).collect();
        Err(io::Error::other(format!(
            "these processes live on though killed: {}",
            living.join(", ")
        )))
    }

    /// The log from the attempt's begin, of a long one the end.
    pub(crate) fn log_of(&self, handle: &Handle, log: Log, from: u64) -> io::Result<String> {
        files::log_end(&self.directory_of(handle).join(log.name()), from, LOG_BYTES)
    }

    pub(crate) fn logs(&self, handle: &Handle, log: Log, lines: usize) -> Result<String, BackendError> {
        let text = self.log_of(handle, log, 0);
        let text = text
            .map_err(|error| BackendError::transient(format!("read the log of `{}`", handle.name), error))?;
        Ok(files::last_lines(&text, lines))
    }

    /// Whether `end` has ended this attempt.
    pub(crate) fn was_ended_by_us(&self, handle: &Handle, mark: &Mark) -> bool {
        ended_by_us(&self.directory_of(handle), mark.number).exists()
    }

    /// How a process that is gone ended, as far as that is known.
    pub(crate) fn ending(&self, mark: &Mark) -> String {
        let pid = mark.leader.pid;
        match self.children.ended(pid) {
            Some(status) => format!("process {pid} {}", describe(status)),
            None => {
                format!("process {pid} is gone; how it ended is not known, another gipfel had started it")
            }
        }
    }

    fn wanted(&self, handle: &Handle, leader: Option<ProcessKey>) -> Wanted {
        let directory = self.directory_of(handle).canonicalize().ok();
        let log = directory.map(|directory| {
            let benchmarker = directory.join(Log::Benchmarker.name());
            if benchmarker.exists() {
                benchmarker
            } else {
                directory.join(Log::Server.name())
            }
        });
        Wanted {
            id: handle.name.clone(),
            leader,
            log,
        }
    }

    /// The directories that hold a mark or may.
    fn names(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                names.extend(entry.file_name().into_string());
            }
        }
        names.sort();
        Ok(names)
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The machine's name.
pub(crate) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn ended_by_us(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("ended.{number}"))
}
