//! Parts of files as `head`, `tail` and `file` see them.

/// Lines or bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Amount {
    Lines(u64),
    Bytes(u64),
}

/// A part of a file, and where it lies.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) content: String,
    pub(crate) start: i64,
    pub(crate) end: i64,
}

fn lines(bytes: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    bytes.split_inclusive(|&byte| byte == b'\n')
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn count(amount: u64) -> usize {
    usize::try_from(amount).unwrap_or(usize::MAX)
}

/// The beginning of a file, or all but its end.
pub(crate) fn head(bytes: &[u8], amount: Amount, all_but: bool) -> Part {
    let (number, length) = match amount {
        Amount::Bytes(number) => (number, count(number).min(bytes.len())),
        Amount::Lines(number) => (number, lines(bytes).take(count(number)).map(<[u8]>::len).sum()),
    };
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    if !all_but {
        return Part {
            content: lossy(&bytes[..length]),
            start: 0,
            end: number,
        };
    }
    let dropped = match amount {
        Amount::Bytes(number) => count(number).min(bytes.len()),
        Amount::Lines(number) => lines(bytes).rev().take(count(number)).map(<[u8]>::len).sum(),
    };
    Part {
        content: lossy(&bytes[..bytes.len() - dropped]),
        start: 0,
        end: -number,
    }
}

/// The end of a file, or all from the `amount`th line or byte on.
pub(crate) fn tail(bytes: &[u8], amount: Amount, from: bool) -> Part {
    let number = match amount {
        Amount::Lines(number) | Amount::Bytes(number) => i64::try_from(number).unwrap_or(i64::MAX),
    };
    if from {
        let skipped = match amount {
            Amount::Bytes(number) => count(number.saturating_sub(1)).min(bytes.len()),
            Amount::Lines(number) => lines(bytes)
                .take(count(number.saturating_sub(1)))
                .map(<[u8]>::len)
                .sum(),
        };
        return Part {
            content: lossy(&bytes[skipped..]),
            start: number,
            end: -1,
        };
    }
    let length = match amount {
        Amount::Bytes(number) => count(number).min(bytes.len()),
        Amount::Lines(number) => lines(bytes).rev().take(count(number)).map(<[u8]>::len).sum(),
    };
    Part {
        content: lossy(&bytes[bytes.len() - length..]),
        start: -number,
        end: -1,
    }
}

/// What `file` calls a content, as far as its beginning tells.
pub(crate) fn kind(bytes: &[u8]) -> &'static str {
    let sample = &bytes[..bytes.len().min(65_536)];
    match sample {
        [] => "empty",
        [0x1f, 0x8b, ..] => "gzip compressed data",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "Zstandard compressed data",
        [0x7f, b'E', b'L', b'F', ..] => "ELF 64-bit LSB executable",
        _ if sample.starts_with(b"SQLite format 3\0") => "SQLite 3.x database",
        _ if sample.starts_with(b"#!/bin/bash") => "Bourne-Again shell script, ASCII text executable",
        _ if sample
            .iter()
            .all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7e)) =>
        {
            "ASCII text"
        }
        _ if !sample.contains(&0) && str::from_utf8(sample).is_ok() => "Unicode text, UTF-8 text",
        _ => "data",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(part: Part, content: &str, start: i64, end: i64) {
        assert_eq!(
            part,
            Part {
                content: content.to_owned(),
                start,
                end
            }
        );
    }

    #[test]
    fn parts_lie_where_the_commands_say() {
        let text = b"one\ntwo\nthree\n";
        check(head(text, Amount::Lines(2), false), "one\ntwo\n", 0, 2);
        check(head(text, Amount::Bytes(5), false), "one\nt", 0, 5);
        check(head(text, Amount::Lines(1), true), "one\ntwo\n", 0, -1);
        check(tail(text, Amount::Lines(2), false), "two\nthree\n", -2, -1);
        check(tail(text, Amount::Bytes(3), false), "ee\n", -3, -1);
        check(tail(text, Amount::Lines(3), true), "three\n", 3, -1);
        check(tail(text, Amount::Bytes(5), true), "two\nthree\n", 5, -1);
        check(tail(b"", Amount::Lines(3), true), "", 3, -1);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        check(head(b"a\xff", Amount::Bytes(9), false), "a\u{fffd}", 0, 9);
    }

    proptest! {
        #[test]
        fn no_part_is_out_of_bounds(text in "[a\n]{0,9}", number in 0u64..12, flag: bool) {
            for amount in [Amount::Lines(number), Amount::Bytes(number)] {
                prop_assert!(text.starts_with(&head(text.as_bytes(), amount, flag).content));
                prop_assert!(text.ends_with(&tail(text.as_bytes(), amount, flag).content));
            }
        }
    }
}
