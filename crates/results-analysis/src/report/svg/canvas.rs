//! Shapes and text, written as SVG.

use std::fmt::Write;

/// The size of all text; nothing is smaller.
pub(crate) const FONT_SIZE: f64 = 12.0;

/// Which end of a text its place means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// The shape of a mark. Series differ in shape, so that colour is never the only carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Circle,
    Square,
    Triangle,
    Diamond,
    /// Beyond the upper end of the axis.
    Up,
    /// A violation.
    Cross,
}

/// What is drawn so far.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Canvas {
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) body: String,
}

impl Canvas {
    pub(crate) fn new(width: f64, height: f64) -> Self {
        Self {
            width,
            height,
            body: String::new(),
        }
    }

    pub(crate) fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.push(format_args!(
            r#"<line class="{class}" x1="{}" y1="{}" x2="{}" y2="{}"/>"#,
            Number(x1),
            Number(y1),
            Number(x2),
            Number(y2)
        ));
    }

    /// A rectangle between two corners; `title` is shown on hovering.
    pub(crate) fn rectangle(&mut self, class: &str, one: (f64, f64), other: (f64, f64), title: &str) {
        let (x, width) = (one.0.min(other.0), (one.0 - other.0).abs());
        let (y, height) = (one.1.min(other.1), (one.1 - other.1).abs());
        self.push(format_args!(
            r#"<rect class="{class}" x="{}" y="{}" width="{}" height="{}""#,
            Number(x),
            Number(y),
            Number(width),
            Number(height)
        ));
        self.close("rect", title);
    }

    /// A line through points.
    pub(crate) fn polyline(&mut self, class: &str, points: &[(f64, f64)]) {
        if points.len() > 1 {
            self.path(class, &polyline(points), "");
        }
    }

    pub(crate) fn path(&mut self, class: &str, d: &str, title: &str) {
        self.push(format_args!(r#"<path class="{class}" d="{d}""#));
        self.close("path", title);
    }

    /// A mark of a series; a hollow one stands on less than it should.
    pub(crate) fn mark(&mut self, (shape, class): (Shape, &str), (x, y): (f64, f64), size: f64, title: &str) {
        if shape == Shape::Circle {
            self.push(format_args!(
                r#"<circle class="{class}" cx="{}" cy="{}" r="{}""#,
                Number(x),
                Number(y),
                Number(size)
            ));
            self.close("circle", title);
        } else {
            self.path(class, &outline(shape, x, y, size), title);
        }
    }

    pub(crate) fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        self.text_with(class, (x, y), anchor, "", text);
    }

    /// A text that is read from below, for the axis at the left.
    pub(crate) fn upward_text(&mut self, class: &str, (x, y): (f64, f64), text: &str) {
        let turn = format!(r#" transform="rotate(-90 {} {})""#, Number(x), Number(y));
        self.text_with(class, (x, y), Anchor::Middle, &turn, text);
    }

    fn text_with(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, more: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.push(format_args!(
            r#"<text class="{class}" x="{}" y="{}" font-size="{FONT_SIZE}" text-anchor="{anchor}"{more}>{}</text>"#,
            Number(x),
            Number(y),
            escape(text)
        ));
    }

    /// Everything drawn on `other`, moved.
    pub(crate) fn place(&mut self, other: &Self, (x, y): (f64, f64)) {
        self.push(format_args!(
            r#"<g transform="translate({} {})">{}</g>"#,
            Number(x),
            Number(y),
            other.body
        ));
    }

    fn close(&mut self, element: &str, title: &str) {
        if title.is_empty() {
            self.push(format_args!("/>"));
        } else {
            self.push(format_args!("><title>{}</title></{element}>", escape(title)));
        }
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.body.write_fmt(text);
    }
}

/// The path through points.
pub(crate) fn polyline(points: &[(f64, f64)]) -> String {
    let mut d = String::new();
    for (index, (x, y)) in points.iter().enumerate() {
        let verb = if index == 0 { 'M' } else { 'L' };
        let _ = write!(d, "{verb}{} {}", Number(*x), Number(*y));
    }
    d
}

/// One path for many small dots: thousands of elements would make a page slow.
pub(crate) fn dots(points: &[(f64, f64)]) -> String {
    points.iter().fold(String::new(), |mut d, (x, y)| {
        let _ = write!(d, "M{} {}h0", Number(*x), Number(*y));
        d
    })
}

/// One path for many small crosses.
pub(crate) fn crosses(points: &[(f64, f64)], size: f64) -> String {
    points.iter().fold(String::new(), |mut d, (x, y)| {
        d += &outline(Shape::Cross, *x, *y, size);
        d
    })
}

fn outline(shape: Shape, x: f64, y: f64, r: f64) -> String {
    let corners: &[(f64, f64)] = match shape {
        Shape::Circle => &[],
        Shape::Square => &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        Shape::Triangle => &[(0.0, -1.1), (1.1, 0.9), (-1.1, 0.9)],
        Shape::Diamond => &[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)],
        Shape::Up => &[
            (0.0, -1.2),
            (1.0, 0.6),
            (0.3, 0.6),
            (0.3, 1.6),
            (-0.3, 1.6),
            (-0.3, 0.6),
            (-1.0, 0.6),
        ],
        Shape::Cross => {
            return format!(
                "M{} {}l{d} {d}m0 -{d}l-{d} {d}",
                Number(x - r),
                Number(y - r),
                d = Number(2.0 * r)
            );
        }
    };
    let points: Vec<(f64, f64)> = corners.iter().map(|(dx, dy)| (x + dx * r, y + dy * r)).collect();
    polyline(&points) + "Z"
}

/// A place in tenths of a pixel, as short as it can be written.
pub(crate) struct Number(pub(crate) f64);

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tenths = if self.0.is_finite() {
            (self.0 * 10.0).round() as i64
        } else {
            0
        };
        let sign = if tenths < 0 { "-" } else { "" };
        match (tenths.abs() / 10, tenths.abs() % 10) {
            (whole, 0) => write!(f, "{sign}{whole}"),
            (whole, tenth) => write!(f, "{sign}{whole}.{tenth}"),
        }
    }
}

/// Text for the inside of an element or an attribute. Characters that XML forbids are left out.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\t' | '\n' => escaped.push(' '),
            control if control.is_control() || matches!(control, '\u{fffe}' | '\u{ffff}') => {}
            other => escaped.push(other),
        }
    }
    escaped
}

/// About how wide a text is drawn: sans-serif fonts differ, so this is a little more than most need.
pub(crate) fn text_width(text: &str) -> f64 {
    let widths = text.chars().map(|character| match character {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '\'' | '|' | ' ' | 't' | 'f' | 'r' => 0.36,
        'm' | 'w' | 'M' | 'W' | '%' | '—' | '→' => 0.9,
        'A'..='Z' | '≤' | '≥' | '∞' => 0.7,
        _ => 0.6,
    });
    widths.sum::<f64>() * FONT_SIZE
}

/// The begin of a text that is no wider than asked for.
pub(crate) fn fitted(text: &str, width: f64) -> String {
    if text_width(text) <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for character in text.chars() {
        if text_width(&kept) + text_width("m…") > width {
            break;
        }
        kept.push(character);
    }
    kept.trim_end().to_owned() + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, expected) in [
            (1.0, "1"),
            (1.04, "1"),
            (-0.05, "-0.1"),
            (-0.04, "0"),
            (12.34, "12.3"),
            (f64::NAN, "0"),
        ] {
            assert_eq!(Number(value).to_string(), expected);
        }
    }

    #[test]
    fn text_is_escaped() {
        let mut canvas = Canvas::new(10.0, 10.0);
        canvas.text("t", (0.0, 1.5), Anchor::End, "<script>&\"\u{0}");
        insta::assert_snapshot!(canvas.body, @r#"<text class="t" x="0" y="1.5" font-size="12" text-anchor="end">&lt;script&gt;&amp;&quot;</text>"#);
    }

    #[test]
    fn shapes_are_written() {
        let mut canvas = Canvas::new(10.0, 10.0);
        canvas.mark((Shape::Circle, "p0"), (1.0, 2.0), 3.0, "a < b");
        canvas.mark((Shape::Cross, "k0"), (5.0, 5.0), 2.0, "");
        canvas.rectangle("band", (3.0, 4.0), (1.0, 1.0), "");
        canvas.polyline("k1", &[(0.0, 0.0)]);
        canvas.polyline("k1", &[(0.0, 0.0), (1.0, 1.0)]);
        insta::assert_snapshot!(canvas.body, @r#"<circle class="p0" cx="1" cy="2" r="3"><title>a &lt; b</title></circle><path class="k0" d="M3 3l4 4m0 -4l-4 4"/><rect class="band" x="1" y="1" width="2" height="3"/><path class="k1" d="M0 0L1 1"/>"#);
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(fitted("short", 100.0), "short");
        let cut = fitted(&"x".repeat(100), 100.0);
        assert!(cut.ends_with('…') && text_width(&cut) <= 100.0, "{cut}");
    }
}
