//! Skimming the chunks of one stream, most of which differ only in their text.

use memchr::memchr2;

use crate::skim::{Facts, skim_with_strings};
use crate::walker::{FilledStrings, Unsure, string_end};

/// Skims the chunks of a stream one after another.
///
/// A chunk that is byte for byte the one before, but for the inside of the one string that makes it carry
/// tokens, carries the same: that is a comparison, not a walk. Everything else is skimmed.
#[derive(Debug, Default)]
pub struct Scanner {
    /// What stands before the inside of the string, its quote included; empty if there is no example.
    before: Vec<u8>,
    /// What stands after it, its quote included.
    after: Vec<u8>,
    text: bool,
    reasoning: bool,
    tool_call: bool,
    /// Whether the example is one line, so that an event like it is known by its bytes on the wire.
    is_one_line: bool,
}

impl Scanner {
    /// At the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the next chunk carries.
    ///
    /// # Errors
    /// The bytes are no JSON object, or one that has to be parsed to be understood.
    #[inline]
    pub fn scan<'a>(&mut self, chunk: &'a [u8]) -> Result<Facts<'a>, Unsure> {
        if self.is_like_the_example(chunk) {
            return Ok(self.facts_of_the_example());
        }
        self.skim(chunk)
    }

    /// Takes an event that is like the example off the front of a stream that stands between two events: its length, and
    /// what it carries. This is the one pass over the bytes of most events.
    #[inline]
    pub(crate) fn event_like_the_example(&self, stream: &[u8]) -> Option<(usize, Facts<'static>)> {
        if !self.is_one_line {
            return None;
        }
        let rest = stream.strip_prefix(b"data: ")?;
        let rest = rest.strip_prefix(self.before.as_slice())?;
        let inside = string_end(rest).filter(|end| *end > 0)?;
        if rest[..inside].iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            return None;
        }
        let rest = rest[inside..].strip_prefix(self.after.as_slice())?;
        let rest = rest.strip_prefix(b"\n\n")?;
        Some((stream.len() - rest.len(), self.facts_of_the_example()))
    }

    #[inline]
    fn facts_of_the_example(&self) -> Facts<'static> {
        Facts {
            choice: true,
            text: self.text,
            reasoning: self.reasoning,
            tool_call: self.tool_call,
            ..Facts::default()
        }
    }

    #[inline]
    fn is_like_the_example(&self, chunk: &[u8]) -> bool {
        if self.before.is_empty() {
            return false;
        }
        let Some(rest) = chunk.strip_prefix(self.before.as_slice()) else {
            return false;
        };
        match string_end(rest) {
            None | Some(0) => false,
            Some(end) => rest[end..] == self.after,
        }
    }

    fn skim<'a>(&mut self, chunk: &'a [u8]) -> Result<Facts<'a>, Unsure> {
        let (facts, strings) = skim_with_strings(chunk)?;
        let Facts {
            choice,
            role,
            text,
            reasoning,
            tool_call,
            finish_reason,
            usage,
            error,
        } = &facts;
        let plain = *choice && !role && finish_reason.is_none() && usage.is_none() && !error;
        if let (FilledStrings::One(inside), true) = (strings, plain) {
            self.before.clear();
            self.before.extend_from_slice(&chunk[..inside.start]);
            self.after.clear();
            self.after.extend_from_slice(&chunk[inside.end..]);
            (self.text, self.reasoning, self.tool_call) = (*text, *reasoning, *tool_call);
            self.is_one_line = memchr2(b'\n', b'\r', chunk).is_none();
        }
        Ok(facts)
    }
}
