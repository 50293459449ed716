//! A whole HTTP/1.1 response, head and body, in any pieces.

use crate::response::{AtClose, Part, ResponseReader};

/// What is seen of a response and of the end of its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseReading {
    /// The status and the `content-type`, if the head is whole.
    pub head: Option<(u16, Option<Vec<u8>>)>,
    /// The body as far as it came.
    pub body: Vec<u8>,
    /// How it ended, in words.
    pub ending: String,
    /// Whether it was complete before the connection ended, and whether another one may follow it then.
    pub keeps_alive: Option<bool>,
}

/// A response is not read the same in all pieces.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cut at {cuts:?} the response is {seen:?} in place of {expected:?}")]
pub struct ResponseMismatch {
    cuts: Vec<usize>,
    seen: Box<ResponseReading>,
    expected: Box<ResponseReading>,
}

impl ResponseReading {
    /// Reads a response that comes in these pieces, after which the connection is closed.
    pub fn of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut reader = ResponseReader::new();
        let mut seen = Self {
            head: None,
            body: Vec::new(),
            ending: String::new(),
            keeps_alive: None,
        };
        for mut piece in pieces {
            loop {
                match reader.next(&mut piece) {
                    Ok(Some(Part::Head(status, content_type))) => {
                        let content_type = content_type.map(std::borrow::Cow::into_owned);
                        assert_eq!(seen.head.replace((status, content_type)), None, "one head");
                    }
                    Ok(Some(Part::Piece(bytes))) => {
                        assert!(!bytes.is_empty(), "a piece of the body is not empty");
                        seen.body.extend_from_slice(bytes);
                    }
                    Ok(Some(Part::End)) => {
                        "complete".clone_into(&mut seen.ending);
                        seen.keeps_alive = Some(reader.keeps_alive());
                        return seen;
                    }
                    Ok(None) => {
                        assert!(piece.is_empty(), "what is not needed is not left");
                        break;
                    }
                    Err(error) => {
                        seen.ending = error.to_string();
                        return seen;
                    }
                }
            }
        }
        match reader.at_close() {
            AtClose::InHead => "closed in the head".clone_into(&mut seen.ending),
            AtClose::Complete => "closed".clone_into(&mut seen.ending),
            AtClose::Cut(how) => how.clone_into(&mut seen.ending),
        }
        seen
    }
}

/// A response that is read again and again.
#[derive(Debug)]
pub struct ResponseReplay<'a> {
    bytes: &'a [u8],
    reading: ResponseReading,
}

impl<'a> ResponseReplay<'a> {
    /// The response that is these bytes. It is read byte by byte, once.
    pub fn new(bytes: &'a [u8]) -> Self {
        let reading = ResponseReading::of(bytes.chunks(1));
        Self { bytes, reading }
    }

    /// What is seen of it byte by byte.
    pub fn reading(&self) -> &ResponseReading {
        &self.reading
    }

    /// Reads it in the pieces that `cuts` make of it, each within its length and none before the one that it follows.
    pub fn check_cuts(&self, cuts: &[usize]) -> Result<(), ResponseMismatch> {
        let mut from = 0;
        let ends = cuts.iter().copied().chain([self.bytes.len()]);
        let pieces = ends.map(|end| &self.bytes[std::mem::replace(&mut from, end)..end]);
        let seen = ResponseReading::of(pieces);
        if seen == self.reading {
            return Ok(());
        }
        Err(ResponseMismatch {
            cuts: cuts.to_vec(),
            seen: Box::new(seen),
            expected: Box::new(self.reading.clone()),
        })
    }

    /// Reads it whole and in two pieces, cut at each of its bytes; says how many ways these are.
    pub fn check_each_cut(&self) -> Result<usize, ResponseMismatch> {
        self.check_cuts(&[])?;
        for at in 0..=self.bytes.len() {
            self.check_cuts(&[at])?;
        }
        Ok(self.bytes.len() + 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_read_with_its_ending() {
        let check = |response: &str, body: &str, ending: &str, keeps_alive: Option<bool>| {
            let replay = ResponseReplay::new(response.as_bytes());
            assert_eq!(replay.check_each_cut(), Ok(response.len() + 2));
            assert_eq!(replay.check_cuts(&[3, 3, 15]), Ok(()));
            let seen = replay.reading();
            assert_eq!(String::from_utf8_lossy(&seen.body), body, "{response}");
            assert_eq!(
                (seen.ending.as_str(), seen.keeps_alive),
                (ending, keeps_alive),
                "{response}"
            );
        };
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        check(
            &format!("{chunked}2\r\nab\r\n0\r\n\r\n"),
            "ab",
            "complete",
            Some(true),
        );
        check(
            &format!("{chunked}2\r\nabc"),
            "ab",
            "a chunk does not end where its size says",
            None,
        );
        check("HTTP/1.1 200 OK\r\n\r\nab", "ab", "closed", None);
        check("HTTP/1.1 200 OK\r\nx", "", "closed in the head", None);
    }
}
