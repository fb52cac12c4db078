//! Telegram: `sendPhoto` of the Bot API.
//!
//! The interface has no key for repeated calls, and a bot can't list what it has sent. So a call whose answer is
//! lost is in doubt for good: it is never made again by itself ([`Repeat::Never`]). `"ok": false` is an answer,
//! nothing was posted; but not with a 5xx, which the gateway before the Bot API says in the same words while the call
//! may have gone through. Only one that says when to come back is certain.

use super::http::{self, AFTER_MAX, Answer, below, failed, quoted, refused, retry_after, send};
use super::{Network, Post, PostError, Posted, Repeat, Target};
use crate::announcement::post_text;
use futures::future::BoxFuture;
use reqwest::multipart::{Form, Part};
use reqwest::{Client, Url};
use serde::Deserialize;
use std::time::Duration;

const CAPTION_CHARS_MAX: usize = 1_024;
const TEXT_CHARS_MAX: usize = 4_096;

/// A chat that a bot may write to.
pub struct Telegram {
    client: Client,
    endpoint: Url,
    target: Target,
}

/// What every method answers.
#[derive(Deserialize)]
struct Said<T> {
    ok: bool,
    result: Option<T>,
    error_code: Option<u16>,
    description: Option<String>,
    parameters: Option<Parameters>,
}

#[derive(Deserialize)]
struct Parameters {
    retry_after: Option<u64>,
    migrate_to_chat_id: Option<i64>,
}

#[derive(Deserialize)]
struct Message {
    message_id: i64,
}

#[derive(Deserialize)]
struct Bot {
    username: Option<String>,
}

impl Telegram {
    /// A bot at an endpoint: `https://api.telegram.org`, or a Bot API server of one's own.
    ///
    /// # Errors
    /// [`PostError::Refused`].
    pub fn new(target: Target) -> Result<Self, PostError> {
        if target.target.is_empty() {
            return Err(refused("the channel's target must be a chat: @name or a number".to_owned()));
        }
        Ok(Telegram {
            client: http::client(&target.http)?,
            endpoint: http::endpoint(&target.endpoint)?,
            target,
        })
    }

    /// A method's URL. It holds the token, and is never told.
    fn method(&self, name: &str) -> String {
        below(&self.endpoint, &format!("bot{}/{name}", self.target.secret.expose()))
    }

    async fn send(&self, post: &Post) -> Result<Posted, PostError> {
        let form = Form::new().text("chat_id", self.target.target.clone());
        let reference = post.reference();
        let request = match &post.image {
            Some(image) => {
                let photo = Part::bytes(image.png.clone()).file_name("result.png").mime_str("image/png");
                let photo = photo.map_err(|_| refused("the image has no type".to_owned()))?;
                let caption = post_text(&post.lines, &reference, CAPTION_CHARS_MAX);
                let form = form.text("caption", caption).part("photo", photo);
                self.client.post(self.method("sendPhoto")).multipart(form)
            }
            None => {
                let text = post_text(&post.lines, &reference, TEXT_CHARS_MAX);
                self.client.post(self.method("sendMessage")).multipart(form.text("text", text))
            }
        };
        let message: Message = understood("send the photo", &send(request).await?)?;
        Ok(Posted { external_id: message.message_id.to_string() })
    }
}

impl Network for Telegram {
    fn repeat(&self) -> Repeat {
        Repeat::Never
    }

    fn post<'a>(&'a self, post: &'a Post) -> BoxFuture<'a, Result<Posted, PostError>> {
        Box::pin(self.send(post))
    }

    fn check(&self) -> BoxFuture<'_, Result<String, PostError>> {
        Box::pin(async {
            let answer = send(self.client.get(self.method("getMe"))).await?;
            let bot: Bot = understood("ask whose token it is", &answer)?;
            Ok(format!(
                "the token is that of @{}",
                bot.username.unwrap_or_else(|| "a bot without name".to_owned())
            ))
        })
    }
}

/// What the Bot API says. Anything else came from something on the way, and says nothing about the call.
fn understood<T: for<'de> Deserialize<'de>>(doing: &str, answer: &Answer) -> Result<T, PostError> {
    let Ok(said) = serde_json::from_slice::<Said<T>>(&answer.body) else {
        return Err(match failed(doing, answer, None) {
            refused @ PostError::Refused { .. } if answer.status.is_client_error() => refused,
            again @ PostError::Again { .. } if answer.status.as_u16() == 429 => again,
            _ => PostError::InDoubt {
                problem: format!("{doing}: {} {}", answer.status, quoted(&answer.body)),
                after: retry_after(&answer.headers),
            },
        });
    };
    match said {
        Said { ok: true, result: Some(result), .. } => Ok(result),
        Said { ok: true, .. } => Err(PostError::InDoubt {
            problem: format!("{doing}: it is ok, and says nothing more"),
            after: None,
        }),
        said => Err(denied(doing, answer, &said)),
    }
}

fn denied<T>(doing: &str, answer: &Answer, said: &Said<T>) -> PostError {
    let code = said.error_code.unwrap_or_else(|| answer.status.as_u16());
    let description = said.description.as_deref().unwrap_or_default();
    let mut problem = format!("{doing}: {code} {description}").trim_end().to_owned();
    let parameters = said.parameters.as_ref();
    if let Some(chat) = parameters.and_then(|parameters| parameters.migrate_to_chat_id) {
        problem.push_str(&format!("; the chat is now {chat}: change the channel's target"));
        return refused(problem);
    }
    let after = parameters.and_then(|parameters| parameters.retry_after);
    let after = after.map(|seconds| Duration::from_secs(seconds).min(AFTER_MAX));
    match code {
        429 => PostError::Again { problem, after: after.or_else(|| retry_after(&answer.headers)) },
        500..=599 if after.is_some() => PostError::Again { problem, after },
        500..=599 => PostError::InDoubt { problem, after: retry_after(&answer.headers) },
        _ => refused(problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::StatusCode;
    use reqwest::header::HeaderMap;

    #[test]
    fn a_chat_is_left_alone_as_long_as_it_asks_and_an_hour_at_most() {
        for (code, seconds, wanted) in [(429, 7, 7), (429, u64::MAX, 3_600), (500, 999_999, 3_600)] {
            let body = format!(
                "{{\"ok\": false, \"error_code\": {code}, \"parameters\": {{\"retry_after\": {seconds}}}}}"
            );
            let answer = Answer {
                status: StatusCode::from_u16(code).unwrap(),
                headers: HeaderMap::new(),
                body: body.into_bytes(),
            };
            match understood::<Message>("send", &answer) {
                Err(PostError::Again { after, .. }) => assert_eq!(after, Some(Duration::from_secs(wanted))),
                other => panic!("{:?}", other.map(|message| message.message_id)),
            }
        }
    }
}
