//! What a chunk of a streamed answer carries, found without parsing it.
//!
//! The skimmer walks the keys of one JSON object at the depths that matter and jumps over everything else.
//! It allocates nothing and checks no more of the JSON than it needs. Where it cannot be certain (an escape in
//! a key, a key that comes twice, anything malformed) it says so, and the chunk is parsed in full.

use std::borrow::Cow;

use serde_json::Value;

use crate::walker::{FilledStrings, Seen, Unsure, Walker};

pub(crate) use line::{read_line, read_whole, skim_line};

mod line;

/// What one chunk carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts<'a> {
    /// It has a choice.
    pub choice: bool,
    /// A choice's delta names a role.
    pub role: bool,
    /// A choice has text or a refusal that is not empty.
    pub text: bool,
    /// A choice has reasoning that is not empty.
    pub reasoning: bool,
    /// A choice has a tool call with a name or arguments.
    pub tool_call: bool,
    /// The first finish reason.
    pub finish_reason: Option<Cow<'a, str>>,
    /// The JSON of `usage`.
    pub usage: Option<Cow<'a, [u8]>>,
    /// It reports an error.
    pub error: bool,
}

impl Facts<'_> {
    /// Whether the chunk carries tokens.
    pub fn has_token(&self) -> bool {
        self.text || self.reasoning || self.tool_call
    }
}

/// Skims one chunk.
///
/// # Errors
/// The bytes are no JSON object, or one that has to be parsed to be understood.
pub fn skim(chunk: &[u8]) -> Result<Facts<'_>, Unsure> {
    skim_with_strings(chunk).map(|(facts, _)| facts)
}

/// The facts, and where the strings are that make the chunk carry tokens.
pub(crate) fn skim_with_strings(chunk: &[u8]) -> Result<(Facts<'_>, FilledStrings), Unsure> {
    let mut facts = Facts::default();
    let mut walker = Walker::new(chunk);
    let mut seen = Seen::new();
    walker.object(|walker, key| match key {
        b"choices" => {
            seen.once(1)?;
            walker.array_or_null(|walker| choice(walker, &mut facts))
        }
        b"usage" => {
            seen.once(2)?;
            facts.usage = walker.unless_null()?.map(Cow::Borrowed);
            Ok(())
        }
        b"error" => {
            seen.once(4)?;
            facts.error = walker.filled()?;
            Ok(())
        }
        _ => walker.skip(),
    })?;
    match walker.peek() {
        Err(Unsure) => Ok((facts, walker.into_filled_strings())),
        Ok(_) => Err(Unsure),
    }
}

/// The same from the parsed chunk: slow, and certain.
pub(crate) fn read(chunk: &Value) -> Facts<'static> {
    let mut facts = Facts::default();
    for choice in chunk["choices"].as_array().into_iter().flatten() {
        let delta = &choice["delta"];
        facts.choice = true;
        facts.role |= !delta["role"].is_null();
        facts.text |= filled(&choice["text"]) | filled(&delta["content"]) | filled(&delta["refusal"]);
        facts.reasoning |= filled(&delta["reasoning"]) | filled(&delta["reasoning_content"]);
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let function = &call["function"];
            facts.tool_call |= filled(&function["name"]) | filled(&function["arguments"]);
        }
        if facts.finish_reason.is_none() {
            facts.finish_reason = choice["finish_reason"]
                .as_str()
                .map(|reason| Cow::Owned(reason.to_owned()));
        }
    }
    if !chunk["usage"].is_null() {
        facts.usage = Some(Cow::Owned(chunk["usage"].to_string().into_bytes()));
    }
    facts.error = filled(&chunk["error"]);
    facts
}

fn filled(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(parts) => !parts.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn choice<'a>(walker: &mut Walker<'a>, facts: &mut Facts<'a>) -> Result<(), Unsure> {
    facts.choice = true;
    let mut seen = Seen::new();
    walker.object(|walker, key| match key {
        b"delta" => {
            seen.once(1)?;
            let mut members = Seen::new();
            walker.object_or_null(|walker, key| delta_member(walker, key, &mut members, facts))
        }
        b"text" => {
            seen.once(2)?;
            facts.text |= walker.filled()?;
            Ok(())
        }
        b"finish_reason" => {
            seen.once(4)?;
            finish_reason(walker, facts)
        }
        _ => walker.skip(),
    })
}

fn delta_member<'a>(
    walker: &mut Walker<'a>,
    key: &[u8],
    seen: &mut Seen,
    facts: &mut Facts<'a>,
) -> Result<(), Unsure> {
    let (bit, fact) = match key {
        b"content" => (1, &mut facts.text),
        b"refusal" => (2, &mut facts.text),
        b"reasoning" => (4, &mut facts.reasoning),
        b"reasoning_content" => (8, &mut facts.reasoning),
        b"role" => {
            seen.once(16)?;
            facts.role |= walker.unless_null()?.is_some();
            return Ok(());
        }
        b"tool_calls" => {
            seen.once(32)?;
            return walker.array_or_null(|walker| tool_call(walker, facts));
        }
        _ => return walker.skip(),
    };
    seen.once(bit)?;
    *fact |= walker.filled()?;
    Ok(())
}

fn tool_call<'a>(walker: &mut Walker<'a>, facts: &mut Facts<'a>) -> Result<(), Unsure> {
    let mut seen = Seen::new();
    walker.object(|walker, key| {
        if key != b"function" {
            return walker.skip();
        }
        seen.once(1)?;
        let mut members = Seen::new();
        walker.object_or_null(|walker, key| {
            let bit = match key {
                b"name" => 1,
                b"arguments" => 2,
                _ => return walker.skip(),
            };
            members.once(bit)?;
            facts.tool_call |= walker.filled()?;
            Ok(())
        })
    })
}

fn finish_reason<'a>(walker: &mut Walker<'a>, facts: &mut Facts<'a>) -> Result<(), Unsure> {
    if walker.peek()? != b'"' {
        return walker.skip();
    }
    let reason = walker.string()?;
    if reason.contains(&b'\\') {
        return Err(Unsure);
    }
    if facts.finish_reason.is_none() {
        facts.finish_reason = Some(Cow::Borrowed(std::str::from_utf8(reason).map_err(|_| Unsure)?));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
