//! Ends of text files.

/// The last bytes of a text, at most so many, from the beginning of a line on where there is one.
///
/// `bytes` is the text's end, and must hold one byte more than `most` where the text is longer: it tells whether a line
/// begins exactly there.
pub(super) fn tail_of(bytes: &[u8], most: u64) -> String {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let Some(cut) = bytes.len().checked_sub(most).filter(|cut| *cut > 0) else {
        return String::from_utf8_lossy(bytes).into_owned();
    };
    let newline = bytes[cut - 1..].iter().position(|byte| *byte == b'\n');
    let begin = newline
        .map(|at| cut + at)
        .filter(|begin| *begin < bytes.len())
        .unwrap_or(cut);
    String::from_utf8_lossy(&bytes[begin..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tails_begin_with_a_line() {
        let check =
            |text: &str, most: u64, expected: &str| assert_eq!(tail_of(text.as_bytes(), most), expected);
        check("", 10, "");
        check("one\ntwo\n", 8, "one\ntwo\n");
        check("one\ntwo\n", 7, "two\n");
        check("one\ntwo\n", 4, "two\n");
        check("one\ntwo\n", 3, "wo\n");
        check("one\ntwo", 4, "two");
        check("a long line", 4, "line");
        check("x\n", 0, "");
    }

    proptest! {
        #[test]
        fn no_tail_is_too_long(text in "[a\n]{0,40}", most in 0u64..50) {
            let tail = tail_of(text.as_bytes(), most);
            prop_assert!(tail.len() as u64 <= most);
            prop_assert!(text.ends_with(&tail));
        }
    }
}
