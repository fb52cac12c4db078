//! The connectors of `deploy/debezium`, `reference` and `outbox`: given a database to follow, set back, made to forget it.

use super::process;
use super::services::{env, script, sql, wait_until, well};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(300);

/// Asks Kafka Connect about a connector; what it answers, and the code: 000 where it doesn't answer.
pub fn connect(method: &str, name: &str, path: &str, body: Option<&str>) -> (String, String) {
    let mut curl = Command::new("curl");
    // Connect itself gives a request up after 90 s, and says so.
    curl.args(["-sS", "--max-time", "100", "-w", "\n%{http_code}", "-X", method]);
    if let Some(body) = body {
        curl.args(["-H", "Content-Type: application/json", "--data-binary", body]);
    }
    curl.arg(format!("{}/connectors/{name}{path}", env("CONNECT_URL"))).stdin(Stdio::null());
    let output = curl.output().expect("curl can be called");
    let answer = String::from_utf8_lossy(&output.stdout);
    match answer.rsplit_once('\n').filter(|_| output.status.success()) {
        Some((text, code)) => (text.to_owned(), code.to_owned()),
        None => (String::from_utf8_lossy(&output.stderr).into_owned(), "000".to_owned()),
    }
}

/// Asks until it is done, or there is no such connector: Connect refuses while it moves tasks around, or says nothing.
///
/// Not together with what follows a stop: each stop moves tasks around anew, and what follows would be refused for ever.
fn insist(method: &str, name: &str, path: &str) {
    wait_until(&format!("{method} {name}{path}"), PATIENCE, || {
        let (_, code) = connect(method, name, path, None);
        code.starts_with('2') || code == "404"
    });
}

/// Lets these connectors follow the database at `url`; `endpoint` says where Connect finds that one.
pub fn apply(names: &[&str], url: &str, endpoint: impl Fn(&str) -> String) {
    let mut apply = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/debezium/apply"));
    apply.args(names).env("PG_URL", url).stdin(Stdio::null());
    for name in ["HOST", "PORT", "USER", "PASSWORD", "DATABASE"].map(|part| format!("CONNECT_PG_{part}")) {
        apply.env(&name, endpoint(&name));
    }
    well(apply);
}

/// An offer that only the OLTP database knows.
const OFFER: &str = "INSERT INTO offers (tenant, offer_id, kind, price_minor, currency, stock_total, max_per_order, restock_on_refund, status)
    VALUES ('operator', 'by-hand', 'ticket', 100, 'EUR', 0, 4, true, 'open')";

/// Makes the tables of the OLTP database, with one offer, and lets the connector `reference` follow them.
pub fn offer_by_hand(dir: &Path) {
    well(script(&["start", "connect"]));
    forget("reference");
    process::end_of(process::tombola(dir, &["migrate", "--oltp", "--url", &env("PG_URL")])).assert(0, &[]);
    sql(&env("PG_URL"), "TRUNCATE offers");
    sql(&env("PG_URL"), OFFER);
    apply(&["reference"], &env("PG_URL"), env);
}

/// One unit more of it, in SQL.
pub const MORE_BY_HAND: &str = "UPDATE offers SET stock_total = stock_total + 1 WHERE offer_id = 'by-hand';";

/// One unit more of it.
pub fn restock_by_hand() {
    sql(&env("PG_URL"), MORE_BY_HAND);
}

/// Waits until the pipeline has made so many units of it.
pub fn wait_for_stock_by_hand(total: i64) {
    let stock = "SELECT stock_total FROM tombola.stock WHERE offer_id = 'by-hand'";
    wait_until("the last change", PATIENCE, || sql(&env("PG_URL"), stock) == total.to_string());
}

/// What it knows of one database must not be taken for another's.
pub fn forget(name: &str) {
    insist("PUT", name, "/stop");
    // Refused until it has stopped.
    insist("DELETE", name, "/offsets");
    insist("DELETE", name, "");
}

fn slot_of(name: &str) -> String {
    format!("tombola_{name}")
}

/// Whether its source knows that everything up to `position` has come through.
pub fn has_confirmed(name: &str, url: &str, position: &str) -> bool {
    let slot = slot_of(name);
    let question = format!(
        "SELECT confirmed_flush_lsn >= '{position}' FROM pg_replication_slots WHERE slot_name = '{slot}'"
    );
    sql(url, &question) == "t"
}

/// Takes away its slot, which keeps the source's log for it.
pub fn drop_slot(name: &str, url: &str) {
    let slot = slot_of(name);
    let free = format!(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{slot}' AND NOT active"
    );
    let left = format!("SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{slot}'");
    wait_until("the slot's end", PATIENCE, || {
        sql(url, &free);
        sql(url, &left) == "0"
    });
}

/// How far a connector was once, by its own account and by its source's; gone with its value.
pub struct Mark {
    name: &'static str,
    url: String,
    offsets: String,
}

impl Mark {
    /// As of now; once it has told Connect of its snapshot, where it has not.
    pub fn of(name: &'static str, url: &str) -> Self {
        let slot = slot_of(name);
        sql(url, &format!("SELECT pg_copy_logical_replication_slot('{slot}', '{slot}_mark')"));
        let mut mark = Mark { name, url: url.to_owned(), offsets: String::new() };
        wait_until("the connector's offsets", PATIENCE, || {
            mark.offsets = connect("GET", name, "/offsets", None).0;
            mark.offsets.contains("\"lsn\"")
        });
        mark
    }

    /// Sets it back to then: everything since is delivered again.
    pub fn set_back(&self) {
        let Mark { name, url, offsets } = self;
        let slot = slot_of(name);
        insist("PUT", name, "/stop");
        drop_slot(name, url);
        sql(url, &format!("SELECT pg_copy_logical_replication_slot('{slot}_mark', '{slot}')"));
        wait_until("the connector is set back", PATIENCE, || {
            connect("PATCH", name, "/offsets", Some(offsets)).1 == "200"
        });
        insist("PUT", name, "/resume");
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        drop_slot(&format!("{}_mark", self.name), &self.url);
    }
}
