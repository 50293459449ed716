//! Answers that refuse.

use crate::answer::server_message;
use crate::exchange::Ending;
use crate::form::AnswerForm;

/// As much of the body of a refusal is read.
pub(crate) const MAX_REFUSAL_BYTES: usize = 64 << 10;

/// An answer that is no completion in the form that was asked for.
#[derive(Debug)]
pub(crate) enum Refusal {
    Status(u16),
    ContentType { found: String, wanted: &'static str },
}

impl Refusal {
    /// Judges the head of an answer by its status and its `content-type`.
    pub(crate) fn of(status: u16, content_type: Option<&[u8]>, form: AnswerForm) -> Option<Self> {
        if status != 200 {
            return Some(Self::Status(status));
        }
        let media_type = content_type?
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        let wanted = form.media_type();
        (!media_type.eq_ignore_ascii_case(wanted.as_bytes())).then(|| Self::ContentType {
            found: String::from_utf8_lossy(media_type).into_owned(),
            wanted,
        })
    }

    pub(crate) fn ending(&self) -> Ending {
        match self {
            Self::Status(_) => Ending::HttpError,
            Self::ContentType { .. } => Ending::ParseError,
        }
    }

    /// The refusal in words, with those of its body.
    pub(crate) fn describe(&self, body: &[u8]) -> String {
        let message = server_message(body);
        let what = match self {
            Self::Status(_) if !message.is_empty() => return message,
            Self::Status(status) => return format!("HTTP {status} without a text"),
            Self::ContentType { found, wanted } => {
                format!("the answer is `{found}`, not the `{wanted}` that was asked for")
            }
        };
        if message.is_empty() {
            what
        } else {
            format!("{what}: {message}")
        }
    }
}
