//! Watches the pods of one server as long as it is asked about.
//!
//! A watch ends often: at the API server's own timeout, with its restarts, and when it has forgotten the version that was
//! asked for. It goes on where it was, or from a list; what was missed in between is seen by that list.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use gipfel_backend::{Failure, FailureReason, cause_by_log};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{ListParams, WatchEvent, WatchParams};
use tokio::{
    sync::watch::{self, Receiver},
    task::AbortHandle,
    time::{sleep, timeout},
};

use crate::{
    api::{ApiError, classify},
    calls::Calls,
    judge::pod_end,
    labels::of_pods,
    logs,
    record::Records,
    sight::{Loss, Sight, Told},
};

/// Lines that a failure shows.
pub(crate) const SHOWN_LINES: usize = 40;

/// Before a watch that broke off is opened again; twice as long after each further time.
const PAUSE: Duration = Duration::from_millis(100);

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The longest pause while the credentials are not accepted.
const PAUSE_OF_CREDENTIALS: Duration = Duration::from_mins(5);

/// A watch whose end does not come so long after its time is dead.
const GRACE: Duration = Duration::from_secs(10);

/// Who asks how a server ended does not wait longer for its logs than this.
const DIAGNOSIS: Duration = Duration::from_secs(20);

/// So much later than a look may a watch tell of the same.
const SOON: Duration = Duration::from_secs(2);

/// An end that was seen.
#[derive(Clone, Debug)]
struct Finding {
    failure: Failure,
    /// Whether logs and events have been read for it.
    is_whole: bool,
}

/// A watch that lives as long as this.
#[derive(Debug)]
pub(crate) struct PodWatch {
    task: AbortHandle,
    finding: Receiver<Option<Finding>>,
    was_ready: Arc<AtomicBool>,
}

impl PodWatch {
    /// Watches the pods of a server from what a list said of them.
    pub(crate) fn start(server: Watched, pods: Vec<Pod>, version: String) -> Self {
        let (found, finding) = watch::channel(None);
        let was_ready = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(server.run(pods, version, was_ready.clone(), found));
        Self {
            task: task.abort_handle(),
            finding,
            was_ready,
        }
    }

    /// The server is in use from now on, so that each of its pods counts.
    pub(crate) fn set_ready(&self) {
        self.was_ready.store(true, Ordering::Relaxed);
    }

    /// Whether the server was ready.
    pub(crate) fn was_ready(&self) -> bool {
        self.was_ready.load(Ordering::Relaxed)
    }

    /// What it has seen, to be asked without holding it.
    pub(crate) fn seen(&self) -> SeenEnd {
        SeenEnd(self.finding.clone())
    }
}

/// What a watch has seen of an end.
#[derive(Clone, Debug)]
pub(crate) struct SeenEnd(Receiver<Option<Finding>>);

impl SeenEnd {
    /// Whether a pod was seen to end.
    pub(crate) fn is_some(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// The same where the end is known by other means, and the watch will tell of it.
    pub(crate) async fn failure_soon(mut self) -> Option<Failure> {
        // Without an answer in time there is none.
        let _ = timeout(SOON, self.0.wait_for(Option::is_some)).await;
        self.failure().await
    }

    /// How the server ended, if a pod was seen to. Logs that are still being read are waited for, within bounds.
    pub(crate) async fn failure(mut self) -> Option<Failure> {
        if !self.is_some() {
            return None;
        }
        let is_whole = |found: &Option<Finding>| found.as_ref().is_some_and(|found| found.is_whole);
        if timeout(DIAGNOSIS, self.0.wait_for(is_whole)).await.is_err() {
            tracing::debug!("the logs of a pod that ended do not come");
        }
        let found = self.0.borrow();
        found.as_ref().map(|found| found.failure.clone())
    }
}

impl Drop for PodWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A server that is watched.
pub(crate) struct Watched {
    pub(crate) calls: Calls,
    pub(crate) records: Records,
    pub(crate) id: String,
    /// How long the API server may keep a watch open.
    pub(crate) span: Duration,
}

/// How a stretch of a watch ended.
enum Stretch {
    Lost(Loss),
    /// The API server ended it, as it does after a while.
    Over,
    /// The API server has forgotten what was since then.
    Expired,
    Broken(ApiError),
}

impl Watched {
    async fn run(
        self,
        pods: Vec<Pod>,
        mut version: String,
        was_ready: Arc<AtomicBool>,
        found: watch::Sender<Option<Finding>>,
    ) {
        let mut sight = Sight::new(pods);
        let mut pause = PAUSE;
        let loss = loop {
            let begun = version.clone();
            let mut longest = LONGEST_PAUSE;
            match self.stretch(&mut sight, &mut version, &was_ready).await {
                Stretch::Lost(loss) => break loss,
                Stretch::Over => {}
                Stretch::Expired => {
                    tracing::debug!(server = self.id, version, "the watch has a gap");
                    if let Some(loss) = self.list(&mut sight, &mut version, &was_ready).await {
                        break loss;
                    }
                }
                Stretch::Broken(error) => {
                    self.say_broken(&error, pause);
                    // A program that fetches credentials is not run for this again and again.
                    if matches!(error, ApiError::Credentials(_) | ApiError::Connect(_)) {
                        longest = PAUSE_OF_CREDENTIALS;
                    }
                }
            }
            if version != begun {
                pause = PAUSE;
            }
            sleep(pause).await;
            let factor = if longest == LONGEST_PAUSE { 2 } else { 10 };
            pause = (pause * factor).min(longest);
        };
        let quick = self.diagnosis(&loss, "", &[]);
        found.send_replace(Some(Finding {
            failure: quick,
            is_whole: false,
        }));
        let failure = self.read(&loss, &sight).await;
        if let Err(error) = self.records.fail(&self.id, &failure) {
            tracing::warn!(server = self.id, %error, "how it ended is not recorded");
        }
        found.send_replace(Some(Finding {
            failure,
            is_whole: true,
        }));
    }

    /// A right that is missing is worth a word: then only looks tell.
    fn say_broken(&self, error: &ApiError, pause: Duration) {
        if error.is_retryable() {
            tracing::debug!(server = self.id, %error, "the watch broke off");
        } else if pause == PAUSE {
            tracing::warn!(server = self.id, %error, "its pods cannot be watched, so they are only looked at");
        }
    }

    async fn stretch(&self, sight: &mut Sight, version: &mut String, was_ready: &AtomicBool) -> Stretch {
        let parameters = WatchParams::default()
            .labels(&of_pods(&self.id))
            .timeout(u32::try_from(self.span.as_secs().max(1)).unwrap_or(u32::MAX));
        let mut changes = match self.calls.changes::<Pod>(&parameters, version).await {
            Ok(changes) => changes,
            Err(error) if is_expired(&error) => return Stretch::Expired,
            Err(error) => return Stretch::Broken(error),
        };
        loop {
            let change = match timeout(self.span + GRACE, changes.next()).await {
                Ok(Some(Ok(change))) => change,
                Ok(Some(Err(error))) => return Stretch::Broken(classify(error)),
                Ok(None) => return Stretch::Over,
                Err(_) => return Stretch::Broken(ApiError::Late(self.span + GRACE)),
            };
            let told = match change {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => Told::Is(Box::new(pod)),
                WatchEvent::Deleted(pod) => Told::Gone(Box::new(pod)),
                WatchEvent::Bookmark(mark) => {
                    version.clone_from(&mark.metadata.resource_version);
                    continue;
                }
                WatchEvent::Error(status) => {
                    let error = classify(kube::Error::Api(status));
                    return if is_expired(&error) {
                        Stretch::Expired
                    } else {
                        Stretch::Broken(error)
                    };
                }
            };
            if let Told::Is(pod) | Told::Gone(pod) = &told
                && let Some(reached) = &pod.metadata.resource_version
            {
                version.clone_from(reached);
            }
            if was_ready.load(Ordering::Relaxed) {
                sight.set_ready();
            }
            if let Some(loss) = sight.step(told) {
                return Stretch::Lost(loss);
            }
        }
    }

    async fn list(&self, sight: &mut Sight, version: &mut String, was_ready: &AtomicBool) -> Option<Loss> {
        let all = ListParams::default().labels(&of_pods(&self.id));
        match self.calls.list_by::<Pod>(&all).await {
            Ok(found) => {
                *version = found.metadata.resource_version.unwrap_or_default();
                if was_ready.load(Ordering::Relaxed) {
                    sight.set_ready();
                }
                sight.step(Told::All(found.items))
            }
            // The watch will say again that it has a gap.
            Err(error) => {
                tracing::debug!(server = self.id, %error, "the pods cannot be listed");
                None
            }
        }
    }

    /// What ended the server, with the logs that are still there.
    async fn read(&self, loss: &Loss, sight: &Sight) -> Failure {
        let mut pods = sight.pods();
        if !pods.iter().any(|pod| pod.metadata.uid == loss.pod().metadata.uid) {
            pods.push(loss.pod().clone());
        }
        let log = logs::read(&self.calls, &pods).await;
        if !log.is_empty()
            && let Err(error) = self.records.keep_log(&self.id, &log)
        {
            tracing::warn!(server = self.id, %error, "the log cannot be kept");
        }
        let kept = self.records.log(&self.id).unwrap_or_default();
        let events = events_of(&self.calls, std::slice::from_ref(loss.pod())).await;
        let events = events.unwrap_or_else(|error| {
            tracing::debug!(server = self.id, %error, "no events");
            Vec::new()
        });
        self.diagnosis(loss, &kept, &events)
    }

    fn diagnosis(&self, loss: &Loss, log: &str, events: &[Event]) -> Failure {
        let name = loss.pod().metadata.name.clone().unwrap_or_default();
        let (reason, message) = match loss {
            Loss::Ended(pod) => pod_end(pod, events)
                .unwrap_or_else(|| (FailureReason::ServerFailed, format!("the pod `{name}` ended"))),
            Loss::Deleted(_, words) => {
                let words = words
                    .as_ref()
                    .map_or_else(String::new, |words| format!(": {words}"));
                let message = format!("the pod `{name}` was deleted while it ran{words}");
                (FailureReason::ServerFailed, message)
            }
        };
        failure_by_log(&self.id, reason, message, log, events)
    }
}

/// A failure, with what the engine's log tells where the cluster knows no more than that it ended, and with the events.
pub(crate) fn failure_by_log(
    id: &str,
    reason: FailureReason,
    message: String,
    log: &str,
    events: &[Event],
) -> Failure {
    let finding = cause_by_log(id, log);
    let (reason, message) = match finding {
        Some(finding) if reason == FailureReason::ServerFailed => (
            finding.reason.into(),
            format!("{message}; its log says: {}", finding.line),
        ),
        _ => (reason, message),
    };
    Failure {
        reason,
        message,
        log_tail: logs::tail(log, SHOWN_LINES) + &logs::warnings(events),
    }
}

/// The API server answers 410 at once, or tells it in the stream.
fn is_expired(error: &ApiError) -> bool {
    matches!(error, ApiError::Refused { code: 410, .. })
}

/// The events of these pods.
pub(crate) async fn events_of(calls: &Calls, pods: &[Pod]) -> Result<Vec<Event>, ApiError> {
    let mut events = Vec::new();
    for pod in pods {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let of_pod = ListParams::default().fields(&format!("involvedObject.name={name}"));
        events.extend(calls.list_by::<Event>(&of_pod).await?.items);
    }
    Ok(events)
}
