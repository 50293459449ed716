//! The lines at the bottom of a terminal that are written over: where everything stands now.

use std::io::{IsTerminal, Write};

use crate::view::{lines::Line, table::Size};

/// Lines do not wrap at the terminal's edge while they are drawn.
const NO_WRAP: &str = "\u{1b}[?7l";
const WRAP: &str = "\u{1b}[?7h";
const CLEAR_LINE: &str = "\u{1b}[K";
const CLEAR_BELOW: &str = "\u{1b}[J";

/// The lines, and what else is printed above them. Each change is one write, so that nothing flickers.
pub(crate) struct LiveLines {
    live: bool,
    colour: bool,
    /// What stands there, and how wide each line is.
    shown: Vec<String>,
    widths: Vec<usize>,
}

impl LiveLines {
    /// Lines that are written over if `wanted` and standard error is a terminal that can do so.
    pub(crate) fn new(wanted: bool) -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            live: wanted && !is_dumb && std::io::stderr().is_terminal(),
            colour: wants_colour(),
            shown: Vec::new(),
            widths: Vec::new(),
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// What the terminal holds.
    pub(crate) fn size() -> Size {
        size_of(&std::io::stderr())
    }

    /// Prints a line that stays.
    pub(crate) fn print(&mut self, text: &str) {
        let columns = Self::size().columns;
        let text = if self.shown.is_empty() {
            format!("{text}\n")
        } else {
            let stays = text.replace('\n', &format!("{CLEAR_LINE}\n"));
            let up = up(&self.widths, columns);
            format!("{up}{stays}{CLEAR_LINE}\n{}", block(&self.shown))
        };
        write(&text);
    }

    /// Says where everything stands now; nothing clears the lines.
    pub(crate) fn set(&mut self, lines: &[Line]) {
        if !self.live {
            return;
        }
        let new: Vec<String> = lines.iter().map(|line| line.render(self.colour)).collect();
        if new == self.shown {
            return;
        }
        let up = up(&self.widths, Self::size().columns);
        write(&format!("{up}{}", block(&new)));
        self.widths = lines.iter().map(Line::width).collect();
        self.shown = new;
    }
}

/// The size of the terminal behind a stream; that of an ordinary one if it does not say.
pub(crate) fn size_of(stream: &impl std::os::fd::AsFd) -> Size {
    let size = rustix::termios::tcgetwinsize(stream).ok();
    let size = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
    size.map_or(
        Size {
            columns: 80,
            rows: 24,
        },
        |size| Size {
            columns: size.ws_col.into(),
            rows: size.ws_row.into(),
        },
    )
}

/// Whether colours are welcome, as <https://no-color.org> asks.
pub(crate) fn wants_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Back to the begin of the first line. A terminal that has become narrower since may have broken the lines.
fn up(widths: &[usize], columns: usize) -> String {
    let rows: usize = widths
        .iter()
        .map(|width| width.div_ceil(columns.max(1)).max(1))
        .sum();
    match rows {
        0 => String::new(),
        1 => "\r".to_owned(),
        rows => format!("\r\u{1b}[{}A", rows - 1),
    }
}

fn block(lines: &[String]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| format!("{line}{CLEAR_LINE}")).collect();
    format!("{NO_WRAP}{}{CLEAR_BELOW}{WRAP}", lines.join("\n"))
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
    fn the_cursor_goes_back_to_the_first_line() {
        let check = |widths: &[usize], columns, expected: &str| assert_eq!(up(widths, columns), expected);
        check(&[], 80, "");
        check(&[40], 80, "\r");
        check(&[80, 12, 80], 80, "\r\u{1b}[2A");
        check(&[80, 12, 80], 40, "\r\u{1b}[4A");
        check(&[0, 0], 0, "\r\u{1b}[1A");
    }

    #[test]
    fn lines_are_drawn_without_wrapping() {
        let lines = ["one".to_owned(), "two".to_owned()];
        assert_eq!(
            block(&lines),
            "\u{1b}[?7lone\u{1b}[K\ntwo\u{1b}[K\u{1b}[J\u{1b}[?7h"
        );
    }

    #[test]
    fn without_a_terminal_there_are_no_lines() {
        let mut lines = LiveLines::new(false);
        lines.set(&[Line::of("near the peak", crate::view::lines::Style::Plain)]);
        assert!(!lines.is_live() && lines.shown.is_empty());
    }
}
