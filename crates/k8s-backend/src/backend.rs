//! The traits of backends over an API server.

mod ending;
mod looking;
mod starting;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use gipfel_backend::{
    BackendError, BoxFuture, Deployer, DeploymentStatus, EnsureError, Finder, Found, Handle,
};
use gipfel_model::{CampaignId, DeploymentId, DeploymentSpec, RunId};
use k8s_openapi::api::core::v1::ConfigMap;
use serde::{Deserialize, Serialize};

use crate::{
    api::{ApiError, ApiServer, Connection, Deadlines},
    calls::Calls,
    labels::servers_of_campaign,
    manifest::{CLAIM_DEPLOYMENT, CLAIM_WORKLOAD, WorkloadKind},
    name::object_name,
    patience::Patience,
    record::{RecordError, Records, State},
    watch::PodWatch,
};

/// The backend's name in handles.
pub const SYSTEM: &str = "k8s";

/// Servers in one namespace of one cluster.
pub struct K8sBackend {
    pub(crate) calls: Calls,
    context: Option<String>,
    records: Records,
    deadlines: Deadlines,
    watches: Mutex<Watches>,
    patience: Patience,
}

/// The watches of this process.
#[derive(Debug, Default)]
struct Watches {
    /// By the server's id; each from the first look on.
    open: BTreeMap<String, Watching>,
    /// The servers that end or have ended: a look that was under way opens none again.
    closed: BTreeSet<String>,
}

impl Watches {
    fn close(&mut self, id: &str) {
        self.open.remove(id);
        self.closed.insert(id.to_owned());
    }
}

/// What this process learns of a server while it looks.
#[derive(Debug)]
struct Watching {
    pods: PodWatch,
    /// How long the steps of its start took; nothing before it was ready once.
    load_steps: Option<String>,
    /// Why its Ingress did not answer last.
    ingress_said: Option<String>,
}

impl K8sBackend {
    /// A backend that keeps what has to outlive the objects under `root`, a directory per server.
    pub fn new(connection: Connection, namespace: &str, root: PathBuf) -> Self {
        Self::with_deadlines(connection, namespace, root, Deadlines::default())
    }

    /// One with deadlines of its own.
    pub fn with_deadlines(
        connection: Connection,
        namespace: &str,
        root: PathBuf,
        deadlines: Deadlines,
    ) -> Self {
        Self {
            context: connection.context().map(str::to_owned),
            calls: Calls::new(ApiServer::new(connection, deadlines), namespace),
            records: Records::new(root),
            deadlines,
            watches: Mutex::default(),
            patience: Patience::new(deadlines.limits()),
        }
    }

    fn watches(&self) -> MutexGuard<'_, Watches> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The claim of a server, if it is there; one that is on its way out is.
    async fn claim(&self, id: &str) -> Result<Option<ConfigMap>, ApiError> {
        self.calls.get(&object_name(id)).await
    }

    fn handle(&self, id: &str, claim: &ConfigMap) -> Handle {
        let detail = Detail {
            context: self.context.clone(),
            namespace: self.calls.namespace.clone(),
            claim: object_name(id),
            uid: claim.metadata.uid.clone().unwrap_or_default(),
            workload: workload_of(claim),
        };
        Handle {
            system: SYSTEM.to_owned(),
            name: id.to_owned(),
            detail: detail.written(),
        }
    }

    async fn find(&self, id: &DeploymentId) -> Result<Found, BackendError> {
        let operation = || format!("search for `{id}`");
        let record = self
            .records
            .read(id.as_str())
            .map_err(|error| BackendError::permanent(operation(), error))?;
        if let Some(State::Started(handle) | State::Ended { handle, .. }) = record.map(|record| record.state)
        {
            return Ok(Found::Started(handle));
        }
        let claim = self
            .claim(id.as_str())
            .await
            .map_err(|error| failed(operation(), error))?;
        // A claim that still arrives stands for nothing: what would be a server needs its uid, which nobody got.
        Ok(claim.map_or(Found::Absent, |claim| {
            Found::Started(self.handle(id.as_str(), &claim))
        }))
    }

    async fn find_all(&self, campaign: &CampaignId) -> Result<Vec<Handle>, BackendError> {
        let claims = self
            .calls
            .list::<ConfigMap>(&servers_of_campaign(campaign))
            .await
            .map_err(|error| failed(format!("list the servers of `{campaign}`"), error))?;
        let handles = claims.iter().filter_map(|claim| {
            let id = claim.data.as_ref()?.get(CLAIM_DEPLOYMENT)?;
            Some(self.handle(id, claim))
        });
        Ok(handles.collect())
    }
}

impl Deployer for K8sBackend {
    fn ensure<'a>(
        &'a self,
        campaign: &'a CampaignId,
        id: &'a DeploymentId,
        spec: &'a DeploymentSpec,
    ) -> BoxFuture<'a, Result<Handle, EnsureError>> {
        Box::pin(self.start(campaign, id, spec))
    }

    fn observe<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<DeploymentStatus, BackendError>> {
        Box::pin(self.look(handle))
    }

    fn logs<'a>(&'a self, handle: &'a Handle, lines: usize) -> BoxFuture<'a, Result<String, BackendError>> {
        Box::pin(self.log_tail(handle, lines))
    }

    fn end<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<(), BackendError>> {
        Box::pin(self.tear_down(handle))
    }
}

impl Finder for K8sBackend {
    fn find_deployment<'a>(&'a self, id: &'a DeploymentId) -> BoxFuture<'a, Result<Found, BackendError>> {
        Box::pin(self.find(id))
    }

    fn find_run<'a>(&'a self, _: &'a RunId) -> BoxFuture<'a, Result<Found, BackendError>> {
        Box::pin(std::future::ready(Ok(Found::Absent)))
    }

    fn find_campaign<'a>(
        &'a self,
        campaign: &'a CampaignId,
    ) -> BoxFuture<'a, Result<Vec<Handle>, BackendError>> {
        Box::pin(self.find_all(campaign))
    }
}

/// Where a server or a load generator lives: the ConfigMap that owns all of it, and its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The ConfigMap's name.
    pub name: String,
    /// The namespace.
    pub namespace: String,
}

impl Claim {
    /// That of a handle; nothing for one of another system.
    pub fn of(handle: &Handle) -> Option<Self> {
        let detail: serde_json::Value = serde_json::from_str(&handle.detail).ok()?;
        let text = |key: &str| detail[key].as_str().map(str::to_owned);
        (handle.system == SYSTEM).then_some(Self {
            name: text("claim")?,
            namespace: text("namespace")?,
        })
    }
}

/// What a handle's detail says: where a user finds the server with other tools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Detail {
    context: Option<String>,
    namespace: String,
    claim: String,
    uid: String,
    #[serde(default = "usual_workload")]
    workload: WorkloadKind,
}

/// What servers were made of before there were other kinds.
fn usual_workload() -> WorkloadKind {
    WorkloadKind::Deployment
}

/// What a claim says that its server is made of.
fn workload_of(claim: &ConfigMap) -> WorkloadKind {
    let said = claim.data.as_ref().and_then(|data| data.get(CLAIM_WORKLOAD));
    let kind = said.and_then(|kind| serde_json::from_value(kind.as_str().into()).ok());
    kind.unwrap_or_else(usual_workload)
}

impl Detail {
    fn written(&self) -> String {
        serde_json::json!({
            "context": self.context, "namespace": self.namespace, "claim": self.claim, "uid": self.uid,
            "workload": self.workload,
        })
        .to_string()
    }

    fn of(handle: &Handle) -> Result<Self, BackendError> {
        serde_json::from_str(&handle.detail)
            .map_err(|error| BackendError::permanent(format!("read the handle of `{}`", handle.name), error))
    }
}

fn failed(operation: impl Into<String>, error: ApiError) -> BackendError {
    if error.is_retryable() {
        BackendError::transient(operation, error)
    } else {
        BackendError::permanent(operation, error)
    }
}

fn not_recorded(id: &str, error: RecordError) -> BackendError {
    BackendError::permanent(format!("keep the record of `{id}`"), error)
}
