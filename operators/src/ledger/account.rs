//! An account: four counters that only its ledger changes, a unit, and whether it may be overdrawn.

use super::transfer::Refusal;
use serde::{Deserialize, Serialize};

/// An account's id. `home` (a hash that gives the slot) keeps what belongs together on one worker;
/// `number` is unique within it, whoever shares the hash, because one counter per home draws them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccountId {
    pub home: u64,
    pub number: u64,
}

/// A hold's id. Its own type, so that it can't be taken for an account's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PendingId {
    pub home: u64,
    pub number: u64,
}

/// What an account counts. Transfers run between accounts of one unit only, so that nothing is ever
/// paid in seats, and no yen become euros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Unit {
    /// Units of one numbered thing for sale.
    Stock(u64),
    /// Minor units of an ISO 4217 currency.
    Currency([u8; 3]),
    /// Chances in one numbered draw of prizes.
    Weight(u64),
}

/// Whether an account may be debited beyond its credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overdraft {
    /// A counterparty of the outside world, like the issuer of stock.
    Allowed,
    /// Debits, pending ones included, must not exceed posted credits.
    Refused,
}

/// One account as it stands. The counters only grow, but for the pending ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub unit: Unit,
    pub overdraft: Overdraft,
    pub debits_pending: u128,
    pub debits_posted: u128,
    pub credits_pending: u128,
    pub credits_posted: u128,
}

/// Counters stop well below their type's end, so that no sum of two can wrap.
const COUNTER_MAX: u128 = u128::MAX / 4;

impl Account {
    pub(super) fn new(unit: Unit, overdraft: Overdraft) -> Self {
        Account {
            unit,
            overdraft,
            debits_pending: 0,
            debits_posted: 0,
            credits_pending: 0,
            credits_posted: 0,
        }
    }

    /// Debits pending and posted, credits pending and posted.
    pub fn counters(&self) -> [u128; 4] {
        [self.debits_pending, self.debits_posted, self.credits_pending, self.credits_posted]
    }

    /// Posted credits less posted debits.
    pub fn posted(&self) -> i128 {
        self.credits_posted as i128 - self.debits_posted as i128
    }

    /// What may still be debited: posted credits less every debit, pending ones included.
    pub fn free(&self) -> i128 {
        self.posted() - self.debits_pending as i128
    }

    /// Whether nothing is in it and nothing pending.
    pub fn is_settled(&self) -> bool {
        self.posted() == 0 && self.debits_pending == 0 && self.credits_pending == 0
    }

    pub(super) fn check_debit(&self, id: AccountId, amount: u64) -> Result<(), Refusal> {
        self.check_room(id)?;
        match self.overdraft {
            Overdraft::Refused if i128::from(amount) > self.free() => {
                Err(Refusal::ExceedsCredits { id, free: self.free(), asked: amount })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn check_room(&self, id: AccountId) -> Result<(), Refusal> {
        let full = self.counters().iter().any(|&counter| counter > COUNTER_MAX);
        if full { Err(Refusal::CounterFull(id)) } else { Ok(()) }
    }

    /// The invariant of every account, after every change.
    pub(super) fn assert_sound(&self, id: AccountId) {
        assert!(
            self.overdraft == Overdraft::Allowed
                || self.debits_pending + self.debits_posted <= self.credits_posted,
            "{id:?} is overdrawn: {self:?}"
        );
    }
}
