//! Images of draw results: SVG templates filled in, drawn to PNG, put where channels and readers find them.
//!
//! ```text
//!   announcement ─┐
//!   template ─────┼─ templates.rs ─ SVG ─> draw.rs ─ PNG ─> store.rs ─> <tenant>/<game>/<draw>/<template>/<locale>/r<n>.png
//!   locale, brand ┘   (XML-escaped)         (own font)        (folder, S3)
//! ```
//!
//! Invariants: the same input and templates give the same bytes, in any process: no clock, no system font, no
//! randomness. What a result says is data and never markup. A crash leaves a whole image or none; storing it
//! again stores the same.

mod draw;
mod layout;
mod store;
mod templates;

pub use draw::{Drawing, draw};
pub use store::{ImageStore, StoredImage};
pub use templates::Templates;

use crate::announcement::{Announcement, LocaleError, escaped};
use std::path::PathBuf;

/// What is to be drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRequest {
    pub result: Announcement,
    /// A design: `card`, `square`, `story`, `banner` ship with the program.
    pub template: String,
    pub locale: String,
}

impl ImageRequest {
    /// Where the image lies in the store: one place for each revision, template and locale.
    pub fn path(&self) -> String {
        let ImageRequest { result, template, locale } = self;
        let parts = [&result.tenant, &result.game, &result.draw_id, template, locale].map(|p| escaped(p));
        format!("{}/r{}.png", parts.join("/"), result.revision)
    }
}

/// An image that can't be made or stored.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error(
        "there is no template {name:?}; put {name}/default.svg into publishing.templates, or use card, square, story or banner"
    )]
    UnknownTemplate { name: String },
    #[error("template {name}: {problem}; correct it, and retry the dead letter")]
    Template { name: String, problem: String },
    #[error("{}: {problem}; correct the file, and retry the dead letter", path.display())]
    File { path: PathBuf, problem: String },
    #[error(transparent)]
    Locale(#[from] LocaleError),
    #[error(
        "{path}: the image can't be stored: {source}; look after the store that publishing.images_url names"
    )]
    Store { path: String, source: Box<object_store::Error> },
    #[error(
        "{path}: the stored image has SHA-256 {found} and not {expected}; put the original back, or publish the draw again"
    )]
    Changed { path: String, expected: String, found: String },
    #[error(
        "the image store can't be used: {problem}; correct publishing.images_url and publishing.images_options"
    )]
    Settings { problem: String },
}

impl ImageError {
    /// Whether the same call may succeed later, with nothing changed by hand.
    pub fn may_pass(&self) -> bool {
        matches!(self, ImageError::Store { .. })
    }
}
