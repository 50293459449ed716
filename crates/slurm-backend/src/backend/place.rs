//! A cluster of a campaign, and where our files lie there.

use std::{path::PathBuf, sync::Arc};

use firecrest_client::{FileMode, JobName, Mark, NameError, RemotePath, Sha256};
use gipfel_backend::BackendError;
use gipfel_model::{CampaignId, SlurmReach};
use tokio::sync::OnceCell;

use super::{failed, pack};
use crate::{
    cluster::Cluster,
    render::{self, MARK_FILE},
    site::Site,
};

/// Files of ours are nobody else's.
pub(super) const PRIVATE: u16 = 0o600;

/// The load generator for the nodes of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadGenerator {
    /// The program on this machine.
    pub program: PathBuf,
    /// Its checksum, under which it is stored.
    pub sha256: Sha256,
}

/// A cluster that a campaign uses.
pub struct Place {
    /// How the configuration names it.
    pub reach: SlurmReach,
    /// The way to it.
    pub cluster: Arc<dyn Cluster>,
    /// Its profile.
    pub site: Site,
    /// What sends the load there; absent where none is needed.
    pub load_generator: Option<LoadGenerator>,
    scratch: OnceCell<RemotePath>,
}

impl Place {
    /// A cluster.
    pub fn new(
        reach: SlurmReach,
        cluster: Arc<dyn Cluster>,
        site: Site,
        load_generator: Option<LoadGenerator>,
    ) -> Self {
        Self {
            reach,
            cluster,
            site,
            load_generator,
            scratch: OnceCell::new(),
        }
    }

    /// The directory under which all of ours lies.
    pub async fn scratch(&self) -> Result<&RemotePath, BackendError> {
        self.scratch.get_or_try_init(|| self.find_scratch()).await
    }

    async fn find_scratch(&self) -> Result<RemotePath, BackendError> {
        let operation = || "find the directory for gipfel's files".to_owned();
        let facts = self.cluster.facts().await.map_err(failed)?;
        let named = self.reach.scratch_base.as_ref().map(|named| {
            let path = ["${USER}", "$USER", "{user}"]
                .iter()
                .fold(named.clone(), |path, place| path.replace(place, &facts.user));
            RemotePath::try_new(path)
        });
        if let Some(path) = named.or_else(|| self.site.scratch(&facts.user)) {
            return path.map_err(|error| BackendError::permanent(operation(), error));
        }
        let root = facts.roots.first().ok_or_else(|| {
            BackendError::permanent(
                operation(),
                "the cluster names none: write it as `scratch_base` into the configuration",
            )
        })?;
        root.join("gipfel")
            .map_err(|error| BackendError::permanent(operation(), error))
    }

    /// The directory of a server or a run.
    pub(super) async fn directory(&self, id: &str) -> Result<RemotePath, BackendError> {
        within(self.scratch().await?, id)
    }

    /// Writes a file for the user alone.
    pub(super) async fn write(&self, path: &RemotePath, content: &[u8]) -> Result<(), BackendError> {
        self.write_with(path, content, mode(PRIVATE)?).await
    }

    /// Writes a file.
    pub(super) async fn write_with(
        &self,
        path: &RemotePath,
        content: &[u8],
        mode: FileMode,
    ) -> Result<(), BackendError> {
        self.cluster.write(path, content, mode).await.map_err(failed)
    }

    pub(super) async fn make_directory(&self, path: &RemotePath) -> Result<(), BackendError> {
        self.cluster.make_directory(path).await.map_err(failed)
    }

    /// A text file of at most so many bytes, without what ends it.
    pub(super) async fn text(&self, path: &RemotePath, most: u64) -> Result<Option<String>, BackendError> {
        let content = self.cluster.read(path, most).await.map_err(failed)?;
        Ok(content.map(|content| String::from_utf8_lossy(&content).trim_end().to_owned()))
    }

    /// Notes that a campaign has something of this name here, before it is submitted.
    pub(super) async fn note(&self, campaign: &CampaignId, id: &str) -> Result<(), BackendError> {
        let directory = self.campaign(campaign).await?;
        self.make_directory(&directory).await?;
        self.write(&within(&directory, id)?, b"\n").await
    }

    /// What a campaign has noted here.
    pub(super) async fn noted(&self, campaign: &CampaignId) -> Result<Vec<String>, BackendError> {
        let directory = self.campaign(campaign).await?;
        let names = self.cluster.list(&directory).await.map_err(failed)?;
        Ok(names.unwrap_or_default())
    }

    async fn campaign(&self, campaign: &CampaignId) -> Result<RemotePath, BackendError> {
        within(&within(self.scratch().await?, "campaigns")?, campaign.as_str())
    }

    /// Brings the load generator there, packed and once, and tells where it lies when a job has unpacked it.
    pub(super) async fn store_load_generator(&self) -> Result<RemotePath, BackendError> {
        let Some(LoadGenerator { program, sha256 }) = &self.load_generator else {
            return Err(BackendError::permanent(
                "bring the load generator to the cluster",
                "this gipfel carries none for its nodes: give one by `--loadgen FILE`",
            ));
        };
        let directory = within(
            &within(self.scratch().await?, "load-generators")?,
            &sha256.to_string(),
        )?;
        self.make_directory(&directory).await?;
        let path = within(&directory, "gipfel-loadgen")?;
        let operation = || format!("pack {} for the cluster", program.display());
        // Packed, it fits into one direct upload; a job unpacks it.
        let packed = pack::gzip(program).map_err(|error| BackendError::permanent(operation(), error))?;
        let there = within(&directory, "gipfel-loadgen.gz")?;
        let put = self.cluster.put(packed.path(), &there, mode(PRIVATE)?).await;
        put.map_err(failed)?;
        Ok(path)
    }
}

/// The path of an entry.
pub(super) fn within(directory: &RemotePath, name: &str) -> Result<RemotePath, BackendError> {
    directory.join(name).map_err(|error| wrong_name(name, error))
}

fn wrong_name(name: &str, error: NameError) -> BackendError {
    BackendError::permanent(format!("use the name `{name}` on the cluster"), error)
}

/// The name of a job.
pub(super) fn job_name(id: &str, attempt: u32) -> Result<JobName, BackendError> {
    render::job_name(id, attempt).map_err(|error| wrong_name(id, error))
}

/// The mark of a job.
pub(super) fn mark(directory: &RemotePath, attempt: u32) -> Result<Mark, BackendError> {
    render::mark(directory, attempt).map_err(|error| wrong_name(directory.as_str(), error))
}

/// Which attempts have left their marks among these names: the highest, 0 for none.
pub(super) fn attempts(names: &[String]) -> u32 {
    let attempt = |name: &String| match name.strip_prefix(MARK_FILE)? {
        "" => Some(1),
        rest => rest.strip_prefix('-')?.parse().ok(),
    };
    names.iter().filter_map(attempt).max().unwrap_or(0)
}

pub(super) fn mode(bits: u16) -> Result<FileMode, BackendError> {
    FileMode::try_new(bits)
        .ok_or_else(|| BackendError::permanent("set the mode of a file", format!("{bits:o} is none")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_counted_by_their_marks() {
        let check = |names: &[&str], expected| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(attempts(&names), expected, "{names:?}");
        };
        check(&[], 0);
        check(&["run_config.json", "jobid.17"], 0);
        check(&["jobid", "progress.json"], 1);
        check(&["jobid-2", "jobid", "jobid-10", "jobid-x"], 10);
    }
}
