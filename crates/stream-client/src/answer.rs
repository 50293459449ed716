//! Reading a streamed answer: from bytes and their time of arrival to clock points and an ending.
//!
//! Nothing here knows a socket or a clock, so that every split of a stream can be tried.

use serde::Deserialize;

use crate::exchange::{Ending, NOT_YET, Watch};
use crate::scanner::Scanner;
use crate::skim::{self, Facts};
use crate::sse::EventSplitter;

/// The longest error text that is kept.
const MAX_MESSAGE_CHARS: usize = 1000;

/// A streamed answer, as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    splitter: EventSplitter,
    chunks: Chunks,
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
    pub(crate) prompt_tokens: Option<u32>,
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
    /// Takes a piece of the body that arrived at `at_ns`.
    pub(crate) fn feed(&mut self, piece: &[u8], at_ns: i64, watch: &Watch, on_gap: &mut impl FnMut(i64)) {
        let chunks = &mut self.chunks;
        let fed = self
            .splitter
            .feed(piece, |event| chunks.take(event, at_ns, watch, on_gap));
        if let Err(error) = fed {
            chunks.fail(Ending::ParseError, error.to_string(), at_ns);
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
        match (end, &chunks.finish_reason) {
            (End::Decided | End::Complete, Some(_)) => (Ending::Ok, None),
            (End::Decided, None) => cut("the stream came to `[DONE]` without a finish reason".to_owned()),
            (End::Complete, None) => cut("the stream ended without a finish reason".to_owned()),
            (End::Broken(how), _) => cut(format!("the stream broke: {how}")),
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
        let chunk = match serde_json::from_slice(event) {
            Ok(chunk @ serde_json::Value::Object(_)) => chunk,
            Ok(_) => {
                let text = format!("an event of the stream is no JSON object: {}", shorten(event));
                return self.fail(Ending::ParseError, text, at_ns);
            }
            Err(error) => {
                let text = format!("an event of the stream is no JSON: {error}: {}", shorten(event));
                return self.fail(Ending::ParseError, text, at_ns);
            }
        };
        let mut facts = skim::read(&chunk);
        let alien = !facts.choice && facts.usage.is_none();
        facts.error |= alien
            && chunk["message"].is_string()
            && (chunk["code"].is_number() || chunk["object"] == "error");
        self.note(&facts, event, at_ns, watch, on_gap);
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
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) else {
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
