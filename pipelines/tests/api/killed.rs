//! The API killed at random: what it acknowledged is decided, and nothing is decided twice.

use super::house::{House, get, order};
use super::http::try_ask;
use crate::support::process::tombola;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Clients at once; orders of each: at least so many, and on until the last kill, up to a page of them all.
const CLIENTS: usize = 4;
const ORDERS: usize = 25;
const ORDERS_MAX: usize = 120;
/// Between two orders of a client, and the longer the more it has sent: so they last while slow machines start instances.
const PACE: Duration = Duration::from_millis(300);
/// How often an instance is killed.
const KILLS: usize = 4;

/// An instance that is a process of its own.
pub struct Instance(pub Child, pub SocketAddr);

impl Instance {
    /// One that listens.
    pub fn start(house: &House) -> Instance {
        Instance::start_with(house, &[])
    }

    /// The same, with these variables.
    pub fn start_with(house: &House, variables: &[(&str, &str)]) -> Instance {
        let mut command = tombola(house.folder.path(), &["api", "--listen", "127.0.0.1:0"]);
        command.envs(variables.iter().copied());
        command.stdout(Stdio::null());
        let mut child = command.spawn().expect("the program can be started");
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut lines = stderr.lines();
        let address = loop {
            let line = lines.next().expect("it says where it listens").expect("stderr can be read");
            if let Some((_, address)) = line.split_once("http://") {
                break address.trim().parse().expect("an address");
            }
        };
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Instance(child, address)
    }
}

impl Instance {
    /// SIGKILL, and wait for its end.
    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.kill();
    }
}

#[test]
fn no_acknowledged_command_is_lost_and_none_is_doubled_when_instances_are_killed() {
    let house = House::new();
    let addresses: Arc<Mutex<Vec<SocketAddr>>> = Arc::default();
    let (failures, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut instances: Vec<Instance> = (0..2).map(|_| Instance::start(&house)).collect();
    *addresses.lock().unwrap() = instances.iter().map(|instance| instance.1).collect();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (addresses, failures) = (Arc::clone(&addresses), Arc::clone(&failures));
            let over = Arc::clone(&over);
            std::thread::spawn(move || send_all(client, &addresses, &failures, &over))
        })
        .collect();
    for number in 0..KILLS {
        std::thread::sleep(Duration::from_millis(300 + 170 * number as u64));
        let at = number % 2;
        let disturbed = failures.load(Ordering::SeqCst);
        instances[at].kill();
        // Only when a client has felt it is there another: one that started in no time would show nothing.
        super::house::wait_for("a client to feel it", || failures.load(Ordering::SeqCst) > disturbed);
        instances[at] = Instance::start(&house);
        *addresses.lock().unwrap() = instances.iter().map(|instance| instance.1).collect();
    }
    over.store(true, Ordering::SeqCst);
    let (mut sent, mut acknowledged) = (BTreeSet::new(), 0);
    for client in clients {
        let ids = client.join().expect("a client ends well");
        acknowledged += ids.len();
        sent.extend(ids);
    }
    assert_eq!(sent.len(), acknowledged, "every key has its one order");
    check(&house, &sent);
}

/// Sends orders, each again with its key until it is acknowledged; their ids.
fn send_all(
    client: usize,
    addresses: &Mutex<Vec<SocketAddr>>,
    failures: &AtomicUsize,
    over: &AtomicBool,
) -> Vec<String> {
    let mut ids = Vec::new();
    for number in (0..ORDERS_MAX).take_while(|number| *number < ORDERS || !over.load(Ordering::SeqCst)) {
        let key = format!("{client}-{number}");
        std::thread::sleep(PACE * (1 + number / ORDERS) as u32);
        for attempt in 0.. {
            assert!(attempt < 600, "{key} was never acknowledged");
            let at = addresses.lock().expect("nobody panicked")[(client + number + attempt) % 2];
            let headers = [("authorization", "Bearer acme-producer-key"), ("idempotency-key", key.as_str())];
            match try_ask(at, "POST /v1/orders", &headers, &order("")) {
                Ok(answer) if answer.status == 202 => {
                    ids.push(answer.json()["order_id"].as_str().expect("an id").to_owned());
                    break;
                }
                _ => {
                    failures.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
    }
    ids
}

/// Every order is there once, and exactly as many boxes are held.
fn check(house: &House, sent: &BTreeSet<String>) {
    let server = house.beside();
    let held = || {
        let stock = get(server.address, "acme-analyst-key", "/v1/stock").items();
        stock.first().and_then(|row| row["held"].as_i64()).unwrap_or(0)
    };
    super::house::wait_for("every order to be held", || held() >= sent.len() as i64);
    let orders = get(server.address, "acme-analyst-key", "/v1/orders?limit=500").items();
    let found: BTreeSet<String> =
        orders.iter().map(|order| order["order_id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(&found, sent);
    assert_eq!(held(), sent.len() as i64, "none is held twice");
}
