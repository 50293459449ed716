//! Answers and errors as the real server writes them.

use std::path::PathBuf;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

/// An answer before it is sent.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: AnswerBody,
    /// The server drops the connection afterwards without saying so.
    pub(crate) breaks_connection: bool,
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum AnswerBody {
    Bytes(Bytes),
    /// `length_bytes` of a file from `start` on, read as they are sent.
    File {
        path: PathBuf,
        start: u64,
        length_bytes: u64,
    },
}

impl Answer {
    pub(crate) fn new(status: StatusCode) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: AnswerBody::Bytes(Bytes::new()),
            breaks_connection: false,
        }
    }

    pub(crate) fn json(status: StatusCode, body: &Value) -> Self {
        Self::text(status, "application/json", body.to_string())
    }

    pub(crate) fn text(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self::new(status)
            .header("content-type", content_type)
            .body(AnswerBody::Bytes(body.into()))
    }

    /// The real server names a content type in an answer without a body, too.
    pub(crate) fn no_content() -> Self {
        Self::new(StatusCode::NO_CONTENT).header("content-type", "application/json")
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, body: AnswerBody) -> Self {
        self.body = body;
        self
    }
}

/// An error in the server's own form.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) validation: bool,
    pub(crate) message: String,
    pub(crate) caused_by: Option<Vec<String>>,
    pub(crate) data: Option<Value>,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The error left the server before or outside of the handling that knows the user.
    pub(crate) anonymous: bool,
    pub(crate) breaks_connection: bool,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            validation: false,
            message: message.into(),
            caused_by: None,
            data: None,
            headers: Vec::new(),
            anonymous: false,
            breaks_connection: false,
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn server_error(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// An input that does not have the documented form.
    pub(crate) fn validation(kind: &str, location: &str, name: Value, message: &str) -> Self {
        let text = format!(
            "1 validation error:\n  {{'type': '{kind}', 'loc': ('{location}', {}), 'msg': \"{}\"}}",
            name.to_string().replace('"', "'"),
            message.to_lowercase(),
        );
        let field = json!({"location": location, "name": name, "message": message});
        Self {
            validation: true,
            data: Some(json!({"fields": [field]})),
            ..Self::bad_request(text)
        }
    }

    /// A field of the body that is not there.
    pub(crate) fn missing(name: &str) -> Self {
        Self::validation("missing", "body", json!(name), "Field required")
    }

    pub(crate) fn caused_by(mut self, causes: impl IntoIterator<Item = String>) -> Self {
        self.caused_by = Some(causes.into_iter().collect());
        self
    }

    pub(crate) fn anonymous(mut self) -> Self {
        self.anonymous = true;
        self
    }

    pub(crate) fn breaks_connection(mut self) -> Self {
        self.breaks_connection = true;
        self
    }

    pub(crate) fn into_answer(self, user: Option<&str>) -> Answer {
        let user = if self.anonymous { None } else { user };
        let body = json!({
            "errorType": if self.validation { "validation" } else { "error" },
            "message": self.message,
            "causedBy": self.caused_by,
            "data": self.data,
            "user": user,
        });
        let mut answer = Answer::json(self.status, &body);
        answer.headers.extend(self.headers);
        answer.breaks_connection = self.breaks_connection;
        answer
    }
}

/// What a handler comes to.
pub(crate) type Outcome = Result<Answer, Problem>;
