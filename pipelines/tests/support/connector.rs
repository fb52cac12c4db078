//! Debezium's connector of the reference tables: given a database to follow, and made to forget it.

use super::services::{env, wait_until, well};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const CONNECTOR: &str = "/connectors/reference";

/// Asks Kafka Connect; the code it answers with.
fn connect(method: &str, path: &str) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "30", "-o", "/dev/null", "-w", "%{http_code}", "-X", method]);
    curl.arg(env("CONNECT_URL") + path);
    well(curl)
}

/// Lets it follow the database at `url`; `endpoint` says where Connect finds that one.
pub fn apply(url: &str, endpoint: impl Fn(&str) -> String) {
    let mut apply = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/debezium/apply"));
    apply.arg("reference").env("PG_URL", url).stdin(Stdio::null());
    for name in ["HOST", "PORT", "USER", "PASSWORD", "DATABASE"].map(|part| format!("CONNECT_PG_{part}")) {
        apply.env(&name, endpoint(&name));
    }
    well(apply);
}

/// What it knows of one database must not be taken for another's.
pub fn forget() {
    connect("PUT", &format!("{CONNECTOR}/stop"));
    // Refused until it has stopped; there may be none.
    wait_until("the connector's stop", Duration::from_secs(120), || {
        ["200", "404"].contains(&connect("DELETE", &format!("{CONNECTOR}/offsets")).as_str())
    });
    connect("DELETE", CONNECTOR);
}
