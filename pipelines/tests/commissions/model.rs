//! Commission statements by a plain program: no increments, no steps, no dataflow. Written from the rules
//! alone; it shares no arithmetic with the operators.

use std::collections::{BTreeMap, BTreeSet};

/// Partner, currency, kind, month.
pub type Key = (u8, u8, u8, u8);

/// What happens, one thing after the other. Everything is of one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Negative: the refund of such a sale.
    Trade(Key, i64),
    /// Plan, currency, kind, month from which it is good, floor; absent: the row is deleted.
    Rate(RateKey, Option<i32>),
    /// Two rows at once: one goes, the other comes.
    MoveRate(RateKey, RateKey, i32),
    Plan(u8, Option<u8>),
    Period(u8, bool),
}

pub type RateKey = (u8, u8, u8, u8, i64);

/// Base, commission, adjustment, closed.
pub type Row = (i128, i128, i128, bool);

#[derive(Default)]
struct World {
    trades: Vec<(Key, i64)>,
    rates: BTreeMap<RateKey, i32>,
    plans: BTreeMap<u8, u8>,
    closed: BTreeSet<u8>,
}

impl World {
    fn base(&self, key: Key) -> i128 {
        self.trades.iter().filter(|(of, _)| *of == key).map(|(_, amount)| i128::from(*amount)).sum()
    }

    /// All of it anew, from every trade there was.
    fn computed(&self, key: Key) -> i128 {
        let (partner, currency, kind, month) = key;
        let Some(plan) = self.plans.get(&partner) else { return 0 };
        let good = |(rate, _): &(&RateKey, &i32)| {
            (rate.0, rate.1, rate.2) == (*plan, currency, kind) && rate.3 <= month
        };
        let Some(newest) = self.rates.iter().filter(good).map(|(rate, _)| rate.3).max() else { return 0 };
        let mut tiers: Vec<(i128, i128)> = self
            .rates
            .iter()
            .filter(good)
            .filter(|(rate, _)| rate.3 == newest)
            .map(|(rate, bps)| (i128::from(rate.4), i128::from(*bps)))
            .collect();
        tiers.sort_unstable();
        // From the top: what lies above a floor and is not paid for yet.
        let (mut parts, mut left) = (0, self.base(key));
        for (floor, bps) in tiers.into_iter().rev() {
            if left > floor {
                parts += (left - floor) * bps;
                left = floor;
            }
        }
        let (down, twice) = (parts / 10_000, parts % 10_000 * 2);
        if twice > 10_000 || (twice == 10_000 && down % 2 == 1) { down + 1 } else { down }
    }

    fn first_open(&self, from: u8) -> u8 {
        (from..).find(|month| !self.closed.contains(month)).expect("months go on")
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Trade(key, amount) => self.trades.push((*key, *amount)),
            Event::Rate(key, Some(bps)) => drop(self.rates.insert(*key, *bps)),
            Event::Rate(key, None) => drop(self.rates.remove(key)),
            Event::MoveRate(old, new, bps) => {
                self.rates.remove(old);
                self.rates.insert(*new, *bps);
            }
            Event::Plan(partner, Some(plan)) => drop(self.plans.insert(*partner, *plan)),
            Event::Plan(partner, None) => drop(self.plans.remove(partner)),
            Event::Period(month, true) => drop(self.closed.insert(*month)),
            Event::Period(month, false) => drop(self.closed.remove(month)),
        }
    }
}

/// The statements after each of the events.
pub fn after_each(events: &[Event]) -> Vec<BTreeMap<Key, Row>> {
    let mut world = World::default();
    let mut rows: BTreeMap<Key, Row> = BTreeMap::new();
    let mut each = Vec::new();
    for event in events {
        let before: BTreeMap<Key, i128> = rows.keys().map(|key| (*key, world.computed(*key))).collect();
        let reopened = matches!(event, Event::Period(month, false) if world.closed.contains(month));
        world.apply(event);
        if let Event::Trade(key, _) = event {
            rows.entry(*key).or_default();
            let target = (key.0, key.1, key.2, world.first_open(key.3));
            rows.entry(target).or_default();
        }
        for key in rows.keys().copied().collect::<Vec<_>>() {
            let computed = world.computed(key);
            let closed = world.closed.contains(&key.3);
            let row = rows.get_mut(&key).unwrap();
            (row.0, row.3) = (world.base(key), closed);
            if !closed {
                if reopened && *event == Event::Period(key.3, false) {
                    row.2 -= computed - row.1;
                }
                row.1 = computed;
                continue;
            }
            let effect = computed - before.get(&key).copied().unwrap_or_default();
            if effect != 0 {
                let target = (key.0, key.1, key.2, world.first_open(key.3));
                rows.entry(target).or_default().2 += effect;
            }
        }
        each.push(rows.clone());
    }
    each
}
