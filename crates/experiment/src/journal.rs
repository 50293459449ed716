//! The campaign on disk: `<results-dir>/<campaign_id>/state.json`.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use gipfel_backend::Handle;
use gipfel_model::{CampaignId, DeploymentId, DeploymentSpec, FormatError, FormatHeader};
use serde::Deserialize;

use crate::{
    campaign::{Campaign, STATE_FORMAT},
    deployment::DeploymentPhase,
};

const STATE_FILE: &str = "state.json";
const NEW_STATE_FILE: &str = "state.json.new";
const LOCK_FILE: &str = "state.lock";

/// A campaign's directory, held by this process: only one drives a campaign.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    /// The lock goes with the file.
    _lock: File,
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
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
    /// Another process drives the campaign.
    #[error("campaign `{campaign}` is driven by another gipfel (process {pid}): wait for it or end it first")]
    Locked {
        /// The campaign.
        campaign: CampaignId,
        /// The process, `unknown` if it has not written its number yet.
        pid: String,
    },
    /// There is no such campaign.
    #[error("there is no campaign `{campaign}` under `{}`", directory.display())]
    NoCampaign {
        /// The campaign.
        campaign: CampaignId,
        /// The results directory.
        directory: PathBuf,
    },
    /// The campaign is there already.
    #[error("campaign `{campaign}` exists already: resume it or take another name")]
    Exists {
        /// The campaign.
        campaign: CampaignId,
    },
    /// The file is of another version.
    #[error("cannot read `{}`", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: FormatError,
    },
    /// The file is no journal.
    #[error("`{}` is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// No campaign knows the server.
    #[error("no campaign under `{}` has a deployment or run `{name}`", directory.display())]
    NoServer {
        /// What was asked for.
        name: String,
        /// The results directory.
        directory: PathBuf,
    },
    /// The server is known and gone.
    #[error("the server `{name}` is {phase}: only one that is ready or kept can be used")]
    ServerGone {
        /// The server.
        name: String,
        /// Its phase.
        phase: &'static str,
    },
}

/// A server of another campaign.
#[derive(Clone, Debug, PartialEq)]
pub struct Borrowed {
    /// Its campaign.
    pub campaign: CampaignId,
    /// Its name.
    pub deployment: DeploymentId,
    /// Its handle.
    pub handle: Handle,
    /// What it is.
    pub spec: DeploymentSpec,
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    move |source| JournalError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

impl Journal {
    /// Begins the journal of a new campaign and holds it.
    pub fn create(results_dir: &Path, campaign: &Campaign) -> Result<Self, JournalError> {
        let directory = results_dir.join(campaign.campaign_id.as_str());
        fs::create_dir_all(&directory).map_err(io_error("create", &directory))?;
        let journal = Self::hold(directory, &campaign.campaign_id)?;
        if journal.directory.join(STATE_FILE).exists() {
            return Err(JournalError::Exists {
                campaign: campaign.campaign_id.clone(),
            });
        }
        journal.write(campaign)?;
        Ok(journal)
    }

    /// Holds a campaign's journal and reads it.
    pub fn open(results_dir: &Path, id: &CampaignId) -> Result<(Self, Campaign), JournalError> {
        let directory = results_dir.join(id.as_str());
        if !directory.join(STATE_FILE).exists() {
            return Err(JournalError::NoCampaign {
                campaign: id.clone(),
                directory: results_dir.to_owned(),
            });
        }
        let journal = Self::hold(directory, id)?;
        let campaign = Self::load(results_dir, id)?;
        Ok((journal, campaign))
    }

    fn hold(directory: PathBuf, id: &CampaignId) -> Result<Self, JournalError> {
        let path = directory.join(LOCK_FILE);
        let mut lock = File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(io_error("open", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // The number only serves the message, so an unreadable one is no error of its own.
                let read = lock.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
                let pid = if read {
                    pid.trim().to_owned()
                } else {
                    "unknown".to_owned()
                };
                return Err(JournalError::Locked {
                    campaign: id.clone(),
                    pid,
                });
            }
            Err(TryLockError::Error(source)) => return Err(io_error("lock", &path)(source)),
        }
        lock.set_len(0)
            .and_then(|()| lock.seek(SeekFrom::Start(0)))
            .and_then(|_| lock.write_all(format!("{}\n", std::process::id()).as_bytes()))
            .map_err(io_error("write", &path))?;
        Ok(Self {
            directory,
            _lock: lock,
        })
    }

    /// `<results-dir>/<campaign_id>`.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Replaces the state; when this returns, the new one survives a crash of the machine.
    pub fn write(&self, campaign: &Campaign) -> Result<(), JournalError> {
        let path = self.directory.join(STATE_FILE);
        let new = self.directory.join(NEW_STATE_FILE);
        let mut bytes = serde_json::to_vec_pretty(campaign).map_err(|source| JournalError::Damaged {
            path: path.clone(),
            source,
        })?;
        bytes.push(b'\n');
        File::create(&new)
            .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
            .map_err(io_error("write", &new))?;
        fs::rename(&new, &path).map_err(io_error("replace", &path))?;
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(io_error("write", &self.directory))
    }

    /// Reads a campaign without holding it.
    pub fn load(results_dir: &Path, id: &CampaignId) -> Result<Campaign, JournalError> {
        #[derive(Deserialize)]
        struct Headed {
            header: FormatHeader,
        }
        let path = results_dir.join(id.as_str()).join(STATE_FILE);
        let bytes = fs::read(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => JournalError::NoCampaign {
                campaign: id.clone(),
                directory: results_dir.to_owned(),
            },
            _ => io_error("read", &path)(source),
        })?;
        let damaged = |source| JournalError::Damaged {
            path: path.clone(),
            source,
        };
        let Headed { header } = serde_json::from_slice(&bytes).map_err(damaged)?;
        STATE_FORMAT
            .check(&header)
            .map_err(|source| JournalError::Format {
                path: path.clone(),
                source,
            })?;
        serde_json::from_slice(&bytes).map_err(damaged)
    }

    /// The campaigns of a results directory, the latest first; none if there is no such directory.
    pub fn campaigns(results_dir: &Path) -> Result<Vec<CampaignId>, JournalError> {
        let entries = match fs::read_dir(results_dir) {
            Ok(entries) => entries,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(io_error("read", results_dir)(source)),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io_error("read", results_dir))?;
            // What has no campaign's name is not ours to judge.
            let id = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<CampaignId>().ok());
            ids.extend(id.filter(|_| entry.path().join(STATE_FILE).is_file()));
        }
        // The names begin with the time.
        ids.sort_unstable_by(|a, b| b.cmp(a));
        Ok(ids)
    }

    /// The latest campaign for which `resume` has something to do.
    pub fn latest_unfinished(results_dir: &Path) -> Result<Option<CampaignId>, JournalError> {
        for id in Self::campaigns(results_dir)? {
            if Self::load(results_dir, &id)?.is_unfinished() {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// The server that a deployment's or a run's name stands for, in whatever campaign.
    pub fn find_server(results_dir: &Path, name: &str) -> Result<Borrowed, JournalError> {
        for id in Self::campaigns(results_dir)? {
            let campaign = Self::load(results_dir, &id)?;
            let found = campaign.deployments.into_iter().find(|deployment| {
                deployment.id.as_str() == name || deployment.runs.iter().any(|run| run.id.as_str() == name)
            });
            let Some(deployment) = found else { continue };
            return match deployment.phase {
                DeploymentPhase::Ready { handle, .. } | DeploymentPhase::Kept { handle, .. } => {
                    Ok(Borrowed {
                        campaign: id,
                        deployment: deployment.id,
                        handle,
                        spec: deployment.spec,
                    })
                }
                phase => Err(JournalError::ServerGone {
                    name: deployment.id.to_string(),
                    phase: phase.name(),
                }),
            };
        }
        Err(JournalError::NoServer {
            name: name.to_owned(),
            directory: results_dir.to_owned(),
        })
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
