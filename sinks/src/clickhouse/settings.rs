//! Where ClickHouse is, and how batches are cut.

use super::error::ClickHouseError;
use std::path::PathBuf;

/// Beyond it ClickHouse cuts an insert into several blocks, which aren't one step any more.
pub(super) const BLOCK_ROWS_MAX: usize = 1_000_000;
pub(super) const BLOCK_BYTES_MAX: usize = 200 << 20;
/// Holds the password where no file is named.
const PASSWORD_VARIABLE: &str = "TOMBOLA_CLICKHOUSE_PASSWORD";

/// The ClickHouse that facts are loaded into.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClickHouseSettings {
    /// Its HTTP interface; `https://` for TLS, whose certificate must be for the host in it.
    pub url: String,
    pub database: String,
    pub user: String,
    /// Holds the password; else it is in `TOMBOLA_CLICKHOUSE_PASSWORD`, or there is none.
    pub password_file: Option<PathBuf>,
    /// The authorities that may sign the server's certificate (PEM). Without it those the system trusts.
    pub ca_file: Option<PathBuf>,
    /// The cluster's name: tables are replicated and made on all of it. Absent for a single server.
    pub cluster: Option<String>,
    /// How long facts are gathered for a batch, milliseconds. More: fewer parts to merge. Less: fresher.
    pub batch_interval_ms: u64,
    /// A batch is sent at once when it has this many facts.
    pub batch_rows_max: usize,
    /// ... or about this many bytes.
    pub batch_bytes_max: usize,
    /// How long one request may take, milliseconds.
    pub timeout_ms: u64,
    /// The longest pause between two tries, milliseconds.
    pub retry_ms_max: u64,
}

impl Default for ClickHouseSettings {
    fn default() -> Self {
        ClickHouseSettings {
            url: "http://127.0.0.1:8123".to_owned(),
            database: "tombola".to_owned(),
            user: "tombola".to_owned(),
            password_file: None,
            ca_file: None,
            cluster: None,
            batch_interval_ms: 500,
            batch_rows_max: 100_000,
            batch_bytes_max: 64 << 20,
            timeout_ms: 30_000,
            retry_ms_max: 10_000,
        }
    }
}

impl ClickHouseSettings {
    /// Refuses what can't work.
    ///
    /// # Errors
    /// [`ClickHouseError::Setting`] names the setting and its bounds.
    pub fn check(&self) -> Result<(), ClickHouseError> {
        check(is_name(&self.database), "database", "must be a name of letters, digits and _")?;
        let cluster = self.cluster.as_deref().unwrap_or("c");
        check(is_name(cluster), "cluster", "must be a name of letters, digits and _")?;
        let plain = self.url.starts_with("http://");
        check(plain || self.is_https(), "url", "must begin with http:// or https://")?;
        check(
            !plain || self.ca_file.is_none(),
            "ca_file",
            "is set, but clickhouse.url is not https://: nothing would be verified",
        )?;
        check((10..=60_000).contains(&self.batch_interval_ms), "batch_interval_ms", "must be 10 to 60000")?;
        let (rows, bytes) = (1..=BLOCK_ROWS_MAX, 1..=BLOCK_BYTES_MAX);
        check(rows.contains(&self.batch_rows_max), "batch_rows_max", "must be 1 to 1000000")?;
        check(bytes.contains(&self.batch_bytes_max), "batch_bytes_max", "must be 1 to 209715200")?;
        check(self.timeout_ms >= 100, "timeout_ms", "must be 100 or more")?;
        check(self.retry_ms_max >= 100, "retry_ms_max", "must be 100 or more")
    }

    pub(super) fn is_https(&self) -> bool {
        self.url.starts_with("https://")
    }

    /// For messages: which ClickHouse.
    pub fn place(&self) -> String {
        format!("ClickHouse {}, database {}", self.url, self.database)
    }

    pub(super) fn password(&self) -> Result<String, ClickHouseError> {
        let Some(file) = &self.password_file else {
            return Ok(std::env::var(PASSWORD_VARIABLE).unwrap_or_default());
        };
        let read = std::fs::read_to_string(file).map(|text| text.trim_end().to_owned());
        read.map_err(|source| ClickHouseError::Password { file: file.display().to_string(), source })
    }
}

/// Names go into statements as they are.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn check(holds: bool, name: &'static str, remedy: &'static str) -> Result<(), ClickHouseError> {
    if holds { Ok(()) } else { Err(ClickHouseError::Setting { name, remedy }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut ClickHouseSettings)) -> String {
        let mut settings = ClickHouseSettings::default();
        settings.check().unwrap();
        change(&mut settings);
        settings.check().unwrap_err().to_string()
    }

    #[test]
    fn a_setting_that_cannot_work_is_refused_by_name() {
        assert_eq!(
            refused(|s| s.batch_rows_max = 1_048_449),
            "clickhouse.batch_rows_max must be 1 to 1000000"
        );
        assert!(refused(|s| s.batch_bytes_max = 0).contains("batch_bytes_max"));
        assert!(refused(|s| s.database = "a; DROP".to_owned()).contains("database"));
        assert!(refused(|s| s.cluster = Some("'".to_owned())).contains("cluster"));
        assert!(refused(|s| s.url = "ftp://x".to_owned()).contains("url"));
        assert!(refused(|s| s.ca_file = Some("/ca.pem".into())).contains("clickhouse.ca_file"));
        assert!(refused(|s| s.batch_interval_ms = 0).contains("batch_interval_ms"));
    }
}
