//! Relations alone, without operators around them: steps, and that history is forgotten.

use super::*;
use differential_dataflow::logging::{DifferentialEvent, DifferentialEventBuilder};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use timely::dataflow::operators::vec::Input as _;
use timely::dataflow::operators::{Inspect, Probe};
use timely::worker::Worker;

type Key = u64;
type Change = ((Key, ()), StepTime, Amount);
type Said = Vec<((u64, Amount), StepTime, Amount)>;

/// The amount in each group of seven keys, kept by a distinct, a join and a reduce: every change of it in order,
/// and the most updates that ever lay in one batch of an arrangement.
fn group_sums(changes: Vec<Change>) -> (Said, usize) {
    timely::execute_directly(move |worker| {
        let largest = watch_batches(worker);
        let said = Rc::new(RefCell::new(Vec::new()));
        let out = Rc::clone(&said);
        let (mut input, probe) = worker.dataflow::<EpochTs, _, _>(|scope| {
            let (input, stream) = scope.new_input::<Change>();
            let sums = scope.scoped::<StepTime, _, _>("test", |region| {
                let changes = Relation { collection: stream.enter(region).as_collection() };
                let groups = changes.clone().map(|(key, ())| key).distinct().map(|key| (key, key / 7));
                let in_groups = changes.join(groups, |_, (), group| (*group, ()));
                let sums = in_groups.reduce("sums", |_, rows, out| out.push((rows[0].1, 1)));
                sums.collection.inner.leave(scope)
            });
            let (probe, _) = sums.inspect(move |change| out.borrow_mut().push(*change)).probe();
            (input, probe)
        });
        for change in changes {
            while *input.time() < change.1.epoch {
                input.advance_to(input.time() + 1);
                worker.step_while(|| probe.less_than(input.time()));
            }
            input.send(change);
        }
        drop(input);
        while worker.step_or_park(None) {}
        let mut said: Said = said.take();
        said.sort_by_key(|(row, time, diff)| (*time, row.0, *diff));
        (said, largest.get())
    })
}

fn watch_batches(worker: &mut Worker) -> Rc<Cell<usize>> {
    let largest = Rc::new(Cell::new(0));
    let seen = Rc::clone(&largest);
    let mut log = worker.log_register().expect("a worker of a test logs");
    log.insert::<DifferentialEventBuilder, _>("differential/arrange", move |_, events| {
        for (_, event) in events.iter_mut().flat_map(|events| events.drain(..)) {
            if let DifferentialEvent::Merge(merge) = event {
                seen.set(seen.get().max(merge.length1).max(merge.length2));
            }
        }
    });
    drop(log);
    largest
}

fn at(epoch: EpochTs, step: Step) -> StepTime {
    StepTime { epoch, step }
}

#[test]
fn figures_are_known_at_every_step_of_an_epoch() {
    let changes = vec![
        ((1, ()), at(1, 0), 10),
        ((2, ()), at(1, 3), 5),
        ((8, ()), at(1, 3), 7),
        ((1, ()), at(1, 4), -10),
        ((2, ()), at(1, 9), -5),
        ((2, ()), at(2, 0), 1),
    ];
    let (said, _) = group_sums(changes);
    let expected = vec![
        ((0, 10), at(1, 0), 1),
        ((0, 10), at(1, 3), -1),
        ((0, 15), at(1, 3), 1),
        ((1, 7), at(1, 3), 1),
        ((0, 15), at(1, 4), -1),
        ((0, 5), at(1, 4), 1),
        ((0, 5), at(1, 9), -1),
        ((0, 1), at(2, 0), 1),
    ];
    let sorted = |mut rows: Said| {
        rows.sort();
        rows
    };
    assert_eq!(sorted(said), sorted(expected));
}

#[test]
fn a_relation_is_as_large_as_its_keys_however_many_epochs_changed_it() {
    const KEYS: Key = 21;
    let changes: Vec<Change> =
        (0..6_000).map(|n| ((n % KEYS, ()), at(1 + n / 4, (n % 4) as Step), 1 + i128::from(n % 3))).collect();
    let mut sums = BTreeMap::new();
    for ((key, ()), _, amount) in &changes {
        *sums.entry(key / 7).or_insert(0) += amount;
    }
    let (said, largest) = group_sums(changes);
    let mut last = BTreeMap::new();
    for ((group, sum), _, diff) in said {
        *last.entry((group, sum)).or_insert(0) += diff;
    }
    last.retain(|_, diff| *diff != 0);
    assert_eq!(last.into_keys().collect::<Vec<_>>(), sums.into_iter().collect::<Vec<_>>());
    // Without compaction the 6,000 changes would all be there; a few epochs may wait to be merged.
    assert!(largest > 0 && largest < 20 * KEYS as usize, "{largest} updates in one batch");
}

#[test]
fn steps_are_counted_by_marks_and_two_of_one_place_are_one() {
    let place = |time| At::record(crate::Position::timer(time, 0, 0));
    let mut steps = Steps::default();
    assert_eq!((steps.passed(), steps.of_mark(place(1))), (0, 1));
    assert_eq!([steps.mark(place(1)), steps.mark(place(1)), steps.mark(place(5))], [1, 1, 2]);
    assert_eq!((steps.of_mark(place(5)), steps.of_mark(place(6))), (2, 3));
    assert_eq!([0, 1, 4, 5, 9].map(|time| steps.upto(time)), [0, 1, 1, 2, 2]);
    steps.clear();
    assert_eq!(steps.passed(), 0);
}
