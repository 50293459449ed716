//! The mark that a job makes before it becomes the engine.
//!
//! `mark.1`, `mark.2`, … in an object's directory are the attempts to start it. Whoever creates a mark owns the
//! attempt, since creating fails for everybody else: the job itself, which then becomes the engine, or a search,
//! which thereby makes sure that a late job of that attempt never does.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use gipfel_model::{BackendKind, CampaignId, FormatError, FormatHeader, format::Format};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::process::{self, ProcessKey};

const MARK_FORMAT: Format = Format {
    name: "gipfel-local-mark",
    major: 1,
    minor: 0,
};

/// How long a job may take between creating its mark and having written it.
const WRITING: Duration = Duration::from_secs(1);

/// What is known of an attempt before it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attempt {
    pub(crate) campaign: CampaignId,
    /// The engine; absent for a load generator.
    pub(crate) backend: Option<BackendKind>,
    pub(crate) port: Option<u16>,
    pub(crate) host: String,
    /// Names the time since the machine's last start.
    pub(crate) boot: String,
    /// The log's length before the attempt.
    pub(crate) log_from: u64,
}

/// A mark that a job made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) number: u32,
    pub(crate) attempt: Attempt,
    pub(crate) leader: ProcessKey,
}

/// A mark's file. Without a job it was made by a search.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MarkFile {
    header: FormatHeader,
    job: Option<Job>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Job {
    attempt: Attempt,
    pid: u32,
    start: String,
}

/// A mark that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MarkError {
    #[error("failed to read or make a mark in {}", .0.display())]
    Io(PathBuf, #[source] io::Error),
    #[error("{} is no mark", .0.display())]
    Form(PathBuf, #[source] serde_json::Error),
    #[error("{} cannot be used", .0.display())]
    Format(PathBuf, #[source] FormatError),
}

/// The marks of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    /// The highest number of any mark, 0 without one.
    pub(crate) highest: u32,
    /// The latest one that a job made.
    pub(crate) started: Option<Mark>,
    /// The latest one was created and is not written yet.
    pub(crate) unwritten: bool,
}

pub(crate) fn path(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("mark.{number}"))
}

/// The text that a job puts before its id and start.
pub(crate) fn opening(attempt: &Attempt) -> Result<String, serde_json::Error> {
    let header = serde_json::to_string(&MARK_FORMAT.header())?;
    let attempt = serde_json::to_string(attempt)?;
    Ok(format!("{{\"header\":{header},\"job\":{{\"attempt\":{attempt},"))
}

/// Takes an attempt away from any late job. False when it is taken already.
pub(crate) fn settle(directory: &Path, number: u32) -> Result<bool, MarkError> {
    let create = || -> io::Result<bool> {
        fs::create_dir_all(directory)?;
        let mut file = match OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path(directory, number))
        {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            Err(error) => return Err(error),
        };
        let text = serde_json::to_string(&MarkFile {
            header: MARK_FORMAT.header(),
            job: None,
        })?;
        file.write_all(format!("{text}\n").as_bytes())?;
        Ok(true)
    };
    create().map_err(|error| MarkError::Io(directory.to_owned(), error))
}

/// Whether an attempt is taken.
pub(crate) fn exists(directory: &Path, number: u32) -> Result<bool, MarkError> {
    path(directory, number)
        .try_exists()
        .map_err(|error| MarkError::Io(directory.to_owned(), error))
}

/// Reads one mark.
pub(crate) fn read(directory: &Path, number: u32) -> Result<Option<Mark>, MarkError> {
    match read_file(directory, number)? {
        Content::Job(mark) => Ok(Some(mark)),
        Content::NoJob | Content::Unwritten | Content::Missing => Ok(None),
    }
}

/// Reads all marks as they are now.
pub(crate) fn read_all(directory: &Path) -> Result<Marks, MarkError> {
    let mut numbers = numbers(directory).map_err(|error| MarkError::Io(directory.to_owned(), error))?;
    numbers.sort_unstable();
    let mut marks = Marks {
        highest: numbers.last().copied().unwrap_or(0),
        ..Marks::default()
    };
    for &number in numbers.iter().rev() {
        match read_file(directory, number)? {
            Content::Job(mark) => {
                marks.started = Some(mark);
                break;
            }
            Content::Unwritten if number == marks.highest => marks.unwritten = true,
            Content::Unwritten | Content::NoJob | Content::Missing => {}
        }
    }
    Ok(marks)
}

/// Reads all marks and waits, within bounds, for a job that is writing its own. A mark stays unwritten when its
/// writer may live and is stuck.
pub(crate) async fn read_settled(directory: &Path, id: &str) -> Result<Marks, MarkError> {
    let deadline = Instant::now() + WRITING;
    loop {
        let marks = read_all(directory)?;
        if !marks.unwritten {
            return Ok(marks);
        }
        if Instant::now() >= deadline {
            // A writer that is gone has not become the engine: it does so only after writing.
            let writer_lives =
                writer_may_live(id).map_err(|error| MarkError::Io(directory.to_owned(), error))?;
            let marks = read_all(directory)?;
            return Ok(Marks {
                unwritten: marks.unwritten && writer_lives,
                ..marks
            });
        }
        sleep(Duration::from_millis(10)).await;
    }
}

fn writer_may_live(id: &str) -> io::Result<bool> {
    // Only where environments can be read does their silence prove something.
    Ok(!cfg!(target_os = "linux")
        || process::list()?
            .iter()
            .any(|process| process.id.as_deref() == Some(id)))
}

enum Content {
    Missing,
    Unwritten,
    NoJob,
    Job(Mark),
}

fn read_file(directory: &Path, number: u32) -> Result<Content, MarkError> {
    let path = path(directory, number);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::Missing),
        Err(error) => return Err(MarkError::Io(path, error)),
    };
    let Some(text) = text.strip_suffix('\n') else {
        return Ok(Content::Unwritten);
    };
    let file: MarkFile = serde_json::from_str(text).map_err(|error| MarkError::Form(path.clone(), error))?;
    MARK_FORMAT
        .check(&file.header)
        .map_err(|error| MarkError::Format(path, error))?;
    Ok(file.job.map_or(Content::NoJob, |Job { attempt, pid, start }| {
        let start = start.split_whitespace().collect::<Vec<_>>().join(" ");
        Content::Job(Mark {
            number,
            attempt,
            leader: ProcessKey { pid, start },
        })
    }))
}

fn numbers(directory: &Path) -> io::Result<Vec<u32>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        numbers.extend(
            name.to_str()
                .and_then(|name| name.strip_prefix("mark.")?.parse::<u32>().ok()),
        );
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt() -> Attempt {
        Attempt {
            campaign: "c-1".parse().unwrap(),
            backend: Some(BackendKind::Vllm),
            port: Some(8000),
            host: "h".to_owned(),
            boot: "b".to_owned(),
            log_from: 3,
        }
    }

    #[test]
    fn marks_are_read_as_written() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        assert_eq!(read_all(directory).unwrap(), Marks::default());
        let text = format!(
            "{}\"pid\":7,\"start\":\"Sat  1 Nov\"}}}}\n",
            opening(&attempt()).unwrap()
        );
        fs::write(path(directory, 1), text).unwrap();
        let leader = ProcessKey {
            pid: 7,
            start: "Sat 1 Nov".to_owned(),
        };
        let mark = Mark {
            number: 1,
            attempt: attempt(),
            leader,
        };
        assert_eq!(read(directory, 1).unwrap(), Some(mark.clone()));
        assert!(!settle(directory, 1).unwrap());
        assert!(settle(directory, 2).unwrap());
        let marks = read_all(directory).unwrap();
        assert_eq!(
            marks,
            Marks {
                highest: 2,
                started: Some(mark.clone()),
                unwritten: false
            }
        );
        fs::write(path(directory, 10), "{\"header\"").unwrap();
        assert_eq!(
            read_all(directory).unwrap(),
            Marks {
                highest: 10,
                started: Some(mark),
                unwritten: true
            }
        );
    }

    #[test]
    fn other_files_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let check = |text: &str, expected: &str| {
            fs::write(path(directory.path(), 1), text).unwrap();
            let error = read(directory.path(), 1).unwrap_err();
            let text = format!("{error}: {}", std::error::Error::source(&error).unwrap());
            assert!(text.contains(expected), "{text}");
        };
        check("{}\n", "missing field");
        check(
            "{\"header\":{\"format\":\"gipfel-local-mark\",\"major\":2,\"minor\":0},\"job\":null}\n",
            "newer gipfel",
        );
    }

    #[tokio::test]
    async fn a_mark_whose_writer_is_gone_counts_as_written() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(path(directory.path(), 1), "").unwrap();
        let marks = read_settled(directory.path(), "d-nobody-has-this-id")
            .await
            .unwrap();
        assert_eq!(
            marks,
            Marks {
                highest: 1,
                started: None,
                unwritten: !cfg!(target_os = "linux")
            }
        );
    }
}
