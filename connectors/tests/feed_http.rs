//! Polling a real HTTP server that answers as publishers do: well, slowly, wrongly, not at all.

#![allow(clippy::unwrap_used)] // a test: what fails here fails the test

#[path = "feed_http/server.rs"]
mod server;

use connectors::decode::{Input, REJECTED, RecordDecoder};
use connectors::embedded::{Appender, EmbeddedReader, Log, NewRecord, Registry};
use connectors::feed::{Deliver, Feed, Http, Limits, Mapping, PollError, Polled, StateError, TOPIC, When};
use runtime::source::LogReader as _;
use runtime::{Offset, PartitionId, TopicId};
use schemas::{Command, SchemaIds};
use server::{Answer, Server};
use std::path::Path;
use std::time::Duration;

const HEAD: &str = "day,balls\n";
const LIMITS: Limits = Limits { timeout: Duration::from_secs(30), bytes_max: 10_000 };

fn mapping(url: &str, more: &str) -> Mapping {
    let text = format!(
        "source = \"s\"\ntenant = \"t\"\n{more}[poll]\nurl = \"{url}\"\n[rows]\nformat = \"csv\"\n\
         [date]\nvalue = \"{{day}}\"\nformat = \"%Y-%m-%d\"\ntime_zone = \"UTC\"\n\
         [[draws]]\ngame = \"g\"\ndraw_id = \"{{game}}-{{date}}\"\ntime = \"20:00\"\n\
         main = {{ field = \"balls\", split = \" \", items = 2 }}\n"
    );
    Mapping::parse(Path::new("m.toml"), &text).unwrap()
}

/// What was appended, and whether the log is up.
#[derive(Default)]
struct Memory {
    records: Vec<NewRecord>,
    down: bool,
    /// Takes what it is given, and loses the answer.
    silent: bool,
}

impl Deliver for Memory {
    fn append(&mut self, records: &[NewRecord]) -> Result<(), String> {
        if !self.down {
            self.records.extend_from_slice(records);
        }
        if self.down || self.silent { Err("away".to_owned()) } else { Ok(()) }
    }
}

struct Trial {
    server: Server,
    dir: tempfile::TempDir,
    log: Memory,
}

impl Trial {
    fn new() -> Trial {
        Trial { server: Server::start(), dir: tempfile::tempdir().unwrap(), log: Memory::default() }
    }

    fn open(&self) -> Feed {
        Feed::open(self.dir.path(), mapping(&self.server.url(), ""), SchemaIds::fresh()).unwrap()
    }

    /// Polls with a process of its own: what it knows, it has from the file.
    fn poll_limited(&mut self, limits: Limits, now_ms: i64) -> Result<Polled, PollError> {
        self.open().poll(&Http::new(limits).unwrap(), &mut self.log, now_ms)
    }

    fn poll(&mut self, now_ms: i64) -> Result<Polled, PollError> {
        self.poll_limited(LIMITS, now_ms)
    }

    fn fails(&mut self, answer: Answer, wanted: &str) {
        self.fails_within(Duration::from_secs(15), answer, wanted);
    }

    fn fails_within(&mut self, timeout: Duration, answer: Answer, wanted: &str) {
        self.server.answer(answer);
        let limits = Limits { timeout, ..LIMITS };
        let error = self.poll_limited(limits, 1).expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{error}");
        assert!(self.log.records.is_empty(), "nothing of it is taken");
    }

    /// `draw_id numbers reported_at` of every report sent.
    fn reports(&self) -> Vec<String> {
        let mut decoder = schemas::Decoder::default();
        for record in schemas::Record::ALL {
            decoder.add(SchemaIds::fresh().of(*record), record.avsc());
        }
        let commands = self.log.records.iter().filter(|record| record.headers.is_empty());
        let said = |record: &NewRecord| match decoder.decode_command(record.value.as_ref().unwrap()).unwrap()
        {
            Command::ReportResult(c) => format!("{} {:?} {}", c.draw_id, c.numbers, c.reported_at_ms),
            other => panic!("{other:?}"),
        };
        commands.map(said).collect()
    }
}

fn csv(rows: &str) -> Answer {
    Answer::ok(format!("{HEAD}{rows}"))
}

#[test]
fn a_document_is_sent_once_and_then_only_what_changes() {
    let mut trial = Trial::new();
    trial.server.answer(csv("2024-01-03,1 2\n2024-01-06,3 4\n").with("ETag", "\"one\""));
    let polled = trial.poll(1_000).unwrap();
    assert_eq!((polled.results, polled.sent, polled.unchanged), (2, 2, false));
    let polled = trial.poll(2_000).unwrap();
    assert!(polled.unchanged, "the server knew the ETag: {:?}", trial.server.last_request());
    trial.server.answer(csv("2024-01-03,1 2\n2024-01-06,3 5\n2024-01-10,6 7\n").with("ETag", "\"two\""));
    let polled = trial.poll(3_000).unwrap();
    assert_eq!((polled.results, polled.sent), (3, 2));
    let wanted = ["g-2024-01-03 [1, 2] 1000", "g-2024-01-06 [3, 4] 1000", "g-2024-01-06 [3, 5] 3000"];
    assert_eq!(trial.reports()[..3], wanted);
    assert_eq!(trial.log.records[0].key.as_deref(), Some(&b"g-2024-01-03"[..]));
}

#[test]
fn a_server_that_knows_dates_only_is_asked_by_date_and_one_that_knows_nothing_is_compared() {
    let mut trial = Trial::new();
    trial.server.answer(csv("2024-01-03,1 2\n").with("Last-Modified", "Wed, 03 Jan 2024 20:05:00 GMT"));
    trial.poll(1).unwrap();
    assert!(trial.poll(2).unwrap().unchanged);
    assert!(trial.server.last_request().contains("if-modified-since: wed, 03 jan 2024 20:05:00 gmt"));
    trial.server.answer(csv("2024-01-03,1 2\n"));
    let polled = trial.poll(3).unwrap();
    assert_eq!((polled.unchanged, polled.results, polled.sent), (false, 1, 0));
}

#[test]
fn another_mapping_reads_the_same_document_again() {
    let mut trial = Trial::new();
    trial.server.answer(csv("2024-01-03,1 2\n").with("ETag", "\"one\""));
    trial.poll(1).unwrap();
    let changed = mapping(&trial.server.url(), "# a remark\n");
    let mut feed = Feed::open(trial.dir.path(), changed, SchemaIds::fresh()).unwrap();
    let polled = feed.poll(&Http::new(LIMITS).unwrap(), &mut trial.log, 2).unwrap();
    assert_eq!((polled.unchanged, polled.results, polled.sent), (false, 1, 0));
}

#[test]
fn answers_that_are_no_document_are_failures_and_nothing_of_them_is_taken() {
    let mut trial = Trial::new();
    let row = "2024-01-03,1 2\n";
    trial.fails(Answer::status(500), "answers 500");
    trial.fails(Answer::status(404), "answers 404");
    trial.fails(Answer::status(304), "answers 304");
    trial.fails(csv(row).cut_to(12), "error");
    trial.fails(csv(row).unbounded(), "neither Content-Length nor chunks");
    trial.fails(csv(&row.repeat(1_000)), "more than 10000 bytes");
    trial.fails(csv(&row.repeat(1_000)).chunked(), "more than 10000 bytes");
    let soon = Duration::from_secs(2);
    trial.fails_within(soon, csv(&row.repeat(600)).dripping(), "took longer than 2000 ms");
    trial.fails_within(soon, csv(row).hanging(), "took longer than 2000 ms");
    trial.fails(csv(row).chunked().cut_to(20), "error");
    trial.server.answer(csv(row).chunked());
    assert_eq!(trial.poll(9).unwrap().sent, 1, "and then it goes on");
}

#[test]
fn a_publisher_who_asks_for_time_is_heard() {
    let mut trial = Trial::new();
    trial.server.answer(Answer::status(503).with("Retry-After", "120"));
    match trial.poll(1) {
        Err(PollError::Fetch(error)) => assert_eq!(error.retry_after_ms(), Some(120_000)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_does_not_fit_goes_into_the_log_as_it_came_and_only_once() {
    let mut trial = Trial::new();
    trial.server.answer(csv("2024-01-03,1 2\n2024-01-06,3\n"));
    let polled = trial.poll(1).unwrap();
    assert_eq!((polled.sent, polled.rejected), (1, 1));
    let record = &trial.log.records[0];
    let reason = "feed s: line 3: balls holds 1 numbers, not 2";
    assert_eq!(record.headers, [(REJECTED.to_owned(), reason.as_bytes().to_vec())]);
    assert_eq!(record.value.as_deref(), Some(&b"2024-01-06,3"[..]));
    // The same row, further down.
    trial.server.answer(csv("2024-01-02,1 2\n2024-01-03,1 2\n2024-01-06,3\n"));
    let polled = trial.poll(2).unwrap();
    assert_eq!((polled.sent, polled.rejected, polled.problems.len()), (1, 0, 1));
    trial.server.answer(csv("2024-01-06,3 4\n"));
    assert_eq!(trial.poll(3).unwrap().sent, 1, "mended, it is a result");
}

#[test]
fn what_may_have_been_sent_is_sent_again_byte_for_byte() {
    let mut trial = Trial::new();
    trial.server.answer(csv("2024-01-03,1 2\n").with("ETag", "\"one\""));
    (trial.log.silent, trial.log.down) = (true, false);
    assert!(matches!(trial.poll(1_000), Err(PollError::Deliver(_))));
    trial.log.silent = false;
    assert_eq!(trial.poll(2_000).unwrap().sent, 1, "the ETag of what was not sent is not remembered");
    let values: Vec<_> = trial.log.records.iter().map(|record| record.value.clone()).collect();
    assert_eq!((values.len(), &values[0]), (2, &values[1]));
    assert!(trial.poll(3_000).unwrap().unchanged);
}

#[test]
fn a_word_taken_back_after_a_crash_is_told_after_the_one_that_may_have_gone() {
    let mut trial = Trial::new();
    trial.server.answer(csv("2024-01-03,1 2\n").with("ETag", "\"a\""));
    trial.poll(1).unwrap();
    trial.server.answer(csv("2024-01-03,1 3\n").with("ETag", "\"b\""));
    trial.log.silent = true;
    assert!(trial.poll(2).is_err());
    trial.log.silent = false;
    trial.server.answer(csv("2024-01-03,1 2\n").with("ETag", "\"a\""));
    assert_eq!(trial.poll(3).unwrap().sent, 1);
    assert_eq!(trial.reports(), ["g-2024-01-03 [1, 2] 1", "g-2024-01-03 [1, 3] 2", "g-2024-01-03 [1, 2] 3"]);
    let values: Vec<_> = trial.log.records.iter().map(|record| &record.value).collect();
    assert!(values[0] != values[2] && trial.poll(4).unwrap().sent == 0);
}

#[test]
fn a_log_that_is_away_takes_nothing_and_gets_everything_afterwards() {
    let mut trial = Trial::new();
    trial.server.answer(csv("2024-01-03,1 2\n2024-01-06,3\n").with("ETag", "\"one\""));
    trial.log.down = true;
    assert!(trial.poll(1).is_err());
    trial.log.down = false;
    let polled = trial.poll(2).unwrap();
    assert_eq!((polled.sent, polled.rejected), (1, 1));
}

#[test]
fn a_source_is_polled_by_one_process_and_a_damaged_state_starts_over() {
    let mut trial = Trial::new();
    trial.server.answer(csv("2024-01-03,1 2\n"));
    let open = trial.open();
    let second = Feed::open(trial.dir.path(), mapping(&trial.server.url(), ""), SchemaIds::fresh());
    assert!(matches!(second, Err(StateError::Taken { .. })), "{second:?}");
    drop(open);
    trial.poll(1).unwrap();
    std::fs::write(trial.dir.path().join("feeds/s.json"), b"{\"layout\":1,").unwrap();
    assert_eq!(trial.poll(1).unwrap().sent, 1);
    assert_eq!(trial.log.records[0], trial.log.records[1], "the same command: the pipeline knows it");
    assert!(trial.dir.path().join("feeds/s.json.unreadable").exists());
}

#[test]
fn a_file_sent_twice_gives_nothing_new_and_again_the_same_commands() {
    let trial = Trial::new();
    let (mut feed, mut log) = (trial.open(), Memory::default());
    let document = format!("{HEAD}2024-01-06,3 4\n2024-01-03,1 2\n");
    let when = |now_ms| When::History { now_ms, event_time: true };
    assert_eq!(feed.backfill(document.as_bytes(), when(1), &mut log).unwrap().sent, 2);
    assert_eq!(feed.backfill(document.as_bytes(), when(2), &mut log).unwrap().sent, 0);
    feed.forget();
    assert_eq!(feed.backfill(document.as_bytes(), when(3), &mut log).unwrap().sent, 2);
    assert_eq!(log.records[..2], log.records[2..]);
    let stamps: Vec<i64> = log.records[..2].iter().map(|record| record.timestamp_ms).collect();
    assert_eq!(stamps, [1_704_312_000_000, 1_704_571_200_000], "as of the draws, oldest first");
}

#[test]
fn a_file_that_says_otherwise_is_taken_back_by_the_next_poll() {
    let mut trial = Trial::new();
    trial.server.answer(csv("2024-01-03,1 2\n").with("ETag", "\"a\""));
    trial.poll(1).unwrap();
    let when = When::History { now_ms: 2, event_time: false };
    let document = format!("{HEAD}2024-01-03,1 3\n");
    assert_eq!(trial.open().backfill(document.as_bytes(), when, &mut trial.log).unwrap().sent, 1);
    assert_eq!(trial.poll(3).unwrap().sent, 1);
    assert!(trial.poll(4).unwrap().unchanged);
}

/// Appends to a real log.
struct Real(Appender);

impl Deliver for Real {
    fn append(&mut self, records: &[NewRecord]) -> Result<(), String> {
        self.0.append(TOPIC, records).map(|_| ()).map_err(|e| e.to_string())
    }
}

#[test]
fn the_pipeline_reads_results_as_commands_and_the_rest_as_dead_letters() {
    let trial = Trial::new();
    let dir = trial.dir.path();
    Log::open(dir).unwrap().ensure_topic(TOPIC, 1).unwrap();
    let ids = Registry::open(dir).unwrap().register_own().unwrap();
    let mut feed = Feed::open(dir, mapping("http://127.0.0.1:1/", ""), ids).unwrap();
    let document = format!("{HEAD}2024-01-03,1 2\n2024-01-06,3\n");
    let when = When::History { now_ms: 7, event_time: true };
    feed.backfill(document.as_bytes(), when, &mut Real(Log::appender(dir).unwrap())).unwrap();
    let decoder = RecordDecoder::new(Registry::open(dir).unwrap());
    let mut reader = EmbeddedReader::open(dir, &[TOPIC], decoder).unwrap();
    let place = PartitionId { topic: TopicId(0), partition: 0 };
    let records = reader.fetch(place, Offset(0), 100).unwrap().records;
    let bodies: Vec<Input> = records.into_iter().map(|record| record.body).collect();
    let [Input::Bad(letter), Input::Command { command: Command::ReportResult(report), .. }] =
        bodies.as_slice()
    else {
        panic!("{bodies:?}")
    };
    assert_eq!(letter.reason, "feed s: line 3: balls holds 1 numbers, not 2");
    assert_eq!((letter.payload.as_slice(), letter.record_time_ms), (&b"2024-01-06,3"[..], 7));
    assert_eq!(
        (report.draw_id.as_str(), report.source.as_str(), report.reported_at_ms),
        ("g-2024-01-03", "s", 1_704_312_000_000)
    );
}
