//! Runs any operator without the runtime, in the runtime's order: for tests.
//!
//! ```text
//!   records of an epoch, by At ─ route ─> worker 0..n: timers due ≤ its time, then the record
//!                                         at the epoch's end: timers due ≤ its now
//!   outputs of all workers ─ by At ─> the epoch's output
//! ```
//!
//! It keeps what the runtime promises (see `runtime::operator`) and nothing more, so that an operator
//! that gives one answer here however epochs are cut, at any number of workers, and through snapshots
//! taken in slices and restored anywhere, gives it there.

use runtime::{At, Ctx, Entries, Envelope, Epoch, Millis, Operator, Route, SLOTS, StateEntry, slot_of};
use std::collections::BTreeMap;

/// Everything a snapshot store holds of one operator: the newest value of each key, by state.
type Saved = BTreeMap<(usize, u8, Vec<u8>), Option<Vec<u8>>>;

/// An operator on some workers, between epochs.
pub struct Harness<O: Operator> {
    workers: Vec<O>,
    make: fn() -> O,
    epoch: Epoch,
    now: Millis,
    saved: Saved,
}

impl<O: Operator<In: Clone>> Harness<O> {
    /// Fresh operators on `workers` workers.
    pub fn new(workers: usize, make: fn() -> O) -> Self {
        let fresh = (0..workers).map(|_| make()).collect();
        Harness { workers: fresh, make, epoch: Epoch(0), now: Millis::MIN, saved: Saved::new() }
    }

    /// Handles one epoch; what it emits, in order.
    pub fn epoch(&mut self, mut records: Vec<Envelope<O::In>>, now: Millis) -> Vec<Envelope<O::Out>> {
        self.epoch = self.epoch.next();
        records.sort_by_key(|record| record.at);
        let mut out = Vec::new();
        for worker in 0..self.workers.len() {
            let mine = records.iter().filter(|record| self.goes_to(worker, &record.body)).cloned();
            let mine: Vec<_> = mine.collect();
            self.run(worker, mine, now, &mut out);
        }
        self.now = self.now.max(now);
        out.sort_by_key(|envelope| envelope.at);
        out
    }

    fn goes_to(&self, worker: usize, input: &O::In) -> bool {
        match O::route(input) {
            Route::All => true,
            Route::Key(hash) => usize::from(slot_of(hash)) % self.workers.len() == worker,
        }
    }

    fn run(
        &mut self,
        worker: usize,
        records: Vec<Envelope<O::In>>,
        now: Millis,
        out: &mut Vec<Envelope<O::Out>>,
    ) {
        let (epoch, before) = (self.epoch, self.now);
        let operator = &mut self.workers[worker];
        for Envelope { at, body } in records {
            fire(operator, at.time(), epoch, before, out);
            operator.on_record(at, body, &mut Ctx::new(epoch, before.max(at.time()), out));
        }
        fire(operator, now, epoch, before, out);
        operator.on_epoch_end(&mut Ctx::new(epoch, before.max(now), out));
    }

    /// Takes a whole snapshot, in slices of `budget` entries.
    pub fn snapshot(&mut self, budget: usize) {
        self.freeze();
        while !self.write_slice(budget) {}
    }

    /// Begins a snapshot: epochs may be handled while it is written.
    pub fn freeze(&mut self) {
        for operator in &mut self.workers {
            operator.states().into_iter().for_each(|state| state.freeze());
        }
    }

    /// Writes a slice of every worker's snapshot; true when it is complete.
    pub fn write_slice(&mut self, budget: usize) -> bool {
        let mut complete = true;
        for (worker, operator) in self.workers.iter_mut().enumerate() {
            for (index, state) in operator.states().into_iter().enumerate() {
                let mut entries = Entries::default();
                complete &= state.write_slice(budget, &mut entries);
                if worker == 0 || !state.replicated() {
                    let entries = entries.unpack().expect("just written");
                    self.saved.extend(entries.into_iter().map(|e| ((index, e.slot, e.key), e.value)));
                }
            }
        }
        complete
    }

    /// A crash just after a complete snapshot: everything but it is gone, and `workers` fresh workers load it.
    pub fn restored(&self, workers: usize) -> Self {
        let mut fresh = Self::new(workers, self.make);
        (fresh.epoch, fresh.now, fresh.saved) = (self.epoch, self.now, self.saved.clone());
        for ((index, slot, key), value) in &self.saved {
            let entry = StateEntry { slot: *slot, key: key.clone(), value: value.clone() };
            fresh.load(*index, &entry);
        }
        fresh.workers.iter_mut().for_each(Operator::on_restored);
        fresh
    }

    fn load(&mut self, index: usize, entry: &StateEntry) {
        assert!(u64::from(entry.slot) < SLOTS);
        let count = self.workers.len();
        for (worker, operator) in self.workers.iter_mut().enumerate() {
            let state = &mut operator.states()[index];
            if state.replicated() || usize::from(entry.slot) % count == worker {
                state.load(entry).expect("a snapshot of this very code");
            }
        }
    }

    /// The operators themselves, to look into.
    pub fn workers(&mut self) -> &mut [O] {
        &mut self.workers
    }
}

/// Fires what is due up to and including `until`, in order of due time.
fn fire<O: Operator>(
    o: &mut O,
    until: Millis,
    epoch: Epoch,
    before: Millis,
    out: &mut Vec<Envelope<O::Out>>,
) {
    while let Some(due) = o.next_timer().filter(|due| *due <= until) {
        o.on_timer(due, &mut Ctx::new(epoch, before.max(due), out));
    }
}

/// How a test runs a log: where epochs end, where it crashes, and on how many workers.
#[derive(Clone, Debug, Default)]
pub struct Course {
    /// Record-time bounds of the epochs (sorted, inclusive); the last epoch takes the rest and ends at `end_ms`.
    pub cuts: Vec<Millis>,
    /// Workers from the start and after each crash. Snapshot and crash follow each epoch whose index is here.
    pub crashes: BTreeMap<usize, usize>,
    pub workers: usize,
    pub end_ms: Millis,
}

impl Course {
    /// One epoch, one worker, no crash.
    pub fn straight(end_ms: Millis) -> Self {
        Course { workers: 1, end_ms, ..Course::default() }
    }

    /// Runs a complete log; everything it emits.
    pub fn run<O: Operator<In: Clone>>(
        &self,
        make: fn() -> O,
        log: &[Envelope<O::In>],
    ) -> Vec<Envelope<O::Out>> {
        let mut harness = Harness::new(self.workers.max(1), make);
        let mut out = Vec::new();
        let mut after = Millis::MIN;
        for (index, until) in self.cuts.iter().copied().chain([self.end_ms]).enumerate() {
            let within = |at: &At| after < at.time() && at.time() <= until;
            let records = log.iter().filter(|record| within(&record.at)).cloned().collect();
            out.extend(harness.epoch(records, until));
            after = until;
            if let Some(workers) = self.crashes.get(&index) {
                harness.snapshot(3);
                harness = harness.restored(*workers);
            }
        }
        out
    }
}
