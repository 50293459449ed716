//! The course of one exchange, from the bytes that its connection brings. But for the request's way out it knows no socket.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use bytes::Bytes;

use crate::answer::{Answer, End};
use crate::exchange::{Ending, Exchange, Limits, NOT_YET, Watch};
use crate::form::AnswerForm;
use crate::reactor::{GapSink, Outgoing, socket};
use crate::refusal::{MAX_REFUSAL_BYTES, Refusal};
use crate::response::{AtClose, Part, ResponseReader};

/// An exchange that has begun.
#[derive(Debug)]
pub(super) struct Course<G> {
    pub(super) key: u64,
    /// Which of the server's heads goes before the body.
    pub(super) path: usize,
    body: Bytes,
    /// The head's last line, which tells the body's length.
    length_line: LengthLine,
    /// How many bytes of the request the socket has taken, and whether these are all.
    written: usize,
    pub(super) is_sent: bool,
    pub(super) limits: Limits,
    pub(super) watch: Rc<Watch>,
    /// When it first asked for a connection.
    pub(super) wanted_ns: i64,
    pub(super) connect_ns: Option<i64>,
    /// Whether it was sent before, on a connection that turned out to be dead.
    is_retry: bool,
    form: AnswerForm,
    gaps: G,
    reader: ResponseReader,
    answer: Answer,
    refusal: Option<(Refusal, Vec<u8>)>,
    received: bool,
    /// When the latest bytes were received.
    last_ns: i64,
}

/// The end of a request's head.
#[derive(Clone, Copy, Debug)]
struct LengthLine {
    bytes: [u8; 40],
    length: usize,
}

impl LengthLine {
    fn of(body: &Bytes) -> Self {
        use std::io::Write;
        let mut bytes = [0; 40];
        let mut rest = &mut bytes[..];
        // Twenty digits at most: there is room.
        let _ = write!(rest, "content-length: {}\r\n\r\n", body.len());
        let length = 40 - rest.len();
        Self { bytes, length }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// What becomes of the connection of an exchange that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Afterwards {
    /// The answer is complete: the connection takes the next request.
    Reuse,
    /// The rest of the answer, which changes nothing, may still come.
    Drain,
    Close,
}

/// How an exchange stands after what it was told.
#[derive(Debug)]
pub(super) enum Turn {
    Goes,
    Over(Exchange, Afterwards),
    /// The connection was dead before it was used: the request goes out again on a new one.
    Again,
}

impl<G: GapSink> Course<G> {
    pub(super) fn new(outgoing: Outgoing, path: usize, form: AnswerForm, gaps: G, now_ns: i64) -> Self {
        let Outgoing {
            key,
            body,
            limits,
            watch,
        } = outgoing;
        Self {
            key,
            path,
            length_line: LengthLine::of(&body),
            body,
            written: 0,
            is_sent: false,
            limits,
            watch,
            wanted_ns: now_ns,
            connect_ns: None,
            is_retry: false,
            form,
            gaps,
            reader: ResponseReader::new(),
            answer: Answer::new(form),
            refusal: None,
            received: false,
            last_ns: now_ns,
        }
    }

    /// Sends what the socket takes of the request; whether all of it has gone.
    pub(super) fn send(&mut self, socket: &OwnedFd, head: &[u8]) -> io::Result<bool> {
        let pieces = [head, self.length_line.as_bytes(), &self.body];
        self.written += socket::send(socket, pieces, self.written)?;
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        self.is_sent = self.written == length;
        Ok(self.is_sent)
    }

    /// The limit that comes next, and how the exchange ends when it is reached.
    pub(super) fn due(&self) -> (i64, Ending) {
        self.limits.next(self.form, &self.watch)
    }

    /// A time before which [`Self::due`] cannot be reached, whatever comes.
    pub(super) fn not_due_before(&self, now_ns: i64) -> i64 {
        self.due()
            .0
            .min(crate::deadline::after(now_ns, self.limits.between_tokens))
    }

    /// Takes bytes that were received at `at_ns`, by a read that returned at `read_ns`.
    pub(super) fn take(&mut self, mut bytes: &[u8], at_ns: i64, read_ns: i64) -> Turn {
        self.received = true;
        // A clock that is set back would have the answer come before its request.
        let at_ns = at_ns.max(self.watch.send_ns.get());
        self.last_ns = at_ns;
        let had_token = self.watch.first_token_ns.get() != NOT_YET;
        let over = self.take_parts(&mut bytes, at_ns);
        if !had_token {
            self.watch
                .note_first_token(read_ns, self.answer.finish_reason().is_some());
        }
        match over {
            None => Turn::Goes,
            // What comes beyond an answer that nobody asked for has no place in the next one.
            Some((exchange, Afterwards::Reuse)) if !bytes.is_empty() => {
                Turn::Over(exchange, Afterwards::Close)
            }
            Some((exchange, afterwards)) => Turn::Over(exchange, afterwards),
        }
    }

    fn take_parts(&mut self, bytes: &mut &[u8], at_ns: i64) -> Option<(Exchange, Afterwards)> {
        loop {
            let part = match self.reader.next(bytes) {
                Ok(Some(part)) => part,
                Ok(None) => return None,
                Err(error) if error.is_of_the_head() => {
                    return Some((
                        self.ended(Ending::ParseError, Some(error.to_string())),
                        Afterwards::Close,
                    ));
                }
                Err(error) => return Some((self.broken(&error.to_string()), Afterwards::Close)),
            };
            match part {
                Part::Head(status, content_type) => {
                    self.watch.header_ns.set(at_ns);
                    self.watch.http_status.set(status);
                    let refusal = Refusal::of(status, content_type.as_deref(), self.form);
                    self.refusal = refusal.map(|refusal| (refusal, Vec::new()));
                }
                Part::Piece(piece) => {
                    if let Some((_, text)) = &mut self.refusal {
                        text.extend_from_slice(piece);
                        if text.len() >= MAX_REFUSAL_BYTES {
                            text.truncate(MAX_REFUSAL_BYTES);
                            return Some((self.refused(), Afterwards::Close));
                        }
                    } else {
                        let gaps = &mut self.gaps;
                        self.answer
                            .feed(piece, at_ns, &self.watch, &mut |gap| gaps.record(gap));
                        if self.answer.decided_ns().is_some() {
                            return Some(self.decided(bytes));
                        }
                    }
                }
                Part::End => return Some((self.complete(), self.reuse())),
            }
        }
    }

    /// The ending is known. The end of the body mostly lies right behind it.
    fn decided(&mut self, bytes: &mut &[u8]) -> (Exchange, Afterwards) {
        let exchange = self.answered(&End::Decided);
        let afterwards = match skip(&mut self.reader, bytes) {
            Skipped::End => self.reuse(),
            Skipped::NeedsMore => Afterwards::Drain,
            Skipped::Broken => Afterwards::Close,
        };
        (exchange, afterwards)
    }

    fn reuse(&self) -> Afterwards {
        if self.reader.keeps_alive() {
            Afterwards::Reuse
        } else {
            Afterwards::Close
        }
    }

    fn complete(&mut self) -> Exchange {
        if self.refusal.is_some() {
            return self.refused();
        }
        let gaps = &mut self.gaps;
        self.answer
            .complete(self.last_ns, &self.watch, &mut |gap| gaps.record(gap));
        self.answered(&End::Complete)
    }

    /// The reader, for what is left of the answer of an exchange that is over.
    pub(super) fn into_reader(self) -> ResponseReader {
        self.reader
    }

    /// The connection has ended: `error` says how, unless the server closed it in order.
    pub(super) fn connection_ended(&mut self, was_used: bool, now_ns: i64, error: Option<&str>) -> Turn {
        if was_used && !self.received && !self.is_retry {
            self.is_retry = true;
            self.written = 0;
            self.is_sent = false;
            self.watch.send_ns.set(NOT_YET);
            return Turn::Again;
        }
        self.last_ns = now_ns;
        let exchange = match (self.reader.at_close(), &self.refusal, error) {
            (AtClose::InHead, _, error) => {
                let text = error.unwrap_or("connection closed before message completed");
                self.ended(Ending::StreamCut, Some(text.to_owned()))
            }
            (_, Some(_), _) => self.refused(),
            (_, None, Some(error)) => self.broken(error),
            (AtClose::Complete, None, None) => self.complete(),
            (AtClose::Cut(how), None, None) => self.broken(how),
        };
        Turn::Over(exchange, Afterwards::Close)
    }

    /// The limit is reached.
    pub(super) fn timed_out(&self, ending: Ending, now_ns: i64) -> Exchange {
        if self.refusal.is_some() {
            return self.refused();
        }
        Exchange {
            end_ns: now_ns,
            ..self.ended(ending, None)
        }
    }

    /// No connection was made.
    pub(super) fn not_connected(&self, ending: Ending, now_ns: i64, error: Option<String>) -> Exchange {
        Exchange {
            end_ns: now_ns,
            connect_ns: Some(now_ns - self.wanted_ns),
            ..self.ended(ending, error)
        }
    }

    fn refused(&self) -> Exchange {
        match &self.refusal {
            Some((refusal, text)) => self.ended(refusal.ending(), Some(refusal.describe(text))),
            None => self.ended(Ending::StreamCut, None),
        }
    }

    fn broken(&self, how: &str) -> Exchange {
        self.answered(&End::Broken(how.to_owned()))
    }

    fn answered(&self, end: &End) -> Exchange {
        let (ending, error) = self.answer.ending(end);
        Exchange {
            end_ns: self.answer.decided_ns().unwrap_or(self.last_ns),
            ..self.ended(ending, error)
        }
    }

    fn ended(&self, ending: Ending, error: Option<String>) -> Exchange {
        let usage = self.answer.usage();
        Exchange {
            ending,
            http_status: Some(self.watch.http_status.get()).filter(|status| *status != 0),
            connect_ns: self.connect_ns,
            end_ns: self.last_ns,
            input_tokens: usage.prompt_tokens,
            output_tokens: usage.completion_tokens,
            cached_tokens: usage.cached_tokens(),
            finish_reason: self.answer.finish_reason().map(str::to_owned),
            error,
        }
    }
}

/// How far the rest of an answer was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skipped {
    End,
    NeedsMore,
    Broken,
}

/// Passes over what is left of an answer.
pub(super) fn skip(reader: &mut ResponseReader, bytes: &mut &[u8]) -> Skipped {
    loop {
        match reader.next(bytes) {
            Ok(Some(Part::End)) => return Skipped::End,
            Ok(Some(Part::Head(..) | Part::Piece(_))) => {}
            Ok(None) => return Skipped::NeedsMore,
            Err(_) => return Skipped::Broken,
        }
    }
}
