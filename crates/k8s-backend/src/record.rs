//! What this machine keeps of a server: that it was asked for, how it ended, and its log.
//!
//! In the cluster nothing is left of a server that has ended, and its name has to stay known.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use gipfel_backend::{Failure, Handle};
use gipfel_model::{CampaignId, FormatHeader, format::Format};
use serde::{Deserialize, Serialize};

use crate::files::replace;

const FORMAT: Format = Format {
    name: "gipfel-k8s-record",
    major: 1,
    minor: 1,
};

/// A record that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("failed to use `{}`", .0.display())]
    File(PathBuf, #[source] io::Error),
    #[error("`{}` is no record", .0.display())]
    Text(PathBuf, #[source] serde_json::Error),
    #[error("`{}` is of another version", .0.display())]
    Version(PathBuf, #[source] gipfel_model::FormatError),
}

/// What is known of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    header: FormatHeader,
    pub(crate) campaign: CampaignId,
    pub(crate) state: State,
    /// How it was seen to fail, before anybody ended it: later looks may see nothing of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<Failure>,
    /// The uids of the pods with which it was first ready: with others it is another server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pods: Option<BTreeSet<String>>,
}

/// How far it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) enum State {
    /// Its claim was asked for.
    Asked,
    /// All its objects were applied.
    Started(Handle),
    /// Nothing of it is left in the cluster.
    Ended { handle: Handle, failure: Failure },
}

impl Record {
    pub(crate) fn new(campaign: CampaignId, state: State) -> Self {
        Self {
            header: FORMAT.header(),
            campaign,
            state,
            failure: None,
            pods: None,
        }
    }
}

/// The records of one results directory.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    root: PathBuf,
    /// Looks and watches of one process keep the same files.
    writing: Arc<Mutex<()>>,
    changing: Arc<Mutex<()>>,
}

impl Records {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self {
            root,
            writing: Arc::default(),
            changing: Arc::default(),
        }
    }

    pub(crate) fn read(&self, id: &str) -> Result<Option<Record>, RecordError> {
        let path = self.file(id, "kubernetes.json");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(RecordError::File(path, error)),
        };
        let record: Record =
            serde_json::from_slice(&bytes).map_err(|error| RecordError::Text(path.clone(), error))?;
        match FORMAT.check(&record.header) {
            Ok(()) => Ok(Some(record)),
            Err(error) => Err(RecordError::Version(path, error)),
        }
    }

    pub(crate) fn write(&self, id: &str, record: &Record) -> Result<(), RecordError> {
        let path = self.file(id, "kubernetes.json");
        let text =
            serde_json::to_vec_pretty(record).map_err(|error| RecordError::Text(path.clone(), error))?;
        self.replace(&path, &text)
            .map_err(|error| RecordError::File(path, error))
    }

    /// Changes a record that is there and whose server has not ended.
    fn change(&self, id: &str, change: impl FnOnce(&mut Record)) -> Result<(), RecordError> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        // A server that another machine started has no record here.
        let Some(mut record) = self.read(id)? else {
            return Ok(());
        };
        if matches!(record.state, State::Ended { .. }) {
            return Ok(());
        }
        change(&mut record);
        self.write(id, &record)
    }

    /// Keeps how a server was first seen to fail, also for processes that come later.
    pub(crate) fn fail(&self, id: &str, failure: &Failure) -> Result<(), RecordError> {
        self.change(id, |record| {
            record.failure.get_or_insert_with(|| failure.clone());
        })
    }

    /// Keeps the uids of the pods with which a server was first ready.
    pub(crate) fn set_pods(&self, id: &str, pods: &BTreeSet<String>) -> Result<(), RecordError> {
        self.change(id, |record| {
            record.pods.get_or_insert_with(|| pods.clone());
        })
    }

    pub(crate) fn log(&self, id: &str) -> Result<String, RecordError> {
        let path = self.file(id, "server.log");
        match fs::read(&path) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(RecordError::File(path, error)),
        }
    }

    pub(crate) fn keep_log(&self, id: &str, log: &str) -> Result<(), RecordError> {
        let path = self.file(id, "server.log");
        self.replace(&path, log.as_bytes())
            .map_err(|error| RecordError::File(path, error))
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        replace(path, bytes)
    }

    fn file(&self, id: &str, name: &str) -> PathBuf {
        self.root.join(id).join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let records = Records::new(directory.path().to_owned());
        assert_eq!(records.read("d-1")?, None);
        assert_eq!(records.log("d-1")?, "");
        let record = Record::new("c-1".parse()?, State::Asked);
        records.write("d-1", &record)?;
        assert_eq!(records.read("d-1")?, Some(record));
        records.keep_log("d-1", "a\nb\n")?;
        assert_eq!(records.log("d-1")?, "a\nb\n");
        Ok(())
    }
}
