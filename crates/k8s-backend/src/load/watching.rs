//! Tells how a run is.

use gipfel_backend::{BackendError, FailureReason, Handle, RunStatus};
use gipfel_model::Progress;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ConfigMap, Pod},
};

use super::{
    Detail, K8sLoads, failed,
    look::{self, Look},
    not_executed, not_kept,
};
use crate::{
    api::ApiError,
    judge::{Judgement, Rollout, Seen, judge},
    labels::of_attempt,
    logs::{self, tail},
    name::numbered_name,
    record::State,
};

/// Lines that a failure shows.
const SHOWN_LINES: usize = 40;

/// What the three small files may have together.
const LOOK_BYTES: u64 = 8 << 20;

/// The index of a pod among those of an indexed Job.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// Where a run's pods stand.
enum Standing {
    Queued,
    /// The first pod runs.
    Runs(String),
    /// No result can be read from a pod any more.
    Over(FailureReason, String),
}

impl K8sLoads {
    pub(super) async fn watch(&self, handle: &Handle) -> Result<RunStatus, BackendError> {
        let id = handle.name.as_str();
        if let Some(State::Ended { failure, .. }) = self.state(id)? {
            return self.over(id, failure.reason, &failure.message);
        }
        let detail = Detail::of(handle)?;
        match self.standing(id, &detail).await? {
            Standing::Queued => Ok(RunStatus::Queued),
            Standing::Over(reason, words) => self.over(id, reason, &words),
            Standing::Runs(pod) => self.at_pod(id, &detail, &pod).await,
        }
    }

    async fn at_pod(&self, id: &str, detail: &Detail, pod: &str) -> Result<RunStatus, BackendError> {
        let Some(look) = self.look(id, pod).await? else {
            return Ok(RunStatus::Running(None));
        };
        if detail.is_restored && look.ended.is_none() && look.progress.is_none() {
            self.restore(id, detail, pod).await?;
            return Ok(RunStatus::Running(None));
        }
        let home = self.home(id);
        if look.progress.is_some() {
            home.keep_progress(&look.progress_text)
                .map_err(|error| not_kept(id, error))?;
        }
        if let Some(published) = &look.published
            && let Err(error) = self.keep_published(id, pod, published).await
        {
            tracing::debug!(run = id, %error, "what is published is not kept yet");
        }
        let Some(ended) = look.ended else {
            return Ok(RunStatus::Running(look.progress.map(Box::new)));
        };
        self.refresh_log(id, detail.attempt).await;
        let code = ended.split(' ').next().unwrap_or_default();
        let words = format!("it ended with exit code {code}");
        Ok(self.concluded(id, look.progress, FailureReason::LoadFailed, &words))
    }

    /// The files of a run; nothing before its directory is there.
    pub(super) async fn look(&self, id: &str, pod: &str) -> Result<Option<Look>, BackendError> {
        let operation = || format!("read the files of `{id}`");
        let said = self.execute(pod, &look::script(), None, LOOK_BYTES).await;
        let said = said.map_err(|error| not_executed(operation(), error))?;
        look::read(&said).map_err(|error| BackendError::permanent(operation(), error))
    }

    /// The status by what is kept of a run whose pod is gone.
    fn over(&self, id: &str, reason: FailureReason, words: &str) -> Result<RunStatus, BackendError> {
        let text = self.home(id).progress().unwrap_or_default();
        let progress = look::progress(&text)
            .map_err(|error| BackendError::permanent(format!("read the kept progress of `{id}`"), error))?;
        Ok(self.concluded(id, progress, reason, words))
    }

    fn concluded(
        &self,
        id: &str,
        progress: Option<Progress>,
        reason: FailureReason,
        words: &str,
    ) -> RunStatus {
        let log = tail(&self.home(id).log(), SHOWN_LINES);
        look::over(progress, reason, words, &log)
    }

    /// The first pod of an attempt, if commands can run in it.
    pub(super) async fn running_pod(
        &self,
        id: &str,
        detail: &Detail,
    ) -> Result<Option<String>, BackendError> {
        Ok(match self.standing(id, detail).await? {
            Standing::Runs(pod) => Some(pod),
            Standing::Queued | Standing::Over(..) => None,
        })
    }

    async fn standing(&self, id: &str, detail: &Detail) -> Result<Standing, BackendError> {
        let observing = |error| failed(format!("observe `{id}`"), error);
        let gone = |words: &str| Ok(Standing::Over(FailureReason::LoadFailed, words.to_owned()));
        let claim = self
            .calls
            .get::<ConfigMap>(&detail.claim)
            .await
            .map_err(observing)?;
        let Some(claim) = claim.filter(|claim| claim.metadata.uid.as_ref() == Some(&detail.uid)) else {
            return gone("its objects were deleted");
        };
        if claim.metadata.deletion_timestamp.is_some() {
            return gone("its objects are being deleted");
        }
        let name = numbered_name(id, detail.attempt);
        let Some(job) = self.calls.get::<Job>(&name).await.map_err(observing)? else {
            return gone("it has no Job");
        };
        let pods = self.pods(id, detail.attempt).await.map_err(observing)?;
        let alive: Vec<Pod> = pods.iter().filter(|pod| !has_succeeded(pod)).cloned().collect();
        let judgement = judged(&alive);
        let trouble = match &judgement {
            Judgement::Troubled(trouble) => Some(trouble.kind),
            _ => None,
        };
        let is_over = self.patience.is_over(id, trouble);
        let ended = match judgement {
            Judgement::Failed(reason, words) => Some((reason, words)),
            Judgement::Troubled(trouble) if is_over => Some((trouble.reason, trouble.message)),
            Judgement::Troubled(_) | Judgement::Queued | Judgement::Starting | Judgement::Ready => None,
        };
        if let Some((reason, words)) = ended {
            self.refresh_log(id, detail.attempt).await;
            let reason = match reason {
                // The judge speaks of servers.
                FailureReason::ServerFailed => FailureReason::LoadFailed,
                other => other,
            };
            return Ok(Standing::Over(reason, words));
        }
        let first = pods.iter().find(|pod| index(pod) == 0);
        let Some(first) = first else {
            return match refusal(&job) {
                Some(words) => Ok(Standing::Over(FailureReason::LoadFailed, words)),
                None => Ok(Standing::Queued),
            };
        };
        if has_succeeded(first) {
            return gone("its pod is over and was not waited for");
        }
        Ok(match (&first.metadata.name, is_running(first)) {
            (Some(name), true) => Standing::Runs(name.clone()),
            _ => Standing::Queued,
        })
    }

    async fn pods(&self, id: &str, attempt: u32) -> Result<Vec<Pod>, ApiError> {
        let mut pods = self.calls.list::<Pod>(&of_attempt(id, attempt)).await?;
        pods.sort_by_key(index);
        Ok(pods)
    }

    pub(super) async fn log_tail(&self, handle: &Handle, lines: usize) -> Result<String, BackendError> {
        let id = handle.name.as_str();
        if !matches!(self.state(id)?, Some(State::Ended { .. })) {
            self.refresh_log(id, Detail::of(handle)?.attempt).await;
        }
        Ok(tail(&self.home(id).log(), lines))
    }

    /// Keeps the pods' logs as they are now. Without any, what was kept before stays.
    pub(super) async fn refresh_log(&self, id: &str, attempt: u32) {
        let pods = match self.pods(id, attempt).await {
            Ok(pods) => pods,
            Err(error) => return tracing::warn!(run = id, %error, "its log is not kept"),
        };
        let log = logs::read(&self.calls, &pods).await;
        if !log.is_empty()
            && let Err(error) = self.home(id).keep_log(&log)
        {
            tracing::warn!(run = id, %error, "the log cannot be kept");
        }
    }
}

fn judged(pods: &[Pod]) -> Judgement {
    judge(Seen {
        rollout: &Rollout::default(),
        pods,
        events: &[],
    })
}

fn index(pod: &Pod) -> u32 {
    let annotations = pod.metadata.annotations.as_ref();
    annotations
        .and_then(|annotations| annotations.get(INDEX)?.parse().ok())
        .unwrap_or(0)
}

/// Whether all its containers have ended well.
fn has_succeeded(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_deref());
    let ended_well = |state: &k8s_openapi::api::core::v1::ContainerStatus| {
        let ended = state.state.as_ref().and_then(|state| state.terminated.as_ref());
        ended.is_some_and(|ended| ended.exit_code == 0)
    };
    let containers = containers.unwrap_or_default();
    status.is_some_and(|status| status.phase.as_deref() == Some("Succeeded"))
        || (!containers.is_empty() && containers.iter().all(ended_well))
}

fn is_running(pod: &Pod) -> bool {
    let containers = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_deref());
    containers.unwrap_or_default().iter().any(|container| {
        container
            .state
            .as_ref()
            .is_some_and(|state| state.running.is_some())
    })
}

/// Why a Job has no pod any more.
fn refusal(job: &Job) -> Option<String> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let failure = conditions
        .iter()
        .find(|condition| condition.type_ == "Failed" && condition.status == "True")?;
    let words = [failure.reason.as_deref(), failure.message.as_deref()];
    let words: Vec<&str> = words.into_iter().flatten().collect();
    Some(words.join(": "))
}
