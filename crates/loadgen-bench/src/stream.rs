//! The least that a client must see of a streamed answer.

use std::sync::LazyLock;

use memchr::{memchr, memmem::Finder};

static CONTENT: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("\"content\":\""));
static CHOICES: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("\"choices\":["));
static PROMPT_TOKENS: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("\"prompt_tokens\":"));

/// What a read has brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The first token was in it.
    pub first_token: bool,
    /// The answer is over, and the connection free for the next request.
    pub over: bool,
}

/// An answer as far as it was read: its lines, of which those with an event begin with `data: `.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// The begin of a line whose end was not read yet.
    carry: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    status: Option<u16>,
    has_token: bool,
    serial: Option<u64>,
    done: bool,
    last_chunk: bool,
    over: bool,
}

impl Scan {
    /// Before the first byte of an answer, with room for a line.
    pub fn new() -> Self {
        Self {
            carry: Vec::with_capacity(1024),
            state: State::default(),
        }
    }

    /// Forgets the answer.
    pub fn reset(&mut self) {
        self.carry.clear();
        self.state = State::default();
    }

    /// The status of the answer, once its first line was read.
    pub fn status(&self) -> Option<u16> {
        self.state.status
    }

    /// The number of the prompt's tokens, which is the request's serial number, once the usage was read.
    pub fn serial(&self) -> Option<u64> {
        self.state.serial
    }

    /// Takes what a read has brought.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Progress {
        let had_token = self.state.has_token;
        if !self.carry.is_empty() {
            let Some(end) = memchr(b'\n', bytes) else {
                self.carry.extend_from_slice(bytes);
                return Progress::default();
            };
            self.carry.extend_from_slice(&bytes[..end]);
            self.state.line(&self.carry);
            self.carry.clear();
            bytes = &bytes[end + 1..];
        }
        while let Some(end) = memchr(b'\n', bytes) {
            self.state.line(&bytes[..end]);
            bytes = &bytes[end + 1..];
        }
        self.carry.extend_from_slice(bytes);
        Progress {
            first_token: self.state.has_token && !had_token,
            over: self.state.over,
        }
    }
}

impl State {
    fn line(&mut self, line: &[u8]) {
        if let Some(event) = line.strip_prefix(b"data: ") {
            self.event(event);
        } else if self.done {
            // The chunk of length 0, and the empty line after it.
            self.over |= self.last_chunk && line == b"\r";
            self.last_chunk |= line == b"0\r";
        } else if self.status.is_none() {
            self.status = line
                .get(9..12)
                .and_then(number)
                .and_then(|status| status.try_into().ok());
        }
    }

    fn event(&mut self, event: &[u8]) {
        if event == b"[DONE]" {
            self.done = true;
            return;
        }
        if !self.has_token {
            self.has_token = after(event, &CONTENT).is_some_and(|rest| rest.first() != Some(&b'"'));
        }
        // Only the event of the usage has no choice in it.
        let choices = after(event, &CHOICES);
        if choices.is_some_and(|rest| rest.first() == Some(&b']')) {
            self.serial = after(event, &PROMPT_TOKENS).and_then(number);
        }
    }
}

fn after<'a>(bytes: &'a [u8], finder: &Finder<'_>) -> Option<&'a [u8]> {
    let at = finder.find(bytes)?;
    Some(&bytes[at + finder.needle().len()..])
}

fn number(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&bytes[..digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::{HEAD, Pieces};

    /// An answer, and where its first token ends.
    fn answer(serial: u64) -> (Vec<u8>, usize) {
        let pieces = Pieces::new(3);
        let mut end = Vec::new();
        pieces.end(serial, &mut end);
        let bytes = [HEAD, &pieces.whole(), &end].concat();
        // The role, the first token without the end of its chunk, which no line needs.
        let token = HEAD.len() + pieces.first().len() - 3;
        (bytes, token)
    }

    #[test]
    fn answers_are_the_same_wherever_reads_cut_them() {
        let (bytes, token) = answer(47);
        for cut in 1..bytes.len() {
            let mut scan = Scan::new();
            let first = scan.feed(&bytes[..cut]);
            assert_eq!((first.first_token, first.over), (cut >= token, false), "{cut}");
            let second = scan.feed(&bytes[cut..]);
            assert_eq!((second.first_token, second.over), (cut < token, true), "{cut}");
            assert_eq!((scan.status(), scan.serial()), (Some(200), Some(47)), "{cut}");
        }
    }

    #[test]
    fn a_scan_takes_one_answer_after_the_other() {
        let mut scan = Scan::new();
        for serial in [1, 1_000_000] {
            let (bytes, _) = answer(serial);
            let progress = scan.feed(&bytes);
            assert_eq!((progress.first_token, progress.over), (true, true));
            assert_eq!(scan.serial(), Some(serial));
            scan.reset();
            assert_eq!((scan.status(), scan.serial()), (None, None));
        }
    }
}
