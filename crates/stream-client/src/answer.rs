//! Reading an answer: from bytes and their time of arrival to clock points and an ending.
//!
//! Nothing here knows a socket or a clock, so that every split of a stream can be tried.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use crate::exchange::{Ending, NOT_YET, Watch};
use crate::form::AnswerForm;
use crate::lines::LineSplitter;
use crate::scanner::Scanner;
use crate::skim::{self, Facts};
use crate::sse::EventSplitter;

/// The longest error text that is kept.
const MAX_MESSAGE_CHARS: usize = 1000;

/// The longest answer that is read as a whole.
const MAX_WHOLE_BYTES: usize = 16 << 20;

/// An answer, as far as it has come.
#[derive(Debug)]
pub(crate) struct Answer {
    body: Body,
    chunks: Chunks,
}

/// What of the body is not yet understood.
#[derive(Debug)]
enum Body {
    Events(EventSplitter),
    Lines(LineSplitter),
    Whole(Vec<u8>),
}

/// What the chunks so far have said.
#[derive(Debug, Default)]
struct Chunks {
    scanner: Scanner,
    finish_reason: Option<String>,
    /// The JSON of the latest usage; parsed once, at the end, for some servers send it with each chunk.
    usage: Vec<u8>,
    failure: Option<(Ending, String)>,
    decided_ns: Option<i64>,
}

/// The server's counts of tokens.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Usage {
    #[serde(alias = "prompt_eval_count")]
    pub(crate) prompt_tokens: Option<u32>,
    #[serde(alias = "eval_count")]
    pub(crate) completion_tokens: Option<u32>,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u32>,
}

impl Usage {
    pub(crate) fn cached_tokens(&self) -> Option<u32> {
        self.prompt_tokens_details
            .as_ref()
            .and_then(|details| details.cached_tokens)
    }
}

/// Why no more of a body is read.
#[derive(Debug)]
pub(crate) enum End {
    /// The ending is decided, by `[DONE]` or an error in the stream; the body may go on.
    Decided,
    /// The body is complete.
    Complete,
    /// The connection broke in the middle of the body; the text says how.
    Broken(String),
}

impl Answer {
    pub(crate) fn new(form: AnswerForm) -> Self {
        let body = match form {
            AnswerForm::Events => Body::Events(EventSplitter::new()),
            AnswerForm::Lines => Body::Lines(LineSplitter::default()),
            AnswerForm::Whole => Body::Whole(Vec::new()),
        };
        Self {
            body,
            chunks: Chunks::default(),
        }
    }

    /// Takes a piece of the body that arrived at `at_ns`.
    pub(crate) fn feed(&mut self, piece: &[u8], at_ns: i64, watch: &Watch, on_gap: &mut impl FnMut(i64)) {
        let chunks = &mut self.chunks;
        let fed = match &mut self.body {
            Body::Events(splitter) => {
                let piece = if splitter.is_between_events() {
                    chunks.take_usual(piece, at_ns, watch, on_gap)
                } else {
                    piece
                };
                splitter.feed(piece, |event| chunks.take(event, at_ns, watch, on_gap))
            }
            Body::Lines(splitter) => {
                splitter.feed(piece, |line| chunks.take_line(line, at_ns, watch, on_gap))
            }
            Body::Whole(body) if body.len() + piece.len() > MAX_WHOLE_BYTES => {
                let text = format!("the answer is longer than {MAX_WHOLE_BYTES} bytes");
                return chunks.fail(Ending::ParseError, text, at_ns);
            }
            Body::Whole(body) => {
                body.extend_from_slice(piece);
                Ok(())
            }
        };
        if let Err(error) = fed {
            chunks.fail(Ending::ParseError, error.to_string(), at_ns);
        }
    }

    /// Takes note that the body, whose last piece arrived at `at_ns`, is complete.
    pub(crate) fn complete(&mut self, at_ns: i64, watch: &Watch, on_gap: &mut impl FnMut(i64)) {
        match &mut self.body {
            // An event that was not closed is none.
            Body::Events(_) => {}
            Body::Lines(splitter) => self.chunks.take_line(&splitter.finish(), at_ns, watch, on_gap),
            Body::Whole(body) => self.chunks.take_whole(body, at_ns, watch),
        }
    }

    /// When the ending became known: nothing that could follow changes it.
    pub(crate) fn decided_ns(&self) -> Option<i64> {
        self.chunks.decided_ns
    }

    /// The ending and its error text, when the body has ended or the ending was decided before.
    pub(crate) fn ending(&self, end: &End) -> (Ending, Option<String>) {
        let chunks = &self.chunks;
        if let Some((ending, message)) = &chunks.failure {
            return (*ending, Some(message.clone()));
        }
        let cut = |text: String| (Ending::StreamCut, Some(text));
        match (end, &chunks.finish_reason, &self.body) {
            (End::Decided | End::Complete, Some(_), _) => (Ending::Ok, None),
            (End::Broken(how), ..) => cut(format!("the stream broke: {how}")),
            (_, None, Body::Whole(_)) => cut("the answer has no finish reason".to_owned()),
            (End::Decided, None, _) => cut("the stream came to `[DONE]` without a finish reason".to_owned()),
            (End::Complete, None, _) => cut("the stream ended without a finish reason".to_owned()),
        }
    }

    /// Why the server stopped, in its words.
    pub(crate) fn finish_reason(&self) -> Option<&str> {
        self.chunks.finish_reason.as_deref()
    }

    /// The latest usage; empty if there was none or it makes no sense.
    pub(crate) fn usage(&self) -> Usage {
        serde_json::from_slice(&self.chunks.usage).unwrap_or_default()
    }
}

impl Chunks {
    /// Takes the events at the front of `stream` that are like those before them; the rest is for the splitter.
    #[inline]
    fn take_usual<'a>(
        &mut self,
        mut stream: &'a [u8],
        at_ns: i64,
        watch: &Watch,
        on_gap: &mut impl FnMut(i64),
    ) -> &'a [u8] {
        while self.decided_ns.is_none()
            && let Some((length, facts)) = self.scanner.event_like_the_example(stream)
        {
            note_token(&facts, at_ns, watch, on_gap);
            note_first(&watch.first_chunk_ns, at_ns);
            stream = &stream[length..];
        }
        stream
    }

    fn take(&mut self, event: &[u8], at_ns: i64, watch: &Watch, on_gap: &mut impl FnMut(i64)) {
        let event = event.trim_ascii();
        if self.decided_ns.is_some() || event.is_empty() {
            return;
        }
        if event == b"[DONE]" {
            self.decided_ns = Some(at_ns);
            return;
        }
        match self.scanner.scan(event) {
            Ok(facts) if facts.choice || facts.usage.is_some() || facts.error => {
                self.note(&facts, event, at_ns, watch, on_gap);
            }
            _ => self.parse(event, at_ns, watch, on_gap),
        }
    }

    /// The chunks that the skimmer cannot judge, or that carry nothing it knows.
    #[cold]
    fn parse(&mut self, event: &[u8], at_ns: i64, watch: &Watch, on_gap: &mut impl FnMut(i64)) {
        match parse_object(event, "an event of the stream") {
            Ok(chunk) => self.note(&or_alien(skim::read(&chunk), &chunk), event, at_ns, watch, on_gap),
            Err(text) => self.fail(Ending::ParseError, text, at_ns),
        }
    }

    fn take_line(&mut self, line: &[u8], at_ns: i64, watch: &Watch, on_gap: &mut impl FnMut(i64)) {
        let line = line.trim_ascii();
        if self.decided_ns.is_some() || line.is_empty() {
            return;
        }
        match skim::skim_line(line) {
            Ok(facts) => self.note(&facts, line, at_ns, watch, on_gap),
            Err(_) => match parse_object(line, "a line of the stream") {
                Ok(value) => self.note(&skim::read_line(&value), line, at_ns, watch, on_gap),
                Err(text) => self.fail(Ending::ParseError, text, at_ns),
            },
        }
        if self.finish_reason.is_some() {
            self.decided_ns = self.decided_ns.or(Some(at_ns));
        }
    }

    /// An answer that came as one object: nobody knows when its first token was there.
    fn take_whole(&mut self, body: &[u8], at_ns: i64, watch: &Watch) {
        if self.decided_ns.is_some() {
            return;
        }
        let answer = match parse_object(body, "the answer") {
            Ok(answer) => answer,
            Err(text) => return self.fail(Ending::ParseError, text, at_ns),
        };
        let facts = or_alien(skim::read_whole(&answer), &answer);
        if facts.error {
            return self.fail(Ending::StreamError, server_message(body), at_ns);
        }
        if facts.has_token() {
            watch.chunks.set(1);
            watch.last_token_ns.set(at_ns);
        }
        self.usage = facts.usage.map(Cow::into_owned).unwrap_or_default();
        self.finish_reason = facts.finish_reason.map(Cow::into_owned);
    }

    #[inline]
    fn note(
        &mut self,
        facts: &Facts<'_>,
        event: &[u8],
        at_ns: i64,
        watch: &Watch,
        on_gap: &mut impl FnMut(i64),
    ) {
        if facts.error {
            return self.fail(Ending::StreamError, server_message(event), at_ns);
        }
        if let Some(usage) = &facts.usage {
            self.usage.clear();
            self.usage.extend_from_slice(usage);
        }
        if facts.has_token() {
            note_token(facts, at_ns, watch, on_gap);
        }
        let announces_role = facts.role && !facts.has_token() && facts.finish_reason.is_none();
        if facts.choice && !announces_role {
            note_first(&watch.first_chunk_ns, at_ns);
        }
        if let (None, Some(reason)) = (&self.finish_reason, &facts.finish_reason) {
            self.finish_reason = Some(reason.clone().into_owned());
        }
    }

    #[cold]
    fn fail(&mut self, ending: Ending, message: String, at_ns: i64) {
        if self.decided_ns.is_none() {
            self.failure = Some((ending, message));
            self.decided_ns = Some(at_ns);
        }
    }
}

/// The JSON object that `what` is; else a text that says why it is none.
fn parse_object(bytes: &[u8], what: &str) -> Result<Value, String> {
    match serde_json::from_slice(bytes) {
        Ok(object @ Value::Object(_)) => Ok(object),
        Ok(_) => Err(format!("{what} is no JSON object: {}", shorten(bytes))),
        Err(error) => Err(format!("{what} is no JSON: {error}: {}", shorten(bytes))),
    }
}

/// The facts, and that the object is an error if it is one of those that are not marked as such.
fn or_alien<'a>(mut facts: Facts<'a>, object: &Value) -> Facts<'a> {
    let alien = !facts.choice && facts.usage.is_none();
    facts.error |=
        alien && object["message"].is_string() && (object["code"].is_number() || object["object"] == "error");
    facts
}

#[inline]
fn note_token(facts: &Facts<'_>, at_ns: i64, watch: &Watch, on_gap: &mut impl FnMut(i64)) {
    if watch.chunks.get() > 0 {
        let gap = at_ns - watch.last_token_ns.get();
        watch.itl_max_ns.set(watch.itl_max_ns.get().max(gap));
        on_gap(gap);
    }
    watch.chunks.set(watch.chunks.get() + 1);
    watch.last_token_ns.set(at_ns);
    note_first(&watch.first_token_ns, at_ns);
    if facts.text || facts.tool_call {
        note_first(&watch.first_output_ns, at_ns);
    }
}

#[inline]
fn note_first(point: &std::cell::Cell<i64>, at_ns: i64) {
    if point.get() == NOT_YET {
        point.set(at_ns);
    }
}

/// The message in an error body, whichever of the usual shapes it has; else the body itself.
pub(crate) fn server_message(body: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return shorten(body);
    };
    let error = &value["error"];
    let candidates = [&error["message"], error, &value["message"], &value["detail"]];
    match candidates.into_iter().find_map(|candidate| candidate.as_str()) {
        Some(message) => shorten(message.as_bytes()),
        None => shorten(body),
    }
}

fn shorten(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let text = text.trim();
    match text.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
