//! Errors as clients see them: problem documents by RFC 9457.
//!
//! A problem says what is wrong and what to do about it, never what the server's insides look like.

use crate::backend::Failed;
use serde_json::{Map, Value, json};
use warp::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use warp::http::{Response, StatusCode};

/// An answer's body and head.
pub type Answer = warp::reply::Response;

/// Which kind of problem an answer is: goes with it to who counts answers.
#[derive(Clone, Copy)]
struct Told(&'static str);

/// What is wrong.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    /// The last part of its `type`: a word for programs.
    kind: &'static str,
    title: &'static str,
    detail: String,
    retry_after_s: Option<u64>,
    more: Map<String, Value>,
}

/// Every kind of problem there is: its word, its status and its title.
pub const KINDS: &[(&str, u16, &str)] = &[
    ("malformed", 400, "The request can't be read"),
    ("unauthenticated", 401, "Who are you?"),
    ("forbidden", 403, "This is not yours"),
    ("not-found", 404, "There is no such thing"),
    ("method-not-allowed", 405, "This can't be done here"),
    ("position-gone", 410, "The stream can't be gone on with"),
    ("timeout", 408, "The request took too long"),
    ("too-large", 413, "The request is too large"),
    ("unsupported-media-type", 415, "Send JSON"),
    ("invalid", 422, "A field is wrong"),
    ("idempotency-conflict", 422, "The key was used for something else"),
    ("dead-letter", 422, "Nothing could be done with it"),
    ("payment-not-confirmed", 409, "The ticket was not bought"),
    ("too-many-requests", 429, "Slower, please"),
    ("overloaded", 503, "Too much at once"),
    ("unavailable", 503, "A store is away"),
    ("not-decided-yet", 503, "It is not decided yet"),
    ("not-ready", 503, "The pipeline is not keeping up"),
];

impl Problem {
    /// One of [`KINDS`], with what exactly is wrong and what to do.
    pub fn new(kind: &'static str, detail: impl Into<String>) -> Self {
        let (_, status, title) =
            KINDS.iter().find(|(known, ..)| *known == kind).copied().unwrap_or(("", 500, "A defect"));
        Problem {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            kind,
            title,
            detail: detail.into(),
            retry_after_s: (status == 429 || status == 503).then_some(1),
            more: Map::new(),
        }
    }

    /// Ask again after so many seconds.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds.max(1));
        self
    }

    /// A member of its own.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// As an answer.
    pub fn answer(&self) -> Answer {
        let mut body = json!({
            "type": format!("/problems/{}", self.kind),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Value::Object(fields) = &mut body {
            fields.extend(self.more.clone());
        }
        let mut answer = Response::new(body.to_string().into());
        *answer.status_mut() = self.status;
        answer.extensions_mut().insert(Told(self.kind));
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

/// Which kind of problem an answer is; empty where it is none.
pub fn kind_of(answer: &Answer) -> &'static str {
    answer.extensions().get().map_or("", |Told(kind)| kind)
}

impl From<Failed> for Problem {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Away(problem) => {
                // What a store says may name hosts and files: that is the operator's to know.
                tracing::warn!(problem, "a request failed");
                Problem::new("unavailable", "a store can't be reached; send the same request again")
            }
            Failed::Refused(problem) => Problem::new("invalid", problem),
            Failed::TooLong(problem) => {
                tracing::warn!(problem, "a request took too long");
                Problem::new("overloaded", "the answer takes too long; ask for less, or later")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_listed_once() {
        let mut kinds: Vec<&str> = KINDS.iter().map(|(kind, ..)| *kind).collect();
        kinds.sort_unstable();
        let count = kinds.len();
        kinds.dedup();
        assert_eq!(kinds.len(), count);
    }

    #[test]
    fn what_may_be_tried_again_says_when() {
        let answer = Problem::new("overloaded", "x").answer();
        assert_eq!(
            (answer.status().as_u16(), answer.headers()["retry-after"].to_str().ok()),
            (503, Some("1"))
        );
        let answer = Problem::new("too-many-requests", "x").retry_after(7).answer();
        assert_eq!(
            (answer.status().as_u16(), answer.headers()["retry-after"].to_str().ok()),
            (429, Some("7"))
        );
    }
}
