//! Ends a server.

use std::time::Duration;

use gipfel_backend::{BackendError, Failure, FailureReason, Handle};
use gipfel_model::CampaignId;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod, Secret, Service},
    networking::v1::Ingress,
};
use tokio::time::{Instant, sleep};

use super::{Detail, K8sBackend, failed, looking::Examined, not_recorded};
use crate::{
    api::ApiError,
    extension::Extension,
    labels::{of_deployment, of_pods},
    logs::tail,
    manifest::{CLAIM_CAMPAIGN, GraphSpec, GroupSpec, WorkloadKind},
    name::object_name,
    record::{Record, State},
    watch::SHOWN_LINES,
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
            .as_ref()
            .map(|record| record.campaign.clone())
            .or_else(|| campaign_of(claim.as_ref()?));
        let claim = claim.filter(|claim| claim.metadata.uid.as_ref() == Some(&detail.uid));
        let known = record.as_ref().and_then(|record| record.failure.clone());
        let failure = match (known, &claim) {
            (Some(failure), _) => failure,
            (None, Some(claim)) => self.last_words(id, &detail, claim).await,
            (None, None) => self.gone(id, "its objects were deleted"),
        };
        if let Some(campaign) = &campaign {
            // Who goes on with the end after this process finds why, and not only that its objects leave.
            let started = || Record::new(campaign.clone(), State::Started(handle.clone()));
            let mut record = record.unwrap_or_else(started);
            record.failure = Some(failure.clone());
            self.records
                .write(id, &record)
                .map_err(|error| not_recorded(id, error))?;
        }
        // Its pods go because of this.
        self.watches().close(id);
        if claim.is_some() {
            self.calls
                .delete::<ConfigMap>(&detail.claim, Some(&detail.uid))
                .await
                .map_err(ending)?;
        }
        self.delete_token(id).await.map_err(ending)?;
        self.delete_rest(id, detail.workload).await.map_err(ending)?;
        self.wait_for_nothing(id, detail.workload).await?;
        let Some(campaign) = campaign else {
            return Ok(());
        };
        let state = State::Ended {
            handle: handle.clone(),
            failure,
        };
        self.records
            .write(id, &Record::new(campaign, state))
            .map_err(|error| not_recorded(id, error))
    }

    /// Why the server ends: by itself, if it has failed, or by us. Its log is kept.
    async fn last_words(&self, id: &str, detail: &Detail, claim: &ConfigMap) -> Failure {
        if claim.metadata.deletion_timestamp.is_some() {
            return self.gone(id, "its objects are being deleted");
        }
        match self.examine(id, detail).await {
            Ok(Examined::Failed(failure)) => return failure,
            Ok(Examined::NoWorkload | Examined::Waits(_) | Examined::Ready(_)) => {}
            Err(error) => tracing::warn!(server = id, %error, "how it was is not known"),
        }
        match self.pods(id).await {
            Ok(pods) => self.refresh_log(id, &pods.items).await,
            Err(error) => tracing::warn!(server = id, %error, "its log is not kept"),
        }
        Failure {
            reason: FailureReason::Cancelled,
            message: "ended by gipfel".to_owned(),
            log_tail: tail(&self.kept_log(id), SHOWN_LINES),
        }
    }

    /// The token goes with its owner; where that was deleted without it, it goes here.
    async fn delete_token(&self, id: &str) -> Result<(), ApiError> {
        match self.calls.delete::<Secret>(&object_name(id), None).await {
            // Who may not delete Secrets has made none.
            Err(ApiError::Refused { code: 403, .. }) => Ok(()),
            outcome => outcome,
        }
    }

    /// What has the server's label and no owner, of whatever start.
    async fn delete_rest(&self, id: &str, workload: WorkloadKind) -> Result<(), ApiError> {
        let labels = &of_deployment(id);
        self.calls.delete_all::<ConfigMap>(labels).await?;
        match workload {
            WorkloadKind::Deployment => self.calls.delete_all::<Deployment>(labels).await?,
            WorkloadKind::LeaderWorkerSet => self.calls.delete_all::<Extension<GroupSpec>>(labels).await?,
            WorkloadKind::DynamoGraphDeployment => {
                self.calls.delete_all::<Extension<GraphSpec>>(labels).await?;
            }
        }
        self.calls.delete_all::<Service>(labels).await?;
        self.calls.delete_all::<Ingress>(labels).await
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
        let labels = &of_deployment(id);
        let mut left = self.calls.left::<ConfigMap>(labels).await?;
        left.extend(match workload {
            WorkloadKind::Deployment => self.calls.left::<Deployment>(labels).await?,
            WorkloadKind::LeaderWorkerSet => self.calls.left::<Extension<GroupSpec>>(labels).await?,
            WorkloadKind::DynamoGraphDeployment => self.calls.left::<Extension<GraphSpec>>(labels).await?,
        });
        left.extend(self.calls.left::<Service>(labels).await?);
        left.extend(self.calls.left::<Ingress>(labels).await?);
        left.extend(self.calls.left::<Pod>(&of_pods(id)).await?);
        Ok(left)
    }
}

fn campaign_of(claim: &ConfigMap) -> Option<CampaignId> {
    claim.data.as_ref()?.get(CLAIM_CAMPAIGN)?.parse().ok()
}
