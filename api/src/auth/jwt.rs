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

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

    /// The key pair of RFC 8037, appendix A.
    const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const PRIVATE: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
    const SECRET: &str = "a secret of thirty-two characters";

    fn private_key() -> EncodingKey {
        use base64::Engine as _;
        let seed = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(PRIVATE).expect("base64");
        // PKCS #8 of an Ed25519 key is these bytes and the seed.
        let head =
            [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20].into_iter().chain(seed);
        EncodingKey::from_ed_der(&head.collect::<Vec<u8>>())
    }

    fn claims(changes: &Value) -> Value {
        let mut claims = json!({
            "sub": "anna", "exp": 4_102_444_800_u64, "iss": "here", "aud": "tombola",
            "roles": ["producer"], "tenant": "acme",
        });
        for (name, value) in changes.as_object().expect("changes are an object") {
            claims[name] = value.clone();
        }
        claims
    }

    fn signed(algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey, changes: &Value) -> String {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
        encode(&header, &claims(changes), key).expect("it can be signed")
    }

    fn verify(verifier: &Verifier, token: &str) -> Option<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(verifier.verify(token)).map(|principal| principal.name)
    }

    fn verifier(dir: &Path) -> Verifier {
        let jwks =
            json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": PUBLIC, "alg": "EdDSA"}]});
        let (jwks_file, secret_file) = (dir.join("jwks.json"), dir.join("secret"));
        std::fs::write(&jwks_file, jwks.to_string()).expect("writable");
        std::fs::write(&secret_file, SECRET).expect("writable");
        let settings = JwtSettings {
            jwks_file: Some(jwks_file),
            secret_file: Some(secret_file),
            issuer: Some("here".to_owned()),
            audience: Some("tombola".to_owned()),
            jwks_url: None,
        };
        Verifier::new(&settings).expect("good settings")
    }

    #[test]
    fn a_token_counts_where_its_key_its_times_and_its_claims_are_right() {
        let dir = tempfile::tempdir().expect("a folder");
        let verifier = verifier(dir.path());
        let (key, none) = (private_key(), json!({}));
        let good = signed(Algorithm::EdDSA, Some("one"), &key, &none);
        assert_eq!(verify(&verifier, &good).as_deref(), Some("jwt:anna"));
        let secret = EncodingKey::from_secret(SECRET.as_bytes());
        assert!(verify(&verifier, &signed(Algorithm::HS256, None, &secret, &none)).is_some());
        for (what, changes) in [
            ("expired", json!({"exp": 1_000_000_000})),
            ("not yet", json!({"nbf": 4_000_000_000_u64})),
            ("another issuer", json!({"iss": "there"})),
            ("another audience", json!({"aud": "others"})),
            ("an unknown role", json!({"roles": ["king"]})),
        ] {
            let token = signed(Algorithm::EdDSA, Some("one"), &key, &changes);
            assert_eq!(verify(&verifier, &token), None, "{what}");
        }
        assert_eq!(verify(&verifier, &signed(Algorithm::EdDSA, Some("two"), &key, &none)), None);
        let (head, tail) = good.rsplit_once('.').expect("three parts");
        let forged = format!("{head}.{}", tail.chars().rev().collect::<String>());
        assert_eq!(verify(&verifier, &forged), None);
    }

    #[test]
    fn a_public_key_is_no_secret_and_nothing_goes_unsigned() {
        let dir = tempfile::tempdir().expect("a folder");
        let verifier = verifier(dir.path());
        for secret in [PUBLIC, "", "one"] {
            let key = EncodingKey::from_secret(secret.as_bytes());
            assert_eq!(verify(&verifier, &signed(Algorithm::HS256, Some("one"), &key, &json!({}))), None);
        }
        // {"alg":"none"}
        let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", "eyJzdWIiOiJhbm5hIn0");
        assert_eq!(verify(&verifier, &unsigned), None);
    }
}
