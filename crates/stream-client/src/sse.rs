//! Server-sent events, split out of a byte stream that may be cut anywhere.

use memchr::memchr2;

/// The longest event that is kept: far above any chunk, far below what would hurt.
pub(crate) const MAX_EVENT_BYTES: usize = 1 << 20;

/// An event of more than a mebibyte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than {MAX_EVENT_BYTES} bytes")]
pub struct EventTooLong;

/// Splits a byte stream into the data of its events.
///
/// Lines end with `\n`, `\r\n` or `\r`, events with an empty line. Comments and all fields but `data` are
/// skipped. An event that lies within one piece of the stream is handed on without a copy. What the stream's
/// end leaves open is no event.
#[derive(Debug)]
pub struct EventSplitter {
    /// The longest event that is kept.
    limit: usize,
    /// The line that the last piece left open.
    line: Vec<u8>,
    /// The data of an event that spans pieces or lines.
    data: Vec<u8>,
    /// Whether `data` holds an event (its data may be empty).
    open: bool,
    /// The last piece ended with `\r`: a `\n` at the start of the next one belongs to it.
    skip_line_feed: bool,
    /// Past the first line, before which a byte order mark may stand.
    started: bool,
}

impl EventSplitter {
    /// At the start of a stream.
    pub fn new() -> Self {
        Self::with_limit(MAX_EVENT_BYTES)
    }

    fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            data: Vec::new(),
            open: false,
            skip_line_feed: false,
            started: false,
        }
    }

    /// Whether the stream stands between two events, behind its first line.
    #[inline]
    pub(crate) fn is_between_events(&self) -> bool {
        self.started && !self.open && !self.skip_line_feed && self.line.is_empty()
    }

    /// Takes the next piece of the stream and hands on each event that it completes.
    ///
    /// # Errors
    /// An event is too long. The splitter is of no further use then.
    pub fn feed(&mut self, piece: &[u8], mut on_event: impl FnMut(&[u8])) -> Result<(), EventTooLong> {
        let mut rest = self.after_carriage_return(piece);
        // The data of an event that began in this piece and has one line so far.
        let mut whole: Option<&[u8]> = None;
        while let Some(end) = memchr2(b'\n', b'\r', rest) {
            let line = &rest[..end];
            rest = self.after_line_end(rest, end);
            let held = whole.map_or(self.data.len(), <[u8]>::len);
            if line.len() + self.line.len() + held > self.limit {
                return Err(EventTooLong);
            }
            if !self.line.is_empty() {
                self.line.extend_from_slice(line);
                let line = std::mem::take(&mut self.line);
                self.take_joined(&line, &mut on_event);
                self.line = line;
                self.line.clear();
                continue;
            }
            match Line::of(self.without_mark(line)) {
                Line::Data(data) if self.open => self.append(data),
                Line::Data(data) => match whole.take() {
                    Some(first) => {
                        self.append(first);
                        self.append(data);
                    }
                    None => whole = Some(data),
                },
                Line::Empty => match whole.take() {
                    Some(data) => on_event(data),
                    None => self.close(&mut on_event),
                },
                Line::Other => {}
            }
        }
        if let Some(data) = whole {
            self.append(data);
        }
        if rest.len() + self.line.len() + self.data.len() > self.limit {
            return Err(EventTooLong);
        }
        self.line.extend_from_slice(rest);
        Ok(())
    }

    fn after_carriage_return<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        match piece {
            [b'\n', rest @ ..] if self.skip_line_feed => {
                self.skip_line_feed = false;
                rest
            }
            [] => piece,
            _ => {
                self.skip_line_feed = false;
                piece
            }
        }
    }

    fn after_line_end<'a>(&mut self, rest: &'a [u8], end: usize) -> &'a [u8] {
        match &rest[end..] {
            [b'\r', b'\n', after @ ..] => after,
            [b'\r'] => {
                self.skip_line_feed = true;
                &[]
            }
            _ => &rest[end + 1..],
        }
    }

    fn without_mark<'a>(&mut self, line: &'a [u8]) -> &'a [u8] {
        if std::mem::replace(&mut self.started, true) {
            return line;
        }
        line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)
    }

    /// A line that was cut between pieces; it cannot be empty.
    fn take_joined(&mut self, line: &[u8], on_event: &mut impl FnMut(&[u8])) {
        match Line::of(self.without_mark(line)) {
            Line::Data(data) => self.append(data),
            Line::Empty => self.close(on_event),
            Line::Other => {}
        }
    }

    fn append(&mut self, data: &[u8]) {
        if self.open {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(data);
        self.open = true;
    }

    fn close(&mut self, on_event: &mut impl FnMut(&[u8])) {
        if self.open {
            on_event(&self.data);
            self.data.clear();
            self.open = false;
        }
    }
}

impl Default for EventSplitter {
    fn default() -> Self {
        Self::new()
    }
}

enum Line<'a> {
    Empty,
    Data(&'a [u8]),
    Other,
}

impl<'a> Line<'a> {
    fn of(line: &'a [u8]) -> Self {
        match line {
            [] => Self::Empty,
            b"data" => Self::Data(&[]),
            [b'd', b'a', b't', b'a', b':', b' ', data @ ..] | [b'd', b'a', b't', b'a', b':', data @ ..] => {
                Self::Data(data)
            }
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let mut splitter = EventSplitter::new();
        let mut events = Vec::new();
        for piece in pieces {
            splitter
                .feed(piece, |data| {
                    events.push(String::from_utf8_lossy(data).into_owned());
                })
                .unwrap();
        }
        events
    }

    /// Whole, at each split into two, and byte by byte.
    fn check(stream: &str, expected: &[&str]) {
        let stream = stream.as_bytes();
        assert_eq!(events([stream]), expected, "whole");
        for at in 0..=stream.len() {
            let (left, right) = stream.split_at(at);
            assert_eq!(events([left, right]), expected, "split at {at}");
        }
        assert_eq!(events(stream.chunks(1)), expected, "byte by byte");
    }

    #[test]
    fn line_ends_and_spaces() {
        check("data: a\n\ndata:b\n\n", &["a", "b"]);
        check("data: a\r\n\r\ndata: b\r\n\r\n", &["a", "b"]);
        check("data: a\r\rdata: b\r\r", &["a", "b"]);
        check("data: a\r\n\ndata: b\n\r\n", &["a", "b"]);
        check("data:  a \n\n", &[" a "]);
    }

    #[test]
    fn several_lines_make_one_event() {
        check("data: a\ndata: b\ndata:\ndata: c\n\n", &["a\nb\n\nc"]);
        check("data\n\n", &[""]);
        check("data: a\n: comment\nid: 7\ndata: b\n\n", &["a\nb"]);
    }

    #[test]
    fn other_fields_and_comments_are_no_events() {
        check(": ping\n\n: ping\n\n", &[]);
        check("event: x\nretry: 5\nid\n\ndata: a\n\n", &["a"]);
        check("datax: a\ndata : a\nDATA: a\n\n", &[]);
        check("\n\n\n", &[]);
    }

    #[test]
    fn an_open_event_is_dropped() {
        check("data: a\n\ndata: b\n", &["a"]);
        check("data: a", &[]);
        check("", &[]);
    }

    #[test]
    fn a_byte_order_mark_is_skipped_once() {
        check("\u{feff}data: a\n\n\u{feff}data: b\n\n", &["a"]);
    }

    #[test]
    fn too_long() {
        let long = vec![b'x'; MAX_EVENT_BYTES];
        let mut splitter = EventSplitter::new();
        assert_eq!(splitter.feed(b"data: ", |_| {}), Ok(()));
        assert_eq!(splitter.feed(&long, |_| {}), Err(EventTooLong));

        let mut lines = EventSplitter::new();
        let result = (0..1 << 17).try_for_each(|_| lines.feed(b"data: 12345678\n", |_| {}));
        assert_eq!(result, Err(EventTooLong));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            stream in "(data: ?|data|: |id: |[abc]|\r|\n|\r\n|\n\n|\u{feff}){0,40}",
            cuts in proptest::collection::vec(0usize..200, 0..12),
        ) {
            let bytes = stream.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(events(pieces), events([bytes]));
        }

        #[test]
        fn the_limit_is_the_same_wherever_the_stream_is_cut(
            stream in "(data:[ab]{0,9}|:[a]{0,9}|\r|\n|\r\n|\n\n|\u{feff}){0,12}",
        ) {
            let outcome = |pieces: &[&[u8]]| {
                let mut splitter = EventSplitter::with_limit(16);
                let mut events = Vec::new();
                let fed = pieces.iter().try_for_each(|piece| splitter.feed(piece, |data| events.push(data.to_vec())));
                (fed, events)
            };
            let bytes = stream.as_bytes();
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            let expected = outcome(&single);
            for at in 0..=bytes.len() {
                let (left, right) = bytes.split_at(at);
                prop_assert_eq!(&outcome(&[left, right]), &expected, "cut at {}", at);
            }
        }
    }
}
