//! What a server's objects say of it.
//!
//! Pods are believed, not the Deployment's conditions: those still say that all is well after a crash, and a moment
//! after a change. A container that has ended once is the end of the server, since a name has one.

use std::time::Duration;

use gipfel_backend::FailureReason;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Event, Pod},
};
use serde_json::Value;

/// A pod that finds no node for so long is not merely waiting for another to leave.
pub const PLACE_PATIENCE: Duration = Duration::from_mins(10);

/// So many restarts of a container before the server's are no accident.
const INIT_RESTARTS: i32 = 2;

/// What a controller says in an event when it cannot make a pod.
pub(crate) const NOT_CREATED: &str = "FailedCreate";

/// What was seen of a server at one time.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// What the controller of its pods says.
    pub rollout: &'a Rollout,
    /// Its pods.
    pub pods: &'a [Pod],
    /// The events of these, where they were asked for.
    pub events: &'a [Event],
    /// The time, in seconds of Unix.
    pub now_s: i64,
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

/// What a server's objects say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It waits for a place; with the scheduler's words, if it has said any.
    Queued(Option<String>),
    /// It loads.
    Starting,
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
    let failed = pods.iter().find_map(|pod| pod_failure(pod, seen));
    if let Some((reason, message)) = failed {
        return Judgement::Failed(reason, message);
    }
    if pods.len() < seen.rollout.pods {
        let refusal = seen
            .rollout
            .refusal
            .as_deref()
            .or_else(|| not_created(seen.events));
        match refusal {
            Some(message) if !is_passing(message) => {
                return Judgement::Failed(FailureReason::ServerFailed, message.to_owned());
            }
            _ if pods.is_empty() => return Judgement::Queued(refusal.map(str::to_owned)),
            _ => {}
        }
    }
    if let Some((message, _)) = pods.iter().find_map(|pod| unschedulable(pod)) {
        return Judgement::Queued(Some(message));
    }
    if pods.iter().any(|pod| is_ready(pod)) && seen.rollout.is_complete {
        Judgement::Ready
    } else if pods.iter().all(|pod| !is_scheduled(pod)) {
        Judgement::Queued(None)
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

fn pod_failure(pod: &Pod, seen: Seen<'_>) -> Option<(FailureReason, String)> {
    if let Some(failure) = pod_end(pod, seen.events) {
        return Some(failure);
    }
    let (message, since_s) = unschedulable(pod)?;
    let waited_s = since_s.map_or(0, |since_s| seen.now_s - since_s);
    let is_hopeless = message.contains("persistentvolumeclaim") || waited_s > PLACE_PATIENCE.as_secs() as i64;
    is_hopeless.then_some((FailureReason::ServerFailed, message))
}

/// How a pod ended, or why the kubelet cannot start it.
pub(crate) fn pod_end(pod: &Pod, events: &[Event]) -> Option<(FailureReason, String)> {
    let status = pod.status.as_ref()?;
    let init = status.init_container_statuses.as_deref().unwrap_or_default();
    let main = status.container_statuses.as_deref().unwrap_or_default();
    let of_init = init.iter().find_map(|container| init_failure(container, events));
    of_init
        .or_else(|| {
            main.iter()
                .find_map(|container| container_failure(container, events))
        })
        .or_else(|| {
            let message = || words(status.reason.as_deref(), status.message.as_deref());
            (status.phase.as_deref() == Some("Failed")).then(|| (FailureReason::ServerFailed, message()))
        })
}

/// Containers that come before the server are often the cluster's own: they are meant to end, and may be tried again.
fn init_failure(container: &ContainerStatus, events: &[Event]) -> Option<(FailureReason, String)> {
    let (reason, message) = waiting(container.state.as_ref()?)?;
    let is_given_up = container.restart_count >= INIT_RESTARTS;
    let named = |message: String| format!("init container `{}`: {message}", container.name);
    let state = container.state.as_ref()?.waiting.as_ref()?;
    if state.reason.as_deref() != Some("CrashLoopBackOff") {
        return Some((reason, named(message)));
    }
    let last = container
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    let (reason, message) = last.map_or((reason, message), |last| termination(last, events));
    is_given_up.then(|| (reason, named(message)))
}

/// Why a pod was not made: the controllers of sets and graphs say so in events only.
fn not_created(events: &[Event]) -> Option<&str> {
    let event = events
        .iter()
        .rev()
        .find(|event| event.reason.as_deref() == Some(NOT_CREATED))?;
    event.message.as_deref()
}

/// Whether the words are of a trouble that the cluster gets over, such as a webhook that does not answer.
fn is_passing(refusal: &str) -> bool {
    [
        "Internal error occurred",
        "timed out",
        "context deadline exceeded",
    ]
    .iter()
    .any(|words| refusal.contains(words))
}

fn container_failure(container: &ContainerStatus, events: &[Event]) -> Option<(FailureReason, String)> {
    // What ended it stands in the last state as soon as it waits for its restart.
    let ended = [&container.state, &container.last_state];
    let terminated = ended
        .into_iter()
        .find_map(|state| state.as_ref().and_then(|state| state.terminated.as_ref()));
    if let Some(terminated) = terminated {
        return Some(termination(terminated, events));
    }
    waiting(container.state.as_ref()?)
}

fn termination(terminated: &ContainerStateTerminated, events: &[Event]) -> (FailureReason, String) {
    let reason = terminated.reason.as_deref().unwrap_or("Error");
    let code = terminated.exit_code;
    if reason == "OOMKilled" {
        return (FailureReason::OutOfMemory, format!("OOMKilled, exit code {code}"));
    }
    if let Some(words) = killed_by_probe(events) {
        return (FailureReason::ReadyTimeout, words);
    }
    let class = if matches!(code, 126 | 127) || reason == "StartError" || reason == "ContainerCannotRun" {
        FailureReason::CommandNotFound
    } else {
        FailureReason::ServerFailed
    };
    let said = terminated.message.as_deref().map(|said| format!(": {said}"));
    let said = said.unwrap_or_default();
    (
        class,
        format!("the container ended: {reason}, exit code {code}{said}"),
    )
}

/// The kubelet's words where it ended a server that did not become healthy in time.
fn killed_by_probe(events: &[Event]) -> Option<String> {
    let says = |event: &&Event, reason: &str, part: &str| {
        event.reason.as_deref() == Some(reason)
            && event
                .message
                .as_deref()
                .is_some_and(|message| message.contains(part))
    };
    events
        .iter()
        .find(|event| says(event, "Killing", "failed startup probe"))?;
    let probe = events
        .iter()
        .rev()
        .find(|event| says(event, "Unhealthy", "Startup probe failed"));
    Some(
        probe
            .and_then(|event| event.message.clone())
            .unwrap_or_else(|| "the startup probe failed".to_owned()),
    )
}

/// What the kubelet cannot get over by itself. The first failed pull is not among it.
fn waiting(state: &ContainerState) -> Option<(FailureReason, String)> {
    let waiting = state.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    let class = match reason {
        "CrashLoopBackOff"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "CreateContainerConfigError"
        | "CreateContainerError" => FailureReason::ServerFailed,
        "RunContainerError" => FailureReason::CommandNotFound,
        _ => return None,
    };
    Some((class, words(Some(reason), waiting.message.as_deref())))
}

/// The scheduler's words, and since when it says so.
fn unschedulable(pod: &Pod) -> Option<(String, Option<i64>)> {
    let scheduled = condition(pod, "PodScheduled")?;
    let is_refused = scheduled.status == "False" && scheduled.reason.as_deref() == Some("Unschedulable");
    is_refused.then(|| {
        let since = scheduled.last_transition_time.as_ref();
        let message = words(scheduled.reason.as_deref(), scheduled.message.as_deref());
        (message, since.map(|since| since.0.as_second()))
    })
}

fn is_scheduled(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
        || condition(pod, "PodScheduled").is_some_and(|condition| condition.status == "True")
}

/// Whether a container of it has run, ended or not.
pub(crate) fn has_started(pod: &Pod) -> bool {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_deref());
    statuses.unwrap_or_default().iter().any(|container| {
        let states = [&container.state, &container.last_state];
        let has_run = |state: &ContainerState| state.running.is_some() || state.terminated.is_some();
        states.into_iter().flatten().any(has_run)
    })
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
