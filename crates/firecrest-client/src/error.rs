//! What a failed call reports.

use std::{fmt, time::Duration};

use jiff::Timestamp;

use crate::{
    answer::Refusal,
    backoff::GaveUp,
    classify::{Class, Failure},
    token::TokenError,
};

/// A call that failed, after all its attempts.
///
/// `Display` says which call, how often it was tried and why it was given up; the cause is the
/// [source](std::error::Error::source), so print the chain.
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    trail: Trail,
    class: Class,
    gave_up: GaveUp,
    cause: Cause,
}

/// What a call left behind: for its error, and for the support of the site.
#[derive(Debug, Clone)]
pub(crate) struct Trail {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) attempts: u32,
    pub(crate) spent: Duration,
    pub(crate) request_id: String,
}

impl Error {
    pub(crate) fn new(trail: Trail, class: Class, gave_up: GaveUp, cause: Cause) -> Self {
        Self(Box::new(Inner {
            trail,
            class,
            gave_up,
            cause,
        }))
    }

    /// The HTTP method.
    pub fn method(&self) -> &'static str {
        self.0.trail.method
    }

    /// The path below the base URL, or the URL of the staging storage; without the query.
    pub fn path(&self) -> &str {
        &self.0.trail.path
    }

    /// How many attempts were made.
    pub fn attempts(&self) -> u32 {
        self.0.trail.attempts
    }

    /// The time from the first attempt to the last, waits included.
    pub fn spent(&self) -> Duration {
        self.0.trail.spent
    }

    /// The id of the last request, which the site's support can trace; empty if the API got none.
    pub fn request_id(&self) -> &str {
        &self.0.trail.request_id
    }

    /// What the last failure means for the call.
    pub fn class(&self) -> Class {
        self.0.class
    }

    /// Why the call was not tried again.
    pub fn gave_up(&self) -> GaveUp {
        self.0.gave_up
    }

    /// The last failure.
    pub fn cause(&self) -> &Cause {
        &self.0.cause
    }

    /// The refusal of the server or a gateway, if there was an answer.
    pub fn refusal(&self) -> Option<&Refusal> {
        match &self.0.cause {
            Cause::Refused(refusal) => Some(refusal),
            Cause::NotSent(_) | Cause::NoAnswer(_) | Cause::Unreadable { .. } | Cause::Token(_) => None,
        }
    }

    /// The HTTP status of the refusal, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        self.refusal().map(|refusal| refusal.status)
    }

    /// Whether the call failed since a file is missing, and not the system or the job.
    pub fn is_missing_file(&self) -> bool {
        self.refusal()
            .is_some_and(|refusal| refusal.status == 404 && refusal.mentions("No such file"))
    }

    /// How long the server or a gateway asks to wait before the next call; nothing if it does not ask.
    pub(crate) fn asked(&self) -> Duration {
        self.cause().asked(Timestamp::now()).unwrap_or_default()
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self.0.class {
            Class::Retry => true,
            Class::Permanent | Class::Ambiguous | Class::Unauthenticated => false,
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { trail, gave_up, .. } = &*self.0;
        let times = if trail.attempts == 1 {
            "attempt"
        } else {
            "attempts"
        };
        write!(
            formatter,
            "{} {} failed after {} {times} in {:.1?}: {gave_up}",
            trail.method, trail.path, trail.attempts, trail.spent
        )?;
        if trail.request_id.is_empty() {
            return Ok(());
        }
        write!(formatter, " (request id {})", trail.request_id)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0.cause)
    }
}

/// The failure of one attempt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The server, or a gateway before it, refused.
    #[error(transparent)]
    Refused(Refusal),
    /// No connection could be made: the request was not sent.
    #[error("the server cannot be reached, so the request was not sent: check its URL and the network")]
    NotSent(#[source] TransportError),
    /// The connection broke or no answer came in time: whether the request had its effect is not known.
    #[error("no whole answer came")]
    NoAnswer(#[source] TransportError),
    /// The answer says success and could not be read.
    #[error("the answer (HTTP {status}) is not of the documented form: {reason}; it begins with: {excerpt}")]
    Unreadable {
        /// The HTTP status.
        status: u16,
        /// What is wrong with the body.
        reason: String,
        /// The beginning of the body.
        excerpt: String,
    },
    /// No token could be had: the call was not made.
    #[error("no access token could be had, so the call was not made")]
    Token(#[source] TokenError),
}

impl Cause {
    /// The failure as the classification sees it.
    pub fn failure(&self) -> Failure<'_> {
        match self {
            Self::Refused(refusal) => Failure::Refused(refusal),
            Self::NotSent(_) => Failure::NotSent,
            Self::NoAnswer(_) => Failure::NoAnswer,
            Self::Unreadable { .. } => Failure::Unreadable,
            Self::Token(error) => Failure::NoToken {
                may_pass: error.is_retryable(),
            },
        }
    }

    /// The wait that the server asks for.
    pub(crate) fn asked(&self, now: Timestamp) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.wait.map(|hint| hint.from(now)),
            Self::NotSent(_) | Self::NoAnswer(_) | Self::Unreadable { .. } | Self::Token(_) => None,
        }
    }

    /// A fault of the transport, by whether the request can have left.
    pub(crate) fn transport(error: reqwest::Error) -> Self {
        let not_sent = error.is_connect() || error.is_builder();
        let error = TransportError::new(error);
        if not_sent {
            Self::NotSent(error)
        } else {
            Self::NoAnswer(error)
        }
    }
}

/// A fault of the network or of HTTP, without the URL.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct TransportError {
    message: String,
    #[source]
    source: Option<reqwest::Error>,
}

impl TransportError {
    /// A URL may be presigned, so no transport error keeps its own.
    pub(crate) fn new(error: reqwest::Error) -> Self {
        let message = if error.is_timeout() {
            "the time for one attempt ran out"
        } else if error.is_connect() {
            "the connection was not made"
        } else {
            "the connection broke"
        };
        Self {
            message: message.to_owned(),
            source: Some(error.without_url()),
        }
    }

    pub(crate) fn other(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            source: None,
        }
    }
}
