//! The real orders over real services, with nothing of ours between their sources and our input topics.
//!
//! ```text
//!   sellers, prices ── SQL ──> Postgres of 2016-18 ── Debezium, Avro ──> oltp.public.*  ─┐
//!   orders, payments ── Python: librdkafka, fastavro, schemas of its own ──> commands.* ─┴─> tombola ─┬─> Postgres
//!                                                                                                     └─> ClickHouse
//! ```
//!
//! A change is in force from the moment its transaction was committed, so each price is committed when it
//! changed. Kafka Connect is killed on the way. Skipped, with a note, where the data set is absent.

#![allow(clippy::unwrap_used)] // a test: what fails here fails the test

#[path = "../examples/olist/convert.rs"]
mod convert;
#[path = "../examples/olist/input.rs"]
mod input;
mod support;

use convert::{Line, Topics};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::captured::clickhouse;
use support::past::{Past, Session};
use support::services::{self, Services, env, foreign, records_in, sql, wait_until, well};
use support::{Folder, analytics, connector, process};

const SETTINGS: &str = include_str!("../examples/olist/tombola.toml");

fn data() -> Option<PathBuf> {
    let root = std::env::var_os("TOMBOLA_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let folder = root.join("olist");
    if !folder.is_dir() {
        eprintln!("skipped: no Olist data at {} (set TOMBOLA_DATA)", folder.display());
    }
    folder.is_dir().then_some(folder)
}

fn ndjson(dir: &Path, topic: &str, lines: &[Line]) -> String {
    let path = dir.join(format!("{topic}.ndjson"));
    std::fs::write(&path, lines.iter().map(|line| format!("{}\n", line.json)).collect::<String>()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The same records through `tombola produce` into the embedded log, and the embedded tables.
fn embedded(topics: &Topics) -> String {
    let dir = Folder::new();
    std::fs::write(dir.path().join("tombola.toml"), SETTINGS).unwrap();
    for (topic, lines) in topics.files() {
        let file = ndjson(dir.path(), topic, lines);
        process::end_of(process::tombola(dir.path(), &["produce", topic, &file, "--event-time"]))
            .assert(0, &[]);
    }
    process::drain_well(dir.path(), 2);
    services::digests(dir.path())
}

/// What a change's row says, as SQL.
fn statement(table: &str, line: &Line) -> String {
    let change: Value = serde_json::from_str(&line.json).unwrap();
    let row = change["after"].as_object().unwrap();
    let json = change["after"].to_string().replace('\'', "''");
    if change["op"] == "u" {
        let [price, tenant, offer] = ["price_minor", "tenant", "offer_id"].map(|name| row[name].to_string());
        let quoted = |json: String| json.replace('"', "'");
        let (tenant, offer) = (quoted(tenant), quoted(offer));
        return format!(
            "UPDATE {table} SET price_minor = {price} WHERE tenant = {tenant} AND offer_id = {offer};"
        );
    }
    let columns = row.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    format!(
        "INSERT INTO {table} ({columns}) SELECT {columns} FROM json_populate_record(NULL::{table}, '{json}');"
    )
}

fn statements(table: &str, lines: &[Line]) -> String {
    lines.iter().fold(String::new(), |mut all, line| {
        writeln!(all, "{}", statement(table, line)).unwrap();
        all
    })
}

/// Commits every price when it changed; the position in the server's log after the last one.
fn commit_prices(
    past: &Past,
    session: &mut Session,
    offers: &[Line],
    mut between: impl FnMut(usize),
) -> String {
    session.transaction("SET SESSION synchronous_commit = off;");
    let mut count = 0;
    for together in offers.chunk_by(|a, b| a.time_ms == b.time_ms) {
        past.set(together[0].time_ms);
        session.transaction(&statements("offers", together));
        count += together.len();
        between(count);
    }
    // Waits for the disk, and so for all before it.
    session.transaction("SET LOCAL synchronous_commit = on; DELETE FROM debezium_heartbeat;");
    session.transaction("SELECT pg_current_wal_insert_lsn();")
}

/// Debezium has brought everything up to here into Kafka, and knows that it has.
fn wait_for_debezium(past: &Past, position: &str) {
    wait_until("Debezium's last change", Duration::from_secs(240), || {
        connector::has_confirmed("reference", &past.url(), position)
    });
}

/// The reference tables as they came to be, from the first seller to the last price.
fn live_through(services: &Services, dir: &Path, topics: &Topics) {
    connector::forget("reference");
    let past = Past::at(topics.rates[0].time_ms);
    let oltp = ["migrate", "--oltp", "--url", &past.url()];
    process::end_of(process::tombola(dir, &oltp)).assert(0, &[]);
    let mut session = past.session();
    let rows = statements("partners", &topics.partners) + &statements("commission_rates", &topics.rates);
    session.transaction(&rows);
    past.capture();
    // The snapshot: what is committed after it has begun comes as a change, at its own time.
    wait_until("Debezium's snapshot", Duration::from_secs(180), || {
        records_in("oltp.public.partners") >= topics.partners.len()
            && records_in("oltp.public.commission_rates") >= topics.rates.len()
    });
    let mut revived = None;
    let position = commit_prices(&past, &mut session, &topics.offers, |count| {
        if count > topics.offers.len() / 3 && revived.is_none() {
            services.kill("connect");
            revived = Some(services::script(&["start", "connect"]).spawn().unwrap());
        }
    });
    assert!(revived.unwrap().wait().unwrap().success(), "Connect starts again");
    wait_for_debezium(&past, &position);
    connector::forget("reference");
}

fn numbers(statement: &str) -> Vec<i64> {
    let line = sql(&env("PG_URL"), &format!("SET search_path = tombola; {statement}"));
    line.split('|').map(|number| number.parse().unwrap()).collect()
}

fn assert_figures() {
    let orders = "SELECT count(*), count(*) FILTER (WHERE status = 'refused'), count(*) FILTER (WHERE status = 'confirmed'),
        count(*) FILTER (WHERE status = 'cancelled'), count(*) FILTER (WHERE status = 'held'),
        sum(amount_minor) FILTER (WHERE status = 'confirmed') FROM orders";
    assert_eq!(numbers(orders), [8_365, 0, 7_816, 549, 0, 99_602_139]);
    let stock = "SELECT count(*), sum(sold), count(*) FILTER (WHERE available + held + sold = stock_total),
        sum(shrink_due) FROM stock";
    assert_eq!(numbers(stock), [5_566, 7_816, 5_566, 0]);
    let statements = "SELECT count(*), sum(base_minor), sum(commission_minor) FROM commission_statements";
    assert_eq!(numbers(statements), [4_215, 99_602_139, 10_171_316]);
    assert_eq!(numbers("SELECT count(*) FROM dead_letters"), [0]);
}

/// The same, as analysts have it.
fn assert_figures_of_analysts() {
    let orders =
        "SELECT uniqExact(tenant, order_id), countIf(event = 'refused'), countIf(event = 'confirmed'),
        countIf(event = 'cancelled'), sumIf(amount_minor, event = 'confirmed') FROM olist.orders";
    assert_eq!(clickhouse(orders), "8365\t0\t7816\t549\t99602139");
    let stock = "SELECT count(), sum(sold), countIf(available + held + sold = stock_total), sum(shrink_due)
        FROM olist.stock_per_offer";
    assert_eq!(clickhouse(stock), "5566\t7816\t5566\t0");
    let statements =
        "SELECT count(), sum(base_minor), sum(commission_minor) FROM olist.commission_statements";
    assert_eq!(clickhouse(statements), "4215\t99602139\t10171316");
    assert_eq!(clickhouse("SELECT count() FROM olist.dead_letters"), "0");
    analytics::forget("olist");
}

#[test]
#[ignore = "needs services"]
fn service_olist_comes_to_the_same_through_debezium_and_a_producer_that_is_not_ours() {
    let Some(data) = data() else { return };
    let began = Instant::now();
    let step = |what: &str| eprintln!("{:>5.1} s  {what}", began.elapsed().as_secs_f32());
    let topics = convert::convert(&input::read(&data).unwrap());
    let (services, dir) = (Services::empty(), Folder::new());
    let analytics = analytics::empty(&services, dir.path(), "olist");
    services.configure(dir.path(), &format!("{SETTINGS}\n{analytics}"));
    step("empty services");
    live_through(&services, dir.path(), &topics);
    step("reference tables captured");
    for (topic, lines) in [("commands.orders", &topics.orders), ("commands.payments", &topics.payments)] {
        well(foreign("produce.py", &[topic, &ndjson(dir.path(), topic, lines)]));
        assert_eq!(records_in(topic), lines.len());
    }
    step("commands produced");
    process::drain_well(dir.path(), 2);
    step("drained");
    assert_figures();
    assert_figures_of_analysts();
    assert_eq!(
        services::digests(dir.path()),
        embedded(&topics),
        "tables of services and of the embedded stores"
    );
    step("as embedded");
    process::verify(dir.path(), 3);
    step("verified");
}
