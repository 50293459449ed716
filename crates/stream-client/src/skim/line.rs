//! What a line of Ollama's own API carries, and an answer that comes as one object.

use std::borrow::Cow;

use serde_json::Value;

use super::{Facts, filled, tool_call};
use crate::walker::{Seen, Unsure, Walker};

/// What the server says in its last line, before the reason why came to be told.
const DONE: &str = "done";

/// Skims a line of `/api/chat` or `/api/generate`; the usage of the last one is the line itself.
///
/// # Errors
/// The bytes are no JSON object, or one that has to be parsed to be understood.
pub(crate) fn skim_line(line: &[u8]) -> Result<Facts<'_>, Unsure> {
    let mut facts = Facts::default();
    let mut walker = Walker::new(line);
    let mut seen = Seen::new();
    let (mut done, mut reason) = (false, None);
    walker.object(|walker, key| match key {
        b"message" => {
            seen.once(1)?;
            facts.choice = true;
            let mut members = Seen::new();
            walker.object_or_null(|walker, key| message_member(walker, key, &mut members, &mut facts))
        }
        b"response" => {
            seen.once(2)?;
            facts.choice = true;
            facts.text |= walker.filled()?;
            Ok(())
        }
        b"thinking" => {
            seen.once(4)?;
            facts.reasoning |= walker.filled()?;
            Ok(())
        }
        b"done" => {
            seen.once(8)?;
            done = walker.unless_null()? == Some(b"true");
            Ok(())
        }
        b"done_reason" => {
            seen.once(16)?;
            reason = Some(walker.string()?);
            Ok(())
        }
        b"error" => {
            seen.once(32)?;
            facts.error = walker.filled()?;
            Ok(())
        }
        _ => walker.skip(),
    })?;
    if walker.peek().is_ok() {
        return Err(Unsure);
    }
    if done {
        let reason = reason.unwrap_or(DONE.as_bytes());
        if reason.contains(&b'\\') {
            return Err(Unsure);
        }
        facts.finish_reason = Some(Cow::Borrowed(std::str::from_utf8(reason).map_err(|_| Unsure)?));
        facts.usage = Some(Cow::Borrowed(line));
    }
    Ok(facts)
}

fn message_member<'a>(
    walker: &mut Walker<'a>,
    key: &[u8],
    seen: &mut Seen,
    facts: &mut Facts<'a>,
) -> Result<(), Unsure> {
    match key {
        b"content" => {
            seen.once(1)?;
            facts.text |= walker.filled()?;
            Ok(())
        }
        b"thinking" => {
            seen.once(2)?;
            facts.reasoning |= walker.filled()?;
            Ok(())
        }
        b"tool_calls" => {
            seen.once(4)?;
            walker.array_or_null(|walker| tool_call(walker, facts))
        }
        _ => walker.skip(),
    }
}

/// The same from the parsed line: slow, and certain.
pub(crate) fn read_line(line: &Value) -> Facts<'static> {
    let message = &line["message"];
    let mut facts = Facts {
        choice: line.get("message").is_some() || line.get("response").is_some(),
        text: filled(&message["content"]) | filled(&line["response"]),
        reasoning: filled(&message["thinking"]) | filled(&line["thinking"]),
        error: filled(&line["error"]),
        ..Facts::default()
    };
    read_tool_calls(message, &mut facts);
    if line["done"] == true {
        let reason = line["done_reason"].as_str().unwrap_or(DONE);
        facts.finish_reason = Some(Cow::Owned(reason.to_owned()));
        facts.usage = Some(Cow::Owned(line.to_string().into_bytes()));
    }
    facts
}

/// What an answer carries that comes as one object, of OpenAI's form or of Ollama's.
pub(crate) fn read_whole(answer: &Value) -> Facts<'static> {
    if answer.get("done").is_some() {
        return read_line(answer);
    }
    let mut facts = super::read(answer);
    for choice in answer["choices"].as_array().into_iter().flatten() {
        let message = &choice["message"];
        facts.text |= filled(&message["content"]) | filled(&message["refusal"]);
        facts.reasoning |= filled(&message["reasoning"]) | filled(&message["reasoning_content"]);
        read_tool_calls(message, &mut facts);
    }
    facts
}

fn read_tool_calls(message: &Value, facts: &mut Facts<'_>) {
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let function = &call["function"];
        facts.tool_call |= filled(&function["name"]) | filled(&function["arguments"]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    /// The facts in words, the usage parsed.
    fn show(facts: &Facts<'_>) -> String {
        let flags = [
            (facts.choice, "choice"),
            (facts.text, "text"),
            (facts.reasoning, "reasoning"),
            (facts.tool_call, "tool"),
            (facts.usage.is_some(), "usage"),
            (facts.error, "error"),
        ];
        let words: Vec<&str> = flags.iter().filter(|flag| flag.0).map(|flag| flag.1).collect();
        format!("{} {:?}", words.join(" "), facts.finish_reason)
    }

    fn check(line: &str, expected: &str) {
        let parsed = read_line(&serde_json::from_str(line).unwrap());
        assert_eq!(show(&parsed), expected, "{line}");
        assert_eq!(
            skim_line(line.as_bytes()).map(|facts| show(&facts)),
            Ok(show(&parsed)),
            "{line}"
        );
    }

    #[test]
    fn lines() {
        check(
            r#"{"model":"m","message":{"role":"assistant","content":"a"},"done":false}"#,
            "choice text None",
        );
        check(
            r#"{"message":{"content":"","thinking":"a"},"done":false}"#,
            "choice reasoning None",
        );
        check(
            r#"{"response":"","thinking":"a","done":false}"#,
            "choice reasoning None",
        );
        check(r#"{"response":"a"}"#, "choice text None");
        check(
            r#"{"message":{"content":"","tool_calls":[{"function":{"name":"f","arguments":{}}}]}}"#,
            "choice tool None",
        );
        check(
            r#"{"message":{"content":""},"done_reason":"length","done":true}"#,
            r#"choice usage Some("length")"#,
        );
        check(r#"{"response":"","done":true}"#, r#"choice usage Some("done")"#);
        check(r#"{"error":"out of memory"}"#, "error None");
        check(r#"{"status":"success"}"#, " None");
        check(r#"{"message":null,"done":null}"#, "choice None");
    }

    #[test]
    fn what_is_left_to_the_parser() {
        for line in [
            r#"{"response":"a","response":""}"#,
            r#"{"d\u006fne":true}"#,
            r#"{"done":true,"done_reason":"st\u006fp"}"#,
            r#"{"done":true}{"done":true}"#,
            "[]",
            "",
        ] {
            assert_eq!(skim_line(line.as_bytes()).err(), Some(Unsure), "{line}");
        }
    }

    proptest! {
        #[test]
        fn the_skimmer_sees_what_the_parser_sees(
            members in proptest::collection::vec(select(vec![
                r#""message":{"content":"a \" done"}"#,
                r#""message":{"content":"","tool_calls":[{"function":null}]}"#,
                r#""response":"b""#,
                r#""thinking":"c""#,
                r#""done":true"#,
                r#""done":false"#,
                r#""done_reason":"stop""#,
                r#""eval_count":3"#,
                r#""error":{"message":"x"}"#,
                r#""context":[1,2,{"done":true}]"#,
            ]), 0..7),
        ) {
            let line = format!("{{{}}}", members.join(","));
            if let Ok(facts) = skim_line(line.as_bytes()) {
                let value = serde_json::from_str(&line).unwrap();
                prop_assert_eq!(show(&facts), show(&read_line(&value)));
            }
        }
    }
}
