//! `tombola produce`: NDJSON into the log, one record a line.
//!
//! ```text
//!   FILE | stdin ─ lines ─ parse ─┬─ good ─ batches of BATCH_LINES ─> one transaction each
//!                                 └─ bad ─> FILE:LINE: reason, on stderr
//! ```
//!
//! A batch goes in whole or not at all. A crash leaves the batches before it; sending everything again does
//! no harm within the idempotency horizon, since the pipeline knows a `command_id` it has seen.

use super::place::Place;
use super::{Failure, output};
use crate::stores::Append;
use connectors::embedded::{NewRecord, Placed};
use schemas::debezium::{decode_change, key_of};
use schemas::reference::{Change, ReferenceTable};
use schemas::{NdjsonRecord, SchemaIds, encode_command, parse_line};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

/// Lines of one transaction.
const BATCH_LINES: usize = 5_000;

/// Put records into the log: NDJSON, one record a line, from a file or stdin.
///
/// On commands.* a line is a command, named by `type`; on oltp.public.* it is a Debezium change event.
/// A bad line is reported with its number and reason, the good ones go in all the same. Several may
/// produce at once, while the pipeline runs or while it doesn't.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tombola produce commands.orders orders.ndjson
  generate | tombola produce commands.payments
  tombola produce oltp.public.offers history.ndjson --event-time

A line of commands.orders:
  {\"type\":\"place_order\",\"command_id\":\"c-1\",\"tenant\":\"shop\",\"order_id\":\"o-1\",\"customer_id\":\"anna\",
   \"offer_id\":\"box-7\",\"quantity\":1,\"price_minor\":1999,\"currency\":\"EUR\",\"placed_at_ms\":1760000000000}
`tombola schemas place_order` explains every field.

Exit codes: 0 every line went in; 1 some were bad, or the log failed; 2 no such topic or file.")]
pub struct Produce {
    /// An input topic: commands.orders, commands.payments, oltp.public.offers, … (`tombola schemas` lists them)
    topic: String,
    /// The file; - or nothing is stdin.
    file: Option<PathBuf>,
    /// Stamp each record with the moment it speaks of (placed_at_ms, source.ts_ms, …) instead of now.
    #[arg(long)]
    event_time: bool,
    #[command(flatten)]
    place: Place,
    /// Print one JSON object at the end.
    #[arg(long)]
    json: bool,
}

/// What went in and what didn't.
#[derive(Default, serde::Serialize)]
struct Report {
    topic: String,
    records: u64,
    bad_lines: u64,
    partitions: BTreeMap<u32, Range>,
}

/// Offsets given, `from` to `to` inclusive; other producers' records may lie between them.
#[derive(Clone, Copy, serde::Serialize)]
struct Range {
    from: u64,
    to: u64,
}

struct Producer<'a> {
    topic: &'a str,
    name: String,
    event_time: bool,
    ids: SchemaIds,
    appender: Box<dyn Append>,
    batch: Vec<NewRecord>,
    /// The last line that is in for good.
    lines_in: u64,
    line: u64,
    report: Report,
}

impl Produce {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let topics = schemas::ndjson::input_topics();
        if !topics.contains(&self.topic.as_str()) {
            let known = topics.join(", ");
            return Err(Failure::Usage(format!("there is no topic {}; there are {known}", self.topic)));
        }
        let (name, input) = self.open()?;
        let stores = self.place.stores()?;
        let mut producer = Producer {
            topic: &self.topic,
            name,
            event_time: self.event_time,
            ids: stores.prepare()?,
            appender: stores.appender()?,
            batch: Vec::with_capacity(BATCH_LINES),
            lines_in: 0,
            line: 0,
            report: Report { topic: self.topic.clone(), ..Report::default() },
        };
        producer.read(input)?;
        self.finish(&producer.report)
    }

    fn open(&self) -> Result<(String, Box<dyn BufRead>), Failure> {
        match self.file.as_deref().filter(|path| path.as_os_str() != "-") {
            None => Ok(("stdin".to_owned(), Box::new(std::io::stdin().lock()))),
            Some(path) => {
                let name = path.display().to_string();
                let file = std::fs::File::open(path).map_err(|e| {
                    Failure::Usage(format!("{name}: {e}; name a file of NDJSON, or - for stdin"))
                })?;
                Ok((name, Box::new(BufReader::with_capacity(1 << 20, file))))
            }
        }
    }

    fn finish(&self, report: &Report) -> Result<(), Failure> {
        if self.json {
            output::print_json(report);
        } else {
            output::print(&text(report));
        }
        if report.bad_lines > 0 { Err(Failure::Reported) } else { Ok(()) }
    }
}

fn text(report: &Report) -> String {
    let range = |(partition, range): (&u32, &Range)| format!("{partition}/{}..{}", range.from, range.to);
    let ranges: Vec<String> = report.partitions.iter().map(range).collect();
    let offsets = if ranges.is_empty() { String::new() } else { format!(", offsets {}", ranges.join(", ")) };
    let bad = if report.bad_lines > 0 {
        format!("; {} bad lines left out", report.bad_lines)
    } else {
        String::new()
    };
    format!("{}: {} records in{offsets}{bad}\n", report.topic, report.records)
}

impl Producer<'_> {
    fn read(&mut self, mut input: Box<dyn BufRead>) -> Result<(), Failure> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = input.read_until(b'\n', &mut line).map_err(|e| self.stopped(&e))?;
            if read == 0 {
                return self.append();
            }
            self.line += 1;
            if !line.trim_ascii().is_empty() {
                self.take(&line);
            }
            if self.batch.len() >= BATCH_LINES {
                self.append()?;
            }
        }
    }

    fn take(&mut self, line: &[u8]) {
        match self.record(line) {
            Ok(record) => self.batch.push(record),
            Err(reason) => {
                self.report.bad_lines += 1;
                eprintln!("{}:{}: {reason}", self.name, self.line);
            }
        }
    }

    fn record(&self, line: &[u8]) -> Result<NewRecord, String> {
        let line = std::str::from_utf8(line).map_err(|e| format!("not UTF-8: {e}"))?;
        let record = parse_line(self.topic, line.trim())?;
        let event_ms = if self.event_time { record.event_time_ms() } else { None };
        let timestamp_ms = event_ms.unwrap_or_else(crate::clock_ms);
        let (key, value) = match record {
            NdjsonRecord::Command(command) => {
                let mut value = Vec::with_capacity(192);
                encode_command(&command, |record| self.ids.of(record), &mut value);
                (Some(command.subject_id().as_bytes().to_vec()), value)
            }
            NdjsonRecord::Change { value, .. } => (row_key(self.topic, &value), value),
        };
        Ok(NewRecord { partition: None, key, value: Some(value), timestamp_ms, headers: Vec::new() })
    }

    fn append(&mut self) -> Result<(), Failure> {
        if !self.batch.is_empty() {
            let placed = self.appender.append_many(&[(self.topic, &self.batch)]);
            let placed = placed.map_err(|e| self.stopped(&e))?;
            placed.into_iter().flatten().for_each(|place| self.report.count(place));
            self.batch.clear();
        }
        self.lines_in = self.line;
        Ok(())
    }

    fn stopped(&self, error: &dyn std::fmt::Display) -> Failure {
        let (name, lines) = (&self.name, self.lines_in);
        Failure::Runtime(format!("{error}\ntombola: {name}: lines 1 to {lines} are in; send the rest again"))
    }
}

impl Report {
    fn count(&mut self, (partition, offset): Placed) {
        self.records += 1;
        let range = self.partitions.entry(partition).or_insert(Range { from: offset, to: offset });
        (range.from, range.to) = (range.from.min(offset), range.to.max(offset));
    }
}

/// The key Debezium would have sent: changes of one row share a partition.
fn row_key(topic: &str, value: &[u8]) -> Option<Vec<u8>> {
    let decoded = decode_change(ReferenceTable::of_topic(topic)?, None, Some(value)).ok()?;
    let key = match decoded.changes.into_iter().next()? {
        Change::Upsert { row, .. } => row.key(),
        Change::Delete { key, .. } => key,
        Change::Truncate { .. } | Change::Nothing => return None,
    };
    Some(key_of(&key).into_bytes())
}
