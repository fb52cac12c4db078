//! What is decided, as one thread follows it, and everybody who waits for it.
//!
//! ```text
//!   Follow ─ facts, frontier ─> hub ─┬─ a waiter for each command whose client waits
//!                                    ├─ the frontier, for reads that want to see their own writes
//!                                    └─ events, for live clients: a ring that slow ones fall out of
//! ```
//!
//! Who waits, and what it is told, is in [`crate::waiting`]. Nothing here survives a crash; a client asks again.
//!
//! While nobody waits and nobody listens, facts are not read at all, and the thread looks at the frontier now and then.
//! Whoever comes wakes it: a waiter is told of every epoch after its registration, and a live client learns where
//! its ring begins once facts are read again.

use crate::backend::{Backend, Follow, Frontier, Positions, Step, Told};
use crate::waiting::{Waiters, Waiting};
use prometheus_client::metrics::counter::Counter;
use schemas::Text;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, watch};

/// Facts a live client may be behind.
pub const BEHIND_MAX: usize = 16_384;
/// How long one wait for the frontier lasts.
const WAIT: Duration = Duration::from_millis(100);
/// How long the frontier isn't looked at while nobody wants to know.
const UNATTENDED: Duration = Duration::from_millis(50);
/// How long facts are read on after the last one who wanted them: the next is likely to come soon.
const LINGER: Duration = Duration::from_secs(1);
/// How long a store that is away is left alone.
const AWAY: Duration = Duration::from_millis(500);

/// What everybody looks at. See the module.
pub struct Decided {
    waiters: Arc<Mutex<Waiters>>,
    ends: Mutex<HashMap<(String, u32), u64>>,
    frontier: watch::Sender<Frontier>,
    /// Up to where those who wait were told everything.
    through: watch::Sender<u64>,
    events: broadcast::Sender<Arc<News>>,
    /// Behind what was told; none while facts are passed over.
    head: Mutex<Option<Positions>>,
    /// Whether there is a head.
    telling: watch::Sender<bool>,
    /// Whether facts are followed: what is appended from then on is told of.
    open: watch::Sender<bool>,
    /// Clock of the last answer about the frontier.
    heard_at_ms: AtomicI64,
    /// Where the frontier was when it was first asked for; nobody may have worked on it for a year.
    found: OnceLock<u64>,
    /// Whether it has moved since.
    moves: AtomicBool,
    stop: AtomicBool,
    thread: OnceLock<Thread>,
    counted: Counter,
}

/// What live clients share of a fact: it is written once for all of them.
#[derive(Debug)]
pub struct News {
    pub told: Told,
    json: OnceLock<String>,
}

impl News {
    /// Nobody has asked for its text yet.
    pub fn new(told: Told) -> News {
        News { told, json: OnceLock::new() }
    }

    /// Its text, made by the first who asks.
    pub fn json(&self, make: impl FnOnce(&Told) -> String) -> &str {
        self.json.get_or_init(|| make(&self.told))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Decided {
    /// Starts to follow, on a thread of its own.
    ///
    /// # Errors
    /// Where the system refuses a thread.
    pub fn start(backend: Arc<dyn Backend>, counted: Counter) -> std::io::Result<Arc<Decided>> {
        let decided = Arc::new(Decided {
            waiters: Arc::default(),
            ends: Mutex::default(),
            frontier: watch::channel(Frontier::default()).0,
            through: watch::channel(0).0,
            events: broadcast::channel(BEHIND_MAX).0,
            head: Mutex::default(),
            telling: watch::channel(false).0,
            open: watch::channel(false).0,
            heard_at_ms: AtomicI64::new(crate::commands::clock_ms()),
            found: OnceLock::new(),
            moves: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            thread: OnceLock::new(),
            counted,
        });
        let hub = Arc::clone(&decided);
        let thread = std::thread::Builder::new()
            .name("api-follow".to_owned())
            .spawn(move || hub.follow(backend.as_ref()))?;
        decided.thread.get_or_init(|| thread.thread().clone());
        Ok(decided)
    }

    /// Ends the thread.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Somebody wants to know.
    fn wake(&self) {
        self.thread.get().iter().for_each(|thread| thread.unpark());
    }

    /// Waits until facts are followed, at most so long. Whoever appends before that may miss the decision.
    pub async fn opened(&self, limit: Duration) -> bool {
        let mut open = self.open.subscribe();
        matches!(tokio::time::timeout(limit, open.wait_for(|open| *open)).await, Ok(Ok(_)))
    }

    /// Where the frontier is, or was a moment ago.
    pub fn standing(&self) -> Frontier {
        *self.frontier.borrow()
    }

    /// The frontier as it moves.
    pub fn frontier(&self) -> watch::Receiver<Frontier> {
        let frontier = self.frontier.subscribe();
        self.wake();
        frontier
    }

    /// The epoch up to which whoever waits was told everything, as it moves.
    pub fn through(&self) -> watch::Receiver<u64> {
        self.through.subscribe()
    }

    /// Events from now on, and where they begin; none where they can't be told in time.
    pub async fn subscribe(&self, limit: Duration) -> Option<(broadcast::Receiver<Arc<News>>, Positions)> {
        // From here on somebody listens.
        let _listening = self.events.subscribe();
        let mut telling = self.telling.subscribe();
        self.wake();
        let told = async {
            while telling.wait_for(|telling| *telling).await.is_ok() {
                if let Some(head) = &*lock(&self.head) {
                    return Some((self.events.subscribe(), head.clone()));
                }
            }
            None
        };
        tokio::time::timeout(limit, told).await.ok()?
    }

    /// Whether facts are read.
    pub fn is_telling(&self) -> bool {
        *self.telling.borrow()
    }

    /// How long nothing was heard of the frontier.
    pub fn silent_ms(&self) -> u64 {
        let silent_ms = crate::commands::clock_ms() - self.heard_at_ms.load(Ordering::SeqCst);
        u64::try_from(silent_ms).unwrap_or(0)
    }

    /// Whether the frontier was seen to move: somebody works on it, or did a moment ago.
    pub fn moves(&self) -> bool {
        self.moves.load(Ordering::SeqCst)
    }

    /// The decided end of a partition, where it is known.
    pub fn end(&self, topic: &str, partition: u32) -> Option<u64> {
        lock(&self.ends).get(&(topic.to_owned(), partition)).copied()
    }

    /// Notes that everything of a partition below `end` is decided.
    pub fn note_end(&self, topic: &str, partition: u32, end: u64) {
        let mut ends = lock(&self.ends);
        let known = ends.entry((topic.to_owned(), partition)).or_default();
        *known = (*known).max(end);
    }

    fn follow(&self, backend: &dyn Backend) {
        let mut follower: Option<Box<dyn Follow>> = None;
        let mut wanted_at = Instant::now();
        while !self.stop.load(Ordering::SeqCst) {
            let (wanted, watched) = (self.is_wanted(), self.frontier.receiver_count() > 0);
            if follower.is_some() && !wanted && !watched {
                std::thread::park_timeout(UNATTENDED);
            }
            if wanted {
                wanted_at = Instant::now();
            }
            let listening = || self.listening(wanted_at);
            let step = match follower.as_mut() {
                Some(follower) => follower.next(WAIT, &listening),
                None => backend.follow().map(|open| {
                    follower = Some(open);
                    self.open.send_replace(true);
                    Step::default()
                }),
            };
            match step {
                Ok(step) => self.tell(step, follower.as_deref()),
                Err(problem) => {
                    tracing::debug!(%problem, "what is decided can't be followed now");
                    std::thread::sleep(AWAY);
                }
            }
        }
    }

    fn is_wanted(&self) -> bool {
        self.events.receiver_count() > 0 || !lock(&self.waiters).is_empty()
    }

    /// Whether facts are to be told. Decided under the lock of the head: whoever subscribes finds one only where
    /// nothing behind it is passed over.
    fn listening(&self, wanted_at: Instant) -> bool {
        let mut head = lock(&self.head);
        let listening = self.is_wanted() || head.is_some() && wanted_at.elapsed() < LINGER;
        if !listening && head.take().is_some() {
            self.telling.send_replace(false);
        }
        listening
    }

    fn tell(&self, step: Step, follower: Option<&dyn Follow>) {
        self.heard_at_ms.store(crate::commands::clock_ms(), Ordering::SeqCst);
        let Step { frontier, facts, ends, decided } = step;
        for (topic, partition, end) in &ends {
            self.note_end(topic, *partition, *end);
        }
        let events: Vec<Arc<News>> = facts.into_iter().map(News::new).map(Arc::new).collect();
        self.counted.inc_by(events.len() as u64);
        if let Some(positions) = follower.and_then(Follow::positions) {
            let mut head = lock(&self.head);
            for event in &events {
                // Nobody may be listening.
                let _ = self.events.send(Arc::clone(event));
            }
            *head = Some(positions);
            self.telling.send_if_modified(|telling| !std::mem::replace(telling, true));
        }
        if decided > 0 && decided > *self.found.get_or_init(|| decided) {
            self.moves.store(true, Ordering::SeqCst);
        }
        if frontier.epoch > 0 {
            self.frontier.send_replace(frontier);
        }
        // Last: whoever is told a decision finds everything else as far.
        let told = events.iter().map(|event| &event.told);
        let ready = lock(&self.waiters).hear(told, &ends, decided, frontier.epoch);
        ready.tell();
        self.through.send_replace(frontier.epoch);
    }

    /// Takes a place in the queue for what becomes of a command, before it is appended.
    pub fn expect(&self, tenant: &Text, command_id: &Text) -> Waiting {
        let waiting = Waiting::begin(&self.waiters, tenant, command_id);
        self.wake();
        waiting
    }
}
