use super::*;
use proptest::prelude::*;

/// What a reader says of these pieces, and then of the connection's end.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut reader = ResponseReader::new();
    let mut said = String::new();
    let mut body = Vec::new();
    for mut piece in pieces {
        loop {
            match reader.next(&mut piece) {
                Ok(Some(Part::Head(status, content_type))) => {
                    let content_type = content_type.map(|text| String::from_utf8_lossy(&text).into_owned());
                    said = format!("{status} {}", content_type.unwrap_or("-".to_owned()));
                }
                Ok(Some(Part::Piece(bytes))) => {
                    assert!(!bytes.is_empty());
                    body.extend_from_slice(bytes);
                }
                Ok(Some(Part::End)) => {
                    let kept = if reader.keeps_alive() { "kept" } else { "not kept" };
                    return format!("{said} {:?} {kept}", String::from_utf8_lossy(&body));
                }
                Ok(None) => {
                    assert!(piece.is_empty(), "what is not needed is not left");
                    break;
                }
                Err(error) => return format!("{said} {:?} {error}", String::from_utf8_lossy(&body)),
            }
        }
    }
    format!(
        "{said} {:?} {:?}",
        String::from_utf8_lossy(&body),
        reader.at_close()
    )
}

/// Whole, at each cut into two, and byte by byte.
fn check(answer: &str, expected: &str) {
    let bytes = answer.as_bytes();
    assert_eq!(read([bytes]), expected, "whole");
    for at in 0..=bytes.len() {
        let (left, right) = bytes.split_at(at);
        assert_eq!(read([left, right]), expected, "cut at {at}");
    }
    assert_eq!(read(bytes.chunks(1)), expected, "byte by byte");
}

#[test]
fn bodies_of_every_framing() {
    let chunks = "5\r\nhello\r\n1;x=\"y\"\r\n \r\n00A\r\n0123456789\r\n0\r\n\r\n";
    check(
        &format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n{chunks}"),
        "200 - \"hello 0123456789\" kept",
    );
    check(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n1\r\na\r\n0\r\nx: y\r\nz: w\r\n\r\n",
        "200 - \"a\" not kept",
    );
    check(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nabc",
        "200 text/plain \"abc\" kept",
    );
    check("HTTP/1.1 204 No\r\n\r\n", "204 - \"\" kept");
    check("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", "500 - \"\" kept");
    check("HTTP/1.1 200 OK\r\n\r\nabc", "200 - \"abc\" Complete");
    check(
        "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\na",
        "200 - \"a\" not kept",
    );
    check(
        "HTTP/1.0 200 OK\r\nconnection: x, Keep-Alive\r\ncontent-length: 1\r\n\r\na",
        "200 - \"a\" kept",
    );
    check(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\na: b\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na",
        "200 - \"a\" kept",
    );
}

#[test]
fn what_the_end_of_the_connection_cuts() {
    check("", " \"\" InHead");
    check("HTTP/1.1 200", " \"\" InHead");
    check(
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab",
        "200 - \"ab\" Cut(\"the connection was closed before the whole length had come\")",
    );
    check(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n",
        "200 - \"ab\" Cut(\"the connection was closed before the last chunk\")",
    );
}

#[test]
fn what_is_malformed() {
    check("SSH-2.0-x\r\n", " \"\" invalid HTTP version");
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    check(
        &format!("{head}g\r\n"),
        "200 - \"\" the size of a chunk is no number",
    );
    check(
        &format!("{head}\r\n"),
        "200 - \"\" the size of a chunk is no number",
    );
    check(
        &format!("{head}11112222333344445\r\n"),
        "200 - \"\" the size of a chunk is no number",
    );
    check(
        &format!("{head}1\r\nab"),
        "200 - \"a\" a chunk does not end where its size says",
    );
    check(
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        " \"\" the answer's `content-length` is no number",
    );
    check(
        "HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\n",
        " \"\" the answer's `content-length` is no number",
    );
    check(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        " \"\" the answer has a transfer coding other than `chunked`",
    );
    let endless = format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(MAX_HEAD_BYTES));
    assert_eq!(
        read([endless.as_bytes()]),
        " \"\" the head of the answer is longer than 65536 bytes"
    );
    let whole = endless.clone() + "\r\n\r\n";
    for cut in [
        1,
        MAX_HEAD_BYTES - 1,
        MAX_HEAD_BYTES,
        whole.len() - 1,
        whole.len(),
    ] {
        let (first, second) = whole.as_bytes().split_at(cut);
        assert_eq!(
            read([first, second]),
            " \"\" the head of the answer is longer than 65536 bytes",
            "cut after {cut} bytes"
        );
    }
    let extension = format!("{head}1;{}", "x".repeat(MAX_LINE_BYTES as usize + 1));
    assert_eq!(
        read([extension.as_bytes()]),
        "200 - \"\" the size of a chunk is no number"
    );
}

proptest! {
    #[test]
    fn cuts_change_nothing(
        body in proptest::collection::vec(any::<u8>(), 0..200),
        sizes in proptest::collection::vec(1_usize..40, 1..10),
        cuts in proptest::collection::vec(1_usize..40, 1..10),
    ) {
        let mut answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        let mut rest = body.as_slice();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, left) = rest.split_at((*size).min(rest.len()));
            answer.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            answer.extend_from_slice(chunk);
            answer.extend_from_slice(b"\r\n");
            rest = left;
        }
        answer.extend_from_slice(b"0\r\n\r\n");
        let mut pieces = Vec::new();
        let mut rest = answer.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, left) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = left;
        }
        let whole = format!("200 - {:?} kept", String::from_utf8_lossy(&body));
        prop_assert_eq!(read(pieces), whole);
    }

    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        answer.extend_from_slice(&bytes);
        prop_assert_eq!(read([answer.as_slice()]), read(answer.chunks(1)));
    }
}
