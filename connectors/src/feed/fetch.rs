//! One document over HTTP, within limits, or the reason why not.
//!
//! A document is taken whole or not at all: an answer that breaks off, or that doesn't say where it ends, is a
//! failure, since a row cut in two may look like a row.

use reqwest::StatusCode;
use reqwest::blocking::{Client, Response};
use reqwest::header::{
    ETAG, HeaderMap, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, RETRY_AFTER,
    TRANSFER_ENCODING,
};
use std::io::Read as _;
use std::time::{Duration, Instant};

/// What a publisher said a document is known by, to ask whether it is still the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Validators {
    pub etag: Option<String>,
    pub last_modified: Option<String>,
}

/// How long it may take and how big it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub timeout: Duration,
    pub bytes_max: u64,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The same document as before.
    Unchanged,
    Document {
        body: Vec<u8>,
        validators: Validators,
    },
}

/// Why there is no document. All of these may pass; the source is asked again.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("{url}: {problem}")]
    Unreachable { url: String, problem: String },
    #[error("{url} answers {status}")]
    Status { url: String, status: StatusCode, retry_after_ms: Option<u64> },
    #[error("{url}: the answer took longer than {timeout_ms} ms; raise timeout_ms if that is usual there")]
    Slow { url: String, timeout_ms: u128 },
    #[error("{url}: the document has more than {bytes_max} bytes; raise bytes_max if that is right")]
    Big { url: String, bytes_max: u64 },
    #[error("{url}: the answer says neither Content-Length nor chunks, so nobody knows whether it is whole")]
    Unbounded { url: String },
}

impl FetchError {
    /// How long the publisher wants to be left alone.
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            FetchError::Status { retry_after_ms, .. } => *retry_after_ms,
            _ => None,
        }
    }
}

/// A client of HTTP.
#[derive(Debug)]
pub struct Http {
    client: Client,
    limits: Limits,
}

impl Http {
    /// A client with these limits.
    ///
    /// # Errors
    /// Where the system's TLS can't be set up.
    pub fn new(limits: Limits) -> Result<Self, FetchError> {
        let agent = concat!("tombola/", env!("CARGO_PKG_VERSION"));
        let client = Client::builder().user_agent(agent).timeout(limits.timeout).build();
        let failed =
            |e: reqwest::Error| FetchError::Unreachable { url: "HTTP client".to_owned(), problem: chain(&e) };
        Ok(Http { client: client.map_err(failed)?, limits })
    }

    /// Asks for the document, unless it is still the one that `known` is of.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub fn fetch(&self, url: &str, known: &Validators) -> Result<Fetched, FetchError> {
        let began = Instant::now();
        let mut request = self.client.get(url);
        for (name, value) in [(IF_NONE_MATCH, &known.etag), (IF_MODIFIED_SINCE, &known.last_modified)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let response = request.send().map_err(|e| self.failed(url, &e, e.is_timeout()))?;
        let conditional = *known != Validators::default();
        match response.status() {
            StatusCode::NOT_MODIFIED if conditional => return Ok(Fetched::Unchanged),
            StatusCode::OK => {}
            status => {
                let retry_after_ms = seconds(response.headers()).map(|seconds| seconds.saturating_mul(1_000));
                return Err(FetchError::Status { url: url.to_owned(), status, retry_after_ms });
            }
        }
        let header = |name: HeaderName| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let validators = Validators { etag: header(ETAG), last_modified: header(LAST_MODIFIED) };
        Ok(Fetched::Document { body: self.body(url, response, began)?, validators })
    }

    fn body(&self, url: &str, mut response: Response, began: Instant) -> Result<Vec<u8>, FetchError> {
        let bytes_max = self.limits.bytes_max;
        let big = || FetchError::Big { url: url.to_owned(), bytes_max };
        let chunked = response.headers().contains_key(TRANSFER_ENCODING);
        let framed = response.version() >= reqwest::Version::HTTP_2;
        match response.content_length() {
            Some(bytes) if bytes > bytes_max => return Err(big()),
            None if !chunked && !framed => return Err(FetchError::Unbounded { url: url.to_owned() }),
            _ => {}
        }
        let (mut body, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
        loop {
            // The client's own limit is of each read: whoever sends a byte a second would be waited for for ever.
            if began.elapsed() > self.limits.timeout {
                return Err(self.slow(url));
            }
            let read = response.read(&mut buffer).map_err(|e| {
                let timed_out = e.kind() == std::io::ErrorKind::TimedOut || chain(&e).contains("timed out");
                self.failed(url, &e, timed_out)
            })?;
            if read == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&buffer[..read]);
            if body.len() as u64 > bytes_max {
                return Err(big());
            }
        }
    }

    fn slow(&self, url: &str) -> FetchError {
        FetchError::Slow { url: url.to_owned(), timeout_ms: self.limits.timeout.as_millis() }
    }

    fn failed(&self, url: &str, error: &dyn std::error::Error, timed_out: bool) -> FetchError {
        if timed_out {
            return self.slow(url);
        }
        FetchError::Unreachable { url: url.to_owned(), problem: chain(error) }
    }
}

/// An error with its causes: the outermost alone says only that something went wrong.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// `Retry-After` in seconds. As a date it is left to the back-off.
fn seconds(headers: &HeaderMap) -> Option<u64> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}
