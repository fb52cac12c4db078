//! Turns at drawing: results that are news go before those that are only kept.
//!
//! ```text
//!   image of a fresh result ─ lane of the fresh ─┐
//!                                                ├─> a free turn: the fresh first, but for one old in five
//!   image of an old one ───── lane of the old ───┘
//! ```
//!
//! Drawing is work for the processor, so few draw at a time; a year of old results (a backfill, a new template) would hold
//! up the one that people wait for. Within a lane it is first come, first served. While there are fresh ones, every
//! fifth turn is an old one's, so those go on, too; a turn is never kept free. What is drawn follows from the facts alone: the
//! lanes only say when. Nothing of it survives a crash: what was left is queued anew.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Fresh ones in a row while an old one waits.
const FRESH_IN_A_ROW_MAX: usize = 4;

/// Which results an image is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Those that are posted.
    Fresh,
    /// Those that are stored and drawn only.
    Old,
}

#[derive(Debug, Default)]
struct Waiting {
    free: usize,
    fresh: VecDeque<oneshot::Sender<Turn>>,
    old: VecDeque<oneshot::Sender<Turn>>,
    /// Turns given to fresh ones since the last one of an old one.
    fresh_in_a_row: usize,
}

/// See the module. Clones share the turns.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Mutex<Waiting>>);

/// One's turn; given back when dropped.
#[derive(Debug)]
pub struct Turn(Turns);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.lock().free += 1;
        self.0.give();
    }
}

/// Whose turn it is; nobody's where nobody waits.
fn next(fresh_waits: bool, old_waits: bool, fresh_in_a_row: usize) -> Option<Lane> {
    match (fresh_waits, old_waits) {
        (true, true) if fresh_in_a_row >= FRESH_IN_A_ROW_MAX => Some(Lane::Old),
        (true, _) => Some(Lane::Fresh),
        (false, true) => Some(Lane::Old),
        (false, false) => None,
    }
}

impl Waiting {
    /// Takes the next of those who still want one, if a turn is free.
    fn take(&mut self) -> Option<oneshot::Sender<Turn>> {
        if self.free == 0 {
            return None;
        }
        for lane in [&mut self.fresh, &mut self.old] {
            while lane.front().is_some_and(oneshot::Sender::is_closed) {
                lane.pop_front();
            }
        }
        let lane = next(!self.fresh.is_empty(), !self.old.is_empty(), self.fresh_in_a_row)?;
        self.free -= 1;
        match lane {
            Lane::Fresh => {
                self.fresh_in_a_row = if self.old.is_empty() { 0 } else { self.fresh_in_a_row + 1 };
                self.fresh.pop_front()
            }
            Lane::Old => {
                self.fresh_in_a_row = 0;
                self.old.pop_front()
            }
        }
    }
}

impl Turns {
    /// So many at a time.
    pub fn new(count: usize) -> Turns {
        Turns(Arc::new(Mutex::new(Waiting { free: count, ..Waiting::default() })))
    }

    /// Waits for a turn.
    pub async fn turn(&self, lane: Lane) -> Turn {
        let (given, turn) = oneshot::channel();
        match lane {
            Lane::Fresh => self.lock().fresh.push_back(given),
            Lane::Old => self.lock().old.push_back(given),
        }
        self.give();
        turn.await.expect("whoever is queued is given a turn: the queue is dropped with the last handle only")
    }

    /// Gives free turns to those who wait.
    fn give(&self) {
        loop {
            let taken = self.lock().take();
            let Some(given) = taken else { return };
            // One that has just left gives it back.
            let _ = given.send(Turn(self.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Poll, Waker};
    use std::{future::Future, pin::Pin};

    type Asked = Pin<Box<dyn Future<Output = Turn>>>;

    fn ask(turns: &Turns, lane: Lane) -> Asked {
        let turns = turns.clone();
        Box::pin(async move { turns.turn(lane).await })
    }

    /// One turn. Letters queue: small ones are old, capital ones fresh; `-x` has whoever asked as `x` leave. Then turns are
    /// given back one by one: the order in which they came.
    fn check(script: &str, wanted: &str) {
        let turns = Turns::new(1);
        let mut busy = poll(&mut ask(&turns, Lane::Fresh));
        let mut asked: Vec<(char, Asked)> = Vec::new();
        for word in script.split_whitespace() {
            if let Some(gone) = word.strip_prefix('-') {
                asked.retain(|(name, _)| !gone.contains(*name));
                continue;
            }
            for name in word.chars() {
                let mut turn = ask(&turns, if name.is_uppercase() { Lane::Fresh } else { Lane::Old });
                assert!(poll(&mut turn).is_none(), "there is one turn");
                asked.push((name, turn));
            }
        }
        let mut order = String::new();
        while let Some(turn) = busy.take() {
            drop(turn);
            asked.retain_mut(|(name, turn)| match poll(turn) {
                Some(turn) => {
                    assert!(busy.replace(turn).is_none(), "there is one turn");
                    order.push(*name);
                    false
                }
                None => true,
            });
        }
        assert_eq!(order, wanted, "{script}");
    }

    fn poll(turn: &mut Asked) -> Option<Turn> {
        match turn.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    #[test]
    fn the_fresh_go_first_and_one_old_in_five_all_the_same() {
        check("abc", "abc");
        check("ABC", "ABC");
        check("abcA", "Aabc");
        check("abcABCDEFGHIJ", "ABCDaEFGHbIJc");
        check("ABCDEF a", "ABCDaEF");
    }

    #[test]
    fn who_has_left_takes_no_turn() {
        check("abcAB -Ab", "Bac");
        check("a -a", "");
    }
}
