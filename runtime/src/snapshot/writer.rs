//! The snapshot thread: takes chunks from the workers, writes files and manifests, compacts, collects garbage.
//!
//! It never gives a snapshot up: the changed keys of a lost one would be missing from all later ones. A store that
//! is apart (S3) and refuses, being full or away, is asked again until it takes it: meanwhile the run goes on, no
//! further snapshot begins, so what waits in memory is one snapshot's, and recovery would start from the last
//! manifest. A folder that is full stops the run, as the tables lie on the same disk.

use super::background::stand_back;
use super::file::Block;
use super::rolling::Rolling;
use super::store::SnapshotStore;
use super::{FileRef, Manifest, SnapshotError, compact};
use crate::dataflow::snapshot_op::{Chunk, FileDone};
use crate::shared::Shared;
use crate::types::Epoch;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use timely::scheduling::activate::SyncActivator;

/// Pauses between two tries to write to a store that refuses: the first, and the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// What the snapshot thread is asked to do.
pub enum Job {
    Chunk {
        worker: usize,
        chunk: Chunk,
    },
    /// All of a worker's chunks of this snapshot have come.
    Finish {
        worker: usize,
        epoch: Epoch,
    },
    /// Base and deltas are filled in by the thread.
    Publish {
        manifest: Box<Manifest>,
        files: Vec<FileRef>,
    },
    Compacted {
        base: Vec<FileRef>,
        replaces: usize,
    },
    /// The compaction under way has failed: another may be tried.
    NotCompacted,
}

/// What is done, for the operators to pick up.
#[derive(Default)]
pub struct Done {
    files: Mutex<Vec<FileDone>>,
    published: Mutex<Vec<Epoch>>,
    wakers: Mutex<Vec<SyncActivator>>,
}

impl Done {
    /// Registers an operator to be woken.
    pub fn register(&self, waker: SyncActivator) {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner).push(waker);
    }

    fn wake(&self) {
        for waker in self.wakers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // An operator that is gone needs no waking.
            let _ = waker.activate();
        }
    }

    /// Takes the finished file of a worker, if there is one.
    pub fn take_file(&self, worker: usize) -> Option<FileDone> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let found = files.iter().position(|done| done.worker == worker)?;
        Some(files.remove(found))
    }

    /// Takes the epochs whose manifests have been written.
    pub fn take_published(&self) -> Vec<Epoch> {
        std::mem::take(&mut self.published.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The workers' end of the snapshot thread.
#[derive(Clone)]
pub struct Snapshots {
    pub jobs: Sender<Job>,
    pub done: Arc<Done>,
}

struct Writer {
    store: SnapshotStore,
    shared: Arc<Shared>,
    done: Arc<Done>,
    jobs: Sender<Job>,
    open: BTreeMap<usize, Rolling>,
    base: Vec<FileRef>,
    deltas: Vec<FileRef>,
    began: Option<Instant>,
    compacting: bool,
}

/// Starts the thread; `from` is the manifest the run resumed from. It ends when a job can't come any more.
pub fn start(
    store: SnapshotStore,
    from: Option<&Manifest>,
    shared: Arc<Shared>,
) -> (Snapshots, std::thread::JoinHandle<()>) {
    let (jobs, receive) = channel();
    let done = Arc::new(Done::default());
    let mut writer = Writer {
        store,
        shared,
        done: Arc::clone(&done),
        jobs: jobs.clone(),
        open: BTreeMap::new(),
        base: from.map(|manifest| manifest.base.clone()).unwrap_or_default(),
        deltas: from.map(|manifest| manifest.deltas.clone()).unwrap_or_default(),
        began: None,
        compacting: false,
    };
    let thread = std::thread::spawn(move || {
        stand_back();
        writer.run(&receive);
    });
    (Snapshots { jobs, done }, thread)
}

impl Writer {
    fn run(&mut self, jobs: &Receiver<Job>) {
        loop {
            match jobs.recv_timeout(Duration::from_millis(100)) {
                Ok(job) => {
                    if let Err(error) = self.handle(job) {
                        self.shared.fail(error.to_string());
                        return;
                    }
                }
                // The thread holds a sender itself (for compactions), so the end is told by the flag.
                Err(_) if self.shared.closed() => return,
                Err(_) => {}
            }
        }
    }

    fn handle(&mut self, job: Job) -> Result<(), SnapshotError> {
        match job {
            Job::Chunk { worker, chunk } => self.chunk(worker, chunk),
            Job::Finish { worker, epoch } => self.finish(worker, epoch),
            Job::Publish { manifest, files } => self.publish(*manifest, files),
            Job::Compacted { base, replaces } => {
                self.base = base;
                self.deltas.drain(..replaces);
                self.compacting = false;
                Ok(())
            }
            Job::NotCompacted => {
                self.compacting = false;
                Ok(())
            }
        }
    }

    fn chunk(&mut self, worker: usize, chunk: Chunk) -> Result<(), SnapshotError> {
        self.began.get_or_insert_with(Instant::now);
        let name = || Rolling::new(format!("delta-{:020}-{worker}", chunk.epoch.0));
        let block = Block { operator: chunk.operator, state: chunk.state, entries: chunk.entries };
        let files = self.open.entry(worker).or_insert_with(name);
        files.add(&self.store, &block);
        if files.is_full() {
            until_taken(&self.store, &self.shared, |store| files.flush(store))?;
        }
        Ok(())
    }

    fn finish(&mut self, worker: usize, epoch: Epoch) -> Result<(), SnapshotError> {
        // A worker on which nothing changed has opened none.
        let mut files = Vec::new();
        if let Some(mut open) = self.open.remove(&worker) {
            until_taken(&self.store, &self.shared, |store| open.flush(store))?;
            files = open.files();
        }
        let mut done = self.done.files.lock().unwrap_or_else(PoisonError::into_inner);
        done.push(FileDone { worker, epoch, files });
        drop(done);
        self.done.wake();
        Ok(())
    }

    fn publish(&mut self, mut manifest: Manifest, files: Vec<FileRef>) -> Result<(), SnapshotError> {
        let bytes: u64 = files.iter().map(|file| file.bytes).sum();
        self.deltas.extend(files);
        manifest.base = self.base.clone();
        manifest.deltas = self.deltas.clone();
        until_taken(&self.store, &self.shared, |store| store.publish(&manifest))?;
        let ms = self.began.take().map_or(0, |began| began.elapsed().as_millis() as u64);
        self.shared.snapshot.store(manifest.epoch.0, Ordering::Relaxed);
        self.shared.snapshot_bytes.store(bytes, Ordering::Relaxed);
        self.shared.snapshot_ms.store(ms, Ordering::Relaxed);
        self.done.published.lock().unwrap_or_else(PoisonError::into_inner).push(manifest.epoch);
        self.done.wake();
        self.tidy_up(manifest.epoch);
        Ok(())
    }

    /// Neither garbage nor a compaction may stop a run: what fails is tried again after the next snapshot.
    fn tidy_up(&mut self, epoch: Epoch) {
        if self.compacting {
            return; // its files and those it reads must stay
        }
        let in_use: BTreeSet<String> =
            self.base.iter().chain(&self.deltas).map(|file| file.path.clone()).collect();
        if let Err(error) = self.store.collect_garbage(&in_use) {
            tracing::warn!(%error, "old snapshot files were not collected");
        }
        if compact::is_due(&self.base, &self.deltas) {
            self.compacting = true;
            let files: Vec<FileRef> = self.base.iter().chain(&self.deltas).cloned().collect();
            let (store, jobs, replaces) = (self.store.clone(), self.jobs.clone(), self.deltas.len());
            std::thread::spawn(move || {
                stand_back();
                let done = match compact::compact(&store, &files, epoch) {
                    Ok(base) => Job::Compacted { base, replaces },
                    Err(error) => {
                        tracing::warn!(%error, "snapshots were not compacted");
                        Job::NotCompacted
                    }
                };
                // A run that has ended needs no base.
                let _ = jobs.send(done);
            });
        }
    }
}

/// Writes until the store takes it, if the run can go on meanwhile and isn't about to end.
fn until_taken<T>(
    store: &SnapshotStore,
    shared: &Shared,
    mut write: impl FnMut(&SnapshotStore) -> Result<T, SnapshotError>,
) -> Result<T, SnapshotError> {
    let ending = || shared.stopping() || shared.failed() || shared.closed();
    let mut pause = PAUSE_FIRST;
    loop {
        // Asked before: whoever is told to stop in the meantime still has one more try.
        let last = !store.is_apart() || ending();
        match write(store) {
            Err(error) if !last => {
                shared.snapshot_retries.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    %error,
                    "a snapshot waits for its store, and is tried again; the run goes on: free space there, or mend access to it"
                );
                let until = Instant::now() + pause;
                while Instant::now() < until && !ending() {
                    std::thread::sleep(Duration::from_millis(50));
                }
                pause = (pause * 2).min(PAUSE_MAX);
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Generation;
    use object_store::memory::InMemory;

    /// Writes that are refused so many times; how many were counted, and what came of it.
    fn check(apart: bool, refused: u64, stopped_at: Option<u64>, expected: (u64, bool)) {
        let shared = Shared::default();
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store = if apart {
            SnapshotStore::new(Arc::new(InMemory::new())).expect("a store")
        } else {
            SnapshotStore::local(dir.path()).expect("a store")
        };
        let mut calls = 0;
        let written = until_taken(&store.for_generation(Generation(1)), &shared, |_| {
            calls += 1;
            if stopped_at == Some(calls) {
                shared.stop();
            }
            if calls > refused { Ok(()) } else { Err(std::io::Error::other("full").into()) }
        });
        let counted = shared.snapshot_retries.load(Ordering::Relaxed);
        assert_eq!((counted, written.is_ok()), expected, "{apart} {refused} {stopped_at:?}");
    }

    #[test]
    fn a_store_apart_is_asked_again_and_a_folder_is_not() {
        check(true, 0, None, (0, true));
        check(true, 3, None, (3, true));
        check(false, 1, None, (0, false));
    }

    #[test]
    fn a_run_that_ends_tries_once_more_and_waits_no_longer() {
        check(true, 1, Some(1), (1, true));
        check(true, u64::MAX, Some(2), (2, false));
    }
}
