//! CSV by RFC 4180, but for its line ends: a line feed alone.

use std::io::Write;

use super::{
    ExportError,
    rows::Sink,
    value::{Kind, Value},
};

pub(super) struct CsvSink<'a> {
    to: &'a mut (dyn Write + Send),
    line: String,
}

impl<'a> CsvSink<'a> {
    pub(super) fn new(to: &'a mut (dyn Write + Send)) -> Self {
        Self {
            to,
            line: String::new(),
        }
    }

    pub(super) fn finish(self) -> Result<(), ExportError> {
        Ok(self.to.flush()?)
    }

    fn write_line<'b>(&mut self, cells: impl Iterator<Item = Value<'b>>) -> Result<(), ExportError> {
        self.line.clear();
        for (index, cell) in cells.enumerate() {
            if index > 0 {
                self.line.push(',');
            }
            push(&mut self.line, &cell);
        }
        self.line.push('\n');
        Ok(self.to.write_all(self.line.as_bytes())?)
    }
}

impl Sink for CsvSink<'_> {
    fn begin(&mut self, columns: &[(&'static str, Kind)]) -> Result<(), ExportError> {
        self.write_line(columns.iter().map(|(name, _)| Value::text(*name)))
    }

    fn row(&mut self, cells: &[Value<'_>]) -> Result<(), ExportError> {
        self.write_line(cells.iter().cloned())
    }
}

fn push(line: &mut String, cell: &Value<'_>) {
    match cell {
        Value::Null => {}
        Value::Integer(value) => line.push_str(&value.to_string()),
        Value::Number(value) => line.push_str(&value.to_string()),
        // An empty text in quotes is told from an absent one.
        Value::Text(text) if text.is_empty() => line.push_str("\"\""),
        Value::Text(text) if text.contains([',', '"', '\n', '\r']) => {
            line.push('"');
            line.push_str(&text.replace('"', "\"\""));
            line.push('"');
        }
        Value::Text(text) => line.push_str(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_only_where_it_is_needed() {
        let check = |cell: Value<'_>, expected: &str| {
            let mut line = String::new();
            push(&mut line, &cell);
            assert_eq!(line, expected);
        };
        check(Value::Null, "");
        check(Value::text(""), "\"\"");
        check(Value::text("plain text"), "plain text");
        check(Value::text("a,b"), "\"a,b\"");
        check(Value::text("say \"so\""), "\"say \"\"so\"\"\"");
        check(Value::text("two\nlines"), "\"two\nlines\"");
        check(Value::Integer(-7), "-7");
        check(Value::millis(100_500_001), "100.500001");
        check(Value::Number(30.0), "30");
        check(Value::Number(f64::INFINITY), "inf");
    }
}
