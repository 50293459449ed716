//! Answers that were kept, read again.
//!
//! What is seen of an answer must not depend on where the network cut it, nor on the quick way in which most chunks are
//! read. [`Replay`] proves it of one answer: for captures of servers, and for whatever a fuzzer makes of them.

use std::cell::Cell;

use serde_json::Value;

use crate::answer::{Answer, End};
use crate::exchange::{Ending, NOT_YET, Watch};
use crate::form::AnswerForm;
use crate::lines::LineSplitter;
use crate::scanner::Scanner;
use crate::skim::{self, Facts};
use crate::sse::EventSplitter;

#[cfg(target_os = "linux")]
pub use response::{ResponseMismatch, ResponseReading, ResponseReplay};

#[cfg(target_os = "linux")]
mod response;

/// What is seen of an answer. A point is the number of bytes that had come when it was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// How it ended.
    pub ending: Ending,
    /// Why the server stopped, in its words.
    pub finish_reason: Option<String>,
    /// Tokens of the prompt, by the server's count.
    pub input_tokens: Option<u32>,
    /// Tokens of the answer, by the server's count.
    pub output_tokens: Option<u32>,
    /// Tokens of the prompt that the server had cached, by its count.
    pub cached_tokens: Option<u32>,
    /// What went wrong.
    pub error: Option<String>,
    /// Chunks that carried tokens.
    pub chunks: u32,
    /// The first chunk that does more than announce the role.
    pub first_chunk: Option<usize>,
    /// The first chunk with tokens.
    pub first_token: Option<usize>,
    /// The first chunk with tokens that are not reasoning.
    pub first_output: Option<usize>,
    /// The last chunk with tokens.
    pub last_token: Option<usize>,
    /// The end of the stream, where the stream says so.
    pub decided: Option<usize>,
}

impl Reading {
    /// Reads an answer that comes in these pieces.
    pub fn of<'a>(form: AnswerForm, pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let watch = Watch::new();
        let gaps = Cell::new(0);
        let mut on_gap = |_| gaps.set(gaps.get() + 1);
        let mut answer = Answer::new(form);
        let mut come = 0;
        for piece in pieces {
            come += piece.len() as i64;
            answer.feed(piece, come, &watch, &mut on_gap);
        }
        if answer.decided_ns().is_none() {
            answer.complete(come, &watch, &mut on_gap);
        }
        let chunks = watch.chunks.get();
        assert_eq!(
            gaps.get(),
            chunks.saturating_sub(1),
            "a gap between each two chunks"
        );
        let decided = answer.decided_ns();
        let (ending, error) = answer.ending(&decided.map_or(End::Complete, |_| End::Decided));
        let usage = answer.usage();
        let point = |point: &Cell<i64>| {
            Some(point.get())
                .filter(|at| *at != NOT_YET)
                .map(|at| at as usize)
        };
        Self {
            ending,
            finish_reason: answer.finish_reason().map(str::to_owned),
            input_tokens: usage.prompt_tokens,
            output_tokens: usage.completion_tokens,
            cached_tokens: usage.cached_tokens(),
            error,
            chunks,
            first_chunk: point(&watch.first_chunk_ns),
            first_token: point(&watch.first_token_ns),
            first_output: point(&watch.first_output_ns),
            last_token: point(&watch.last_token_ns),
            decided: decided.map(|at| at as usize),
        }
    }

    /// The same as it is seen when the bytes come in pieces that end there: a point is reached with its piece.
    fn when_pieces_end_at(&self, ends: &[usize]) -> Self {
        let moved = |point: Option<usize>| {
            point.map(|point| {
                let index = ends.partition_point(|end| *end < point);
                ends.get(index).copied().unwrap_or(point)
            })
        };
        Self {
            first_chunk: moved(self.first_chunk),
            first_token: moved(self.first_token),
            first_output: moved(self.first_output),
            last_token: moved(self.last_token),
            decided: moved(self.decided),
            ..self.clone()
        }
    }
}

/// An answer is not read the same in every way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Its pieces change what is seen of it.
    #[error("in pieces that end at {ends:?} the answer is {seen:?} in place of {expected:?}")]
    Pieces {
        /// Where the pieces end.
        ends: Vec<usize>,
        /// What is seen of it in these pieces.
        seen: Box<Reading>,
        /// What should be seen, from its single bytes.
        expected: Box<Reading>,
    },
    /// A chunk carries something else by the quick way than by the full parse.
    #[error("{chunk:?} carries {quick} by the {way}, {parsed} by the parser")]
    Facts {
        /// The chunk.
        chunk: String,
        /// Which of the quick ways.
        way: &'static str,
        /// What it says.
        quick: String,
        /// What the parser says.
        parsed: String,
    },
}

/// An answer that is read again and again.
#[derive(Debug)]
pub struct Replay<'a> {
    form: AnswerForm,
    bytes: &'a [u8],
    reading: Reading,
}

impl<'a> Replay<'a> {
    /// The answer that is these bytes. It is read byte by byte, once.
    pub fn new(form: AnswerForm, bytes: &'a [u8]) -> Self {
        Self {
            form,
            bytes,
            reading: Reading::of(form, bytes.chunks(1)),
        }
    }

    /// What is seen of it byte by byte.
    pub fn reading(&self) -> &Reading {
        &self.reading
    }

    /// Reads it in the pieces that `cuts` make of it, each within its length and none before the one that it follows.
    pub fn check_cuts(&self, cuts: &[usize]) -> Result<(), Mismatch> {
        let ends: Vec<usize> = cuts.iter().copied().chain([self.bytes.len()]).collect();
        let mut from = 0;
        let pieces = ends
            .iter()
            .map(|end| &self.bytes[std::mem::replace(&mut from, *end)..*end]);
        let seen = Reading::of(self.form, pieces);
        let expected = self.reading.when_pieces_end_at(&ends);
        if seen == expected {
            return Ok(());
        }
        Err(Mismatch::Pieces {
            ends,
            seen: Box::new(seen),
            expected: Box::new(expected),
        })
    }

    /// Reads it whole and in two pieces, cut at each of its bytes; says how many ways these are.
    pub fn check_each_cut(&self) -> Result<usize, Mismatch> {
        self.check_cuts(&[])?;
        for at in 0..=self.bytes.len() {
            self.check_cuts(&[at])?;
        }
        Ok(self.bytes.len() + 2)
    }

    /// Compares what the quick ways find in each chunk with what the full parse does. A chunk that is no JSON may be
    /// anything to them.
    pub fn check_chunks(&self) -> Result<(), Mismatch> {
        let mut result = Ok(());
        match self.form {
            AnswerForm::Events => {
                let mut scanner = Scanner::new();
                // An event that is too long ends the stream.
                let _ = EventSplitter::new().feed(self.bytes, |event| {
                    if result.is_ok() {
                        result = check_event(&mut scanner, event.trim_ascii());
                    }
                });
            }
            AnswerForm::Lines => {
                let mut splitter = LineSplitter::default();
                let mut check = |line: &[u8]| {
                    if result.is_ok() {
                        result = check_line(line.trim_ascii());
                    }
                };
                let fed = splitter.feed(self.bytes, &mut check);
                if fed.is_ok() {
                    check(&splitter.finish());
                }
            }
            AnswerForm::Whole => {}
        }
        result
    }
}

fn check_event(scanner: &mut Scanner, event: &[u8]) -> Result<(), Mismatch> {
    let scanned = scanner.scan(event);
    let Some(value) = object(event) else { return Ok(()) };
    let parsed = skim::read(&value);
    if let Ok(facts) = skim::skim(event) {
        compare(event, "skimmer", &facts, &parsed)?;
    }
    match scanned {
        Ok(facts) => compare(event, "scanner", &facts, &parsed),
        Err(_) => Ok(()),
    }
}

fn check_line(line: &[u8]) -> Result<(), Mismatch> {
    match (skim::skim_line(line), object(line)) {
        (Ok(facts), Some(value)) => compare(line, "skimmer", &facts, &skim::read_line(&value)),
        _ => Ok(()),
    }
}

fn object(bytes: &[u8]) -> Option<Value> {
    serde_json::from_slice(bytes).ok().filter(Value::is_object)
}

fn compare(chunk: &[u8], way: &'static str, quick: &Facts<'_>, parsed: &Facts<'_>) -> Result<(), Mismatch> {
    let (quick, parsed) = (show(quick), show(parsed));
    if quick == parsed {
        return Ok(());
    }
    Err(Mismatch::Facts {
        chunk: String::from_utf8_lossy(chunk).into_owned(),
        way,
        quick,
        parsed,
    })
}

/// The facts in words; the usage by its value, since the parser does not keep how it was written.
fn show(facts: &Facts<'_>) -> String {
    let usage: Option<Option<Value>> = facts
        .usage
        .as_deref()
        .map(|usage| serde_json::from_slice(usage).ok());
    let facts = Facts {
        usage: None,
        ..facts.clone()
    };
    format!("{facts:?} and usage {usage:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::tests::FIXTURES;

    const STREAM: &[u8] = b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DONE]\n\n";

    #[test]
    fn points_are_those_of_the_pieces() {
        let check = |cuts: &[usize], expected: (usize, usize)| {
            let replay = Replay::new(AnswerForm::Events, STREAM);
            replay.check_cuts(cuts).unwrap();
            let ends: Vec<usize> = cuts.iter().copied().chain([STREAM.len()]).collect();
            let reading = replay.reading().when_pieces_end_at(&ends);
            assert_eq!(
                (reading.first_token, reading.decided),
                (Some(expected.0), Some(expected.1))
            );
        };
        check(&[], (61, 61));
        check(&[46], (61, 61));
        check(&[47], (47, 61));
        check(&[10, 50, 60], (50, 61));
    }

    #[test]
    fn captures_are_read_the_same_in_all_pieces() {
        for (name, stream) in FIXTURES {
            let replay = Replay::new(AnswerForm::Events, stream.as_bytes());
            assert_eq!(replay.check_each_cut(), Ok(stream.len() + 2), "{name}");
            assert_eq!(replay.check_chunks(), Ok(()), "{name}");
        }
    }

    #[test]
    fn a_mismatch_is_seen() {
        let mut replay = Replay::new(AnswerForm::Events, STREAM);
        assert_eq!(replay.check_each_cut(), Ok(STREAM.len() + 2));
        replay.reading.first_token = Some(46);
        let found = replay.check_cuts(&[46]).unwrap_err();
        assert!(matches!(found, Mismatch::Pieces { .. }), "{found}");

        let value = object(br#"{"choices":[{"text":"a"}]}"#).unwrap();
        let found = compare(b"x", "skimmer", &Facts::default(), &skim::read(&value)).unwrap_err();
        assert!(matches!(found, Mismatch::Facts { .. }), "{found}");
    }
}
