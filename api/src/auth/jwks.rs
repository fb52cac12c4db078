//! Public keys that tokens are verified with: of a file, and of a URL that is asked again as keys come and go.
//!
//! ```text
//!   a token's kid ─┬─ known ────────────────────────> key     (older than AGE_MAX: asked again meanwhile)
//!                  └─ not known ─ ask, not too often ─> key, or none
//! ```
//!
//! While the URL is away, what it said last counts. What it says replaces what it said before, so a key that was
//! withdrawn counts no longer, [`Pace::age_max`] later at the latest. Each key verifies the one algorithm of its own family;
//! shared secrets don't belong in a set that anybody may read, and are never taken from one.

use super::AuthError;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long an answer may take, and how large it may be.
const FETCH_MAX: Duration = Duration::from_secs(5);
const BYTES_MAX: usize = 1 << 20;

/// How often a URL is asked.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Least time after an answer, however many tokens name keys that aren't known.
    pub again_min: Duration,
    /// Least time after a failure.
    pub retry_min: Duration,
    /// After so long, what it said is asked for again.
    pub age_max: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Pace { again_min: seconds(10), retry_min: seconds(2), age_max: seconds(300) }
    }
}

/// A key and the one algorithm it verifies.
#[derive(Clone)]
pub struct Key {
    pub algorithm: Algorithm,
    pub key: DecodingKey,
}

/// Keys by their id; one without an id has none.
type Keys = HashMap<Option<String>, Arc<Key>>;

/// See the module. Clones share what is known.
#[derive(Clone)]
pub struct Jwks {
    known: Arc<RwLock<Keys>>,
    of_file: Keys,
    remote: Option<Arc<Remote>>,
}

struct Remote {
    client: reqwest::Client,
    url: String,
    pace: Pace,
    /// Held while it is asked.
    asked: Mutex<Asked>,
    /// When it last answered.
    answered: RwLock<Option<Instant>>,
}

#[derive(Clone, Copy)]
enum Asked {
    Never,
    Answered(Instant),
    Failed(Instant),
}

impl Jwks {
    /// Reads the file; the URL is asked when the first token comes.
    ///
    /// # Errors
    /// Names the setting or the file, and what is wrong with it.
    pub fn new(file: Option<&Path>, url: Option<&str>, pace: Pace) -> Result<Jwks, AuthError> {
        let of_file = file.map(keys_of_file).transpose()?.unwrap_or_default();
        let remote = url.map(|url| Remote::new(url, pace)).transpose()?.map(Arc::new);
        Ok(Jwks { known: Arc::new(RwLock::new(of_file.clone())), of_file, remote })
    }

    /// Whether it has no key and will never have one.
    pub fn is_empty(&self) -> bool {
        self.remote.is_none() && self.of_file.is_empty()
    }

    /// The key of this id, asked for where it isn't known.
    pub async fn find(&self, kid: &Option<String>) -> Option<Arc<Key>> {
        let known = self.known(kid);
        let Some(remote) = &self.remote else { return known };
        if known.is_none() {
            let asked = remote.asked.lock().await;
            // Somebody may have asked while this one waited.
            if self.known(kid).is_none() {
                self.refresh(remote, asked).await;
            }
            return self.known(kid);
        }
        if remote.is_old() {
            // What is known is good enough for this one.
            let jwks = self.clone();
            tokio::spawn(async move {
                if let Some(remote) = &jwks.remote
                    && let Ok(asked) = remote.asked.try_lock()
                {
                    jwks.refresh(remote, asked).await;
                }
            });
        }
        known
    }

    fn known(&self, kid: &Option<String>) -> Option<Arc<Key>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(kid).cloned()
    }

    /// Asks the URL, unless it was asked a moment ago.
    async fn refresh(&self, remote: &Remote, mut asked: tokio::sync::MutexGuard<'_, Asked>) {
        let soon = match *asked {
            Asked::Never => false,
            Asked::Answered(at) => at.elapsed() < remote.pace.again_min,
            Asked::Failed(at) => at.elapsed() < remote.pace.retry_min,
        };
        if soon {
            return;
        }
        match remote.fetch().await {
            Ok(fetched) => {
                let mut keys = self.of_file.clone();
                keys.extend(fetched);
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = keys;
                *remote.answered.write().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                *asked = Asked::Answered(Instant::now());
            }
            Err(problem) => {
                *asked = Asked::Failed(Instant::now());
                let url = &remote.url;
                tracing::warn!(url, problem, "keys of tokens can't be fetched; those that are known count");
            }
        }
    }
}

impl Remote {
    fn new(url: &str, pace: Pace) -> Result<Remote, AuthError> {
        // Whoever is asked over TLS can't send us elsewhere without it.
        let client = reqwest::Client::builder().timeout(FETCH_MAX).https_only(url.starts_with("https://"));
        let client = client.build().map_err(|e| AuthError(format!("api.jwks_url: {e}")))?;
        let (asked, answered) = (Mutex::new(Asked::Never), RwLock::default());
        Ok(Remote { client, url: url.to_owned(), pace, asked, answered })
    }

    fn is_old(&self) -> bool {
        let answered = *self.answered.read().unwrap_or_else(PoisonError::into_inner);
        answered.is_none_or(|at| at.elapsed() > self.pace.age_max)
    }

    async fn fetch(&self) -> Result<Keys, String> {
        let answer = self.client.get(&self.url).send().await.map_err(|e| e.to_string())?;
        let mut answer = answer.error_for_status().map_err(|e| e.to_string())?;
        let mut text = Vec::new();
        while let Some(more) = answer.chunk().await.map_err(|e| e.to_string())? {
            text.extend_from_slice(&more);
            if text.len() > BYTES_MAX {
                return Err(format!("it is longer than {BYTES_MAX} bytes"));
            }
        }
        keys_of(&text)
    }
}

fn keys_of_file(path: &Path) -> Result<Keys, AuthError> {
    let wrong = |problem: String| AuthError(format!("{}: {problem}; name a JWKS", path.display()));
    let keys = keys_of(&std::fs::read(path).map_err(|e| wrong(e.to_string()))?).map_err(wrong)?;
    if keys.is_empty() {
        return Err(wrong("no key in it verifies RS256 or EdDSA".to_owned()));
    }
    Ok(keys)
}

/// The keys of a set that can be used; others are for other purposes, and a set may hold them (RFC 7517, section 5).
fn keys_of(text: &[u8]) -> Result<Keys, String> {
    let set: Value = serde_json::from_slice(text).map_err(|e| format!("it is no JWKS: {e}"))?;
    let listed = set["keys"].as_array().ok_or("it is no JWKS: it has no list `keys`")?;
    let usable = listed.iter().filter_map(|key| {
        let jwk: Jwk = serde_json::from_value(key.clone()).ok()?;
        let (algorithm, key) = (algorithm_of(&jwk)?, DecodingKey::from_jwk(&jwk).ok()?);
        Some((jwk.common.key_id, Arc::new(Key { algorithm, key })))
    });
    Ok(usable.collect())
}

/// RSA keys verify RS256, Ed25519 keys EdDSA, unless they say that they are for something else.
fn algorithm_of(jwk: &Jwk) -> Option<Algorithm> {
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return None,
    };
    let signs = jwk.common.public_key_use.as_ref().is_none_or(|is_for| *is_for == PublicKeyUse::Signature);
    let its_own = jwk.common.key_algorithm.as_ref().is_none_or(|its| *its == named);
    (signs && its_own).then_some(algorithm)
}
