//! A plotting area with its axes.

use super::{
    canvas::{Anchor, Canvas, text_width},
    scale::Scale,
};

/// A plotting area: both scales, drawn between their places.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Panel {
    pub(crate) x: Scale,
    pub(crate) y: Scale,
}

impl Panel {
    pub(crate) fn left(&self) -> f64 {
        self.x.places().0
    }

    pub(crate) fn right(&self) -> f64 {
        self.x.places().1
    }

    /// The lower edge.
    pub(crate) fn bottom(&self) -> f64 {
        self.y.places().0
    }

    /// The upper edge.
    pub(crate) fn top(&self) -> f64 {
        self.y.places().1
    }

    pub(crate) fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (self.x.at(x), self.y.at(y))
    }

    /// The lines of the grid with the labels of the axis at the left, and its title.
    pub(crate) fn left_axis(&self, canvas: &mut Canvas, most: usize, title: &str) {
        for (value, label) in self.y.ticks(most) {
            let y = self.y.at(value);
            canvas.line("grid", (self.left(), y), (self.right(), y));
            canvas.text("m", (self.left() - 8.0, y + 4.0), Anchor::End, &label);
        }
        let middle = f64::midpoint(self.top(), self.bottom());
        canvas.upward_text("t", (14.0, middle), title);
    }

    /// The labels of a second axis, at the right.
    pub(crate) fn right_axis(&self, canvas: &mut Canvas, scale: &Scale, most: usize, title: &str) {
        for (value, label) in scale.ticks(most) {
            let y = scale.at(value);
            canvas.line("axis", (self.right(), y), (self.right() + 4.0, y));
            canvas.text("m", (self.right() + 8.0, y + 4.0), Anchor::Start, &label);
        }
        canvas.line("axis", (self.right(), self.top()), (self.right(), self.bottom()));
        let middle = f64::midpoint(self.top(), self.bottom());
        canvas.upward_text("t", (canvas.width - 6.0, middle), title);
    }

    /// The lower axis with its labels; without a title, only the line.
    pub(crate) fn lower_axis(&self, canvas: &mut Canvas, most: usize, title: Option<&str>) {
        let y = self.bottom();
        canvas.line("axis", (self.left(), y), (self.right(), y));
        for (value, label) in self.x.ticks(most) {
            let x = self.x.at(value);
            canvas.line("axis", (x, y), (x, y + 4.0));
            if title.is_some() {
                canvas.text("m", (x, y + 18.0), Anchor::Middle, &label);
            }
        }
        if let Some(title) = title {
            let middle = f64::midpoint(self.left(), self.right());
            canvas.text("t", (middle, y + 38.0), Anchor::Middle, title);
        }
    }

    /// A band over the whole height between two values of the lower axis, with a line at a third.
    pub(crate) fn interval(&self, canvas: &mut Canvas, (low, high): (f64, f64), at: f64) {
        canvas.rectangle(
            "band",
            (self.x.at(low), self.top()),
            // An interval narrower than a line would not be seen.
            (self.x.at(high).max(self.x.at(low) + 2.0), self.bottom()),
            "",
        );
        canvas.line(
            "peak",
            (self.x.at(at), self.top()),
            (self.x.at(at), self.bottom()),
        );
    }

    /// A text above the plotting area, centred over a value of the lower axis as far as there is room.
    pub(crate) fn note_above(&self, canvas: &mut Canvas, value: f64, text: &str) {
        let half = text_width(text) / 2.0;
        let least = self.left() + half;
        let x = self.x.at(value).min(self.right() - half).max(least);
        canvas.text("b", (x, self.top() - 7.0), Anchor::Middle, text);
    }

    /// A line across at a value of the left axis, named above its left end unless the legend names it.
    pub(crate) fn limit(&self, canvas: &mut Canvas, value: f64, name: &str) {
        if !self.y.holds(value) {
            return;
        }
        let y = self.y.at(value);
        canvas.line("limit", (self.left(), y), (self.right(), y));
        if !name.is_empty() {
            canvas.text("l", (self.left() + 6.0, y - 5.0), Anchor::Start, name);
        }
    }
}
