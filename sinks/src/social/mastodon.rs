//! Mastodon: a medium, then a status with an `Idempotency-Key`.
//!
//! ```text
//!   POST /api/v2/media ─ 200 ────────────────────────────────────────┐
//!                      └ 202 ─> GET /api/v1/media/:id ─ 206 … 200 ───┴─> POST /api/v1/statuses (Idempotency-Key)
//! ```
//!
//! A server remembers a key for an hour. Beyond that, and before any call whose answer was lost is made again, it
//! is asked: the account's statuses are looked through for the reference. A medium without a status is shown to
//! nobody, and the server drops it after a day.

use super::http::{self, Answer, below, failed, refused, send};
use super::{Network, Post, PostError, Posted, Repeat, Target};
use crate::announcement::post_text;
use futures::future::BoxFuture;
use reqwest::multipart::{Form, Part};
use reqwest::{Client, RequestBuilder, Url};
use serde::Deserialize;
use serde_json::json;
use std::time::{Duration, Instant};

/// What every server takes; some take more.
const TEXT_CHARS_MAX: usize = 500;
const PROCESSING_PAUSE: Duration = Duration::from_millis(500);
const PAGE: usize = 40;
/// Pages of statuses that are looked through: an account with more in the time that matters isn't ours.
const PAGES_MAX: usize = 25;
/// Clocks differ.
const CLOCK_MS: i64 = 10 * 60_000;
const VISIBILITIES: &[&str] = &["public", "unlisted", "private", "direct"];

/// An account.
pub struct Mastodon {
    client: Client,
    endpoint: Url,
    target: Target,
}

#[derive(Deserialize)]
struct Medium {
    id: String,
    url: Option<String>,
}

#[derive(Deserialize)]
struct Status {
    id: String,
    content: String,
    created_at: String,
}

#[derive(Deserialize)]
struct Account {
    id: String,
    acct: String,
}

#[derive(Deserialize)]
struct Problem {
    error: String,
}

impl Mastodon {
    /// An account at an endpoint: the server's URL.
    ///
    /// # Errors
    /// [`PostError::Refused`].
    pub fn new(target: Target) -> Result<Self, PostError> {
        let visibility = target.target.as_str();
        if !visibility.is_empty() && !VISIBILITIES.contains(&visibility) {
            return Err(refused(format!(
                "{visibility:?} is no visibility; the channel's target is one of {}",
                VISIBILITIES.join(", ")
            )));
        }
        Ok(Mastodon {
            client: http::client(&target.http)?,
            endpoint: http::endpoint(&target.endpoint)?,
            target,
        })
    }

    fn request(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        self.client.request(method, below(&self.endpoint, path)).bearer_auth(self.target.secret.expose())
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.request(reqwest::Method::GET, path)
    }

    fn posting(&self, path: &str) -> RequestBuilder {
        self.request(reqwest::Method::POST, path)
    }

    /// Nothing of a medium is visible: whatever goes wrong, it may be put up again.
    async fn upload(&self, post: &Post, png: &[u8]) -> Result<String, PostError> {
        let file = Part::bytes(png.to_vec()).file_name("result.png").mime_str("image/png");
        let file = file.map_err(|_| refused("the image has no type".to_owned()))?;
        let description = post_text(&post.lines, &post.reference(), 1_400);
        let form = Form::new().part("file", file).text("description", description);
        let answer = send(self.posting("api/v2/media").multipart(form)).await.map_err(harmless)?;
        let medium: Medium = match answer.status.as_u16() {
            200 | 202 => parse("put up the image", &answer).map_err(harmless)?,
            _ => return Err(harmless(said("put up the image", &answer))),
        };
        if answer.status.as_u16() == 202 || medium.url.is_none() {
            self.processed(&medium.id).await.map_err(harmless)?;
        }
        Ok(medium.id)
    }

    async fn processed(&self, id: &str) -> Result<(), PostError> {
        let deadline = Instant::now() + Duration::from_millis(self.target.http.processing_ms_max);
        loop {
            let answer = send(self.get(&format!("api/v1/media/{id}"))).await?;
            match answer.status.as_u16() {
                200 => return Ok(()),
                206 if Instant::now() < deadline => tokio::time::sleep(PROCESSING_PAUSE).await,
                206 => {
                    let problem = "the server is still working on the image".to_owned();
                    return Err(PostError::Again { problem, after: None });
                }
                _ => return Err(said("look after the image", &answer)),
            }
        }
    }

    async fn status(&self, post: &Post, media: &[String]) -> Result<Posted, PostError> {
        let visibility = if self.target.target.is_empty() { "public" } else { &self.target.target };
        let language = post.locale.split(['-', '_']).next().unwrap_or_default();
        let body = json!({
            "status": post_text(&post.lines, &post.reference(), TEXT_CHARS_MAX),
            "media_ids": media,
            "visibility": visibility,
            "language": language,
        });
        let request = self.posting("api/v1/statuses").header("Idempotency-Key", &post.key).json(&body);
        let answer = send(request).await?;
        if !answer.status.is_success() {
            return Err(said("post the status", &answer));
        }
        let status: Status = parse("post the status", &answer)?;
        Ok(Posted { external_id: status.id })
    }

    async fn account(&self) -> Result<Account, PostError> {
        let answer = send(self.get("api/v1/accounts/verify_credentials")).await?;
        if !answer.status.is_success() {
            return Err(said("ask whose token it is", &answer));
        }
        parse("ask whose token it is", &answer)
    }

    async fn search(&self, post: &Post, since_ms: i64) -> Result<Option<Posted>, PostError> {
        let (account, mark) = (self.account().await?, post.mark());
        let mut before = String::new();
        for _ in 0..PAGES_MAX {
            let path = format!(
                "api/v1/accounts/{}/statuses?limit={PAGE}&exclude_reblogs=true{before}",
                crate::announcement::escaped(&account.id)
            );
            let answer = send(self.get(&path)).await?;
            if !answer.status.is_success() {
                return Err(said("look through the account's statuses", &answer));
            }
            let statuses: Vec<Status> = parse("look through the account's statuses", &answer)?;
            if let Some(found) = statuses.iter().find(|status| status.content.contains(&mark)) {
                return Ok(Some(Posted { external_id: found.id.clone() }));
            }
            let Some(last) = statuses.last() else { return Ok(None) };
            let older = |at: jiff::Timestamp| at.as_millisecond() < since_ms - CLOCK_MS;
            if last.created_at.parse().is_ok_and(older) {
                return Ok(None);
            }
            before = format!("&max_id={}", crate::announcement::escaped(&last.id));
        }
        let problem = format!("the post isn't among the account's last {} statuses", PAGE * PAGES_MAX);
        Err(PostError::InDoubt { problem, after: None })
    }
}

impl Network for Mastodon {
    fn repeat(&self) -> Repeat {
        Repeat::Searchable
    }

    fn post<'a>(&'a self, post: &'a Post) -> BoxFuture<'a, Result<Posted, PostError>> {
        Box::pin(async move {
            let mut media = Vec::new();
            if let Some(image) = &post.image {
                media.push(self.upload(post, &image.png).await?);
            }
            self.status(post, &media).await
        })
    }

    fn find<'a>(&'a self, post: &'a Post, since_ms: i64) -> BoxFuture<'a, Result<Option<Posted>, PostError>> {
        Box::pin(self.search(post, since_ms))
    }

    fn check(&self) -> BoxFuture<'_, Result<String, PostError>> {
        Box::pin(async {
            let account = self.account().await?;
            Ok(format!("the token is that of @{}", account.acct))
        })
    }
}

/// Of a call that shows nothing to anybody: in doubt or not, it is made again.
fn harmless(error: PostError) -> PostError {
    match error {
        PostError::InDoubt { problem, after } => PostError::Again { problem, after },
        other => other,
    }
}

fn said(doing: &str, answer: &Answer) -> PostError {
    let message = serde_json::from_slice::<Problem>(&answer.body).ok().map(|problem| problem.error);
    failed(doing, answer, message)
}

/// An answer of success that can't be read: what it says was done may have been.
fn parse<T: for<'de> Deserialize<'de>>(doing: &str, answer: &Answer) -> Result<T, PostError> {
    serde_json::from_slice(&answer.body).map_err(|e| PostError::InDoubt {
        problem: format!("{doing}: the answer {} can't be read: {e}", answer.status),
        after: None,
    })
}
