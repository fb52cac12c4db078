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

use crate::announcement::{Announcement, LocaleError, escaped, unescaped};
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
        let Announcement { tenant, game, draw_id, revision, .. } = &self.result;
        let draw = DrawFolder { tenant, game, draw_id };
        draw.image(&self.template, &self.locale, *revision)
    }
}

/// Where the images of a draw lie. Parts are escaped: none of them leads out of it.
#[derive(Clone, Copy, Debug)]
pub struct DrawFolder<'a> {
    pub tenant: &'a str,
    pub game: &'a str,
    pub draw_id: &'a str,
}

impl DrawFolder<'_> {
    /// `<tenant>/<game>/<draw>`.
    pub fn path(&self) -> String {
        [self.tenant, self.game, self.draw_id].map(escaped).join("/")
    }

    /// The place of one of them.
    pub fn image(&self, template: &str, locale: &str, revision: i64) -> String {
        format!("{}/{}/{}/r{revision}.png", self.path(), escaped(template), escaped(locale))
    }
}

/// An image of a draw, by what tells it from the draw's others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DrawImage {
    pub revision: i64,
    pub template: String,
    pub locale: String,
}

impl DrawImage {
    /// Out of `<template>/<locale>/r<revision>.png`; none where a path is no image's.
    fn parse(rest: &str) -> Option<DrawImage> {
        let mut parts = rest.split('/');
        let (template, locale, file) = (parts.next()?, parts.next()?, parts.next()?);
        let revision = file.strip_prefix('r')?.strip_suffix(".png")?.parse().ok()?;
        let image = DrawImage { revision, template: unescaped(template)?, locale: unescaped(locale)? };
        parts.next().is_none().then_some(image)
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
        "{path}: the image can't be fetched: {source}; look after the store that publishing.images_url names"
    )]
    Fetch { path: String, source: Box<object_store::Error> },
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
        matches!(self, ImageError::Store { .. } | ImageError::Fetch { .. })
    }
}
