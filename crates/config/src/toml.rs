//! TOML text into the spanned tree.

use std::ops::Range;

use ::toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
};

use crate::{
    field::one_line,
    tree::{Entry, Node, Position, Scalar, SyntaxFault, Value},
};

/// Reads the document; all places where it is no TOML.
pub(crate) fn read(text: &str) -> Result<Node, Vec<SyntaxFault>> {
    let source = Source::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(Node {
            value: source.table(table.into_inner())?,
            at: Position::START,
        });
    }
    let faults = errors.iter().map(|error| SyntaxFault {
        at: source.position(&error.span().unwrap_or_default()),
        problem: format!("this is no TOML: {}", one_line(error.message())),
    });
    Err(faults.collect())
}

/// Where each byte of a text stands.
struct Source {
    positions: Vec<Position>,
}

impl Source {
    fn new(text: &str) -> Self {
        let mut positions = Vec::with_capacity(text.len() + 1);
        let mut at = Position::START;
        for c in text.chars() {
            positions.extend(std::iter::repeat_n(at, c.len_utf8()));
            if c == '\n' {
                at.line += 1;
                at.column = 1;
            } else {
                at.column += 1;
            }
        }
        positions.push(at);
        Self { positions }
    }

    fn position(&self, span: &Range<usize>) -> Position {
        let position = self.positions.get(span.start).or(self.positions.last());
        position.copied().unwrap_or(Position::START)
    }

    fn table(&self, table: DeTable<'_>) -> Result<Value, Vec<SyntaxFault>> {
        let mut entries: Vec<_> = table.into_iter().collect();
        // The parser sorts by name; the order of the file is what users know, and that of objectives matters.
        entries.sort_by_key(|(key, _)| key.span().start);
        let entries = entries.into_iter().map(|(key, value)| {
            let key_at = self.position(&key.span());
            if key.get_ref() == "<<" {
                let problem = "a merge key is YAML's; TOML has none".to_owned();
                return Err(vec![SyntaxFault { at: key_at, problem }]);
            }
            Ok(Entry {
                key: key.into_inner().into_owned(),
                key_at,
                node: self.node(value)?,
            })
        });
        Ok(Value::Map(entries.collect::<Result<_, _>>()?))
    }

    fn node(&self, value: Spanned<DeValue<'_>>) -> Result<Node, Vec<SyntaxFault>> {
        let at = self.position(&value.span());
        let value = match value.into_inner() {
            DeValue::String(text) => Value::Scalar(Scalar {
                text: text.into_owned(),
                plain: false,
                written: None,
            }),
            DeValue::Integer(number) => plain(decimal(&number)),
            DeValue::Float(number) => plain(number.as_str().to_owned()),
            DeValue::Boolean(flag) => plain(flag.to_string()),
            // A walltime such as 01:00:00 is a time of day to TOML.
            DeValue::Datetime(time) => plain(time.to_string()),
            DeValue::Array(items) => {
                let items = items.into_iter().map(|item| self.node(item));
                Value::List(items.collect::<Result<_, _>>()?)
            }
            DeValue::Table(table) => self.table(table)?,
        };
        Ok(Node { value, at })
    }
}

fn plain(text: String) -> Value {
    Value::Scalar(Scalar {
        text,
        plain: true,
        written: None,
    })
}

/// The digits that the readers know; a number too large for them stays as it was written, and is refused by them.
fn decimal(number: &DeInteger<'_>) -> String {
    if number.radix() == 10 {
        return number.as_str().to_owned();
    }
    u64::from_str_radix(number.as_str(), number.radix())
        .map_or_else(|_| number.to_string(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(node: &Node) -> String {
        let Position { line, column, .. } = node.at;
        match &node.value {
            Value::Scalar(scalar) if scalar.plain => format!("{}@{line}:{column}", scalar.text),
            Value::Scalar(scalar) => format!("{:?}@{line}:{column}", scalar.text),
            Value::Refused => unreachable!("a reader refuses nothing"),
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(show).collect();
                format!("[{}]@{line}:{column}", items.join(" "))
            }
            Value::Map(entries) => {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|entry| {
                        let Position { line, column, .. } = entry.key_at;
                        format!("{}@{line}:{column}={}", entry.key, show(&entry.node))
                    })
                    .collect();
                format!("{{{}}}@{line}:{column}", entries.join(" "))
            }
        }
    }

    #[test]
    fn values_know_their_places() {
        let check = |text: &str, expected: &str| {
            assert_eq!(show(&read(text).expect("this is TOML")), expected, "{text}");
        };
        check("", "{}@1:1");
        check("b = 1\na = 'x'", "{b@1:1=1@1:5 a@2:1=\"x\"@2:5}@1:1");
        check("a = 1_000\nb = 0x1F", "{a@1:1=1000@1:5 b@2:1=31@2:5}@1:1");
        check("a = 01:00:00", "{a@1:1=01:00:00@1:5}@1:1");
        check("a = [1.5, true]", "{a@1:1=[1.5@1:6 true@1:11]@1:5}@1:1");
        check("[a]\nb = 1", "{a@1:2={b@2:1=1@2:5}@1:1}@1:1");
        check("[a.b]\nc = 1", "{a@1:2={b@1:4={c@2:1=1@2:5}@1:1}@1:2}@1:1");
        check("a.b = 1", "{a@1:1={b@1:3=1@1:7}@1:1}@1:1");
        check(
            "[[a]]\nb = 1\n[[a]]",
            "{a@1:3=[{b@2:1=1@2:5}@1:1 {}@3:1]@1:1}@1:1",
        );
        check("\"ä\" = {b=1}", "{ä@1:1={b@1:8=1@1:10}@1:7}@1:1");
    }

    #[test]
    fn deep_trees_are_refused() {
        read(&format!("a{} = 1", ".a".repeat(100_000))).expect_err("nested too deep");
        read(&format!("a = {}", "[".repeat(100_000))).expect_err("nested too deep");
    }
}
