//! A small renderer of charts: data in, SVG text out.
//!
//! Everything is drawn with classes; [`style`] gives them their looks, once for pages (which know light and dark) and
//! once for files.

pub(crate) mod canvas;
pub(crate) mod legend;
pub(crate) mod panel;
pub(crate) mod scale;
pub(crate) mod style;

pub(crate) use canvas::{Anchor, Canvas, Shape};
pub(crate) use legend::{Entry, Sample, legend};
pub(crate) use panel::Panel;
pub(crate) use scale::Scale;
