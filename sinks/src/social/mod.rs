//! Posts to networks, each spoken to by its own HTTP interface.
//!
//! ```text
//!   Post (text, image, key) ─> Network ── mastodon.rs   POST /api/v2/media, POST /api/v1/statuses
//!                                      ├─ telegram.rs   POST /bot…/sendPhoto
//!                                      └─ webhook.rs    POST, signed (Standard Webhooks)
//! ```
//!
//! The next network is one file: it implements [`Network`] and gets a line in [`network`]. It says what became
//! of a call ([`PostError`]) and what it can promise about a repeated one ([`Repeat`]); when to call, how often
//! and how long to wait is decided elsewhere, for all networks alike.
//!
//! What is not promised: that a post stays where it was put, and that one that was edited by hand is found again.

mod http;
pub mod limits;
mod mastodon;
mod secret;
mod telegram;
mod webhook;

pub use http::HttpSettings;
pub use secret::{Secret, SecretError};

use crate::announcement::Announcement;
use futures::future::BoxFuture;
use std::time::Duration;

/// The networks there are.
pub const NETWORKS: &[&str] = &["mastodon", "telegram", "webhook"];

/// Where posts go.
#[derive(Clone, Debug)]
pub struct Target {
    /// The network's server, as a URL; for a webhook all of it.
    pub endpoint: String,
    /// Telegram: the chat. Mastodon: the visibility. Webhook: nothing.
    pub target: String,
    pub secret: Secret,
    pub http: HttpSettings,
}

/// One post.
#[derive(Clone, Debug)]
pub struct Post {
    /// The same for every try: what a network recognises a repeated call by.
    pub key: String,
    /// When it was first asked for: a repeated call says the same.
    pub requested_at_ms: i64,
    pub result: Announcement,
    /// Lines of text, the most important first.
    pub lines: Vec<String>,
    pub locale: String,
    pub image: Option<Image>,
}

/// The image of a post.
#[derive(Clone, Debug)]
pub struct Image {
    pub png: Vec<u8>,
    pub path: String,
    /// Where anybody can fetch it, if there is such a place.
    pub url: Option<String>,
    pub sha256: String,
}

impl Post {
    /// By which a post is found again: draw, revision, and letters that no other post has.
    pub fn reference(&self) -> String {
        format!("{} · {}", self.result.draw_id, self.mark())
    }

    /// The part of the reference that is never escaped, cut or linked.
    pub fn mark(&self) -> String {
        use sha2::Digest as _;
        let digest = crate::digest::hex(&sha2::Sha256::digest(self.key.as_bytes()));
        format!("r{}-{}", self.result.revision, &digest[..12])
    }
}

/// What a network has made of a post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// The network's own name of it.
    pub external_id: String,
}

/// What a network promises about a call that is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// It recognises the key: a repeated call shows nothing twice.
    Recognised,
    /// It recognises the key for a while, and can be asked what it has.
    Searchable,
    /// Neither: a call whose answer is lost must not be made again by itself.
    Never,
}

/// Why a post isn't known to be there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// It certainly isn't there, and may be tried again, at the earliest after that long.
    #[error("{problem}")]
    Again { problem: String, after: Option<Duration> },
    /// It certainly isn't there, and won't be until somebody changes something.
    #[error("{problem}")]
    Refused { problem: String },
    /// The call went out and its answer didn't come: it may be there.
    #[error("{problem}")]
    InDoubt { problem: String, after: Option<Duration> },
}

/// A network that takes posts.
pub trait Network: Send + Sync {
    /// What it promises about a repeated call.
    fn repeat(&self) -> Repeat;

    /// Posts. Bounded in time by the HTTP settings.
    fn post<'a>(&'a self, post: &'a Post) -> BoxFuture<'a, Result<Posted, PostError>>;

    /// Looks for a post that may be there, among those since `since_ms`. Only where [`Repeat::Searchable`].
    fn find<'a>(
        &'a self,
        _post: &'a Post,
        _since_ms: i64,
    ) -> BoxFuture<'a, Result<Option<Posted>, PostError>> {
        Box::pin(async { Ok(None) })
    }

    /// Asks whether the secret is good, without showing anything to anybody: what was answered.
    fn check(&self) -> BoxFuture<'_, Result<String, PostError>>;
}

/// The adapter of a network.
///
/// # Errors
/// [`PostError::Refused`] where there is no such network, or the target can't be one of it.
pub fn network(name: &str, target: Target) -> Result<Box<dyn Network>, PostError> {
    match name {
        "mastodon" => Ok(Box::new(mastodon::Mastodon::new(target)?)),
        "telegram" => Ok(Box::new(telegram::Telegram::new(target)?)),
        "webhook" => Ok(Box::new(webhook::Webhook::new(target)?)),
        other => Err(PostError::Refused {
            problem: format!(
                "there is no network {other:?}; a channel's network is one of {}",
                NETWORKS.join(", ")
            ),
        }),
    }
}
