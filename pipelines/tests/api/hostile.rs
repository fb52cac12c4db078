//! Clients that are slow, broken, too loud or just wrong: they get an answer that says so, and others don't notice.

use super::house::{House, figure, get, order, place, wait_for};
use super::http::{Live, ask};
use pipelines::serve;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

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
    // It is a status of failures, and none: who counts them can tell.
    let figures = get(at, "", "/metrics").text;
    let counted = r#"tombola_api_requests_total{route="getOrder",status="503",problem="not-decided-yet"} 1"#;
    assert!(figures.lines().any(|line| line == counted), "{figures}");
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

#[test]
fn a_body_that_does_not_come_is_not_waited_for_where_nobody_wants_one_and_not_for_long_elsewhere() {
    let house = House::with(|config| {
        config.api.in_flight_max = 2;
        config.api.request_ms_max = 3_000;
    });
    let server = house.beside();
    let at = server.address;
    let head = |what: &str| format!("{what} HTTP/1.1\r\nhost: {at}\r\ncontent-length: 50\r\n");
    let waiting: Vec<TcpStream> = ["GET /", "GET /openapi.json", "HEAD /", "GET /app.js"]
        .repeat(3)
        .into_iter()
        .map(|what| {
            let mut stream = TcpStream::connect(at).expect("the server listens");
            stream.write_all(format!("{}\r\n", head(what)).as_bytes()).expect("the server reads");
            stream
        })
        .collect();
    // Strangers have the time to take every place there is.
    std::thread::sleep(Duration::from_millis(500));
    let answer = place(at, "acme-producer-key", "k", "");
    assert_eq!(answer.status, 200, "{answer:?}");
    for mut stream in waiting {
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout can be set");
        let mut first = [0; 12];
        stream.read_exact(&mut first).expect("it is answered");
        assert_eq!(&first, b"HTTP/1.1 200");
    }
    let key = "authorization: Bearer acme-producer-key\r\nidempotency-key: slow\r\n";
    let slow = raw(at, &format!("{}{key}\r\n{{", head("POST /v1/orders")));
    assert!(slow.starts_with("HTTP/1.1 408") && slow.contains("/problems/timeout"), "{slow}");
}

#[test]
fn without_authentication_nobody_from_elsewhere_is_served() {
    let house = House::with(|config| (config.api.open, config.api.keys_file) = (true, None));
    let server = house.beside();
    let at = server.address;
    let own = format!("127.0.0.1:{}", at.port());
    for (host, origin, status) in [
        (own.as_str(), None, 200),
        (&own, Some(format!("http://{own}")), 200),
        (&format!("localhost:{}", at.port()), None, 200),
        // Another site's page, asking in its visitor's name.
        (&own, Some("http://elsewhere.example".to_owned()), 403),
        (&own, Some("null".to_owned()), 403),
        (&own, Some("http://localhost:1".to_owned()), 403),
        // Another site whose name was made to lead here.
        (&format!("elsewhere.example:{}", at.port()), None, 403),
        ("elsewhere.example", Some("http://elsewhere.example".to_owned()), 403),
    ] {
        let origin_line = origin.as_ref().map_or(String::new(), |origin| format!("origin: {origin}\r\n"));
        for path in ["/v1/orders", "/v1/live?topics=", "/"] {
            let status = if path.contains("live") && status == 200 { continue } else { status };
            let said = raw(
                at,
                &format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{origin_line}connection: close\r\n\r\n"),
            );
            assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{path} {host} {origin:?}: {said}");
            assert!(!said.to_lowercase().contains("access-control-allow"), "{said}");
        }
    }
    let anywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let refused = serve::start(anywhere, serve::settings(&house.config, None), &house.stores, None);
    assert!(matches!(refused, Err(api::ApiError::OpenToAll(_))), "it is served to everybody");
}

#[test]
fn one_key_takes_its_share_of_live_clients_and_leaves_the_others_theirs() {
    let house = House::with(|config| config.api.live_of_one_max = 1);
    let server = house.beside();
    let at = server.address;
    let follow = |key: &str| {
        let mut live = Live::open(at, "", &[("authorization", &format!("Bearer {key}"))]);
        assert_eq!(live.next().name, "hello");
        live
    };
    let first = follow("acme-analyst-key");
    let second = get(at, "acme-analyst-key", "/v1/live");
    assert_eq!((second.status, &second.json()["type"]), (429, &"/problems/too-many-requests".into()));
    assert!(second.headers.contains_key("retry-after"), "{second:?}");
    follow("acme-operator-key");
    drop(first);
    let again = || get(at, "acme-analyst-key", "/v1/live?topics=nothing").status;
    wait_for("its place to be free", || again() == 422);
}

/// A record that is never decided, waited for longer than anything else takes meanwhile.
const IN_VAIN: &str = "/v1/orders/o?after=commands.orders:0:999999&wait_ms=120000";

/// Waits for it, for as long as it may.
fn wait_in_vain(at: SocketAddr, who: &str) -> std::thread::JoinHandle<()> {
    let bearer = format!("Bearer {who}");
    std::thread::spawn(move || {
        // The server may end before it answers.
        let headers = [("authorization", bearer.as_str())];
        let _ = super::http::try_ask(at, &format!("GET {IN_VAIN}"), &headers, "");
    })
}

#[test]
fn who_waits_leaves_room_for_those_who_do_not_and_for_others_who_do() {
    let house = House::empty(|config| config.api.in_flight_max = 8);
    let server = house.apart();
    let at = server.address;
    let mut waiting = Vec::new();
    for (who, kind, status) in
        [("acme-producer-key", "too-many-requests", 429), ("acme-analyst-key", "overloaded", 503)]
    {
        for _ in 0..3 {
            waiting.push(wait_in_vain(at, who));
            wait_for("it to wait", || figure(at, "tombola_api_waiting") == waiting.len() as u64);
        }
        let refused = get(at, who, IN_VAIN);
        assert_eq!((refused.status, &refused.json()["type"]), (status, &format!("/problems/{kind}").into()));
        assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
    }
    // Nothing is decided here, and nobody waits for it: that would take two minutes.
    for (who, key) in [("acme-producer-key", "a"), ("other-producer-key", "b")] {
        let since = Instant::now();
        assert_eq!(place(at, who, key, "").status, 202);
        assert!(since.elapsed() < Duration::from_secs(60), "it waited: {:?}", since.elapsed());
    }
    drop(server);
    waiting.into_iter().for_each(|waiting| waiting.join().expect("it ends"));
}

#[test]
fn who_watches_is_let_in_however_much_there_is_and_others_are_told() {
    let mut house = House::new();
    (house.config.api.in_flight_max, house.config.api.requests_per_s_max) = (1, 1);
    let server = house.apart();
    let at = server.address;
    let waiting = wait_in_vain(at, "acme-producer-key");
    wait_for("a request to be in flight", || figure(at, "tombola_api_in_flight") == 1);
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

/// Whether somebody new is answered.
fn is_served(at: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(at).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout can be set");
    let ask = format!("GET /healthz HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).expect("the server reads");
    stream.read(&mut [0]).is_ok_and(|read| read > 0)
}

#[test]
fn a_server_that_has_as_many_connections_as_it_may_ends_all_the_same() {
    let mut house = House::new();
    house.config.api.connections_max = 1;
    let server = house.apart();
    let at = server.address;
    let waiting = wait_in_vain(at, "acme-producer-key");
    wait_for("the one connection to be taken", || !is_served(at));
    let since = Instant::now();
    drop(server);
    assert!(since.elapsed() < Duration::from_secs(60), "it waited for a client: {:?}", since.elapsed());
    waiting.join().expect("it ends");
}
