//! Whether a connection is encrypted, and whom it trusts: libpq's `sslmode`, without the modes that fall back.
//!
//! | `sslmode` | encrypted | the server's certificate |
//! |---|---|---|
//! | `disable` | no | |
//! | `require` | yes | anybody's: safe from who listens, not from who answers in its place |
//! | `verify-full` | yes | from a trusted authority, for the host that was asked for |
//! | absent | as `disable` to this machine, as `verify-full` to any other | |
//!
//! A server that doesn't speak TLS is refused where TLS is asked for. `allow` and `prefer` don't exist: they send in
//! plaintext what a server that says "no TLS" wants to hear.

use super::error::{PostgresError, Result};
use crate::tls;
use std::path::Path;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode as Encrypted};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    Disable,
    Require,
    VerifyFull,
}

impl SslMode {
    /// What holds where nothing is set: only what stays on this machine goes unencrypted.
    pub(super) fn usual(config: &Config) -> SslMode {
        if stays_here(config) { SslMode::Disable } else { SslMode::VerifyFull }
    }

    /// Tells the client, which must not fall back on its own.
    pub(super) fn enforce(self, config: &mut Config) {
        config.ssl_mode(if self == SslMode::Disable { Encrypted::Disable } else { Encrypted::Require });
    }

    /// Makes the TLS side of a connection; none for plaintext.
    pub(super) fn connector(self, ca_file: Option<&Path>) -> Result<Option<MakeRustlsConnect>> {
        let made = match (self, ca_file) {
            (SslMode::VerifyFull, ca_file) => tls::verified(ca_file),
            (_, Some(_)) => {
                return Err(PostgresError::Settings {
                    problem: "postgres: `ca_file` is set, but nothing is verified".to_owned(),
                    remedy: "set postgres.sslmode = \"verify-full\", or take ca_file out".to_owned(),
                });
            }
            (SslMode::Require, None) => tls::unverified(),
            (SslMode::Disable, None) => return Ok(None),
        };
        let mut config = made.map_err(|source| PostgresError::Tls { source })?;
        // Asked for by servers that are told `sslnegotiation=direct`; others don't look.
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(Some(MakeRustlsConnect::new(config)))
    }
}

/// The client's own reading of `url` knows modes that fall back: they are set where they can be told apart.
pub(super) fn refuse_in_url(url: &str) -> Result<()> {
    if !url.contains("sslmode=") && !url.contains("sslrootcert=") {
        return Ok(());
    }
    Err(PostgresError::Settings {
        problem: "postgres: `url` holds sslmode or sslrootcert".to_owned(),
        remedy: "take it out and set postgres.sslmode (\"disable\", \"require\" or \"verify-full\") and postgres.ca_file"
            .to_owned(),
    })
}

fn stays_here(config: &Config) -> bool {
    // An address, where one is given, is what is connected to.
    if !config.get_hostaddrs().is_empty() {
        return config.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback);
    }
    config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: SslMode) {
        assert_eq!(SslMode::usual(&url.parse().unwrap()), expected, "{url}");
    }

    #[test]
    fn only_what_stays_on_this_machine_goes_unencrypted_by_itself() {
        check("postgresql://u@127.0.0.1:5432/d", SslMode::Disable);
        check("postgresql://u@localhost/d", SslMode::Disable);
        check("postgresql://u@[::1]/d", SslMode::Disable);
        check("host=/run/postgresql user=u", SslMode::Disable);
        check("postgresql://u@db.example/d", SslMode::VerifyFull);
        check("postgresql://u@localhost.example/d", SslMode::VerifyFull);
        check("postgresql://u@127.0.0.1,db.example/d", SslMode::VerifyFull);
        check("host=localhost hostaddr=10.1.2.3 user=u", SslMode::VerifyFull);
        check("host=db.example hostaddr=127.0.0.1 user=u", SslMode::Disable);
    }

    #[test]
    fn nothing_is_left_to_the_client_to_decide() {
        let mut config: Config = "postgresql://u@db.example/d".parse().unwrap();
        for (mode, expected) in [
            (SslMode::Disable, Encrypted::Disable),
            (SslMode::Require, Encrypted::Require),
            (SslMode::VerifyFull, Encrypted::Require),
        ] {
            mode.enforce(&mut config);
            assert_eq!(config.get_ssl_mode(), expected, "{mode:?}");
        }
    }

    #[test]
    fn an_authority_that_nobody_would_ask_is_refused() {
        for mode in [SslMode::Disable, SslMode::Require] {
            let told = mode.connector(Some(Path::new("/ca.pem"))).map(drop).unwrap_err().to_string();
            assert!(told.contains("`ca_file`") && told.contains("\"verify-full\""), "{told}");
        }
    }
}
