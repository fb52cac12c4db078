//! What all networks share of HTTP: one client each, bounded answers, and what an answer means.
//!
//! A call that never reached the server has certainly done nothing; one whose answer was lost may have. So
//! errors are sorted by that, and not by how they look.

use super::PostError;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use std::time::{Duration, SystemTime};

/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Most characters of an answer that are repeated in a message.
const QUOTED_CHARS_MAX: usize = 300;
/// A server that asks for more is taken at this.
pub(super) const AFTER_MAX: Duration = Duration::from_secs(3_600);

/// How patient a call is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    pub connect_timeout_ms: u64,
    /// Of a whole request with its answer.
    pub timeout_ms: u64,
    /// Of a medium that the network is still working on.
    pub processing_ms_max: u64,
}

impl Default for HttpSettings {
    fn default() -> Self {
        HttpSettings { connect_timeout_ms: 5_000, timeout_ms: 30_000, processing_ms_max: 60_000 }
    }
}

/// An answer that came whole.
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// A client for one channel. It follows no redirect: a secret goes where it was meant to go.
pub(super) fn client(settings: &HttpSettings) -> Result<Client, PostError> {
    let client = Client::builder()
        .connect_timeout(Duration::from_millis(settings.connect_timeout_ms))
        .timeout(Duration::from_millis(settings.timeout_ms))
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("tombola/", env!("CARGO_PKG_VERSION")))
        .build();
    client.map_err(|e| refused(format!("no HTTP client can be made: {}", told(e))))
}

/// A URL that a secret may be sent to: over TLS, or to this machine.
pub(super) fn endpoint(text: &str) -> Result<Url, PostError> {
    let wrong = |why: &str| refused(format!("the channel's endpoint {text:?} {why}"));
    let url = Url::parse(text).map_err(|_| wrong("is no URL"))?;
    let local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    match url.scheme() {
        "https" => Ok(url),
        "http" if local => Ok(url),
        "http" => Err(wrong("must begin with https://: a secret is sent there")),
        _ => Err(wrong("must begin with https://")),
    }
}

/// A path below an endpoint.
pub(super) fn below(endpoint: &Url, path: &str) -> String {
    format!("{}/{path}", endpoint.as_str().trim_end_matches('/'))
}

/// Sends a request and waits for the whole answer.
pub(super) async fn send(request: RequestBuilder) -> Result<Answer, PostError> {
    let mut response = request.send().await.map_err(|e| lost(e, true))?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= ANSWER_BYTES_MAX => body.extend_from_slice(&chunk),
            Ok(Some(_)) => {
                let problem = format!("the answer {status} is longer than {ANSWER_BYTES_MAX} bytes");
                return Err(PostError::InDoubt { problem, after: None });
            }
            Ok(None) => return Ok(Answer { status, headers, body }),
            Err(e) => return Err(lost(e, false)),
        }
    }
}

/// A request without an answer. `connecting`: it may not have been sent at all.
fn lost(error: reqwest::Error, connecting: bool) -> PostError {
    let never_sent = connecting && (error.is_connect() || error.is_builder());
    let problem = told(error);
    if never_sent {
        PostError::Again { problem, after: None }
    } else {
        PostError::InDoubt { problem, after: None }
    }
}

/// The message with its causes and without the URL, which may hold a token.
fn told(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        message.push_str(&format!(": {error}"));
        cause = error.source();
    }
    message
}

pub(super) fn refused(problem: String) -> PostError {
    PostError::Refused { problem }
}

/// What an answer that isn't a success means where the server acts on a request as a whole or not at all.
pub(super) fn failed(doing: &str, answer: &Answer, message: Option<String>) -> PostError {
    let said = message.unwrap_or_else(|| quoted(&answer.body));
    let problem = format!("{doing}: {} {said}", answer.status).trim_end().to_owned();
    let after = retry_after(&answer.headers);
    match answer.status.as_u16() {
        408 | 425 | 429 | 503 => PostError::Again { problem, after },
        500..=599 => PostError::InDoubt { problem, after },
        _ => refused(problem),
    }
}

/// How long the server wants to be left alone: `Retry-After` in seconds or as a date, or Mastodon's reset time.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let until = |at: jiff::Timestamp| {
        let at = SystemTime::from(at);
        at.duration_since(SystemTime::now()).ok()
    };
    let header = text(RETRY_AFTER.as_str()).and_then(|value| {
        let seconds = value.parse().ok().map(Duration::from_secs);
        let date = || jiff::fmt::rfc2822::parse(value).ok().and_then(|at| until(at.timestamp()));
        seconds.or_else(date)
    });
    let reset = || text("x-ratelimit-reset").and_then(|value| value.parse().ok()).and_then(until);
    let spent = || text("x-ratelimit-remaining") == Some("0");
    header.or_else(|| if spent() { reset() } else { None }).map(|after| after.min(AFTER_MAX))
}

/// The beginning of an answer, for messages.
pub(super) fn quoted(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(QUOTED_CHARS_MAX).collect();
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect::<HeaderMap>()
    }

    #[test]
    fn a_server_says_in_several_ways_how_long_it_wants_to_be_left_alone() {
        let seconds = |pairs: &[(&'static str, &str)]| retry_after(&headers(pairs)).map(|d| d.as_secs());
        assert_eq!(seconds(&[("retry-after", "7")]), Some(7));
        assert_eq!(seconds(&[("retry-after", "999999")]), Some(3_600));
        assert_eq!(seconds(&[("retry-after", "soon")]), None);
        assert_eq!(seconds(&[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")]), None);
        let reset = (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(100)).to_string();
        let limited = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", reset.as_str())];
        assert!((90..=100).contains(&seconds(&limited).unwrap()));
        assert_eq!(seconds(&[("x-ratelimit-remaining", "3"), ("x-ratelimit-reset", &reset)]), None);
    }

    #[test]
    fn a_secret_goes_over_tls_or_stays_here() {
        for (text, fine) in [
            ("https://mastodon.example", true),
            ("http://127.0.0.1:8080/x", true),
            ("http://localhost", true),
            ("http://mastodon.example", false),
            ("ftp://127.0.0.1", false),
            ("mastodon.example", false),
        ] {
            assert_eq!(endpoint(text).is_ok(), fine, "{text}");
        }
    }
}
