//! Requests: a call with what is shown to be let in.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderValue;

use crate::{
    backoff::RetryPolicy,
    builder::Authentication,
    call::{Call, Content},
    client::Shared,
    http::{Http, form},
    ids::random_id,
    secret::Secret,
    token::TokenSource,
};

/// What a call shows to be let in.
#[derive(Debug)]
pub(crate) enum Authority {
    Tokens(Box<TokenSource>),
    ApiKey(Secret),
}

/// Makes what is shown of what the caller gave.
pub(crate) fn authority(
    authentication: Authentication,
    http: &Http,
    timeout: Duration,
    policy: RetryPolicy,
) -> Authority {
    match authentication {
        Authentication::ApiKey(key) => Authority::ApiKey(key),
        Authentication::ClientCredentials(credentials) => Authority::Tokens(Box::new(TokenSource::new(
            credentials,
            http.clone(),
            timeout,
            policy,
        ))),
    }
}

impl Shared {
    /// One attempt of a call.
    pub(crate) fn request(
        &self,
        client: &reqwest::Client,
        call: &Call,
        request_id: &str,
        credential: Option<&Secret>,
    ) -> reqwest::RequestBuilder {
        let query = form(&call.query);
        let mark = if query.is_empty() { "" } else { "?" };
        let url = format!(
            "{}{}{mark}{query}",
            self.base.as_str().trim_end_matches('/'),
            call.path
        );
        let mut request = client
            .request(call.verb.method(), url)
            .timeout(self.timeout.saturating_add(call.extra_time))
            .header("accept", "application/json, */*")
            .header("x-request-id", request_id)
            .header("x-correlation-id", &self.correlation_id);
        if let Some(credential) = credential {
            request = match &self.authority {
                Authority::Tokens(_) => request.bearer_auth(credential.expose()),
                Authority::ApiKey(_) => request.header("x-api-key", sensitive(credential)),
            };
        }
        match &call.content {
            Content::Nothing => request,
            Content::Json(value) => request.json(value),
            Content::File { name, bytes } => {
                let boundary = random_id().replace('-', "");
                request
                    .header(
                        "content-type",
                        format!("multipart/form-data; boundary={boundary}"),
                    )
                    .body(multipart(&boundary, name, bytes))
            }
        }
    }
}

/// A header that libraries below do not print either. A key that is no header value was refused earlier.
fn sensitive(secret: &Secret) -> HeaderValue {
    let mut value = HeaderValue::from_str(secret.expose()).unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// A form of one field `file`. Names are checked before, so they need no quoting.
fn multipart(boundary: &str, name: &str, bytes: &Bytes) -> Vec<u8> {
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    let tail = format!("\r\n--{boundary}--\r\n");
    [head.as_bytes(), bytes, tail.as_bytes()].concat()
}
