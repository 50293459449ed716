//! What one exchange is given, shows while it runs, and leaves behind.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use crate::deadline::after;
use crate::form::AnswerForm;

/// The value of a clock point that has not been reached.
pub const NOT_YET: i64 = -1;

/// When an exchange is given up. Points in time are nanoseconds on the clock.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// When the schedule wanted the request sent. The exchange starts at once; this is what the other two
    /// points are usually counted from, and what a log of the exchange needs.
    pub scheduled_ns: i64,
    /// The first token must have arrived by then.
    pub first_token_ns: i64,
    /// The longest wait for the next token, counted from the one before.
    pub between_tokens: Duration,
    /// The stream must have ended by then.
    pub total_ns: i64,
}

impl Limits {
    /// The limit that comes next for an exchange that stands so, and the ending once it is reached.
    pub(crate) fn next(&self, form: AnswerForm, watch: &Watch) -> (i64, Ending) {
        if form == AnswerForm::Whole {
            return (self.total_ns, Ending::TimeoutTotal);
        }
        let token = if watch.first_token_ns.get() == NOT_YET {
            (self.first_token_ns, Ending::TimeoutFirstToken)
        } else {
            let due_ns = after(watch.last_token_ns.get(), self.between_tokens);
            (due_ns, Ending::TimeoutBetweenTokens)
        };
        if self.total_ns <= token.0 {
            (self.total_ns, Ending::TimeoutTotal)
        } else {
            token
        }
    }
}

/// The clock points of a running exchange, readable by the thread's other tasks at any moment.
///
/// An exchange that is dropped half-way leaves everything here that it had seen. Times are nanoseconds on
/// the clock; those of received bytes are when the kernel received them where it tells, else when the read from the
/// socket returned.
#[derive(Debug)]
pub struct Watch {
    /// The request's first byte was handed to the socket.
    pub send_ns: Cell<i64>,
    /// The answer's head had arrived.
    pub header_ns: Cell<i64>,
    /// First chunk that does more than announce the role; it may carry an empty text.
    pub first_chunk_ns: Cell<i64>,
    /// First chunk with text, reasoning, a refusal or a tool call.
    pub first_token_ns: Cell<i64>,
    /// When the read that brought the first token returned: later than the first token by as much as the reader lagged.
    pub first_token_read_ns: Cell<i64>,
    /// Whether more came in the read that brought the first token: its stamp may be that of what came after it.
    pub first_token_coalesced: Cell<bool>,
    /// First chunk with text, a refusal or a tool call: the first that is not reasoning.
    pub first_output_ns: Cell<i64>,
    /// The latest chunk that carried tokens.
    pub last_token_ns: Cell<i64>,
    /// The largest gap between two chunks that carried tokens; 0 before there are two.
    pub itl_max_ns: Cell<i64>,
    /// Chunks that carried tokens. A chunk may carry several tokens.
    pub chunks: Cell<u32>,
    /// The answer's HTTP status; 0 before there is one.
    pub http_status: Cell<u16>,
}

impl Watch {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self {
            send_ns: Cell::new(NOT_YET),
            header_ns: Cell::new(NOT_YET),
            first_chunk_ns: Cell::new(NOT_YET),
            first_token_ns: Cell::new(NOT_YET),
            first_token_read_ns: Cell::new(NOT_YET),
            first_token_coalesced: Cell::new(false),
            first_output_ns: Cell::new(NOT_YET),
            last_token_ns: Cell::new(NOT_YET),
            itl_max_ns: Cell::new(0),
            chunks: Cell::new(0),
            http_status: Cell::new(0),
        }
    }
}

impl Watch {
    /// Notes when the read that brought the first token returned, if one has; `finished` is whether it brought the finish,
    /// too.
    pub(crate) fn note_first_token(&self, read_ns: i64, finished: bool) {
        if self.first_token_ns.get() != NOT_YET && self.first_token_read_ns.get() == NOT_YET {
            self.first_token_read_ns.set(read_ns);
            self.first_token_coalesced.set(self.chunks.get() > 1 || finished);
        }
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Status 200, a finish reason, and the stream came to its end without an error.
    Ok,
    /// A status other than 200.
    HttpError,
    /// No connection could be made.
    ConnectError,
    /// No connection within the client's limit.
    TimeoutConnect,
    /// No token by the limit.
    TimeoutFirstToken,
    /// The next token took longer than the limit.
    TimeoutBetweenTokens,
    /// The stream had not ended by the limit.
    TimeoutTotal,
    /// The stream ended before its finish reason, or broke.
    StreamCut,
    /// The server reported an error inside the stream.
    StreamError,
    /// What came is not a stream of chat completion chunks.
    ParseError,
    /// This machine had no file descriptor or port left for the connection.
    OutOfSockets,
}

impl Ending {
    /// The ending's name in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::HttpError => "http_error",
            Self::ConnectError => "connect_error",
            Self::TimeoutConnect => "timeout_connect",
            Self::TimeoutFirstToken => "timeout_first_token",
            Self::TimeoutBetweenTokens => "timeout_between_tokens",
            Self::TimeoutTotal => "timeout_total",
            Self::StreamCut => "stream_cut",
            Self::StreamError => "stream_error",
            Self::ParseError => "parse_error",
            Self::OutOfSockets => "out_of_sockets",
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// What is left of an exchange when it has ended; its clock points are in the [`Watch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// How it ended.
    pub ending: Ending,
    /// The status of the answer, if there was one.
    pub http_status: Option<u16>,
    /// How long connecting took, if this exchange had to connect.
    pub connect_ns: Option<i64>,
    /// When it ended: the arrival of `[DONE]` or of the stream's end, else the moment it was given up.
    pub end_ns: i64,
    /// Tokens of the prompt, by the server's count.
    pub input_tokens: Option<u32>,
    /// Tokens of the answer, by the server's count.
    pub output_tokens: Option<u32>,
    /// Tokens of the prompt that the server had cached, by its count.
    pub cached_tokens: Option<u32>,
    /// Why the server stopped, in its words.
    pub finish_reason: Option<String>,
    /// What went wrong, in the server's words where it gave any.
    pub error: Option<String>,
}
