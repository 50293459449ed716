//! A way through an HTTP proxy.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A longer answer is none of a proxy.
const MAX_HEAD: usize = 16 << 10;

/// Asks the proxy for a tunnel to `authority` (host and port) and reads its answer.
///
/// Nothing follows the answer's head until we send, so it is read byte by byte and no byte of the tunnel is lost.
pub(crate) async fn open<S>(stream: &mut S, authority: &str) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD {
            return Err(refused("its answer has no end"));
        }
        head.push(stream.read_u8().await.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => refused("it closed the connection"),
            _ => error,
        })?);
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    match line.split(' ').nth(1) {
        Some(status) if status.len() == 3 && status.starts_with('2') => Ok(()),
        _ => Err(refused(&format!("it answered `{line}`"))),
    }
}

fn refused(why: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionRefused,
        format!("the proxy gave no tunnel: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &str, expected: Result<&str, &str>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let found = runtime.block_on(async {
            let (mut near, mut far) = tokio::io::duplex(1 << 16);
            far.write_all(answer.as_bytes()).await.unwrap();
            far.shutdown().await.unwrap();
            open(&mut near, "h:443").await?;
            let mut rest = String::new();
            near.read_to_string(&mut rest).await?;
            io::Result::Ok(rest)
        });
        let found = found.map_err(|error| error.to_string());
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{answer}");
    }

    #[test]
    fn answers_of_proxies() {
        check("HTTP/1.1 200 Connection established\r\n\r\n", Ok(""));
        check("HTTP/1.0 200 OK\r\nVia: p\r\n\r\nnext", Ok("next"));
        check(
            "HTTP/1.1 403 Forbidden\r\n\r\nno",
            Err("the proxy gave no tunnel: it answered `HTTP/1.1 403 Forbidden`"),
        );
        check(
            "SSH-2.0-x\r\n\r\n",
            Err("the proxy gave no tunnel: it answered `SSH-2.0-x`"),
        );
        check("", Err("the proxy gave no tunnel: it closed the connection"));
        check(
            &"x".repeat(MAX_HEAD + 1),
            Err("the proxy gave no tunnel: its answer has no end"),
        );
    }
}
