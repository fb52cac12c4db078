//! Where the database is and which schema is the pipeline's own; passwords never show.
//!
//! Several pipelines share a database, each in a schema of its own.

use super::error::{PostgresError, Result};
use super::sslmode::{self, SslMode};
use std::path::PathBuf;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The environment variable that may hold the password.
pub const PASSWORD_VARIABLE: &str = "TOMBOLA_POSTGRES_PASSWORD";

/// How to reach the database.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresSettings {
    /// Connection string: `postgresql://user@host:port/database`, or `host=... port=... user=... dbname=...`. Of several
    /// hosts (`host:port,host:port`) the first that takes writes is used: a primary and the standbys that may follow it.
    pub url: String,
    /// The schema that belongs to this pipeline alone. Lower-case letters, digits and `_`.
    pub schema: String,
    /// A file that holds the password and nothing else. Without it TOMBOLA_POSTGRES_PASSWORD is asked, then `url`.
    pub password_file: Option<PathBuf>,
    /// Whether connections are encrypted and whom they trust. Without it: to this machine as `disable`, to any
    /// other as `verify-full`.
    pub sslmode: Option<SslMode>,
    /// The authorities that may sign the server's certificate (PEM). Without it those the system trusts.
    pub ca_file: Option<PathBuf>,
}

impl Default for PostgresSettings {
    fn default() -> Self {
        PostgresSettings {
            url: "postgresql://tombola_pipeline@127.0.0.1:5432/tombola".to_owned(),
            schema: "tombola".to_owned(),
            password_file: None,
            sslmode: None,
            ca_file: None,
        }
    }
}

impl std::fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PostgresSettings").field(&self.place()).finish()
    }
}

/// Beyond it a server counts as unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer that is gone without a word is noticed after about 10 + 3 × 5 seconds.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

impl PostgresSettings {
    /// Host, port, database and schema, for messages.
    pub fn place(&self) -> String {
        match self.url.parse::<Config>() {
            Ok(config) => format!("{}, schema {}", server(&config), self.schema),
            Err(_) => format!("Postgres (its `url` can't be read), schema {}", self.schema),
        }
    }

    /// What a connection is opened with; `purpose` is how the server lists it.
    pub(crate) fn config(&self, purpose: &str) -> Result<Config> {
        check_schema(&self.schema)?;
        sslmode::refuse_in_url(&self.url)?;
        let mut config: Config = self.url.parse().map_err(|_| PostgresError::Settings {
            problem: "postgres: `url` is no connection string".to_owned(),
            remedy: "write it as postgresql://user@host:port/database".to_owned(),
        })?;
        self.mode(&config).enforce(&mut config);
        if let Some(password) = self.password()? {
            config.password(password);
        }
        let timeout = config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT);
        config.connect_timeout(timeout);
        config.keepalives_idle(KEEPALIVE_IDLE);
        config.keepalives_interval(KEEPALIVE_INTERVAL);
        config.keepalives_retries(KEEPALIVE_RETRIES);
        config.tcp_user_timeout(KEEPALIVE_IDLE + KEEPALIVE_INTERVAL * KEEPALIVE_RETRIES);
        // Rows of a standby are older than what was told of them, and the former primary may come back as one.
        if config.get_hosts().len().max(config.get_hostaddrs().len()) > 1 {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        config.application_name(format!(
            "tombola {} {purpose} (process {})",
            self.schema,
            std::process::id()
        ));
        Ok(config)
    }

    fn mode(&self, config: &Config) -> SslMode {
        self.sslmode.unwrap_or_else(|| SslMode::usual(config))
    }

    /// The TLS side of a connection that is opened with `config`; none for plaintext.
    pub(crate) fn connector(&self, config: &Config) -> Result<Option<MakeRustlsConnect>> {
        self.mode(config).connector(self.ca_file.as_deref())
    }

    fn password(&self) -> Result<Option<String>> {
        let Some(path) = &self.password_file else { return Ok(std::env::var(PASSWORD_VARIABLE).ok()) };
        let read = std::fs::read_to_string(path).map_err(|e| PostgresError::Settings {
            problem: format!("postgres: `password_file` {}: {e}", path.display()),
            remedy: "name a file this process may read, with the password and nothing else".to_owned(),
        })?;
        Ok(Some(read.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

fn server(config: &Config) -> String {
    let ports = config.get_ports();
    let at = |n: usize, host: &Host| {
        let host = match host {
            Host::Tcp(host) => host.clone(),
            #[cfg(unix)]
            Host::Unix(path) => path.display().to_string(),
        };
        // One port may be that of all hosts.
        format!("{host}:{}", ports.get(n).or(ports.first()).unwrap_or(&5432))
    };
    let mut hosts: Vec<String> = config.get_hosts().iter().enumerate().map(|(n, host)| at(n, host)).collect();
    if hosts.is_empty() {
        hosts.push(at(0, &Host::Tcp("localhost".to_owned())));
    }
    format!("{}/{}", hosts.join(","), config.get_dbname().unwrap_or("(default database)"))
}

/// A name that needs no quotes means the same to everyone who types it.
fn check_schema(schema: &str) -> Result<()> {
    let first = schema.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let all = schema.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if first && all && schema.len() <= 63 && !schema.starts_with("pg_") {
        return Ok(());
    }
    Err(PostgresError::Settings {
        problem: format!("postgres: `schema` is {schema:?}"),
        remedy: "use up to 63 lower-case letters, digits and `_`, a letter first, other than pg_..."
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str, schema: &str) -> PostgresSettings {
        PostgresSettings { url: url.to_owned(), schema: schema.to_owned(), ..PostgresSettings::default() }
    }

    #[test]
    fn a_password_shows_nowhere() {
        for url in ["postgresql://u:s3cret@h:1/d", "host=h user=u password=s3cret", "nonsense s3cret"] {
            let settings = settings(url, "sales");
            let refused = settings.config("test").map(drop).err().map(|e| e.to_string());
            let shown = format!("{settings:?} {} {refused:?}", settings.place());
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }

    #[test]
    fn of_several_hosts_one_that_takes_writes_is_used_and_all_are_named() {
        let one = settings("postgresql://u@h/d", "sales");
        assert_eq!(one.place(), "h:5432/d, schema sales");
        assert_eq!(one.config("test").unwrap().get_target_session_attrs(), TargetSessionAttrs::Any);
        let two = settings("postgresql://u@h:1,g:2/d", "sales");
        assert_eq!(two.place(), "h:1,g:2/d, schema sales");
        assert_eq!(two.config("test").unwrap().get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        assert_eq!(settings("host=h,g port=6 dbname=d", "sales").place(), "h:6,g:6/d, schema sales");
    }

    #[test]
    fn what_cannot_be_kept_is_refused_with_a_remedy() {
        for (url, schema, expected) in [
            (
                "postgresql://u@h/d?sslmode=prefer",
                "sales",
                "holds sslmode or sslrootcert; take it out and set",
            ),
            ("postgresql://u@h/d", "Sales", "`schema` is \"Sales\"; use up to 63"),
            ("postgresql://u@h/d", "", "`schema` is \"\""),
            ("postgresql://u@h/d", "pg_sales", "`schema` is \"pg_sales\""),
            ("postgresql://u@h/d", "a;drop", "`schema` is \"a;drop\""),
            ("nonsense", "sales", "`url` is no connection string; write it as"),
        ] {
            let refused = settings(url, schema).config("test").unwrap_err().to_string();
            assert!(refused.contains(expected), "{refused}");
        }
        settings("postgresql://u@h/d", "fraud_2").config("test").unwrap();
    }

    #[test]
    fn the_password_comes_from_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, "s3cret\n").unwrap();
        let mut settings = settings("postgresql://u@h/d", "sales");
        settings.password_file = Some(path);
        assert_eq!(settings.config("test").unwrap().get_password(), Some(&b"s3cret"[..]));
        settings.password_file = Some(dir.path().join("absent"));
        assert!(
            settings.config("test").unwrap_err().to_string().contains("name a file this process may read")
        );
    }
}
