//! Idempotency state under a day and a half of commands: bytes per command, look-ups a second, longest stall.
//!
//! ```text
//!   cargo run --release -p tombola-benches --bin idempotency [COMMANDS_A_DAY, default 50000000]
//! ```
//!
//! Bytes are the process's resident memory less what it had before the first command, divided by the
//! commands of the last 24 hours. An epoch ends every 100 commands; a snapshot is taken every 50,000, about every
//! five seconds of a busy system, and kept on disk only, for the restart at the end. Times are processor time of
//! this thread, so that they hold on a machine that does other things too.

use operators::dedup::entry::KeyHash;
use operators::dedup::store::{Seen, Store};
use runtime::{Entries, Millis, State, StateEntry, slot_of, stable_hash2};
use rustix::time::{ClockId, clock_gettime};
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use xxhash_rust::xxh3::xxh3_128;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const DAY_MS: Millis = 86_400_000;
const START_MS: Millis = 1_750_000_000_000;
const COMMANDS_PER_EPOCH: u64 = 100;
const COMMANDS_PER_SNAPSHOT: u64 = 50_000;
const COMMANDS_PER_SAMPLE: u64 = 500_000;
const LOOKUPS_MAX: u64 = 10_000_000;
const PAGE_BYTES: u64 = 4_096;

fn main() -> std::io::Result<()> {
    let per_day = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(50_000_000);
    let mut bench = Bench::new(per_day)?;
    bench.fill("filling a day", 0, per_day)?;
    bench.look_up("repeated, any of the day", |i| i * 7_919 % per_day);
    bench.fill("half a day more", per_day, per_day / 2)?;
    bench.look_up("repeated, any of the half day", |i| per_day + i * 7_919 % (per_day / 2));
    bench.snapshot()?;
    println!(
        "longest epoch of 100 commands: {:.2} ms; longest freeze: {:.2} ms; longest slice of 1,000: {:.2} ms",
        bench.epoch_ms_max, bench.freeze_ms_max, bench.slice_ms_max,
    );
    println!("snapshot bytes written per command: {:.1}", bench.file_bytes as f64 / (per_day as f64 * 1.5));
    bench.restore()
}

struct Bench {
    store: Store,
    per_day: u64,
    resident_before: u64,
    epoch_ms_max: f64,
    freeze_ms_max: f64,
    slice_ms_max: f64,
    /// Snapshot entries, one behind the other.
    file: BufWriter<std::fs::File>,
    file_bytes: u64,
    scratch: Vec<u8>,
}

impl Bench {
    fn new(per_day: u64) -> std::io::Result<Self> {
        Ok(Bench {
            store: Store::new(DAY_MS),
            per_day,
            resident_before: resident_bytes(),
            epoch_ms_max: 0.0,
            freeze_ms_max: 0.0,
            slice_ms_max: 0.0,
            file: BufWriter::new(tempfile::tempfile()?),
            file_bytes: 0,
            scratch: Vec::new(),
        })
    }

    fn time_of(&self, i: u64) -> Millis {
        START_MS + (u128::from(i) * DAY_MS as u128 / u128::from(self.per_day)) as Millis
    }

    /// What the operator does with a command: two hashes and a look-up.
    fn see(&mut self, i: u64, time: Millis) -> Seen {
        let id = format_id(i);
        self.scratch.clear();
        self.scratch.extend_from_slice(b"acme\0");
        self.scratch.extend_from_slice(&id);
        let slot = slot_of(stable_hash2(b"acme", &id));
        self.store.see(slot, KeyHash::new(xxh3_128(&self.scratch)), i, time)
    }

    fn fill(&mut self, what: &str, from: u64, n: u64) -> std::io::Result<()> {
        let (mut busy_ms, mut worst) = (0.0, 0.0_f64);
        for first in (from..from + n).step_by(COMMANDS_PER_EPOCH as usize) {
            let epoch_ms = self.epoch(first);
            busy_ms += epoch_ms;
            self.epoch_ms_max = self.epoch_ms_max.max(epoch_ms);
            let through = first + COMMANDS_PER_EPOCH;
            if through.is_multiple_of(COMMANDS_PER_SNAPSHOT) {
                self.snapshot()?;
            }
            if through.is_multiple_of(COMMANDS_PER_SAMPLE) {
                worst = worst.max(self.report_bytes(through));
            }
        }
        let rate = n as f64 / busy_ms / 1e3;
        let now = self.bytes_per_command(from + n);
        println!("{what}: {rate:.2} M/s; bytes per command at most {worst:.1}, in the end {now:.1}");
        Ok(())
    }

    /// One epoch of new commands; how long it took.
    fn epoch(&mut self, first: u64) -> f64 {
        let begun = cpu_ms();
        for i in first..first + COMMANDS_PER_EPOCH {
            assert_eq!(self.see(i, self.time_of(i)), Seen::Fresh);
        }
        self.store.tidy();
        cpu_ms() - begun
    }

    /// Bytes per command, told at each doubling; what counts begins with a tenth of a day.
    fn report_bytes(&self, n: u64) -> f64 {
        let bytes = self.bytes_per_command(n);
        if (n / 1_000_000).is_power_of_two() && n.is_multiple_of(1_000_000) {
            println!("  at {:>3} M commands: {bytes:.1} bytes per command", n / 1_000_000);
        }
        if n < self.per_day / 10 { 0.0 } else { bytes }
    }

    fn bytes_per_command(&self, n: u64) -> f64 {
        let grown = resident_bytes().saturating_sub(self.resident_before);
        grown as f64 / n.min(self.per_day) as f64
    }

    fn snapshot(&mut self) -> std::io::Result<()> {
        let begun = cpu_ms();
        self.store.freeze();
        self.freeze_ms_max = self.freeze_ms_max.max(cpu_ms() - begun);
        let mut done = false;
        while !done {
            let (begun, mut out) = (cpu_ms(), Entries::default());
            done = self.store.write_slice(1_000, &mut out);
            self.slice_ms_max = self.slice_ms_max.max(cpu_ms() - begun);
            out.unpack().map_err(std::io::Error::other)?.iter().try_for_each(|entry| self.write(entry))?;
        }
        Ok(())
    }

    fn write(&mut self, entry: &StateEntry) -> std::io::Result<()> {
        let Some(value) = &entry.value else { return Ok(()) };
        self.file_bytes += value.len() as u64;
        self.file.write_all(&[entry.slot])?;
        self.file.write_all(&entry.key)?;
        self.file.write_all(&(value.len() as u32).to_le_bytes())?;
        self.file.write_all(value)
    }

    fn look_up(&mut self, what: &str, id: impl Fn(u64) -> u64) {
        let (n, now) = (LOOKUPS_MAX.min(self.per_day), self.time_of(self.per_day - 1));
        let begun = cpu_ms();
        for i in 0..n {
            assert_eq!(self.see(id(i), now), Seen::Duplicate);
        }
        println!("{what}: {:.2} M look-ups/s", n as f64 / (cpu_ms() - begun) / 1e3);
    }

    /// Loads every chunk ever written (a real store keeps the newest of each, and none that is forgotten).
    fn restore(mut self) -> std::io::Result<()> {
        let expected = self.store.len();
        self.store = Store::new(DAY_MS);
        self.file.flush()?;
        self.file.rewind()?;
        let mut file = BufReader::with_capacity(1 << 20, self.file.into_inner().map_err(|e| e.into_error())?);
        let begun = cpu_ms();
        while let Some(entry) = read_entry(&mut file)? {
            self.store.load(&entry).map_err(std::io::Error::other)?;
        }
        self.store.on_restored();
        println!("restoring {expected} commands: {:.1} s", (cpu_ms() - begun) / 1e3);
        assert_eq!(self.store.len(), expected, "what was restored is what was there");
        Ok(())
    }
}

fn read_entry(file: &mut impl Read) -> std::io::Result<Option<StateEntry>> {
    let (mut head, mut len) = ([0; 13], [0; 4]);
    match file.read_exact(&mut head) {
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    file.read_exact(&mut len)?;
    let mut value = vec![0; u32::from_le_bytes(len) as usize];
    file.read_exact(&mut value)?;
    Ok(Some(StateEntry { slot: head[0], key: head[1..].to_vec(), value: Some(value) }))
}

/// `cmd-` and 16 hexadecimal digits.
fn format_id(i: u64) -> [u8; 20] {
    let mut id = *b"cmd-0000000000000000";
    for (place, to) in id[4..].iter_mut().rev().enumerate() {
        *to = b"0123456789abcdef"[(i >> (4 * place) & 15) as usize];
    }
    id
}

/// Processor time of this thread.
fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE_BYTES
}
