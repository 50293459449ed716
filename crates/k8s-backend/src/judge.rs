//! What a server's objects say of it.
//!
//! Pods are believed, not the Deployment's conditions: those still say that all is well after a crash, and a moment
//! after a change. A container that has ended once is the end of the server, since a name has one.

mod containers;

use gipfel_backend::FailureReason;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Event, Pod},
};
use serde_json::Value;

use containers::not_started;
pub(crate) use containers::pod_end;

/// What a controller says in an event when it cannot make a pod.
pub(crate) const NOT_CREATED: &str = "FailedCreate";

/// What was seen of a server at one time.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// What the controller of its pods says.
    pub rollout: &'a Rollout,
    /// Its pods.
    pub pods: &'a [Pod],
    /// The events of these and of their controllers, where they were asked for.
    pub events: &'a [Event],
}

/// What the controller of a server's pods says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    /// Whether its newest form is what runs, with all pods.
    pub is_complete: bool,
    /// How many pods it makes.
    pub pods: usize,
    /// Why a pod cannot be made, such as a quota.
    pub refusal: Option<String>,
}

impl Rollout {
    /// That of a Deployment.
    pub fn of_deployment(deployment: &Deployment) -> Self {
        Self {
            is_complete: is_rolled_out(deployment),
            pods: 1,
            refusal: refusal(deployment),
        }
    }

    /// That of a LeaderWorkerSet with one group of so many pods, by its status.
    pub fn of_group(pods: usize, generation: Option<i64>, status: Option<&Value>) -> Self {
        let number = |name: &str| status.and_then(|status| status[name].as_i64());
        let is_newest = number("observedGeneration").is_none_or(|seen| Some(seen) >= generation);
        Self {
            is_complete: is_newest && number("replicas") == Some(1) && number("readyReplicas") == Some(1),
            pods,
            refusal: None,
        }
    }

    /// That of a Dynamo graph of so many pods, by its status.
    pub fn of_graph(pods: usize, status: Option<&Value>) -> Self {
        let conditions = status.and_then(|status| status["conditions"].as_array());
        let ready = conditions
            .into_iter()
            .flatten()
            .find(|condition| condition["type"] == "Ready");
        let is_failed = status.is_some_and(|status| status["state"] == "failed");
        let said = ready.map(|ready| words(ready["reason"].as_str(), ready["message"].as_str()));
        Self {
            is_complete: ready.is_some_and(|ready| ready["status"] == "True"),
            pods,
            refusal: is_failed.then(|| said.unwrap_or_else(|| "the operator says that it failed".to_owned())),
        }
    }
}

/// What may pass by itself, and is a failure where it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Of which kind, by which it is waited for.
    pub kind: TroubleKind,
    /// The class of the failure.
    pub reason: FailureReason,
    /// The cluster's words.
    pub message: String,
}

/// The kinds of what may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// No node has room.
    Place,
    /// A pod cannot be made, for instance for a quota.
    Refusal,
    /// A container cannot be started, for instance for want of its image.
    Start,
}

/// What a server's objects say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It waits for a place.
    Queued,
    /// It loads.
    Starting,
    /// Something is in its way, now.
    Troubled(Trouble),
    /// Its pod answers its probe.
    Ready,
    /// It will not become ready, or is no more.
    Failed(FailureReason, String),
}

/// Judges a server.
pub fn judge(seen: Seen<'_>) -> Judgement {
    // A pod on its way out says nothing of the one that replaces it.
    let pods: Vec<&Pod> = seen
        .pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .collect();
    if let Some((reason, message)) = pods.iter().find_map(|pod| pod_end(pod, seen.events)) {
        return Judgement::Failed(reason, message);
    }
    let in_the_way = pods
        .iter()
        .filter_map(|pod| not_started(pod).or_else(|| unschedulable(pod)));
    let (troubles, failures): (Vec<_>, Vec<_>) = in_the_way.partition(Result::is_ok);
    if let Some(Err((reason, message))) = failures.into_iter().next() {
        return Judgement::Failed(reason, message);
    }
    if let Some(Ok(trouble)) = troubles.into_iter().next() {
        return Judgement::Troubled(trouble);
    }
    if pods.len() < seen.rollout.pods {
        let refusal = seen.rollout.refusal.as_deref();
        if let Some(message) = refusal.or_else(|| not_created(seen.events, &pods)) {
            return Judgement::Troubled(Trouble {
                kind: TroubleKind::Refusal,
                reason: FailureReason::ServerFailed,
                message: message.to_owned(),
            });
        }
    }
    if pods.iter().any(|pod| is_ready(pod)) && seen.rollout.is_complete {
        Judgement::Ready
    } else if pods.iter().all(|pod| !is_scheduled(pod)) {
        Judgement::Queued
    } else {
        Judgement::Starting
    }
}

/// Whether the Deployment's newest form is what runs; its conditions say so too early.
fn is_rolled_out(deployment: &Deployment) -> bool {
    let wanted = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    let Some(status) = &deployment.status else {
        return false;
    };
    status.observed_generation >= deployment.metadata.generation
        && [
            status.updated_replicas,
            status.replicas,
            status.available_replicas,
        ]
        .iter()
        .all(|count| *count == Some(wanted))
}

/// Why no pod can be made, such as a quota.
fn refusal(deployment: &Deployment) -> Option<String> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failure = conditions
        .iter()
        .find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")?;
    Some(words(failure.reason.as_deref(), failure.message.as_deref()))
}

/// Why a pod was not made, by the newest event of that kind which no pod has come after: the controllers of sets and graphs
/// say so in events only.
fn not_created<'a>(events: &'a [Event], pods: &[&Pod]) -> Option<&'a str> {
    let newest_pod = pods
        .iter()
        .filter_map(|pod| pod.metadata.creation_timestamp.as_ref())
        .max();
    let newest_pod = newest_pod.map(|time| time.0.as_second());
    let told = events
        .iter()
        .filter(|event| event.reason.as_deref() == Some(NOT_CREATED));
    let newest = told.max_by_key(|event| time_of(event))?;
    let is_over = newest_pod.is_some_and(|pod_s| time_of(newest).is_some_and(|event_s| event_s < pod_s));
    newest.message.as_deref().filter(|_| !is_over)
}

/// When an event was told last, in seconds of Unix.
fn time_of(event: &Event) -> Option<i64> {
    let series = event
        .series
        .as_ref()
        .and_then(|series| series.last_observed_time.as_ref());
    let micro = series
        .or(event.event_time.as_ref())
        .map(|time| time.0.as_second());
    let plain = event
        .last_timestamp
        .as_ref()
        .or(event.metadata.creation_timestamp.as_ref());
    micro.max(plain.map(|time| time.0.as_second()))
}

/// The scheduler's words. A volume claim that is not there will not come; room may.
fn unschedulable(pod: &Pod) -> Option<Result<Trouble, (FailureReason, String)>> {
    let scheduled = condition(pod, "PodScheduled")?;
    if scheduled.status != "False" || scheduled.reason.as_deref() != Some("Unschedulable") {
        return None;
    }
    let message = words(scheduled.reason.as_deref(), scheduled.message.as_deref());
    let reason = FailureReason::ServerFailed;
    Some(if message.contains("persistentvolumeclaim") {
        Err((reason, message))
    } else {
        Ok(Trouble {
            kind: TroubleKind::Place,
            reason,
            message,
        })
    })
}

fn is_scheduled(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
        || condition(pod, "PodScheduled").is_some_and(|condition| condition.status == "True")
}

/// Why the cluster takes a pod away, such as for one of a higher priority.
pub(crate) fn disruption(pod: &Pod) -> Option<String> {
    let target = condition(pod, "DisruptionTarget").filter(|target| target.status == "True")?;
    Some(words(target.reason.as_deref(), target.message.as_deref()))
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a k8s_openapi::api::core::v1::PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

fn words(reason: Option<&str>, message: Option<&str>) -> String {
    let parts: Vec<&str> = [reason, message].into_iter().flatten().collect();
    parts.join(": ")
}

#[cfg(test)]
mod tests;
