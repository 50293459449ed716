//! Reading a chunk: our scan against a full parse of the same stream in the same run.
//!
//! `cargo bench -p gipfel-stream-client --bench sse_scan`

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measures")]

use std::hint::black_box;

use gipfel_stream_client::{EventSplitter, Scanner, skim};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

const STREAMS: [(&str, &str); 3] = [
    ("vllm", include_str!("../tests/fixtures/vllm.sse")),
    ("llamacpp", include_str!("../tests/fixtures/llamacpp.sse")),
    ("dynamo", include_str!("../tests/fixtures/dynamo.sse")),
];
const TOKENS: usize = 256;
const ROUNDS: usize = 15;
/// Processor seconds.
const ROUND: f64 = 0.03;

fn main() {
    println!("processor time; MB/s and ns/chunk\n");
    println!(
        "{:<10}{:>8}{:>16}{:>16}{:>16}{:>24}",
        "stream", "B/chunk", "scan", "skim alone", "parse", "parse / scan (skim)"
    );
    for (name, fixture) in STREAMS {
        let pieces = stream(fixture);
        let bytes: usize = pieces.iter().map(Vec::len).sum();
        assert_eq!(
            (scan(&pieces), skim_each(&pieces)),
            (parse(&pieces), parse(&pieces))
        );
        // They take turns, so that what disturbs the machine disturbs all.
        let (mut scans, mut skims, mut parses) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            scans.push(time(|| scan(&pieces)));
            skims.push(time(|| skim_each(&pieces)));
            parses.push(time(|| parse(&pieces)));
        }
        let [scan, skim, parse] = [scans, skims, parses].map(median);
        let shown = |seconds: f64| {
            format!(
                "{:.0} {:.0}",
                bytes as f64 / seconds / 1e6,
                seconds * 1e9 / pieces.len() as f64
            )
        };
        println!(
            "{name:<10}{:>8}{:>16}{:>16}{:>16}{:>15.1} ({:.1})",
            bytes / pieces.len(),
            shown(scan),
            shown(skim),
            shown(parse),
            parse / scan,
            parse / skim
        );
    }
}

/// A whole answer as it comes from the socket: one event a piece, each with a text of its own.
fn stream(fixture: &str) -> Vec<Vec<u8>> {
    let events: Vec<&str> = fixture.split_inclusive("\n\n").collect();
    let (start, end) = (&events[..2], &events[2..]);
    let (before, rest) = start[1]
        .split_once("\"content\":\"")
        .expect("a chunk with content");
    let (_, after) = rest.split_once('"').expect("a whole chunk");
    let words = [
        " a",
        " stream",
        "of",
        " words",
        "\\n",
        " the",
        " several",
        " lengths",
        " \\\"quoted\\\"",
        ",",
    ];
    let middle = words
        .iter()
        .cycle()
        .take(TOKENS)
        .map(|word| format!("{before}\"content\":\"{word}\"{after}"));
    let whole = |events: &[&str]| events.iter().map(|event| (*event).to_owned()).collect::<Vec<_>>();
    whole(start)
        .into_iter()
        .chain(middle)
        .chain(whole(end))
        .map(String::into_bytes)
        .collect()
}

/// As the client does it.
fn scan(pieces: &[Vec<u8>]) -> usize {
    let mut scanner = Scanner::new();
    count(pieces, |event| {
        scanner.scan(event).is_ok_and(|facts| facts.has_token())
    })
}

/// Each chunk as if it were the only one.
fn skim_each(pieces: &[Vec<u8>]) -> usize {
    count(pieces, |event| skim(event).is_ok_and(|facts| facts.has_token()))
}

fn parse(pieces: &[Vec<u8>]) -> usize {
    count(pieces, |event| {
        let chunk: Option<Value> = serde_json::from_slice(event).ok();
        let content = chunk
            .as_ref()
            .and_then(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
        content.is_some_and(|content| !content.is_empty())
    })
}

fn count(pieces: &[Vec<u8>], mut has_token: impl FnMut(&[u8]) -> bool) -> usize {
    let (mut splitter, mut tokens) = (EventSplitter::new(), 0);
    for piece in pieces {
        let fed = splitter.feed(piece, |event| {
            tokens += usize::from(event != b"[DONE]" && has_token(event));
        });
        fed.expect("the events are short");
    }
    tokens
}

/// Processor seconds per call.
fn time(work: impl Fn() -> usize) -> f64 {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let (start, mut calls) = (now(), 0_u32);
    while now() - start < ROUND {
        black_box(work());
        calls += 1;
    }
    (now() - start) / f64::from(calls)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
