//! Tables and paragraphs as lines of text.

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle};

const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// A table; the columns of `text` are aligned left and give way when the width is short, the others are numbers.
pub(crate) fn render(
    header: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
    text: &[usize],
    width: u16,
) -> String {
    let mut table = Table::new();
    table
        .load_style(STYLE)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_header(header.iter().map(Cell::new));
    for row in rows {
        table.add_row(row.into_iter().map(Cell::new).collect::<Vec<Cell>>());
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        if !text.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table.trim_fmt() + "\n"
}

/// Adds colours to the verdicts of a table's lines; after the layout, which so needs not to know of them.
pub(crate) fn colored(text: String, color: bool) -> String {
    const COLORS: [(&str, &str); 5] = [
        (" accept", "\u{1b}[32m"),
        (" reject", "\u{1b}[31m"),
        (" unresolved", "\u{1b}[33m"),
        (" invalid", "\u{1b}[33m"),
        (" broken off", "\u{1b}[33m"),
    ];
    if !color {
        return text;
    }
    let mut lines = String::new();
    for line in text.lines() {
        let found = COLORS
            .iter()
            .find_map(|(word, code)| Some((line.find(word)?, *word, *code)));
        match found {
            Some((at, word, code)) => {
                let (before, rest) = line.split_at(at);
                lines.extend([before, " ", code, &word[1..], "\u{1b}[0m", &rest[word.len()..]]);
            }
            None => lines.push_str(line),
        }
        lines.push('\n');
    }
    lines
}

/// Text in lines of at most `width`, the first one after `mark`, the others below its begin.
pub(crate) fn wrapped(text: &str, mark: &str, width: u16) -> String {
    let indent = " ".repeat(mark.len());
    let mut lines = vec![mark.to_owned()];
    let mut used = mark.len();
    for word in text.split_whitespace() {
        let length = word.chars().count();
        let Some(line) = lines.last_mut() else { continue };
        if used > indent.len() && used + 1 + length > usize::from(width) {
            lines.push(indent.clone() + word);
            used = indent.len() + length;
        } else {
            if used > indent.len() {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += length;
        }
    }
    lines.join("\n") + "\n"
}

pub(crate) fn per_second(rate: Option<f64>) -> String {
    rate.map_or_else(absent, |rate| format!("{rate:.2}"))
}

pub(crate) fn absent() -> String {
    "–".to_owned()
}
