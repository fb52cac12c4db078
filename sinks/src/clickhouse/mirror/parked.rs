//! What parks a table, and tries it again: after a pause that doubles, and after each start.
//!
//! A table that was parked with a batch sends that first, under the tokens it had, and then its topic goes on. One without is on
//! trial: its topic is read again, and whatever comes of that decides. Where an operator has dropped the table and its
//! rows in `mirror_progress`, it begins anew with what its topic holds.

use super::ddl::Columns;
use super::fault::{Failure, of_table, of_topic};
use super::gather::{Taken, clock_ms};
use super::names::table_of;
use super::park::Whose;
use super::state::{MirrorState, Parked, Table};
use super::topics::GONE;
use super::work::{Open, Work, write};
use runtime::killpoint;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// How long a table that was mended waits at most.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Whose turn it is to be tried again.
#[derive(Debug, Default)]
pub(super) struct Turns {
    next: BTreeMap<String, (Instant, Duration)>,
    /// Parked without a batch, and read again.
    trial: BTreeSet<String>,
    /// Topics that can't be opened: their tables are parked.
    pub shut: BTreeSet<String>,
    /// A table was parked in this step: what was read of it is to be read again.
    pub changed: bool,
}

impl Turns {
    /// Tried, in vain.
    fn put_off(&mut self, topic: &str, now: Instant) {
        let pause = self.next.get(topic).map_or(PAUSE_FIRST, |(_, pause)| (*pause * 2).min(PAUSE_MAX));
        self.next.insert(topic.to_owned(), (now + pause, pause));
        self.trial.remove(topic);
        self.changed = true;
    }

    fn cured(&mut self, topic: &str) {
        self.next.remove(topic);
        self.trial.remove(topic);
    }

    fn is_due(&self, topic: &str, now: Instant) -> bool {
        !self.trial.contains(topic) && self.next.get(topic).is_none_or(|(at, _)| *at <= now)
    }

    /// Topics that may be opened again by now.
    pub fn shut_and_due(&self, now: Instant) -> Vec<String> {
        self.shut.iter().filter(|topic| self.is_due(topic, now)).cloned().collect()
    }

    /// Everything is asked anew: nobody is on trial, and every topic is tried.
    pub fn restart(&mut self) {
        self.trial.clear();
        self.shut.clear();
        self.changed = false;
    }
}

impl Work {
    /// Takes a table aside.
    pub(super) fn park(&mut self, state: &mut MirrorState, topic: &str, reason: &str) -> Result<(), Failure> {
        let known = state.parked.get(topic).is_some_and(|parked| parked.reason == reason);
        let news = state.park(topic, reason, clock_ms());
        self.turns.put_off(topic, Instant::now());
        if !known {
            tracing::error!(
                topic,
                reason,
                "this table is parked: nothing more of it is mirrored into ClickHouse until that is mended, then it goes on by \
                 itself from where it was, within a minute; the other tables go on"
            );
        }
        self.status.change(|figures| {
            figures.retries += 1;
            figures.parked = state.parked.len() as u64;
        });
        if news {
            killpoint::reach("mirror.before_park");
            write(self.store.as_mut(), state)?;
            killpoint::reach("mirror.after_park");
        }
        Ok(())
    }

    /// It has gone on.
    pub(super) fn cured(&mut self, state: &mut MirrorState, topic: &str) {
        self.turns.cured(topic);
        if state.parked.remove(topic).is_some() {
            tracing::info!(topic, "a parked table goes on");
        }
    }

    /// Brings one table and its view to what they are to be. Whoever has been replaced changes no table any more.
    pub(super) fn bring_up(&mut self, topic: &str, table: &Table, there: &Columns) -> Result<(), Failure> {
        let statements = self.plan().statements(topic, table, there);
        for statement in statements.map_err(|error| of_table(topic, error))? {
            self.store.check()?;
            let run = self.ddl().run(statement.doing, &statement.sql);
            run.map_err(|error| of_table(topic, error))?;
        }
        Ok(())
    }

    /// Tries those again whose turn it is, and reads what isn't parked, or is on trial.
    pub(super) fn retry_parked(&mut self, open: &mut Open) -> Result<(), Failure> {
        let now = Instant::now();
        let is_due = |(topic, parked): &(&String, &Parked)| {
            let can_be_tried = open.gather.topics().contains(topic) || parked.reason == GONE;
            can_be_tried && self.turns.is_due(topic, now)
        };
        let due = open.state.parked.iter().filter(is_due).map(|(topic, _)| topic.clone());
        let due: Vec<String> = due.collect();
        if !due.is_empty() {
            let known = self.heal(&mut open.state)?;
            let there = self.ddl().columns()?;
            for topic in due {
                if !there.contains_key(&table_of(&topic)) && !known.contains(&topic) {
                    forget(&mut open.state, &topic);
                }
                if !open.gather.topics().contains(&topic) {
                    // Its topic is gone: there is nothing to try.
                    self.turns.put_off(&topic, now);
                    continue;
                }
                let tried = self.retry(open, &topic, &there);
                self.spare(&mut open.state, tried)?;
            }
            open.gather.restart(&open.state);
            self.turns.changed = false;
        }
        let held = open.state.parked.keys().filter(|topic| !self.turns.trial.contains(*topic));
        open.gather.hold(held.cloned().collect());
        Ok(())
    }

    fn retry(&mut self, open: &mut Open, topic: &str, there: &Columns) -> Result<(), Failure> {
        if let Some(table) = open.state.tables.get(topic).cloned() {
            self.bring_up(topic, &table, there)?;
        }
        let whose = Whose::Parked(topic);
        let Some((_, batch)) = open.state.recorded(whose) else {
            self.turns.trial.insert(topic.to_owned());
            return Ok(());
        };
        let ranges = batch.ranges.clone();
        // Only the first attempt's rows are looked for after they were sent: a later one needs a token never used.
        if batch.attempt > 1 {
            self.raise(&mut open.state, whose)?;
        }
        let again = ranges.iter().map(|range| open.gather.read_again(range));
        let taken: Vec<Taken> = again.collect::<Result<_, _>>().map_err(|error| of_topic(topic, error))?;
        self.status.change(|figures| figures.resent += 1);
        self.deliver(&mut open.state, whose, taken, true)
    }

    /// Those on trial of which nothing came, not even a fault, are cured.
    pub(super) fn acquit(&mut self, state: &mut MirrorState, taken: &[Taken]) -> Result<(), Failure> {
        let is_in = |topic: &String| taken.iter().any(|taken| taken.range.topic == *topic);
        let acquitted: Vec<String> = self.turns.trial.iter().filter(|topic| !is_in(topic)).cloned().collect();
        if acquitted.is_empty() {
            return Ok(());
        }
        acquitted.iter().for_each(|topic| self.cured(state, topic));
        write(self.store.as_mut(), state)
    }
}

/// Nobody has anything of it any more: it begins anew.
fn forget(state: &mut MirrorState, topic: &str) {
    state.give_up(topic);
    state.tables.remove(topic);
    state.positions.remove(topic);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_tried_again_after_pauses_that_double_up_to_a_minute() {
        let (mut turns, mut now, mut pauses) = (Turns::default(), Instant::now(), Vec::new());
        assert!(turns.is_due("t", now), "at once after a start");
        for _ in 0..8 {
            turns.put_off("t", now);
            assert!(!turns.is_due("t", now));
            let (at, pause) = turns.next["t"];
            pauses.push(pause.as_secs());
            now = at;
            assert!(turns.is_due("t", now));
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        turns.trial.insert("t".to_owned());
        assert!(!turns.is_due("t", now), "it is being tried");
        turns.cured("t");
        turns.put_off("t", now);
        assert_eq!(turns.next["t"].1, PAUSE_FIRST, "the next fault is a new one");
    }

    #[test]
    fn a_table_that_was_dropped_with_its_progress_begins_anew() {
        let mut state = MirrorState::default();
        state.positions.entry("t".to_owned()).or_default().insert(0, Default::default());
        state.park("t", "the key changed", 1);
        forget(&mut state, "t");
        assert!(state.positions.is_empty() && state.tables.is_empty());
        assert!(state.parked.contains_key("t"), "until it is found to go on");
    }
}
