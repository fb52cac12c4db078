//! JSON Web Tokens: signatures by the keys of a JWKS (RS256, EdDSA), or by a shared secret (HS256, for development).
//!
//! ```text
//!   claims: sub, exp, roles: ["producer"], tenant, partner        (iss and aud where the settings name them)
//! ```
//!
//! A key is used with the one algorithm of its own family: what a token's header says can't turn a public key
//! into a secret. Where the keys come from is [`super::jwks`]'s.

use super::jwks::{Jwks, Pace};
use super::{AuthError, Principal, Role};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use schemas::Text;
use std::path::{Path, PathBuf};

/// Fewest bytes of a shared secret.
const SECRET_BYTES_MIN: usize = 32;
/// How far clocks may be apart, in seconds.
const LEEWAY_S: u64 = 30;

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
    /// Seconds; it may have a fraction.
    exp: f64,
    #[serde(default)]
    roles: Vec<Role>,
    tenant: Option<Text>,
    partner: Option<Text>,
}

/// Verifies tokens.
pub struct Verifier {
    keys: Jwks,
    secret: Option<DecodingKey>,
    settings: JwtSettings,
}

impl Verifier {
    /// Reads what the settings name.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn new(settings: &JwtSettings, pace: Pace) -> Result<Verifier, AuthError> {
        let keys = Jwks::new(settings.jwks_file.as_deref(), settings.jwks_url.as_deref(), pace)?;
        let secret = settings.secret_file.as_deref().map(secret_of_file).transpose()?;
        Ok(Verifier { keys, secret, settings: settings.clone() })
    }

    /// Whether any token could be verified.
    pub fn can_verify(&self) -> bool {
        self.secret.is_some() || !self.keys.is_empty()
    }

    /// Who a token is of; none where it isn't valid.
    pub async fn verify(&self, token: &str) -> Option<Principal> {
        let header = decode_header(token).ok()?;
        match header.alg {
            Algorithm::HS256 => self.claims(token, self.secret.as_ref()?, Algorithm::HS256),
            Algorithm::RS256 | Algorithm::EdDSA => {
                let key = self.keys.find(&header.kid).await?;
                (key.algorithm == header.alg).then(|| self.claims(token, &key.key, key.algorithm)).flatten()
            }
            _ => None,
        }
    }

    fn claims(&self, token: &str, key: &DecodingKey, algorithm: Algorithm) -> Option<Principal> {
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["exp", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_S;
        validation.validate_aud = self.settings.audience.is_some();
        if let Some(audience) = &self.settings.audience {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        if let Some(issuer) = &self.settings.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        let Claims { sub, exp, roles, tenant, partner } =
            decode::<Claims>(token, key, &validation).ok()?.claims;
        let ends_at_ms = Some(((exp + LEEWAY_S as f64) * 1_000.0) as i64);
        Some(Principal { name: format!("jwt:{sub}"), roles, tenant, partner, ends_at_ms })
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
#[path = "jwt_tests.rs"]
mod tests;
