//! The engine alone: validation and inventory over an in-memory log, against a straight loop doing the same.
//!
//! `cargo run --release -p tombola-benches --bin engine -- [ORDERS] [WORKERS...]`. Both read the same encoded
//! records and decode them; decisions of each kind must be equal. The engine decodes on its fetch thread, so at
//! one worker it uses a little more than one core; the ratio of CPU time is printed beside that of wall time.

use connectors::decode::Input;
use operators::messages::Output;
use operators::settings::{Settings, TicketKey};
use pipelines::jobs::sales::Sales;
use runtime::bindings::BindingStore;
use runtime::memory::{MemoryBindings, MemoryLog};
use runtime::run::{Mode, Options, Stores};
use runtime::shared::Shared;
use runtime::sink::{EpochItems, Sink, SinkError};
use runtime::source::{Fetch, Fetched, LogError, LogReader};
use runtime::{Epoch, Offset, PartitionId};
use schemas::{Command, Decoder, Fact, SchemaIds};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tombola_benches::day::{self, Entry, Raw};
use tombola_benches::straight::{self, Tally};

/// As in the `tombola` program; the straight loop has it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HOLD_TTL_MS: i64 = 600_000;

/// Decodes what the memory log holds, as the embedded reader does.
struct DecodingReader {
    log: MemoryLog<Raw>,
    decoder: Decoder,
}

impl LogReader for DecodingReader {
    type Record = Input;

    fn partitions(&mut self) -> Result<Vec<PartitionId>, LogError> {
        self.log.partitions()
    }

    fn fetch(&mut self, id: PartitionId, from: Offset, max: usize) -> Result<Fetch<Input>, LogError> {
        let fetch = self.log.fetch(id, from, max)?;
        let records = fetch.records.into_iter().map(|raw| Fetched {
            offset: raw.offset,
            claim: raw.claim,
            class: raw.class,
            body: decode(&self.decoder, raw.body),
            unread: None,
        });
        Ok(Fetch::dense(from, records.collect(), fetch.end))
    }

    fn wait(&mut self, timeout_ms: u64) {
        self.log.wait(timeout_ms);
    }
}

fn decode(decoder: &Decoder, raw: Raw) -> Input {
    match raw {
        Raw::Row(change) => Input::Changes(vec![change]),
        Raw::Command(bytes) => {
            let command = decoder.decode_command(&bytes).expect("it was encoded by us");
            let keep = !matches!(command, Command::PlaceOrder(_));
            Input::Command {
                payload_hash: command.payload_hash(),
                raw: keep.then(|| bytes.as_ref().into()),
                retry_of: None,
                command,
            }
        }
    }
}

/// Counts decisions by kind.
#[derive(Clone, Default)]
struct Counting(Arc<Mutex<(Epoch, Tally)>>);

impl Sink<Output> for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }

    fn committed(&mut self) -> Result<Epoch, SinkError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).0)
    }

    fn commit(&mut self, run: &[EpochItems<Output>]) -> Result<(), SinkError> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for epoch in run {
            counted.0 = epoch.epoch;
            for item in &epoch.items {
                if let Output::Fact(Fact::Order(fact)) = &item.body {
                    *counted.1.entry(fact.event.as_str()).or_default() += 1;
                }
            }
        }
        Ok(())
    }
}

fn engine(entries: &[Entry], workers: usize) -> (Tally, Duration) {
    let partitions = [day::OFFER_ROWS, day::PARTNER_ROWS, day::ORDERS, day::PAYMENTS];
    let log = MemoryLog::new(partitions);
    for (place, claim, class, raw) in entries {
        log.append(*place, [(*claim, *class, raw.clone())]);
    }
    let mut settings =
        Settings { hold_ttl_ms: HOLD_TTL_MS, commission_statements: false, ..Settings::default() };
    settings.topics = pipelines::jobs::sales::TOPICS.iter().map(|&topic| topic.to_owned()).collect();
    settings.ticket_key = TicketKey::new(b"a benchmark's key".as_slice());
    let mut bindings = MemoryBindings::default();
    let generation =
        bindings.begin_generation("bench", &settings.to_recorded(), workers, 0).expect("memory doesn't fail");
    let options = Options {
        workers,
        epoch_ms: 10,
        idle_epoch_ms: 100,
        epoch_records_max: 25_000,
        epochs_in_flight_max: 16,
        snapshot_every_ms: i64::MAX / 4,
        claim_ahead_ms_max: 300_000,
        until_drained: true,
    };
    let ids = SchemaIds::fresh();
    let reader = || DecodingReader { log: log.clone(), decoder: Decoder::with_own(|record| ids.of(record)) };
    let counting = Counting::default();
    let stores = Stores {
        readers: (0..workers).map(|_| reader()).collect(),
        bindings: Box::new(bindings),
        sinks: vec![Box::new(counting.clone())],
        snapshots: None,
    };
    let began = Instant::now();
    let shared = Arc::new(Shared::default());
    let mode = Mode::Live { generation };
    runtime::run::run(Arc::new(Sales { settings }), &options, mode, stores, &shared, &Arc::default())
        .expect("a run in memory doesn't fail");
    let took = began.elapsed();
    let tally = counting.0.lock().unwrap_or_else(PoisonError::into_inner).1.clone();
    (tally, took)
}

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>().expect("a number"));
    let orders = args.next().unwrap_or(1_000_000);
    let workers: Vec<u64> = args.collect();
    let workers = if workers.is_empty() { vec![1] } else { workers };
    let mut entries = day::rows();
    entries.extend(day::commands(orders));
    println!("{orders} orders, {} records", entries.len());
    for round in 1..=3 {
        let began = Instant::now();
        let expected = straight::decide(&entries, HOLD_TTL_MS);
        let loop_s = began.elapsed().as_secs_f64();
        println!("round {round}: straight loop {:.0} orders/s", orders as f64 / loop_s);
        if round == 1 {
            println!("  {expected:?}");
        }
        for workers in &workers {
            let (tally, took) = engine(&entries, *workers as usize);
            assert_eq!(tally, expected, "the engine decides as the loop does");
            let engine_s = took.as_secs_f64();
            let rate = orders as f64 / engine_s;
            println!(
                "  engine, {workers} worker(s): {rate:.0} orders/s, {:.2} of the loop",
                loop_s / engine_s
            );
        }
    }
}
