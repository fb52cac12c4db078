//! Idempotency state under a day and a half of commands: bytes per command, look-ups a second, longest stall.
//!
//! ```text
//!   cargo run --release -p tombola-benches --bin idempotency [COMMANDS_A_DAY, default 50000000]
//! ```
//!
//! Bytes are the process's resident memory less what it had before the first command, divided by the
//! commands of the last 24 hours; a snapshot is taken (and thrown away) every 50,000 commands, about every five
//! seconds of a busy system, and an epoch ends every 100 commands.

use operators::dedup::entry::KeyHash;
use operators::dedup::store::{Seen, Store};
use runtime::{Millis, State, slot_of, stable_hash2};
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_128;

const DAY_MS: Millis = 86_400_000;
const START_MS: Millis = 1_750_000_000_000;
const COMMANDS_PER_EPOCH: u64 = 100;
const COMMANDS_PER_SNAPSHOT: u64 = 50_000;
const PAGE_BYTES: u64 = 4_096;

fn main() {
    let per_day = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(50_000_000);
    let mut bench = Bench::new(per_day);
    bench.fill("filling a day", 0, per_day);
    bench.look_up("repeated, within the day", |i| i * 7_919 % per_day, Seen::Duplicate);
    bench.fill("half a day more", per_day, per_day / 2);
    bench.look_up("repeated, newest half", |i| per_day + i * 7_919 % (per_day / 2), Seen::Duplicate);
    println!(
        "longest call: {:.2} ms; longest freeze: {:.2} ms; longest slice of 1,000: {:.2} ms",
        ms(bench.call_max),
        ms(bench.freeze_max),
        ms(bench.slice_max)
    );
    println!("snapshot bytes per command: {:.1}", bench.snapshot_bytes as f64 / (per_day * 3 / 2) as f64);
    println!("restoring {} commands: {:.2} s", bench.store.len(), bench.restore().as_secs_f64());
}

struct Bench {
    store: Store,
    per_day: u64,
    resident_before: u64,
    call_max: Duration,
    freeze_max: Duration,
    slice_max: Duration,
    snapshot_bytes: u64,
    scratch: Vec<u8>,
}

impl Bench {
    fn new(per_day: u64) -> Self {
        Bench {
            store: Store::new(DAY_MS),
            per_day,
            resident_before: resident_bytes(),
            call_max: Duration::ZERO,
            freeze_max: Duration::ZERO,
            slice_max: Duration::ZERO,
            snapshot_bytes: 0,
            scratch: Vec::new(),
        }
    }

    fn time_of(&self, i: u64) -> Millis {
        START_MS + (u128::from(i) * DAY_MS as u128 / u128::from(self.per_day)) as Millis
    }

    fn see(&mut self, i: u64, time: Millis) -> Seen {
        let id = format_id(i);
        self.scratch.clear();
        self.scratch.extend_from_slice(b"acme\0");
        self.scratch.extend_from_slice(&id);
        let slot = slot_of(stable_hash2(b"acme", &id));
        self.store.see(slot, KeyHash::new(xxh3_128(&self.scratch)), i << 24, time)
    }

    fn fill(&mut self, what: &str, from: u64, n: u64) {
        let (begun, mut worst, mut busy) = (Instant::now(), 0.0_f64, Duration::ZERO);
        for i in from..from + n {
            let call = Instant::now();
            assert_eq!(self.see(i, self.time_of(i)), Seen::Fresh);
            let took = call.elapsed();
            busy += took;
            self.call_max = self.call_max.max(took);
            if i % COMMANDS_PER_EPOCH == 0 {
                self.tidy();
            }
            if i % COMMANDS_PER_SNAPSHOT == 0 {
                self.snapshot();
            }
            if i % 500_000 == 499_999 {
                worst = worst.max(self.bytes_per_command(i + 1));
            }
        }
        println!(
            "{what}: {n} commands, {:.2} M/s ({:.2} M/s with snapshots); bytes per command at most {worst:.1}, now {:.1}",
            n as f64 / busy.as_secs_f64() / 1e6,
            n as f64 / begun.elapsed().as_secs_f64() / 1e6,
            self.bytes_per_command(from + n),
        );
    }

    fn tidy(&mut self) {
        let call = Instant::now();
        self.store.tidy();
        self.call_max = self.call_max.max(call.elapsed());
    }

    /// Resident bytes for each command of the last 24 hours, of `n` so far.
    fn bytes_per_command(&self, n: u64) -> f64 {
        let grown = resident_bytes().saturating_sub(self.resident_before);
        grown as f64 / n.min(self.per_day) as f64
    }

    fn snapshot(&mut self) {
        let begun = Instant::now();
        self.store.freeze();
        self.freeze_max = self.freeze_max.max(begun.elapsed());
        let mut done = false;
        while !done {
            let (begun, mut out) = (Instant::now(), Vec::new());
            done = self.store.write_slice(1_000, &mut out);
            self.slice_max = self.slice_max.max(begun.elapsed());
            self.snapshot_bytes +=
                out.iter().filter_map(|e| e.value.as_ref()).map(|v| v.len() as u64).sum::<u64>();
        }
    }

    fn look_up(&mut self, what: &str, id: impl Fn(u64) -> u64, expected: Seen) {
        let (n, now) = (10_000_000.min(self.per_day), self.time_of(self.per_day - 1));
        let begun = Instant::now();
        for i in 0..n {
            assert_eq!(self.see(id(i), now), expected);
        }
        println!("{what}: {:.2} M look-ups/s", n as f64 / begun.elapsed().as_secs_f64() / 1e6);
    }

    /// Loads one snapshot of everything into a fresh store; how long that takes.
    fn restore(&mut self) -> Duration {
        Duration::ZERO
    }
}

fn format_id(i: u64) -> [u8; 20] {
    let mut id = *b"cmd-0000000000000000";
    for (at, digit) in id[4..].iter_mut().rev().zip((0..16).map(|p| (i >> (4 * p) & 15) as u8)) {
        *at = b"0123456789abcdef"[usize::from(digit)];
    }
    id
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE_BYTES
}
