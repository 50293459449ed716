//! An HTTP/1.1 answer, taken apart as it comes. Nothing here knows a socket.

use std::borrow::Cow;

/// A longer head is none of a server that is measured.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// More fields than any such server sends.
const MAX_FIELDS: usize = 96;
/// A chunk's size with its extensions, and a line of the trailer.
const MAX_LINE_BYTES: u32 = 8 << 10;

/// What is no HTTP/1.1 answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("{0}")]
    Head(httparse::Error),
    #[error("the head of the answer is longer than {MAX_HEAD_BYTES} bytes")]
    LongHead,
    #[error("the answer's `content-length` is no number")]
    Length,
    #[error("the answer has a transfer coding other than `chunked`")]
    Coding,
    #[error("the size of a chunk is no number")]
    ChunkSize,
    #[error("a chunk does not end where its size says")]
    ChunkEnd,
}

impl Malformed {
    /// Whether it was found before the body began.
    pub(crate) fn is_of_the_head(self) -> bool {
        matches!(self, Self::Head(_) | Self::LongHead | Self::Length | Self::Coding)
    }
}

/// The next part of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// The head, with its status and `content-type`.
    Head(u16, Option<Cow<'a, [u8]>>),
    /// A piece of the body.
    Piece(&'a [u8]),
    /// The end of the body.
    End,
}

/// Reads one answer from bytes that may be cut anywhere.
#[derive(Debug)]
pub(crate) struct ResponseReader {
    state: State,
    /// The head, as long as it is not whole.
    head: Vec<u8>,
    keep_alive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    /// So many bytes of the body are left.
    Length(u64),
    Chunked(Chunked),
    UntilClose,
    Complete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunked {
    /// The size so far, its digits, and the bytes of the line.
    Size(u64, u32),
    /// What follows the size on its line.
    Extension(u64, u32),
    Data(u64),
    /// The carriage return and the line feed after the data.
    DataEnd(u8),
    /// A line of the trailer, of so many bytes so far.
    Trailer(u32),
}

/// How an answer stands when the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtClose {
    /// The head is not whole.
    InHead,
    /// The close is the body's end.
    Complete,
    /// The body lacks something.
    Cut(&'static str),
}

impl ResponseReader {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Head,
            head: Vec::new(),
            keep_alive: true,
        }
    }

    /// Whether the connection carries another exchange once the answer is complete.
    pub(crate) fn keeps_alive(&self) -> bool {
        self.keep_alive
    }

    /// Takes the next part off the front of `bytes`; `None` when it needs more.
    #[inline]
    pub(crate) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Part<'a>>, Malformed> {
        match self.state {
            State::Chunked(state) => self.chunked(state, bytes),
            State::Head => self.read_head(bytes),
            State::Length(0) => {
                self.state = State::Complete;
                Ok(Some(Part::End))
            }
            State::Length(_) | State::UntilClose if bytes.is_empty() => Ok(None),
            State::Length(left) => {
                let piece = split(bytes, left);
                self.state = State::Length(left - piece.len() as u64);
                Ok(Some(Part::Piece(piece)))
            }
            State::UntilClose => Ok(Some(Part::Piece(std::mem::take(bytes)))),
            State::Complete => Ok(None),
        }
    }

    /// What the end of the connection means now.
    pub(crate) fn at_close(&self) -> AtClose {
        match self.state {
            State::Head => AtClose::InHead,
            State::UntilClose | State::Complete | State::Length(0) => AtClose::Complete,
            State::Length(_) => AtClose::Cut("the connection was closed before the whole length had come"),
            State::Chunked(_) => AtClose::Cut("the connection was closed before the last chunk"),
        }
    }

    fn read_head<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Part<'a>>, Malformed> {
        loop {
            let known = self.head.len();
            let parsed = if known == 0 {
                parse(bytes)?.map(|(head, length)| (head, length, None))
            } else {
                self.head.extend_from_slice(bytes);
                let parsed = parse(&self.head)?;
                // What is found in the kept bytes must not be borrowed from them.
                parsed.map(|(head, length)| {
                    let owned = head.content_type.map(<[u8]>::to_vec);
                    (head.without_fields(), length - known, owned)
                })
            };
            let Some((head, length, owned)) = parsed else {
                if known == 0 {
                    self.head.extend_from_slice(bytes);
                }
                *bytes = &[];
                if self.head.len() > MAX_HEAD_BYTES {
                    return Err(Malformed::LongHead);
                }
                return Ok(None);
            };
            if known + length > MAX_HEAD_BYTES {
                return Err(Malformed::LongHead);
            }
            *bytes = &bytes[length..];
            self.head = Vec::new();
            // Such an answer announces the one that counts.
            if (100..200).contains(&head.status) {
                if bytes.is_empty() {
                    return Ok(None);
                }
                continue;
            }
            self.keep_alive = head.keep_alive && head.body != State::UntilClose;
            self.state = head.body;
            let content_type = owned.map(Cow::Owned).or(head.content_type.map(Cow::Borrowed));
            return Ok(Some(Part::Head(head.status, content_type)));
        }
    }

    #[inline]
    fn chunked<'a>(
        &mut self,
        mut state: Chunked,
        bytes: &mut &'a [u8],
    ) -> Result<Option<Part<'a>>, Malformed> {
        loop {
            if let Chunked::Data(left) = state
                && left > 0
                && !bytes.is_empty()
            {
                let piece = split(bytes, left);
                self.state = State::Chunked(Chunked::Data(left - piece.len() as u64));
                return Ok(Some(Part::Piece(piece)));
            }
            let Some((&byte, rest)) = bytes.split_first() else {
                self.state = State::Chunked(state);
                return Ok(None);
            };
            if state != Chunked::Data(0) {
                *bytes = rest;
            }
            state = match state {
                Chunked::Data(_) => Chunked::DataEnd(b'\r'),
                Chunked::DataEnd(b'\r') if byte == b'\r' => Chunked::DataEnd(b'\n'),
                Chunked::DataEnd(_) if byte == b'\n' => Chunked::Size(0, 0),
                Chunked::DataEnd(_) => return Err(Malformed::ChunkEnd),
                Chunked::Size(size, length) => size_after(size, length, byte)?,
                Chunked::Extension(size, _) if byte == b'\n' => after_size(size),
                Chunked::Extension(size, length) => Chunked::Extension(size, next_in_line(length)?),
                Chunked::Trailer(0) if byte == b'\n' => {
                    self.state = State::Complete;
                    return Ok(Some(Part::End));
                }
                Chunked::Trailer(_) if byte == b'\n' => Chunked::Trailer(0),
                Chunked::Trailer(length) if byte == b'\r' => Chunked::Trailer(length),
                Chunked::Trailer(length) => Chunked::Trailer(next_in_line(length)?),
            };
        }
    }
}

#[inline]
fn split<'a>(bytes: &mut &'a [u8], most: u64) -> &'a [u8] {
    let length = usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len());
    let (piece, rest) = bytes.split_at(length);
    *bytes = rest;
    piece
}

fn next_in_line(length: u32) -> Result<u32, Malformed> {
    if length >= MAX_LINE_BYTES {
        return Err(Malformed::ChunkSize);
    }
    Ok(length + 1)
}

fn after_size(size: u64) -> Chunked {
    if size == 0 {
        Chunked::Trailer(0)
    } else {
        Chunked::Data(size)
    }
}

/// A byte of the line with a chunk's size, of whose digits `length` have come.
#[inline]
fn size_after(size: u64, length: u32, byte: u8) -> Result<Chunked, Malformed> {
    let digit = match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        b'\n' if length > 0 => return Ok(after_size(size)),
        b'\r' | b';' | b' ' | b'\t' if length > 0 => return Ok(Chunked::Extension(size, 0)),
        _ => return Err(Malformed::ChunkSize),
    };
    let size = size.checked_mul(16).ok_or(Malformed::ChunkSize)? + u64::from(digit);
    Ok(Chunked::Size(size, length + 1))
}

struct Head<'a> {
    status: u16,
    content_type: Option<&'a [u8]>,
    keep_alive: bool,
    body: State,
}

impl Head<'_> {
    fn without_fields(&self) -> Head<'static> {
        Head {
            status: self.status,
            content_type: None,
            keep_alive: self.keep_alive,
            body: self.body,
        }
    }
}

/// The head at the front of these bytes, and its length.
fn parse(bytes: &[u8]) -> Result<Option<(Head<'_>, usize)>, Malformed> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = response.parse(bytes).map_err(Malformed::Head)? else {
        return Ok(None);
    };
    let status = response.code.unwrap_or(0);
    let mut head = Head {
        status,
        content_type: None,
        keep_alive: response.version == Some(1),
        body: State::UntilClose,
    };
    let mut content_length = None;
    let mut is_chunked = false;
    for field in response.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        let value = field.value.trim_ascii();
        if is("content-type") {
            head.content_type = Some(value);
        } else if is("content-length") {
            let number = number(value).ok_or(Malformed::Length)?;
            if content_length.is_some_and(|other| other != number) {
                return Err(Malformed::Length);
            }
            content_length = Some(number);
        } else if is("transfer-encoding") {
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed::Coding);
            }
            is_chunked = true;
        } else if is("connection") {
            for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if option.eq_ignore_ascii_case(b"close") {
                    head.keep_alive = false;
                } else if option.eq_ignore_ascii_case(b"keep-alive") && response.version == Some(0) {
                    head.keep_alive = true;
                }
            }
        }
    }
    head.body = match (status, is_chunked, content_length) {
        (100..200 | 204 | 304, ..) => State::Length(0),
        (_, true, _) => State::Chunked(Chunked::Size(0, 0)),
        (_, false, Some(length)) => State::Length(length),
        (_, false, None) => State::UntilClose,
    };
    Ok(Some((head, length)))
}

fn number(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    if digits {
        std::str::from_utf8(value).ok()?.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
