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
            Ok(config) => self.place_of(&config),
            Err(_) => format!("Postgres (its `url` can't be read), schema {}", self.schema),
        }
    }

    /// The same of one of several hosts.
    pub(crate) fn place_of(&self, host: &Config) -> String {
        format!("{}, schema {}", server(host), self.schema)
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
        if hosts(&config) > 1 {
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

/// How many hosts a configuration names.
fn hosts(config: &Config) -> usize {
    config.get_hosts().len().max(config.get_hostaddrs().len())
}

fn server(config: &Config) -> String {
    let at = |n: usize| {
        let host = match config.get_hosts().get(n) {
            Some(Host::Tcp(host)) => host.clone(),
            #[cfg(unix)]
            Some(Host::Unix(path)) => path.display().to_string(),
            None => config.get_hostaddrs().get(n).map_or("localhost".to_owned(), ToString::to_string),
        };
        // One port may be that of all hosts.
        let ports = config.get_ports();
        format!("{host}:{}", ports.get(n).or(ports.first()).unwrap_or(&5432))
    };
    let all: Vec<String> = (0..hosts(config).max(1)).map(at).collect();
    format!("{}/{}", all.join(","), config.get_dbname().unwrap_or("(default database)"))
}

/// The same for each host alone, in their order: the client itself would wait for the first one for ever, if that takes a
/// connection and then says nothing.
pub(crate) fn each_host(config: &Config) -> Vec<Config> {
    let count = hosts(config);
    if count <= 1 {
        return vec![config.clone()];
    }
    (0..count).map(|n| only_host(config, n)).collect()
}

/// Everything but the other hosts.
fn only_host(config: &Config, n: usize) -> Config {
    let mut one = Config::new();
    match config.get_hosts().get(n) {
        Some(Host::Tcp(host)) => drop(one.host(host)),
        #[cfg(unix)]
        Some(Host::Unix(path)) => drop(one.host_path(path)),
        None => {}
    }
    config.get_hostaddrs().get(n).map(|address| one.hostaddr(*address));
    config.get_ports().get(n).or(config.get_ports().first()).map(|port| one.port(*port));
    config.get_user().map(|user| one.user(user));
    config.get_password().map(|password| one.password(password));
    config.get_dbname().map(|name| one.dbname(name));
    config.get_options().map(|options| one.options(options));
    config.get_application_name().map(|name| one.application_name(name));
    config.get_connect_timeout().map(|timeout| one.connect_timeout(*timeout));
    config.get_tcp_user_timeout().map(|timeout| one.tcp_user_timeout(*timeout));
    config.get_keepalives_interval().map(|interval| one.keepalives_interval(interval));
    config.get_keepalives_retries().map(|retries| one.keepalives_retries(retries));
    one.keepalives(config.get_keepalives()).keepalives_idle(config.get_keepalives_idle());
    one.ssl_mode(config.get_ssl_mode()).ssl_negotiation(config.get_ssl_negotiation());
    one.channel_binding(config.get_channel_binding());
    one.target_session_attrs(config.get_target_session_attrs());
    one
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
        let places = |url: &str| {
            let settings = settings(url, "sales");
            let each = each_host(&settings.config("test").unwrap());
            (settings.place(), each.iter().map(|host| settings.place_of(host)).collect::<Vec<_>>())
        };
        let (all, each) = places("host=h,g port=6 dbname=d");
        assert_eq!(
            (all.as_str(), each),
            (
                "h:6,g:6/d, schema sales",
                vec!["h:6/d, schema sales".to_owned(), "g:6/d, schema sales".to_owned()]
            )
        );
        let (all, each) = places("hostaddr=10.0.0.1,10.0.0.2 dbname=d");
        assert_eq!((all.as_str(), each.len()), ("10.0.0.1:5432,10.0.0.2:5432/d, schema sales", 2));
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
