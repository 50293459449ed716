//! One value of a section, read as what it should be.
//!
//! Every reader returns nothing both for a value that is absent and for one that is faulty: a fault is in the list
//! by then, so no plan comes of it.

use std::ops::RangeInclusive;

use crate::{
    fault::{Fault, Place},
    nearest::nearest,
    reading::Reading,
    section::Section,
    tree::{Node, Position, Scalar, Value},
};

/// A value that may be absent.
#[derive(Clone)]
pub(crate) struct Field<'a> {
    pub(crate) reading: &'a Reading,
    node: Option<&'a Node>,
    path: String,
    at: Position,
    key_at: Position,
    secret: bool,
}

impl<'a> Field<'a> {
    /// `found` is the value with the place of its key; `section_at` is where a missing one is reported.
    pub(crate) fn new(
        reading: &'a Reading,
        found: Option<(&'a Node, Position)>,
        path: String,
        section_at: Position,
    ) -> Self {
        Self {
            reading,
            node: found.map(|(node, _)| node),
            path,
            at: found.map_or(section_at, |(node, key_at)| match &node.value {
                Value::Scalar(scalar) if !scalar.is_null() => node.at,
                _ => key_at,
            }),
            key_at: found.map_or(section_at, |(_, key_at)| key_at),
            secret: false,
        }
    }

    /// The field's value is shown in no message.
    pub(crate) fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    /// A fault when the field is absent.
    pub(crate) fn required(self, what: &str) -> Self {
        if self.node.is_none() {
            self.fault(format!("missing: {what}"));
        }
        self
    }

    pub(crate) fn is_given(&self) -> bool {
        self.node.is_some()
    }

    pub(crate) fn place(&self) -> Place {
        self.reading.place(self.at, &self.path)
    }

    pub(crate) fn fault(&self, problem: impl Into<String>) {
        self.reading.fault(self.place(), problem);
    }

    /// A fault that says what was found and what is allowed.
    pub(crate) fn refuse<T>(&self, allowed: impl Into<String>) -> Option<T> {
        self.push(allowed.into(), None);
        None
    }

    /// A fault of the key itself, for sections whose keys follow a pattern.
    pub(crate) fn unknown_key(&self, allowed: &str, nearest: Option<&str>) {
        self.reading.push(Fault {
            place: self.reading.place(self.key_at, &self.path),
            problem: "unknown key".to_owned(),
            allowed: Some(allowed.to_owned()),
            nearest: nearest.map(str::to_owned),
        });
    }

    fn push(&self, allowed: String, nearest: Option<String>) {
        if self.is_refused() {
            return;
        }
        self.reading.push(Fault {
            place: self.place(),
            problem: self.found(),
            allowed: Some(allowed),
            nearest,
        });
    }

    fn found(&self) -> String {
        match self.node.map(|node| &node.value) {
            None | Some(Value::Refused) => "missing".to_owned(),
            Some(Value::List(_)) => "found a list".to_owned(),
            Some(Value::Map(_)) => "found a map".to_owned(),
            Some(Value::Scalar(scalar)) if scalar.is_null() => "no value".to_owned(),
            Some(Value::Scalar(_)) if self.secret => "found a text that is not shown here".to_owned(),
            Some(Value::Scalar(Scalar {
                text,
                written: Some(written),
                ..
            })) => format!("found `{}` in place of `{}`", printable(text), printable(written)),
            Some(Value::Scalar(scalar)) if scalar.plain => format!("found `{}`", printable(&scalar.text)),
            Some(Value::Scalar(scalar)) => format!("found the text \"{}\"", printable(&scalar.text)),
        }
    }

    fn scalar(&self, allowed: &str) -> Option<&'a Scalar> {
        match &self.node?.value {
            Value::Scalar(scalar) if !scalar.is_null() => Some(scalar),
            _ => self.refuse(allowed),
        }
    }

    /// A text that is not empty; a plain number is its text.
    pub(crate) fn as_text(&self, allowed: &str) -> Option<&'a str> {
        let text = self.scalar(allowed)?.text.as_str();
        if text.trim().is_empty() || text.contains('\0') {
            return self.refuse(allowed);
        }
        Some(text)
    }

    /// Whether the value is this text.
    pub(crate) fn is_text(&self, text: &str) -> bool {
        matches!(self.node.map(|node| &node.value), Some(Value::Scalar(scalar)) if scalar.text == text)
    }

    /// A text that may be empty, as arguments may.
    pub(crate) fn as_argument(&self) -> Option<String> {
        let allowed = "a text";
        let text = &self.scalar(allowed)?.text;
        if text.contains('\0') {
            return self.refuse("a text without a null character");
        }
        Some(text.clone())
    }

    /// A whole number of the range.
    pub(crate) fn as_whole(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let allowed = match (*range.start(), *range.end()) {
            (start, u64::MAX) => format!("a whole number from {start}"),
            (start, end) => format!("a whole number from {start} to {end}"),
        };
        let number = self
            .scalar(&allowed)?
            .plain_text()
            .and_then(|text| text.parse::<u64>().ok());
        match number {
            Some(number) if range.contains(&number) => Some(number),
            _ => self.refuse(allowed),
        }
    }

    /// A whole number from 1.
    pub(crate) fn as_count(&self) -> Option<u32> {
        self.as_whole(1..=u64::from(u32::MAX)).map(|number| number as u32)
    }

    /// A whole number from 1, for keys that take another form beside it.
    pub(crate) fn as_count_or(&self, allowed: &str) -> Option<u32> {
        let number = self
            .scalar(allowed)?
            .plain_text()
            .and_then(|text| text.parse::<u32>().ok());
        match number {
            Some(number) if number > 0 => Some(number),
            _ => self.refuse(allowed),
        }
    }

    /// A finite number that `accepts` accepts.
    pub(crate) fn as_number(&self, allowed: &str, accepts: impl Fn(f64) -> bool) -> Option<f64> {
        let number = self
            .scalar(allowed)?
            .plain_text()
            .and_then(|text| text.parse::<f64>().ok());
        match number {
            Some(number) if number.is_finite() && accepts(number) => Some(number),
            _ => self.refuse(allowed),
        }
    }

    /// `true` or `false`.
    pub(crate) fn as_flag(&self) -> Option<bool> {
        let allowed = "true, false";
        let scalar = self.scalar(allowed)?;
        match scalar.plain_text() {
            Some("true" | "True" | "TRUE") => Some(true),
            Some("false" | "False" | "FALSE") => Some(false),
            _ => {
                let meant = match scalar.text.to_lowercase().as_str() {
                    "yes" | "on" | "y" | "true" => Some("true".to_owned()),
                    "no" | "off" | "n" | "false" => Some("false".to_owned()),
                    _ => None,
                };
                self.push(allowed.to_owned(), meant);
                None
            }
        }
    }

    /// One of some names.
    pub(crate) fn as_choice<T: Copy>(&self, all: &[T], name: fn(T) -> &'static str) -> Option<T> {
        let names: Vec<&str> = all.iter().map(|value| name(*value)).collect();
        let allowed = names.join(", ");
        let text = &self.scalar(&allowed)?.text;
        let found = all.iter().copied().find(|value| name(*value) == text);
        if found.is_none() {
            self.push(allowed, nearest(text, names).map(str::to_owned));
        }
        found
    }

    /// The fields of a list.
    pub(crate) fn as_list(&self, allowed: &str) -> Option<Vec<Field<'a>>> {
        let Value::List(nodes) = &self.node?.value else {
            return self.refuse(allowed);
        };
        let fields = nodes.iter().enumerate().map(|(index, node)| Field {
            reading: self.reading,
            node: Some(node),
            path: format!("{}[{index}]", self.path),
            at: node.at,
            key_at: node.at,
            secret: self.secret,
        });
        Some(fields.collect())
    }

    /// A map; one without a single entry may have been commented out.
    pub(crate) fn as_section(&self) -> Option<Section<'a>> {
        let node = self.node?;
        match &node.value {
            Value::Map(entries) => Some(Section::new(self.reading, self.path.clone(), self.at, entries)),
            _ if node.is_null() => Some(Section::new(self.reading, self.path.clone(), self.at, &[])),
            _ => self.refuse("a map of keys"),
        }
    }

    pub(crate) fn is_empty_list(&self) -> bool {
        matches!(self.node.map(|node| &node.value), Some(Value::List(items)) if items.is_empty())
    }

    /// Whether the value stands, or would stand, in a TOML file.
    pub(crate) fn is_toml(&self) -> bool {
        self.reading.is_toml(&self.place())
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(self.node.map(|node| &node.value), Some(Value::List(_)))
    }

    /// Whether a fault was said of the value before it was read.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.node.map(|node| &node.value), Some(Value::Refused))
    }

    /// Whether the value is a map, for keys that take a short form beside it.
    pub(crate) fn is_map(&self) -> bool {
        matches!(self.node.map(|node| &node.value), Some(Value::Map(_)))
    }
}

/// A text on one line and of bounded length.
pub(crate) fn printable(text: &str) -> String {
    const MOST: usize = 80;
    let mut shown = one_line(&text.chars().take(MOST).collect::<String>());
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}

/// A text on one line.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}
