//! What can be asked of a ledger, and why it may refuse.

use super::account::{AccountId, PendingId, Unit};
use serde::{Deserialize, Serialize};

/// The largest amount of one transfer: what facts can say in an `i64`.
pub const AMOUNT_MAX: u64 = i64::MAX as u64;

/// One movement. Amounts are never zero: a movement of nothing is a bug of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// From `debit` to `credit`, final at once.
    Move { debit: AccountId, credit: AccountId, amount: u64 },
    /// First phase: reserves the amount on both sides under `id`.
    Hold { id: PendingId, debit: AccountId, credit: AccountId, amount: u64 },
    /// Second phase: `amount` of the hold becomes final, the rest of it is released.
    Post { id: PendingId, amount: u64 },
    /// Second phase: the whole hold is released.
    Void { id: PendingId },
}

/// A hold between its two phases. Its accounts are of its own home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    pub debit: u64,
    pub credit: u64,
    pub amount: u64,
}

impl Pending {
    /// The account it reserves from.
    pub fn debit_id(&self, id: PendingId) -> AccountId {
        AccountId { home: id.home, number: self.debit }
    }

    /// The account it reserves for.
    pub fn credit_id(&self, id: PendingId) -> AccountId {
        AccountId { home: id.home, number: self.credit }
    }
}

/// Why a ledger did nothing. Only the first is an ordinary answer; the others say that the caller's
/// own books and the ledger's have parted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There isn't enough: the caller says so to its customer (sold out, seat taken, insufficient funds).
    #[error("{id:?} has {free} free, {asked} asked")]
    ExceedsCredits { id: AccountId, free: i128, asked: u64 },
    /// The hold was posted or voided before, or never made: the caller treats its order as ended, or stops.
    #[error("{0:?} is not held: posted, voided or never made")]
    UnknownPending(PendingId),
    /// More is to be posted than is held: the caller holds the difference first.
    #[error("{id:?} holds {held}, {asked} to be posted")]
    ExceedsPending { id: PendingId, held: u64, asked: u64 },
    /// The id is in use: the caller has drawn a number twice and stops.
    #[error("{0:?} is held already: a number was drawn twice")]
    PendingExists(PendingId),
    /// The caller opens the account first.
    #[error("{0:?} is not open")]
    UnknownAccount(AccountId),
    /// The caller has drawn a number twice and stops.
    #[error("{0:?} is open already: a number was drawn twice")]
    AccountExists(AccountId),
    /// Something is in the account or pending: the caller closes it later.
    #[error("{0:?} can't be closed: it isn't empty")]
    AccountInUse(AccountId),
    /// The caller checks its input: amounts are 1 to [`AMOUNT_MAX`].
    #[error("amount {0} is not between 1 and {AMOUNT_MAX}")]
    AmountOutOfRange(u64),
    /// A bug of the caller: a transfer from an account to itself.
    #[error("{0:?} is both debited and credited")]
    SameAccount(AccountId),
    /// A bug of the caller: nothing moves from one tenant to another.
    #[error("{debit:?} and {credit:?}, or their hold, are of different homes")]
    HomesDiffer { debit: AccountId, credit: AccountId },
    /// A bug of the caller: units don't mix.
    #[error("{debit:?} can't become {credit:?}")]
    UnitsDiffer { debit: Unit, credit: Unit },
    /// After some 2^62 largest transfers: the caller opens a new account.
    #[error("{0:?} has counted as far as it can")]
    CounterFull(AccountId),
}
