//! How the containers of a pod are.

use gipfel_backend::FailureReason;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Event, Pod};

use super::{Trouble, TroubleKind, words};

/// So many restarts of a container before the server's are no accident.
const INIT_RESTARTS: i32 = 2;

/// Words with which a container that cannot be started will not be started later either.
const FINAL: &[&str] = &[
    "not found",
    "denied",
    "nauthorized",
    "authorization failed",
    "no match for platform",
    "couldn't find key",
];

/// How a pod ended, if a container of it did.
pub(crate) fn pod_end(pod: &Pod, events: &[Event]) -> Option<(FailureReason, String)> {
    let status = pod.status.as_ref()?;
    let init = status.init_container_statuses.as_deref().unwrap_or_default();
    let main = status.container_statuses.as_deref().unwrap_or_default();
    let of_init = init.iter().find_map(|container| init_end(container, events));
    let of_main = || main.iter().find_map(|container| end(container, events));
    let of_pod = || {
        let message = || words(status.reason.as_deref(), status.message.as_deref());
        (status.phase.as_deref() == Some("Failed")).then(|| (FailureReason::ServerFailed, message()))
    };
    of_init.or_else(of_main).or_else(of_pod)
}

/// Why the kubelet does not start a container: for good, or for now.
pub(super) fn not_started(pod: &Pod) -> Option<Result<Trouble, (FailureReason, String)>> {
    let status = pod.status.as_ref()?;
    let init = status.init_container_statuses.iter().flatten();
    let main = status.container_statuses.iter().flatten();
    let named = |container: &ContainerStatus| {
        let found = waiting(container.state.as_ref()?)?;
        let name = |message: &str| format!("init container `{}`: {message}", container.name);
        Some(match found {
            Ok(trouble) => Ok(Trouble {
                message: name(&trouble.message),
                ..trouble
            }),
            Err((reason, message)) => Err((reason, name(&message))),
        })
    };
    let of_init = init.filter_map(named);
    let of_main = main.filter_map(|container| waiting(container.state.as_ref()?));
    of_init.chain(of_main).next()
}

/// Containers that come before the server are often the cluster's own: they are meant to end, and may be tried again.
fn init_end(container: &ContainerStatus, events: &[Event]) -> Option<(FailureReason, String)> {
    let waits = container.state.as_ref()?.waiting.as_ref()?;
    let is_given_up = container.restart_count >= INIT_RESTARTS;
    if !is_given_up || waits.reason.as_deref() != Some("CrashLoopBackOff") {
        return None;
    }
    let last = container.last_state.as_ref()?.terminated.as_ref()?;
    let (reason, message) = termination(last, events);
    Some((reason, format!("init container `{}`: {message}", container.name)))
}

fn end(container: &ContainerStatus, events: &[Event]) -> Option<(FailureReason, String)> {
    // What ended it stands in the last state as soon as it waits for its restart.
    let ended = [&container.state, &container.last_state];
    let terminated = ended
        .into_iter()
        .find_map(|state| state.as_ref().and_then(|state| state.terminated.as_ref()));
    if let Some(terminated) = terminated {
        return Some(termination(terminated, events));
    }
    let waits = container.state.as_ref()?.waiting.as_ref()?;
    let is_back_off = waits.reason.as_deref() == Some("CrashLoopBackOff");
    is_back_off.then(|| {
        let message = words(waits.reason.as_deref(), waits.message.as_deref());
        (FailureReason::ServerFailed, message)
    })
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

/// Most of what keeps a container from its start passes: a registry that has too much to do, a Secret that is not there yet.
fn waiting(state: &ContainerState) -> Option<Result<Trouble, (FailureReason, String)>> {
    let waiting = state.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    let message = words(Some(reason), waiting.message.as_deref());
    let said = waiting.message.as_deref().unwrap_or_default();
    let is_final = FINAL.iter().any(|words| said.contains(words));
    match reason {
        "RunContainerError" => Some(Err((FailureReason::CommandNotFound, message))),
        "InvalidImageName" | "ErrImageNeverPull" => Some(Err((FailureReason::ServerFailed, message))),
        "ImagePullBackOff" | "CreateContainerConfigError" | "CreateContainerError" if is_final => {
            Some(Err((FailureReason::ServerFailed, message)))
        }
        // The first failed pull is followed by the back-off, which has the same words.
        "ErrImagePull" | "ImagePullBackOff" | "CreateContainerConfigError" | "CreateContainerError" => {
            Some(Ok(Trouble {
                kind: TroubleKind::Start,
                reason: FailureReason::ServerFailed,
                message,
            }))
        }
        _ => None,
    }
}
