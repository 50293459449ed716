//! A cluster by the REST API of FirecREST.

mod errors;
mod files;
mod jobs;
mod offers;

use std::path::Path;

use firecrest_client::{
    AdoptPolicy, Adoption, Client, Earlier, FileMode, Files, JobFilter, JobId, JobName, Jobs, Mark,
    RemotePath, Sha256, System, SystemName, TransferOptions, Transfers,
};
use gipfel_backend::BoxFuture;
use tokio::sync::OnceCell;

use self::errors::Fault;
use super::{
    Cluster, ClusterError, ClusterFacts, FileFacts, FilePiece, JobFacts, JobRequest, SubmitFailure,
    offers::Offers,
};

/// A system behind a FirecREST.
///
/// FirecREST has no rename that is carried out at once, so a file that is written here is written in place: while a call
/// lasts, some milliseconds on the cluster, a reader may see it empty or in part. A file that a job waits for therefore
/// ends with a line by which the job tells that it is whole. No file of ours is empty: the server takes five seconds for one.
pub struct FirecrestCluster {
    client: Client,
    system: SystemName,
    options: FirecrestOptions,
    files: Files,
    jobs: Jobs,
    transfers: Transfers,
    facts: OnceCell<ClusterFacts>,
}

/// What a system is used with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirecrestOptions {
    /// How submissions are settled whose answer was lost.
    pub adopt: AdoptPolicy,
    /// The account of the jobs that transfer large files, where the site wants one.
    pub transfer_account: Option<String>,
}

/// The limit of a direct download where the server does not tell its own.
const UNTOLD_LIMIT: u64 = 3_932_157;

impl FirecrestCluster {
    /// A system of a client's FirecREST. Nothing is asked yet.
    pub fn new(client: Client, system: SystemName, options: FirecrestOptions) -> Self {
        Self {
            files: client.files(&system),
            jobs: client.jobs(&system),
            transfers: client.transfers(&system),
            client,
            system,
            options,
            facts: OnceCell::new(),
        }
    }

    fn error(&self, operation: impl Into<String>, fault: impl Into<Fault>) -> ClusterError {
        let fault = fault.into();
        ClusterError {
            cluster: self.system.to_string(),
            operation: operation.into(),
            kind: fault.kind(),
            source: fault.into_source(),
        }
    }

    fn transfer_options(&self) -> TransferOptions {
        TransferOptions {
            account: self.options.transfer_account.clone(),
            ..TransferOptions::default()
        }
    }

    /// What the systems call and the user's information tell, asked for once.
    async fn facts_now(&self) -> Result<ClusterFacts, ClusterError> {
        let operation = "learn who the user is and what the system allows";
        let found = self.facts.get_or_try_init(|| async {
            let status = self.client.status();
            let (system, user) = tokio::join!(status.system(&self.system), status.user_info(&self.system));
            let system = system.map_err(|error| self.error(operation, error))?;
            let user = user.map_err(|error| self.error(operation, error))?;
            let unlisted = || {
                let reason = format!("this FirecREST lists no system `{}`", self.system);
                self.error(operation, Fault::Invalid(reason))
            };
            Ok(facts_of(&system.ok_or_else(unlisted)?, &user))
        });
        found.await.cloned()
    }
}

fn facts_of(system: &System, user: &firecrest_client::UserInfo) -> ClusterFacts {
    let default = user.default_account().into_iter();
    let others = user.accounts.iter().filter(|account| !account.default);
    let work = system.default_file_system();
    let own =
        work.map(|file_system| format!("{}/{}", file_system.path.trim_end_matches('/'), user.user.name));
    let all = system
        .file_systems
        .iter()
        .map(|file_system| file_system.path.clone());
    ClusterFacts {
        user: user.user.name.clone(),
        accounts: default
            .chain(others)
            .map(|account| account.name.clone())
            .collect(),
        roots: own
            .into_iter()
            .chain(all)
            .filter_map(|path| RemotePath::try_new(path).ok())
            .collect(),
        most_down: Some(system.direct_download_limit().unwrap_or(UNTOLD_LIMIT)),
    }
}

impl Cluster for FirecrestCluster {
    fn name(&self) -> &str {
        self.system.as_str()
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
        Box::pin(async move {
            let adoption = self.jobs.adopt(name, mark, policy).await;
            adoption.map_err(|error| self.error(format!("look for job {name}"), error))
        })
    }

    fn jobs(&self) -> BoxFuture<'_, Result<Vec<JobFacts>, ClusterError>> {
        Box::pin(async {
            let listed = self.jobs.list(&JobFilter::default()).await;
            let listed = listed.map_err(|error| self.error("list the jobs", error))?;
            Ok(listed.into_iter().map(jobs::facts_of).collect())
        })
    }

    fn job<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<Option<JobFacts>, ClusterError>> {
        Box::pin(self.job_now(id))
    }

    fn cancel<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<(), ClusterError>> {
        Box::pin(async move {
            let cancelled = self.jobs.cancel(id).await;
            cancelled.map_err(|error| self.error(format!("cancel job {id}"), error))?;
            Ok(())
        })
    }

    fn offers(&self) -> BoxFuture<'_, Result<Offers, ClusterError>> {
        Box::pin(self.offers_now())
    }

    /// FirecREST cannot ask.
    fn try_out<'a>(&'a self, _: &'a JobRequest) -> BoxFuture<'a, Result<Option<String>, ClusterError>> {
        Box::pin(async { Ok(None) })
    }

    /// FirecREST does not tell.
    fn free<'a>(&'a self, _: &'a RemotePath) -> BoxFuture<'a, Result<Option<u64>, ClusterError>> {
        Box::pin(async { Ok(None) })
    }
}
