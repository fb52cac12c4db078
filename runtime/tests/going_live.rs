//! From the recorded past to the present: what was appended while nobody ran is read, however it lies in time.

#![allow(clippy::unwrap_used)] // a test: what fails here fails the test

use runtime::bindings::BindingStore as _;
use runtime::memory::{MemoryBindings, MemoryLog, MemorySink};
use runtime::run::{Job, Mode, Options, Stores, run};
use runtime::shared::Shared;
use runtime::source::Claim;
use runtime::{Class, Flow, Messages, PartitionId, TopicId};
use std::sync::Arc;
use std::time::Duration;

const TABLE: PartitionId = PartitionId { topic: TopicId(0), partition: 0 };
const COMMANDS: PartitionId = PartitionId { topic: TopicId(1), partition: 0 };

/// Delivers what it reads.
struct Through;

impl Job for Through {
    type Record = u64;
    type Item = u64;

    fn build<'s>(&self, flow: &mut Flow<'s, u64>, source: Messages<'s, u64>) {
        flow.deliver(0, source);
    }
}

struct World {
    log: MemoryLog<u64>,
    bindings: MemoryBindings,
    sink: MemorySink<u64>,
}

impl World {
    /// Runs until drained, replaying from the beginning; a run that hangs is struck down after `timeout`.
    fn run(&self, workers: usize, timeout: Duration) -> Result<(), String> {
        let mut bindings = self.bindings.clone();
        let generation = bindings.begin_generation("test", "{}", workers, 0).unwrap();
        let options = Options {
            workers,
            epoch_ms: 1,
            idle_epoch_ms: 5,
            epoch_records_max: 50,
            epochs_in_flight_max: 4,
            snapshot_every_ms: 1_000_000,
            claim_ahead_ms_max: 300_000,
            until_drained: true,
        };
        let stores = Stores {
            readers: vec![self.log.clone(); workers],
            bindings: Box::new(bindings),
            sinks: vec![Box::new(self.sink.clone())],
            snapshots: None,
        };
        let shared = Arc::new(Shared::default());
        let watched = Arc::clone(&shared);
        std::thread::spawn(move || {
            std::thread::sleep(timeout);
            watched.fail("it hangs".into());
        });
        let mode = Mode::Live { generation };
        run(Arc::new(Through), &options, mode, stores, &shared, &Arc::default())
            .map_err(|error| error.to_string())
    }
}

#[test]
fn a_table_of_one_single_time_that_fills_the_buffer_during_a_replay_is_read_to_its_end() {
    for workers in [1, 2] {
        let log = MemoryLog::new([TABLE, COMMANDS]);
        let world = World { log, bindings: MemoryBindings::default(), sink: MemorySink::new(false) };
        let commands = (0..20_000).map(|n| (Claim::At(1_000 + n as i64), Class::Command, n));
        world.log.append(COMMANDS, commands);
        world.run(workers, Duration::from_secs(600)).unwrap();
        world.log.append(TABLE, (0..10_000).map(|n| (Claim::BeforeEverything, Class::Reference, n)));
        world.run(workers, Duration::from_secs(600)).unwrap();
        assert_eq!(world.sink.count(), 30_000, "{workers} workers");
    }
}
