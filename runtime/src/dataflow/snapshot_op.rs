//! The snapshot operator of a worker: hands changelog chunks to the snapshot thread, and says when its files are whole.
//!
//! The changelog's frontier passing S means that every operator has written all of S. The capability at S
//! is held until they are durable, so the frontier of this operator's output says that all workers'
//! files are.

use super::{Tick, passed};
use crate::entries::Entries;
use crate::snapshot::FileRef;
use crate::snapshot::writer::{Job, Snapshots};
use crate::types::{Epoch, EpochTs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, StreamVec};

/// A slice of one state's changes.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub epoch: Epoch,
    pub operator: String,
    pub state: String,
    pub entries: Entries,
}

/// A worker's files of a snapshot, durable.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileDone {
    pub worker: usize,
    pub epoch: Epoch,
    pub files: Vec<FileRef>,
}

/// Builds the operator. Without `snapshots` (a verification) chunks are dropped.
pub fn snapshot<'s>(
    scope: Scope<'s, EpochTs>,
    changelog: StreamVec<'s, EpochTs, Chunk>,
    ticks: StreamVec<'s, EpochTs, Tick>,
    snapshots: Option<Snapshots>,
) -> StreamVec<'s, EpochTs, FileDone> {
    let worker = scope.index();
    let mut builder = OperatorBuilder::new("snapshot".into(), scope);
    let mut changelog = builder.new_input(changelog, Pipeline);
    let mut ticks = builder.new_input(ticks, Pipeline);
    let (output, stream) = builder.new_output::<Vec<FileDone>>();
    let mut output = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(output);
    if let Some(snapshots) = &snapshots {
        snapshots.done.register(scope.worker().sync_activator_for(builder.operator_info().address.to_vec()));
    }
    builder.build(move |capabilities| {
        drop(capabilities);
        let mut writing: BTreeMap<Epoch, Capability<EpochTs>> = BTreeMap::new();
        let mut finishing: BTreeMap<Epoch, Capability<EpochTs>> = BTreeMap::new();
        move |frontiers| {
            let Some(snapshots) = &snapshots else {
                changelog.for_each(|_, data| data.clear());
                ticks.for_each(|_, data| data.clear());
                return;
            };
            changelog.for_each(|_, data| {
                for chunk in data.drain(..) {
                    // The thread ends early only after a failure it has reported.
                    let _ = snapshots.jobs.send(Job::Chunk { worker, chunk });
                }
            });
            ticks.for_each(|capability, data| {
                for tick in data.drain(..).filter(|tick| tick.snapshot) {
                    writing.insert(tick.epoch, capability.retain(0));
                }
            });
            while let Some(entry) = writing.first_entry().filter(|e| passed(&frontiers[0], *e.key())) {
                let (epoch, capability) = entry.remove_entry();
                let _ = snapshots.jobs.send(Job::Finish { worker, epoch });
                finishing.insert(epoch, capability);
            }
            while let Some(done) = snapshots.done.take_file(worker) {
                let capability = finishing.remove(&done.epoch).expect("it was asked for above");
                output.activate().session(&capability).give(done);
            }
        }
    });
    stream
}
