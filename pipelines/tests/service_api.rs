//! The API on Kafka and Postgres: one instance in the pipeline's process and one alone, asked in turn by one client.

#[path = "traces/collector.rs"]
#[allow(dead_code)] // names are enough here
mod collector;
#[path = "api/house.rs"]
#[allow(dead_code)] // a part of it is the embedded API's tests'
mod house;
#[path = "api/http.rs"]
#[allow(dead_code)] // answers are text here
mod http;
mod support;

use collector::Collector;
use house::{WAIT_MS_MAX, get, keys_file, order, place, stock, wait_for};
use http::{Live, ask};
use pipelines::config::Config;
use pipelines::stores::Stores;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use support::Folder;
use support::process::{Serving, tombola, verify};
use support::services::{Services, env, records_in, sql, well};

const PRODUCER: &str = "acme-producer-key";
const ANALYST: &str = "acme-analyst-key";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn configure(services: &Services, dir: &Path, collector: SocketAddr) -> Stores {
    let keys = dir.join("keys.toml");
    std::fs::write(&keys, keys_file()).expect("the directory can be written");
    let further = format!(
        "[api]\nkeys_file = \"{}\"\nwait_ms_max = {WAIT_MS_MAX}\n[tickets]\nkey = \"a key for tests, not for tickets\"\n\
         [tracing]\notlp_url = \"http://{collector}\"\nsampled_bps = 0\n",
        keys.display()
    );
    services.configure(dir, &further);
    let config = Config::load(Some(&dir.join("tombola.toml"))).expect("the settings are good");
    Stores::of(&config, dir)
}

/// Pays an order.
fn pay(at: SocketAddr, order_id: &str, key: &str) -> Value {
    let headers = [("authorization", "Bearer acme-producer-key"), ("idempotency-key", key)];
    let payment = format!(
        r#"{{"outcome":"captured","order_id":"{order_id}","payment_id":"{key}","amount_minor":100,"currency":"EUR"}}"#
    );
    ask(at, "POST /v1/payments?wait_ms=120000", &headers, &payment).json()
}

/// Headers of the records of a topic whose key names an order, as a consumer that isn't ours sees them.
fn headers_of(topic: &str, order_id: &str) -> Vec<String> {
    let mut kcat = Command::new("kcat");
    kcat.args(["-C", "-b", &env("KAFKA_BOOTSTRAP"), "-X", "isolation.level=read_committed", "-t", topic]);
    kcat.args(["-m", "60", "-e", "-q", "-o", "beginning", "-f", "%k %h\\n"]).stdin(Stdio::null());
    well(kcat).lines().filter(|line| line.contains(order_id)).map(str::to_owned).collect()
}

#[test]
#[ignore = "needs services"]
fn service_api_instances_before_kafka_and_postgres_are_one_api() {
    let (services, dir, collector) = (Services::empty(), Folder::new(), Collector::start());
    let stores = configure(&services, dir.path(), collector.address);
    stock(&stores);
    let mut beside = Serving::start(tombola(dir.path(), &["run", "--api", "127.0.0.1:0"]));
    let mut alone = Serving::start(tombola(dir.path(), &["api", "--listen", "127.0.0.1:0"]));
    let both = [beside.address, alone.address];
    wait_for("the pipeline", || both.iter().all(|at| ask(*at, "GET /readyz", &[], "").status == 200));
    let mut live =
        Live::open(alone.address, "?topics=orders", &[("authorization", "Bearer acme-analyst-key")]);
    assert_eq!(live.next().name, "hello");

    // One order through each instance, retried on the other: decided once.
    let mut orders = Vec::new();
    for (key, at, other) in [("k1", both[0], both[1]), ("k2", both[1], both[0])] {
        let placed = place(at, PRODUCER, key, "");
        assert_eq!(placed.status, 200, "{placed:?}");
        let placed = placed.json();
        assert_eq!((&placed["event"], &placed["replayed"]), (&"held".into(), &false.into()), "{placed}");
        let again = place(other, PRODUCER, key, "").json();
        assert_eq!((&again["event"], &again["replayed"]), (&"held".into(), &true.into()), "{again}");
        assert_eq!(again["order_id"], placed["order_id"]);
        let conflict = place(other, PRODUCER, key, r#","seat":"7""#);
        assert_eq!(conflict.json()["type"], "/problems/idempotency-conflict", "{conflict:?}");
        orders.push(placed["order_id"].as_str().expect("an id").to_owned());
    }

    orders.extend(own_writes(both));

    // Paid on one, read on the other as of the payment.
    for (number, (at, other)) in [(both[1], both[0]), (both[0], both[1])].into_iter().enumerate() {
        let paid = pay(at, &orders[number], &format!("p{number}"));
        assert_eq!(paid["event"], "confirmed", "{paid}");
        let record = &paid["record"];
        let after = format!("{}:{}:{}", "commands.payments", record["partition"], record["offset"]);
        let found =
            get(other, PRODUCER, &format!("/v1/orders/{}?after={after}&wait_ms=120000", orders[number]));
        assert_eq!(found.json()["status"], "confirmed", "{found:?}");
    }
    let stock = &get(both[1], ANALYST, "/v1/stock").items()[0];
    assert_eq!((stock["sold"].as_i64(), stock["held"].as_i64()), (Some(2), Some(2)), "{stock}");

    told_once(&mut live, &orders);
    assert_eq!(sql(&env("PG_URL"), "SELECT count(*) FROM tombola.orders"), "4");
    assert_eq!(records_in("commands.orders"), 8, "four orders, two retries, two conflicts");

    traced(both[1], &collector);
    for serving in [&mut alone, &mut beside] {
        serving.running.signal("TERM");
    }
    assert!(alone.running.wait().status.success());
    assert!(beside.running.wait().status.success());
    verify(dir.path(), 2);
}

/// Who doesn't wait sees its own write on the other instance; the orders' ids.
fn own_writes(both: [SocketAddr; 2]) -> Vec<String> {
    let mut orders = Vec::new();
    for (key, at, other) in [("k3", both[0], both[1]), ("k4", both[1], both[0])] {
        let headers = [("authorization", "Bearer acme-producer-key"), ("idempotency-key", key)];
        let accepted = ask(at, "POST /v1/orders", &headers, &order(""));
        assert_eq!(accepted.status, 202, "{accepted:?}");
        let found = get(other, PRODUCER, &format!("{}&wait_ms=120000", accepted.headers["location"]));
        assert_eq!((found.status, found.json()["status"].as_str()), (200, Some("held")), "{found:?}");
        orders.push(accepted.json()["order_id"].as_str().expect("an id").to_owned());
    }
    orders
}

/// The live stream tells each order once, and each payment once.
fn told_once(live: &mut Live, orders: &[String]) {
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    while told.values().flatten().filter(|event| *event == "held" || *event == "confirmed").count() < 6 {
        let event = live.next_fact().data;
        let of = |name: &str| event[name].as_str().expect("it has one").to_owned();
        told.entry(of("order_id")).or_default().push(of("event"));
    }
    for (number, order_id) in orders.iter().enumerate() {
        let events: Vec<&str> = told[order_id].iter().map(String::as_str).collect();
        let wanted: &[&str] = if number < 2 { &["held", "confirmed"] } else { &["held"] };
        let decided: Vec<&str> = events.into_iter().filter(|event| wanted.contains(event)).collect();
        assert_eq!(decided, wanted, "{told:?}");
    }
}

/// A client's trace, and what other vendors say of it, goes through Kafka to the facts, and to the spans of both processes.
fn traced(at: SocketAddr, collector: &Collector) {
    let sent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let headers = [
        ("authorization", "Bearer acme-producer-key"),
        ("idempotency-key", "k5"),
        ("traceparent", &sent),
        ("tracestate", "congo=t61"),
    ];
    let placed = ask(at, "POST /v1/orders?wait_ms=120000", &headers, &order("")).json();
    let order_id = placed["order_id"].as_str().expect("an id");
    wait_for("all spans of the trace", || collector.of(TRACE).len() >= 5);
    assert!(collector.of(TRACE).iter().all(|span| span.state == "congo=t61"), "{:#?}", collector.of(TRACE));
    let mut names: Vec<String> = collector.of(TRACE).into_iter().map(|span| span.name).collect();
    names.sort_unstable();
    let wanted = [
        "POST /v1/orders",
        "commit facts",
        "commit serving",
        "decide commands.orders",
        "send commands.orders",
    ];
    assert_eq!(names, wanted);
    let span = |name: &str| collector.of(TRACE).into_iter().find(|span| span.name == name).expect("it came");
    for (topic, name) in
        [("commands.orders", "send commands.orders"), ("facts.orders", "decide commands.orders")]
    {
        let context = format!("traceparent=00-{TRACE}-{}-01", span(name).span_id);
        let found = headers_of(topic, order_id);
        assert!(found.len() == 1 && found[0].contains(&context), "{topic}: {found:?}, not {context}");
        assert!(found[0].contains("tracestate=congo=t61"), "{topic}: {found:?}");
    }
}
