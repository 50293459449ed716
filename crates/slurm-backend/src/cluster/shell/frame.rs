//! A frame around a line of shell, by which its output and its exit code are told from what a login shell prints, and a
//! whole answer from one that was cut off.

/// The line in its frame, in a shell of its own.
pub(super) fn framed(line: &str) -> String {
    format!("LC_ALL=C; export LC_ALL; echo {BEGIN}; ( {line} ); printf \"\\n{END} %d\\n\" $?")
}

/// The line as one argument of `sh -c` for any login shell.
pub(super) fn quoted(line: &str) -> String {
    format!("'{}'", line.replace('\'', "'\\''"))
}

const BEGIN: &str = "gipfel-begin";
const END: &str = "gipfel-end";

/// What came of a framed line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Framed {
    /// It has ended with this code and this output.
    Whole(i32, Vec<u8>),
    /// It was begun, and its end was not seen.
    Begun,
    /// Not even its beginning was seen.
    Nothing,
}

/// Reads the output of a framed line.
pub(super) fn read(output: &[u8]) -> Framed {
    let begin = format!("{BEGIN}\n");
    let Some(from) = find(output, begin.as_bytes()) else {
        return Framed::Nothing;
    };
    let rest = &output[from + begin.len()..];
    let end = format!("\n{END} ");
    let Some(to) = rfind(rest, end.as_bytes()) else {
        return Framed::Begun;
    };
    let code = std::str::from_utf8(&rest[to + end.len()..]).ok();
    let code = code.and_then(|text| text.strip_suffix('\n')?.parse().ok());
    code.map_or(Framed::Begun, |code| Framed::Whole(code, rest[..to].to_vec()))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn rfind(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).rposition(|window| window == what)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_are_read() {
        let check =
            |output: &str, expected: Framed| assert_eq!(read(output.as_bytes()), expected, "{output:?}");
        check("", Framed::Nothing);
        check("Welcome to the cluster\n", Framed::Nothing);
        check("gipfel-begin\n", Framed::Begun);
        check("gipfel-begin\nsome", Framed::Begun);
        check("gipfel-begin\nsome\n\ngipfel-end 0", Framed::Begun);
        check(
            "hello\ngipfel-begin\nsome\n\ngipfel-end 3\n",
            Framed::Whole(3, b"some\n".to_vec()),
        );
        check("gipfel-begin\n\ngipfel-end 0\n", Framed::Whole(0, Vec::new()));
    }

    #[test]
    fn shells_frame_lines() {
        let check = |line: &str, expected: Framed| {
            // A login shell takes the quoted line apart, and `sh` the frame.
            let command = format!("exec sh -c {}", quoted(&framed(line)));
            for shell in ["sh", "bash"] {
                let output = Command::new(shell)
                    .arg("-c")
                    .arg(&command)
                    .output()
                    .expect("a shell");
                assert_eq!(read(&output.stdout), expected, "{shell}: {line}");
            }
        };
        check("echo 'a  b'", Framed::Whole(0, b"a  b\n".to_vec()));
        check("printf x; exit 7", Framed::Whole(7, b"x".to_vec()));
        check("kill -9 $$", Framed::Begun);
        check("nosuchprogram 2>/dev/null", Framed::Whole(127, Vec::new()));
    }

    proptest! {
        /// Whatever a line prints comes back, also the frame itself.
        #[test]
        fn any_output_comes_back(text in "[a\n]{0,9}(gipfel-end 0\n|gipfel-begin\n|\n)?[a\n]{0,9}", code in 0i32..256) {
            let output = format!("gipfel-begin\n{text}\ngipfel-end {code}\n");
            prop_assert_eq!(read(output.as_bytes()), Framed::Whole(code, text.clone().into_bytes()));
        }
    }
}
