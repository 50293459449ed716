//! Load generators as Jobs of one namespace of a cluster.
//!
//! A run's claim stands for it, as a server's does. Each start is a Job of its own, whose first pod stays when the load
//! generator has ended, so that results can be read from it; what is published meanwhile is kept at home.

mod ending;
mod fetching;
mod home;
mod look;
mod objects;
mod starting;
mod watching;

use std::path::{Path, PathBuf};

use gipfel_backend::{BackendError, BoxFuture, EnsureError, Finder, Found, Handle, LoadRunner, RunStatus};
use gipfel_model::{CampaignId, DeploymentId, LoadPlacement, RunConfig, RunId};
use k8s_openapi::api::core::v1::ConfigMap;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

pub use objects::{LoadAttempt, LoadManifestError, LoadManifests};

use crate::{
    api::{ApiError, ApiServer, Connection, Deadlines},
    backend::SYSTEM,
    calls::Calls,
    exec::{self, ExecError},
    labels::claims_of_campaign,
    name::object_name,
    patience::Patience,
    record::{RecordError, Records, State},
};
use home::Home;
use objects::{CLAIM_RUN, CONTAINER};

/// Load generators in one namespace of one cluster.
pub struct K8sLoads {
    calls: Calls,
    context: Option<String>,
    root: PathBuf,
    records: Records,
    deadlines: Deadlines,
    program: PathBuf,
    packed: OnceCell<Vec<u8>>,
    patience: Patience,
}

impl K8sLoads {
    /// Load generators that are started from `program`, a static executable for the pods' architecture. What has to outlive
    /// the pods is kept under `root`, a directory per run.
    pub fn new(connection: Connection, namespace: &str, root: PathBuf, program: PathBuf) -> Self {
        Self::with_deadlines(connection, namespace, root, program, Deadlines::default())
    }

    /// Some with deadlines of their own.
    pub fn with_deadlines(
        connection: Connection,
        namespace: &str,
        root: PathBuf,
        program: PathBuf,
        deadlines: Deadlines,
    ) -> Self {
        Self {
            context: connection.context().map(str::to_owned),
            calls: Calls::new(ApiServer::new(connection, deadlines), namespace),
            records: Records::new(root.clone()),
            root,
            deadlines,
            program,
            packed: OnceCell::new(),
            patience: Patience::new(deadlines.limits()),
        }
    }

    fn home(&self, run: &str) -> Home {
        Home::new(&self.root, run)
    }

    fn handle(&self, run: &str, uid: &str, attempt: u32, is_restored: bool) -> Handle {
        let detail = Detail {
            context: self.context.clone(),
            namespace: self.calls.namespace.clone(),
            claim: object_name(run),
            uid: uid.to_owned(),
            attempt,
            is_restored,
        };
        Handle {
            system: SYSTEM.to_owned(),
            name: run.to_owned(),
            detail: detail.written(),
        }
    }

    /// What is recorded of a run.
    fn state(&self, run: &str) -> Result<Option<State>, BackendError> {
        let record = self.records.read(run).map_err(|error| not_recorded(run, error))?;
        Ok(record.map(|record| record.state))
    }

    /// Runs a script in a pod, which has the environment of its container.
    async fn execute(
        &self,
        pod: &str,
        script: &str,
        input: Option<Vec<u8>>,
        most_bytes: u64,
    ) -> Result<Vec<u8>, ExecError> {
        let command = exec::Command {
            namespace: &self.calls.namespace,
            pod,
            container: CONTAINER,
            words: ["/bin/sh", "-c", script],
            input,
            most_bytes,
        };
        exec::run(&self.calls.server, command).await
    }

    async fn find(&self, id: &RunId) -> Result<Found, BackendError> {
        let id = id.as_str();
        if let Some(State::Started(handle) | State::Ended { handle, .. }) = self.state(id)? {
            return Ok(Found::Started(handle));
        }
        let searching = |error| failed(format!("search for `{id}`"), error);
        let claim = self
            .calls
            .get::<ConfigMap>(&object_name(id))
            .await
            .map_err(searching)?;
        // A claim that still arrives stands for nothing: what would be a Job needs its uid, which nobody got.
        let Some(claim) = claim else {
            return Ok(Found::Absent);
        };
        let job = self.last_job(id).await.map_err(searching)?;
        let uid = claim.metadata.uid.unwrap_or_default();
        let handle = self.handle(id, &uid, job.attempt.max(1), job.is_restored);
        Ok(Found::Started(handle))
    }

    async fn find_all(&self, campaign: &CampaignId) -> Result<Vec<Handle>, BackendError> {
        let listing = |error| failed(format!("list the runs of `{campaign}`"), error);
        let claims = self
            .calls
            .list::<ConfigMap>(&claims_of_campaign(campaign))
            .await
            .map_err(listing)?;
        let mut handles = Vec::new();
        for claim in claims {
            let run = claim.data.as_ref().and_then(|data| data.get(CLAIM_RUN));
            let Some(run) = run else { continue };
            if let Some(State::Started(handle)) = self.state(run)? {
                handles.push(handle);
                continue;
            }
            let job = self.last_job(run).await.map_err(listing)?;
            let uid = claim.metadata.uid.clone().unwrap_or_default();
            handles.push(self.handle(run, &uid, job.attempt.max(1), job.is_restored));
        }
        Ok(handles)
    }
}

impl LoadRunner for K8sLoads {
    fn ensure<'a>(
        &'a self,
        config: &'a RunConfig,
        place: &'a LoadPlacement,
    ) -> BoxFuture<'a, Result<Handle, EnsureError>> {
        Box::pin(async move { self.start(config, place).await.map_err(|error| *error) })
    }

    fn observe<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<RunStatus, BackendError>> {
        Box::pin(self.watch(handle))
    }

    fn fetch<'a>(
        &'a self,
        handle: &'a Handle,
        directory: &'a Path,
    ) -> BoxFuture<'a, Result<PathBuf, BackendError>> {
        Box::pin(self.bring(handle, directory))
    }

    fn stop<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<(), BackendError>> {
        Box::pin(self.ask_to_stop(handle))
    }

    fn logs<'a>(&'a self, handle: &'a Handle, lines: usize) -> BoxFuture<'a, Result<String, BackendError>> {
        Box::pin(self.log_tail(handle, lines))
    }

    fn end<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<(), BackendError>> {
        Box::pin(self.tear_down(handle))
    }
}

impl Finder for K8sLoads {
    fn find_deployment<'a>(&'a self, _: &'a DeploymentId) -> BoxFuture<'a, Result<Found, BackendError>> {
        Box::pin(std::future::ready(Ok(Found::Absent)))
    }

    fn find_run<'a>(&'a self, id: &'a RunId) -> BoxFuture<'a, Result<Found, BackendError>> {
        Box::pin(self.find(id))
    }

    fn find_campaign<'a>(
        &'a self,
        campaign: &'a CampaignId,
    ) -> BoxFuture<'a, Result<Vec<Handle>, BackendError>> {
        Box::pin(self.find_all(campaign))
    }
}

/// What a handle's detail says: where a user finds the run with other tools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Detail {
    context: Option<String>,
    namespace: String,
    claim: String,
    uid: String,
    attempt: u32,
    is_restored: bool,
}

impl Detail {
    fn written(&self) -> String {
        serde_json::json!({
            "context": self.context, "namespace": self.namespace, "claim": self.claim, "uid": self.uid,
            "attempt": self.attempt, "is_restored": self.is_restored
        })
        .to_string()
    }

    fn of(handle: &Handle) -> Result<Self, BackendError> {
        serde_json::from_str(&handle.detail)
            .map_err(|error| BackendError::permanent(format!("read the handle of `{}`", handle.name), error))
    }

    /// The name of the directory that tells that this attempt has begun.
    fn mark(&self) -> String {
        format!("attempt-{}-{}", self.attempt, self.uid)
    }
}

fn failed(operation: impl Into<String>, error: ApiError) -> BackendError {
    if error.is_retryable() {
        BackendError::transient(operation, error)
    } else {
        BackendError::permanent(operation, error)
    }
}

fn not_executed(operation: impl Into<String>, error: ExecError) -> BackendError {
    if error.is_retryable() {
        BackendError::transient(operation, error)
    } else {
        BackendError::permanent(operation, error)
    }
}

fn not_recorded(id: &str, error: RecordError) -> BackendError {
    BackendError::permanent(format!("keep the record of `{id}`"), error)
}

fn not_kept(id: &str, error: std::io::Error) -> BackendError {
    BackendError::permanent(format!("keep the files of `{id}`"), error)
}
