//! API keys: a file of their SHA-256 hashes and who they are of.
//!
//! ```toml
//! [[key]]
//! name = "till-7"
//! sha256 = "…"                # printf %s KEY | sha256sum
//! roles = ["producer"]
//! tenant = "lucky-seven"
//! ```
//!
//! A key is looked up by its hash, so how long it takes tells nothing about keys. A key should be random and of 32
//! characters or more: a hash without salt protects no word that can be guessed.

use super::{AuthError, Principal, Role};
use schemas::Text;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::path::Path;

/// Keys by their hashes.
#[derive(Debug, Default)]
pub struct KeyFile {
    keys: HashMap<[u8; 32], Principal>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    key: Vec<Entry>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    sha256: String,
    roles: Vec<Role>,
    tenant: Option<Text>,
    partner: Option<Text>,
}

impl KeyFile {
    /// Reads a file.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn read(path: &Path) -> Result<KeyFile, AuthError> {
        let wrong = |problem: String| {
            AuthError(format!("{}: {problem}; docs/api.md shows such a file", path.display()))
        };
        let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
        KeyFile::parse(&text).map_err(wrong)
    }

    fn parse(text: &str) -> Result<KeyFile, String> {
        // The parser's own message may show the line, and with it a hash.
        let file: File = toml::from_str(text).map_err(|e| e.message().to_owned())?;
        let mut keys = HashMap::new();
        for Entry { name, sha256, roles, tenant, partner } in file.key {
            let hash = unhex(&sha256).ok_or_else(|| format!("{name}: sha256 must have 64 digits 0-9a-f"))?;
            let called = format!("key:{name}");
            let principal = Principal { name: called, roles, tenant, partner, ends_at_ms: None };
            principal.check().map_err(|problem| format!("{name}: {problem}"))?;
            if keys.values().any(|known: &Principal| known.name == principal.name) {
                return Err(format!("{name} is there twice"));
            }
            keys.insert(hash, principal);
        }
        Ok(KeyFile { keys })
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whose key this is.
    pub fn find(&self, key: &str) -> Option<&Principal> {
        if self.keys.is_empty() {
            return None;
        }
        let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        self.keys.get(&hash)
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut bytes = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, more: &str) -> String {
        let hash =
            Sha256::digest(key.as_bytes()).iter().fold(String::new(), |out, b| format!("{out}{b:02x}"));
        format!("[[key]]\nname = \"{key}\"\nsha256 = \"{hash}\"\n{more}\n")
    }

    #[test]
    fn a_key_is_found_by_its_hash_and_no_other_is() {
        let text =
            entry("one", "roles = [\"producer\"]\ntenant = \"t\"") + &entry("two", "roles = [\"operator\"]");
        let keys = KeyFile::parse(&text).expect("good");
        assert_eq!(keys.find("one").map(|p| p.name.as_str()), Some("key:one"));
        assert_eq!(keys.find("two").and_then(|p| p.tenant.clone()), None);
        assert!(keys.find("three").is_none());
    }

    #[test]
    fn an_entry_that_would_see_too_much_is_refused() {
        for (more, wanted) in [
            ("roles = [\"producer\"]", "names no tenant"),
            ("roles = []\ntenant = \"t\"", "names no role"),
            ("roles = [\"partner\"]\ntenant = \"t\"", "names no partner"),
            ("roles = [\"king\"]", "unknown variant"),
        ] {
            let problem = KeyFile::parse(&entry("k", more)).expect_err("refused");
            assert!(problem.contains(wanted), "{more}: {problem}");
        }
    }
}
