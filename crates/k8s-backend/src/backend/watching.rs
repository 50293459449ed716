//! Tells how a server is.

use std::{
    fmt::Debug,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gipfel_backend::{BackendError, DeploymentStatus, Failure, FailureReason, Handle};
use gipfel_model::{EndpointSpec, Provenance};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Event, Pod},
    },
};
use kube::{
    Resource,
    api::{ListParams, LogParams},
};
use serde::de::DeserializeOwned;

use super::{Detail, K8sBackend, failed, not_recorded};
use crate::{
    api::ApiError,
    extension::Extension,
    judge::{Judgement, Rollout, Seen, judge},
    labels::of_deployment,
    manifest::{CLAIM_HEALTH, CLAIM_URL, GraphSpec, GroupSpec, WorkloadKind},
    record::State,
};

/// Lines of a log that are kept.
const KEPT_LINES: i64 = 10_000;

/// Lines that a failure shows.
const SHOWN_LINES: usize = 40;

/// An Ingress that does not answer in this time does not work yet.
const INGRESS_PATIENCE: Duration = Duration::from_secs(5);

impl K8sBackend {
    pub(super) async fn watch(&self, handle: &Handle) -> Result<DeploymentStatus, BackendError> {
        let id = handle.name.as_str();
        let record = self.records.read(id).map_err(|error| not_recorded(id, error))?;
        if let Some(State::Ended { failure, .. }) = record.map(|record| record.state) {
            return Ok(DeploymentStatus::Ended(failure));
        }
        let detail = Detail::of(handle)?;
        let observing = |error| failed(format!("observe `{id}`"), error);
        let claim = self.claim(id).await.map_err(observing)?;
        let Some(claim) = claim.filter(|claim| claim.metadata.uid.as_ref() == Some(&detail.uid)) else {
            return Ok(self.gone(id, "its objects were deleted"));
        };
        if claim.metadata.deletion_timestamp.is_some() {
            return Ok(self.gone(id, "its objects are being deleted"));
        }
        let Some(rollout) = self.rollout(&detail).await.map_err(observing)? else {
            let why = format!(
                "it has no {:?}, so its start did not come to its end",
                detail.workload
            );
            return Ok(self.gone(id, &why));
        };
        let pods = self.pods(id).await.map_err(observing)?;
        let now_s = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_secs() as i64);
        let seen = Seen {
            rollout: &rollout,
            pods: &pods,
            events: &[],
            now_s,
        };
        match judge(seen) {
            Judgement::Queued(words) => {
                if let Some(words) = words {
                    tracing::debug!(server = id, "{words}");
                }
                Ok(DeploymentStatus::Queued)
            }
            Judgement::Starting => Ok(DeploymentStatus::Starting),
            Judgement::Ready => Ok(ready(&claim, &pods).await),
            Judgement::Failed(..) => {
                let events = self.events(&pods).await.map_err(observing)?;
                let judgement = judge(Seen {
                    events: &events,
                    ..seen
                });
                Ok(DeploymentStatus::Ended(self.failure(id, judgement, &pods).await))
            }
        }
    }

    fn gone(&self, id: &str, why: &str) -> DeploymentStatus {
        DeploymentStatus::Ended(Failure {
            reason: FailureReason::ServerFailed,
            message: why.to_owned(),
            log_tail: tail(&self.kept_log(id), SHOWN_LINES),
        })
    }

    async fn failure(&self, id: &str, judgement: Judgement, pods: &[Pod]) -> Failure {
        self.refresh_log(id, pods).await;
        let (reason, message) = match judgement {
            Judgement::Failed(reason, message) => (reason, message),
            Judgement::Queued(_) | Judgement::Starting | Judgement::Ready => {
                (FailureReason::ServerFailed, "the server failed".to_owned())
            }
        };
        Failure {
            reason,
            message,
            log_tail: tail(&self.kept_log(id), SHOWN_LINES),
        }
    }

    pub(super) async fn log_tail(&self, handle: &Handle, lines: usize) -> Result<String, BackendError> {
        let id = handle.name.as_str();
        let record = self.records.read(id).map_err(|error| not_recorded(id, error))?;
        let is_over = matches!(record.map(|record| record.state), Some(State::Ended { .. }));
        if !is_over {
            let pods = self.pods(id).await;
            let pods = pods.map_err(|error| failed(format!("read the log of `{id}`"), error))?;
            self.refresh_log(id, &pods).await;
        }
        Ok(tail(&self.kept_log(id), lines))
    }

    fn kept_log(&self, id: &str) -> String {
        self.records.log(id).unwrap_or_else(|error| {
            tracing::warn!(server = id, %error, "the kept log cannot be read");
            String::new()
        })
    }

    /// Keeps the pods' log as it is now. Without one, what was kept before stays.
    pub(super) async fn refresh_log(&self, id: &str, pods: &[Pod]) {
        let mut log = String::new();
        for pod in pods {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let title = if pods.len() > 1 {
                format!("== {name}\n")
            } else {
                String::new()
            };
            for previous in [true, false] {
                match self.pod_log(pod, previous).await {
                    Ok(text) if text.is_empty() => {}
                    Ok(text) => {
                        log.push_str(&title);
                        log.push_str(&text);
                    }
                    // A container that never ran, or never ended, has none.
                    Err(error) => tracing::debug!(server = id, %error, "no log"),
                }
            }
        }
        if log.is_empty() {
            return;
        }
        if let Err(error) = self.records.keep_log(id, &log) {
            tracing::warn!(server = id, %error, "the log cannot be kept");
        }
    }

    async fn pod_log(&self, pod: &Pod, previous: bool) -> Result<String, ApiError> {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let parameters = LogParams {
            // The operator of Dynamo wants another name than ours.
            container: pod
                .spec
                .as_ref()
                .and_then(|spec| spec.containers.first())
                .map(|one| one.name.clone()),
            previous,
            tail_lines: Some(KEPT_LINES),
            ..LogParams::default()
        };
        let read = |client| {
            let (api, name, parameters) = (self.api::<Pod>(client), name.clone(), parameters.clone());
            async move { api.logs(&name, &parameters).await }
        };
        self.server.call(read).await
    }

    /// What the controller of the server's pods says; nothing when there is none.
    async fn rollout(&self, detail: &Detail) -> Result<Option<Rollout>, ApiError> {
        let name = detail.claim.as_str();
        Ok(match detail.workload {
            WorkloadKind::Deployment => {
                let found: Option<Deployment> = self.get(name).await?;
                found.map(|deployment| Rollout::of_deployment(&deployment))
            }
            WorkloadKind::LeaderWorkerSet => {
                let found: Option<Extension<GroupSpec>> = self.get(name).await?;
                found.map(|group| Rollout::of_group(group.metadata.generation, group.status.as_ref()))
            }
            WorkloadKind::DynamoGraphDeployment => {
                let found: Option<Extension<GraphSpec>> = self.get(name).await?;
                found.map(|graph| Rollout::of_graph(graph.status.as_ref()))
            }
        })
    }

    async fn get<K>(&self, name: &str) -> Result<Option<K>, ApiError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send,
        K::DynamicType: Default,
    {
        let find = |client| {
            let (api, name) = (self.api::<K>(client), name.to_owned());
            async move { api.get(&name).await }
        };
        self.server.find(find).await
    }

    pub(crate) async fn pods(&self, id: &str) -> Result<Vec<Pod>, ApiError> {
        self.list(&ListParams::default().labels(&of_deployment(id))).await
    }

    async fn events(&self, pods: &[Pod]) -> Result<Vec<Event>, ApiError> {
        let mut events = Vec::new();
        for pod in pods {
            let name = pod.metadata.name.clone().unwrap_or_default();
            let of_pod = ListParams::default().fields(&format!("involvedObject.name={name}"));
            events.extend(self.list::<Event>(&of_pod).await?);
        }
        Ok(events)
    }
}

/// Ready is what answers where users will ask.
///
/// The kubelet has asked the pod, which is what a Service leads to. An Ingress takes minutes after that, in which it
/// refuses, has another's certificate, or answers 404 or 503.
async fn ready(claim: &ConfigMap, pods: &[Pod]) -> DeploymentStatus {
    let data = |key: &str| claim.data.as_ref().and_then(|data| data.get(key)).cloned();
    let url = data(CLAIM_URL).unwrap_or_default();
    if let Some(health) = data(CLAIM_HEALTH)
        && let Err(error) = ask(&format!("{url}{health}")).await
    {
        tracing::debug!(url, %error, "the Ingress does not answer yet");
        return DeploymentStatus::Starting;
    }
    let nodes: Vec<&str> = pods
        .iter()
        .filter_map(|pod| pod.spec.as_ref()?.node_name.as_deref())
        .collect();
    let mut provenance = Provenance::default();
    provenance.set(Provenance::SERVER_NODES, nodes.join(","));
    DeploymentStatus::Ready {
        endpoint: EndpointSpec::new(&url),
        provenance,
        load_time: pods.iter().find_map(load_time),
    }
}

/// From the start of a pod's container to its first answer, in the cluster's own times of whole seconds.
fn load_time(pod: &Pod) -> Option<Duration> {
    let status = pod.status.as_ref()?;
    let running = status
        .container_statuses
        .as_ref()?
        .iter()
        .find_map(|container| container.state.as_ref()?.running.as_ref()?.started_at.as_ref())?;
    let ready = status
        .conditions
        .as_ref()?
        .iter()
        .find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
    let seconds = ready.last_transition_time.as_ref()?.0.as_second() - running.0.as_second();
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

async fn ask(url: &str) -> Result<(), reqwest::Error> {
    let roots = rustls::RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let tls = rustls::ClientConfig::builder_with_provider(std::sync::Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .map(|builder| builder.with_root_certificates(roots).with_no_client_auth());
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        // The load generator uses none of the environment's either.
        .no_proxy()
        .timeout(INGRESS_PATIENCE);
    if let Ok(tls) = tls {
        builder = builder.tls_backend_preconfigured(tls);
    }
    builder
        .build()?
        .get(url)
        .send()
        .await?
        .error_for_status()
        .map(drop)
}

fn tail(log: &str, lines: usize) -> String {
    let all: Vec<&str> = log.lines().collect();
    let kept = &all[all.len().saturating_sub(lines)..];
    kept.iter().flat_map(|line| [*line, "\n"]).collect()
}
