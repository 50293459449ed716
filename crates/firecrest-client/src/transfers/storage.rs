//! Exchanges with the staging storage, by presigned URLs and without credentials.

use std::{
    io,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use jiff::Timestamp;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, RANGE};
use tokio::{
    fs::{File, OpenOptions},
    io::{AsyncSeekExt as _, AsyncWriteExt as _},
    time::Instant,
};

use super::{
    TransferError,
    local::{FileRange, fault},
    plan::{Part, range_start, storage_message},
};
use crate::{
    answer::{Origin, Refusal},
    backoff::{self, Next, Past, RetryPolicy},
    classify::{CallKind, Class, Failure, classify},
    client::Client,
    error::{Cause, Error, Trail, TransportError},
    http::wait_of,
    redact::redact,
    secret::PresignedUrl,
};

/// The time that every exchange has.
const LEAST_TIME: Duration = Duration::from_mins(1);

/// The slowest line that is waited for, in bytes per second.
const SLOWEST: u64 = 128 * 1024;

/// The longest error of the storage that is read.
const LONGEST_ERROR: usize = 8192;

/// Why one exchange failed.
enum Broken {
    Exchange(Cause),
    Local(TransferError),
}

impl From<Cause> for Broken {
    fn from(cause: Cause) -> Self {
        Self::Exchange(cause)
    }
}

impl From<reqwest::Error> for Broken {
    fn from(error: reqwest::Error) -> Self {
        Self::Exchange(Cause::transport(error))
    }
}

/// What a failed exchange with the storage means.
fn class_of(cause: &Cause) -> Class {
    match cause.failure() {
        Failure::Refused(Refusal {
            status: 408 | 429 | 500..=599,
            ..
        }) => Class::Retry,
        Failure::Refused(refusal) if refusal.mentions("RequestTimeout") => Class::Retry,
        // The URL itself is the credential, so there is nothing to renew.
        Failure::Refused(_) => Class::Permanent,
        failure @ (Failure::NotSent | Failure::NoAnswer | Failure::Unreadable | Failure::NoToken { .. }) => {
            classify(CallKind::Repeatable, failure)
        }
    }
}

fn time_for(bytes: u64) -> Duration {
    LEAST_TIME + on_its_way(bytes)
}

fn on_its_way(bytes: u64) -> Duration {
    Duration::from_secs(bytes / SLOWEST)
}

/// The bounds of an exchange. What a large part takes on a slow line does not count against its repetitions.
fn patience(policy: &RetryPolicy, bytes: u64) -> RetryPolicy {
    RetryPolicy {
        total: policy.total.saturating_add(on_its_way(bytes)),
        ..*policy
    }
}

/// The storage, as one transfer sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Storage<'a> {
    client: &'a Client,
}

impl<'a> Storage<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        Self { client }
    }

    /// Repeats an exchange of so many bytes within the bounds of the client's policy. The attempt is told its
    /// number.
    async fn repeat<T, F: Future<Output = Result<T, Broken>>>(
        &self,
        (method, url): (&'static str, &PresignedUrl),
        bytes: u64,
        attempt: impl Fn(u32) -> F,
    ) -> Result<T, TransferError> {
        let policy = patience(self.client.policy(), bytes);
        let begun = Instant::now();
        let mut past = Past {
            attempts: 0,
            spent: Duration::ZERO,
            renewed: true,
        };
        loop {
            past.attempts += 1;
            let cause = match attempt(past.attempts).await {
                Ok(value) => return Ok(value),
                Err(Broken::Local(error)) => return Err(error),
                Err(Broken::Exchange(cause)) => cause,
            };
            past.spent = begun.elapsed();
            let class = class_of(&cause);
            let path = url.shown();
            tracing::debug!(method, path, attempts = past.attempts, %cause, "an exchange with the storage failed");
            match backoff::next(
                &policy,
                past,
                class,
                cause.asked(Timestamp::now()),
                rand::random(),
            ) {
                Next::Wait(wait) => tokio::time::sleep(wait).await,
                Next::Renew => {}
                Next::GiveUp(gave_up) => {
                    let Past { attempts, spent, .. } = past;
                    let trail = Trail {
                        method,
                        path,
                        attempts,
                        spent,
                        request_id: String::new(),
                    };
                    return Err(Error::new(trail, class, gave_up, cause).into());
                }
            }
        }
    }

    /// Sends a part of a file; its tag completes the upload.
    pub(super) async fn put_part(
        &self,
        url: &PresignedUrl,
        path: &Path,
        part: Part,
    ) -> Result<String, TransferError> {
        self.repeat(("PUT", url), part.length, |_| self.put_once(url, path, part))
            .await
    }

    async fn put_once(&self, url: &PresignedUrl, path: &Path, part: Part) -> Result<String, Broken> {
        // A file that shrinks meanwhile is a fault of this side, which no repetition mends.
        let length = tokio::fs::metadata(path)
            .await
            .map_err(|error| Broken::Local(fault("reading", path)(error)))?
            .len();
        if length < part.offset + part.length {
            let error = io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file became shorter during the upload",
            );
            return Err(Broken::Local(fault("reading", path)(error)));
        }
        let client = self.http_for(url)?;
        let body = FileRange::read(path.to_owned(), part.offset, part.length);
        let sent = client
            .put(url.expose().clone())
            .header(CONTENT_LENGTH, part.length)
            .timeout(time_for(part.length))
            .body(reqwest::Body::wrap(body))
            .send()
            .await;
        let response = self.checked(sent).await?;
        let tag = response
            .headers()
            .get(ETAG)
            .and_then(|tag| tag.to_str().ok())
            .map(str::to_owned);
        let status = response.status().as_u16();
        tag.ok_or_else(|| {
            Broken::Exchange(Cause::Unreadable {
                status,
                reason: "it has no ETag for the part".to_owned(),
                excerpt: String::new(),
            })
        })
    }

    /// Completes an upload.
    ///
    /// An upload that is unknown after a lost answer counts as completed: the job and the checksum tell.
    pub(super) async fn complete(&self, url: &PresignedUrl, message: &str) -> Result<(), TransferError> {
        let attempt = |attempts| async move {
            let client = self.http_for(url)?;
            let sent = client
                .post(url.expose().clone())
                .header(CONTENT_TYPE, "application/xml")
                .timeout(time_for(0))
                .body(message.to_owned())
                .send()
                .await;
            match self.checked(sent).await {
                Ok(response) => check_completion(response).await,
                Err(Broken::Exchange(Cause::Refused(refusal))) if attempts > 1 && refusal.status == 404 => {
                    Ok(())
                }
                Err(broken) => Err(broken),
            }
        };
        self.repeat(("POST", url), 0, attempt).await
    }

    /// Fetches a part into its place of a file. After a cut it goes on from where it was.
    pub(super) async fn get_part(
        &self,
        url: &PresignedUrl,
        path: &Path,
        part: Part,
        is_whole: bool,
    ) -> Result<(), TransferError> {
        let have = AtomicU64::new(0);
        let have = &have;
        self.repeat(("GET", url), part.length, |_| {
            self.get_once(url, path, part, is_whole, have)
        })
        .await
    }

    async fn get_once(
        &self,
        url: &PresignedUrl,
        path: &Path,
        part: Part,
        is_whole: bool,
        have: &AtomicU64,
    ) -> Result<(), Broken> {
        let had = have.load(Ordering::Relaxed);
        let (start, end) = (part.offset + had, part.offset + part.length);
        let client = self.http_for(url)?;
        let sent = client
            .get(url.expose().clone())
            .header(RANGE, format!("bytes={start}-{}", end - 1))
            .timeout(time_for(end - start))
            .send()
            .await;
        let response = self.checked(sent).await?;
        check_range(&response, start, is_whole && had == 0)?;
        let mut file = open_at(path, start)
            .await
            .map_err(|error| Broken::Local(fault("writing", path)(error)))?;
        let received = self.receive(response, &mut file, end - start, have).await;
        // What came before a cut is kept, so it must be on its way to the disk whatever the outcome.
        file.flush()
            .await
            .map_err(|error| Broken::Local(fault("writing", path)(error)))?;
        received.map_err(|broken| match broken {
            Received::Cut(cause) => Broken::Exchange(cause),
            Received::Disk(error) => Broken::Local(fault("writing", path)(error)),
        })
    }

    async fn receive(
        &self,
        mut response: reqwest::Response,
        file: &mut File,
        mut left: u64,
        have: &AtomicU64,
    ) -> Result<(), Received> {
        let cut = |cause| {
            self.client.http().distrust();
            Received::Cut(cause)
        };
        while left > 0 {
            let chunk = response
                .chunk()
                .await
                .map_err(|error| cut(Cause::NoAnswer(TransportError::new(error))))?;
            let Some(mut chunk) = chunk else {
                return Err(cut(Cause::NoAnswer(TransportError::other(
                    "the content ended too early",
                ))));
            };
            chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            file.write_all(&chunk).await.map_err(Received::Disk)?;
            left -= chunk.len() as u64;
            have.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Connections to the storage.
    fn http_for(self, url: &PresignedUrl) -> Result<reqwest::Client, Broken> {
        Ok(self.client.http().client(url.expose())?)
    }

    /// An answer that says success.
    async fn checked(
        &self,
        sent: Result<reqwest::Response, reqwest::Error>,
    ) -> Result<reqwest::Response, Broken> {
        let response = sent.inspect_err(|_| self.client.http().distrust())?;
        let status = response.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(response);
        }
        if status >= 500 {
            self.client.http().distrust();
        }
        let wait = wait_of(status, response.headers());
        let body = response.bytes().await.unwrap_or_default();
        Err(Broken::Exchange(Cause::Refused(refusal(status, &body, wait))))
    }
}

enum Received {
    Cut(Cause),
    Disk(io::Error),
}

fn refusal(status: u16, body: &[u8], wait: Option<crate::wait_hint::WaitHint>) -> Refusal {
    let text = String::from_utf8_lossy(&body[..body.len().min(LONGEST_ERROR)]);
    Refusal {
        status,
        message: storage_message(&redact(&text, &[])),
        caused_by: Vec::new(),
        origin: Origin::Storage,
        wait,
    }
}

async fn open_at(path: &Path, offset: u64) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).open(path).await?;
    file.seek(io::SeekFrom::Start(offset)).await?;
    Ok(file)
}

/// Refuses an answer that begins elsewhere than asked.
fn check_range(response: &reqwest::Response, start: u64, may_be_whole: bool) -> Result<(), Cause> {
    let status = response.status().as_u16();
    let found = response
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|range| range.to_str().ok())
        .and_then(range_start);
    match (status, found) {
        (206, Some(found)) if found == start => Ok(()),
        (200, _) if may_be_whole => Ok(()),
        _ => Err(Cause::Unreadable {
            status,
            reason: format!("it does not begin at byte {start} as asked: the storage serves no ranges"),
            excerpt: String::new(),
        }),
    }
}

/// The storage may say success and put an error into the body.
async fn check_completion(response: reqwest::Response) -> Result<(), Broken> {
    let body = response
        .bytes()
        .await
        .map_err(|error| Cause::NoAnswer(TransportError::new(error)))?;
    let text = String::from_utf8_lossy(&body[..body.len().min(LONGEST_ERROR)]);
    if text.contains("<Error>") {
        return Err(Broken::Exchange(Cause::Refused(refusal(500, &body, None))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_part_on_a_slow_line_is_repeated() {
        let policy = RetryPolicy::default();
        let part = 2 << 30;
        let past = Past {
            attempts: 1,
            spent: Duration::from_mins(20),
            renewed: true,
        };
        let next = |bytes| backoff::next(&patience(&policy, bytes), past, Class::Retry, None, 0.0);
        assert!(matches!(next(part), Next::Wait(_)), "{:?}", next(part));
        assert!(matches!(next(0), Next::GiveUp(_)), "{:?}", next(0));
    }
}
