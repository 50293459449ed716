//! Own data sets: one JSON object per line.

use std::io::BufRead;

use serde::{Deserialize, de::IgnoredAny};

use super::{
    DataFaults, DataPlace,
    arrays::Turn,
    entry::{Collector, Draft, Message},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    prompt: Option<String>,
    messages: Option<Vec<Message>>,
    conversations: Option<Vec<Turn>>,
    answer: Option<String>,
    output_tokens: Option<u32>,
    /// These two say nothing to us, and many files have them.
    #[serde(rename = "id")]
    _id: Option<IgnoredAny>,
    #[serde(rename = "label")]
    _label: Option<IgnoredAny>,
}

/// Reads all lines; the empty ones are passed over.
pub(super) fn read_jsonl(mut input: impl BufRead, collector: &mut Collector<'_>) -> Result<(), DataFaults> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = input.read_until(b'\n', &mut line);
        if read.map_err(DataFaults::of_file)? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let place = DataPlace::Line(number);
        match read_row(&line) {
            Ok(draft) => collector.take(place, draft),
            Err(problem) => collector.fault(place, problem),
        }
    }
    Ok(())
}

fn read_row(line: &[u8]) -> Result<Draft, String> {
    let row: Row = serde_json::from_slice(line.trim_ascii_end()).map_err(|error| without_line(&error))?;
    let Row {
        prompt,
        messages,
        conversations,
        answer,
        output_tokens,
        ..
    } = row;
    let draft = match (prompt, messages, conversations) {
        (Some(prompt), None, None) => Draft {
            messages: vec![Message::user(prompt)],
            output_tokens,
            answer: None,
        },
        (None, Some(messages), None) => Draft::of_messages(messages, output_tokens)?,
        (None, None, Some(turns)) => {
            let messages = turns.into_iter().map(Turn::into_message).collect();
            Draft::of_messages(messages, output_tokens)?
        }
        (None, None, None) => {
            return Err("one of `prompt`, `messages`, `conversations` is required".to_owned());
        }
        _ => return Err("only one of `prompt`, `messages`, `conversations` may be given".to_owned()),
    };
    Ok(Draft {
        answer: answer.or(draft.answer),
        ..draft
    })
}

/// The parser counts the lines of what it is given, which is only one.
fn without_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((problem, _)) => format!("{problem}, at column {}", error.column()),
        None => text,
    }
}
