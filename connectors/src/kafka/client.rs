//! The client that a reader reads by: how it is set, and how it ends.

use super::error::Result;
use super::partition::Reading;
use super::settings::{Consumer, Isolation, KafkaSettings, Logging};
use rdkafka::consumer::Consumer as _;
use runtime::PartitionId;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a consumer of ours is set to.
const READING: &[(&str, &str)] = &[
    // An empty fetch holds back the next one to the same broker, whatever has come to need it meanwhile.
    ("fetch.wait.max.ms", "10"),
    ("fetch.min.bytes", "1"),
    ("fetch.error.backoff.ms", "20"),
    ("fetch.queue.backoff.ms", "2"),
    ("fetch.message.max.bytes", "4194304"),
    ("queued.min.messages", "50000"),
    ("queued.max.messages.kbytes", "16384"),
];

/// A client that reads for a pipeline and is assigned by hand.
pub(crate) fn consumer(settings: &KafkaSettings, pipeline: &str) -> Result<Consumer> {
    let mut config = settings.consumer(Isolation::Committed);
    settings.set_unless_tuned(&mut config, READING);
    config.set("group.id", format!("tombola-{pipeline}"));
    config.create_with_context(Logging).map_err(|e| settings.unusable(&e))
}

/// Gives back what of librdkafka's is held on to, so that the client can end.
pub(crate) fn let_go(open: BTreeMap<PartitionId, Reading>, consumer: &Consumer) {
    if let Err(error) = consumer.unassign() {
        tracing::debug!(%error, "unassigning partitions");
    }
    // What is on its way comes within a moment.
    for _ in 0..3 {
        open.values().for_each(Reading::empty);
        std::thread::sleep(Duration::from_millis(10));
    }
    open.values().for_each(Reading::empty);
}
