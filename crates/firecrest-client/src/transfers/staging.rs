//! Transfer jobs: how a transfer through the storage begins and ends on the server's side.

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::{TransferError, TransferOptions, Transfers};
use crate::{
    answer::excerpt,
    call::{Call, path},
    classify::CallKind,
    jobs::Jobs,
    lenient,
    names::{JobId, RemotePath},
    secret::PresignedUrl,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    transfer_job: TransferJob,
    #[serde(default)]
    transfer_directives: Directives,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TransferJob {
    #[serde(deserialize_with = "lenient::text")]
    job_id: String,
    #[serde(default)]
    logs: Logs,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Logs {
    #[serde(default)]
    output_log: Option<String>,
    #[serde(default)]
    error_log: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Directives {
    #[serde(default, deserialize_with = "lenient::or_default")]
    parts_upload_urls: Vec<String>,
    #[serde(default)]
    complete_upload_url: Option<String>,
    #[serde(default)]
    max_part_size: Option<u64>,
    #[serde(default)]
    download_url: Option<String>,
}

/// A transfer that has begun: a job waits or runs, and is told to end when this is dropped before its end.
#[derive(Debug)]
pub(super) struct Begun {
    job: JobId,
    logs: Vec<String>,
    jobs: Jobs,
    is_over: bool,
}

impl Begun {
    /// The job, which needs no end any more.
    pub(super) fn over(mut self) -> JobId {
        self.is_over = true;
        self.job.clone()
    }

    /// Ends the job of a transfer that failed: it would wait for its content until its time is up.
    pub(super) async fn abandon(self, error: TransferError) -> TransferError {
        let cancelled = self.jobs.cancel(&self.job).await;
        let id = self.over();
        match cancelled {
            Ok(_) => error,
            Err(cancel) => TransferError::JobLeft {
                id,
                error: Box::new(error),
                cancel: Box::new(cancel),
            },
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // Without a runtime nothing can be sent, and the job ends when its time is up.
        if let Ok(runtime) = Handle::try_current() {
            let (jobs, job) = (self.jobs.clone(), self.job.clone());
            runtime.spawn(async move {
                if let Err(error) = jobs.cancel(&job).await {
                    tracing::warn!(%job, %error, "the job of a transfer that was given up could not be ended");
                }
            });
        }
    }
}

/// What the server gives for an upload.
#[derive(Debug)]
pub(super) struct UploadPlan {
    pub(super) parts: Vec<PresignedUrl>,
    pub(super) complete: PresignedUrl,
    pub(super) largest_part: Option<u64>,
}

/// The last bytes of a job's log that an error shows.
const SHOWN_LOG: usize = 600;

impl Transfers {
    /// Begins an upload.
    pub(super) async fn begin_upload(
        &self,
        target: &RemotePath,
        size: u64,
        options: &TransferOptions,
    ) -> Result<(Begun, Result<UploadPlan, String>), TransferError> {
        let directives = json!({ "transferMethod": "s3", "fileSize": size });
        let (begun, directives) = self
            .begin(CallKind::StartUpload, "upload", target, directives, options)
            .await?;
        Ok((begun, upload_plan(&directives)))
    }

    /// Begins a download. Begun twice, one of the two copies is thrown away by the storage in time.
    pub(super) async fn begin_download(
        &self,
        source: &RemotePath,
        options: &TransferOptions,
    ) -> Result<(Begun, Result<PresignedUrl, String>), TransferError> {
        let directives = json!({ "transferMethod": "s3" });
        let (begun, directives) = self
            .begin(CallKind::Repeatable, "download", source, directives, options)
            .await?;
        let url = directives
            .download_url
            .as_deref()
            .ok_or_else(|| "it has no URL to download".to_owned());
        Ok((begun, url.and_then(PresignedUrl::parse)))
    }

    async fn begin(
        &self,
        kind: CallKind,
        direction: &str,
        target: &RemotePath,
        directives: Value,
        options: &TransferOptions,
    ) -> Result<(Begun, Directives), TransferError> {
        let mut body = json!({ "path": target.as_str(), "transferDirectives": directives });
        if let Some(account) = &options.account {
            body["account"] = account.as_str().into();
        }
        let mut call = Call::post(kind, path::transfer(&self.system, direction)).json(body);
        call.is_secret = true;
        let done = self.client.run(call).await?;
        let begun = done.json_then(|answer: Answer| {
            let job = JobId::try_new(answer.transfer_job.job_id).map_err(|fault| fault.to_string())?;
            let Logs {
                output_log,
                error_log,
            } = answer.transfer_job.logs;
            let logs = error_log.into_iter().chain(output_log).collect();
            let begun = Begun {
                job,
                logs,
                jobs: self.client.jobs(&self.system),
                is_over: false,
            };
            Ok((begun, answer.transfer_directives))
        });
        Ok(begun?)
    }

    /// Waits until the transfer job has ended well.
    pub(super) async fn finish(&self, begun: &Begun, options: &TransferOptions) -> Result<(), TransferError> {
        let waited = begun.jobs.wait(&begun.job, &options.wait).await;
        let jobs = waited.map_err(|error| TransferError::Wait {
            id: begun.job.clone(),
            error,
        })?;
        match jobs
            .into_iter()
            .map(|job| job.status.state)
            .find(|state| !state.is_success())
        {
            None => Ok(()),
            Some(state) => Err(TransferError::Job {
                id: begun.job.clone(),
                state,
                log: self.log(begun).await,
            }),
        }
    }

    /// The end of what the job wrote, errors first.
    async fn log(&self, begun: &Begun) -> String {
        for log in &begun.logs {
            let Ok(path) = RemotePath::try_new(log.as_str()) else {
                continue;
            };
            if let Ok(text) = self.files().view_once(&path).await
                && !text.trim().is_empty()
            {
                let bytes = text.trim().as_bytes();
                return excerpt(&bytes[bytes.len().saturating_sub(SHOWN_LOG)..], &[]);
            }
        }
        "<nothing>".to_owned()
    }
}

fn upload_plan(directives: &Directives) -> Result<UploadPlan, String> {
    let parts: Result<Vec<_>, _> = directives
        .parts_upload_urls
        .iter()
        .map(|url| PresignedUrl::parse(url))
        .collect();
    let complete = directives
        .complete_upload_url
        .as_deref()
        .ok_or("it has no URL to complete the upload")?;
    Ok(UploadPlan {
        parts: parts?,
        complete: PresignedUrl::parse(complete)?,
        largest_part: directives.max_part_size,
    })
}
