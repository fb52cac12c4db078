//! JSON Web Tokens: signatures by the keys of a JWKS (RS256, EdDSA), or by a shared secret (HS256, for development).
//!
//! ```text
//!   claims: sub, exp, roles: ["producer"], tenant, partner        (iss and aud where the settings name them)
//! ```
//!
//! A key is used with the one algorithm of its own family: what a token's header says can't turn a public key
//! into a secret. Keys from a URL are kept and asked for again when a token names one that isn't known, at most
//! every [`REFRESH_MIN`]; while the URL is away the known ones count.

use super::{AuthError, Principal, Role};
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use schemas::Text;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

/// Least time between two questions for keys.
const REFRESH_MIN: Duration = Duration::from_secs(30);
/// How long an answer may take.
const FETCH_MAX: Duration = Duration::from_secs(5);
/// Fewest bytes of a shared secret.
const SECRET_BYTES_MIN: usize = 32;

/// Which tokens count.
#[derive(Clone, Debug, Default)]
pub struct JwtSettings {
    pub jwks_file: Option<PathBuf>,
    pub jwks_url: Option<String>,
    pub secret_file: Option<PathBuf>,
    pub issuer: Option<String>,
    pub audience: Option<String>,
}

#[derive(serde::Deserialize)]
struct Claims {
    sub: String,
    #[serde(default)]
    roles: Vec<Role>,
    tenant: Option<Text>,
    partner: Option<Text>,
}

struct Key {
    algorithm: Algorithm,
    key: DecodingKey,
}

/// Keys by their id; one without an id has none.
type Keys = HashMap<Option<String>, Key>;

/// Verifies tokens.
pub struct Verifier {
    keys: RwLock<Arc<Keys>>,
    secret: Option<DecodingKey>,
    settings: JwtSettings,
    client: Option<reqwest::Client>,
    /// When the URL was last asked; held while it is.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

impl Verifier {
    /// Reads what the settings name.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn new(settings: &JwtSettings) -> Result<Verifier, AuthError> {
        let keys = match &settings.jwks_file {
            Some(path) => keys_of_file(path)?,
            None => Keys::new(),
        };
        let secret = settings.secret_file.as_deref().map(secret_of_file).transpose()?;
        let client =
            settings.jwks_url.as_ref().map(|_| reqwest::Client::builder().timeout(FETCH_MAX).build());
        let client = client.transpose().map_err(|e| AuthError(format!("api.jwks_url: {e}")))?;
        Ok(Verifier {
            keys: RwLock::new(Arc::new(keys)),
            secret,
            settings: settings.clone(),
            client,
            asked: tokio::sync::Mutex::new(None),
        })
    }

    /// Whether any token could be verified.
    pub fn can_verify(&self) -> bool {
        self.secret.is_some() || self.client.is_some() || !self.known().is_empty()
    }

    /// Who a token is of; none where it isn't valid.
    pub async fn verify(&self, token: &str) -> Option<Principal> {
        let header = decode_header(token).ok()?;
        if header.alg == Algorithm::HS256 {
            return self.claims(token, self.secret.as_ref()?, Algorithm::HS256);
        }
        if !self.known().contains_key(&header.kid) {
            self.refresh(&header.kid).await;
        }
        let keys = self.known();
        let key = keys.get(&header.kid)?;
        (key.algorithm == header.alg).then(|| self.claims(token, &key.key, key.algorithm)).flatten()
    }

    fn claims(&self, token: &str, key: &DecodingKey, algorithm: Algorithm) -> Option<Principal> {
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["exp", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = 30;
        validation.validate_aud = self.settings.audience.is_some();
        if let Some(audience) = &self.settings.audience {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        if let Some(issuer) = &self.settings.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        let Claims { sub, roles, tenant, partner } = decode::<Claims>(token, key, &validation).ok()?.claims;
        Some(Principal { name: format!("jwt:{sub}"), roles, tenant, partner })
    }

    fn known(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    async fn refresh(&self, kid: &Option<String>) {
        let (Some(client), Some(url)) = (&self.client, &self.settings.jwks_url) else { return };
        let mut asked = self.asked.lock().await;
        let recently = asked.is_some_and(|at| at.elapsed() < REFRESH_MIN);
        if recently || self.known().contains_key(kid) {
            return;
        }
        *asked = Some(Instant::now());
        match fetch(client, url).await {
            Ok(fetched) => {
                // Those of the file stay; those of the URL are replaced.
                let mut keys = match &self.settings.jwks_file {
                    Some(path) => keys_of_file(path).unwrap_or_default(),
                    None => Keys::new(),
                };
                keys.extend(fetched);
                *self.keys.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(keys);
            }
            Err(problem) => tracing::warn!(problem, "keys of tokens can't be fetched from api.jwks_url"),
        }
    }
}

async fn fetch(client: &reqwest::Client, url: &str) -> Result<Keys, String> {
    let answer = client.get(url).send().await.map_err(|e| e.to_string())?;
    let answer = answer.error_for_status().map_err(|e| e.to_string())?;
    let text = answer.bytes().await.map_err(|e| e.to_string())?;
    keys_of(&text)
}

fn keys_of_file(path: &Path) -> Result<Keys, AuthError> {
    let wrong = |problem: String| AuthError(format!("{}: {problem}; name a JWKS", path.display()));
    keys_of(&std::fs::read(path).map_err(|e| wrong(e.to_string()))?).map_err(wrong)
}

fn keys_of(text: &[u8]) -> Result<Keys, String> {
    let set: JwkSet = serde_json::from_slice(text).map_err(|e| format!("it is no JWKS: {e}"))?;
    let mut keys = Keys::new();
    for jwk in &set.keys {
        if let Some(algorithm) = algorithm_of(jwk) {
            let key = DecodingKey::from_jwk(jwk).map_err(|e| format!("a key can't be used: {e}"))?;
            keys.insert(jwk.common.key_id.clone(), Key { algorithm, key });
        }
    }
    Ok(keys)
}

/// RSA keys sign RS256, Edwards curves EdDSA; other keys, and shared secrets above all, don't belong in a JWKS.
fn algorithm_of(jwk: &Jwk) -> Option<Algorithm> {
    match jwk.algorithm {
        AlgorithmParameters::RSA(_) => Some(Algorithm::RS256),
        AlgorithmParameters::OctetKeyPair(_) => Some(Algorithm::EdDSA),
        _ => None,
    }
}

fn secret_of_file(path: &Path) -> Result<DecodingKey, AuthError> {
    let wrong = |problem: String| {
        AuthError(format!(
            "{}: {problem}; put a secret of {SECRET_BYTES_MIN} characters or more there",
            path.display()
        ))
    };
    let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    let secret = text.trim();
    if secret.len() < SECRET_BYTES_MIN {
        return Err(wrong(format!("it has {} characters", secret.len())));
    }
    Ok(DecodingKey::from_secret(secret.as_bytes()))
}
