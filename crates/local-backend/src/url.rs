//! A server that gipfel does not own: it is looked at and never ended.

use std::{env, fs};

use gipfel_backend::{
    BackendError, BoxFuture, Deployer, DeploymentStatus, Effect, EnsureError, FailureReason, Finder, Found,
    Handle,
};
use gipfel_engine::engine;
use gipfel_model::{
    BackendKind, CampaignId, DeploymentId, DeploymentSpec, EndpointSpec, Provenance, RunId, Secret,
    deployment::{ApiKeySource, Placement},
};
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};

use crate::{
    probe::{Answer, Probe, lists_a_model},
    refusal,
};

/// Takes a URL for a deployment.
///
/// Nothing is started, so nothing is found and nothing ended: `end` leaves the server as it is.
#[derive(Debug, Default)]
pub struct UrlDeployer(());

/// What a handle carries, so that a later gipfel can go on with it. A key is in it by reference only.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Detail {
    backend: BackendKind,
    endpoint: EndpointSpec,
}

impl UrlDeployer {
    /// The deployer.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Why a URL cannot be used.
#[derive(Debug, thiserror::Error)]
enum UrlError {
    #[error("the environment variable `{0}`, which holds the API key, is not set")]
    NoVariable(String),
    #[error("the file of the API key, {0}, cannot be read")]
    KeyFile(String, #[source] std::io::Error),
    #[error("{0} wants an API key: give `api_key_env` or `api_key_file`")]
    KeyWanted(String),
    #[error("{0} refuses the API key")]
    KeyRefused(String),
}

fn key(source: &ApiKeySource) -> Result<Option<Secret>, UrlError> {
    match source {
        ApiKeySource::None => Ok(None),
        ApiKeySource::Environment(name) => env::var(name)
            .map(|key| Some(Secret::new(&key)))
            .map_err(|_| UrlError::NoVariable(name.clone())),
        ApiKeySource::File(path) => {
            let text = fs::read_to_string(path);
            text.map(|key| Some(Secret::new(&key)))
                .map_err(|error| UrlError::KeyFile(path.display().to_string(), error))
        }
    }
}

/// The answer of the list of models, which every OpenAI-compatible server has and which asks for the key.
async fn models(detail: &Detail) -> Result<(Answer, Option<Secret>), BackendError> {
    let Detail { backend, endpoint } = detail;
    let operation = || format!("reach {}", endpoint.url);
    let permanent = |error: UrlError| BackendError::permanent(operation(), error);
    let key = key(&endpoint.api_key).map_err(permanent)?;
    let probe = Probe::new(&endpoint.url, key.as_ref())
        .map_err(|error| BackendError::permanent(operation(), error))?;
    let answer = probe.get(engine(*backend).models_path()).await;
    let answer = answer.map_err(|error| BackendError::transient(operation(), error))?;
    if matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        let url = endpoint.url.clone();
        return Err(permanent(if key.is_some() {
            UrlError::KeyRefused(url)
        } else {
            UrlError::KeyWanted(url)
        }));
    }
    Ok((answer, key))
}

async fn ensure_url(id: &str, spec: &DeploymentSpec) -> Result<Handle, Box<EnsureError>> {
    let refuse = |source| refusal(id, Effect::NotStarted, FailureReason::ServerFailed, source);
    let Placement::External(endpoint) = &spec.placement else {
        let message = format!("its place is `{}`, not a URL", spec.placement.kind());
        return Err(refuse(BackendError::permanent(
            format!("take up `{id}`"),
            message,
        )));
    };
    let detail = Detail {
        backend: spec.backend,
        endpoint: endpoint.clone(),
    };
    models(&detail).await.map_err(refuse)?;
    let detail = serde_json::to_string(&detail)
        .map_err(|error| refuse(BackendError::permanent(format!("take up `{id}`"), error)))?;
    Ok(Handle {
        system: "url".to_owned(),
        name: id.to_owned(),
        detail,
    })
}

async fn observe_url(handle: &Handle) -> Result<DeploymentStatus, BackendError> {
    let operation = || format!("observe `{}`", handle.name);
    let detail: Detail =
        serde_json::from_str(&handle.detail).map_err(|error| BackendError::permanent(operation(), error))?;
    let (answer, key) = models(&detail).await?;
    let Detail { backend, endpoint } = detail;
    let engine = engine(backend);
    let probe = Probe::new(&endpoint.url, key.as_ref())
        .map_err(|error| BackendError::permanent(operation(), error))?;
    let ready = if answer.status.is_success() {
        lists_a_model(&answer.body)
    } else if matches!(
        answer.status,
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
    ) {
        // A server without the list is ready when it says that it is healthy.
        probe
            .get(engine.health_path())
            .await
            .is_ok_and(|answer| answer.status.is_success())
    } else {
        false
    };
    if !ready {
        return Ok(DeploymentStatus::Starting);
    }
    let mut provenance = Provenance::default();
    provenance.set(
        Provenance::ENGINE_VERSION,
        probe.version(engine).await.unwrap_or_default(),
    );
    Ok(DeploymentStatus::Ready { endpoint, provenance })
}

impl Deployer for UrlDeployer {
    fn ensure<'a>(
        &'a self,
        _: &'a CampaignId,
        id: &'a DeploymentId,
        spec: &'a DeploymentSpec,
    ) -> BoxFuture<'a, Result<Handle, EnsureError>> {
        Box::pin(async move { ensure_url(id.as_str(), spec).await.map_err(|error| *error) })
    }

    fn observe<'a>(&'a self, handle: &'a Handle) -> BoxFuture<'a, Result<DeploymentStatus, BackendError>> {
        Box::pin(observe_url(handle))
    }

    /// Empty: the server's log is not ours.
    fn logs<'a>(&'a self, _: &'a Handle, _: usize) -> BoxFuture<'a, Result<String, BackendError>> {
        Box::pin(async { Ok(String::new()) })
    }

    /// Leaves the server as it is.
    fn end<'a>(&'a self, _: &'a Handle) -> BoxFuture<'a, Result<(), BackendError>> {
        Box::pin(async { Ok(()) })
    }
}

impl Finder for UrlDeployer {
    /// Always absent: nothing is started, and taking a URL up again costs nothing.
    fn find_deployment<'a>(&'a self, _: &'a DeploymentId) -> BoxFuture<'a, Result<Found, BackendError>> {
        Box::pin(async { Ok(Found::Absent) })
    }

    fn find_run<'a>(&'a self, _: &'a RunId) -> BoxFuture<'a, Result<Found, BackendError>> {
        Box::pin(async { Ok(Found::Absent) })
    }

    fn find_campaign<'a>(&'a self, _: &'a CampaignId) -> BoxFuture<'a, Result<Vec<Handle>, BackendError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}
