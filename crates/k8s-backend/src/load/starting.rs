//! Starts a load generator.

use std::io;

use gipfel_backend::{BackendError, Effect, EnsureError, FailureReason, Handle, RunStatus};
use gipfel_model::{K8sLoad, LoadPlacement, RunConfig};
use k8s_openapi::api::{batch::v1::Job, core::v1::ConfigMap};
use tokio::task::spawn_blocking;

use super::{
    Detail, K8sLoads, failed, home, not_kept, not_recorded,
    objects::{LoadAttempt, LoadManifests, RESTORED},
};
use crate::{
    api::ApiError,
    labels::{ATTEMPT, of_run},
    manifest::CLAIM_SERVICE,
    name::{numbered_name, object_name},
    record::{Record, State},
};

impl K8sLoads {
    pub(super) async fn start(
        &self,
        config: &RunConfig,
        place: &LoadPlacement,
    ) -> Result<Handle, Box<EnsureError>> {
        let id = config.run_id.as_str();
        let not_started = |source| refused(id, Effect::NotStarted, FailureReason::LoadFailed, source);
        let load = self.of_here(place).map_err(not_started)?;
        let unknown = |source| refused(id, Effect::Unknown, FailureReason::LoadFailed, source);
        let last = match self.living(id).await.map_err(unknown)? {
            Living::Yes(handle) => return Ok(handle),
            Living::No(last) => last,
        };
        let program = self
            .packed()
            .await
            .map_err(|source| refused(id, Effect::NotStarted, FailureReason::CommandNotFound, source))?;
        let config = self.through_service(config).await.map_err(not_started)?;
        let is_restored = load.results.is_none() && self.home(id).manifest().is_some();
        let mut attempt = LoadAttempt {
            config: &config,
            load,
            program,
            attempt: last + 1,
            claim_uid: "",
            is_restored,
        };
        let rendering = |error| {
            not_started(BackendError::permanent(
                "put the load generator into objects",
                error,
            ))
        };
        let claim = LoadManifests::new(&attempt).map_err(rendering)?.claim;
        let claim = self.make_claim(&claim).await.map_err(|error| {
            let effect = if error.may_have_acted() {
                Effect::Unknown
            } else {
                Effect::NotStarted
            };
            refused(
                id,
                effect,
                FailureReason::LoadFailed,
                failed("make the claim", error),
            )
        })?;
        let uid = claim.metadata.uid.unwrap_or_default();
        attempt.claim_uid = &uid;
        let manifests = LoadManifests::new(&attempt).map_err(rendering)?;
        let handle = self.handle(id, &uid, last + 1, is_restored);
        let started = |source| {
            refused(
                id,
                Effect::Started(handle.clone()),
                FailureReason::LoadFailed,
                source,
            )
        };
        let home = self.home(id);
        home.forget_progress()
            .map_err(|error| started(not_kept(id, error)))?;
        Box::pin(self.make_all(&manifests))
            .await
            .map_err(|(what, error)| started(failed(format!("make the {what}"), error)))?;
        let record = Record::new(config.campaign_id.clone(), State::Started(handle.clone()));
        self.records
            .write(id, &record)
            .map_err(|error| started(not_recorded(id, error)))?;
        Ok(handle)
    }

    fn of_here<'a>(&self, place: &'a LoadPlacement) -> Result<&'a K8sLoad, BackendError> {
        let operation = "start the load generator in the cluster";
        match place {
            LoadPlacement::InCluster(load) if load.namespace == self.calls.namespace => Ok(load),
            LoadPlacement::InCluster(load) => {
                let message = format!(
                    "its place is the namespace `{}`, not `{}`",
                    load.namespace, self.calls.namespace
                );
                Err(BackendError::permanent(operation, message))
            }
            LoadPlacement::Local | LoadPlacement::SameJob | LoadPlacement::Slurm(_) => Err(
                BackendError::permanent(operation, "its place is not a Kubernetes cluster"),
            ),
        }
    }

    /// The packed load generator. It is packed once, since it takes seconds.
    async fn packed(&self) -> Result<&[u8], BackendError> {
        let pack = || async {
            let program = self.program.clone();
            let packed = spawn_blocking(move || home::gzip(&program)).await;
            packed.map_err(io::Error::other)?
        };
        let packed = self.packed.get_or_try_init(pack).await;
        let operation = || format!("pack the load generator `{}`", self.program.display());
        packed
            .map(Vec::as_slice)
            .map_err(|error| BackendError::permanent(operation(), error))
    }

    /// Whether a load generator of this run lives, or the number of the last one.
    async fn living(&self, id: &str) -> Result<Living, BackendError> {
        let state = self.state(id)?;
        let recorded = match &state {
            Some(State::Started(handle) | State::Ended { handle, .. }) => Detail::of(handle)?.attempt,
            Some(State::Asked) | None => 0,
        };
        let searching = |error| failed(format!("search for `{id}`"), error);
        let Some(claim) = self
            .calls
            .get::<ConfigMap>(&object_name(id))
            .await
            .map_err(searching)?
        else {
            return Ok(Living::No(recorded));
        };
        if claim.metadata.deletion_timestamp.is_some() {
            let operation = format!("start the load generator of `{id}`");
            return Err(BackendError::transient(
                operation,
                "an earlier one is still being deleted",
            ));
        }
        let LastJob {
            attempt: last,
            is_restored,
        } = self.last_job(id).await.map_err(searching)?;
        if last == 0 {
            return Ok(Living::No(recorded));
        }
        let uid = claim.metadata.uid.unwrap_or_default();
        let handle = match state {
            Some(State::Started(handle)) if Detail::of(&handle)?.attempt == last => handle,
            _ => self.handle(id, &uid, last, is_restored),
        };
        match self.watch(&handle).await? {
            RunStatus::Queued | RunStatus::Running(_) => {
                let campaign = claim
                    .data
                    .as_ref()
                    .and_then(|data| data.get(super::objects::CLAIM_CAMPAIGN)?.parse().ok());
                if let Some(campaign) = campaign {
                    let record = Record::new(campaign, State::Started(handle.clone()));
                    self.records
                        .write(id, &record)
                        .map_err(|error| not_recorded(id, error))?;
                }
                Ok(Living::Yes(handle))
            }
            RunStatus::Completed(_) | RunStatus::Stopped(_) | RunStatus::Failed(_) => {
                let job = numbered_name(id, last);
                self.calls.delete::<Job>(&job, None).await.map_err(searching)?;
                Ok(Living::No(last.max(recorded)))
            }
        }
    }

    /// The last Job of a run.
    pub(super) async fn last_job(&self, id: &str) -> Result<LastJob, ApiError> {
        let jobs = self.calls.list::<Job>(&of_run(id)).await?;
        let last = jobs.iter().filter_map(LastJob::of).max_by_key(|job| job.attempt);
        Ok(last.unwrap_or_default())
    }

    /// Pods reach a server of this namespace by its Service, whatever the way from outside.
    async fn through_service(&self, config: &RunConfig) -> Result<RunConfig, BackendError> {
        let server = config.deployment_id.as_str();
        let claim = self.calls.get::<ConfigMap>(&object_name(server)).await;
        let claim = claim.map_err(|error| failed(format!("find the Service of `{server}`"), error))?;
        let mut config = config.clone();
        if let Some(url) = claim.and_then(|claim| claim.data?.remove(CLAIM_SERVICE)) {
            config.endpoint.url = url;
        }
        Ok(config)
    }

    /// Makes the claim, or takes up the one of that name: the answer to an earlier call may have been lost.
    async fn make_claim(&self, claim: &ConfigMap) -> Result<ConfigMap, ApiError> {
        if let Some(made) = self.calls.make(claim).await? {
            return Ok(made);
        }
        let name = claim.metadata.name.clone().unwrap_or_default();
        let found = self.calls.get::<ConfigMap>(&name).await?;
        found
            .filter(|found| found.metadata.deletion_timestamp.is_none() && found.data == claim.data)
            .ok_or_else(|| ApiError::Conflict(format!("the ConfigMap {name} is another's or on its way out")))
    }

    /// The Job comes last: what it needs is there.
    async fn make_all(&self, manifests: &LoadManifests) -> Result<(), (&'static str, ApiError)> {
        if let Some(results) = &manifests.results {
            let made = self.calls.make_surely(results).await;
            made.map_err(|error| ("volume for results", error))?;
        }
        for piece in &manifests.program {
            let made = self.calls.make_surely(piece).await;
            made.map_err(|error| ("load generator's ConfigMaps", error))?;
        }
        let made = self.calls.make_surely(&manifests.config).await;
        made.map_err(|error| ("Secret", error))?;
        let made = self.calls.make_surely(&manifests.job).await;
        made.map_err(|error| ("Job", error))
    }
}

/// What the last Job of a run says of itself.
#[derive(Clone, Copy, Default)]
pub(super) struct LastJob {
    /// Its number, 0 for none.
    pub(super) attempt: u32,
    /// Whether its pod waits for what an earlier one has published.
    pub(super) is_restored: bool,
}

impl LastJob {
    fn of(job: &Job) -> Option<Self> {
        let attempt = job.metadata.labels.as_ref()?.get(ATTEMPT)?.parse().ok()?;
        let pod = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let containers = pod.map(|pod| pod.containers.as_slice()).unwrap_or_default();
        let mut variables = containers
            .iter()
            .flat_map(|container| container.env.iter().flatten());
        Some(Self {
            attempt,
            is_restored: variables.any(|variable| variable.name == RESTORED),
        })
    }
}

/// What is known before a start.
enum Living {
    Yes(Handle),
    /// None lives; the number of the last one, 0 for none.
    No(u32),
}

fn refused(id: &str, effect: Effect, reason: FailureReason, source: BackendError) -> Box<EnsureError> {
    Box::new(EnsureError {
        name: id.to_owned(),
        effect,
        reason,
        source,
    })
}
