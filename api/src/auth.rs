//! Who asks, and what they may.
//!
//! ```text
//!   Authorization: Bearer ─┬─ three parts with dots ─> JWT, by its key ─┐
//!                          └─ else ─> API key, by its SHA-256 ──────────┴─> Principal
//! ```
//!
//! A principal belongs to a tenant; only an operator may have none, and then speaks for all. A partner sees its
//! own rows of its tenant. Keys and tokens are never logged, and kept only as hashes.

mod jwks;
mod jwt;
mod keys;

use crate::problem::Problem;
pub use jwt::JwtSettings;
pub use keys::KeyFile;
use schemas::Text;
use std::path::PathBuf;

/// What somebody may do. See `docs/api.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Producer,
    Analyst,
    Operator,
    Partner,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Unique: idempotency keys are within it.
    pub name: String,
    pub roles: Vec<Role>,
    pub tenant: Option<Text>,
    pub partner: Option<Text>,
    /// When its token ends, UTC milliseconds; none where it has no end.
    pub ends_at_ms: Option<i64>,
}

/// How callers are recognised.
#[derive(Clone, Debug, Default)]
pub struct AuthSettings {
    /// Everybody is an operator of every tenant. Only for a loopback address.
    pub open: bool,
    pub keys_file: Option<PathBuf>,
    pub jwt: JwtSettings,
}

/// A setting that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AuthError(pub String);

/// Recognises callers.
pub struct Auth {
    open: bool,
    keys: KeyFile,
    jwt: jwt::Verifier,
}

impl Auth {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// Where one can't be read or used, or nobody could ever be recognised.
    pub fn new(settings: &AuthSettings) -> Result<Auth, AuthError> {
        let keys = settings.keys_file.as_deref().map(KeyFile::read).transpose()?.unwrap_or_default();
        let jwt = jwt::Verifier::new(&settings.jwt, jwks::Pace::default())?;
        if !settings.open && keys.is_empty() && !jwt.can_verify() {
            return Err(AuthError(
                "nobody could use the API: set api.keys_file, api.jwks_file, api.jwks_url or \
                 api.jwt_secret_file"
                    .to_owned(),
            ));
        }
        Ok(Auth { open: settings.open, keys, jwt })
    }

    /// Whether everybody may do everything.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Who sends this `Authorization` header.
    ///
    /// # Errors
    /// 401 where nobody can be recognised by it.
    pub async fn who(&self, header: Option<&str>) -> Result<Principal, Problem> {
        let unknown = |problem: &str| Problem::new("unauthenticated", problem);
        let Some(header) = header else {
            if self.open {
                return Ok(Principal::everybody());
            }
            return Err(unknown("send `Authorization: Bearer` with a token or an API key"));
        };
        let token = header.strip_prefix("Bearer ").or_else(|| header.strip_prefix("bearer "));
        let token = token.ok_or_else(|| unknown("the header must begin with `Bearer`"))?.trim();
        let found = match self.keys.find(token) {
            Some(principal) => Some(principal.clone()),
            None => self.jwt.verify(token).await,
        };
        let principal = found.ok_or_else(|| unknown("the token or key is not known, or no longer valid"))?;
        principal.check().map_err(|problem| Problem::new("forbidden", problem))?;
        Ok(principal)
    }
}

impl Principal {
    /// Who everybody is in development.
    pub fn everybody() -> Principal {
        let (name, roles) = ("development".to_owned(), vec![Role::Operator]);
        Principal { name, roles, tenant: None, partner: None, ends_at_ms: None }
    }

    /// Whether one of the roles is its own. An operator may do what the others may.
    pub fn may(&self, roles: &[Role]) -> bool {
        self.roles.iter().any(|role| *role == Role::Operator || roles.contains(role))
    }

    /// The partner whose rows alone it sees, if it is nothing more than a partner.
    pub fn only_partner(&self) -> Option<&Text> {
        let more = self.may(&[Role::Analyst]);
        if more { None } else { self.partner.as_ref() }
    }

    /// A principal without a tenant speaks for all of them, and a partner must say which one it is.
    fn check(&self) -> Result<(), String> {
        if self.roles.is_empty() {
            return Err("the token names no role: producer, analyst, operator or partner".to_owned());
        }
        let operator = self.roles.contains(&Role::Operator);
        if self.tenant.is_none() && !operator {
            return Err("the token names no tenant".to_owned());
        }
        if self.roles.contains(&Role::Partner) && self.partner.is_none() {
            return Err("the token of a partner names no partner".to_owned());
        }
        Ok(())
    }

    /// The tenant it speaks for: its own, else the one it names.
    ///
    /// # Errors
    /// 403 where it names another's; 422 where it has none and names none.
    pub fn tenant(&self, named: Option<Text>) -> Result<Text, Problem> {
        self.tenant_or_all(named)?.ok_or_else(|| crate::fields::invalid("tenant", "say which tenant"))
    }

    /// The same; none where all are meant.
    ///
    /// # Errors
    /// As [`Principal::tenant`].
    pub fn tenant_or_all(&self, named: Option<Text>) -> Result<Option<Text>, Problem> {
        match (&self.tenant, named) {
            (Some(own), Some(named)) if *own != named => {
                Err(Problem::new("forbidden", "your token is another tenant's"))
            }
            (Some(own), _) => Ok(Some(own.clone())),
            (None, named) => Ok(named),
        }
    }
}
