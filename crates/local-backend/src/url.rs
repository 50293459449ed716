//! A server that gipfel does not own: it is looked at and never ended.

use std::{env, fs};

use gipfel_backend::{
    BackendError, BoxFuture, Deployer, DeploymentStatus, Effect, EnsureError, FailureReason, Finder, Found,
    Handle,
};
use gipfel_engine::engine;
use gipfel_model::{
    Access, BackendKind, CampaignId, DeploymentId, DeploymentSpec, EndpointSpec, Provenance, RunId,
    deployment::Placement,
};
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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

/// What the first server of an endpoint says of its models, absent if it has no list that can be read.
///
/// # Errors
/// The server cannot be reached, or wants another key; a server error is one, too.
pub async fn listed_models(endpoint: &EndpointSpec) -> Result<Option<Value>, BackendError> {
    let access = access(endpoint)?;
    let probe = probe(&endpoint.url, endpoint, &access)?;
    let answer = models(&probe, &endpoint.url, BackendKind::Openai, &access).await?;
    if answer.status.is_server_error() {
        let failed = UrlError::ServerError(answer.status.as_u16());
        return Err(BackendError::transient(format!("reach {}", endpoint.url), failed));
    }
    Ok(answer
        .status
        .is_success()
        .then(|| serde_json::from_slice(&answer.body).ok())
        .flatten())
}

/// Why a URL cannot be used.
#[derive(Debug, thiserror::Error)]
enum UrlError {
    #[error("the server answers with HTTP status {0}")]
    ServerError(u16),
    #[error("the server does not list the model `{0}`; it lists {1}")]
    NoModel(String, String),
    #[error("{0} wants an API key: give `api_key_env` or `api_key_file`")]
    KeyWanted(String),
    #[error("{0} refuses the API key")]
    KeyRefused(String),
}

/// What opens the endpoint.
fn access(endpoint: &EndpointSpec) -> Result<Access, BackendError> {
    endpoint
        .access(|name| env::var(name).ok(), |path| fs::read(path))
        .map_err(|error| BackendError::permanent(format!("reach {}", endpoint.url), error))
}

/// The answer of the list of models, which every OpenAI-compatible server has and which asks for the key.
async fn models(
    probe: &Probe<'_>,
    url: &str,
    backend: BackendKind,
    access: &Access,
) -> Result<Answer, BackendError> {
    let operation = || format!("reach {url}");
    let answer = probe.get(engine(backend).models_path()).await;
    let answer = answer.map_err(|error| BackendError::transient(operation(), error))?;
    if !matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Ok(answer);
    }
    let refused = if access.key.is_some() || !access.headers.is_empty() {
        UrlError::KeyRefused(url.to_owned())
    } else {
        UrlError::KeyWanted(url.to_owned())
    };
    Err(BackendError::permanent(operation(), refused))
}

fn probe<'a>(url: &'a str, endpoint: &EndpointSpec, access: &Access) -> Result<Probe<'a>, BackendError> {
    Probe::of(url, endpoint, access).map_err(|error| BackendError::permanent(format!("reach {url}"), error))
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
    ask_all(&detail).await.map_err(refuse)?;
    refuse_missing_model(&detail, spec)
        .await
        .map_err(|source| refusal(id, Effect::NotStarted, FailureReason::ModelNotFound, source))?;
    let detail = serde_json::to_string(&detail)
        .map_err(|error| refuse(BackendError::permanent(format!("take up `{id}`"), error)))?;
    Ok(Handle {
        system: "url".to_owned(),
        name: id.to_owned(),
        detail,
    })
}

/// A model that no list holds is known before a load generator is started. What requests call it may be set by itself.
async fn refuse_missing_model(detail: &Detail, spec: &DeploymentSpec) -> Result<(), BackendError> {
    let served = spec.backend_config.get("served_model_name");
    let model = served.and_then(Value::as_str).unwrap_or(&spec.model);
    let Some(list) = listed_models(&detail.endpoint).await? else {
        return Ok(());
    };
    let models = list["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names: Vec<&str> = models.iter().filter_map(|listed| listed["id"].as_str()).collect();
    if names.is_empty() || names.contains(&model) {
        return Ok(());
    }
    let missing = UrlError::NoModel(model.to_owned(), names.join(", "));
    Err(BackendError::permanent(
        format!("use the server at {}", detail.endpoint.url),
        missing,
    ))
}

/// Whether every server of the endpoint can be asked.
async fn ask_all(detail: &Detail) -> Result<(), BackendError> {
    let Detail { backend, endpoint } = detail;
    let access = access(endpoint)?;
    for url in endpoint.urls() {
        models(&probe(url, endpoint, &access)?, url, *backend, &access).await?;
    }
    Ok(())
}

/// Whether a server is ready.
async fn is_ready(
    probe: &Probe<'_>,
    url: &str,
    backend: BackendKind,
    access: &Access,
) -> Result<bool, BackendError> {
    let answer = models(probe, url, backend, access).await?;
    if answer.status.is_success() {
        return Ok(lists_a_model(&answer.body));
    }
    if !matches!(
        answer.status,
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
    ) {
        return Ok(false);
    }
    // A server without the list is ready when it says that it is healthy; where health is asked by the list, it has
    // just answered.
    let engine = engine(backend);
    if engine.health_path() == engine.models_path() {
        return Ok(true);
    }
    let health = probe.get(engine.health_path()).await;
    Ok(health.is_ok_and(|answer| answer.status.is_success()))
}

async fn observe_url(handle: &Handle) -> Result<DeploymentStatus, BackendError> {
    let operation = || format!("observe `{}`", handle.name);
    let detail: Detail =
        serde_json::from_str(&handle.detail).map_err(|error| BackendError::permanent(operation(), error))?;
    let Detail { backend, endpoint } = detail;
    let access = access(&endpoint)?;
    for url in endpoint.urls() {
        if !is_ready(&probe(url, &endpoint, &access)?, url, backend, &access).await? {
            return Ok(DeploymentStatus::Starting);
        }
    }
    let mut provenance = Provenance::default();
    let version = probe(&endpoint.url, &endpoint, &access)?
        .version(engine(backend))
        .await;
    provenance.set(Provenance::ENGINE_VERSION, version.unwrap_or_default());
    Ok(DeploymentStatus::Ready {
        endpoint,
        provenance,
        load_time: None,
    })
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
