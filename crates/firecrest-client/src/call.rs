//! A call as data: what is sent, and how it may be repeated.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::{
    classify::CallKind,
    names::{JobId, SystemName},
};

/// The method of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Put,
    Delete,
}

impl Verb {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }

    pub(crate) fn method(self) -> reqwest::Method {
        match self {
            Self::Get => reqwest::Method::GET,
            Self::Post => reqwest::Method::POST,
            Self::Put => reqwest::Method::PUT,
            Self::Delete => reqwest::Method::DELETE,
        }
    }
}

/// What a call carries.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Nothing,
    Json(Value),
    File { name: String, bytes: Bytes },
}

/// One call of the API.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) kind: CallKind,
    pub(crate) verb: Verb,
    pub(crate) path: String,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) content: Content,
    pub(crate) is_public: bool,
    /// One attempt only, whatever the policy: for polls that come again anyway.
    pub(crate) is_single: bool,
    /// After a refusal with this status there is no further attempt, whatever the policy.
    pub(crate) last_status: Option<u16>,
    /// The answer holds presigned URLs: none of it is shown.
    pub(crate) is_secret: bool,
    /// More time for one attempt than the client's default.
    pub(crate) extra_time: Duration,
}

impl Call {
    fn new(kind: CallKind, verb: Verb, path: String) -> Self {
        Self {
            kind,
            verb,
            path,
            query: Vec::new(),
            content: Content::Nothing,
            is_public: false,
            is_single: false,
            last_status: None,
            is_secret: false,
            extra_time: Duration::ZERO,
        }
    }

    pub(crate) fn get(path: String) -> Self {
        Self::new(CallKind::Read, Verb::Get, path)
    }

    pub(crate) fn post(kind: CallKind, path: String) -> Self {
        Self::new(kind, Verb::Post, path)
    }

    pub(crate) fn put(path: String) -> Self {
        Self::new(CallKind::Repeatable, Verb::Put, path)
    }

    pub(crate) fn delete(path: String) -> Self {
        Self::new(CallKind::Repeatable, Verb::Delete, path)
    }

    pub(crate) fn query(mut self, key: &'static str, value: impl ToString) -> Self {
        self.query.push((key, value.to_string()));
        self
    }

    /// A flag whose default is false.
    pub(crate) fn flag(self, key: &'static str, is_set: bool) -> Self {
        if is_set { self.query(key, true) } else { self }
    }

    pub(crate) fn json(mut self, value: Value) -> Self {
        self.content = Content::Json(value);
        self
    }

    pub(crate) fn single(mut self, is_single: bool) -> Self {
        self.is_single = is_single;
        self
    }
}

/// Paths of the groups of the API, below the base URL.
pub(crate) mod path {
    use super::{JobId, SystemName};

    pub(crate) fn status(system: &SystemName, part: &str) -> String {
        format!("/status/{}/{part}", segment(system.as_str()))
    }

    pub(crate) fn jobs(system: &SystemName) -> String {
        format!("/compute/{}/jobs", segment(system.as_str()))
    }

    pub(crate) fn job(system: &SystemName, job: &JobId) -> String {
        format!("{}/{}", jobs(system), segment(job.as_str()))
    }

    pub(crate) fn operation(system: &SystemName, name: &str) -> String {
        format!("/filesystem/{}/ops/{name}", segment(system.as_str()))
    }

    pub(crate) fn transfer(system: &SystemName, name: &str) -> String {
        format!("/filesystem/{}/transfer/{name}", segment(system.as_str()))
    }

    fn segment(name: &str) -> String {
        crate::http::encode(name)
    }
}
