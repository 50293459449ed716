//! Answers that say success, and their reading.

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::{
    answer::excerpt,
    backoff::GaveUp,
    classify::{CallKind, Class, classify},
    error::{Cause, Error, Trail},
    keys::camel,
    redact::redact,
    secret::Secret,
};

/// An answer with what the call left behind.
pub(crate) struct Done {
    pub(crate) body: Bytes,
    pub(crate) status: u16,
    pub(crate) trail: Trail,
    pub(crate) kind: CallKind,
    /// The body holds presigned URLs.
    pub(crate) is_secret: bool,
    /// What the call showed, in case that the server repeats it.
    pub(crate) credential: Option<Secret>,
}

impl Done {
    /// Reads the body, whichever case its keys are in.
    pub(crate) fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        self.json_then(Ok)
    }

    /// Reads the body, then checks what it says.
    pub(crate) fn json_then<T, U>(self, check: impl FnOnce(T) -> Result<U, String>) -> Result<U, Error>
    where
        T: DeserializeOwned,
    {
        let value = serde_json::from_slice(&self.body).and_then(|value| serde_json::from_value(camel(value)));
        match value.map_err(|fault| fault.to_string()).and_then(check) {
            Ok(value) => Ok(value),
            Err(reason) => Err(self.unreadable(reason)),
        }
    }

    /// The error of an answer that says success and cannot be read.
    pub(crate) fn unreadable(self, reason: String) -> Error {
        let (reason, excerpt) = if self.is_secret {
            (
                "a field is missing or of another type".to_owned(),
                "<not shown>".to_owned(),
            )
        } else {
            let known: Vec<&str> = self.credential.iter().map(Secret::expose).collect();
            (redact(&reason, &known), excerpt(&self.body, &known))
        };
        let cause = Cause::Unreadable {
            status: self.status,
            reason,
            excerpt,
        };
        let class = classify(self.kind, cause.failure());
        let gave_up = if class == Class::Ambiguous {
            GaveUp::Ambiguous
        } else {
            GaveUp::Permanent
        };
        Error::new(self.trail, class, gave_up, cause)
    }
}
