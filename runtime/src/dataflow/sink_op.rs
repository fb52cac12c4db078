//! The sink operator: stages what an epoch delivers and holds the epoch until it is decided.
//!
//! An epoch goes to the committer when its items are complete (input frontier) and its binding is durable
//! (frontier of bind's output). Its capability is dropped when the decided frontier has reached it, so
//! the frontier of this operator's output is the decided frontier, in every process.

use super::mint_op::MintCell;
use super::{Messages, Tick, passed};
use crate::committer::{Part, Wakers};
use crate::shared::Shared;
use crate::sink::Item;
use crate::types::{Envelope, Epoch, EpochTs};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, StreamVec};

/// What the sink operator needs to know of the run.
pub struct SinkPlan<I> {
    pub committer: Sender<Part<I>>,
    pub shared: Arc<Shared>,
    pub wakers: Arc<Wakers>,
    /// There on worker 0 only: it learns how far the operators have come.
    pub mint: Option<Rc<RefCell<MintCell>>>,
}

/// Builds the operator; its output carries no data. `delivered` are streams of items, each with its stage.
pub fn sink<'s, I: Clone + Send + 'static>(
    scope: Scope<'s, EpochTs>,
    delivered: Vec<(u8, Messages<'s, I>)>,
    ticks: StreamVec<'s, EpochTs, Tick>,
    bound: StreamVec<'s, EpochTs, ()>,
    plan: SinkPlan<I>,
) -> StreamVec<'s, EpochTs, ()> {
    let SinkPlan { committer, shared, wakers, mint } = plan;
    let mut builder = OperatorBuilder::new("sink".into(), scope);
    let (_output, stream) = builder.new_output::<Vec<()>>();
    let streams = delivered.len();
    let delivered = delivered.into_iter().map(|(stage, items)| (stage, builder.new_input(items, Pipeline)));
    let mut delivered: Vec<_> = delivered.collect();
    let mut ticks = builder.new_input(ticks, Pipeline);
    let mut bound = builder.new_input(bound, Pipeline);
    wakers.register(scope.worker().sync_activator_for(builder.operator_info().address.to_vec()));
    builder.build(move |capabilities| {
        drop(capabilities);
        let mut staged: BTreeMap<Epoch, Vec<Item<I>>> = BTreeMap::new();
        // The size of the last epoch that had items: the next one's, about.
        let mut usual = 0;
        let mut begun: BTreeMap<Epoch, (Tick, Capability<EpochTs>)> = BTreeMap::new();
        let mut held: BTreeMap<Epoch, Capability<EpochTs>> = BTreeMap::new();
        move |frontiers| {
            for (stage, items) in &mut delivered {
                items.for_each(|capability, data| {
                    let fresh = || Vec::with_capacity(usual);
                    let staged = staged.entry(Epoch(*capability.time())).or_insert_with(fresh);
                    staged.extend(data.drain(..).map(|Envelope { at, body }| Item {
                        at,
                        stage: *stage,
                        body,
                    }));
                });
            }
            ticks.for_each(|capability, data| {
                for tick in data.drain(..) {
                    begun.insert(tick.epoch, (tick, capability.retain(0)));
                }
            });
            bound.for_each(|_, data| data.clear());
            if let Some(mint) = &mint {
                let computed =
                    frontiers[..streams].iter().filter_map(|of| of.frontier().first().copied()).min();
                mint.borrow_mut().credit_computed(computed);
                // It may wait for a report of a log that nobody can read: a stop is no report.
                if shared.stopping() {
                    mint.borrow().wake();
                }
            }
            while let Some(entry) =
                begun.first_entry().filter(|e| frontiers.iter().all(|f| passed(f, *e.key())))
            {
                let (epoch, (tick, capability)) = entry.remove_entry();
                let items = staged.remove(&epoch).unwrap_or_default();
                if !items.is_empty() {
                    usual = items.len();
                }
                // The committer ends early only after a failure it has reported.
                let _ = committer.send(Part { epoch, now: tick.now, items });
                held.insert(epoch, capability);
            }
            let decided = Epoch(shared.decided.load(Ordering::SeqCst));
            held = held.split_off(&decided.next());
        }
    });
    stream
}
