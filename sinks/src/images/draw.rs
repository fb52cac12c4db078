//! SVG to PNG, with the fonts that ship with the program and no others.

use super::{ImageError, ImageRequest, Templates};
use crate::digest::hex;
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{self, Tree, fontdb};
use sha2::{Digest, Sha256};
use std::sync::{Arc, LazyLock};

const FONTS: [&[u8]; 2] = [
    include_bytes!("../../assets/fonts/Manrope-Medium.ttf"),
    include_bytes!("../../assets/fonts/Manrope-ExtraBold.ttf"),
];
const FAMILY: &str = "Manrope";
/// Most pixels of an image: a template with a slip in its size must not take all memory.
const PIXELS_MAX: u64 = 40_000_000;

static FONT_DATABASE: LazyLock<Arc<fontdb::Database>> = LazyLock::new(|| {
    let mut fonts = fontdb::Database::new();
    for font in FONTS {
        fonts.load_font_data(font.to_vec());
    }
    fonts.set_sans_serif_family(FAMILY);
    fonts.set_serif_family(FAMILY);
    fonts.set_monospace_family(FAMILY);
    Arc::new(fonts)
});

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawing {
    pub png: Vec<u8>,
    /// In hexadecimal.
    pub sha256: String,
    pub width: u32,
    pub height: u32,
}

/// Draws what is asked for.
///
/// # Errors
/// Where there is no such template or locale, or the template isn't SVG.
pub fn draw(request: &ImageRequest, templates: &Templates) -> Result<Drawing, ImageError> {
    let (name, svg) = templates.svg(request)?;
    let broken = |problem: String| ImageError::Template { name: name.clone(), problem };
    let options = usvg::Options {
        font_family: FAMILY.to_owned(),
        fontdb: Arc::clone(&FONT_DATABASE),
        // A template refers to nothing outside of itself.
        image_href_resolver: usvg::ImageHrefResolver {
            resolve_data: Box::new(|_, _, _| None),
            resolve_string: Box::new(|_, _| None),
        },
        ..usvg::Options::default()
    };
    let tree = Tree::from_str(&svg, &options).map_err(|e| broken(e.to_string()))?;
    let size = tree.size().to_int_size();
    if u64::from(size.width()) * u64::from(size.height()) > PIXELS_MAX {
        return Err(broken(format!("{} x {} pixels are too many", size.width(), size.height())));
    }
    let mut pixmap =
        Pixmap::new(size.width(), size.height()).ok_or_else(|| broken("it has no size".to_owned()))?;
    resvg::render(&tree, Transform::identity(), &mut pixmap.as_mut());
    let png = encode(pixmap).map_err(|e| broken(e.to_string()))?;
    let sha256 = hex(&Sha256::digest(&png));
    Ok(Drawing { png, sha256, width: size.width(), height: size.height() })
}

/// PNG, compressed quickly: an image waits to be posted, and a slower way saves little of it. What covers all of its
/// ground needs no fourth channel.
fn encode(pixmap: Pixmap) -> Result<Vec<u8>, png::EncodingError> {
    let (width, height) = (pixmap.width(), pixmap.height());
    let opaque = pixmap.pixels().iter().all(|pixel| pixel.alpha() == u8::MAX);
    let rgba = pixmap.take_demultiplied();
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    encoder.set_color(if opaque { png::ColorType::Rgb } else { png::ColorType::Rgba });
    let mut writer = encoder.write_header()?;
    if opaque {
        let mut rgb = Vec::with_capacity(rgba.len() / 4 * 3);
        rgba.chunks_exact(4).for_each(|pixel| rgb.extend_from_slice(&pixel[..3]));
        writer.write_image_data(&rgb)?;
    } else {
        writer.write_image_data(&rgba)?;
    }
    writer.finish()?;
    Ok(out)
}
