//! What a run ends in: the workload's fields, as counted by whoever decided, printed and compared.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Decisions, by the workload's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Code {
    Accepted = 0,
    Duplicate = 1,
    UnknownOffer = 2,
    PriceMismatch = 3,
    BadQuantity = 4,
    Velocity = 5,
    SoldOut = 6,
}

/// Decisions as they are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decisions {
    pub counts: [u64; 7],
    checksum: u64,
}

impl Decisions {
    /// Counts one. Neither counts nor checksum depend on the order.
    pub fn add(&mut self, order_id: u64, code: Code) {
        self.counts[code as usize] += 1;
        self.checksum = self.checksum.wrapping_add(mix64(order_id * 16 + code as u64));
    }
}

/// All fields but the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub decisions: Decisions,
    pub stock_left: i64,
    pub neg_offers: u64,
    commission_total: i64,
    commission_hash: u64,
}

impl Outcome {
    /// `stock` is what is left of each offer, `earned` what each partner earns.
    pub fn new(
        decisions: Decisions,
        stock: impl Iterator<Item = i64>,
        earned: impl Iterator<Item = (u64, i64)>,
    ) -> Self {
        let (mut stock_left, mut neg_offers) = (0, 0);
        for left in stock {
            stock_left += left;
            neg_offers += u64::from(left < 0);
        }
        let (mut commission_total, mut commission_hash) = (0, 0u64);
        for (partner, commission) in earned.filter(|(_, commission)| *commission != 0) {
            commission_total += commission;
            commission_hash = commission_hash.wrapping_add(mix64((partner << 40) + commission as u64));
        }
        Outcome { decisions, stock_left, neg_offers, commission_total, commission_hash }
    }

    /// Decisions in all.
    pub fn lines(&self) -> u64 {
        self.decisions.counts.iter().sum()
    }

    /// One JSON object; `run_s` is how long it took.
    pub fn json(&self, run_s: f64) -> String {
        format!("{{{self},\"run_s\":{run_s:.3}}}")
    }

    /// The fields in which a JSON object of the same form differs, spaces and `run_s` aside.
    pub fn differs_from(&self, expected: &str) -> bool {
        let bare = |text: &str| text.split_whitespace().collect::<String>();
        let (mine, theirs) = (bare(&format!("{{{self},")), bare(expected));
        !theirs.starts_with(&mine)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Decisions { counts, checksum } = self.decisions;
        write!(f, "\"counts\":{counts:?},\"checksum\":\"{checksum:016x}\",")?;
        write!(f, "\"stock_left\":{},\"neg_offers\":{},", self.stock_left, self.neg_offers)?;
        write!(f, "\"commission_total\":{},", self.commission_total)?;
        write!(f, "\"commission_hash\":\"{:016x}\"", self.commission_hash)
    }
}

/// The finalizer of splitmix64.
pub fn mix64(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
