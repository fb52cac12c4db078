//! The embedded log as processes use it: appended to by several at once, read back whole, believed only when undamaged.

#![allow(clippy::unwrap_used)] // a test helper is a test too

use connectors::embedded::{Log, NewRecord};
use std::path::Path;

fn records(of: &str, count: usize) -> Vec<NewRecord> {
    (0..count)
        .map(|n| NewRecord {
            key: Some(format!("{of}-{n}").into_bytes()),
            value: Some(vec![n as u8; n % 50]),
            timestamp_ms: 1_000 + n as i64,
            headers: vec![("from".to_owned(), of.into())],
            ..NewRecord::default()
        })
        .collect()
}

fn append(dir: &Path, topic: &str, of: &str, count: usize) {
    Log::appender(dir).unwrap().append(topic, &records(of, count)).unwrap();
}

#[test]
fn what_is_appended_is_read_back_from_any_offset() {
    let dir = tempfile::tempdir().unwrap();
    append(dir.path(), "t", "a", 2_500);
    append(dir.path(), "t", "b", 10);
    let log = Log::open(dir.path()).unwrap();
    assert_eq!(log.end("t", 0).unwrap(), 2_510);
    for (from, max, expect) in [(0, 10, 10), (1_023, 3, 3), (2_499, 5, 5), (2_505, 100, 5), (2_510, 1, 0)] {
        let read = log.read("t", 0, from, max).unwrap();
        let offsets: Vec<u64> = read.iter().map(|r| r.offset).collect();
        assert_eq!(offsets, (from..from + expect).collect::<Vec<_>>());
    }
    let all = log.read("t", 0, 0, 10_000).unwrap();
    let expected: Vec<NewRecord> = [records("a", 2_500), records("b", 10)].concat();
    for (got, want) in all.iter().zip(&expected) {
        assert_eq!((&got.key, &got.value, got.timestamp_ms), (&want.key, &want.value, want.timestamp_ms));
        assert_eq!(got.headers, want.headers);
    }
}
