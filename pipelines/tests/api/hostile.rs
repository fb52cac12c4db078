//! Clients that are slow, broken, too loud or just wrong: they get an answer that says so, and others don't notice.

use super::house::{House, get, order, place, wait_for};
use super::http::ask;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

fn raw(at: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(at).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout can be set");
    stream.write_all(text.as_bytes()).expect("the server reads");
    let mut answer = String::new();
    // One that is cut off may have been answered or not.
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn what_is_wrong_with_a_request_is_said_as_a_problem() {
    let house = House::new();
    let at = house.beside();
    let at = at.address;
    let key = ("authorization", "Bearer acme-producer-key");
    let keyed = [key, ("idempotency-key", "k")];
    for (what, headers, body, status, kind) in [
        ("GET /nothing/here", &keyed[..], String::new(), 404, "not-found"),
        ("DELETE /v1/orders", &keyed, String::new(), 405, "method-not-allowed"),
        ("POST /v1/orders", &keyed[..1], order(""), 400, "malformed"),
        ("POST /v1/orders", &keyed, "{".to_owned(), 400, "malformed"),
        ("POST /v1/orders", &keyed, "[1]".to_owned(), 400, "malformed"),
        ("POST /v1/orders", &keyed, order(r#","colour":"red""#), 422, "invalid"),
        ("POST /v1/orders", &keyed, order("").replace("\"EUR\"", "\"euro\""), 422, "invalid"),
        ("POST /v1/orders", &keyed, order(&format!(r#","seat":"{}""#, "x".repeat(200))), 422, "invalid"),
        ("POST /v1/orders", &keyed, order(&format!(r#","seat":"{}""#, "x".repeat(70_000))), 413, "too-large"),
        ("GET /v1/orders/o?after=x", &keyed, String::new(), 422, "invalid"),
        (
            "GET /v1/orders/o?after=commands.orders:0:999999&wait_ms=50",
            &keyed,
            String::new(),
            503,
            "not-decided-yet",
        ),
        (
            "GET /v1/orders/o?after=commands.orders:70000:0&wait_ms=30000",
            &keyed,
            String::new(),
            422,
            "invalid",
        ),
        ("GET /v1/orders/%00", &keyed, String::new(), 422, "invalid"),
    ] {
        let answer = ask(at, what, headers, &body);
        assert_eq!(answer.status, status, "{what} {answer:?}");
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{what}");
        assert_eq!(answer.json()["type"], format!("/problems/{kind}"), "{what}");
        assert_eq!(status == 503, answer.headers.contains_key("retry-after"), "{what}");
    }
}

#[test]
fn clients_that_break_off_or_dawdle_hold_nobody_up() {
    let house = House::new();
    let server = house.beside();
    let at = server.address;
    let mut dawdling: Vec<TcpStream> = Vec::new();
    for part in ["", "GET /v1/sto", "POST /v1/orders HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{"] {
        let mut stream = TcpStream::connect(at).expect("the server listens");
        stream.write_all(part.as_bytes()).unwrap();
        dawdling.push(stream);
    }
    let head = "POST /v1/orders HTTP/1.1\r\nhost: x\r\nauthorization: Bearer acme-producer-key\r\n\
                idempotency-key: b\r\n";
    for broken in [
        format!("{head}content-length: 500\r\n\r\n{{"),
        format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n"),
        "nonsense\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(1 << 20)),
    ] {
        let mut stream = TcpStream::connect(at).expect("the server listens");
        // A server that has heard enough may close while we are still talking.
        let _ = stream.write_all(broken.as_bytes());
        drop(stream);
    }
    assert_eq!(place(at, "acme-producer-key", "k", "").status, 200);
    assert_eq!(get(at, "acme-analyst-key", "/v1/orders").items().len(), 1, "half an order is none");
    // The one that never ends its head is cut off.
    let slow = raw(at, "GET /healthz HTTP/1.1\r\nhost:");
    assert!(!slow.contains(" 200 "), "{slow}");
}

#[test]
fn who_asks_too_often_is_told_when_to_come_again_and_others_are_served() {
    let mut house = House::new();
    house.config.api.requests_per_s_max = 1;
    let server = house.apart();
    let ask = |key: &str| get(server.address, key, "/v1/orders");
    let answers: Vec<_> = (0..40).map(|_| ask("acme-analyst-key")).collect();
    let refused = answers.iter().find(|answer| answer.status == 429).expect("forty at once are too many");
    assert!(refused.headers["retry-after"].parse::<u64>().unwrap() >= 1);
    assert_eq!(ask("acme-operator-key").status, 200);
}

/// Waits for what is never decided, for as long as it may.
fn wait_in_vain(at: SocketAddr) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let wait = "/v1/orders/o?after=commands.orders:0:999999&wait_ms=30000";
        // The server may end before it answers.
        let headers = [("authorization", "Bearer acme-producer-key")];
        let _ = super::http::try_ask(at, &format!("GET {wait}"), &headers, "");
    })
}

fn in_flight(at: SocketAddr) -> bool {
    let text = get(at, "", "/metrics").text;
    text.lines().any(|line| line == "tombola_api_in_flight 1")
}

#[test]
fn who_watches_is_let_in_however_much_there_is_and_others_are_told() {
    let mut house = House::new();
    (house.config.api.in_flight_max, house.config.api.requests_per_s_max) = (1, 1);
    let server = house.apart();
    let at = server.address;
    let waiting = wait_in_vain(at);
    wait_for("a request to be in flight", || in_flight(at));
    for path in ["/healthz", "/readyz", "/metrics"].repeat(5) {
        let answer = get(at, "", path);
        let turned_away = ["too-many-requests", "overloaded"].iter().any(|kind| answer.text.contains(kind));
        assert!(answer.status == 200 || answer.status == 503 && path == "/readyz", "{answer:?}");
        assert!(!turned_away || path == "/metrics", "{answer:?}");
    }
    let refused = get(at, "acme-analyst-key", "/v1/orders");
    assert_eq!((refused.status, &refused.json()["type"]), (503, &"/problems/overloaded".into()));
    drop(server);
    waiting.join().expect("it ends");
}

#[test]
fn a_server_that_has_as_many_connections_as_it_may_ends_all_the_same() {
    let mut house = House::new();
    house.config.api.connections_max = 1;
    let server = house.apart();
    let at = server.address;
    let waiting = wait_in_vain(at);
    // The one connection is taken: this one is not accepted any more.
    std::thread::sleep(Duration::from_secs(2));
    let since = std::time::Instant::now();
    drop(server);
    assert!(since.elapsed() < Duration::from_secs(20), "it waited for a client: {:?}", since.elapsed());
    waiting.join().expect("it ends");
}
