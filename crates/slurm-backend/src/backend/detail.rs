//! What the handles of this backend say, as text: journals keep it for later processes.

use std::{fmt, str::FromStr};

use firecrest_client::{JobId, RemotePath};
use gipfel_model::SlurmReach;
use serde::{Deserialize, Serialize};

/// What a handle's detail says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Detail {
    /// The cluster.
    pub(super) reach: SlurmReach,
    /// The job in which it lives: its own, or the server's.
    pub(super) job: JobId,
    /// The server's or the run's directory.
    pub(super) directory: RemotePath,
    /// Which job of this name it is, from 1.
    pub(super) attempt: u32,
    /// The server's directory, for a load generator in the server's job.
    pub(super) within: Option<RemotePath>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    job: String,
    directory: String,
    attempt: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    within: Option<String>,
    reach: SlurmReach,
}

/// A handle of another backend, or of a later gipfel.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is no detail of a Slurm job")]
pub(super) struct DetailError {
    text: String,
    #[source]
    source: Option<serde_json::Error>,
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = Written {
            job: self.job.to_string(),
            directory: self.directory.to_string(),
            attempt: self.attempt,
            within: self.within.as_ref().map(ToString::to_string),
            reach: self.reach.clone(),
        };
        f.write_str(&serde_json::to_string(&written).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Detail {
    type Err = DetailError;

    fn from_str(text: &str) -> Result<Self, DetailError> {
        let wrong = |source| DetailError {
            text: text.to_owned(),
            source,
        };
        let written: Written = serde_json::from_str(text).map_err(|error| wrong(Some(error)))?;
        let path = |text: &str| RemotePath::try_new(text).map_err(|_| wrong(None));
        Ok(Self {
            job: JobId::try_new(written.job).map_err(|_| wrong(None))?,
            directory: path(&written.directory)?,
            attempt: written.attempt,
            within: written.within.as_deref().map(path).transpose()?,
            reach: written.reach,
        })
    }
}
