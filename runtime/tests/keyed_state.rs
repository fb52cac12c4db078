//! A keyed state under any mixture of changes and snapshots: what snapshots hold, oldest first, is the state
//! as of the last freeze, and what it answers is what a plain map answers.

use proptest::prelude::*;
use runtime::{Entries, KeyedState, State};
use std::collections::BTreeMap;

/// Few keys, so that they are removed, put back and changed while a snapshot is being written.
#[derive(Clone, Debug)]
enum Step {
    Insert(u16, u32),
    Change(u16, u32),
    Remove(u16),
    Freeze,
    Write(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..40u16;
    prop_oneof![
        4 => (key(), any::<u32>()).prop_map(|(key, value)| Step::Insert(key, value)),
        4 => (key(), any::<u32>()).prop_map(|(key, value)| Step::Change(key, value)),
        3 => key().prop_map(Step::Remove),
        1 => Just(Step::Freeze),
        3 => (1..12usize).prop_map(Step::Write),
    ]
}

type Plain = BTreeMap<u16, u32>;

struct Trial {
    state: KeyedState<u16, u32>,
    plain: Plain,
    /// What snapshots hold, oldest first, and what the last one must come to.
    written: Entries,
    frozen: Option<Plain>,
}

fn empty() -> KeyedState<u16, u32> {
    KeyedState::new("trial.v1", |key| (*key % 16) as u8)
}

fn contents(state: &KeyedState<u16, u32>) -> Plain {
    state.iter().map(|(key, value)| (*key, *value)).collect()
}

impl Trial {
    fn take(&mut self, step: &Step) {
        match *step {
            Step::Insert(key, value) => {
                self.state.insert(key, value);
                self.plain.insert(key, value);
            }
            Step::Change(key, value) => {
                let (ours, theirs) = (self.state.get_mut(&key), self.plain.get_mut(&key));
                assert_eq!(ours.is_some(), theirs.is_some());
                ours.into_iter().chain(theirs).for_each(|at| *at = value);
            }
            Step::Remove(key) => assert_eq!(self.state.remove(&key), self.plain.remove(&key)),
            Step::Freeze => {
                self.write(usize::MAX);
                self.state.freeze();
                self.frozen = Some(self.plain.clone());
            }
            Step::Write(budget) => self.write(budget),
        }
        assert_eq!(self.state.len(), self.plain.len());
        assert_eq!(contents(&self.state), self.plain);
    }

    /// Goes on with the snapshot; once it is whole, all of them together must come to what was frozen.
    fn write(&mut self, budget: usize) {
        if self.frozen.is_some() && self.state.write_slice(budget, &mut self.written) {
            let mut restored = empty();
            self.written
                .iter()
                .for_each(|entry| restored.load(&entry.expect("packed")).expect("it was written so"));
            assert_eq!(Some(contents(&restored)), self.frozen.take());
            assert_eq!(restored.len(), restored.iter().count());
        }
    }
}

proptest! {
    #[test]
    fn snapshots_hold_the_state_as_of_their_freeze(steps in prop::collection::vec(step(), 1..300)) {
        let mut trial = Trial { state: empty(), plain: Plain::new(), written: Entries::default(), frozen: None };
        steps.iter().for_each(|step| trial.take(step));
        trial.write(usize::MAX);
    }
}

#[test]
fn thousands_of_keys_are_found_after_the_index_has_grown() {
    let mut state = KeyedState::new("trial.v1", |key: &u64| (*key % 16) as u8);
    (0..20_000u64).for_each(|key| state.insert(key << 32, key));
    (0..20_000u64).step_by(2).for_each(|key| assert_eq!(state.remove(&(key << 32)), Some(key)));
    assert!((0..20_000u64).all(|key| state.get(&(key << 32)).copied() == (key % 2 == 1).then_some(key)));
}

#[test]
fn a_key_that_comes_and_goes_between_two_snapshots_is_in_none() {
    let (mut state, mut written) = (empty(), Entries::default());
    for key in 0..1_000 {
        state.insert(key, 7);
        assert_eq!(state.remove(&key), Some(7));
    }
    state.insert(5, 8);
    state.freeze();
    while !state.write_slice(10, &mut written) {}
    assert_eq!(written.len(), 1);
    state.remove(&5);
    state.freeze();
    while !state.write_slice(10, &mut written) {}
    assert!(written.unpack().unwrap()[1].value.is_none(), "a key that a snapshot has is unsaid");
}
