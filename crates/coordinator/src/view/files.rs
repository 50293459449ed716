//! What the driving process leaves on disk: the journal, the load generators' progress, the servers' logs.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use gipfel_experiment::{Campaign, Deployment, DeploymentPhase, Journal, JournalError};
use gipfel_model::{CampaignId, DeploymentId, FormatHeader, Progress, RunId, progress::PROGRESS_FORMAT};
use serde::Deserialize;

use super::Snapshot;
use crate::words::{cut, printable};

/// How much of a log's end is looked at for its last line.
const TAIL_BYTES: u64 = 8192;
/// No line of a terminal is longer.
const LINE_COLUMNS: usize = 300;

/// A campaign's files.
#[derive(Clone, Debug)]
pub(crate) struct CampaignFiles {
    pub(crate) results_dir: PathBuf,
    pub(crate) id: CampaignId,
}

impl CampaignFiles {
    pub(crate) fn new(results_dir: &Path, id: &CampaignId) -> Self {
        Self {
            results_dir: results_dir.to_owned(),
            id: id.clone(),
        }
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.results_dir.join(self.id.as_str())
    }

    /// Where a server's output goes.
    pub(crate) fn server_log(&self, id: &DeploymentId) -> PathBuf {
        self.directory().join(id.as_str()).join("server.log")
    }

    /// Where a load generator's output goes.
    pub(crate) fn load_log(&self, id: &RunId) -> PathBuf {
        self.directory().join(id.as_str()).join("benchmarker.log")
    }

    pub(crate) fn journal(&self) -> Result<Campaign, JournalError> {
        Journal::load(&self.results_dir, &self.id)
    }

    /// The campaign as its files tell it.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, JournalError> {
        let mut snapshot = Snapshot::new(self.journal()?);
        snapshot.progress = snapshot
            .campaign
            .runs()
            .filter_map(|(_, run)| Some((run.id.clone(), self.progress(&run.id)?)))
            .collect();
        self.read_last_lines(&mut snapshot);
        Ok(snapshot)
    }

    /// Looks at what the servers printed that are loading.
    pub(crate) fn read_last_lines(&self, snapshot: &mut Snapshot) {
        let loading = |deployment: &&Deployment| matches!(deployment.phase, DeploymentPhase::Starting { .. });
        let loading = snapshot.campaign.deployments.iter().filter(loading);
        snapshot.last_lines = loading
            .filter_map(|deployment| {
                let line = last_line(&self.server_log(&deployment.id))?;
                Some((deployment.id.clone(), line))
            })
            .collect();
    }

    /// What the load generator said last; absent before its first word, and of another version's.
    fn progress(&self, run: &RunId) -> Option<Progress> {
        #[derive(Deserialize)]
        struct Headed {
            header: FormatHeader,
        }
        let bytes = std::fs::read(self.directory().join(run.as_str()).join("progress.json")).ok()?;
        let Headed { header } = serde_json::from_slice(&bytes).ok()?;
        PROGRESS_FORMAT.check(&header).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}

/// The last line of a log that says something.
fn last_line(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))
        .ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    // A bar of progress writes over itself.
    let lines = text.split(['\n', '\r']).rev().map(printable);
    let mut lines = lines.filter(|line| !line.trim().is_empty());
    Some(cut(lines.next()?.trim(), LINE_COLUMNS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_says_something() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("server.log");
        assert_eq!(last_line(&path), None);
        let check = |text: &str, expected: Option<&str>| {
            std::fs::write(&path, text).expect("it is written");
            assert_eq!(last_line(&path).as_deref(), expected, "{text:?}");
        };
        check("", None);
        check("\n \n", None);
        check("one\ntwo\n\n", Some("two"));
        check("shards:  10%\rshards:  20%\r", Some("shards:  20%"));
        check("\u{1b}[32mINFO\u{1b}[0m  ready", Some("INFO  ready"));
        check(&"x".repeat(20_000), Some(&format!("{}…", "x".repeat(299))));
    }
}
