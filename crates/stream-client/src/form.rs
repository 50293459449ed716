//! The forms in which servers answer.

/// In what form a server answers a request, which is known before it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AnswerForm {
    /// Server-sent events, each a chunk of OpenAI's chat or text completions.
    #[default]
    Events,
    /// Lines, each a JSON object of Ollama's own API.
    Lines,
    /// One JSON object when the answer is complete: no time of a token can be told but that of the last.
    Whole,
}

impl AnswerForm {
    /// The media type that is asked for, and the only one that is read.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Events => "text/event-stream",
            Self::Lines => "application/x-ndjson",
            Self::Whole => "application/json",
        }
    }
}
