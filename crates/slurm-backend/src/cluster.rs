//! What is asked of a cluster: files, jobs, facts.

mod assembly;
#[cfg(feature = "contract")]
pub mod contract;
pub mod firecrest;
pub mod offers;
mod paths;
pub mod refusal;
pub mod shell;
#[cfg(feature = "simulated")]
pub mod simulated;
mod text;
mod words;

use std::{path::Path, time::Duration};

use firecrest_client::{
    AdoptPolicy, Adoption, Earlier, FileMode, JobId, JobName, JobState, Mark, PendingReason, RemotePath,
    Sha256,
};
use gipfel_backend::BoxFuture;

use self::offers::Offers;

/// A cluster with Slurm, and the one way in which it is reached.
///
/// Each call is bounded in time and repeats by itself what may be repeated. A path that is not there is no error where
/// an `Option` is returned.
pub trait Cluster: Send + Sync {
    /// How messages call it, such as `clariden` or `this machine's Slurm`.
    fn name(&self) -> &str;

    /// The user there, and what paths may begin with.
    fn facts(&self) -> BoxFuture<'_, Result<ClusterFacts, ClusterError>>;

    /// Makes a directory and its parents, for the user alone; one that is there is no error.
    fn make_directory<'a>(&'a self, path: &'a RemotePath) -> BoxFuture<'a, Result<(), ClusterError>>;

    /// Writes a small file, which is not empty, in place of one that is there; its directory is.
    ///
    /// By a shell a reader sees it whole or not at all, and nobody else may read it before `mode` says so. By FirecREST a
    /// reader may see it in part for a moment, and its directory keeps others out: one made by
    /// [`make_directory`](Self::make_directory).
    fn write<'a>(
        &'a self,
        path: &'a RemotePath,
        content: &'a [u8],
        mode: FileMode,
    ) -> BoxFuture<'a, Result<(), ClusterError>>;

    /// Brings a local file of any size there, verified by its checksum. A file of that checksum is left as it is.
    fn put<'a>(
        &'a self,
        local: &'a Path,
        path: &'a RemotePath,
        mode: FileMode,
    ) -> BoxFuture<'a, Result<(), ClusterError>>;

    /// A file of at most `most` bytes; a longer one is an error.
    fn read<'a>(
        &'a self,
        path: &'a RemotePath,
        most: u64,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, ClusterError>>;

    /// The last bytes of a text file, at most so many, from the beginning of a line on where there is one.
    fn tail<'a>(
        &'a self,
        path: &'a RemotePath,
        bytes: u64,
    ) -> BoxFuture<'a, Result<Option<String>, ClusterError>>;

    /// Size and age of a file.
    fn stat<'a>(&'a self, path: &'a RemotePath) -> BoxFuture<'a, Result<Option<FileFacts>, ClusterError>>;

    /// The names in a directory.
    fn list<'a>(&'a self, path: &'a RemotePath) -> BoxFuture<'a, Result<Option<Vec<String>>, ClusterError>>;

    /// Brings pieces, in this order, into one local file, which is there only once its checksum is right. What an earlier
    /// call has brought is not brought again.
    fn fetch<'a>(
        &'a self,
        pieces: &'a [FilePiece],
        whole: Sha256,
        local: &'a Path,
    ) -> BoxFuture<'a, Result<(), ClusterError>>;

    /// Removes a file or a directory with all that is in it; one that is not there is no error.
    fn remove<'a>(&'a self, path: &'a RemotePath) -> BoxFuture<'a, Result<(), ClusterError>>;

    /// Submits a job once: one of its name or mark that is there already is taken up. The error says what is known.
    fn submit<'a>(
        &'a self,
        request: &'a JobRequest,
        earlier: Earlier,
    ) -> BoxFuture<'a, Result<JobId, SubmitFailure>>;

    /// Finds the job that a submission started, by name and by mark. An error settles nothing.
    fn adopt<'a>(
        &'a self,
        name: &'a JobName,
        mark: &'a Mark,
        policy: &'a AdoptPolicy,
    ) -> BoxFuture<'a, Result<Adoption, ClusterError>>;

    /// The user's jobs of the last day, in one call. A job that is missing may exist all the same.
    fn jobs(&self) -> BoxFuture<'_, Result<Vec<JobFacts>, ClusterError>>;

    /// One job. One that was submitted a moment ago may be unknown yet.
    fn job<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<Option<JobFacts>, ClusterError>>;

    /// Cancels a job, with its steps; one that has ended or is unknown is no error.
    fn cancel<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<(), ClusterError>>;

    /// What Slurm offers, as far as this way tells it.
    fn offers(&self) -> BoxFuture<'_, Result<Offers, ClusterError>>;

    /// What Slurm would make of a job, in its words; nothing is submitted. Nothing where this way cannot ask.
    fn try_out<'a>(&'a self, request: &'a JobRequest) -> BoxFuture<'a, Result<Option<String>, ClusterError>>;

    /// The bytes that are free where a directory lies; nothing where this way does not tell.
    fn free<'a>(&'a self, directory: &'a RemotePath) -> BoxFuture<'a, Result<Option<u64>, ClusterError>>;
}

/// A file of a split one, and its checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePiece {
    /// Where it lies.
    pub path: RemotePath,
    /// Its checksum.
    pub sha256: Sha256,
}

/// Who and what the user is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterFacts {
    /// The login name.
    pub user: String,
    /// The accounts that jobs can be charged to, where that is told; the default one first.
    pub accounts: Vec<String>,
    /// The directories under which the user's files may lie; the one for work comes first, with the user's name in it.
    pub roots: Vec<RemotePath>,
    /// What one call may bring at most, in bytes; a file that is to come home is split below it. Absent: no limit.
    pub most_down: Option<u64>,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Its length.
    pub bytes: u64,
    /// When it was changed last, in seconds since 1970 by the cluster's clock.
    pub modified: i64,
    /// The lowest nine bits of its mode.
    pub mode: u16,
}

/// A job to submit. Everything else stands in its script.
#[derive(Clone, Debug)]
pub struct JobRequest {
    /// Its name, which no other job has.
    pub name: JobName,
    /// The file by which it says itself that it was started; its script writes it by [`Mark::script_lines`].
    pub mark: Mark,
    /// Its working directory, which exists.
    pub directory: RemotePath,
    /// The script, from `#!` on. It also lies in the directory, for people.
    pub script: String,
}

/// A job as Slurm tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFacts {
    /// Its id.
    pub id: JobId,
    /// Its name.
    pub name: String,
    /// Its comment, where that is told: our own jobs carry the campaign's id in it.
    pub comment: Option<String>,
    /// What it does.
    pub state: JobState,
    /// Why it waits, if it does.
    pub waits: Option<PendingReason>,
    /// Its nodes, expanded; none before it runs.
    pub nodes: Vec<String>,
    /// Its partition.
    pub partition: Option<String>,
    /// How long it has run.
    pub elapsed: Option<Duration>,
    /// Its walltime.
    pub limit: Option<Duration>,
    /// When it began to run, in seconds since 1970 by the cluster's clock; Slurm's guess is left out.
    pub started: Option<i64>,
    /// The exit code of its script. It says nothing of a job that was cancelled or ran out of time.
    pub exit_code: Option<i32>,
    /// The signal that ended its script.
    pub signal: Option<i32>,
}

/// What kind of refusal it is; a message for people goes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterErrorKind {
    /// The cluster or the way to it is away.
    Away,
    /// The credentials are not taken.
    Refused,
    /// No right to this file or job.
    Forbidden,
    /// The account is wrong, or none was given where one must be.
    Account,
    /// The partition, quality of service or reservation is wrong.
    Partition,
    /// The walltime is more than is allowed.
    Walltime,
    /// A limit of the user, account or quality of service.
    Limit,
    /// The disk or the quota is full.
    Full,
    /// What was asked cannot be done, whatever is tried.
    Invalid,
}

impl ClusterErrorKind {
    /// Whether the same call may succeed later.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Away => true,
            Self::Refused
            | Self::Forbidden
            | Self::Account
            | Self::Partition
            | Self::Walltime
            | Self::Limit
            | Self::Full
            | Self::Invalid => false,
        }
    }
}

/// A call that failed.
#[derive(Debug, thiserror::Error)]
#[error("{cluster}: failed to {operation}")]
pub struct ClusterError {
    /// The cluster.
    pub cluster: String,
    /// What was tried, as it completes "failed to …".
    pub operation: String,
    /// What kind of refusal it is.
    pub kind: ClusterErrorKind,
    /// Why, in the cluster's words.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// What a failed submission left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmitEffect {
    /// Nothing, now and later.
    NotStarted,
    /// This job.
    Started(JobId),
    /// Perhaps a job: [`Cluster::adopt`] settles it.
    Unknown,
}

/// A submission that failed.
#[derive(Debug, thiserror::Error)]
#[error("the submission failed")]
pub struct SubmitFailure {
    /// What it left behind.
    pub effect: SubmitEffect,
    /// Why.
    #[source]
    pub source: ClusterError,
}
