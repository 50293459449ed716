//! What the server, or a gateway before it, said when it refused a call.

use serde_json::Value;

use crate::{redact::redact, wait_hint::WaitHint};

/// The longest piece of a body that is shown.
const LONGEST_EXCERPT: usize = 300;

/// The longest message of the server's own that is kept.
const LONGEST_MESSAGE: usize = 4000;

/// How much of a body is searched for secrets before its beginning is shown.
const LONGEST_READ: usize = 64 * 1024;

/// A refusal: an answer outside of what the call expects.
///
/// Its `Display` is the server's message with what to do about it, where that is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.shown())]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The server's message. For validation errors it is made of the named fields, since the server's own
    /// message repeats the input.
    pub message: String,
    /// The messages below it, as the server gave them.
    pub caused_by: Vec<String>,
    /// Who answered.
    pub origin: Origin,
    /// How long the server asks to wait.
    pub wait: Option<WaitHint>,
}

/// Who wrote a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// FirecREST itself.
    Firecrest,
    /// A gateway before it, with a JSON body of its own.
    Gateway,
    /// The issuer of access tokens.
    Issuer,
    /// The staging storage.
    Storage,
    /// A body that is not JSON, or none.
    Other,
}

impl Refusal {
    /// Reads a refusal from a body of any form.
    pub(crate) fn read(status: u16, body: &[u8], wait: Option<WaitHint>, known: &[&str]) -> Self {
        let value = serde_json::from_slice::<Value>(body).ok();
        let (origin, message, caused_by) = match value.as_ref().and_then(Value::as_object) {
            Some(object) if object.contains_key("errorType") || object.contains_key("error_type") => (
                Origin::Firecrest,
                firecrest_message(object).unwrap_or_else(|| excerpt(body, known)),
                causes(object),
            ),
            Some(object) => (
                Origin::Gateway,
                gateway_message(object).unwrap_or_else(|| excerpt(body, known)),
                Vec::new(),
            ),
            None => (Origin::Other, excerpt(body, known), Vec::new()),
        };
        let shown = |text: &str| shortened(redact(text.trim(), known), LONGEST_MESSAGE);
        Self {
            status,
            message: shown(&message),
            caused_by: caused_by.iter().map(|cause| shown(cause)).collect(),
            origin,
            wait: wait.or_else(|| value.as_ref().and_then(WaitHint::from_body)),
        }
    }

    /// Whether the message or one of its causes contains the text, whatever the case.
    pub(crate) fn mentions(&self, text: &str) -> bool {
        let text = text.to_ascii_lowercase();
        std::iter::once(&self.message)
            .chain(&self.caused_by)
            .any(|message| message.to_ascii_lowercase().contains(&text))
    }

    fn shown(&self) -> String {
        let who = match self.origin {
            Origin::Firecrest => "the server",
            Origin::Gateway => "the gateway",
            Origin::Issuer => "the issuer of tokens",
            Origin::Storage => "the storage",
            Origin::Other => "the server or a gateway",
        };
        let mut text = format!("{who} answered HTTP {}", self.status);
        if !self.message.is_empty() {
            text.push_str(": ");
            text.push_str(&self.message);
        }
        let causes = self.caused_by.iter().filter(|cause| **cause != self.message);
        for cause in causes {
            text.push_str("; because: ");
            text.push_str(cause);
        }
        if let Some(advice) = self.advice() {
            text.push_str(" (");
            text.push_str(advice);
            text.push(')');
        }
        text
    }

    /// What to do about this refusal, where that is known.
    pub fn advice(&self) -> Option<&'static str> {
        let known: &[(&str, &str)] = &[
            (
                "No SSH credentials found",
                "the account has no SSH key on the API's server: ask the site's support",
            ),
            (
                "claim is missing",
                "the token belongs to no user of the API: check which client the credentials are of",
            ),
            (
                "expires too soon",
                "the token was renewed too late: is this machine's clock right?",
            ),
            (
                "service for the requested system",
                "the health check may be some minutes old: try again later, or see the site's status page",
            ),
            (
                "Account parameter is required",
                "name the account of the transfer job",
            ),
            (
                "buffer limit",
                "read the file in smaller pieces, or through the staging storage",
            ),
            ("too large", "upload through the staging storage"),
            (
                "System not found",
                "the systems of this API are listed by `status().systems()`",
            ),
            (
                "Invalid account or account/partition",
                "the accounts that you may use are listed by `status().user_info()`",
            ),
            (
                "Could not connect to the endpoint URL",
                "the staging storage is down: only direct transfers work until it is back",
            ),
        ];
        known
            .iter()
            .find(|(text, _)| self.mentions(text))
            .map(|(_, advice)| *advice)
            .or(match self.status {
                300..=399 if self.origin == Origin::Issuer => {
                    Some("issuers of tokens do not redirect: check the URL of the token endpoint")
                }
                300..=399 => Some("the API does not redirect: check the base URL"),
                400 | 401 if self.origin == Origin::Issuer => {
                    Some("check the client's id and secret, and that they belong to this issuer")
                }
                401 => Some("check the credentials, and that they are meant for this API"),
                429 => Some("the quota of the application is used up: make fewer calls a minute, or ask for a larger quota"),
                _ => None,
            })
    }
}

type Object = serde_json::Map<String, Value>;

fn text_of(object: &Object, keys: &[&str]) -> Option<String> {
    keys.iter()
        .filter_map(|key| object.get(*key))
        .find_map(|value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned))
}

fn firecrest_message(object: &Object) -> Option<String> {
    let fields = object
        .get("data")
        .and_then(|data| data.get("fields"))
        .and_then(Value::as_array);
    match fields {
        Some(fields) if !fields.is_empty() => {
            let fields: Vec<String> = fields.iter().map(field_text).collect();
            Some(format!("the request is not valid: {}", fields.join("; ")))
        }
        _ => text_of(object, &["message"]),
    }
}

fn field_text(field: &Value) -> String {
    let part = |key: &str| match field.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => "?".to_owned(),
    };
    format!("{} `{}`: {}", part("location"), part("name"), part("message"))
}

fn causes(object: &Object) -> Vec<String> {
    match object.get("causedBy").or_else(|| object.get("caused_by")) {
        Some(Value::Array(causes)) => causes
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        Some(Value::String(cause)) => vec![cause.clone()],
        _ => Vec::new(),
    }
}

/// Gateways and token endpoints name their texts in several ways.
fn gateway_message(object: &Object) -> Option<String> {
    let nested = object.get("fault").and_then(Value::as_object).unwrap_or(object);
    let first = text_of(nested, &["message", "error", "title", "detail"]);
    let second = text_of(nested, &["description", "error_description"]);
    match (first, second) {
        (Some(first), Some(second)) if first != second => Some(format!("{first}: {second}")),
        (first, second) => first.or(second),
    }
}

/// The beginning of a body that is not understood, on one line.
pub(crate) fn excerpt(body: &[u8], known: &[&str]) -> String {
    // Cutting first keeps the work bounded; a character that is cut in the middle becomes a replacement.
    let text = String::from_utf8_lossy(&body[..body.len().min(LONGEST_READ)]);
    // A secret that is cut would not be known any more, so it is masked before anything else is cut.
    let text: String = redact(&text, known).chars().take(4 * LONGEST_EXCERPT).collect();
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    shortened(words.join(" "), LONGEST_EXCERPT)
}

/// The text, or its beginning.
fn shortened(text: String, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(status: u16, body: &str, expected: &str) {
        assert_eq!(
            Refusal::read(status, body.as_bytes(), None, &[]).to_string(),
            expected
        );
    }

    #[test]
    fn bodies_of_every_form_are_read() {
        check(
            404,
            r#"{"errorType":"error","message":"Job not found.","causedBy":null,"data":null,"user":"tester"}"#,
            "the server answered HTTP 404: Job not found.",
        );
        check(
            500,
            r#"{"errorType":"error","message":"Error executing Slurm command.","causedBy":["SSH connection timeout limit exceeded."]}"#,
            "the server answered HTTP 500: Error executing Slurm command.; because: SSH connection timeout limit exceeded.",
        );
        check(
            400,
            r#"{"errorType":"validation","message":"{'input': 'x'}","data":{"fields":[{"location":"body","name":1,"message":"JSON decode error"}]}}"#,
            "the server answered HTTP 400: the request is not valid: body `1`: JSON decode error",
        );
        check(
            500,
            r#"{"errorType":"error","message":{"code":7}}"#,
            r#"the server answered HTTP 500: {"errorType":"error","message":{"code":7}}"#,
        );
        check(
            429,
            r#"{"code":"900800","message":"Message throttled out","description":"You have exceeded your quota"}"#,
            "the gateway answered HTTP 429: Message throttled out: You have exceeded your quota (the quota of the \
             application is used up: make fewer calls a minute, or ask for a larger quota)",
        );
        check(
            401,
            r#"{"fault":{"code":900902,"message":"Missing Credentials","description":"Check the header"}}"#,
            "the gateway answered HTTP 401: Missing Credentials: Check the header (check the credentials, and that \
             they are meant for this API)",
        );
        check(
            502,
            "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n</html>",
            "the server or a gateway answered HTTP 502: <html> <head><title>502 Bad Gateway</title></head> </html>",
        );
        check(504, "", "the server or a gateway answered HTTP 504");
        check(500, "[1]", "the server or a gateway answered HTTP 500: [1]");
    }

    #[test]
    fn long_bodies_are_cut() {
        let check = |body: &str, longest: usize| {
            let refusal = Refusal::read(502, body.as_bytes(), None, &[]);
            assert_eq!(refusal.message.chars().count(), longest + 1);
        };
        check(&"é".repeat(5000), LONGEST_EXCERPT);
        check(
            &serde_json::json!({ "errorType": "error", "message": "é".repeat(5000) }).to_string(),
            LONGEST_MESSAGE,
        );
    }

    #[test]
    fn no_secret_is_cut_in_two() {
        let key = "k".repeat(40);
        for before in 0..1500 {
            for filler in ["x", " "] {
                let body = format!("<p>{}{key}", filler.repeat(before));
                let message = Refusal::read(502, body.as_bytes(), None, &[&key]).message;
                assert!(!message.contains("kkkk"), "{before}: {message}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_body_is_read(status in 100u16..600, body in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let refusal = Refusal::read(status, &body, None, &["abcd"]);
            prop_assert!(refusal.to_string().chars().count() < 800);
        }
    }
}
