//! The spanned tree: what a file says, before anything is made of it.

/// A line and a column, both from 1, in one of the files that a configuration is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    /// The file's index in its [`Reading`](crate::reading::Reading); 0 is the configuration itself.
    pub(crate) file: u16,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Position {
    /// The begin of a file.
    pub(crate) const START: Self = Self {
        file: 0,
        line: 1,
        column: 1,
    };

    /// The same line and column of another file.
    pub(crate) fn of_file(self, file: u16) -> Self {
        Self { file, ..self }
    }
}

/// Why a text is no tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxFault {
    pub(crate) at: Position,
    pub(crate) problem: String,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) at: Position,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// A value that a fault has been said of already.
    Refused,
}

/// A text, a number, a truth value or nothing: which one is the reader's to say.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// Neither quoted nor a block: only plain scalars can be numbers, truth values or null.
    pub(crate) plain: bool,
    /// What stands in the file when variables were put in its place.
    pub(crate) written: Option<String>,
}

impl Scalar {
    pub(crate) fn is_null(&self) -> bool {
        let may_be = self.plain && self.written.is_none();
        may_be && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// The text when it can be a number or a truth value, as whatever stood in a variable can.
    pub(crate) fn plain_text(&self) -> Option<&str> {
        (self.plain || self.written.is_some()).then_some(self.text.as_str())
    }
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_at: Position,
    pub(crate) node: Node,
}

impl Default for Node {
    /// The tree of a text that says nothing.
    fn default() -> Self {
        let value = Value::Scalar(Scalar {
            text: String::new(),
            plain: true,
            written: None,
        });
        Self {
            value,
            at: Position::START,
        }
    }
}

impl Node {
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.is_null())
    }

    /// Puts this node and all below it into a file.
    pub(crate) fn stamp(&mut self, file: u16) {
        self.at = self.at.of_file(file);
        match &mut self.value {
            Value::Scalar(_) | Value::Refused => {}
            Value::List(items) => items.iter_mut().for_each(|item| item.stamp(file)),
            Value::Map(entries) => {
                for entry in entries {
                    entry.key_at = entry.key_at.of_file(file);
                    entry.node.stamp(file);
                }
            }
        }
    }

    /// This node and all below it.
    pub(crate) fn size(&self) -> usize {
        match &self.value {
            Value::Scalar(_) | Value::Refused => 1,
            Value::List(items) => 1 + items.iter().map(Node::size).sum::<usize>(),
            Value::Map(entries) => 1 + entries.iter().map(|entry| entry.node.size()).sum::<usize>(),
        }
    }
}
