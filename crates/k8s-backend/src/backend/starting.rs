//! Starts a server.

use gipfel_backend::{BackendError, Effect, EnsureError, FailureReason, Handle};
use gipfel_model::{CampaignId, DeploymentId, DeploymentSpec, deployment::Placement};
use k8s_openapi::api::core::v1::ConfigMap;

use super::{K8sBackend, failed, not_recorded};
use crate::{
    api::ApiError,
    ingress,
    manifest::{Manifests, Workload},
    name::object_name,
    record::{Record, State},
    requirement::Requirement,
};

impl K8sBackend {
    pub(super) async fn start(
        &self,
        campaign: &CampaignId,
        id: &DeploymentId,
        spec: &DeploymentSpec,
    ) -> Result<Handle, EnsureError> {
        let refused = |effect, source| EnsureError {
            name: id.to_string(),
            effect,
            reason: FailureReason::ServerFailed,
            source,
        };
        let no_record = |effect, error| refused(effect, not_recorded(id.as_str(), error));
        let record = self
            .records
            .read(id.as_str())
            .map_err(|error| no_record(Effect::Unknown, error))?;
        if let Some(State::Started(handle) | State::Ended { handle, .. }) =
            record.as_ref().map(|record| record.state.clone())
        {
            return Ok(handle);
        }
        let manifests = Manifests::new(campaign, id, spec).map_err(|error| {
            refused(
                Effect::NotStarted,
                BackendError::permanent("put the server into objects", error),
            )
        })?;
        self.expect_kind(spec)
            .await
            .map_err(|error| refused(Effect::NotStarted, error))?;
        check_authorities(spec).map_err(|error| refused(Effect::NotStarted, error))?;
        let token = token(&manifests).map_err(|error| refused(Effect::NotStarted, error))?;
        let asked = Record::new(campaign.clone(), State::Asked);
        self.records
            .write(id.as_str(), &asked)
            .map_err(|error| no_record(Effect::NotStarted, error))?;
        let claim = self.make_claim(id, &manifests.claim).await.map_err(|error| {
            let effect = if error.may_have_acted() || record.is_some() {
                Effect::Unknown
            } else {
                Effect::NotStarted
            };
            refused(effect, failed("make the claim", error))
        })?;
        let handle = self.handle(id.as_str(), &claim);
        let started = |source| refused(Effect::Started(handle.clone()), source);
        let uid = claim.metadata.uid.unwrap_or_default();
        Box::pin(self.apply_all(manifests.owned_by(&uid), token))
            .await
            .map_err(|(what, error)| started(failed(format!("apply the {what}"), error)))?;
        let record = Record::new(campaign.clone(), State::Started(handle.clone()));
        self.records
            .write(id.as_str(), &record)
            .map_err(|error| started(not_recorded(id.as_str(), error)))?;
        Ok(handle)
    }

    /// Makes the claim, or takes up the one of that name: the answer to an earlier call may have been lost.
    async fn make_claim(&self, id: &DeploymentId, claim: &ConfigMap) -> Result<ConfigMap, ApiError> {
        if let Some(made) = self.calls.make(claim).await? {
            return Ok(made);
        }
        let found = self.claim(id.as_str()).await?;
        // One on its way out takes what it owns with it; one with other data is another's.
        found
            .filter(|found| found.metadata.deletion_timestamp.is_none() && found.data == claim.data)
            .ok_or_else(|| {
                ApiError::Conflict(format!(
                    "another ConfigMap has the name {}",
                    object_name(id.as_str())
                ))
            })
    }

    async fn apply_all(
        &self,
        manifests: Manifests,
        token: Option<String>,
    ) -> Result<(), (&'static str, ApiError)> {
        if let (Some(secret), Some(value)) = (&manifests.token, token) {
            let applied = self.calls.apply(&secret.filled(value)).await;
            applied.map_err(|error| ("Secret", error))?;
        }
        // A cache that is there stays as it is: claims of volumes hardly change.
        if let Some(cache) = &manifests.model_cache {
            self.calls
                .make_surely(cache)
                .await
                .map_err(|error| ("model cache", error))?;
        }
        self.calls
            .apply(&manifests.service)
            .await
            .map_err(|error| ("Service", error))?;
        if let Some(ingress) = &manifests.ingress {
            self.calls
                .apply(ingress)
                .await
                .map_err(|error| ("Ingress", error))?;
        }
        match &manifests.workload {
            Workload::Deployment(deployment) => self.calls.apply(deployment.as_ref()).await,
            Workload::Group(group) => Box::pin(self.calls.apply(group.as_ref())).await,
            Workload::Graph(graph) => self.calls.apply(graph.as_ref()).await,
        }
        .map_err(|error| ("server", error))
    }

    /// Fails where the cluster does not know what the server is made of.
    async fn expect_kind(&self, spec: &DeploymentSpec) -> Result<(), BackendError> {
        let Placement::K8s(k8s) = &spec.placement else {
            return Ok(());
        };
        for requirement in Requirement::of(spec, k8s) {
            match requirement.is_met(&self.calls.server).await {
                Ok(true) => {}
                Ok(false) => {
                    let ask_for = requirement.ask_for;
                    return Err(BackendError::permanent(
                        "start the server",
                        format!("the cluster does not have {requirement}: ask for {ask_for}"),
                    ));
                }
                Err(error) => return Err(failed(format!("ask for {requirement}"), error)),
            }
        }
        Ok(())
    }
}

/// Reads what the Ingress' certificate is to be checked against.
fn check_authorities(spec: &DeploymentSpec) -> Result<(), BackendError> {
    let ca_file = match &spec.placement {
        Placement::K8s(k8s) => k8s
            .ingress
            .as_ref()
            .and_then(|ingress| ingress.ca_file.as_deref()),
        _ => None,
    };
    let Some(ca_file) = ca_file else {
        return Ok(());
    };
    ingress::check_authorities(ca_file)
        .map_err(|error| BackendError::permanent(format!("use the `ca_file` `{}`", ca_file.display()), error))
}

/// The value of the token that is brought from here.
fn token(manifests: &Manifests) -> Result<Option<String>, BackendError> {
    let Some(token) = &manifests.token else {
        return Ok(None);
    };
    let variable = &token.variable;
    match std::env::var(variable) {
        Ok(value) if !value.trim().is_empty() => Ok(Some(value.trim().to_owned())),
        _ => Err(BackendError::permanent(
            "read the Hugging Face token",
            format!("the environment variable `{variable}` is not set"),
        )),
    }
}
