//! Legends: samples with their names, in as many lines as they need.

use super::canvas::{Anchor, Canvas, Shape, text_width};

/// What stands for a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sample {
    /// A line of this class.
    Line(&'static str),
    /// A mark.
    Mark(Shape, &'static str),
    /// A line with marks.
    LineMark(&'static str, Shape, &'static str),
    /// An area of this class.
    Area(&'static str),
}

/// One line of a legend.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) sample: Sample,
    pub(crate) name: String,
}

impl Entry {
    pub(crate) fn new(sample: Sample, name: impl Into<String>) -> Self {
        Self {
            sample,
            name: name.into(),
        }
    }
}

const SAMPLE_WIDTH: f64 = 24.0;
const GAP: f64 = 18.0;
/// The height of one line of a legend.
const LINE: f64 = 20.0;

/// Draws a legend between `left` and `right`, with its first line below `top`; says how high it is.
pub(crate) fn legend(canvas: &mut Canvas, (left, right): (f64, f64), top: f64, entries: &[Entry]) -> f64 {
    let mut x = left;
    let mut y = top + LINE / 2.0;
    for entry in entries {
        let width = SAMPLE_WIDTH + 6.0 + text_width(&entry.name);
        if x > left && x + width > right {
            x = left;
            y += LINE;
        }
        draw(canvas, entry.sample, (x, y));
        canvas.text("t", (x + SAMPLE_WIDTH + 6.0, y + 4.0), Anchor::Start, &entry.name);
        x += width + GAP;
    }
    if entries.is_empty() {
        0.0
    } else {
        y + LINE / 2.0 - top
    }
}

fn draw(canvas: &mut Canvas, sample: Sample, (x, y): (f64, f64)) {
    let middle = x + SAMPLE_WIDTH / 2.0;
    match sample {
        Sample::Line(class) => canvas.line(class, (x, y), (x + SAMPLE_WIDTH, y)),
        Sample::Mark(shape, class) => canvas.mark((shape, class), (middle, y), 4.0, ""),
        Sample::LineMark(line, shape, class) => {
            canvas.line(line, (x, y), (x + SAMPLE_WIDTH, y));
            canvas.mark((shape, class), (middle, y), 4.0, "");
        }
        Sample::Area(class) => canvas.rectangle(class, (x, y - 6.0), (x + SAMPLE_WIDTH, y + 6.0), ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_legend_breaks_its_lines() {
        let entries: Vec<Entry> = ["the first of them", "the second of them", "the third of them"]
            .into_iter()
            .map(|name| Entry::new(Sample::Line("k0"), name))
            .collect();
        let mut canvas = Canvas::new(300.0, 100.0);
        let height = legend(&mut canvas, (0.0, 300.0), 0.0, &entries);
        assert!((height - 2.0 * LINE).abs() < 1e-9, "{height}");
        assert!(legend(&mut canvas, (0.0, 300.0), 0.0, &[]).abs() < 1e-9);
    }
}
