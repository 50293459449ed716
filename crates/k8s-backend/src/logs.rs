//! Logs of pods, which end with them.

use k8s_openapi::api::core::v1::{Event, Pod};

use crate::calls::Calls;

/// Events that are shown.
const SHOWN_EVENTS: usize = 6;

/// What the pods' first containers say, and said before their last restart; empty where none has a log.
pub(crate) async fn read(calls: &Calls, pods: &[Pod]) -> String {
    let mut log = String::new();
    for pod in pods {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let text = of_pod(calls, pod, name).await;
        if pods.len() > 1 && !text.is_empty() {
            log.extend(["== ", name, "\n"]);
        }
        log.push_str(&text);
    }
    log
}

async fn of_pod(calls: &Calls, pod: &Pod, name: &str) -> String {
    // The operator of Dynamo wants another name than ours, and clusters put containers of their own beside it.
    let container = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.containers.first())
        .map(|first| first.name.as_str());
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_deref());
    let was_restarted = statuses
        .unwrap_or_default()
        .iter()
        .any(|status| status.restart_count > 0);
    let mut text = String::new();
    for previous in [true, false]
        .into_iter()
        .filter(|previous| was_restarted || !previous)
    {
        match calls.log(name, container, previous).await {
            Ok(part) => text.push_str(&part),
            // A container that never ran has none.
            Err(error) => tracing::debug!(pod = name, %error, previous, "no log"),
        }
    }
    text
}

/// What events warn of, a line for each, the newest at the end.
pub(crate) fn warnings(events: &[Event]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for event in events
        .iter()
        .filter(|event| event.type_.as_deref() != Some("Normal"))
    {
        let words = [event.reason.as_deref(), event.message.as_deref()];
        let words: Vec<&str> = words.into_iter().flatten().collect();
        let line = format!("event: {}\n", words.join(": "));
        lines.retain(|known| *known != line);
        lines.push(line);
    }
    lines.split_off(lines.len().saturating_sub(SHOWN_EVENTS)).concat()
}

/// The last lines of a log.
pub(crate) fn tail(log: &str, lines: usize) -> String {
    let all: Vec<&str> = log.lines().collect();
    let kept = &all[all.len().saturating_sub(lines)..];
    kept.iter().flat_map(|line| [*line, "\n"]).collect()
}
