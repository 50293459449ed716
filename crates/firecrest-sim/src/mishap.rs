//! How a failure on demand changes a call.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    answer::{Answer, AnswerBody, Problem},
    call::Call,
    failures::{Failure, Service},
    health,
    identity::unauthorised,
    state::Overrides,
    storage::protocol::StorageError,
};

/// What happens before a call's effect.
pub(crate) enum Before {
    /// The call goes on, perhaps later.
    Go(Duration),
    /// The call is answered without an effect.
    Answer(Answer),
    /// The connection ends.
    Cut,
}

/// What happens to the answer.
pub(crate) enum After {
    /// It is sent.
    Send(Answer),
    /// Half of it is sent.
    SendHalf(Answer),
    /// The connection ends.
    Cut,
}

const LOST: &str = "('Connection lost',)";
const TIMEOUT: &str = "Command execution timeout limit exceeded.";

fn page(status: StatusCode, title: &str) -> Answer {
    Answer::text(
        status,
        "text/html",
        format!("<html><body><h1>{title}</h1></body></html>\n"),
    )
}

fn throttled(retry_after_s: Option<u64>) -> Answer {
    let body = json!({
        "code": "900802",
        "message": "Message throttled out",
        "description": "You have exceeded your quota .You can access API after 2025-Jun-26 04:00:00+0000 UTC",
        "nextAccessTime": "2025-Jun-26 04:00:00+0000 UTC",
    });
    let answer = Answer::json(StatusCode::TOO_MANY_REQUESTS, &body);
    match retry_after_s {
        Some(seconds) => answer.header("retry-after", seconds.to_string()),
        None => answer,
    }
}

/// The name of the system that a path is about.
fn system_of(path: &str) -> &str {
    path.split('/').nth(2).unwrap_or_default()
}

/// What a failure does before the effect.
pub(crate) fn before(failure: Option<&Failure>, service: Service, call: &Call) -> Before {
    let Some(failure) = failure else {
        return Before::Go(Duration::ZERO);
    };
    let answer = |problem: Problem| Before::Answer(problem.into_answer(None));
    match failure {
        Failure::CutBefore => Before::Cut,
        Failure::Slow { by } => Before::Go(*by),
        Failure::ExpiredToken | Failure::ServerError | Failure::Unhealthy if service == Service::Storage => {
            let error = match failure {
                Failure::ExpiredToken => StorageError::EXPIRED,
                Failure::ServerError => StorageError::INTERNAL,
                _ => StorageError::SLOW_DOWN,
            };
            Before::Answer(error.into_answer(&call.path))
        }
        Failure::ExpiredToken => answer(unauthorised(call, "Access token expired")),
        Failure::TooManyRequests { retry_after_s } => Before::Answer(throttled(*retry_after_s)),
        Failure::CommandTimeout => answer(Problem::new(StatusCode::REQUEST_TIMEOUT, TIMEOUT)),
        Failure::ChannelLimit => {
            let text = "Unable to open a new SSH channel.";
            answer(Problem::new(StatusCode::FAILED_DEPENDENCY, text))
        }
        Failure::ServerError => answer(Problem::server_error(LOST).breaks_connection()),
        Failure::Unhealthy => {
            let service = if call.path.starts_with("/compute/") {
                "scheduler"
            } else {
                "ssh"
            };
            answer(health::unhealthy(service, system_of(&call.path)))
        }
        Failure::BadGateway => Before::Answer(page(StatusCode::BAD_GATEWAY, "502 Bad Gateway")),
        Failure::CommandTimeoutAfter
        | Failure::ServerErrorAfter
        | Failure::GatewayTimeout
        | Failure::CutAfter
        | Failure::CutBody
        | Failure::AccountingDown
        | Failure::LostEntry
        | Failure::SchedulerHung { .. } => Before::Go(Duration::ZERO),
    }
}

/// What a failure changes while the call is carried out.
pub(crate) fn overrides(failure: Option<&Failure>) -> Overrides {
    Overrides {
        accounting_down: matches!(failure, Some(Failure::AccountingDown)),
        scheduler_hung: match failure {
            Some(Failure::SchedulerHung { appears_after }) => Some(*appears_after),
            _ => None,
        },
    }
}

/// What a failure makes of the answer.
pub(crate) fn after(failure: Option<&Failure>, service: Service, call: &Call, answer: Answer) -> After {
    match failure {
        Some(Failure::CutAfter) => After::Cut,
        Some(Failure::CutBody) => After::SendHalf(answer),
        Some(Failure::CommandTimeoutAfter) => {
            After::Send(Problem::new(StatusCode::REQUEST_TIMEOUT, TIMEOUT).into_answer(None))
        }
        Some(Failure::ServerErrorAfter) if service == Service::Storage => {
            After::Send(StorageError::INTERNAL.into_answer(&call.path))
        }
        Some(Failure::ServerErrorAfter) => {
            After::Send(Problem::server_error(LOST).breaks_connection().into_answer(None))
        }
        Some(Failure::GatewayTimeout) => {
            After::Send(page(StatusCode::GATEWAY_TIMEOUT, "504 Gateway Time-out"))
        }
        Some(Failure::LostEntry) => After::Send(without_last_entry(answer)),
        _ => After::Send(answer),
    }
}

/// A list as a scheduler under load gives it.
fn without_last_entry(answer: Answer) -> Answer {
    let AnswerBody::Bytes(bytes) = &answer.body else {
        return answer;
    };
    let Ok(mut body) = serde_json::from_slice::<Value>(bytes) else {
        return answer;
    };
    for list in ["jobs", "nodes", "output"] {
        if let Some(entries) = body.get_mut(list).and_then(Value::as_array_mut) {
            entries.pop();
        }
    }
    answer.body(AnswerBody::Bytes(body.to_string().into()))
}
