//! When what was appended can be seen in a sink, looked at from outside of the pipeline.
//!
//! ```text
//!   engine: decided epoch, ends of partitions ─┐
//!                                              ├─ the first look that finds the epoch ─> percentiles
//!   a reader of the sink: epoch, when ─────────┘
//! ```
//!
//! A reader is slower than the sink by at most what it waits between two looks; that counts.

use pipelines::demo::latency::{Appended, Latencies, Percentiles};
use pipelines::engine::Progress;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// The times of one sink.
pub struct Visible {
    pub name: &'static str,
    times: Latencies,
    /// Moves of the decided frontier not seen in it so far.
    waiting: VecDeque<Progress>,
    /// Epochs seen and when that was: some are before the pipeline says that they are decided.
    seen: VecDeque<(u64, Instant)>,
}

/// Looks remembered.
const SEEN_MAX: usize = 1_000;

impl Visible {
    /// Of a sink in which nothing was seen so far.
    pub fn new(name: &'static str) -> Self {
        Visible { name, times: Latencies::default(), waiting: VecDeque::new(), seen: VecDeque::new() }
    }

    /// Records became durable in the log.
    pub fn appended(&mut self, appended: Appended) {
        self.times.appended(appended);
    }

    /// The pipeline says so; whether it can be seen is another matter.
    pub fn decided(&mut self, moved: &Progress) {
        self.waiting.push_back(Progress { ends: moved.ends.clone(), ..*moved });
    }

    /// Everything up to `epoch` was seen.
    pub fn seen_upto(&mut self, epoch: u64, at: Instant) {
        if self.seen.back().is_none_or(|(last, _)| *last < epoch) {
            self.seen.push_back((epoch, at));
        }
        while let Some(moved) = self.waiting.pop_front_if(|moved| moved.decided.0 <= epoch) {
            let first = self.seen.partition_point(|(seen, _)| *seen < moved.decided.0);
            let at = self.seen[first].1;
            self.tell(&moved, at);
        }
        while self.seen.len() > SEEN_MAX {
            self.seen.pop_front();
        }
    }

    fn tell(&mut self, moved: &Progress, at: Instant) {
        for (topic, partition, end) in &moved.ends {
            self.times.decided(topic, *partition, *end, at);
        }
    }

    /// Whether all that was appended was seen.
    pub fn nothing_waits(&self) -> bool {
        self.times.nothing_waits()
    }

    /// Since the last call.
    pub fn take_recent(&mut self) -> Percentiles {
        self.times.take_recent()
    }
}

/// How long a later fact is waited for, which says that all of an epoch were read.
const READ_BY: Duration = Duration::from_secs(5);

/// Facts in Kafka, read by a consumer of committed records that isn't ours: each carries its epoch in a header.
pub struct Facts {
    kcat: Child,
    epochs: Receiver<(u64, Instant)>,
    /// Epochs and when the first fact of each was read.
    read: VecDeque<(u64, Instant)>,
}

impl Facts {
    /// Follows a topic from its end.
    ///
    /// # Panics
    /// Where `kcat` can't be called.
    pub fn follow(bootstrap: &str, topic: &str) -> Self {
        let mut kcat = Command::new("kcat");
        kcat.args(["-C", "-u", "-q", "-b", bootstrap, "-t", topic, "-o", "end", "-f", "%h\n"]);
        kcat.args(["-X", "isolation.level=read_committed", "-X", "fetch.wait.max.ms=100"]);
        let mut kcat = kcat.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("kcat can be called");
        let lines = BufReader::new(kcat.stdout.take().expect("it is piped")).lines();
        let (tell, epochs) = channel();
        let read = move || {
            let mut last = 0;
            for epoch in lines.map_while(Result::ok).filter_map(|headers| epoch_of(&headers)) {
                if epoch > last && tell.send((epoch, Instant::now())).is_err() {
                    return;
                }
                last = last.max(epoch);
            }
        };
        std::thread::Builder::new().name("kcat".into()).spawn(read).expect("one thread more");
        Facts { kcat, epochs, read: VecDeque::new() }
    }

    /// Tells what was read, once something later was: Kafka has an epoch before the pipeline says that it is decided. An epoch counts
    /// from its first fact on, one without facts from when it was decided.
    ///
    /// # Panics
    /// Where `kcat` has ended.
    pub fn look(&mut self, visible: &mut Visible) {
        assert!(matches!(self.kcat.try_wait(), Ok(None)), "kcat reads on");
        self.read.extend(self.epochs.try_iter());
        let last = self.read.back().map_or(0, |(epoch, _)| *epoch);
        let is_read = |moved: &mut Progress| moved.decided.0 <= last || moved.at.elapsed() > READ_BY;
        while let Some(moved) = visible.waiting.pop_front_if(is_read) {
            let mut at = None;
            while let Some((_, first)) = self.read.pop_front_if(|(epoch, _)| *epoch <= moved.decided.0) {
                at = Some(first);
            }
            visible.tell(&moved, at.unwrap_or(moved.at));
        }
    }
}

impl Drop for Facts {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.kcat.kill();
        let _ = self.kcat.wait();
    }
}

/// `epoch=17,traceparent=…`
fn epoch_of(headers: &str) -> Option<u64> {
    headers.split(',').find_map(|header| header.strip_prefix("epoch=")).and_then(|epoch| epoch.parse().ok())
}
