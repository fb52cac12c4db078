//! A client's trace, from its request through the log to what was decided: in the spans that a collector gets, and in the
//! headers of the records. Whole processes in front of a real socket; killed between two commits, too.

#[path = "traces/collector.rs"]
mod collector;
#[path = "api/house.rs"]
#[allow(dead_code)] // a part of it is the API's own tests'
mod house;
#[path = "api/http.rs"]
#[allow(dead_code)]
mod http;
mod support;

use collector::{Collector, Span};
use connectors::embedded::StoredRecord;
use house::{House, WAIT_MS_MAX, keys_file, order, row, stock, wait_for};
use http::{Answer, ask};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use pipelines::config::Config;
use pipelines::stores::{Stores, scan};
use schemas::reference::{CommissionRate, OfferKind, Reference, ReferenceTable};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use support::Folder;
use support::process::{Running, Serving, end_of, tombola, verify};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT: &str = "00f067aa0ba902b7";

/// A data directory with something to sell, whose settings name a collector.
fn shop(collector: SocketAddr, sampled_bps: u32) -> (Folder, Config) {
    let mut house = House::new();
    let mut config = house.config.clone();
    let folder = std::mem::replace(&mut house.folder, Folder::new());
    drop(house);
    config.tracing.otlp_url = Some(format!("http://{collector}"));
    config.tracing.sampled_bps = sampled_bps;
    std::fs::write(folder.path().join("tombola.toml"), config.describe()).expect("it can be written");
    (folder, config)
}

fn serve(dir: &Path) -> Serving {
    Serving::start(tombola(dir, &["run", "--api", "127.0.0.1:0"]))
}

/// Places an order; `traceparent` where it has one.
fn buy(at: SocketAddr, query: &str, key: &str, traceparent: Option<&str>) -> Answer {
    let trace: Vec<_> = traceparent.map(|traceparent| ("traceparent", traceparent)).into_iter().collect();
    buy_with(at, query, key, &trace)
}

/// Places an order, with these headers, too.
fn buy_with(at: SocketAddr, query: &str, key: &str, trace: &[(&str, &str)]) -> Answer {
    let mut headers = vec![("authorization", "Bearer acme-producer-key"), ("idempotency-key", key)];
    headers.extend(trace);
    ask(at, &format!("POST /v1/orders{query}"), &headers, &order(""))
}

fn sampled() -> String {
    format!("00-{TRACE}-{CLIENT}-01")
}

fn header(record: &StoredRecord, name: &str) -> Option<String> {
    let found = record.headers.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| String::from_utf8(value.clone()).expect("a header is text"))
}

/// The header `traceparent` of every record of a topic whose key names this order.
fn traces_in(stores: &Stores, topic: &str, order_id: &str) -> Vec<Option<String>> {
    headers_in(stores, topic, order_id, "traceparent")
}

/// A header of every record of a topic whose key names this order.
fn headers_in(stores: &Stores, topic: &str, order_id: &str, name: &str) -> Vec<Option<String>> {
    let (mut log, mut found) = (stores.log().expect("the log opens"), Vec::new());
    scan::<Box<pipelines::stores::StoreError>>(log.as_mut(), topic, |_, record| {
        let key = record.key.clone().unwrap_or_default();
        if String::from_utf8_lossy(&key).contains(order_id) {
            found.push(header(&record, name));
        }
        Ok(())
    })
    .expect("the log can be read");
    found
}

fn one<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut of_it = spans.iter().filter(|span| span.name == name);
    let span = of_it.next().unwrap_or_else(|| panic!("no span {name}: {spans:#?}"));
    assert!(of_it.next().is_none(), "two spans {name}: {spans:#?}");
    span
}

fn context(span: &Span) -> Option<String> {
    Some(format!("00-{}-{}-01", span.trace_id, span.span_id))
}

#[test]
fn a_trace_goes_from_the_request_through_the_log_to_facts_and_commits() {
    let collector = Collector::start();
    let (folder, config) = shop(collector.address, 0);
    let stores = Stores::of(&config, folder.path());
    let serving = serve(folder.path());
    let bought = buy(serving.address, "?wait_ms=120000", "one", Some(&sampled())).json();
    assert_eq!(bought["status"], "decided", "{bought}");
    let order_id = bought["order_id"].as_str().expect("an id");
    wait_for("all spans of the trace", || collector.of(TRACE).len() >= 5);
    let spans = collector.of(TRACE);
    let (request, send) = (one(&spans, "POST /v1/orders"), one(&spans, "send commands.orders"));
    let decide = one(&spans, "decide commands.orders");
    let commits = [one(&spans, "commit facts"), one(&spans, "commit serving")];
    assert_eq!(spans.len(), 5, "{spans:#?}");
    assert_eq!((request.parent.as_str(), request.kind), (CLIENT, SpanKind::Server));
    assert_eq!((&send.parent, send.kind), (&request.span_id, SpanKind::Producer));
    assert_eq!((&decide.parent, decide.kind), (&send.span_id, SpanKind::Consumer));
    assert!(commits.iter().all(|commit| commit.parent == decide.span_id), "{commits:#?}");
    let services = [request, send, decide, commits[0], commits[1]].map(|span| span.service.as_str());
    assert_eq!(services, ["tombola-api", "tombola-api", "tombola", "tombola", "tombola"]);
    assert!(request.start_ns <= send.start_ns && send.end_ns <= request.end_ns, "{spans:#?}");
    assert!(commits[0].end_ns <= commits[1].end_ns && commits[1].end_ns == decide.end_ns, "{spans:#?}");
    let offset = bought["record"]["offset"].to_string();
    let named = ("messaging.kafka.offset".to_owned(), offset);
    assert!(send.attributes.contains(&named) && decide.attributes.contains(&named), "{spans:#?}");

    assert_eq!(traces_in(&stores, "commands.orders", order_id), [context(send)]);
    assert_eq!(traces_in(&stores, "facts.orders", order_id), [context(decide)]);

    // Who is not traced leaves nothing, and who wants no spans is passed on as it came.
    let (unsampled, trace) = (format!("00-{}-{CLIENT}-00", "a".repeat(32)), "a".repeat(32));
    for (key, sent, wanted) in
        [("two", None, None), ("three", Some(unsampled.as_str()), Some(unsampled.clone()))]
    {
        let bought = buy(serving.address, "?wait_ms=120000", key, sent).json();
        let order_id = bought["order_id"].as_str().expect("an id");
        assert_eq!(traces_in(&stores, "commands.orders", order_id), std::slice::from_ref(&wanted));
        assert_eq!(traces_in(&stores, "facts.orders", order_id), [wanted]);
    }
    drop(serving);
    assert!(collector.of(&trace).is_empty());
    verify(folder.path(), 2);
}

#[test]
fn what_other_vendors_say_of_a_trace_goes_with_it_to_records_facts_and_spans() {
    let collector = Collector::start();
    let (folder, config) = shop(collector.address, 0);
    let stores = Stores::of(&config, folder.path());
    let serving = serve(folder.path());
    let unsampled = format!("00-{}-{CLIENT}-00", "b".repeat(32));
    let (whole, long) = (format!("a={}", "v".repeat(254)), format!("b={}", "v".repeat(256)));
    let too_many: Vec<String> = (0..33).map(|n| format!("k{n}=v")).collect();
    let too_many = too_many.join(",");
    let parent = sampled();
    for (key, parent, states, wanted) in [
        ("one", &parent, vec!["rojo=00f067aa0ba902b7, congo=t61"], Some("rojo=00f067aa0ba902b7,congo=t61")),
        ("two", &parent, vec!["a=1", "b=2"], Some("a=1,b=2")),
        ("three", &parent, vec![&whole, &long], Some(&whole[..])),
        ("four", &parent, vec![&too_many], None),
        ("five", &parent, vec!["no member"], None),
        ("six", &unsampled, vec!["a=1"], Some("a=1")),
        ("seven", &"nonsense".to_owned(), vec!["a=1"], None),
    ] {
        let mut headers = vec![("traceparent", parent.as_str())];
        headers.extend(states.iter().map(|state| ("tracestate", *state)));
        let bought = buy_with(serving.address, "?wait_ms=120000", key, &headers).json();
        let order_id = bought["order_id"].as_str().unwrap_or_else(|| panic!("{bought}"));
        for topic in ["commands.orders", "facts.orders"] {
            let found = headers_in(&stores, topic, order_id, "tracestate");
            assert_eq!(found, [wanted.map(str::to_owned)], "{key}: {topic}");
        }
    }
    // Five spans each of the five that are sampled.
    wait_for("all spans of the trace", || collector.of(TRACE).len() >= 25);
    let states = |wanted: &str| collector.of(TRACE).iter().filter(|span| span.state == wanted).count();
    assert_eq!(["rojo=00f067aa0ba902b7,congo=t61", "a=1,b=2", &whole, ""].map(states), [5, 5, 5, 10]);
    drop(serving);
    verify(folder.path(), 2);
}

#[test]
fn a_crash_between_two_commits_costs_no_span_and_breaks_no_trace() {
    let collector = Collector::start();
    let (folder, config) = shop(collector.address, 10_000);
    let stores = Stores::of(&config, folder.path());
    let alone = Serving::start(tombola(folder.path(), &["api", "--listen", "127.0.0.1:0"]));
    let accepted = buy(alone.address, "", "one", None);
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let order_id = accepted.json()["order_id"].as_str().expect("an id").to_owned();
    let sent = traces_in(&stores, "commands.orders", &order_id).remove(0).expect("the API began a trace");
    let trace = sent.split('-').nth(1).expect("a trace's id").to_owned();
    // Killed after each commit of facts, until the order's are among them; its rows are not.
    let told = || traces_in(&stores, "facts.orders", &order_id);
    while told().is_empty() {
        let mut run = tombola(folder.path(), &["run"]);
        run.env("TOMBOLA_KILL_AT", "facts.after_commit:1");
        assert!(end_of(run).was_killed());
    }
    let before = told();
    assert!(!collector.of(&trace).iter().any(|span| span.name.starts_with("decide")));
    let serving = serve(folder.path());
    wait_for("the decision's span", || {
        collector.of(&trace).iter().any(|span| span.name.starts_with("decide"))
    });
    let spans = collector.of(&trace);
    let decide = one(&spans, "decide commands.orders");
    assert_eq!((told(), before), (vec![context(decide)], vec![context(decide)]));
    assert!(sent.contains(&decide.parent), "{sent} {decide:?}");
    assert_eq!(one(&spans, "commit serving").parent, decide.span_id);
    drop((alone, serving));
    verify(folder.path(), 1);
}

/// What partners earn of boxes, in a data directory where nothing has run.
fn shop_with_rates(collector: SocketAddr) -> (Folder, Stores) {
    let (folder, mut config) = (Folder::new(), Config::default());
    config.tickets.key = Some("a key for tests, not for tickets".to_owned());
    config.pipeline.data_dir = folder.path().to_owned();
    config.api.keys_file = Some(folder.path().join("keys.toml"));
    config.api.wait_ms_max = WAIT_MS_MAX;
    config.tracing.otlp_url = Some(format!("http://{collector}"));
    config.tracing.sampled_bps = 0;
    std::fs::write(folder.path().join("keys.toml"), keys_file()).expect("the folder can be written");
    std::fs::write(folder.path().join("tombola.toml"), config.describe()).expect("it can be written");
    let stores = Stores::of(&config, folder.path());
    stock(&stores);
    let rate = Reference::CommissionRate(Box::new(CommissionRate {
        tenant: "acme".into(),
        plan: "standard".into(),
        offer_kind: OfferKind::Box,
        currency: "EUR".into(),
        tier_floor_minor: 0,
        rate_bps: 1_000,
        valid_from: "2020-01-01".into(),
    }));
    let topic = ReferenceTable::CommissionRates.topic();
    stores.appender().expect("the log opens").append_many(&[(topic, &[row(rate)])]).expect("it is appended");
    (folder, stores)
}

#[test]
fn a_trace_goes_on_in_a_pipeline_of_other_jobs() {
    let collector = Collector::start();
    let (folder, stores) = shop_with_rates(collector.address);
    let sales = Serving::start(tombola(folder.path(), &["run", "--jobs", "sales", "--api", "127.0.0.1:0"]));
    let _apart = Running::start(tombola(folder.path(), &["run", "--jobs", "commissions"]));
    let headers = [("authorization", "Bearer acme-producer-key"), ("idempotency-key", "one")];
    let order = order(r#","partner_id":"p1""#);
    let bought = ask(sales.address, "POST /v1/orders?wait_ms=120000", &headers, &order).json();
    let order_id = bought["order_id"].as_str().unwrap_or_else(|| panic!("{bought}"));
    let payment = format!(
        r#"{{"outcome":"captured","order_id":"{order_id}","payment_id":"p","amount_minor":100,"currency":"EUR"}}"#
    );
    let sent = sampled();
    let headers = [headers[0], ("idempotency-key", "paid"), ("traceparent", &sent)];
    let paid = ask(sales.address, "POST /v1/payments?wait_ms=120000", &headers, &payment).json();
    assert_eq!(paid["event"], "confirmed", "{paid}");
    let earned = || traces_in(&stores, "facts.commissions", "p1");
    wait_for("what the partner earned", || !earned().is_empty());
    let decided = || {
        let mut spans = collector.of(TRACE);
        spans.retain(|span| span.name == "decide commands.payments");
        spans
    };
    wait_for("both decisions' spans", || decided().len() == 2);
    let confirmed = traces_in(&stores, "facts.orders", order_id).pop().flatten();
    let spans = decided();
    let first = spans.iter().find(|span| context(span) == confirmed).expect("sales' own is there");
    let second = spans.iter().find(|span| span.span_id != first.span_id).expect("there are two");
    assert_eq!((&second.parent, earned()), (&first.span_id, vec![context(second)]));
}

#[test]
fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = nobody.local_addr().expect("it is bound");
    drop(nobody);
    let (folder, _) = shop(address, 10_000);
    let mut serving = serve(folder.path());
    for number in 0..20 {
        let bought = buy(serving.address, "?wait_ms=120000", &format!("k{number}"), None);
        assert_eq!(bought.status, 200, "{bought:?}");
    }
    let dropped = |name: &str| {
        let text = ask(serving.address, "GET /metrics", &[], "").text;
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).map(str::to_owned);
        line.and_then(|count| count.parse::<u64>().ok()).unwrap_or(0)
    };
    wait_for("the API's spans to be given up", || dropped("tombola_api_spans_dropped_total") >= 40);
    wait_for("the pipeline's spans to be given up", || dropped("tombola_spans_dropped_total") >= 60);
    let asked = Instant::now();
    serving.running.signal("TERM");
    assert!(serving.running.wait().status.success());
    assert!(asked.elapsed() < Duration::from_secs(60), "its end waited for the collector");
}
