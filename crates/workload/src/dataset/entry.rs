//! One prompt of a data set, and the rules by which it is taken.

use std::collections::HashSet;

use serde::Deserialize;

use super::{Contents, DataFault, DataFaults, DataPlace, LeftOut, MOST_FAULTS, Selection};

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, `tool` or `developer`.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// What a user says.
    pub fn user(content: impl Into<String>) -> Self {
        Self {
            role: "user".to_owned(),
            content: content.into(),
        }
    }
}

/// A prompt of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The conversation that is to be answered; never empty.
    pub messages: Vec<Message>,
    /// Its tokens.
    pub input: u32,
    /// The tokens that its answer is expected to have.
    pub output: Option<u32>,
}

/// What a reader finds before it is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) messages: Vec<Message>,
    pub(super) output_tokens: Option<u32>,
    pub(super) answer: Option<String>,
}

const ROLES: &[&str] = &["system", "user", "assistant", "tool", "developer"];

impl Draft {
    /// A conversation; an answer at its end is the reference.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of_messages(
        mut messages: Vec<Message>,
        output_tokens: Option<u32>,
    ) -> Result<Self, String> {
        if let Some(other) = messages
            .iter()
            .find(|message| !ROLES.contains(&message.role.as_str()))
        {
            return Err(format!(
                "the role `{}` is none of {}",
                other.role,
                ROLES.join(", ")
            ));
        }
        let answer = messages.pop_if(|last| last.role == "assistant");
        let answer = answer.map(|message| message.content);
        if messages.is_empty() {
            return Err("the conversation has no message that could be answered".to_owned());
        }
        Ok(Self {
            messages,
            output_tokens,
            answer,
        })
    }
}

/// Takes drafts, keeps what the selection takes, and remembers what is wrong.
pub(super) struct Collector<'a> {
    selection: Selection<'a>,
    contents: Contents,
    known: HashSet<u64>,
    faults: Vec<DataFault>,
    more: u64,
}

impl<'a> Collector<'a> {
    pub(super) fn new(selection: Selection<'a>) -> Self {
        Self {
            selection,
            contents: Contents::default(),
            known: HashSet::new(),
            faults: Vec::new(),
            more: 0,
        }
    }

    pub(super) fn fault(&mut self, place: DataPlace, problem: impl Into<String>) {
        if self.faults.len() < MOST_FAULTS {
            let problem = problem.into();
            self.faults.push(DataFault { place, problem });
        } else {
            self.more += 1;
        }
    }

    /// Counts an entry of a foreign data set that cannot be used.
    pub(super) fn skip(&mut self) {
        self.contents.left_out.unusable += 1;
    }

    pub(super) fn take(&mut self, place: DataPlace, draft: Draft) {
        match self.judge(draft) {
            Ok(Some(entry)) => self.contents.entries.push(entry),
            Ok(None) => {}
            Err(problem) => self.fault(place, problem),
        }
    }

    fn judge(&mut self, draft: Draft) -> Result<Option<Entry>, String> {
        let Draft {
            messages,
            output_tokens,
            answer,
        } = draft;
        if messages.iter().all(|message| message.content.trim().is_empty()) {
            return Err("the prompt is empty".to_owned());
        }
        let uncounted = || "the tokenizer cannot read the text".to_owned();
        let count = |text: &str| self.selection.tokens.count(text).ok_or_else(uncounted);
        let mut input = 0_u32;
        for message in &messages {
            input = input.saturating_add(count(&message.content)?);
        }
        let answer = answer.filter(|answer| !answer.trim().is_empty());
        let output = match (output_tokens, answer) {
            (Some(0), _) => return Err("an answer of 0 tokens cannot be asked for".to_owned()),
            (Some(tokens), _) => Some(tokens),
            (None, Some(answer)) => Some(count(&answer)?.max(1)),
            (None, None) if self.selection.needs_output => {
                return Err(
                    "there is neither a length of the answer nor an answer; give one, or `output_length` in the \
                     configuration"
                        .to_owned(),
                );
            }
            (None, None) => None,
        };
        let left_out: &mut LeftOut = &mut self.contents.left_out;
        if input < self.selection.min_input {
            left_out.short += 1;
            return Ok(None);
        }
        if input > self.selection.max_input {
            left_out.long += 1;
            return Ok(None);
        }
        if !self.known.insert(digest(&messages)) {
            left_out.repeated += 1;
            return Ok(None);
        }
        Ok(Some(Entry {
            messages,
            input,
            output,
        }))
    }

    pub(super) fn finish(self) -> Result<Contents, DataFaults> {
        if self.faults.is_empty() {
            Ok(self.contents)
        } else {
            Err(DataFaults {
                first: self.faults,
                more: self.more,
            })
        }
    }
}

/// Equal conversations have equal digests, and others so with a chance of one in 2⁶⁴.
fn digest(messages: &[Message]) -> u64 {
    let parts = messages
        .iter()
        .flat_map(|message| [message.role.as_bytes(), b"\0", message.content.as_bytes(), b"\0"]);
    crate::prompts::fnv_1a(parts.flatten().copied())
}
