//! Lines, split out of a byte stream that may be cut anywhere.

use memchr::memchr;

use crate::sse::{EventTooLong, MAX_EVENT_BYTES};

/// Splits a byte stream into its lines; a line that lies within one piece of it is handed on without a copy.
///
/// White space around a line is the caller's to trim. The last line may lack its end, so that it is handed on
/// only by [`LineSplitter::finish`].
#[derive(Debug, Default)]
pub(crate) struct LineSplitter {
    /// The line that the last piece left open.
    open: Vec<u8>,
}

impl LineSplitter {
    /// Takes the next piece of the stream and hands on each line that it completes.
    ///
    /// # Errors
    /// A line is too long. The splitter is of no further use then.
    pub(crate) fn feed(&mut self, piece: &[u8], mut on_line: impl FnMut(&[u8])) -> Result<(), EventTooLong> {
        let mut rest = piece;
        while let Some(end) = memchr(b'\n', rest) {
            let line = &rest[..end];
            rest = &rest[end + 1..];
            if line.len() + self.open.len() > MAX_EVENT_BYTES {
                return Err(EventTooLong);
            }
            if self.open.is_empty() {
                on_line(line);
            } else {
                self.open.extend_from_slice(line);
                on_line(&self.open);
                self.open.clear();
            }
        }
        if rest.len() + self.open.len() > MAX_EVENT_BYTES {
            return Err(EventTooLong);
        }
        self.open.extend_from_slice(rest);
        Ok(())
    }

    /// What the end of the stream leaves open.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let mut splitter = LineSplitter::default();
        let mut lines = Vec::new();
        for piece in pieces {
            splitter
                .feed(piece, |line| {
                    lines.push(String::from_utf8_lossy(line).into_owned());
                })
                .unwrap();
        }
        lines.push(String::from_utf8(splitter.finish()).unwrap());
        lines
    }

    #[test]
    fn line_ends() {
        let check = |stream: &str, expected: &[&str]| assert_eq!(lines([stream.as_bytes()]), expected);
        check("a\nb\n", &["a", "b", ""]);
        check("a\r\n\nb", &["a\r", "", "b"]);
        check("", &[""]);
    }

    #[test]
    fn too_long() {
        let mut splitter = LineSplitter::default();
        assert_eq!(splitter.feed(b"xx", |_| {}), Ok(()));
        assert_eq!(
            splitter.feed(&vec![b'x'; MAX_EVENT_BYTES], |_| {}),
            Err(EventTooLong)
        );
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_lines(
            stream in "(a|bc|\r|\n){0,40}",
            cuts in proptest::collection::vec(0usize..80, 0..12),
        ) {
            let bytes = stream.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(lines(pieces), lines([bytes]));
        }
    }
}
