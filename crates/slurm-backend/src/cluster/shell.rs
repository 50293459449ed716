//! Slurm's own commands, through a shell: of this machine, or of a login node over ssh.

mod commands;
mod files;
mod frame;
mod jobs;
mod local;
mod observe;
mod offers;
mod output;
mod ssh;
mod transport;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use firecrest_client::{
    AdoptPolicy, Adoption, Earlier, FileMode, JobId, JobName, Mark, RemotePath, Sha256, TimeWindow,
};
use gipfel_backend::BoxFuture;
use tokio::{sync::OnceCell, time::Instant};

pub(crate) use self::ssh::check_host;
pub use self::{
    local::LocalShell,
    ssh::{HostError, SshOptions, SshShell},
    transport::{Input, Shell, ShellCommand, ShellError, ShellOutput},
};
use super::{
    Cluster, ClusterError, ClusterErrorKind, ClusterFacts, FileFacts, FilePiece, JobFacts, JobRequest,
    SubmitFailure, offers::Offers, words,
};

/// A cluster by Slurm's commands and those of a POSIX shell with GNU's file commands.
///
/// A file takes its place by a rename once it has arrived whole. Without an accounting database, jobs are those that the
/// controller remembers (`MinJobAge`, five minutes unless the site says otherwise).
pub struct ShellCluster {
    name: String,
    shell: Arc<dyn Shell>,
    policy: ShellPolicy,
    facts: OnceCell<ClusterFacts>,
    /// This Slurm has said that it keeps no accounts.
    lacks_accounting: AtomicBool,
}

/// How long calls may take, and how submissions are settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShellPolicy {
    /// How often a call is made that may be repeated.
    pub attempts: u32,
    /// The pause before the first repetition; it doubles with each further one.
    pub pause: Duration,
    /// No call is repeated after this time.
    pub total: Duration,
    /// The time of one command.
    pub command: Duration,
    /// The time of `sbatch`, which waits for a busy controller by itself.
    pub submit: Duration,
    /// How submissions are settled whose answer was lost.
    pub adopt: AdoptPolicy,
}

impl Default for ShellPolicy {
    /// Four attempts of at most a minute each within two minutes, two minutes for `sbatch`.
    fn default() -> Self {
        Self {
            attempts: 4,
            pause: Duration::from_secs(2),
            total: Duration::from_mins(2),
            command: Duration::from_mins(1),
            submit: Duration::from_mins(2),
            adopt: AdoptPolicy::default(),
        }
    }
}

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Shell(ShellError),
    #[error("it exited with {code}: {text}")]
    Exit { code: i32, text: String },
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Local(super::assembly::AssemblyError),
}

impl CommandError {
    fn kind(&self) -> ClusterErrorKind {
        match self {
            Self::Shell(error) => error.kind(),
            Self::Exit {
                code: NOT_WHOLE,
                text,
            } => words::kind_of(text).unwrap_or(ClusterErrorKind::Away),
            Self::Exit { text, .. } => words::kind_of(text).unwrap_or(ClusterErrorKind::Invalid),
            // A piece that arrived otherwise than it should may arrive well.
            Self::Local(super::assembly::AssemblyError::Checksum { .. }) => ClusterErrorKind::Away,
            Self::Local(super::assembly::AssemblyError::Local { .. }) | Self::Refused(_) => {
                ClusterErrorKind::Invalid
            }
        }
    }
}

/// The exit code of a command whose input could not be written down.
const NOT_TAKEN: i32 = 96;

/// The exit code of a command whose input did not arrive as it was sent.
const NOT_WHOLE: i32 = 97;

impl ShellCluster {
    /// The Slurm of this machine.
    pub fn local(policy: ShellPolicy) -> Self {
        Self::new("this machine's Slurm", Arc::new(LocalShell::new()), policy)
    }

    /// The Slurm of a host, over ssh.
    pub fn ssh(host: &str, options: SshOptions, policy: ShellPolicy) -> Result<Self, HostError> {
        Ok(Self::new(host, Arc::new(SshShell::new(host, options)?), policy))
    }

    /// A Slurm behind any shell.
    pub fn new(name: &str, shell: Arc<dyn Shell>, policy: ShellPolicy) -> Self {
        Self {
            name: name.to_owned(),
            shell,
            policy,
            facts: OnceCell::new(),
            lacks_accounting: AtomicBool::new(false),
        }
    }

    fn error(&self, operation: impl Into<String>, error: CommandError) -> ClusterError {
        ClusterError {
            cluster: self.name.clone(),
            operation: operation.into(),
            kind: error.kind(),
            source: error.into(),
        }
    }

    /// Runs a command whose effect is the same however often it is carried out.
    async fn repeat(&self, command: &ShellCommand) -> Result<ShellOutput, CommandError> {
        let (begun, mut attempt, mut pause) = (Instant::now(), 1, self.policy.pause);
        loop {
            let answer = self.once(command).await;
            let may_go_on =
                attempt < self.policy.attempts && begun.elapsed().saturating_add(pause) < self.policy.total;
            let error = match answer {
                Err(error) if error.kind().is_retryable() && may_go_on => error,
                answer => return answer,
            };
            tracing::debug!(cluster = self.name, attempt, %error, "a command is repeated");
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
            attempt += 1;
        }
    }

    /// Runs a command once; another exit code than 0 is an error.
    async fn once(&self, command: &ShellCommand) -> Result<ShellOutput, CommandError> {
        let output = self.shell.run(command).await.map_err(CommandError::Shell)?;
        match output.code {
            0 => Ok(output),
            code => Err(CommandError::Exit {
                code,
                text: output.error_text(),
            }),
        }
    }

    fn command(&self, line: String) -> ShellCommand {
        ShellCommand {
            line,
            input: Input::Nothing,
            time: self.policy.command,
        }
    }

    async fn run(
        &self,
        operation: impl FnOnce() -> String,
        line: String,
    ) -> Result<ShellOutput, ClusterError> {
        let output = self.repeat(&self.command(line)).await;
        output.map_err(|error| self.error(operation(), error))
    }

    /// Runs a command that reads a file; nothing if the file is not there.
    async fn look(
        &self,
        operation: impl FnOnce() -> String,
        line: String,
    ) -> Result<Option<Vec<u8>>, ClusterError> {
        match self.repeat(&self.command(line)).await {
            Ok(output) => Ok(Some(output.stdout)),
            Err(CommandError::Exit { text, .. }) if words::is_missing_file(&text) => Ok(None),
            Err(error) => Err(self.error(operation(), error)),
        }
    }

    async fn facts_now(&self) -> Result<ClusterFacts, ClusterError> {
        let found = self.facts.get_or_try_init(|| async {
            let output = self
                .run(|| "learn who the user is".to_owned(), commands::facts())
                .await?;
            let read = output::read_facts(&String::from_utf8_lossy(&output.stdout));
            let reason = "it tells no user's name";
            read.ok_or_else(|| self.error("learn who the user is", CommandError::Refused(reason.to_owned())))
        });
        found.await.cloned()
    }

    fn keeps_accounts(&self) -> bool {
        !self.lacks_accounting.load(Ordering::Relaxed)
    }
}

impl Cluster for ShellCluster {
    fn name(&self) -> &str {
        &self.name
    }

    fn facts(&self) -> BoxFuture<'_, Result<ClusterFacts, ClusterError>> {
        Box::pin(self.facts_now())
    }

    fn make_directory<'a>(&'a self, path: &'a RemotePath) -> BoxFuture<'a, Result<(), ClusterError>> {
        Box::pin(self.make_directory_now(path))
    }

    fn write<'a>(
        &'a self,
        path: &'a RemotePath,
        content: &'a [u8],
        mode: FileMode,
    ) -> BoxFuture<'a, Result<(), ClusterError>> {
        Box::pin(self.write_now(path, content, mode))
    }

    fn put<'a>(
        &'a self,
        local: &'a Path,
        path: &'a RemotePath,
        mode: FileMode,
    ) -> BoxFuture<'a, Result<(), ClusterError>> {
        Box::pin(self.put_now(local, path, mode))
    }

    fn read<'a>(
        &'a self,
        path: &'a RemotePath,
        most: u64,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, ClusterError>> {
        Box::pin(self.read_now(path, most))
    }

    fn tail<'a>(
        &'a self,
        path: &'a RemotePath,
        bytes: u64,
    ) -> BoxFuture<'a, Result<Option<String>, ClusterError>> {
        Box::pin(self.tail_now(path, bytes))
    }

    fn stat<'a>(&'a self, path: &'a RemotePath) -> BoxFuture<'a, Result<Option<FileFacts>, ClusterError>> {
        Box::pin(self.stat_now(path))
    }

    fn list<'a>(&'a self, path: &'a RemotePath) -> BoxFuture<'a, Result<Option<Vec<String>>, ClusterError>> {
        Box::pin(self.list_now(path))
    }

    fn fetch<'a>(
        &'a self,
        pieces: &'a [FilePiece],
        whole: Sha256,
        local: &'a Path,
    ) -> BoxFuture<'a, Result<(), ClusterError>> {
        Box::pin(self.fetch_now(pieces, whole, local))
    }

    fn remove<'a>(&'a self, path: &'a RemotePath) -> BoxFuture<'a, Result<(), ClusterError>> {
        Box::pin(self.remove_now(path))
    }

    fn submit<'a>(
        &'a self,
        request: &'a JobRequest,
        earlier: Earlier,
    ) -> BoxFuture<'a, Result<JobId, SubmitFailure>> {
        Box::pin(self.submit_once(request, earlier))
    }

    fn adopt<'a>(
        &'a self,
        name: &'a JobName,
        mark: &'a Mark,
        policy: &'a AdoptPolicy,
    ) -> BoxFuture<'a, Result<Adoption, ClusterError>> {
        Box::pin(self.adopt_now(name, mark, policy))
    }

    fn jobs(&self) -> BoxFuture<'_, Result<Vec<JobFacts>, ClusterError>> {
        Box::pin(async {
            let listed = self.listed(TimeWindow::Day).await;
            listed.map_err(|error| self.error("list the jobs", error))
        })
    }

    fn job<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<Option<JobFacts>, ClusterError>> {
        Box::pin(self.job_now(id))
    }

    fn cancel<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<(), ClusterError>> {
        Box::pin(self.cancel_now(id))
    }

    fn offers(&self) -> BoxFuture<'_, Result<Offers, ClusterError>> {
        Box::pin(self.offers_now())
    }

    fn try_out<'a>(&'a self, request: &'a JobRequest) -> BoxFuture<'a, Result<Option<String>, ClusterError>> {
        Box::pin(self.try_out_now(request))
    }

    fn free<'a>(&'a self, directory: &'a RemotePath) -> BoxFuture<'a, Result<Option<u64>, ClusterError>> {
        Box::pin(self.free_now(directory))
    }
}
