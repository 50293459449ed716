//! Lines of styled text, which a terminal may show in colour.

use std::fmt::Write;

/// How a piece of a line stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    /// Less important than the rest.
    Dim,
    /// Within its objective.
    Good,
    /// Near its limit.
    Near,
    /// Beyond it, or failed.
    Bad,
}

impl Style {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Dim => Some("2"),
            Self::Good => Some("32"),
            Self::Near => Some("33"),
            Self::Bad => Some("31"),
        }
    }
}

/// A line that does not wrap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line(Vec<(String, Style)>);

impl Line {
    pub(crate) fn of(text: impl Into<String>, style: Style) -> Self {
        Self(vec![(text.into(), style)])
    }

    pub(crate) fn push(&mut self, text: impl Into<String>, style: Style) {
        self.0.push((text.into(), style));
    }

    /// Columns that it takes.
    pub(crate) fn width(&self) -> usize {
        self.0.iter().map(|(text, _)| text.chars().count()).sum()
    }

    /// Without what lies beyond so many columns.
    pub(crate) fn cut(self, columns: usize) -> Self {
        let mut left = columns;
        let mut pieces = Vec::new();
        for (text, style) in self.0 {
            let text: String = text.chars().take(left).collect();
            left -= text.chars().count();
            pieces.push((text, style));
        }
        Self(pieces)
    }

    /// The text, in colour if the reader wants that.
    pub(crate) fn render(&self, colour: bool) -> String {
        let mut line = String::new();
        for (text, style) in &self.0 {
            match style.code().filter(|_| colour) {
                // Writing to a string cannot fail.
                Some(code) => drop(write!(line, "\u{1b}[{code}m{text}\u{1b}[0m")),
                None => line.push_str(text),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}
