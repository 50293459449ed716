//! Tables as data, for one template of all of them.

/// A table.
pub(crate) struct Table {
    pub(crate) caption: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Vec<Cell>>,
}

/// A column's head.
pub(crate) struct Column {
    pub(crate) name: String,
    /// The unit, in a line of its own; empty without one.
    pub(crate) unit: &'static str,
    /// `number` for right-aligned columns.
    pub(crate) class: &'static str,
}

/// One cell.
#[derive(Clone, Default)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) class: &'static str,
    /// Where it leads; empty for nowhere.
    pub(crate) link: String,
}

impl Cell {
    pub(crate) fn of(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// A value, or a dash where there is none.
    pub(crate) fn optional(value: Option<f64>, shown: impl Fn(f64) -> String) -> Self {
        Self::of(value.map_or_else(|| "–".to_owned(), shown))
    }

    pub(crate) fn class(self, class: &'static str) -> Self {
        Self { class, ..self }
    }
}

/// A column of numbers.
pub(crate) fn number(name: impl Into<String>, unit: &'static str) -> Column {
    Column {
        name: name.into(),
        unit,
        class: "number",
    }
}

/// A column of words.
pub(crate) fn text(name: impl Into<String>) -> Column {
    Column {
        name: name.into(),
        unit: "",
        class: "",
    }
}

impl Table {
    /// The table without the columns in which no row says anything, but for the first one.
    pub(crate) fn without_empty_columns(mut self) -> Self {
        let says = |index: usize| {
            index == 0
                || self.rows.iter().any(|row| {
                    row.get(index)
                        .is_some_and(|cell| !["", "–"].contains(&cell.text.as_str()))
                })
        };
        let kept: Vec<bool> = (0..self.columns.len()).map(says).collect();
        keep(&mut self.columns, &kept);
        for row in &mut self.rows {
            keep(row, &kept);
        }
        self
    }
}

fn keep<T>(items: &mut Vec<T>, kept: &[bool]) {
    let mut marks = kept.iter().copied();
    items.retain(|_| marks.next().unwrap_or(true));
}
