//! Answers of the reference server, as vLLM writes them.

use std::io::Write;

/// The name of the one model.
pub const MODEL: &str = "reference";

/// The head of a stream, which goes out before there is a token.
pub const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nserver: reference\r\n\
    content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";

const PREFIX: &str = "{\"id\":\"chatcmpl-9bf38676dd0e84a3\",\"object\":\"chat.completion.chunk\",\"created\":1795295535,\
    \"model\":\"reference\",\"choices\":";

/// The parts of streams that are the same for every request.
#[derive(Clone, Debug)]
pub struct Pieces {
    /// The chunk with the role.
    role: Vec<u8>,
    /// A chunk with a token.
    token: Vec<u8>,
    /// The chunk with the reason of the end.
    finish: Vec<u8>,
    tokens: u32,
}

impl Pieces {
    /// Those of streams of so many tokens, at least one.
    pub fn new(tokens: u32) -> Self {
        let delta = |delta: &str, reason: &str| {
            let choice = format!(
                "[{{\"index\":0,\"delta\":{{{delta}}},\"logprobs\":null,\"finish_reason\":{reason},\"token_ids\":null}}]"
            );
            chunk(&format!("{PREFIX}{choice}}}"))
        };
        Self {
            role: delta("\"role\":\"assistant\",\"content\":\"\"", "null"),
            token: delta("\"content\":\" token\"", "null"),
            finish: delta("", "\"length\""),
            tokens: tokens.max(1),
        }
    }

    /// How many tokens a stream has.
    pub fn tokens(&self) -> u32 {
        self.tokens
    }

    /// What is written before the usage when all tokens come at once.
    pub fn whole(&self) -> Vec<u8> {
        let tokens = self.token.repeat(self.tokens as usize);
        [&self.role[..], &tokens, &self.finish].concat()
    }

    /// What is written with the first one of several tokens: the role, which vLLM sends with it in one segment.
    pub fn first(&self) -> Vec<u8> {
        [&self.role[..], &self.token].concat()
    }

    /// What is written with a token that is neither the first nor the last one.
    pub fn further(&self) -> &[u8] {
        &self.token
    }

    /// What is written before the usage with the last one of several tokens.
    pub fn last(&self) -> Vec<u8> {
        [&self.token[..], &self.finish].concat()
    }

    /// The end of a stream, with the request's serial number as the number of the prompt's tokens, into an emptied
    /// buffer.
    pub fn end(&self, serial: u64, buffer: &mut Vec<u8>) {
        let tokens = self.tokens;
        let total = serial + u64::from(tokens);
        buffer.clear();
        // The lengths of the chunk's parts that vary, so that the chunk's own length can stand before it.
        let digits = decimal_digits(serial) + decimal_digits(u64::from(tokens)) + decimal_digits(total);
        let length =
            "data: ".len() + PREFIX.len() + USAGE.iter().map(|part| part.len()).sum::<usize>() + digits + 2;
        let [prompt, sum, completion, close] = USAGE;
        // Writing to a vector cannot fail.
        let _ = write!(
            buffer,
            "{length:x}\r\ndata: {PREFIX}{prompt}{serial}{sum}{total}{completion}{tokens}{close}\n\n\r\n"
        );
        buffer.extend_from_slice(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
    }
}

const USAGE: [&str; 4] = [
    "[],\"usage\":{\"prompt_tokens\":",
    ",\"total_tokens\":",
    ",\"completion_tokens\":",
    "}}",
];

fn decimal_digits(number: u64) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// An event as an HTTP chunk of its own.
fn chunk(json: &str) -> Vec<u8> {
    let event = format!("data: {json}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
}

/// A whole answer with a status, such as `200 OK`.
pub fn plain(status: &str, content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// The list of models.
pub fn models() -> Vec<u8> {
    let body = format!("{{\"object\":\"list\",\"data\":[{{\"id\":\"{MODEL}\",\"object\":\"model\"}}]}}");
    plain("200 OK", "application/json", &body)
}

/// The metrics that say whether the server is idle, under vLLM's names.
pub fn metrics(running: u64) -> Vec<u8> {
    let body = format!("vllm:num_requests_running {running}\nvllm:num_requests_waiting 0\n");
    plain("200 OK", "text/plain; version=0.0.4", &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of a chunked body, each of which must be one chunk.
    fn events(mut body: &[u8]) -> Vec<String> {
        let mut events = Vec::new();
        loop {
            let line = memchr::memmem::find(body, b"\r\n").expect("the length of a chunk");
            let length = usize::from_str_radix(std::str::from_utf8(&body[..line]).expect("text"), 16);
            let length = length.expect("a length");
            let chunk = &body[line + 2..line + 2 + length];
            body = &body[line + 2 + length..];
            body = body.strip_prefix(b"\r\n").expect("the end of a chunk");
            if length == 0 {
                assert!(body.is_empty());
                return events;
            }
            let chunk = std::str::from_utf8(chunk).expect("text");
            let event = chunk
                .strip_prefix("data: ")
                .and_then(|event| event.strip_suffix("\n\n"));
            events.push(event.expect("an event").to_owned());
        }
    }

    fn end(pieces: &Pieces, serial: u64) -> Vec<u8> {
        let mut buffer = b"old".to_vec();
        pieces.end(serial, &mut buffer);
        buffer
    }

    #[test]
    fn a_stream_is_the_same_in_one_write_and_in_many() {
        let check = |tokens: u32, serial| {
            let pieces = Pieces::new(tokens);
            let at_once = [pieces.whole(), end(&pieces, serial)].concat();
            let between = pieces.further().repeat(tokens as usize - 2);
            let apart = [pieces.first(), between, pieces.last(), end(&pieces, serial)].concat();
            assert_eq!(at_once, apart);
            let events = events(&at_once);
            assert_eq!(events.len(), tokens as usize + 4);
            assert!(events[0].contains("\"content\":\"\""));
            assert!(events[1].contains("\"content\":\" token\""));
            assert!(events[tokens as usize + 1].contains("\"finish_reason\":\"length\""));
            let usage = format!("\"prompt_tokens\":{serial},");
            assert!(events[tokens as usize + 2].contains(&usage));
            assert_eq!(events[tokens as usize + 3], "[DONE]");
        };
        check(2, 0);
        check(128, 9);
        check(128, 10);
        check(128, 1_234_567);
    }

    #[test]
    fn a_token_takes_as_many_bytes_as_one_of_vllm() {
        let length = Pieces::new(1).further().len();
        assert!((200..=260).contains(&length), "{length}");
    }
}
