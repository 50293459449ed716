//! Skimming the chunks of one stream, most of which differ only in their text.

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
            let Self {
                text,
                reasoning,
                tool_call,
                ..
            } = *self;
            return Ok(Facts {
                choice: true,
                text,
                reasoning,
                tool_call,
                ..Facts::default()
            });
        }
        self.skim(chunk)
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
        }
        Ok(facts)
    }
}
