//! The close operator: worker 0 sees the decided frontier and finished snapshot files, and closes both circles.
//!
//! Credit: what is decided lets the mint go on. Manifest: when every worker's file of snapshot S is durable
//! and S is decided (which implies bound), the manifest is written.

use super::mint_op::MintCell;
use super::passed;
use super::snapshot_op::FileDone;
use crate::snapshot::writer::{Job, Snapshots};
use crate::snapshot::{FORMAT, Manifest};
use crate::types::{Epoch, EpochTs, Generation};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, StreamVec};

/// What worker 0 needs to close the circles.
pub struct ClosePlan {
    pub cell: Rc<RefCell<MintCell>>,
    pub snapshots: Option<Snapshots>,
    pub generation: Generation,
    pub code_version: String,
}

/// Builds the operator; `plan` is there on worker 0 only.
pub fn close<'s>(
    scope: Scope<'s, EpochTs>,
    files: StreamVec<'s, EpochTs, FileDone>,
    decided: StreamVec<'s, EpochTs, ()>,
    plan: Option<ClosePlan>,
) {
    let mut builder = OperatorBuilder::new("close".into(), scope);
    let mut files = builder.new_input(files, Exchange::new(|_: &FileDone| 0));
    let mut decided = builder.new_input(decided, Pipeline);
    if let Some(snapshots) = plan.as_ref().and_then(|plan| plan.snapshots.as_ref()) {
        snapshots.done.register(scope.worker().sync_activator_for(builder.operator_info().address.to_vec()));
    }
    builder.build(move |_| {
        let mut done: BTreeMap<Epoch, Vec<FileDone>> = BTreeMap::new();
        move |frontiers| {
            files.for_each(|_, data| {
                data.drain(..).for_each(|file| done.entry(file.epoch).or_default().push(file));
            });
            decided.for_each(|_, data| data.clear());
            let Some(plan) = &plan else { return };
            plan.credit(frontiers[1].frontier().first().copied());
            while let Some(entry) = done
                .first_entry()
                .filter(|e| passed(&frontiers[0], *e.key()) && passed(&frontiers[1], *e.key()))
            {
                let (epoch, files) = entry.remove_entry();
                plan.publish(epoch, files);
            }
            plan.take_published();
        }
    });
}

impl ClosePlan {
    /// Everything below the decided frontier is delivered.
    fn credit(&self, frontier: Option<EpochTs>) {
        let mut cell = self.cell.borrow_mut();
        let through = cell.below(frontier);
        cell.mint.decided(through);
        cell.wake();
    }

    fn publish(&self, epoch: Epoch, mut files: Vec<FileDone>) {
        files.sort_by_key(|done| done.worker);
        let Some(snapshots) = &self.snapshots else { return };
        let (now, positions) =
            self.cell.borrow_mut().cuts.remove(&epoch).expect("bind noted the cut of every snapshot");
        let manifest = Box::new(Manifest {
            format: FORMAT,
            epoch,
            generation: self.generation,
            code_version: self.code_version.clone(),
            now,
            positions,
            base: Vec::new(),
            deltas: Vec::new(),
        });
        let files = files.into_iter().flat_map(|done| done.files).collect();
        // The thread ends early only after a failure it has reported.
        let _ = snapshots.jobs.send(Job::Publish { manifest, files });
    }

    fn take_published(&self) {
        let Some(snapshots) = &self.snapshots else { return };
        for epoch in snapshots.done.take_published() {
            let mut cell = self.cell.borrow_mut();
            cell.mint.snapshot_done(epoch);
            cell.wake();
        }
    }
}
