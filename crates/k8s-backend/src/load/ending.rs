//! Stops and ends a load generator.

use std::time::Duration;

use gipfel_backend::{BackendError, Failure, FailureReason, Handle, RunStatus};
use gipfel_model::CampaignId;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ConfigMap, Pod, Secret},
};
use tokio::time::{Instant, sleep};

use super::{
    Detail, K8sLoads, failed, fetching::SAID_BYTES, not_executed, not_recorded, objects::CLAIM_CAMPAIGN,
};
use crate::{
    api::ApiError,
    labels::of_run,
    record::{Record, State},
};

/// Between two looks at what is left.
const PAUSE: Duration = Duration::from_millis(500);

impl K8sLoads {
    /// Asks the load generator to leave; one that has no pod yet has nothing to publish, and is ended.
    pub(super) async fn ask_to_stop(&self, handle: &Handle) -> Result<(), BackendError> {
        let id = handle.name.as_str();
        if matches!(self.state(id)?, Some(State::Ended { .. })) {
            return Ok(());
        }
        let detail = Detail::of(handle)?;
        match self.running_pod(id, &detail).await? {
            Some(pod) => {
                // Without what was measured before, it would publish less than is there.
                if detail.is_restored {
                    self.restore(id, &detail, &pod).await?;
                }
                // The script takes away what an earlier attempt was told, until it has begun.
                let mark = detail.mark();
                let script = format!(
                    "until [ -e \"$GIPFEL_RESULTS/{mark}/begun\" ]; do sleep 1; done; : > \"$GIPFEL_RESULTS/stop\""
                );
                let stopped = self.execute(&pod, &script, None, SAID_BYTES).await;
                stopped
                    .map(drop)
                    .map_err(|error| not_executed(format!("stop `{id}`"), error))
            }
            None => match self.watch(handle).await? {
                RunStatus::Queued => self.tear_down(handle).await,
                _ => Ok(()),
            },
        }
    }

    /// Deletes the claim, with it what it owns, and what else has the run's label; waits until nothing is left.
    pub(super) async fn tear_down(&self, handle: &Handle) -> Result<(), BackendError> {
        let id = handle.name.as_str();
        let record = self.records.read(id).map_err(|error| not_recorded(id, error))?;
        if matches!(
            record.as_ref().map(|record| &record.state),
            Some(State::Ended { .. })
        ) {
            return Ok(());
        }
        let detail = Detail::of(handle)?;
        let ending = |error| failed(format!("end `{id}`"), error);
        let claim = self.calls.get::<ConfigMap>(&detail.claim).await.map_err(ending)?;
        let campaign = record
            .map(|record| record.campaign)
            .or_else(|| campaign_of(claim.as_ref()?));
        // The last look keeps what is published, for whoever fetches it later.
        if let Err(error) = self.watch(handle).await {
            // A pod that was told that all is fetched leaves meanwhile.
            if self.home(id).manifest().is_some_and(|manifest| manifest.complete) {
                tracing::debug!(run = id, %error, "its last look at the pod failed");
            } else {
                tracing::warn!(run = id, %error, "what it has published last may not be kept");
            }
        }
        self.refresh_log(id, detail.attempt).await;
        if let Some(claim) = claim {
            let uid = claim.metadata.uid.as_deref();
            self.calls
                .delete::<ConfigMap>(&detail.claim, uid)
                .await
                .map_err(ending)?;
        }
        self.delete_rest(id).await.map_err(ending)?;
        self.wait_for_nothing(id).await?;
        let Some(campaign) = campaign else {
            return Ok(());
        };
        let failure = Failure {
            reason: FailureReason::Cancelled,
            message: "ended by gipfel".to_owned(),
            log_tail: String::new(),
        };
        let handle = handle.clone();
        self.records
            .write(id, &Record::new(campaign, State::Ended { handle, failure }))
            .map_err(|error| not_recorded(id, error))
    }

    /// What has the run's label and no owner, of whatever start.
    async fn delete_rest(&self, id: &str) -> Result<(), ApiError> {
        let labels = of_run(id);
        self.calls.delete_all::<Job>(&labels).await?;
        self.calls.delete_all::<Secret>(&labels).await?;
        self.calls.delete_all::<ConfigMap>(&labels).await
    }

    async fn wait_for_nothing(&self, id: &str) -> Result<(), BackendError> {
        let until = Instant::now() + self.deadlines.end;
        loop {
            let left = self.left(id).await;
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

    async fn left(&self, id: &str) -> Result<Vec<String>, ApiError> {
        let labels = of_run(id);
        let mut left = self.calls.left::<Job>(&labels).await?;
        left.extend(self.calls.left::<Pod>(&labels).await?);
        left.extend(self.calls.left::<Secret>(&labels).await?);
        left.extend(self.calls.left::<ConfigMap>(&labels).await?);
        Ok(left)
    }
}

fn campaign_of(claim: &ConfigMap) -> Option<CampaignId> {
    claim.data.as_ref()?.get(CLAIM_CAMPAIGN)?.parse().ok()
}
