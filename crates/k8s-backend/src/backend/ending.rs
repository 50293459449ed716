//! Ends a server.

use std::{fmt::Debug, time::Duration};

use gipfel_backend::{BackendError, Failure, FailureReason, Handle};
use gipfel_model::CampaignId;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Pod, Service},
        networking::v1::Ingress,
    },
};
use kube::{
    Resource,
    api::{DeleteParams, ListParams, Preconditions},
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::{Detail, K8sBackend, failed, not_recorded};
use crate::{
    api::ApiError,
    extension::Extension,
    labels::of_deployment,
    manifest::{CLAIM_CAMPAIGN, GraphSpec, GroupSpec, WorkloadKind},
    record::{Record, State},
};

/// Between two looks at what is left.
const PAUSE: Duration = Duration::from_millis(500);

impl K8sBackend {
    /// Deletes the claim, with it what it owns, and what else has the server's label; waits until nothing is left.
    pub(super) async fn tear_down(&self, handle: &Handle) -> Result<(), BackendError> {
        let id = handle.name.as_str();
        let detail = Detail::of(handle)?;
        let ending = |error| failed(format!("end `{id}`"), error);
        let record = self.records.read(id).map_err(|error| not_recorded(id, error))?;
        if matches!(
            &record,
            Some(Record {
                state: State::Ended { .. },
                ..
            })
        ) {
            return Ok(());
        }
        let claim = self.claim(id).await.map_err(ending)?;
        let campaign = record
            .map(|record| record.campaign)
            .or_else(|| campaign_of(claim.as_ref()?));
        match self.pods(id).await {
            Ok(pods) => self.refresh_log(id, &pods).await,
            Err(error) => tracing::warn!(server = id, %error, "its log is not kept"),
        }
        if claim.is_some_and(|claim| claim.metadata.uid.as_ref() == Some(&detail.uid)) {
            self.delete_claim(&detail).await.map_err(ending)?;
        }
        self.delete_rest(id, detail.workload).await.map_err(ending)?;
        self.wait_for_nothing(id, detail.workload).await?;
        let Some(campaign) = campaign else {
            return Ok(());
        };
        let failure = Failure {
            reason: FailureReason::Cancelled,
            message: "ended by gipfel".to_owned(),
            log_tail: String::new(),
        };
        let state = State::Ended {
            handle: handle.clone(),
            failure,
        };
        self.records
            .write(id, &Record::new(campaign, state))
            .map_err(|error| not_recorded(id, error))
    }

    async fn delete_claim(&self, detail: &Detail) -> Result<(), ApiError> {
        let parameters = DeleteParams::foreground().preconditions(Preconditions {
            uid: Some(detail.uid.clone()),
            resource_version: None,
        });
        let delete = |client| {
            let (api, parameters) = (self.api::<ConfigMap>(client), parameters.clone());
            let name = detail.claim.clone();
            async move { api.delete(&name, &parameters).await }
        };
        match self.server.find(delete).await {
            // Another claim of that name is not ours to delete here; by its label it is.
            Ok(_) | Err(ApiError::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What has the server's label and no owner, of whatever start.
    async fn delete_rest(&self, id: &str, workload: WorkloadKind) -> Result<(), ApiError> {
        self.delete_all::<ConfigMap>(id).await?;
        match workload {
            WorkloadKind::Deployment => self.delete_all::<Deployment>(id).await?,
            WorkloadKind::LeaderWorkerSet => self.delete_all::<Extension<GroupSpec>>(id).await?,
            WorkloadKind::DynamoGraphDeployment => self.delete_all::<Extension<GraphSpec>>(id).await?,
        }
        self.delete_all::<Service>(id).await?;
        self.delete_all::<Ingress>(id).await
    }

    async fn delete_all<K>(&self, id: &str) -> Result<(), ApiError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + Sync,
        K::DynamicType: Default,
    {
        for object in self.of::<K>(id).await? {
            if object.meta().deletion_timestamp.is_some() {
                continue;
            }
            let name = object.meta().name.clone().unwrap_or_default();
            let delete = |client| {
                let (api, name) = (self.api::<K>(client), name.clone());
                async move { api.delete(&name, &DeleteParams::foreground()).await }
            };
            self.server.find(delete).await?;
        }
        Ok(())
    }

    async fn wait_for_nothing(&self, id: &str, workload: WorkloadKind) -> Result<(), BackendError> {
        let until = Instant::now() + self.deadlines.end;
        loop {
            let left = self.left(id, workload).await;
            let left = left.map_err(|error| failed(format!("look at what is left of `{id}`"), error))?;
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() >= until {
                let left = format!("still there: {}", left.join(", "));
                return Err(BackendError::transient(format!("end `{id}`"), left));
            }
            sleep(PAUSE.min(self.deadlines.end)).await;
        }
    }

    async fn left(&self, id: &str, workload: WorkloadKind) -> Result<Vec<String>, ApiError> {
        let mut left = Vec::new();
        left.extend(self.of::<ConfigMap>(id).await?.iter().map(name_of));
        match workload {
            WorkloadKind::Deployment => left.extend(self.of::<Deployment>(id).await?.iter().map(name_of)),
            WorkloadKind::LeaderWorkerSet => {
                left.extend(self.of::<Extension<GroupSpec>>(id).await?.iter().map(name_of));
            }
            WorkloadKind::DynamoGraphDeployment => {
                left.extend(self.of::<Extension<GraphSpec>>(id).await?.iter().map(name_of));
            }
        }
        left.extend(self.of::<Service>(id).await?.iter().map(name_of));
        left.extend(self.of::<Ingress>(id).await?.iter().map(name_of));
        left.extend(self.of::<Pod>(id).await?.iter().map(name_of));
        Ok(left)
    }

    async fn of<K>(&self, id: &str) -> Result<Vec<K>, ApiError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send,
        K::DynamicType: Default,
    {
        self.list(&ListParams::default().labels(&of_deployment(id))).await
    }

    pub(super) async fn list<K>(&self, parameters: &ListParams) -> Result<Vec<K>, ApiError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send,
        K::DynamicType: Default,
    {
        let list = |client| {
            let (api, parameters) = (self.api::<K>(client), parameters.clone());
            async move { api.list(&parameters).await }
        };
        Ok(self.server.call(list).await?.items)
    }
}

fn name_of<K>(object: &K) -> String
where
    K: Resource,
    K::DynamicType: Default,
{
    let kind = K::kind(&K::DynamicType::default()).into_owned();
    format!("{kind} {}", object.meta().name.as_deref().unwrap_or_default())
}

fn campaign_of(claim: &ConfigMap) -> Option<CampaignId> {
    claim.data.as_ref()?.get(CLAIM_CAMPAIGN)?.parse().ok()
}
