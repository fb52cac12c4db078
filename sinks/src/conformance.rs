//! What every sink must do, as one suite: run it over each of them.
//!
//! ```text
//!   Subject ── open(generation) ──> the sink under test ── commit ──> store ──> visible()
//! ```
//!
//! It can't show that a commit survives a crash: kill tests do that. It shows that progress and items
//! change together, that nothing is applied twice, and that a zombie changes nothing.

use runtime::bindings::{Binding, PartitionEnd, Unread};
use runtime::sink::{EpochItems, Item, Sink, SinkError};
use runtime::{At, Class, Epoch, Generation, Offset, PartitionId, Position, TopicId};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A row that says something of everything a row can say, for stores of bindings.
pub fn binding(epoch: u64, generation: Generation) -> Binding {
    let partition = PartitionId { topic: TopicId(0), partition: 3 };
    let ends = vec![PartitionEnd { partition, end: Offset(epoch * 7), time_max: epoch as i64 }];
    let bound = (!epoch.is_multiple_of(2)).then_some(epoch as i64);
    let unread = vec![Unread { why: "cut short".to_owned(), records: vec![(partition, Offset(epoch))] }];
    Binding {
        epoch: Epoch(epoch),
        generation,
        now: epoch as i64,
        bound,
        ends,
        clamps: vec![],
        unread: Some(unread),
    }
}

/// A sink under test, with its store.
pub trait Subject {
    type Item: Clone + Send;
    type Sink: Sink<Self::Item>;

    /// Begins a generation on the store (fencing off older ones) and opens a sink for it.
    ///
    /// # Errors
    /// As the sink's own constructor.
    fn open(&mut self, generation: Generation) -> Result<Self::Sink, SinkError>;

    /// An item that [`Subject::observer`] will report as `n`.
    fn item(&self, n: u64) -> Self::Item;

    /// Says which items the outside world sees, sorted. Called from another thread while the sink commits.
    fn observer(&self) -> Box<dyn FnMut() -> Vec<u64> + Send>;
}

/// Runs the whole suite; `fresh` gives a subject with an empty store.
///
/// # Panics
/// Where the sink breaks a promise: the message says which.
pub fn check<S: Subject>(mut fresh: impl FnMut() -> S) {
    an_empty_store_has_committed_nothing(fresh());
    a_run_becomes_visible_with_its_progress(fresh());
    epochs_without_items_move_the_progress(fresh());
    a_new_generation_goes_on_where_the_old_one_stopped(fresh());
    a_zombie_changes_nothing(fresh());
    an_epoch_committed_twice_is_refused_and_changes_nothing(fresh());
    an_observer_never_sees_part_of_a_run(fresh());
}

fn an_empty_store_has_committed_nothing<S: Subject>(mut s: S) {
    let mut sink = opened(&mut s, 1);
    assert_eq!(committed::<S>(&mut sink), 0, "an empty store has committed epoch 0");
    assert_eq!((s.observer())(), [0; 0], "and shows nothing");
}

fn a_run_becomes_visible_with_its_progress<S: Subject>(mut s: S) {
    let mut sink = opened(&mut s, 1);
    commit(&s, &mut sink, &[(1, &[1, 2]), (2, &[3])]);
    commit(&s, &mut sink, &[(3, &[4])]);
    assert_eq!(committed::<S>(&mut sink), 3, "progress is the last epoch of the last run");
    assert_eq!((s.observer())(), [1, 2, 3, 4], "every item is visible once commit has returned");
}

fn epochs_without_items_move_the_progress<S: Subject>(mut s: S) {
    let mut sink = opened(&mut s, 1);
    commit(&s, &mut sink, &[(1, &[]), (2, &[])]);
    assert_eq!(committed::<S>(&mut sink), 2, "an epoch may have nothing to say");
}

fn a_new_generation_goes_on_where_the_old_one_stopped<S: Subject>(mut s: S) {
    let mut sink = opened(&mut s, 1);
    commit(&s, &mut sink, &[(1, &[1]), (2, &[2])]);
    drop(sink);
    let mut sink = opened(&mut s, 2);
    assert_eq!(committed::<S>(&mut sink), 2, "progress is kept over a restart");
    commit(&s, &mut sink, &[(3, &[3])]);
    assert_eq!((s.observer())(), [1, 2, 3], "what follows a restart is added to what was before");
}

fn a_zombie_changes_nothing<S: Subject>(mut s: S) {
    let mut zombie = opened(&mut s, 1);
    commit(&s, &mut zombie, &[(1, &[1])]);
    let mut sink = opened(&mut s, 2);
    let refused = zombie.commit(&run(&s, &[(2, &[2])]));
    let fenced = matches!(refused, Err(SinkError::Fenced { ours: Generation(1), theirs: Generation(2), .. }));
    assert!(fenced, "an older generation is told that it is fenced off: {refused:?}");
    assert_eq!((s.observer())(), [1], "and nothing of its run is visible");
    assert_eq!(committed::<S>(&mut sink), 1, "nor has it moved the progress");
    commit(&s, &mut sink, &[(2, &[2])]);
    assert_eq!((s.observer())(), [1, 2], "the newer generation is not disturbed");
}

fn an_epoch_committed_twice_is_refused_and_changes_nothing<S: Subject>(mut s: S) {
    let mut sink = opened(&mut s, 1);
    commit(&s, &mut sink, &[(1, &[1]), (2, &[2])]);
    let again = run(&s, &[(2, &[7]), (3, &[8])]);
    let refused = catch_unwind(AssertUnwindSafe(|| sink.commit(&again)));
    assert!(!matches!(refused, Ok(Ok(()))), "an epoch that is committed is not committed again");
    drop(sink);
    let mut sink = opened(&mut s, 2);
    assert_eq!(committed::<S>(&mut sink), 2, "a refused run leaves the progress");
    assert_eq!((s.observer())(), [1, 2], "and nothing visible");
}

/// Each run is two epochs of ten items.
const RUN_ITEMS: u64 = 20;
const RUNS: u64 = 15;

fn an_observer_never_sees_part_of_a_run<S: Subject>(mut s: S) {
    let mut sink = opened(&mut s, 1);
    let mut observe = s.observer();
    let done = Arc::new(AtomicBool::new(false));
    let told = done.clone();
    let observer = std::thread::spawn(move || {
        while !told.load(Ordering::Relaxed) {
            let seen = observe().len() as u64;
            assert_eq!(seen % RUN_ITEMS, 0, "an observer saw {seen} items: part of a run");
        }
    });
    for n in 0..RUNS {
        let items: Vec<u64> = (n * RUN_ITEMS..(n + 1) * RUN_ITEMS).collect();
        let (first, second) = items.split_at(10);
        commit(&s, &mut sink, &[(2 * n + 1, first), (2 * n + 2, second)]);
    }
    done.store(true, Ordering::Relaxed);
    observer.join().expect("the observer saw whole runs only");
    assert_eq!((s.observer())().len() as u64, RUNS * RUN_ITEMS);
}

fn opened<S: Subject>(s: &mut S, generation: u64) -> S::Sink {
    s.open(Generation(generation)).expect("a newer generation may open the store")
}

fn committed<S: Subject>(sink: &mut S::Sink) -> u64 {
    sink.committed().expect("progress can be read").0
}

fn commit<S: Subject>(s: &S, sink: &mut S::Sink, epochs: &[(u64, &[u64])]) {
    sink.commit(&run(s, epochs)).expect("a run above the progress is committed");
}

fn run<S: Subject>(s: &S, epochs: &[(u64, &[u64])]) -> Vec<EpochItems<S::Item>> {
    let items = |of: &[u64]| of.iter().map(|n| item(*n, s.item(*n))).collect();
    epochs.iter().map(|(epoch, of)| EpochItems { epoch: Epoch(*epoch), now: 0, items: items(of) }).collect()
}

fn item<I>(n: u64, body: I) -> Item<I> {
    let partition = PartitionId { topic: TopicId(0), partition: 0 };
    let position = Position::record(n as i64, Class::Command, partition, Offset(n));
    Item { at: At::record(position), stage: 0, body }
}
