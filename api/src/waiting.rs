//! Who waits for what becomes of a command, and what it is told.
//!
//! ```text
//!   expect ─ append ─ placed ─┬─ a fact or a dead letter about it ──────> Word::Said
//!                             └─ its epoch is decided, and none came ───> Word::Silence, once; it may go on waiting
//! ```
//!
//! A waiter is registered under its command before the command is appended, and told its place afterwards: so
//! a decision that comes first is kept for it.
//!
//! Silence is known once the decided part of the record's partition ends behind the record, and every fact up to the
//! epoch at which that was so was told. It doesn't mean that nothing will come of the command: one that waits for a row
//! or for its order is decided in a later epoch. Who is told of silence looks at what the command speaks of.

use crate::backend::{Place, Told};
use schemas::facts::{Cause, DeadLetter};
use schemas::{Fact, Text};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Dead letters that are kept for waiters who learn their place a moment later.
const LETTERS_KEPT: usize = 1_024;

/// What became of a command.
#[derive(Clone, Debug)]
pub enum Decision {
    Fact {
        epoch: u64,
        fact: Fact,
    },
    DeadLetter {
        epoch: u64,
        letter: Arc<DeadLetter>,
    },
    /// Nothing: what it speaks of stands as before, as of `epoch`.
    Unchanged {
        epoch: u64,
        row: serde_json::Value,
    },
}

/// What a waiter hears.
#[derive(Debug)]
pub enum Word {
    Said(Decision),
    /// The record's epoch is decided, and nothing was said of it up to now.
    Silence,
}

struct Waiter {
    /// Known once the command is appended.
    place: Option<Place>,
    /// Decisions about the command that came before its place was known.
    early: Vec<(Place, Decision)>,
    tell: Option<oneshot::Sender<Decision>>,
    /// The epoch up to which everything has to be told before silence means something, once it is known.
    decided: Option<u64>,
    silence: Option<oneshot::Sender<()>>,
}

/// Everybody who waits. See the module.
#[derive(Default)]
pub struct Waiters {
    /// By tenant and command.
    waiting: HashMap<(Text, Text), Vec<(u64, Waiter)>>,
    letters: Vec<(Place, Decision)>,
    next: u64,
    /// Decided ends of partitions as they were told together with facts.
    ends: HashMap<(&'static str, u32), u64>,
    /// The epoch as of which the ends are.
    decided: u64,
    /// The epoch up to which facts were told.
    through: u64,
}

/// What is to be told, once nobody is held up by it.
#[derive(Default)]
pub struct Ready {
    decisions: Vec<(oneshot::Sender<Decision>, Decision)>,
    silences: Vec<oneshot::Sender<()>>,
}

impl Ready {
    /// Tells it. A client that has left will ask again.
    pub fn tell(self) {
        for (tell, decision) in self.decisions {
            let _ = tell.send(decision);
        }
        for silence in self.silences {
            let _ = silence.send(());
        }
    }
}

impl Waiters {
    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes what is decided: facts up to `through`, and ends of partitions as of `decided`. What is to be told.
    pub fn hear<'a>(
        &mut self,
        facts: impl DoubleEndedIterator<Item = &'a Told>,
        ends: &[(String, u32, u64)],
        decided: u64,
        through: u64,
    ) -> Ready {
        let mut ready = Ready::default();
        // The last word of an epoch counts: an order may be held and confirmed in one.
        for told in facts.rev() {
            if let Fact::DeadLetter(letter) = &told.fact {
                let Some(place) = place_of_letter(letter) else { continue };
                let decision =
                    Decision::DeadLetter { epoch: told.epoch, letter: Arc::new((**letter).clone()) };
                self.letter(place, decision, &mut ready);
            } else if let Fact::Order(fact) = &told.fact {
                let decision = || Decision::Fact { epoch: told.epoch, fact: told.fact.clone() };
                self.fact(&fact.tenant, &fact.cause, decision, &mut ready);
            } else if let Fact::Draw(fact) = &told.fact {
                let decision = || Decision::Fact { epoch: told.epoch, fact: told.fact.clone() };
                self.fact(&fact.tenant, &fact.cause, decision, &mut ready);
            }
        }
        for (topic, partition, end) in ends {
            let Some(topic) = crate::commands::topic(topic) else { continue };
            let known = self.ends.entry((topic, *partition)).or_default();
            *known = (*known).max(*end);
        }
        (self.decided, self.through) = (self.decided.max(decided), self.through.max(through));
        for (_, waiter) in self.waiting.values_mut().flatten() {
            ready.silences.extend(waiter.silent(&self.ends, self.decided, self.through));
        }
        ready
    }

    fn fact(&mut self, tenant: &Text, cause: &Cause, decision: impl Fn() -> Decision, ready: &mut Ready) {
        if self.waiting.is_empty() {
            return;
        }
        let Some(waiting) = self.waiting.get_mut(&(tenant.clone(), cause.command_id.clone())) else { return };
        for (_, waiter) in waiting {
            match waiter.place {
                Some(place) if is_at(&place, cause) => {
                    ready.decisions.extend(waiter.tell.take().map(|tell| (tell, decision())));
                }
                Some(_) => {}
                None => waiter.early.extend(place_of(cause).map(|place| (place, decision()))),
            }
        }
    }

    fn letter(&mut self, place: Place, decision: Decision, ready: &mut Ready) {
        for (_, waiter) in self.waiting.values_mut().flatten() {
            if waiter.place == Some(place) {
                ready.decisions.extend(waiter.tell.take().map(|tell| (tell, decision.clone())));
            }
        }
        if self.letters.len() >= LETTERS_KEPT {
            self.letters.drain(..LETTERS_KEPT / 2);
        }
        self.letters.push((place, decision));
    }
}

impl Waiter {
    /// Whom to tell that nothing was said of its command, if that is known now.
    fn silent(
        &mut self,
        ends: &HashMap<(&'static str, u32), u64>,
        decided: u64,
        through: u64,
    ) -> Option<oneshot::Sender<()>> {
        // Who has its decision needs no silence.
        if self.tell.is_none() || self.silence.is_none() {
            return None;
        }
        if self.decided.is_none() {
            let place = self.place?;
            let end = ends.get(&(place.topic, place.partition))?;
            self.decided = (*end > place.offset).then_some(decided);
        }
        self.decided.filter(|decided| *decided <= through).and_then(|_| self.silence.take())
    }
}

/// A place in the queue for a command's decision; given up when dropped.
pub struct Waiting {
    waiters: Arc<Mutex<Waiters>>,
    command: (Text, Text),
    number: u64,
    told: oneshot::Receiver<Decision>,
    silence: oneshot::Receiver<()>,
}

impl Waiting {
    /// Takes a place, before the command is appended.
    pub fn begin(waiters: &Arc<Mutex<Waiters>>, tenant: &Text, command_id: &Text) -> Waiting {
        let (tell, told) = oneshot::channel();
        let (silent, silence) = oneshot::channel();
        let command = (tenant.clone(), command_id.clone());
        let mut all = lock(waiters);
        all.next += 1;
        let number = all.next;
        let waiter =
            Waiter { place: None, early: Vec::new(), tell: Some(tell), decided: None, silence: Some(silent) };
        all.waiting.entry(command.clone()).or_default().push((number, waiter));
        drop(all);
        Waiting { waiters: Arc::clone(waiters), command, number, told, silence }
    }

    /// Where the command lies: decisions about it that came already count from now on.
    pub fn placed(&self, place: Place) {
        let mut all = lock(&self.waiters);
        let Waiters { waiting, letters, ends, decided, through, .. } = &mut *all;
        let letter = letters.iter().find(|(at, _)| *at == place).map(|(_, letter)| letter.clone());
        let Some(waiting) = waiting.get_mut(&self.command) else { return };
        let Some((_, waiter)) = waiting.iter_mut().find(|(number, _)| *number == self.number) else { return };
        waiter.place = Some(place);
        let early = std::mem::take(&mut waiter.early).into_iter().find(|(at, _)| *at == place);
        let mut ready = Ready::default();
        if let Some(decision) = early.map(|(_, decision)| decision).or(letter) {
            ready.decisions.extend(waiter.tell.take().map(|tell| (tell, decision)));
        }
        ready.silences.extend(waiter.silent(ends, *decided, *through));
        // The receivers are this very object's.
        ready.tell();
    }

    /// What is said of the command, or that nothing was. To be asked again after silence, and then waits for what is said.
    pub async fn word(&mut self) -> Option<Word> {
        tokio::select! {
            biased;
            said = &mut self.told => said.ok().map(Word::Said),
            Ok(()) = &mut self.silence, if !self.silence.is_terminated() => Some(Word::Silence),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut all = lock(&self.waiters);
        if let Some(waiting) = all.waiting.get_mut(&self.command) {
            waiting.retain(|(number, _)| *number != self.number);
            if waiting.is_empty() {
                all.waiting.remove(&self.command);
            }
        }
    }
}

fn lock(waiters: &Mutex<Waiters>) -> MutexGuard<'_, Waiters> {
    waiters.lock().unwrap_or_else(PoisonError::into_inner)
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
