//! How many orders a second the API takes, and how soon they are decided.
//!
//! ```text
//!   cargo run --release --example api_load -- ADDR CONNECTIONS SECONDS [RATE]
//! ```
//!
//! Against `tombola demo --rate 1 --api ADDR`, say. Without RATE each connection sends its next order as soon as the last is
//! accepted; with it, so many a second in all are sent with `wait_ms`, and the times are those to the decision.

use hdrhistogram::Histogram;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const ORDER: &str = r#"{"tenant":"corner-shop","customer_id":"load","offer_id":"ticket-6-of-49","quantity":1,"price_minor":250,"currency":"EUR"}"#;

struct Load {
    address: String,
    connections: u32,
    length: Duration,
    rate: Option<u32>,
    sent: AtomicU64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<u32>().ok());
    let (Some(address), Some(connections), Some(seconds)) = (arguments.first(), number(1), number(2)) else {
        eprintln!("usage: api_load ADDR CONNECTIONS SECONDS [RATE]");
        std::process::exit(2);
    };
    let length = Duration::from_secs(seconds.into());
    let load = Arc::new(Load {
        address: address.clone(),
        connections,
        length,
        rate: number(3),
        sent: AtomicU64::new(0),
    });
    let began = Instant::now();
    let clients: Vec<_> = (0..connections)
        .map(|_| {
            let load = Arc::clone(&load);
            std::thread::spawn(move || load.client(began))
        })
        .collect();
    let mut all = histogram();
    for client in clients {
        all.add(client.join().expect("a client ends well")).expect("histograms of a kind can be added");
    }
    let rate = all.len() as f64 / began.elapsed().as_secs_f64();
    let ms = |quantile| all.value_at_quantile(quantile) as f64 / 1_000.0;
    println!(
        "{} orders, {rate:.0}/s; p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        all.len(),
        ms(0.5),
        ms(0.95),
        ms(0.99),
        all.max() as f64 / 1_000.0
    );
}

/// Times in microseconds, however long: one of a fixed size would cut off what is longer.
fn histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new(3).expect("three digits can be kept");
    histogram.auto(true);
    histogram
}

impl Load {
    fn client(&self, began: Instant) -> Histogram<u64> {
        let mut times = histogram();
        let stream = TcpStream::connect(&self.address).expect("the API listens");
        stream.set_nodelay(true).expect("it can be set");
        let mut connection = BufReader::new(stream);
        while began.elapsed() < self.length {
            let number = self.sent.fetch_add(1, Ordering::SeqCst);
            let due = self.rate.map(|rate| began + Duration::from_secs(1) * number as u32 / rate);
            let due = due.unwrap_or_else(Instant::now);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            self.place(&mut connection, number);
            times.record(due.elapsed().as_micros() as u64).expect("a histogram that grows takes any time");
        }
        times
    }

    fn place(&self, connection: &mut BufReader<TcpStream>, number: u64) {
        let (wanted, query) = if self.rate.is_some() { (" 200 ", "?wait_ms=20000") } else { (" 202 ", "") };
        let key = format!("{}-{number}-{}", std::process::id(), self.connections);
        let request = format!(
            "POST /v1/orders{query} HTTP/1.1\r\nhost: {}\r\nidempotency-key: {key}\r\ncontent-length: {}\r\n\r\n{ORDER}",
            self.address,
            ORDER.len()
        );
        connection.get_mut().write_all(request.as_bytes()).expect("the API reads");
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            connection.read_line(&mut line).expect("the API answers");
            if let Some(text) = line.strip_prefix("content-length: ") {
                length = text.trim().parse().expect("a length is a number");
            }
            head += &line;
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body).expect("the API answers");
        assert!(
            head.lines().next().unwrap_or_default().contains(wanted),
            "{head}{}",
            String::from_utf8_lossy(&body)
        );
    }
}
