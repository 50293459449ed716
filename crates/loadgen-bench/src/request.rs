//! HTTP requests as the reference server reads them.

use memchr::memmem;

/// No request that is served is longer.
pub const LONGEST: usize = 8 << 20;

/// What stands at the begin of the bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// Not the whole request yet.
    Incomplete,
    /// A whole request.
    Complete {
        /// The method and the path.
        line: Line<'a>,
        /// How many bytes it takes, with its body.
        length: usize,
    },
    /// Nothing that the server understands: no request line, a length that is none, or a body in chunks.
    Malformed,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Such as `POST`.
    pub method: &'a [u8],
    /// Such as `/v1/models`.
    pub path: &'a [u8],
}

/// Reads the first request of the bytes.
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > LONGEST {
            Parsed::Malformed
        } else {
            Parsed::Incomplete
        };
    };
    let mut lines = bytes[..end].split(|byte| *byte == b'\n');
    let mut words = lines.next().unwrap_or_default().split(|byte| *byte == b' ');
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Parsed::Malformed;
    };
    let Some(body) = body_length(lines) else {
        return Parsed::Malformed;
    };
    let length = end + 4 + body;
    if length > LONGEST {
        Parsed::Malformed
    } else if bytes.len() < length {
        Parsed::Incomplete
    } else {
        let line = Line { method, path };
        Parsed::Complete { line, length }
    }
}

fn body_length<'a>(headers: impl Iterator<Item = &'a [u8]>) -> Option<usize> {
    let mut length = 0;
    for header in headers {
        let colon = memchr::memchr(b':', header)?;
        let (name, value) = (&header[..colon], header[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            length = std::str::from_utf8(value).ok()?.parse().ok()?;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            return None;
        }
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POST: &[u8] = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nContent-Length:  4\r\n\r\nabcd";

    #[test]
    fn requests_are_read_once_they_are_whole() {
        for cut in 0..POST.len() {
            assert_eq!(parse(&POST[..cut]), Parsed::Incomplete, "{cut}");
        }
        let check = |bytes: &[u8], method: &[u8], path: &[u8], length| {
            let line = Line { method, path };
            assert_eq!(parse(bytes), Parsed::Complete { line, length });
        };
        check(POST, b"POST", b"/v1/chat/completions", POST.len());
        check(b"GET /health HTTP/1.1\r\n\r\nGET ", b"GET", b"/health", 24);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let check = |text: &str| assert_eq!(parse(text.as_bytes()), Parsed::Malformed, "{text}");
        check("nonsense\r\n\r\n");
        check("GET / HTTP/1.1\r\nno header\r\n\r\n");
        check("GET / HTTP/1.1\r\ncontent-length: x\r\n\r\n");
        check("GET / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n");
        check("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n");
    }
}
