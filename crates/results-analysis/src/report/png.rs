//! Plots as PNG, with fonts of our own: a machine of a cluster often has none.

use std::sync::Arc;

use resvg::{tiny_skia, usvg};

use super::Plot;

const FONTS: [&[u8]; 2] = [
    include_bytes!("../../fonts/Inter-Regular-subset.otf"),
    include_bytes!("../../fonts/Inter-SemiBold-subset.otf"),
];

/// Pixels of the PNG for one of the SVG: sharp on paper and on fine displays.
const SCALE: f32 = 2.0;

/// A plot that could not be drawn.
#[derive(Debug, thiserror::Error)]
pub enum PngError {
    /// The SVG cannot be read.
    #[error("the plot `{name}` is no SVG that can be drawn")]
    Svg {
        /// The plot.
        name: String,
        /// Why.
        source: usvg::Error,
    },
    /// The picture has no size, or one beyond all measure.
    #[error("the plot `{name}` has no size")]
    Size {
        /// The plot.
        name: String,
    },
    /// The picture cannot be packed.
    #[error("the plot `{name}` cannot be written as PNG: {reason}")]
    Encode {
        /// The plot.
        name: String,
        /// Why.
        reason: String,
    },
}

impl Plot {
    /// The plot as a PNG file's bytes, in twice its size. It needs no fonts of the machine.
    pub fn to_png(&self) -> Result<Vec<u8>, PngError> {
        let name = || self.name.clone();
        let tree = usvg::Tree::from_str(&self.svg, &options())
            .map_err(|source| PngError::Svg { name: name(), source })?;
        let size = tree.size().to_int_size().scale_by(SCALE);
        let mut pixels = size
            .and_then(|size| tiny_skia::Pixmap::new(size.width(), size.height()))
            .ok_or_else(|| PngError::Size { name: name() })?;
        let transform = tiny_skia::Transform::from_scale(SCALE, SCALE);
        resvg::render(&tree, transform, &mut pixels.as_mut());
        pixels.encode_png().map_err(|error| PngError::Encode {
            name: name(),
            reason: error.to_string(),
        })
    }
}

fn options() -> usvg::Options<'static> {
    let mut options = usvg::Options::default();
    let fonts = Arc::make_mut(&mut options.fontdb);
    for font in FONTS {
        fonts.load_font_data(font.to_vec());
    }
    fonts.set_sans_serif_family("Inter");
    "Inter".clone_into(&mut options.font_family);
    options
}
