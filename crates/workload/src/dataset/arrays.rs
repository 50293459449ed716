//! Data sets that are one JSON array: the predecessor's prompts, ShareGPT, CodeAlpaca.

use std::io::BufRead;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, SeqAccess, Visitor},
};
use serde_json::Value;

use super::{
    DataFaults, DataPlace,
    entry::{Collector, Draft, Message},
};

/// What a reader of one entry finds; nothing where an entry of a foreign data set holds no question with an answer.
type Found = Result<Option<Draft>, String>;

/// Reads an array one entry after the other, so that only one is in memory as JSON.
pub(super) fn read_array(
    input: impl BufRead,
    collector: &mut Collector<'_>,
    read: fn(Value) -> Found,
) -> Result<(), DataFaults> {
    let mut json = serde_json::Deserializer::from_reader(input);
    Entries { collector, read }
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(DataFaults::of_file)
}

struct Entries<'a, 'b> {
    collector: &'a mut Collector<'b>,
    read: fn(Value) -> Found,
}

impl<'de> DeserializeSeed<'de> for Entries<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut number = 0;
        while let Some(entry) = entries.next_element::<Value>()? {
            number += 1;
            match (self.read)(entry) {
                Ok(Some(draft)) => self.collector.take(DataPlace::Entry(number), draft),
                Ok(None) => self.collector.skip(),
                Err(problem) => self.collector.fault(DataPlace::Entry(number), problem),
            }
        }
        Ok(())
    }
}

fn typed<'de, T: Deserialize<'de>>(entry: Value) -> Result<T, String> {
    T::deserialize(entry).map_err(|error| error.to_string())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prompt {
    content: Option<String>,
    messages: Option<Vec<Message>>,
    max_tokens: Option<u32>,
    #[serde(rename = "label")]
    _label: Option<IgnoredAny>,
}

/// An entry of the predecessor's `prompts.json`.
pub(super) fn prompt(entry: Value) -> Found {
    let Prompt {
        content,
        messages,
        max_tokens,
        ..
    } = typed(entry)?;
    let messages = match (content, messages) {
        (Some(content), None) => vec![Message::user(content)],
        (None, Some(messages)) => messages,
        _ => return Err("one of `content` and `messages` is required, and not both".to_owned()),
    };
    Draft::of_messages(messages, max_tokens).map(Some)
}

/// One turn of a conversation of ShareGPT.
#[derive(Deserialize)]
pub(super) struct Turn {
    from: String,
    value: String,
}

impl Turn {
    /// The turn under the name that the chat API has for its speaker.
    pub(super) fn into_message(self) -> Message {
        let role = match self.from.as_str() {
            "human" => "user".to_owned(),
            "gpt" | "chatgpt" | "bing" | "bard" => "assistant".to_owned(),
            _ => self.from,
        };
        Message {
            role,
            content: self.value,
        }
    }
}

#[derive(Deserialize)]
struct Conversation {
    conversations: Vec<Turn>,
}

/// An entry of ShareGPT: its first question and the answer to it, as other tools take it.
pub(super) fn conversation(entry: Value) -> Found {
    let Conversation { conversations } = typed(entry)?;
    let mut messages = conversations.into_iter().map(Turn::into_message);
    let (Some(question), Some(answer)) = (messages.next(), messages.next()) else {
        return Ok(None);
    };
    let usable = question.role == "user" && answer.role == "assistant";
    let blank = |message: &Message| message.content.trim().is_empty();
    if !usable || blank(&question) || blank(&answer) {
        return Ok(None);
    }
    Draft::of_messages(vec![question, answer], None).map(Some)
}

#[derive(Deserialize)]
struct Task {
    instruction: String,
    input: String,
    output: String,
}

/// An entry of CodeAlpaca: the instruction, its input below it, and the answer.
pub(super) fn instruction(entry: Value) -> Found {
    let Task {
        instruction,
        input,
        output,
    } = typed(entry)?;
    if instruction.trim().is_empty() || output.trim().is_empty() {
        return Ok(None);
    }
    let prompt = if input.trim().is_empty() {
        instruction
    } else {
        format!("{instruction}\n\n{input}")
    };
    Ok(Some(Draft {
        messages: vec![Message::user(prompt)],
        output_tokens: None,
        answer: Some(output),
    }))
}
