//! A webhook, signed as Standard Webhooks say.
//!
//! ```text
//!   webhook-id         the post's key: the same for every try, so that the receiver drops what it has
//!   webhook-timestamp  seconds, of this try
//!   webhook-signature  v1,base64(HMAC-SHA256(secret, "<id>.<timestamp>.<body>"))
//! ```
//!
//! The body is the same for every try, too. That a receiver shows nothing twice is its part of the standard: it
//! must remember `webhook-id`.

use super::http::{self, failed, refused, send};
use super::{Network, Post, PostError, Posted, Repeat, Target};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, Url};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the standard asks for: 24 bytes or more.
const KEY_BYTES_MIN: usize = 24;

/// A receiver.
pub struct Webhook {
    client: Client,
    endpoint: Url,
    key: Vec<u8>,
}

impl Webhook {
    /// A receiver at an endpoint. Its secret is `whsec_` and base64.
    ///
    /// # Errors
    /// [`PostError::Refused`].
    pub fn new(target: Target) -> Result<Self, PostError> {
        let secret = target.secret.expose();
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(secret)).ok();
        let key = key.filter(|key| key.len() >= KEY_BYTES_MIN).ok_or_else(|| {
            refused("the secret of a webhook must be whsec_ and base64 of at least 24 bytes".to_owned())
        })?;
        Ok(Webhook { client: http::client(&target.http)?, endpoint: http::endpoint(&target.endpoint)?, key })
    }

    async fn deliver(&self, id: &str, body: String) -> Result<Posted, PostError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let request = self
            .client
            .post(self.endpoint.clone())
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", now)
            .header("webhook-signature", signature(&self.key, id, now, &body))
            .body(body);
        let answer = send(request).await?;
        match answer.status.as_u16() {
            200..=299 => Ok(Posted { external_id: id.to_owned() }),
            410 => Err(refused("the receiver is gone (410): pause the channel".to_owned())),
            _ => Err(failed("deliver the webhook", &answer, None)),
        }
    }
}

/// An id without what a header can't carry, and as short as the standard's own.
fn message_id(key: &str) -> String {
    format!("msg_{}", &crate::digest::hex(&Sha256::digest(key.as_bytes()))[..40])
}

fn signature(key: &[u8], id: &str, seconds: u64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(format!("{id}.{seconds}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

fn body(post: &Post) -> String {
    let result = &post.result;
    let image = post.image.as_ref().map(|image| {
        json!({ "path": image.path, "url": image.url, "sha256": image.sha256, "bytes": image.png.len() })
    });
    let at =
        jiff::Timestamp::from_millisecond(post.requested_at_ms).map(|at| at.to_string()).unwrap_or_default();
    json!({
        "type": if result.supersedes.is_some() { "draw.corrected" } else { "draw.published" },
        "timestamp": at,
        "data": {
            "tenant": result.tenant,
            "draw_id": result.draw_id,
            "revision": result.revision,
            "supersedes": result.supersedes,
            "game": result.game,
            "numbers": result.numbers,
            "bonus": result.bonus,
            "prizes": result.prizes,
            "drawn_at_ms": result.drawn_at_ms,
            "jackpot_minor": result.jackpot_minor,
            "currency": result.currency,
            "locale": post.locale,
            "text": post.lines,
            "image": image,
        }
    })
    .to_string()
}

impl Network for Webhook {
    fn repeat(&self) -> Repeat {
        Repeat::Recognised
    }

    fn post<'a>(&'a self, post: &'a Post) -> BoxFuture<'a, Result<Posted, PostError>> {
        Box::pin(async move { self.deliver(&message_id(&post.key), body(post)).await })
    }

    fn check(&self) -> BoxFuture<'_, Result<String, PostError>> {
        Box::pin(async {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
            let body = json!({ "type": "channel.test", "timestamp": jiff::Timestamp::now().to_string(), "data": {} });
            let posted = self.deliver(&message_id(&format!("test {now}")), body.to_string()).await?;
            Ok(format!("the receiver took the test message {}", posted.external_id))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_signed_as_the_standard_has_it() {
        // The example of the specification's reference libraries.
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, "{\"test\": 2432232314}");
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
