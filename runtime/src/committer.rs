//! The committer: puts the workers' parts of each epoch together and takes them through the sinks, in order.
//!
//! ```text
//!   worker 0 ─┐                       ┌─────────┐   ┌─────────┐
//!   worker 1 ─┴─ parts ─> gather ───> │ sink 1  │──>│ sink 2  │──> decided frontier
//!                (whole epochs, sorted)└─────────┘   └─────────┘
//!                                       one thread each; waiting epochs are committed as one run
//! ```
//!
//! A sink sees only what it doesn't have: epochs up to its own progress are dropped. An epoch is decided
//! when the last sink has it, so the last one's transaction may publish the frontier to readers. Epochs
//! without items need no commit of their own; they are let through, and progress follows at least once a second.
//!
//! What a sink says it has is believed only as far as it can be true: nothing is told before it is bound, and what a
//! sink had it keeps. A sink that is ahead of the bindings when a run begins, or that has less than before
//! when it is reached again, or more than it was given, is one of two stores of which one went back (a standby that lagged
//! and was promoted, a backup). Epochs would be dropped that were never told, or told twice: the run stops.

use crate::bindings::PartitionEnd;
use crate::killpoint;
use crate::patience::patiently;
use crate::shared::Shared;
use crate::sink::{EpochItems, Item, Sink, SinkError};
use crate::types::{Epoch, Millis};
use std::cmp::Ordering as Order;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use timely::scheduling::activate::SyncActivator;

/// Items of one run of epochs handed to a sink at once, about.
const RUN_ITEMS_MAX: usize = 60_000;
/// How long progress over empty epochs may stay unwritten.
const EMPTY_PROGRESS: Duration = Duration::from_secs(1);

/// One worker's items of one epoch.
pub struct Part<I> {
    pub epoch: Epoch,
    pub now: Millis,
    pub items: Vec<Item<I>>,
}

/// Called when the decided frontier moves: with it, and with where its epochs brought each partition.
pub type Listener = Box<dyn Fn(Epoch, Vec<PartitionEnd>) + Send>;

/// Operators to wake when the decided frontier moves, and whoever else wants to know.
#[derive(Default)]
pub struct Wakers {
    activators: Mutex<Vec<SyncActivator>>,
    listener: Mutex<Option<Listener>>,
    /// Ends of epochs that are bound and not decided; kept only for a listener.
    ends: Mutex<VecDeque<(Epoch, Vec<PartitionEnd>)>>,
}

/// The committer's entry, and its threads.
pub type Started<I> = (Sender<Part<I>>, Vec<JoinHandle<()>>);

impl Wakers {
    /// Registers an operator.
    pub fn register(&self, waker: SyncActivator) {
        self.activators.lock().unwrap_or_else(PoisonError::into_inner).push(waker);
    }

    /// Sets what is called on every move, from the committer's thread.
    pub fn listen(&self, listener: Listener) {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(listener);
    }

    /// Notes where an epoch brought its partitions, for the listener.
    pub fn note_ends(&self, epoch: Epoch, ends: &[PartitionEnd]) {
        let listened = self.listener.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if listened && !ends.is_empty() {
            self.ends.lock().unwrap_or_else(PoisonError::into_inner).push_back((epoch, ends.to_vec()));
        }
    }

    fn take_ends(&self, decided: Epoch) -> Vec<PartitionEnd> {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let count = ends.iter().take_while(|(epoch, _)| *epoch <= decided).count();
        ends.drain(..count).flat_map(|(_, ends)| ends).collect()
    }

    /// Wakes the operators, so that they look at what is shared.
    pub fn wake_operators(&self) {
        for waker in self.activators.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // An operator that is gone needs no waking.
            let _ = waker.activate();
        }
    }

    fn wake(&self, decided: Epoch) {
        self.wake_operators();
        if let Some(listener) = &*self.listener.lock().unwrap_or_else(PoisonError::into_inner) {
            listener(decided, self.take_ends(decided));
        }
    }
}

type Run<I> = Vec<EpochItems<I>>;

/// Orders items of one place; see [`crate::run::Job::beside`].
pub type Beside<I> = fn(&I, &I) -> Order;

/// Where a run begins, and how it goes on.
#[derive(Clone, Copy, Debug)]
pub struct Begin {
    /// Epochs that may be minted and not decided: while a commit waits for that many, none comes.
    pub in_flight_max: u64,
    /// The epoch its state is of.
    pub resume: Epoch,
    /// The last epoch bound.
    pub bound: Epoch,
}

/// Starts the threads. The sender takes parts of every worker for every epoch after `begin.resume`.
///
/// # Errors
/// When a sink can't say what it has, or has what was never bound.
pub fn start<I: Send + 'static>(
    workers: (usize, Beside<I>),
    begin: Begin,
    sinks: Vec<Box<dyn Sink<I>>>,
    shared: &Arc<Shared>,
    wakers: &Arc<Wakers>,
) -> Result<Started<I>, SinkError> {
    let mut threads = Vec::new();
    let (parts, gathered) = channel();
    let (mut send, mut receive) = channel::<Run<I>>();
    let first = send;
    let on = Arc::clone(shared);
    threads.push(named("gather", move || gather(workers, begin.resume, &gathered, &first, &on))?);
    for mut sink in sinks {
        let committed = patiently(shared, || sink.committed())?;
        check_bound(sink.name(), committed, begin.bound)?;
        let (next, following) = channel();
        send = next;
        let (shared, written) = (Arc::clone(shared), Instant::now());
        let waits_for = usize::try_from(begin.in_flight_max / 2).unwrap_or(usize::MAX);
        let (began, unwritten, ahead_ms, failed) = (None, None, None, false);
        let stage = Stage { sink, committed, shared, written, began, waits_for, unwritten, ahead_ms, failed };
        let input = std::mem::replace(&mut receive, following);
        let name = stage.sink.name();
        threads.push(named(name, move || stage.run(&input, &send))?);
    }
    let (on, wakers) = (Arc::clone(shared), Arc::clone(wakers));
    threads.push(named("publish", move || publish(&receive, &on, &wakers))?);
    Ok((parts, threads))
}

/// Epochs above the last one bound would be minted again, with other records, and the sink would drop them.
///
/// # Errors
/// [`SinkError::Stop`] where the sink has such epochs.
pub fn check_bound(sink: &'static str, committed: Epoch, bound: Epoch) -> Result<(), SinkError> {
    if committed <= bound {
        return Ok(());
    }
    Err(SinkError::Stop {
        sink,
        problem: format!(
            "it has epochs up to {committed}, and the bindings end at epoch {bound}: the store of the bindings went back \
             (a backup, or a standby that lagged and was promoted), or belongs to another log"
        ),
        remedy: format!(
            "restore the bindings as they were at epoch {committed} or later, or begin anew with nothing left of the old run \
             (docs/runbook.md, \"A store went back\")"
        ),
    })
}

/// What a sink has after a failure lies between what it had and what it was given.
fn check_kept(sink: &'static str, there: Epoch, had: Epoch, given: Epoch) -> Result<(), SinkError> {
    if (had..=given).contains(&there) {
        return Ok(());
    }
    let how = if there < had { "its store went back" } else { "somebody else wrote to its store" };
    Err(SinkError::Stop {
        sink,
        problem: format!(
            "reached again it has epochs up to {there}; it had them up to {had} and was given those up to {given}: {how}"
        ),
        remedy: format!(
            "restore it as it was at epoch {had} (promote the standby that has it), or begin anew with nothing left of the old run \
             (docs/runbook.md, \"A store went back\")"
        ),
    })
}

/// A thread whose name tells operators and profilers what it does.
fn named(name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, SinkError> {
    let thread = std::thread::Builder::new().name(name.into()).spawn(work);
    thread.map_err(|error| SinkError::Stop {
        sink: name,
        problem: format!("its thread can't be started: {error}"),
        remedy: "raise the limit of threads and start again".into(),
    })
}

/// Puts parts together: an epoch is whole when every worker's part of it is here.
fn gather<I>(
    (workers, beside): (usize, Beside<I>),
    resume: Epoch,
    parts: &Receiver<Part<I>>,
    first: &Sender<Run<I>>,
    shared: &Shared,
) {
    let mut next = resume.next();
    let mut waiting: BTreeMap<Epoch, Vec<Part<I>>> = BTreeMap::new();
    while let Ok(part) = parts.recv() {
        waiting.entry(part.epoch).or_default().push(part);
        while let Some(entry) = waiting.first_entry() {
            if *entry.key() != next || entry.get().len() < workers {
                break;
            }
            let whole = put_together(entry.remove(), beside);
            next = next.next();
            shared.items_out.fetch_add(whole.items.len() as u64, Ordering::Relaxed);
            if first.send(vec![whole]).is_err() {
                return;
            }
        }
    }
}

/// One order of all items, whichever worker said them.
fn put_together<I>(parts: Vec<Part<I>>, beside: Beside<I>) -> EpochItems<I> {
    let mut parts = parts.into_iter();
    let Part { epoch, now, mut items } = parts.next().expect("an epoch has a part of each worker");
    parts.for_each(|part| items.extend(part.items));
    items.sort_by(|a, b| {
        let by_place = a.at.cmp(&b.at).then(a.stage.cmp(&b.stage));
        by_place.then_with(|| beside(&a.body, &b.body))
    });
    EpochItems { epoch, now, items }
}

struct Stage<I> {
    sink: Box<dyn Sink<I>>,
    committed: Epoch,
    shared: Arc<Shared>,
    written: Instant,
    /// When the last commit began.
    began: Option<Instant>,
    /// Epochs for which the next one waits at most.
    waits_for: usize,
    /// The last epoch that was let through without a commit, because there was nothing in it.
    unwritten: Option<EpochItems<I>>,
    /// The time of the last item, where it is ahead of its epoch's now: whoever follows by time can't take it before
    /// progress is past it.
    ahead_ms: Option<Millis>,
    /// The last call failed: what answers the next one may be another server, or another state of it.
    failed: bool,
}

impl<I> Stage<I> {
    fn run(mut self, input: &Receiver<Run<I>>, next: &Sender<Run<I>>) {
        while let Ok(mut run) = input.recv() {
            let mut items: usize = run.iter().map(|epoch| epoch.items.len()).sum();
            while items < RUN_ITEMS_MAX {
                let Ok(more) = input.recv_timeout(self.pause(run.len())) else { break };
                items += more.iter().map(|epoch| epoch.items.len()).sum::<usize>();
                run.extend(more);
            }
            let known = run.iter().take_while(|epoch| epoch.epoch <= self.committed).count();
            if !self.commit(&run[known..]) || next.send(run).is_err() {
                return;
            }
        }
        // An orderly end: progress over empty epochs is written too.
        if let Some(last) = self.unwritten.take() {
            self.commit_now(&[last]);
        }
    }

    /// How long the next commit, which has so many epochs, should wait for more.
    fn pause(&self, epochs: usize) -> Duration {
        let interval = if epochs < self.waits_for { self.sink.commit_interval() } else { Duration::ZERO };
        self.began.map_or(Duration::ZERO, |began| interval.saturating_sub(began.elapsed()))
    }

    /// False where the run has to stop.
    fn commit(&mut self, run: &[EpochItems<I>]) -> bool {
        let Some(last) = run.last() else { return true };
        let empty = run.iter().all(|epoch| epoch.items.is_empty());
        let awaited = self.ahead_ms.is_some_and(|ahead| ahead <= last.now);
        if empty && !awaited && self.written.elapsed() < EMPTY_PROGRESS {
            self.unwritten = Some(EpochItems { epoch: last.epoch, now: last.now, items: Vec::new() });
            return true;
        }
        self.unwritten = None;
        let latest = run.iter().filter_map(|epoch| epoch.items.last()).map(|item| item.at.time()).max();
        self.ahead_ms = latest.or(self.ahead_ms).filter(|latest| *latest > last.now);
        self.commit_now(run)
    }

    /// False where the run has to stop.
    fn commit_now(&mut self, run: &[EpochItems<I>]) -> bool {
        let Some(last) = run.last() else { return true };
        assert!(run[0].epoch > self.committed, "{}: an epoch is committed once", self.sink.name());
        while !self.shared.failed() {
            let done = self.try_commit(run, last.epoch);
            self.failed = done.is_err();
            match done {
                Ok(()) => {
                    self.committed = last.epoch;
                    self.written = Instant::now();
                    return true;
                }
                Err(error @ SinkError::Retry { .. }) => {
                    tracing::warn!(%error, "committing failed, trying again");
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(error) => self.shared.fail(error.to_string()),
            }
        }
        false
    }

    fn try_commit(&mut self, run: &[EpochItems<I>], last: Epoch) -> Result<(), SinkError> {
        if self.failed {
            check_kept(self.sink.name(), self.sink.committed()?, self.committed, last)?;
        }
        let began = Instant::now();
        self.began = Some(began);
        self.sink.commit(run)?;
        let (sink, items) = (self.sink.name(), run.iter().map(|epoch| epoch.items.len()).sum::<usize>());
        let ms = began.elapsed().as_millis() as u64;
        tracing::debug!(sink, through = last.0, epochs = run.len(), items, ms, "committed");
        Ok(())
    }
}

fn publish<I>(done: &Receiver<Run<I>>, shared: &Shared, wakers: &Wakers) {
    while let Ok(run) = done.recv() {
        let Some(last) = run.last() else { continue };
        killpoint::reach("frontier.before_publish");
        shared.publish_decided(last.epoch.0);
        wakers.wake(last.epoch);
        killpoint::reach("frontier.after_publish");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{At, Class, Offset, PartitionId, Position, TopicId};

    fn part(texts: &[&'static str]) -> Part<&'static str> {
        let first = PartitionId { topic: TopicId(0), partition: 0 };
        let at = At::record(Position::record(1, Class::Command, first, Offset(0)));
        let items = texts.iter().map(|&body| Item { at, stage: 5, body }).collect();
        Part { epoch: Epoch(1), now: 0, items }
    }

    #[test]
    fn a_sink_that_has_what_was_never_bound_stops_the_run_and_one_that_is_behind_does_not() {
        for (committed, bound) in [(0, 0), (3, 7), (7, 7)] {
            assert!(check_bound("facts", Epoch(committed), Epoch(bound)).is_ok(), "{committed} of {bound}");
        }
        let refused = check_bound("facts", Epoch(8), Epoch(7)).expect_err("one more than is bound");
        let said = refused.to_string();
        for part in ["facts: it has epochs up to 8", "the bindings end at epoch 7", "restore the bindings"] {
            assert!(said.contains(part), "{said}");
        }
    }

    /// A store that loses its connection at the second commit and has `there` when it is back.
    struct GoesBack {
        through: Epoch,
        there: Epoch,
        calls: usize,
    }

    impl Sink<&'static str> for GoesBack {
        fn name(&self) -> &'static str {
            "serving"
        }

        fn committed(&mut self) -> Result<Epoch, SinkError> {
            Ok(self.through)
        }

        fn commit(&mut self, run: &[EpochItems<&'static str>]) -> Result<(), SinkError> {
            self.calls += 1;
            if self.calls == 2 {
                self.through = self.there;
                return Err(SinkError::Retry { sink: "serving", source: "connection lost".into() });
            }
            self.through = run.last().expect("a run has an epoch").epoch;
            Ok(())
        }
    }

    /// What a run of three epochs ends in where the store has `there` after the first of them.
    fn reached_again(there: u64) -> Option<String> {
        let (shared, wakers) = (Arc::new(Shared::default()), Arc::default());
        let sink = GoesBack { through: Epoch(4), there: Epoch(there), calls: 0 };
        let begin = Begin { in_flight_max: 16, resume: Epoch(4), bound: Epoch(4) };
        let started = start((1, |_, _| Order::Equal), begin, vec![Box::new(sink)], &shared, &wakers);
        let (parts, threads) = started.expect("it is not ahead");
        for epoch in 5..=6 {
            parts.send(Part { epoch: Epoch(epoch), ..part(&["a"]) }).expect("they are taken");
            while shared.decided.load(Ordering::SeqCst) < epoch && !shared.failed() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        drop(parts);
        threads.into_iter().for_each(|thread| thread.join().expect("it ends well"));
        shared.failure()
    }

    #[test]
    fn a_store_that_comes_back_without_what_it_had_or_with_more_stops_the_run() {
        for there in [5, 6] {
            assert_eq!(reached_again(there), None, "it has what it had, or what was in doubt");
        }
        for (there, why) in [(4, "its store went back"), (7, "somebody else wrote")] {
            let said = reached_again(there).expect("it must not go on");
            let part = format!("up to {there}; it had them up to 5 and was given those up to 6: {why}");
            assert!(said.contains(&part), "{said}");
        }
    }

    /// Notes how far each commit went, and would rather not be asked again.
    struct Dear(Arc<Mutex<Vec<u64>>>);

    impl Sink<&'static str> for Dear {
        fn name(&self) -> &'static str {
            "facts"
        }

        fn committed(&mut self) -> Result<Epoch, SinkError> {
            Ok(Epoch(0))
        }

        fn commit_interval(&self) -> Duration {
            Duration::from_secs(3_600)
        }

        fn commit(&mut self, run: &[EpochItems<&'static str>]) -> Result<(), SinkError> {
            self.0.lock().unwrap().push(run.last().expect("a run has an epoch").epoch.0);
            Ok(())
        }
    }

    /// How far each commit of a dear sink went, where these epochs come one after the other is decided, the others at once.
    fn commits(in_flight_max: u64, one_by_one: u64, all: u64) -> Vec<u64> {
        let (shared, commits) = (Arc::new(Shared::default()), Arc::new(Mutex::new(Vec::new())));
        let sinks: Vec<Box<dyn Sink<_>>> = vec![Box::new(Dear(Arc::clone(&commits)))];
        let begin = Begin { in_flight_max, resume: Epoch(0), bound: Epoch(0) };
        let (parts, threads) =
            start((1, |_, _| Order::Equal), begin, sinks, &shared, &Arc::default()).expect("it is not ahead");
        for epoch in 1..=all {
            parts.send(Part { epoch: Epoch(epoch), ..part(&["a"]) }).expect("they are taken");
            while epoch <= one_by_one && shared.decided.load(Ordering::SeqCst) < epoch {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        drop(parts);
        threads.into_iter().for_each(|thread| thread.join().expect("it ends well"));
        Arc::into_inner(commits).expect("its sink is gone").into_inner().unwrap()
    }

    #[test]
    fn epochs_that_come_before_the_next_commit_is_due_share_it_and_the_end_waits_for_nothing() {
        assert_eq!(commits(16, 1, 4), [1, 4]);
    }

    #[test]
    fn a_commit_waits_for_no_epoch_that_is_minted_only_after_it() {
        assert_eq!(commits(1, 3, 3), [1, 2, 3]);
        assert_eq!(commits(2, 3, 3), [1, 2, 3]);
    }

    #[test]
    fn what_workers_say_at_one_place_has_one_order_whoever_says_it() {
        let by_name: Beside<&str> = |a, b| a[..1].cmp(&b[..1]);
        for parts in [
            vec![part(&["a2", "a1", "b1", "c9", "c1"])],
            vec![part(&["b1"]), part(&["a2", "a1", "c9", "c1"])],
            vec![part(&["c9", "c1"]), part(&[]), part(&["a2", "a1", "b1"])],
        ] {
            let whole = put_together(parts, by_name);
            let said: Vec<_> = whole.items.into_iter().map(|item| item.body).collect();
            assert_eq!(said, ["a2", "a1", "b1", "c9", "c1"]);
        }
    }
}
