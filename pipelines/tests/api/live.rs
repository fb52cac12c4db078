//! Live events: whoever comes back with the id of the last one misses none and gets none twice.

use super::house::{House, figure, get, order, place, wait_for};
use super::http::{Live, ask};
use connectors::embedded::NewRecord;
use schemas::commands::PlaceOrder;
use schemas::{Command, encode_command};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// More orders than a ring of live events holds, and more bytes than sockets do.
const MANY: usize = 24_000;
/// Bytes of events that a client may find when it reads again: twice what the buffers on the way to it hold.
const KEPT_MAX: usize = 1_500_000;

/// What tells an event of an order from every other; none where it is of no order, such as the first stock.
fn said(event: &super::http::Event) -> Option<(String, String)> {
    let order = event.data["order_id"].as_str()?;
    Some((order.to_owned(), format!("{} {}", event.name, event.data)))
}

#[test]
fn a_client_that_breaks_off_anywhere_and_resumes_on_any_instance_gets_each_event_once() {
    let house = House::new();
    let (one, two) = (house.beside(), house.apart());
    let key = ("authorization", "Bearer acme-analyst-key");
    let (mut steady, mut last) = (Live::open(one.address, "?topics=orders,stock", &[key]), None);
    assert_eq!(steady.next().name, "hello");
    let (mut broken, mut late) = (Vec::new(), BTreeSet::new());
    // Each round takes some events of what came meanwhile, then breaks off.
    for round in 0..8_usize {
        for number in 0..4 {
            let placed = place(one.address, "acme-producer-key", &format!("{round}-{number}"), "").json();
            // The client begins after the first round: what came before is none of its own.
            late.extend(placed["order_id"].as_str().filter(|_| round > 0).map(str::to_owned));
        }
        let at = if round % 2 == 0 { one.address } else { two.address };
        let headers: Vec<(&str, &str)> =
            [key].into_iter().chain(last.as_deref().map(|id| ("last-event-id", id))).collect();
        let mut live = Live::open(at, "?topics=orders,stock", &headers);
        last = last.or(live.next().id);
        let some = if round == 0 { 0 } else { round * 3 % 7 };
        for _ in 0..some {
            let event = live.next_fact();
            broken.extend(said(&event));
            last = event.id;
        }
    }
    assert_eq!(late.len(), 7 * 4);
    let last = last.expect("events have ids");
    let mut live = Live::open(two.address, "?topics=orders,stock", &[key, ("last-event-id", &last)]);
    assert_eq!(live.next().name, "hello");
    // Of each order its own event and a movement of stock.
    while broken.iter().filter(|(order, _)| late.contains(order)).count() < late.len() * 2 {
        broken.extend(said(&live.next_fact()));
    }
    let mut all = Vec::new();
    while all.len() < 8 * 4 * 2 {
        all.extend(said(&steady.next_fact()));
    }
    let distinct: BTreeSet<&(String, String)> = broken.iter().collect();
    assert_eq!(distinct.len(), broken.len(), "one came twice");
    let mut missed = all.iter().filter(|said| late.contains(&said.0) && !distinct.contains(said));
    assert_eq!(missed.next(), None);
}

#[test]
fn an_id_that_is_none_of_ours_is_refused() {
    let house = House::new();
    let server = house.beside();
    let headers = [("authorization", "Bearer acme-analyst-key"), ("last-event-id", "yesterday")];
    assert_eq!(super::http::ask(server.address, "GET /v1/live", &headers, "").status, 422);
}

#[test]
fn an_id_that_the_log_does_not_hold_is_gone_on_every_instance() {
    let house = House::new();
    let key = ("authorization", "Bearer acme-analyst-key");
    for (server, number) in [(house.beside(), "1"), (house.apart(), "2")] {
        let at = server.address;
        assert_eq!(place(at, "acme-producer-key", number, "").status, 200);
        let hello = Live::open(at, "", &[key]).next().id.expect("hello has an id");
        // Behind the end, and of a partition that isn't there.
        let (first, _) = hello.rsplit_once('.').expect("an id has positions");
        for gone in [format!("{first}.999999"), format!("{hello}-o70000.1")] {
            let answer = ask(at, "GET /v1/live", &[key, ("last-event-id", &gone)], "");
            assert_eq!(
                (answer.status, &answer.json()["type"]),
                (410, &"/problems/position-gone".into()),
                "{gone}"
            );
        }
        assert_eq!(Live::open(at, "", &[key, ("last-event-id", &hello)]).next().name, "hello");
    }
}

/// A token that counts for so many seconds: it does for half a minute after its end, as clocks may be apart.
fn token(secret: &str, seconds: i64) -> String {
    let exp = pipelines::clock_ms() / 1_000 - 30 + seconds;
    let claims = serde_json::json!({"sub": "anna", "exp": exp, "roles": ["analyst"], "tenant": "acme"});
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("it can be signed")
}

#[test]
fn a_stream_ends_when_its_token_does() {
    let secret = "a secret of thirty-two characters";
    let house = House::with(|config| {
        let file = config.pipeline.data_dir.join("jwt.secret");
        std::fs::write(&file, secret).expect("the folder can be written");
        config.api.jwt_secret_file = Some(file);
    });
    let server = house.beside();
    // Opening the stream takes of it, too.
    let token = token(secret, 40);
    let mut live = Live::open(server.address, "", &[("authorization", &format!("Bearer {token}"))]);
    assert_eq!(live.next().name, "hello");
    let mut last = live.next_fact();
    while last.name != "bye" {
        last = live.next_fact();
    }
    assert_eq!(last.data["reason"], "expired");
    assert!(last.id.is_some(), "another may go on with it");
    wait_for("the token to end", || get(server.address, &token, "/v1/status").status == 401);
}

fn many_orders(house: &House) -> Vec<NewRecord> {
    let ids = house.stores.prepare().expect("contracts are registered");
    let record = |number: usize| {
        let order = PlaceOrder {
            command_id: format!("c{number}").into(),
            tenant: "acme".into(),
            order_id: format!("o{number}").into(),
            customer_id: "anna".into(),
            partner_id: None,
            offer_id: "box".into(),
            quantity: 1,
            price_minor: 100,
            currency: "EUR".into(),
            placed_at_ms: pipelines::clock_ms(),
            card: None,
            device: None,
            ip: None,
            numbers: Vec::new(),
            seat: None,
        };
        let mut value = Vec::new();
        encode_command(&Command::PlaceOrder(Box::new(order)), |record| ids.of(record), &mut value);
        let (key, timestamp_ms) = (Some(format!("o{number}").into_bytes()), pipelines::clock_ms());
        NewRecord { key, value: Some(value), timestamp_ms, ..NewRecord::default() }
    };
    (0..MANY).map(record).collect()
}

#[test]
fn a_client_that_does_not_read_is_cut_off_and_finds_everything_when_it_comes_back() {
    let house = House::new();
    let server = house.beside();
    let key = ("authorization", "Bearer acme-analyst-key");
    let mut live = Live::open(server.address, "?topics=orders", &[key]);
    let mut last = live.next().id;
    let records = many_orders(&house);
    let mut appender = house.stores.appender().expect("the log opens");
    appender.append_many(&[("commands.orders", &records)]).expect("orders can be appended");
    let held = || get(server.address, "acme-analyst-key", "/v1/stock").items()[0]["held"].as_u64();
    wait_for("all orders to be held", || held() == Some(MANY as u64));
    let told = || figure(server.address, "tombola_api_facts_total");
    // Of each its own fact, and its offer's; but nothing is told once the only client was cut off.
    let mut since = (told(), Instant::now());
    wait_for("all orders to be told, or nobody to be listening", || {
        let now = told();
        if now != since.0 {
            since = (now, Instant::now());
        }
        now >= 2 * MANY as u64 || since.1.elapsed() > Duration::from_secs(4)
    });
    let (mut seen, mut cuts, mut idle) = (BTreeSet::new(), 0, 0);
    let (mut kept, mut reasons) = (0, Vec::new());
    while seen.len() < MANY {
        idle += 1;
        assert!(idle < 200, "nothing more comes after {} of {MANY} and {cuts} streams", seen.len());
        match live.try_next() {
            Some(event) if event.name == "order" => {
                kept += if cuts == 0 { event.data.to_string().len() } else { 0 };
                assert!(seen.insert(event.data["order_id"].to_string()), "twice: {event:?}");
                (last, idle) = (event.id, 0);
            }
            Some(event) if event.name == "frontier" || event.name == "hello" => {}
            cut => {
                // Told so, or just cut off: what was read counts.
                reasons
                    .extend(cut.as_ref().and_then(|event| event.data["reason"].as_str()).map(str::to_owned));
                last = cut.and_then(|event| event.id).or(last);
                cuts += 1;
                assert!(cuts < 100, "{} of {MANY} after {cuts} streams", seen.len());
                let id = last.clone().expect("hello has an id");
                live = Live::open(server.address, "?topics=orders", &[key, ("last-event-id", &id)]);
            }
        }
    }
    assert!(cuts > 0, "nobody was slow: the test shows nothing");
    // The system's buffers on both sides and ours, not what was told meanwhile: that would have no bound.
    assert!(kept < KEPT_MAX, "{kept} bytes were kept for a client that took none ({reasons:?})");
}

/// Places an order without waiting for its decision, which would be listening; then looks until it is there.
fn place_unheard(at: SocketAddr, number: usize) -> String {
    let headers =
        [("authorization", "Bearer acme-producer-key"), ("idempotency-key", &format!("unheard-{number}"))];
    let placed = ask(at, "POST /v1/orders", &headers, &order("")).json();
    let id = placed["order_id"].as_str().expect("it has an id").to_owned();
    wait_for("the order", || get(at, "acme-analyst-key", &format!("/v1/orders/{id}")).status == 200);
    id
}

fn orders_until(live: &mut Live, last: &str) -> (Vec<String>, Option<String>) {
    let (mut seen, mut id) = (Vec::new(), None);
    while seen.last().is_none_or(|seen| seen != last) {
        let event = live.next_fact();
        if event.name == "order" {
            seen.push(event.data["order_id"].as_str().expect("it has an id").to_owned());
            id = event.id;
        }
    }
    (seen, id)
}

fn nobody_listens_and_what_is_missed_is_found(at: SocketAddr) {
    wait_for("nobody to listen", || figure(at, "tombola_api_telling") == 0);
    let read = figure(at, "tombola_api_facts_total");
    let before: Vec<String> = (0..3).map(|number| place_unheard(at, number)).collect();
    assert_eq!(figure(at, "tombola_api_facts_total"), read, "facts were read for nobody");
    // Whoever comes now sees what comes from now on.
    let key = ("authorization", "Bearer acme-analyst-key");
    let mut live = Live::open(at, "?topics=orders", &[key]);
    let hello = live.next().id.expect("hello has an id");
    let heard = place_unheard(at, 3);
    let (mut seen, last) = orders_until(&mut live, &heard);
    // An instance of its own hears of the frontier a little later than tables show what is decided.
    seen.retain(|id| !before.contains(id));
    assert_eq!(seen, std::slice::from_ref(&heard), "after {before:?}");
    drop(live);
    wait_for("nobody to listen again", || figure(at, "tombola_api_telling") == 0);
    let missed: Vec<String> = (4..9).map(|number| place_unheard(at, number)).collect();
    for (id, wanted) in [(last, missed.clone()), (Some(hello), [vec![heard], missed].concat())] {
        let id = id.expect("events have ids");
        let mut live = Live::open(at, "?topics=orders", &[key, ("last-event-id", &id)]);
        assert_eq!(live.next().name, "hello");
        let newest = place(at, "acme-producer-key", &format!("newest-{id}"), "").json();
        let newest = newest["order_id"].as_str().expect("it has an id").to_owned();
        let mut seen = orders_until(&mut live, &newest).0;
        seen.retain(|id| *id != newest && wanted.contains(id));
        // Orders lie in several partitions: each is in its own order.
        let (distinct, all): (BTreeSet<_>, BTreeSet<_>) = (seen.iter().collect(), wanted.iter().collect());
        assert!(distinct.is_subset(&all) && distinct.len() == seen.len(), "{seen:?} of {wanted:?}");
        // The newest may overtake others in their partitions.
        while seen.len() < wanted.len() {
            let event = live.next_fact();
            let id = event.data["order_id"].as_str().expect("it has an id").to_owned();
            if before.contains(&id) {
                continue;
            }
            assert!(wanted.contains(&id) && !seen.contains(&id), "{id} beside {seen:?}");
            seen.push(id);
        }
    }
}

#[test]
fn nothing_is_read_for_nobody_and_whoever_comes_back_after_that_gets_each_event_once() {
    let house = House::new();
    let server = house.beside();
    nobody_listens_and_what_is_missed_is_found(server.address);
}

#[test]
fn the_same_holds_for_an_instance_of_its_own() {
    let house = House::new();
    let server = house.apart();
    nobody_listens_and_what_is_missed_is_found(server.address);
}
