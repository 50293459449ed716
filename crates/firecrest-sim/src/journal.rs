//! What has happened, for a test to look at. It never holds a token, a key, or the query of a storage's address.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::failures::Service;

/// A call that came in.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallRecord {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// The server that it was for.
    pub service: Service,
    /// The method.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The query, unless the call was for the storage.
    pub query: String,
    /// The user, if the call said who it was.
    pub user: Option<String>,
    /// The status of the answer; none if the connection was cut before.
    pub status: Option<u16>,
    /// The failure that was made to happen.
    pub failure: Option<String>,
    /// The request's own number.
    pub request_id: String,
    /// The number that the caller's requests share.
    pub correlation_id: String,
}

/// A submission that had an effect.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SubmitRecord {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// The system.
    pub system: String,
    /// The job.
    pub job_id: String,
    /// The job's name, where the caller gave one.
    pub name: Option<String>,
    /// The submitter.
    pub user: String,
    /// The request that submitted it; none for a job that appeared later.
    pub request_id: Option<String>,
}

/// A transfer that was begun.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TransferRecord {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// `upload`, `download`, `cp`, `mv`, `rm`, `compress` or `extract`.
    pub kind: String,
    /// The system.
    pub system: String,
    /// The file.
    pub path: String,
    /// The job that carries it out.
    pub job_id: String,
}

#[derive(Debug, Default)]
struct Entries {
    calls: Vec<CallRecord>,
    submits: Vec<SubmitRecord>,
    transfers: Vec<TransferRecord>,
}

/// Everything that has happened.
#[derive(Debug, Default)]
pub(crate) struct Journal(Mutex<Entries>);

impl Journal {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn call(&self, record: CallRecord) {
        self.entries().calls.push(record);
    }

    pub(crate) fn submit(&self, record: SubmitRecord) {
        self.entries().submits.push(record);
    }

    pub(crate) fn transfer(&self, record: TransferRecord) {
        self.entries().transfers.push(record);
    }

    pub(crate) fn calls(&self) -> Vec<CallRecord> {
        self.entries().calls.clone()
    }

    pub(crate) fn submits(&self) -> Vec<SubmitRecord> {
        self.entries().submits.clone()
    }

    pub(crate) fn transfers(&self) -> Vec<TransferRecord> {
        self.entries().transfers.clone()
    }

    pub(crate) fn clear(&self) {
        *self.entries() = Entries::default();
    }
}
