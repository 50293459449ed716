//! Cells and columns of an exported table.

use std::borrow::Cow;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    Number,
    Text,
}

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Integer(i64),
    Number(f64),
    Text(Cow<'a, str>),
}

impl<'a> Value<'a> {
    pub(super) fn integer(value: impl Into<i64>) -> Self {
        Self::Integer(value.into())
    }

    pub(super) fn optional_integer(value: Option<impl Into<i64>>) -> Self {
        value.map_or(Self::Null, Self::integer)
    }

    pub(super) fn optional_number(value: Option<f64>) -> Self {
        value.map_or(Self::Null, Self::Number)
    }

    /// Nanoseconds as milliseconds.
    pub(super) fn millis(nanos: i64) -> Self {
        Self::Number(nanos as f64 / 1e6)
    }

    pub(super) fn optional_millis(nanos: Option<i64>) -> Self {
        nanos.map_or(Self::Null, Self::millis)
    }

    pub(super) fn text(value: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(value.into())
    }

    pub(super) fn optional_text(value: Option<impl Into<Cow<'a, str>>>) -> Self {
        value.map_or(Self::Null, Self::text)
    }
}

/// A row of a table.
pub(super) trait Row: Sized + 'static {
    /// The table's columns, in their order.
    const COLUMNS: &'static [Column<Self>];
}

/// A column: its name and how a row's cell is found.
pub(super) struct Column<R> {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) cell: Cell<R>,
}

/// Finds a row's cell.
type Cell<R> = fn(&R) -> Value<'_>;

impl<R> Column<R> {
    pub(super) const fn integer(name: &'static str, cell: Cell<R>) -> Self {
        let kind = Kind::Integer;
        Self { name, kind, cell }
    }

    pub(super) const fn number(name: &'static str, cell: Cell<R>) -> Self {
        let kind = Kind::Number;
        Self { name, kind, cell }
    }

    pub(super) const fn text(name: &'static str, cell: Cell<R>) -> Self {
        let kind = Kind::Text;
        Self { name, kind, cell }
    }
}
