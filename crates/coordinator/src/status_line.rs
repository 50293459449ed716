//! A line at the bottom of the terminal that is written over: where everything stands now.

use std::io::{IsTerminal, Write};

/// Back to the line's begin, without wrapping at the terminal's edge: what does not fit is cut off there.
const BEGIN: &str = "\r\u{1b}[?7l";
/// The rest of the line is cleared, and lines wrap again.
const END: &str = "\u{1b}[K\u{1b}[?7h";

/// The line, and what else is printed above it. Each change is one write, so that nothing flickers.
pub(crate) struct StatusLine {
    live: bool,
    shown: String,
}

impl StatusLine {
    /// A line that is written over if `wanted` and standard error is a terminal that can do so.
    pub(crate) fn new(wanted: bool) -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            live: wanted && !is_dumb && std::io::stderr().is_terminal(),
            shown: String::new(),
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// Prints a line that stays.
    pub(crate) fn print(&mut self, text: &str) {
        write(&above(text, &self.shown));
    }

    /// Says where everything stands now; nothing clears the line.
    pub(crate) fn set(&mut self, status: &str) {
        if self.live && status != self.shown {
            write(&over(status));
            status.clone_into(&mut self.shown);
        }
    }
}

/// A line that stays, above the one that does not.
fn above(text: &str, shown: &str) -> String {
    if shown.is_empty() {
        format!("{text}\n")
    } else {
        format!("\r\u{1b}[K{text}\n{}", over(shown))
    }
}

fn over(status: &str) -> String {
    format!("{BEGIN}{status}{END}")
}

/// A closed standard error is no reason to stop measuring.
fn write(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_printed_above_the_status() {
        assert_eq!(above("a level", ""), "a level\n");
        assert_eq!(
            above("a level", "near the peak"),
            "\r\u{1b}[Ka level\n\r\u{1b}[?7lnear the peak\u{1b}[K\u{1b}[?7h"
        );
    }

    #[test]
    fn without_a_terminal_there_is_no_status() {
        let mut line = StatusLine::new(false);
        line.set("near the peak");
        assert!(!line.is_live() && line.shown.is_empty());
    }
}
