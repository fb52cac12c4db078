//! Tickets: what a gate scans, signed so that it can be checked without asking anyone.
//!
//! ```text
//!   TB1 . base64url(content) . base64url(HMAC-SHA256(key, "TB1." + base64url(content)))
//! ```
//!
//! The content is compact JSON, which any scanner can read. The signature covers the version, too, so that
//! a later version can't be passed off as this one. It proves who issued the ticket; that it wasn't
//! refunded since, or scanned before, is for the gate to ask.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use schemas::Text;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

const VERSION: &str = "TB1";

/// What a ticket says. Short names, because a QR code's size is a gate's speed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    #[serde(rename = "t")]
    pub tenant: Text,
    #[serde(rename = "i")]
    pub ticket_id: Text,
    #[serde(rename = "o")]
    pub offer_id: Text,
    #[serde(rename = "n", default, skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<i32>,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub seat: Option<Text>,
}

/// Why a payload is no ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Not a ticket at all, or damaged: scan it again.
    #[error("not a ticket: expected TB1.<content>.<signature>")]
    Malformed,
    /// Another version: update the scanner.
    #[error("a ticket of another version than TB1: update the scanner")]
    Version,
    /// Signed with another key, or forged: refuse it.
    #[error("the signature is not of this key: forged, or of another issuer")]
    Signature,
}

/// Signs tickets with one key.
#[derive(Clone)]
pub struct Signer(Hmac<Sha256>);

impl Signer {
    /// A signer of this key.
    pub fn new(key: &[u8]) -> Self {
        Signer(Hmac::new_from_slice(key).expect("HMAC takes a key of any length"))
    }

    /// The payload of a ticket.
    pub fn sign(&self, content: &Content) -> Text {
        let json = serde_json::to_vec(content).expect("texts and numbers always encode");
        // In one piece: content and signature are a third longer than their bytes.
        let mut payload = String::with_capacity(VERSION.len() + 2 + (json.len() + 32).div_ceil(3) * 4 + 4);
        payload.push_str(VERSION);
        payload.push('.');
        URL_SAFE_NO_PAD.encode_string(json, &mut payload);
        let signature = self.0.clone().chain_update(&payload).finalize().into_bytes();
        payload.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut payload);
        payload.into()
    }

    /// What a payload says, if it was signed with this key.
    ///
    /// # Errors
    /// See [`Invalid`].
    pub fn verify(&self, payload: &str) -> Result<Content, Invalid> {
        let (signed, signature) = payload.rsplit_once('.').ok_or(Invalid::Malformed)?;
        let (version, content) = signed.split_once('.').ok_or(Invalid::Malformed)?;
        if version != VERSION {
            return Err(Invalid::Version);
        }
        let signature = decode(signature)?;
        let mac = self.0.clone().chain_update(signed);
        mac.verify_slice(&signature).map_err(|_| Invalid::Signature)?;
        serde_json::from_slice(&decode(content)?).map_err(|_| Invalid::Malformed)
    }
}

/// What a payload says, if it was signed with `key`.
///
/// # Errors
/// See [`Invalid`].
pub fn verify(payload: &str, key: &[u8]) -> Result<Content, Invalid> {
    Signer::new(key).verify(payload)
}

fn decode(part: &str) -> Result<Vec<u8>, Invalid> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Invalid::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content() -> Content {
        Content {
            tenant: "acme".into(),
            ticket_id: "O1-1".into(),
            offer_id: "gala".into(),
            numbers: vec![3, 14],
            seat: Some("7A".into()),
        }
    }

    #[test]
    fn a_payload_says_what_was_signed() {
        let payload = Signer::new(b"key").sign(&content());
        assert!(payload.starts_with("TB1.") && payload.is_ascii());
        assert_eq!(verify(&payload, b"key"), Ok(content()));
        let json = decode(payload.split('.').nth(1).unwrap()).unwrap();
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"t":"acme","i":"O1-1","o":"gala","n":[3,14],"s":"7A"}"#
        );
    }

    /// Known answer: computed with OpenSSL, so that other scanners agree.
    #[test]
    fn the_signature_is_plain_hmac_sha256() {
        let content = Content { numbers: vec![], seat: None, ..content() };
        assert_eq!(Signer::new(b"key").sign(&content), KNOWN);
    }

    const KNOWN: &str =
        "TB1.eyJ0IjoiYWNtZSIsImkiOiJPMS0xIiwibyI6ImdhbGEifQ.NzVsPEszyaDl2Z66mCuFfAdwOs5fLumDMoVAULepeXg";

    #[test]
    fn anything_else_is_refused_for_its_reason() {
        let payload = Signer::new(b"key").sign(&content());
        let (signed, signature) = payload.rsplit_once('.').unwrap();
        let check = |payload: &str, expected| assert_eq!(verify(payload, b"key"), Err(expected), "{payload}");
        assert_eq!(verify(&payload, b"other"), Err(Invalid::Signature));
        check(&format!("{signed}A.{signature}"), Invalid::Signature);
        check(&format!("{signed}."), Invalid::Signature);
        check(&format!("{signed}.!"), Invalid::Malformed);
        check(&payload.replace("TB1", "TB2"), Invalid::Version);
        check("TB1.x", Invalid::Malformed);
        check("", Invalid::Malformed);
    }
}
