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

/// Reads the response byte by byte, whole, and in the pieces that `cuts` make of it, each within its length and none
/// before the one that it follows.
pub fn check_response_cuts(response: &[u8], cuts: &[usize]) -> Result<ResponseReading, ResponseMismatch> {
    let expected = ResponseReading::of(response.chunks(1));
    for cuts in [&[], cuts] {
        let mut from = 0;
        let pieces = cuts
            .iter()
            .copied()
            .chain([response.len()])
            .map(|end| &response[std::mem::replace(&mut from, end)..end]);
        let seen = ResponseReading::of(pieces);
        if seen != expected {
            return Err(ResponseMismatch {
                cuts: cuts.to_vec(),
                seen: Box::new(seen),
                expected: Box::new(expected),
            });
        }
    }
    Ok(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_read_with_its_ending() {
        let check = |response: &str, body: &str, ending: &str, keeps_alive: Option<bool>| {
            let seen = check_response_cuts(response.as_bytes(), &[3, 3, 15]).unwrap();
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
