//! Why a handshake failed, found among the causes of a client's error, and what is to be done about it.
//!
//! A connection that broke in the middle of a handshake is not a refusal: the next one may succeed.

use rustls::CertificateError;
use std::error::Error;
use std::io;

/// What TLS itself has against a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub problem: String,
    pub cure: Cure,
}

/// Where the remedy lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cure {
    /// The certificate leads to none of the trusted authorities.
    Authority,
    /// It is for another host.
    Host,
    /// It is the server's to mend.
    Server,
    /// What answers doesn't speak TLS.
    Plaintext,
}

impl Cure {
    /// What to do, for a store whose settings are in the section `section`.
    pub fn remedy(self, section: &str) -> String {
        match self {
            Cure::Authority => {
                format!("name the authority that signed the server's certificate in {section}.ca_file")
            }
            Cure::Host => format!("name the host in {section}.url as the server's certificate does"),
            Cure::Server => "have the server's certificate or its TLS settings corrected".to_owned(),
            Cure::Plaintext => format!("correct the port in {section}.url, or turn TLS on at the server"),
        }
    }
}

/// The refusal among an error and its causes, if it is one.
pub(crate) fn refusal(error: &(dyn Error + 'static)) -> Option<Refusal> {
    if let Some(said) = error.downcast_ref::<rustls::Error>() {
        return of(said);
    }
    // An I/O error names as its cause the cause of what it wraps.
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    match wrapped {
        Some(wrapped) => refusal(wrapped),
        None => error.source().and_then(refusal),
    }
}

fn of(said: &rustls::Error) -> Option<Refusal> {
    let cure = match said {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Cure::Authority,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Cure::Host,
            _ => Cure::Server,
        },
        rustls::Error::InvalidMessage(_) => Cure::Plaintext,
        rustls::Error::AlertReceived(_)
        | rustls::Error::NoCertificatesPresented
        | rustls::Error::PeerIncompatible(_)
        | rustls::Error::PeerMisbehaved(_) => Cure::Server,
        _ => return None,
    };
    Some(Refusal { problem: said.to_string(), cure })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{Error as Tls, InvalidMessage};

    fn check(error: &(dyn Error + 'static), expected: Option<Cure>) {
        assert_eq!(refusal(error).map(|refusal| refusal.cure), expected, "{error}");
    }

    #[test]
    fn a_refusal_is_found_however_deep_and_a_broken_connection_is_none() {
        let unknown = || Tls::InvalidCertificate(CertificateError::UnknownIssuer);
        check(&unknown(), Some(Cure::Authority));
        check(&io::Error::other(io::Error::other(unknown())), Some(Cure::Authority));
        check(
            &io::Error::other(Tls::InvalidCertificate(CertificateError::NotValidForName)),
            Some(Cure::Host),
        );
        check(&io::Error::other(Tls::InvalidCertificate(CertificateError::Expired)), Some(Cure::Server));
        check(
            &io::Error::other(Tls::InvalidMessage(InvalidMessage::InvalidContentType)),
            Some(Cure::Plaintext),
        );
        check(&io::Error::from(io::ErrorKind::UnexpectedEof), None);
        check(&io::Error::other("closed"), None);
    }
}
