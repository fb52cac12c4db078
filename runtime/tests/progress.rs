//! When progress over epochs without items is written: now and then, and at once where somebody waits for it.

#![allow(clippy::unwrap_used)] // a test: what fails here fails the test

use runtime::committer::{Begin, Part, start};
use runtime::memory::MemorySink;
use runtime::shared::Shared;
use runtime::sink::{Item, Sink as _};
use runtime::{At, Class, Epoch, Millis, Offset, PartitionId, Position, TopicId};
use std::cmp::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An epoch whose now is `now`, with items of these times.
fn part(epoch: u64, now: Millis, times: &[Millis]) -> Part<&'static str> {
    let partition = PartitionId { topic: TopicId(0), partition: 0 };
    let item = |time: &Millis| Item {
        at: At::record(Position::record(*time, Class::Command, partition, Offset(0))),
        stage: 0,
        body: "said",
    };
    Part { epoch: Epoch(epoch), now, items: times.iter().map(item).collect() }
}

/// Who follows facts by time takes one once progress is past its time. Where that is ahead of its own epoch's now, it is an
/// epoch without items that brings the time, and it isn't kept back as others are.
#[test]
fn progress_is_written_at_once_where_it_passes_items_that_were_ahead_of_their_epoch() {
    let mut sink = MemorySink::new(true);
    let begin = Begin { in_flight_max: 16, resume: Epoch(0), bound: Epoch(0) };
    let shared = Arc::new(Shared::default());
    let (parts, threads) =
        start((1, |_, _| Ordering::Equal), begin, vec![Box::new(sink.clone())], &shared, &Arc::default())
            .unwrap();
    let decided = |epoch| {
        let began = Instant::now();
        while shared.decided.load(std::sync::atomic::Ordering::SeqCst) < epoch {
            assert!(began.elapsed() < Duration::from_secs(30), "epoch {epoch} isn't decided");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    parts.send(part(1, 0, &[1_000])).unwrap();
    decided(1);
    parts.send(part(2, 500, &[])).unwrap();
    parts.send(part(3, 1_000, &[])).unwrap();
    decided(3);
    assert_eq!(sink.committed().unwrap(), Epoch(3), "the time of the item of epoch 1 came with epoch 3");
    // Nobody waits for this one.
    parts.send(part(4, 2_000, &[])).unwrap();
    drop(parts);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(sink.committed().unwrap(), Epoch(4), "an orderly end writes all progress");
}
