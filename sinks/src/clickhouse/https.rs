//! The connection beneath requests: plaintext for http://, TLS with the host's name verified for https://.
//!
//! The URL alone decides, and neither ever stands in for the other.

use super::error::{ClickHouseError, Result};
use super::settings::ClickHouseSettings;
use crate::tls;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::time::Duration;

/// The server closes idle connections after 3 seconds; we do so before.
const IDLE_MAX: Duration = Duration::from_secs(2);
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A client of the kind that the URL asks for; nothing is sent yet.
pub(super) fn client(settings: &ClickHouseSettings) -> Result<clickhouse::Client> {
    if !settings.is_https() {
        return Ok(clickhouse::Client::default());
    }
    let tls = tls::verified(settings.ca_file.as_deref());
    let tls = tls.map_err(|source| ClickHouseError::Tls { source })?;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_keepalive(Some(KEEPALIVE));
    let https =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().wrap_connector(tcp);
    let pool = Client::builder(TokioExecutor::new()).pool_idle_timeout(IDLE_MAX).build(https);
    Ok(clickhouse::Client::with_http_client(pool))
}
