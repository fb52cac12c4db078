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

/// Starts the threads. The sender takes parts of every worker for every epoch after `resume`.
///
/// # Errors
/// When a sink can't say what it has.
pub fn start<I: Send + 'static>(
    workers: (usize, Beside<I>),
    resume: Epoch,
    sinks: Vec<Box<dyn Sink<I>>>,
    shared: &Arc<Shared>,
    wakers: &Arc<Wakers>,
) -> Result<Started<I>, SinkError> {
    let mut threads = Vec::new();
    let (parts, gathered) = channel();
    let (mut send, mut receive) = channel::<Run<I>>();
    let first = send;
    let on = Arc::clone(shared);
    threads.push(named("gather", move || gather(workers, resume, &gathered, &first, &on))?);
    for mut sink in sinks {
        let committed = patiently(shared, || sink.committed())?;
        let (next, following) = channel();
        send = next;
        let stage =
            Stage { sink, committed, shared: Arc::clone(shared), written: Instant::now(), unwritten: None };
        let input = std::mem::replace(&mut receive, following);
        let name = stage.sink.name();
        threads.push(named(name, move || stage.run(&input, &send))?);
    }
    let (on, wakers) = (Arc::clone(shared), Arc::clone(wakers));
    threads.push(named("publish", move || publish(&receive, &on, &wakers))?);
    Ok((parts, threads))
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
    /// The last epoch that was let through without a commit, because there was nothing in it.
    unwritten: Option<EpochItems<I>>,
}

impl<I> Stage<I> {
    fn run(mut self, input: &Receiver<Run<I>>, next: &Sender<Run<I>>) {
        while let Ok(mut run) = input.recv() {
            let mut items: usize = run.iter().map(|epoch| epoch.items.len()).sum();
            while items < RUN_ITEMS_MAX {
                let Ok(more) = input.try_recv() else { break };
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

    /// False where the run has to stop.
    fn commit(&mut self, run: &[EpochItems<I>]) -> bool {
        let Some(last) = run.last() else { return true };
        let empty = run.iter().all(|epoch| epoch.items.is_empty());
        if empty && self.written.elapsed() < EMPTY_PROGRESS {
            self.unwritten = Some(EpochItems { epoch: last.epoch, now: last.now, items: Vec::new() });
            return true;
        }
        self.unwritten = None;
        self.commit_now(run)
    }

    /// False where the run has to stop.
    fn commit_now(&mut self, run: &[EpochItems<I>]) -> bool {
        let Some(last) = run.last() else { return true };
        assert!(run[0].epoch > self.committed, "{}: an epoch is committed once", self.sink.name());
        while !self.shared.failed() {
            match self.sink.commit(run) {
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
