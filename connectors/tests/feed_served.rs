//! The publishers' real files, served by a real HTTP server and polled with the shipped mappings: what is sent of them.

#![allow(clippy::unwrap_used)] // a test: what fails here fails the test

mod publishers;
#[path = "feed_http/server.rs"]
mod server;

use connectors::decode::REJECTED;
use connectors::embedded::NewRecord;
use connectors::feed::{Deliver, Feed, Http, Limits, Mapping, Polled};
use publishers::{FILES, VIETNAM, data, golden, mapping};
use schemas::draws::ReportResult;
use schemas::{Command, Decoder, SchemaIds};
use server::{Answer, Server};
use std::path::Path;
use std::time::Duration;

/// As the defaults of `[feeds]` are, with more patience.
const LIMITS: Limits = Limits { timeout: Duration::from_secs(120), bytes_max: 33_554_432 };

/// Everything that was sent.
#[derive(Default)]
struct Memory(Vec<NewRecord>);

impl Deliver for Memory {
    fn append(&mut self, records: &[NewRecord]) -> Result<(), String> {
        self.0.extend_from_slice(records);
        Ok(())
    }
}

impl Memory {
    fn reports(&self) -> Vec<ReportResult> {
        let decoder = Decoder::with_own(|record| SchemaIds::fresh().of(record));
        let sent = self.0.iter().filter(|record| record.headers.is_empty());
        let report =
            |record: &NewRecord| match decoder.decode_command(record.value.as_ref().unwrap()).unwrap() {
                Command::ReportResult(report) => *report,
                other => panic!("{other:?}"),
            };
        sent.map(report).collect()
    }
}

/// A shipped mapping that polls this server, whatever it polls otherwise.
fn polling(name: &str, url: &str) -> Mapping {
    let text = std::fs::read_to_string(mapping(name)).unwrap();
    let own = text.lines().any(|line| line.trim() == "[poll]");
    let lines = text.lines().filter(|line| !line.starts_with("url = "));
    let text: Vec<String> = lines
        .map(|line| match line.trim() {
            "[poll]" => format!("[poll]\nurl = \"{url}\""),
            "[rows]" if !own => format!("[poll]\nurl = \"{url}\"\n\n[rows]"),
            _ => line.to_owned(),
        })
        .collect();
    Mapping::parse(Path::new(name), &text.join("\n")).unwrap()
}

/// Serves a file and polls it with a fresh memory, then once more.
fn served(data: &Path, name: &str, file: &str) -> (Polled, Memory) {
    let (server, dir, mut log) = (Server::start(), tempfile::tempdir().unwrap(), Memory::default());
    server.answer(Answer::ok(std::fs::read(data.join(file)).unwrap()).with("ETag", "\"one\""));
    let (http, ids) = (Http::new(LIMITS).unwrap(), SchemaIds::fresh());
    let mut feed = Feed::open(dir.path(), polling(name, &server.url()), ids).unwrap();
    let polled = feed.poll(&http, &mut log, 1).unwrap();
    let sent = log.0.len();
    assert!(feed.poll(&http, &mut log, 2).unwrap().unchanged, "{file}: {}", server.last_request());
    assert_eq!(log.0.len(), sent, "{file}: nothing is sent twice");
    (polled, log)
}

#[test]
fn every_file_is_polled_completely() {
    let Some(data) = data() else { return };
    for (name, file, draws, wanted) in FILES {
        let (polled, log) = served(&data, name, file);
        assert!(polled.problems.is_empty(), "{file}: {:?}", polled.problems.first());
        assert_eq!((polled.results, polled.sent, polled.rejected), (draws, draws, 0), "{file}");
        let draw_id = wanted.split(' ').next().unwrap();
        let reports = log.reports();
        let found = reports.iter().find(|report| report.draw_id == draw_id).unwrap();
        let jackpot = found.jackpot_minor.zip(found.currency.as_deref());
        let told = golden(&found.draw_id, (&found.numbers, &found.bonus), jackpot, found.drawn_at_ms);
        assert_eq!(told, wanted, "{file}");
    }
}

#[test]
fn an_archive_is_polled_and_what_does_not_fit_goes_into_the_log_with_its_reason() {
    let Some(data) = data() else { return };
    let (polled, log) = served(&data, "vietnam-xoso", VIETNAM);
    assert_eq!((polled.results, polled.sent, polled.rejected), (786, 786, 14));
    assert_eq!(log.reports().len(), 786);
    let rejected = log.0.iter().filter(|record| record.headers.iter().any(|(name, _)| name == REJECTED));
    assert_eq!(rejected.count(), 14);
}
