//! What is decided, as one thread follows it, and everybody who waits for it.
//!
//! ```text
//!   Follow ─ facts, frontier ─> hub ─┬─ a waiter for each command whose client waits
//!                                    ├─ the frontier, for reads that want to see their own writes
//!                                    └─ events, for live clients: a ring that slow ones fall out of
//! ```
//!
//! A waiter is registered under its command before the command is appended, and told its place afterwards: so
//! a decision that comes first is kept for it. Nothing here survives a crash; a client asks again.
//!
//! While nobody waits and nobody listens, facts are not read at all, and the thread looks at the frontier now and then.
//! Whoever comes wakes it: a waiter is told of every epoch after its registration, and a live client learns where
//! its ring begins once facts are read again.

use crate::backend::{Backend, Follow, Frontier, Place, Positions, Step, Told};
use prometheus_client::metrics::counter::Counter;
use schemas::facts::{Cause, DeadLetter};
use schemas::{Fact, Text};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, oneshot, watch};

/// Facts a live client may be behind.
pub const BEHIND_MAX: usize = 16_384;
/// Dead letters that are kept for waiters who learn their place a moment later.
const LETTERS_KEPT: usize = 1_024;
/// How long one wait for the frontier lasts.
const WAIT: Duration = Duration::from_millis(100);
/// How long the frontier isn't looked at while nobody wants to know.
const UNATTENDED: Duration = Duration::from_millis(50);
/// How long facts are read on after the last one who wanted them: the next is likely to come soon.
const LINGER: Duration = Duration::from_secs(1);
/// How long a store that is away is left alone.
const AWAY: Duration = Duration::from_millis(500);

/// What became of a command.
#[derive(Clone, Debug)]
pub enum Decision {
    Fact { epoch: u64, fact: Fact },
    DeadLetter { epoch: u64, letter: Arc<DeadLetter> },
}

struct Waiter {
    /// Known once the command is appended.
    place: Option<Place>,
    /// Decisions about the command that came before its place was known.
    early: Vec<(Place, Decision)>,
    tell: Option<oneshot::Sender<Decision>>,
}

#[derive(Default)]
struct Waiters {
    /// By tenant and command.
    waiting: HashMap<(Text, Text), Vec<(u64, Waiter)>>,
    letters: Vec<(Place, Decision)>,
    next: u64,
}

/// What everybody looks at. See the module.
pub struct Decided {
    waiters: Mutex<Waiters>,
    ends: Mutex<HashMap<(String, u32), u64>>,
    frontier: watch::Sender<Frontier>,
    events: broadcast::Sender<Arc<News>>,
    /// Behind what was told; none while facts are passed over.
    head: Mutex<Option<Positions>>,
    /// Whether there is a head.
    telling: watch::Sender<bool>,
    /// Whether facts are followed: what is appended from then on is told of.
    open: watch::Sender<bool>,
    /// Clock of the last answer about the frontier.
    heard_at_ms: AtomicI64,
    live: AtomicUsize,
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

/// A place in the queue for a command's decision; given up when dropped.
pub struct Waiting {
    decided: Arc<Decided>,
    command: (Text, Text),
    number: u64,
    told: oneshot::Receiver<Decision>,
}

/// A live client's place; given up when dropped.
pub struct Seat(Arc<Decided>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::SeqCst);
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
            waiters: Mutex::default(),
            ends: Mutex::default(),
            frontier: watch::channel(Frontier::default()).0,
            events: broadcast::channel(BEHIND_MAX).0,
            head: Mutex::default(),
            telling: watch::channel(false).0,
            open: watch::channel(false).0,
            heard_at_ms: AtomicI64::new(crate::commands::clock_ms()),
            live: AtomicUsize::new(0),
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

    /// A place for one more live client, unless there are so many.
    pub fn seat(self: &Arc<Self>, max: usize) -> Option<Seat> {
        let seat = Seat(Arc::clone(self));
        (self.live.fetch_add(1, Ordering::SeqCst) < max).then_some(seat)
    }

    /// How many live clients there are.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::SeqCst)
    }

    /// How many requests wait for a decision.
    pub fn waiting(&self) -> usize {
        lock(&self.waiters).waiting.values().map(Vec::len).sum()
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
        self.events.receiver_count() > 0 || !lock(&self.waiters).waiting.is_empty()
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
        for (topic, partition, end) in &step.ends {
            self.note_end(topic, *partition, *end);
        }
        let events: Vec<Arc<News>> = step.facts.into_iter().map(News::new).map(Arc::new).collect();
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
        if step.frontier.epoch > 0 {
            self.frontier.send_replace(step.frontier);
        }
        // Last: whoever is told a decision finds everything else as far.
        self.tell_waiters(&events);
    }

    fn tell_waiters(&self, events: &[Arc<News>]) {
        let mut waiters = lock(&self.waiters);
        let mut ready: Vec<(oneshot::Sender<Decision>, Decision)> = Vec::new();
        // The last word of an epoch counts: an order may be held and confirmed in one.
        for told in events.iter().rev().map(|event| &event.told) {
            if let Fact::DeadLetter(letter) = &told.fact {
                let Some(place) = place_of_letter(letter) else { continue };
                let decision =
                    Decision::DeadLetter { epoch: told.epoch, letter: Arc::new((**letter).clone()) };
                waiters.letter(place, decision, &mut ready);
            } else if let Fact::Order(fact) = &told.fact {
                let decision = || Decision::Fact { epoch: told.epoch, fact: told.fact.clone() };
                waiters.fact(&fact.tenant, &fact.cause, decision, &mut ready);
            } else if let Fact::Draw(fact) = &told.fact {
                let decision = || Decision::Fact { epoch: told.epoch, fact: told.fact.clone() };
                waiters.fact(&fact.tenant, &fact.cause, decision, &mut ready);
            }
        }
        drop(waiters);
        for (tell, decision) in ready {
            // A client that has left will ask again.
            let _ = tell.send(decision);
        }
    }

    /// Takes a place in the queue for what becomes of a command, before it is appended.
    pub fn expect(self: &Arc<Self>, tenant: &Text, command_id: &Text) -> Waiting {
        let (tell, told) = oneshot::channel();
        let command = (tenant.clone(), command_id.clone());
        let mut waiters = lock(&self.waiters);
        waiters.next += 1;
        let number = waiters.next;
        let waiter = Waiter { place: None, early: Vec::new(), tell: Some(tell) };
        waiters.waiting.entry(command.clone()).or_default().push((number, waiter));
        drop(waiters);
        self.wake();
        Waiting { decided: Arc::clone(self), command, number, told }
    }
}

type Ready = Vec<(oneshot::Sender<Decision>, Decision)>;

impl Waiters {
    fn fact(&mut self, tenant: &Text, cause: &Cause, decision: impl Fn() -> Decision, ready: &mut Ready) {
        if self.waiting.is_empty() {
            return;
        }
        let Some(waiting) = self.waiting.get_mut(&(tenant.clone(), cause.command_id.clone())) else { return };
        for (_, waiter) in waiting {
            match waiter.place {
                Some(place) if is_at(&place, cause) => {
                    ready.extend(waiter.tell.take().map(|tell| (tell, decision())));
                }
                Some(_) => {}
                None => waiter.early.extend(place_of(cause).map(|place| (place, decision()))),
            }
        }
    }

    fn letter(&mut self, place: Place, decision: Decision, ready: &mut Ready) {
        for (_, waiter) in self.waiting.values_mut().flatten() {
            if waiter.place == Some(place) {
                ready.extend(waiter.tell.take().map(|tell| (tell, decision.clone())));
            }
        }
        if self.letters.len() >= LETTERS_KEPT {
            self.letters.drain(..LETTERS_KEPT / 2);
        }
        self.letters.push((place, decision));
    }
}

impl Waiting {
    /// Where the command lies: decisions about it that came already count from now on.
    pub fn placed(&self, place: Place) {
        let mut waiters = lock(&self.decided.waiters);
        let letter = waiters.letters.iter().find(|(at, _)| *at == place).map(|(_, letter)| letter.clone());
        let Some(waiting) = waiters.waiting.get_mut(&self.command) else { return };
        let Some((_, waiter)) = waiting.iter_mut().find(|(number, _)| *number == self.number) else { return };
        waiter.place = Some(place);
        let early = std::mem::take(&mut waiter.early).into_iter().find(|(at, _)| *at == place);
        if let Some(decision) = early.map(|(_, decision)| decision).or(letter)
            && let Some(tell) = waiter.tell.take()
        {
            // The receiver is this very object's.
            let _ = tell.send(decision);
        }
    }

    /// Waits for the decision, at most so long.
    pub async fn within(mut self, limit: Duration) -> Option<Decision> {
        tokio::time::timeout(limit, &mut self.told).await.ok()?.ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiters = lock(&self.decided.waiters);
        if let Some(waiting) = waiters.waiting.get_mut(&self.command) {
            waiting.retain(|(number, _)| *number != self.number);
            if waiting.is_empty() {
                waiters.waiting.remove(&self.command);
            }
        }
    }
}

fn is_at(place: &Place, cause: &Cause) -> bool {
    i64::try_from(place.offset) == Ok(cause.offset)
        && i32::try_from(place.partition) == Ok(cause.partition)
        && place.topic == cause.topic
}

fn place_of(cause: &Cause) -> Option<Place> {
    let topic = crate::commands::topic(&cause.topic)?;
    Some(Place {
        topic,
        partition: u32::try_from(cause.partition).ok()?,
        offset: u64::try_from(cause.offset).ok()?,
    })
}

fn place_of_letter(letter: &DeadLetter) -> Option<Place> {
    Some(Place {
        topic: crate::commands::topic(&letter.topic)?,
        partition: u32::try_from(letter.partition).ok()?,
        offset: u64::try_from(letter.offset).ok()?,
    })
}
