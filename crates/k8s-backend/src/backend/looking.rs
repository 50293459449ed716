//! Tells how a server is.

use std::{collections::BTreeSet, error::Error, path::PathBuf, time::Duration};

use gipfel_backend::{BackendError, DeploymentStatus, Failure, FailureReason, Handle, load_steps_by_log};
use gipfel_model::{EndpointSpec, Provenance};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Event, Pod},
};
use kube::{api::ListParams, core::ObjectList};

use super::{Detail, K8sBackend, Watching, failed, not_recorded};
use crate::{
    api::ApiError,
    extension::Extension,
    ingress::{IngressError, answers},
    judge::{Judgement, NOT_CREATED, Rollout, Seen, TroubleKind, judge},
    labels::of_pods,
    logs::{self, tail},
    manifest::{CLAIM_CA_FILE, CLAIM_HEALTH, CLAIM_URL, GraphSpec, GroupSpec, WorkloadKind},
    record::State,
    watch::{PodWatch, SHOWN_LINES, SeenEnd, Watched, events_of, failure_by_log},
};

/// What a server's objects say.
pub(super) enum Examined {
    /// Its start did not come to its end.
    NoWorkload,
    Failed(Failure),
    /// It waits or loads.
    Waits(DeploymentStatus),
    /// These pods answer.
    Ready(Vec<Pod>),
}

impl K8sBackend {
    pub(super) async fn look(&self, handle: &Handle) -> Result<DeploymentStatus, BackendError> {
        let id = handle.name.as_str();
        let record = self.records.read(id).map_err(|error| not_recorded(id, error))?;
        if let Some(record) = &record {
            if let State::Ended { failure, .. } = &record.state {
                self.watches().close(id);
                return Ok(DeploymentStatus::Ended(failure.clone()));
            }
            if let Some(failure) = &record.failure {
                return Ok(DeploymentStatus::Ended(failure.clone()));
            }
        }
        let detail = Detail::of(handle)?;
        let claim = self
            .claim(id)
            .await
            .map_err(|error| failed(format!("observe `{id}`"), error))?;
        let Some(claim) = claim.filter(|claim| claim.metadata.uid.as_ref() == Some(&detail.uid)) else {
            return Ok(DeploymentStatus::Ended(self.gone(id, "its objects were deleted")));
        };
        if claim.metadata.deletion_timestamp.is_some() {
            return Ok(DeploymentStatus::Ended(
                self.gone(id, "its objects are being deleted"),
            ));
        }
        Ok(match self.examine(id, &detail).await? {
            Examined::NoWorkload => {
                let why = format!(
                    "it has no {:?}, so its start did not come to its end",
                    detail.workload
                );
                DeploymentStatus::Ended(self.gone(id, &why))
            }
            Examined::Failed(failure) => {
                self.records
                    .fail(id, &failure)
                    .map_err(|error| not_recorded(id, error))?;
                DeploymentStatus::Ended(failure)
            }
            Examined::Waits(status) => status,
            Examined::Ready(pods) => self.ready(id, &claim, &pods).await?,
        })
    }

    /// Looks at a server whose claim stands.
    pub(super) async fn examine(&self, id: &str, detail: &Detail) -> Result<Examined, BackendError> {
        let observing = |error| failed(format!("observe `{id}`"), error);
        let Some(rollout) = self.rollout(id, detail).await.map_err(observing)? else {
            return Ok(Examined::NoWorkload);
        };
        let listed = self.pods(id).await.map_err(observing)?;
        let seen = self.watched(id, &listed);
        let pods = listed.items;
        let replaced = self.replaced(id, &pods)?;
        let failure = match seen {
            Some(seen) if replaced.is_some() => seen.failure_soon().await,
            Some(seen) => seen.failure().await,
            None => None,
        };
        if let Some(failure) = failure.or(replaced) {
            return Ok(Examined::Failed(failure));
        }
        let refusals = self
            .refusals(id, detail, &rollout, &pods)
            .await
            .map_err(observing)?;
        let seen = Seen {
            rollout: &rollout,
            pods: &pods,
            events: &refusals,
        };
        let judgement = judge(seen);
        let trouble = match &judgement {
            Judgement::Troubled(trouble) => Some(trouble.kind),
            _ => None,
        };
        let is_over = self.patience.is_over(id, trouble);
        let failed = match judgement {
            Judgement::Queued => return Ok(Examined::Waits(DeploymentStatus::Queued)),
            Judgement::Starting => return Ok(Examined::Waits(DeploymentStatus::Starting)),
            Judgement::Ready => return Ok(Examined::Ready(pods)),
            Judgement::Troubled(trouble) if !is_over => {
                tracing::debug!(server = id, "{}", trouble.message);
                return Ok(Examined::Waits(match trouble.kind {
                    TroubleKind::Place | TroubleKind::Refusal => DeploymentStatus::Queued,
                    TroubleKind::Start => DeploymentStatus::Starting,
                }));
            }
            Judgement::Troubled(trouble) => (trouble.reason, trouble.message),
            Judgement::Failed(reason, message) => (reason, message),
        };
        let mut events = events_of(&self.calls, &pods).await.map_err(observing)?;
        events.extend(refusals.iter().cloned());
        // Events may know more of an end, such as that a probe failed.
        let (reason, message) = match judge(Seen {
            events: &events,
            ..seen
        }) {
            Judgement::Failed(reason, message) => (reason, message),
            _ => failed,
        };
        self.refresh_log(id, &pods).await;
        let log = self.kept_log(id);
        Ok(Examined::Failed(failure_by_log(
            id, reason, message, &log, &events,
        )))
    }

    /// What the watch has seen; it begins with the first look.
    fn watched(&self, id: &str, listed: &ObjectList<Pod>) -> Option<SeenEnd> {
        let mut watches = self.watches();
        if watches.closed.contains(id) {
            return None;
        }
        let watching = watches.open.entry(id.to_owned()).or_insert_with(|| {
            let server = Watched {
                calls: self.calls.clone(),
                records: self.records.clone(),
                id: id.to_owned(),
                span: self.deadlines.watch,
            };
            let version = listed.metadata.resource_version.clone().unwrap_or_default();
            Watching {
                pods: PodWatch::start(server, listed.items.clone(), version),
                load_steps: None,
                ingress_said: None,
            }
        });
        Some(watching.pods.seen())
    }

    /// Whether pods with which it was ready are gone, also if that was while nobody looked.
    fn replaced(&self, id: &str, pods: &[Pod]) -> Result<Option<Failure>, BackendError> {
        let record = self.records.read(id).map_err(|error| not_recorded(id, error))?;
        let Some(known) = record.and_then(|record| record.pods) else {
            return Ok(None);
        };
        let is_whole = known.is_subset(&uids(pods));
        let failure = || self.gone(id, "its pods are others than those with which it was ready");
        Ok((!is_whole).then(failure))
    }

    /// Why pods are missing, in the words of the controllers of sets and graphs. A Deployment says it itself.
    async fn refusals(
        &self,
        id: &str,
        detail: &Detail,
        rollout: &Rollout,
        pods: &[Pod],
    ) -> Result<Vec<Event>, ApiError> {
        if detail.workload == WorkloadKind::Deployment || pods.len() >= rollout.pods {
            return Ok(Vec::new());
        }
        let name = detail.workload.name(id);
        let refused = ListParams::default().fields(&format!("reason={NOT_CREATED}"));
        let mut events = self.calls.list_by::<Event>(&refused).await?.items;
        events.retain(|event| {
            let about = event.involved_object.name.as_deref();
            about.is_some_and(|about| about.starts_with(&name))
        });
        Ok(events)
    }

    /// The failure of a server of which too little is left to say more.
    pub(super) fn gone(&self, id: &str, why: &str) -> Failure {
        Failure {
            reason: FailureReason::ServerFailed,
            message: why.to_owned(),
            log_tail: tail(&self.kept_log(id), SHOWN_LINES),
        }
    }

    pub(super) async fn log_tail(&self, handle: &Handle, lines: usize) -> Result<String, BackendError> {
        let id = handle.name.as_str();
        let record = self.records.read(id).map_err(|error| not_recorded(id, error))?;
        let is_over = record.is_some_and(|record| {
            // The pods of one that was seen to fail may be others by now.
            record.failure.is_some() || matches!(record.state, State::Ended { .. })
        });
        let mut warnings = String::new();
        if !is_over {
            let reading = |error| failed(format!("read the log of `{id}`"), error);
            let pods = self.pods(id).await.map_err(reading)?.items;
            self.refresh_log(id, &pods).await;
            let was_ready = self
                .watches()
                .open
                .get(id)
                .is_some_and(|watching| watching.pods.was_ready());
            // Of a pod that does not come up only they say why: a volume that is not mounted, a network that is not there.
            if !was_ready {
                warnings = logs::warnings(&events_of(&self.calls, &pods).await.map_err(reading)?);
            }
        }
        Ok(tail(&(self.kept_log(id) + &warnings), lines))
    }

    pub(super) fn kept_log(&self, id: &str) -> String {
        self.records.log(id).unwrap_or_else(|error| {
            tracing::warn!(server = id, %error, "the kept log cannot be read");
            String::new()
        })
    }

    /// Keeps the pods' log as it is now. Without one, what was kept before stays.
    pub(super) async fn refresh_log(&self, id: &str, pods: &[Pod]) {
        let is_lost = self
            .watches()
            .open
            .get(id)
            .is_some_and(|watching| watching.pods.seen().is_some());
        if is_lost {
            // These are the pods that came after the one that ended, whose log is kept.
            return;
        }
        let log = logs::read(&self.calls, pods).await;
        if !log.is_empty()
            && let Err(error) = self.records.keep_log(id, &log)
        {
            tracing::warn!(server = id, %error, "the log cannot be kept");
        }
    }

    /// What the controller of the server's pods says; nothing when there is none.
    async fn rollout(&self, id: &str, detail: &Detail) -> Result<Option<Rollout>, ApiError> {
        let name = &detail.workload.name(id);
        Ok(match detail.workload {
            WorkloadKind::Deployment => {
                let found: Option<Deployment> = self.calls.get(name).await?;
                found.map(|deployment| Rollout::of_deployment(&deployment))
            }
            WorkloadKind::LeaderWorkerSet => {
                let found: Option<Extension<GroupSpec>> = self.calls.get(name).await?;
                found.map(|group| {
                    Rollout::of_group(
                        group.spec.pods(),
                        group.metadata.generation,
                        group.status.as_ref(),
                    )
                })
            }
            WorkloadKind::DynamoGraphDeployment => {
                let found: Option<Extension<GraphSpec>> = self.calls.get(name).await?;
                found.map(|graph| Rollout::of_graph(graph.spec.pods(), graph.status.as_ref()))
            }
        })
    }

    pub(crate) async fn pods(&self, id: &str) -> Result<ObjectList<Pod>, ApiError> {
        let of_server = ListParams::default().labels(&of_pods(id));
        self.calls.list_by(&of_server).await
    }

    /// Ready is what answers where users will ask.
    ///
    /// The kubelet has asked the pod, which is what a Service leads to. An Ingress takes minutes after that, in which it
    /// refuses, has another's certificate, or answers 404 or 503.
    async fn ready(
        &self,
        id: &str,
        claim: &ConfigMap,
        pods: &[Pod],
    ) -> Result<DeploymentStatus, BackendError> {
        let data = |key: &str| claim.data.as_ref().and_then(|data| data.get(key)).cloned();
        let url = data(CLAIM_URL).unwrap_or_default();
        let ca_file = data(CLAIM_CA_FILE).map(PathBuf::from);
        if let Some(health) = data(CLAIM_HEALTH)
            && let Err(error) = answers(&format!("{url}{health}"), ca_file.as_deref()).await
        {
            self.say_ingress(id, &error);
            return Ok(DeploymentStatus::Starting);
        }
        if let Some(watching) = self.watches().open.get(id) {
            watching.pods.set_ready();
        }
        self.records
            .set_pods(id, &uids(pods))
            .map_err(|error| not_recorded(id, error))?;
        let nodes: Vec<&str> = pods
            .iter()
            .filter_map(|pod| pod.spec.as_ref()?.node_name.as_deref())
            .collect();
        let mut provenance = Provenance::default();
        provenance.set(Provenance::SERVER_NODES, nodes.join(","));
        provenance.set(Provenance::SERVER_LOAD_STEPS, self.load_steps(id, pods).await);
        Ok(DeploymentStatus::Ready {
            endpoint: EndpointSpec {
                ca_file,
                ..EndpointSpec::new(&url)
            },
            provenance,
            load_time: load_time(pods),
        })
    }

    /// Says why the pods are ready and the server is not, once for each reason.
    fn say_ingress(&self, id: &str, error: &IngressError) {
        let reason = error
            .source()
            .map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        let mut watches = self.watches();
        let Some(watching) = watches.open.get_mut(id) else {
            return;
        };
        if watching.ingress_said.as_ref() != Some(&reason) {
            tracing::info!(server = id, reason, "the pods are ready, the Ingress is not yet");
            watching.ingress_said = Some(reason);
        }
    }

    /// How long the steps of its start took by the engine's own word. Its log is kept and read once, when it has just
    /// started: later it is full of requests.
    async fn load_steps(&self, id: &str, pods: &[Pod]) -> String {
        let known = self
            .watches()
            .open
            .get(id)
            .and_then(|watching| watching.load_steps.clone());
        if let Some(steps) = known {
            return steps;
        }
        self.refresh_log(id, pods).await;
        let steps = load_steps_by_log(id, &self.kept_log(id));
        if let Some(watching) = self.watches().open.get_mut(id) {
            watching.load_steps = Some(steps.clone());
        }
        steps
    }
}

/// The uids of the pods that stay.
fn uids(pods: &[Pod]) -> BTreeSet<String> {
    let staying = pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none());
    staying.filter_map(|pod| pod.metadata.uid.clone()).collect()
}

/// From the start of the first container to the first answer of the last pod, in the cluster's own times of whole seconds.
fn load_time(pods: &[Pod]) -> Option<Duration> {
    let (began, ready): (Vec<i64>, Vec<i64>) = pods.iter().filter_map(times).unzip();
    let seconds = ready.into_iter().max()? - began.into_iter().min()?;
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

/// When a pod's first container started, and when the pod was ready.
fn times(pod: &Pod) -> Option<(i64, i64)> {
    let status = pod.status.as_ref()?;
    let began = status
        .container_statuses
        .iter()
        .flatten()
        .filter_map(|container| container.state.as_ref()?.running.as_ref()?.started_at.as_ref())
        .map(|time| time.0.as_second())
        .min()?;
    let ready = status
        .conditions
        .as_ref()?
        .iter()
        .find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
    Some((began, ready.last_transition_time.as_ref()?.0.as_second()))
}
