//! A double-entry ledger with two-phase transfers: whatever is scarce is an account here.
//!
//! ```text
//!              debits            credits
//!   account  pending|posted    pending|posted        balance = credits − debits
//!
//!   Move   debit ──amount──> credit                  at once
//!   Hold   debit ··amount··> credit                  reserved on both sides, under an id
//!   Post   ··─> ──  all or part of a hold becomes final, the rest is released
//!   Void   ··─> the whole hold is released
//! ```
//!
//! It knows nothing of offers. Stock is three accounts per offer, and a hold *is* the reservation; a
//! wallet is an account in a currency; a seat is an account per (seat, segment) with one unit of
//! credit, and a trip over several segments is a linked batch of holds that succeed or fail together;
//! a prize draw moves weight. Ids are the caller's: `home` says with whom an account lives (it
//! gives the slot, so that a tenant's accounts stay together), `number` is drawn by the caller.
//!
//! Invariants, asserted in release builds: every transfer debits what it credits, so the accounts of a
//! unit sum to zero; an account that must not be overdrawn isn't, holds included. [`Ledger::audit`]
//! proves both from the state alone, after every restore.
//!
//! A crash loses nothing of its own: accounts and holds are operator state, so they come back from the
//! snapshot and the replay. It does not promise an audit trail: that is the facts its callers emit.

mod account;
mod linked;
mod transfer;

pub use account::{Account, AccountId, Overdraft, PendingId, Unit};
pub use linked::LinkRefused;
pub use transfer::{AMOUNT_MAX, Pending, Refusal, Transfer};

use runtime::{KeyedState, State};
use std::collections::BTreeMap;

/// Accounts and the holds between them.
pub struct Ledger {
    accounts: KeyedState<AccountId, Account>,
    pending: KeyedState<PendingId, Pending>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

impl Ledger {
    /// An empty ledger.
    pub fn new() -> Self {
        Ledger {
            accounts: KeyedState::new("accounts.v1", |id| runtime::slot_of(id.home)),
            pending: KeyedState::new("pending.v1", |id| runtime::slot_of(id.home)),
        }
    }

    /// The states to snapshot.
    pub fn states(&mut self) -> [&mut dyn State; 2] {
        [&mut self.accounts, &mut self.pending]
    }

    /// Opens an account.
    ///
    /// # Errors
    /// [`Refusal::AccountExists`].
    pub fn open(&mut self, id: AccountId, unit: Unit, overdraft: Overdraft) -> Result<(), Refusal> {
        if self.accounts.contains(&id) {
            return Err(Refusal::AccountExists(id));
        }
        self.accounts.insert(id, Account::new(unit, overdraft));
        Ok(())
    }

    /// Closes an account whose balance is zero and in which nothing is pending.
    ///
    /// # Errors
    /// [`Refusal::UnknownAccount`] or [`Refusal::AccountInUse`].
    pub fn close(&mut self, id: AccountId) -> Result<(), Refusal> {
        if !self.known(id)?.is_settled() {
            return Err(Refusal::AccountInUse(id));
        }
        self.accounts.remove(&id);
        Ok(())
    }

    /// An account as it stands.
    pub fn account(&self, id: AccountId) -> Option<&Account> {
        self.accounts.get(&id)
    }

    /// A hold that is neither posted nor voided.
    pub fn pending(&self, id: PendingId) -> Option<&Pending> {
        self.pending.get(&id)
    }

    /// Accounts open, for metrics.
    pub fn accounts_len(&self) -> usize {
        self.accounts.len()
    }

    /// Holds open, for metrics.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// Applies one transfer, or nothing of it.
    ///
    /// # Errors
    /// The first [`Refusal`] that applies.
    pub fn apply(&mut self, transfer: &Transfer) -> Result<(), Refusal> {
        match *transfer {
            Transfer::Move { debit, credit, amount } => {
                self.check_movement(debit, credit, amount)?;
                self.change(debit, |a| a.debits_posted += u128::from(amount));
                self.change(credit, |a| a.credits_posted += u128::from(amount));
            }
            Transfer::Hold { id, debit, credit, amount } => {
                self.check_hold(id, debit, credit, amount)?;
                self.change(debit, |a| a.debits_pending += u128::from(amount));
                self.change(credit, |a| a.credits_pending += u128::from(amount));
                self.pending.insert(id, Pending { debit: debit.number, credit: credit.number, amount });
            }
            Transfer::Post { id, amount } => {
                let hold = self.check_post(id, amount)?;
                self.release(id, hold, amount);
            }
            Transfer::Void { id } => {
                let hold = self.held(id)?;
                self.release(id, hold, 0);
            }
        }
        Ok(())
    }

    /// Ends a hold: `posted` of it becomes final, the rest goes back.
    fn release(&mut self, id: PendingId, hold: Pending, posted: u64) {
        let (held, posted) = (u128::from(hold.amount), u128::from(posted));
        assert!(posted <= held, "{id:?}: {posted} posted of {held} held");
        self.pending.remove(&id);
        self.change(hold.debit_id(id), |a| {
            a.debits_pending -= held;
            a.debits_posted += posted;
        });
        self.change(hold.credit_id(id), |a| {
            a.credits_pending -= held;
            a.credits_posted += posted;
        });
    }

    /// Changes one side of a checked transfer. Counters hold 2^64 of the largest amounts, so they
    /// can't overflow; a release build would still stop at the assertion rather than wrap.
    fn change(&mut self, id: AccountId, change: impl FnOnce(&mut Account)) {
        let account =
            self.accounts.get_mut(&id).expect("an account with a checked transfer or a hold is open");
        change(account);
        account.assert_sound(id);
    }

    fn known(&self, id: AccountId) -> Result<&Account, Refusal> {
        self.accounts.get(&id).ok_or(Refusal::UnknownAccount(id))
    }

    fn held(&self, id: PendingId) -> Result<Pending, Refusal> {
        self.pending.get(&id).copied().ok_or(Refusal::UnknownPending(id))
    }

    fn check_movement(&self, debit: AccountId, credit: AccountId, amount: u64) -> Result<(), Refusal> {
        if amount == 0 || amount > AMOUNT_MAX {
            return Err(Refusal::AmountOutOfRange(amount));
        }
        if debit == credit {
            return Err(Refusal::SameAccount(debit));
        }
        if debit.home != credit.home {
            return Err(Refusal::HomesDiffer { debit, credit });
        }
        let (from, to) = (self.known(debit)?, self.known(credit)?);
        if from.unit != to.unit {
            return Err(Refusal::UnitsDiffer { debit: from.unit, credit: to.unit });
        }
        from.check_debit(debit, amount)?;
        to.check_room(credit)
    }

    fn check_hold(
        &self,
        id: PendingId,
        debit: AccountId,
        credit: AccountId,
        amount: u64,
    ) -> Result<(), Refusal> {
        if id.home != debit.home {
            return Err(Refusal::HomesDiffer { debit, credit });
        }
        if self.pending.contains(&id) {
            return Err(Refusal::PendingExists(id));
        }
        self.check_movement(debit, credit, amount)
    }

    fn check_post(&self, id: PendingId, amount: u64) -> Result<Pending, Refusal> {
        let hold = self.held(id)?;
        match amount {
            0 => Err(Refusal::AmountOutOfRange(amount)),
            _ if amount > hold.amount => {
                Err(Refusal::ExceedsPending { id, held: hold.amount, asked: amount })
            }
            _ => Ok(hold),
        }
    }

    /// Proves from the state alone that the books balance: per unit and home, posted debits equal
    /// posted credits, pending ones equal each other and the open holds, and no account is overdrawn.
    ///
    /// # Panics
    /// Where they don't: going on would sell what isn't there.
    pub fn audit(&self) {
        let mut sums: BTreeMap<(u64, Unit), [u128; 4]> = BTreeMap::new();
        for (id, account) in self.accounts.iter() {
            account.assert_sound(*id);
            let sum = sums.entry((id.home, account.unit)).or_default();
            for (total, part) in sum.iter_mut().zip(account.counters()) {
                *total += part;
            }
        }
        let mut pending_sum = 0;
        for ((home, unit), [debits_pending, debits_posted, credits_pending, credits_posted]) in sums {
            assert_eq!(debits_posted, credits_posted, "posted entries of {unit:?} of home {home:x} balance");
            assert_eq!(
                debits_pending, credits_pending,
                "pending entries of {unit:?} of home {home:x} balance"
            );
            pending_sum += debits_pending;
        }
        let held: u128 = self.pending.iter().map(|(_, hold)| u128::from(hold.amount)).sum();
        assert_eq!(pending_sum, held, "pending entries are exactly the open holds");
    }
}
