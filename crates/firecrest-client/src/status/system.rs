//! What the server tells of its systems.

use serde::Deserialize;

use crate::lenient;

/// A cluster behind the API.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct System {
    /// Its name in the paths of the API.
    pub name: String,
    /// How the server reaches it.
    #[serde(default)]
    pub ssh: Option<Ssh>,
    /// Its scheduler.
    #[serde(default)]
    pub scheduler: Option<Scheduler>,
    /// The last health checks; empty where none are made.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub services_health: Vec<Health>,
    /// How often health is checked.
    #[serde(default)]
    pub probing: Option<Probing>,
    /// The file systems that paths must be in.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub file_systems: Vec<FileSystem>,
    /// How files are transferred, and how large they may be.
    #[serde(default)]
    pub data_operation: Option<DataOperation>,
}

impl System {
    /// The largest file that a direct upload takes; nothing where the server does not tell.
    pub fn direct_upload_limit(&self) -> Option<u64> {
        self.data_operation.as_ref()?.max_ops_file_size
    }

    /// The largest file that a direct download gives.
    ///
    /// The server compares the file's base64 text with its limit, so it is about three quarters of it.
    pub fn direct_download_limit(&self) -> Option<u64> {
        self.direct_upload_limit().map(download_limit)
    }

    /// Whether transfer jobs need an account: whether the site's directives have a place for it.
    pub fn transfers_need_account(&self) -> bool {
        let directives = self
            .data_operation
            .as_ref()
            .map(|operation| operation.datatransfer_jobs_directives.as_slice());
        directives
            .unwrap_or_default()
            .iter()
            .any(|directive| directive.contains("{account}"))
    }

    /// The health checks that failed.
    pub fn unhealthy(&self) -> impl Iterator<Item = &Health> {
        self.services_health.iter().filter(|health| !health.healthy)
    }

    /// The file system where the server works for its users.
    pub fn default_file_system(&self) -> Option<&FileSystem> {
        self.file_systems
            .iter()
            .find(|file_system| file_system.default_work_dir)
    }
}

/// The most bytes whose base64 text stays below the limit.
pub(crate) fn download_limit(limit: u64) -> u64 {
    3 * (limit.saturating_sub(1) / 4)
}

/// How the server reaches a system.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Ssh {
    /// The host.
    #[serde(default, deserialize_with = "lenient::optional_text")]
    pub host: Option<String>,
    /// The port.
    #[serde(default, deserialize_with = "lenient::optional_number")]
    pub port: Option<u16>,
    /// The limits in time.
    #[serde(default)]
    pub timeout: Option<SshTimeouts>,
}

/// Limits in time of the server's connection to a system, in seconds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SshTimeouts {
    /// To connect.
    #[serde(default, rename = "connection", deserialize_with = "lenient::optional_number")]
    pub connection_s: Option<f64>,
    /// To log in.
    #[serde(default, rename = "login", deserialize_with = "lenient::optional_number")]
    pub login_s: Option<f64>,
    /// For one command: what takes longer on the cluster is answered with 408.
    #[serde(
        default,
        rename = "commandExecution",
        deserialize_with = "lenient::optional_number"
    )]
    pub command_execution_s: Option<f64>,
}

/// A system's scheduler.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Scheduler {
    /// Its kind, such as `slurm`.
    #[serde(rename = "type")]
    pub kind: String,
    /// How the server speaks to it: `ssh` or `rest`.
    #[serde(default, deserialize_with = "lenient::optional_text")]
    pub connection_mode: Option<String>,
    /// Its version.
    #[serde(default, deserialize_with = "lenient::optional_text")]
    pub version: Option<String>,
    /// The limit in time of its commands, in seconds.
    #[serde(default, rename = "timeout", deserialize_with = "lenient::optional_number")]
    pub timeout_s: Option<f64>,
}

/// The last health check of a service.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Health {
    /// `scheduler`, `ssh`, `filesystem` or `s3`.
    pub service_type: String,
    /// Whether it answered. While it did not, the server refuses calls with 503.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub healthy: bool,
    /// When it was checked.
    #[serde(default, deserialize_with = "lenient::optional_text")]
    pub last_checked: Option<String>,
    /// How long it took, in seconds.
    #[serde(default, rename = "latency", deserialize_with = "lenient::optional_number")]
    pub latency_s: Option<f64>,
    /// What it said.
    #[serde(default, deserialize_with = "lenient::optional_text")]
    pub message: Option<String>,
    /// The file system's path.
    #[serde(default, deserialize_with = "lenient::optional_text")]
    pub path: Option<String>,
}

/// How often health is checked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Probing {
    /// The seconds between checks: as long may a 503 last after the fault is gone.
    #[serde(
        default,
        rename = "intervalCheck",
        deserialize_with = "lenient::optional_number"
    )]
    pub interval_check_s: Option<f64>,
}

/// A file system that the API serves.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct FileSystem {
    /// Where it is.
    pub path: String,
    /// What it is for: `scratch`, `store`, `users`, …
    #[serde(default, deserialize_with = "lenient::optional_text")]
    pub data_type: Option<String>,
    /// Whether the server keeps its own files here.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub default_work_dir: bool,
}

/// How files are transferred.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DataOperation {
    /// The largest file of a direct upload, and the limit of the text of other answers, in bytes.
    #[serde(default, deserialize_with = "lenient::optional_number")]
    pub max_ops_file_size: Option<u64>,
    /// The site's lines in the scripts of transfer jobs.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub datatransfer_jobs_directives: Vec<String>,
    /// The way of large files.
    #[serde(default)]
    pub data_transfer: Option<DataTransfer>,
}

/// The way of large files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DataTransfer {
    /// `s3`, `streamer`, …: this client transfers by `s3`.
    #[serde(default, deserialize_with = "lenient::optional_text")]
    pub service_type: Option<String>,
    /// How uploads are cut.
    #[serde(default)]
    pub multipart: Option<Multipart>,
}

/// How uploads to the staging storage are cut.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Multipart {
    /// The largest part, in bytes.
    #[serde(default, deserialize_with = "lenient::optional_number")]
    pub max_part_size: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_follow_the_base64_text() {
        assert_eq!(download_limit(5_242_880), 3_932_157);
        assert_eq!(download_limit(0), 0);
    }
}
