//! TLS towards stores: whom a connection trusts, and what a refused one is told.
//!
//! ```text
//!   ca_file given ──> the authorities in it, no others      absent ──> those the system trusts
//!   handshake ──> the chain ends at one of them, and the certificate names the host that was asked for
//! ```
//!
//! Files are read again after each failure, so a renewed authority needs no restart.
//! Not promised: revocation lists are not asked.

mod refusal;
mod unverified;

pub(crate) use refusal::{Refusal, refusal};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use std::path::Path;
use std::sync::Arc;

/// TLS can't even be tried.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("`ca_file` {file}: {problem}; name a file of certificates (PEM) that this process may read")]
    CaFile { file: String, problem: String },
    #[error(
        "this system trusts no authority ({problem}); install its CA certificates, or name the server's authority in `ca_file`"
    )]
    NoneTrusted { problem: String },
    #[error("no version of TLS can be spoken: {0}; please report this")]
    Versions(rustls::Error),
}

/// Verifies chain and name.
pub(crate) fn verified(ca_file: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let roots = match ca_file {
        Some(file) => authorities_in(file)?,
        None => authorities_of_the_system()?,
    };
    Ok(builder()?.with_root_certificates(roots).with_no_client_auth())
}

/// Encrypts for whoever answers.
pub(crate) fn unverified() -> Result<ClientConfig, TlsError> {
    let anybody = Arc::new(unverified::Anybody::new(provider()));
    Ok(builder()?.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth())
}

/// Named, so that no other crate's default decides.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider());
    builder.with_safe_default_protocol_versions().map_err(TlsError::Versions)
}

fn authorities_in(file: &Path) -> Result<RootCertStore, TlsError> {
    let refused = |problem: String| TlsError::CaFile { file: file.display().to_string(), problem };
    let text = std::fs::read(file).map_err(|e| refused(e.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|e| refused(e.to_string()))?;
        roots.add(certificate).map_err(|e| refused(e.to_string()))?;
    }
    if roots.is_empty() { Err(refused("it holds no certificate".to_owned())) } else { Ok(roots) }
}

fn authorities_of_the_system() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems carry some that are malformed; the others still count.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let problems: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::NoneTrusted { problem: problems.join(", ") });
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_authorities_that_is_none_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        for (content, expected) in [
            (None, "No such file"),
            (Some("nothing of the kind"), "it holds no certificate"),
            (Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "invalid"),
        ] {
            let file = dir.path().join("ca.pem");
            let _ = std::fs::remove_file(&file);
            if let Some(content) = content {
                std::fs::write(&file, content).unwrap();
            }
            let told = verified(Some(&file)).unwrap_err().to_string();
            assert!(told.contains("`ca_file`") && told.contains("ca.pem"), "{told}");
            assert!(told.contains(expected), "{told}");
        }
    }
}
