//! Many live clients at once: each event reaches each of them once, however slow, broken or stuck the others are.
//!
//! ```text
//!   cargo run --release --example api_listeners -- ADDR CLIENTS SECONDS [SLOW [STUCK [CUT]]]
//! ```
//!
//! Against `tombola demo --rate 50 --api ADDR`, say. SLOW of the clients take a few kilobytes a second, STUCK read nothing
//! at all, CUT break off every other second. All but the stuck ones come back with `Last-Event-ID` wherever they
//! were cut off. An event moves one partition of its id on by one (in the embedded log): more is a gap, less a repeat.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// What a slow client takes at once, and how long it then does something else.
const SLOW_LINES: u64 = 8;
const SLOW_PAUSE: Duration = Duration::from_secs(1);
/// How long a client that is cut off listens.
const CUT_AFTER: Duration = Duration::from_secs(2);
/// How long whoever is turned away waits.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq)]
enum Habit {
    Steady,
    Slow,
    Stuck,
    Cut,
}

#[derive(Default)]
struct Counted {
    events: AtomicU64,
    gaps: AtomicU64,
    repeats: AtomicU64,
    streams: AtomicU64,
    turned_away: AtomicU64,
    byes: AtomicU64,
}

/// The next offset of each partition.
type Positions = BTreeMap<String, u64>;

struct Client {
    address: SocketAddr,
    habit: Habit,
    until: Instant,
    counted: Arc<Counted>,
    last: Option<(String, Positions)>,
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<usize>().ok());
    let address = arguments.first().and_then(|address| address.parse().ok());
    let (Some(address), Some(clients), Some(seconds)) = (address, number(1), number(2)) else {
        eprintln!("usage: api_listeners ADDR CLIENTS SECONDS [SLOW [STUCK [CUT]]]");
        std::process::exit(2);
    };
    let (slow, stuck, cut) = (number(3).unwrap_or(0), number(4).unwrap_or(0), number(5).unwrap_or(0));
    let counted = Arc::new(Counted::default());
    let (began, length) = (Instant::now(), Duration::from_secs(seconds as u64));
    let habit = |at: usize| match at {
        at if at < slow => Habit::Slow,
        at if at < slow + stuck => Habit::Stuck,
        at if at < slow + stuck + cut => Habit::Cut,
        _ => Habit::Steady,
    };
    let run = |at| {
        let client = Client {
            address,
            habit: habit(at),
            until: began + length,
            counted: Arc::clone(&counted),
            last: None,
        };
        tokio::spawn(client.run())
    };
    println!("resident before: {} MiB", resident_mib(address));
    let running: Vec<_> = (0..clients).map(run).collect();
    for tenth in 1..=10 {
        tokio::time::sleep_until((began + length * tenth / 10).into()).await;
        let per_s = counted.events.load(Ordering::SeqCst) as f64 / began.elapsed().as_secs_f64();
        println!(
            "{:>4} s: {per_s:.0} events/s in all, resident {} MiB",
            began.elapsed().as_secs(),
            resident_mib(address)
        );
    }
    for client in running {
        client.await.expect("a client ends well");
    }
    let of = |count: &AtomicU64| count.load(Ordering::SeqCst);
    println!(
        "{} events to {clients} clients over {} streams, {} of them ended with bye, {} requests turned away: {} gaps, {} repeats",
        of(&counted.events),
        of(&counted.streams),
        of(&counted.byes),
        of(&counted.turned_away),
        of(&counted.gaps),
        of(&counted.repeats)
    );
    std::process::exit((of(&counted.gaps) + of(&counted.repeats) > 0).into());
}

impl Client {
    async fn run(mut self) {
        while Instant::now() < self.until {
            if self.follow().await.is_err() {
                // Cut off or turned away: it comes back.
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// One stream, until it ends.
    async fn follow(&mut self) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(self.address).await?;
        let resume = self.last.as_ref().map(|(id, _)| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        let request = format!("GET /v1/live HTTP/1.1\r\nhost: {}\r\n{resume}\r\n", self.address);
        stream.write_all(request.as_bytes()).await?;
        self.counted.streams.fetch_add(1, Ordering::SeqCst);
        if self.habit == Habit::Stuck {
            tokio::time::sleep_until(self.until.into()).await;
            return Ok(());
        }
        let end =
            if self.habit == Habit::Cut { self.until.min(Instant::now() + CUT_AFTER) } else { self.until };
        let mut lines = BufReader::new(stream).lines();
        let (mut name, mut read) = (String::new(), 0);
        while let Ok(line) = tokio::time::timeout_at(end.into(), lines.next_line()).await {
            let Some(line) = line? else { return Err(std::io::ErrorKind::UnexpectedEof.into()) };
            if line.starts_with("HTTP/1.1 503") {
                self.counted.turned_away.fetch_add(1, Ordering::SeqCst);
                return Err(std::io::ErrorKind::ConnectionRefused.into());
            }
            if let Some(named) = line.strip_prefix("event:") {
                named.trim().clone_into(&mut name);
            } else if let Some(id) = line.strip_prefix("id:") {
                self.heard(&name, id.trim());
            }
            read += 1;
            // Where there is always something to read, no time-out comes.
            if Instant::now() >= end {
                break;
            }
            if self.habit == Habit::Slow && read % SLOW_LINES == 0 {
                tokio::time::sleep(SLOW_PAUSE).await;
            }
        }
        Ok(())
    }

    fn heard(&mut self, name: &str, id: &str) {
        let at = positions(id);
        match (name, &self.last) {
            ("bye", _) => _ = self.counted.byes.fetch_add(1, Ordering::SeqCst),
            ("hello", _) | (_, None) => {}
            (_, Some((_, before))) => {
                self.counted.events.fetch_add(1, Ordering::SeqCst);
                let moved = |(partition, next): (&String, &u64)| {
                    *next as i64 - before.get(partition).copied().unwrap_or(0) as i64
                };
                let by: i64 = at.iter().map(moved).sum();
                self.counted.gaps.fetch_add(u64::from(by > 1), Ordering::SeqCst);
                self.counted.repeats.fetch_add(u64::from(by < 1), Ordering::SeqCst);
            }
        }
        // What comes after hello must follow on what came before the stream was cut.
        if name != "hello" || self.last.is_none() {
            self.last = Some((id.to_owned(), at));
        }
    }
}

fn positions(id: &str) -> Positions {
    let parts = id.split('-').skip(1).filter_map(|part| part.split_once('.'));
    parts.filter_map(|(partition, next)| Some((partition.to_owned(), next.parse().ok()?))).collect()
}

/// What the server holds, as it says itself.
fn resident_mib(address: SocketAddr) -> u64 {
    let ask = || {
        let mut stream = std::net::TcpStream::connect(address)?;
        let mut text = String::new();
        write!(stream, "GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
        stream.read_to_string(&mut text)?;
        std::io::Result::Ok(text)
    };
    let text = ask().unwrap_or_default();
    let figure = text.lines().find_map(|line| line.strip_prefix("tombola_api_resident_bytes "));
    figure.and_then(|figure| figure.parse::<u64>().ok()).unwrap_or(0) >> 20
}
