//! The straight loop: the workload's rules one after the other, one thread, hash maps, nothing else.

use super::csv::Lines;
use super::outcome::{Code, Decisions, Outcome};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::VecDeque;
use std::io;
use std::path::Path;

const WINDOW_MS: i64 = 60_000;
const HISTORY_MS: i64 = 180_000;
/// Earlier orders of a customer within the window from which on it is too many.
const EARLIER_MAX: usize = 6;

struct Offer {
    price_minor: u64,
    left: i64,
    kind: usize,
}

#[derive(Default)]
struct Loop {
    offers: FxHashMap<u64, Offer>,
    rates_bps: Vec<i64>,
    seen: FxHashSet<u64>,
    /// Times of valid orders by customer, in order of arrival, and the newest.
    customers: FxHashMap<u64, (VecDeque<i64>, i64)>,
    /// Sales by partner and kind.
    sales: FxHashMap<u64, [i64; 4]>,
    decisions: Decisions,
}

/// Decides on every line of a folder.
///
/// # Errors
/// Where a file can't be read.
pub fn decide(folder: &Path) -> io::Result<Outcome> {
    let mut state = Loop::load(folder)?;
    let mut lines = Lines::<8>::open(&folder.join("orders.csv"))?;
    while let Some(line) = lines.next_line()? {
        let values = line.numbers.values;
        let code = state.decide(values);
        state.decisions.add(values[0], code);
    }
    Ok(state.outcome())
}

impl Loop {
    fn load(folder: &Path) -> io::Result<Self> {
        let mut state = Loop::default();
        let mut offers = Lines::<4>::open(&folder.join("offers.csv"))?;
        while let Some(line) = offers.next_line()? {
            let [id, price_minor, stock, kind] = line.numbers.values;
            state.offers.insert(id, Offer { price_minor, left: stock as i64, kind: kind as usize });
        }
        let mut rates = Lines::<2>::open(&folder.join("rates.csv"))?;
        while let Some(line) = rates.next_line()? {
            let [kind, bps] = line.numbers.values;
            assert_eq!(kind as usize, state.rates_bps.len(), "rates come by kind");
            state.rates_bps.push(bps as i64);
        }
        Ok(state)
    }

    fn decide(&mut self, [order_id, ts, customer, partner, offer, quantity, price, _]: [u64; 8]) -> Code {
        if !self.seen.insert(order_id) {
            return Code::Duplicate;
        }
        let Some(offer) = self.offers.get_mut(&offer) else { return Code::UnknownOffer };
        if price != offer.price_minor {
            return Code::PriceMismatch;
        }
        if !(1..=10).contains(&quantity) {
            return Code::BadQuantity;
        }
        let (times, newest) = self.customers.entry(customer).or_default();
        if too_many(times, newest, ts as i64) {
            return Code::Velocity;
        }
        if quantity as i64 > offer.left {
            return Code::SoldOut;
        }
        offer.left -= quantity as i64;
        self.sales.entry(partner).or_default()[offer.kind] += (quantity * price) as i64;
        Code::Accepted
    }

    fn outcome(self) -> Outcome {
        let Loop { offers, rates_bps, sales, decisions, .. } = self;
        let earned = sales.iter().map(|(partner, sold)| {
            let of_kind = sold.iter().zip(&rates_bps).map(|(sold, bps)| sold * bps / 10_000);
            (*partner, of_kind.sum())
        });
        Outcome::new(decisions, offers.values().map(|offer| offer.left), earned)
    }
}

/// Whether enough of a customer's orders came earlier with a time in (t − window, t]; remembers this one.
fn too_many(times: &mut VecDeque<i64>, newest: &mut i64, t: i64) -> bool {
    let in_window = |time: &&i64| **time > t - WINDOW_MS && **time <= t;
    // The newest first: those that are too many are found soon.
    let earlier = times.iter().rev().filter(in_window).take(EARLIER_MAX).count();
    *newest = t.max(*newest);
    while times.front().is_some_and(|time| *time <= *newest - HISTORY_MS) {
        times.pop_front();
    }
    times.push_back(t);
    earlier >= EARLIER_MAX
}
