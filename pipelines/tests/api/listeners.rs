//! Many live clients of which some are stuck, slow or cut off: the others get every event once and in time, the pipeline
//! decides as ever, and the stuck ones are let go.

use super::house::{House, figure, place, wait_for};
use super::http::Live;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;

const STEADY: usize = 30;
const CUT: usize = 10;
const STUCK: usize = 10;
/// Orders; enough that what they say of them doesn't fit the sockets of a client that takes nothing.
const ORDERS: usize = 150;
const KEY: (&str, &str) = ("authorization", "Bearer acme-analyst-key");

/// Takes as many orders as there are; one that is cut off every so many events comes back.
fn listen(at: SocketAddr, cut_every: Option<usize>) -> JoinHandle<Vec<String>> {
    let mut live = Live::open(at, "?topics=orders", &[KEY]);
    assert_eq!(live.next().name, "hello");
    std::thread::spawn(move || {
        let mut seen = Vec::new();
        while seen.len() < ORDERS {
            let event = live.next_fact();
            if event.name != "order" {
                continue;
            }
            seen.push(event.data["order_id"].as_str().expect("it has an id").to_owned());
            if cut_every.is_some_and(|every| seen.len() % every == 0) {
                let from = event.id.expect("events have ids");
                live = Live::open(at, "?topics=orders", &[KEY, ("last-event-id", &from)]);
            }
        }
        seen
    })
}

/// Asks for everything and reads nothing of it.
fn stuck(at: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(at).expect("the server listens");
    let head = format!("GET /v1/live HTTP/1.1\r\nhost: {at}\r\n{}: {}\r\n\r\n", KEY.0, KEY.1);
    stream.write_all(head.as_bytes()).expect("the server reads");
    stream
}

fn live_clients(at: SocketAddr) -> u64 {
    figure(at, "tombola_api_live_clients")
}

#[test]
fn each_of_many_clients_gets_each_event_once_though_some_take_nothing_and_some_break_off() {
    let house = House::new();
    let server = house.beside();
    let at = server.address;
    let kept: Vec<TcpStream> = (0..STUCK).map(|_| stuck(at)).collect();
    let listening: Vec<_> =
        (0..STEADY + CUT).map(|number| listen(at, (number >= STEADY).then_some(3 + number % 5))).collect();
    wait_for("all to listen", || live_clients(at) == (STEADY + CUT + STUCK) as u64);
    let mut placed = BTreeSet::new();
    for number in 0..ORDERS {
        let id = format!("o{number}");
        let answer = place(at, "acme-producer-key", &id, &format!(r#","order_id":"{id}""#));
        assert_eq!(answer.status, 200, "{answer:?}");
        placed.insert(id);
    }
    for (number, client) in listening.into_iter().enumerate() {
        let seen = client.join().expect("a client ends well");
        let distinct: BTreeSet<String> = seen.iter().cloned().collect();
        assert_eq!(distinct.len(), seen.len(), "client {number} got one twice");
        assert_eq!(distinct, placed, "client {number}");
    }
    drop(kept);
    wait_for("all to be let go", || live_clients(at) == 0);
}
