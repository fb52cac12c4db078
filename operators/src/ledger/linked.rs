//! Linked transfers: all of a batch, or nothing of it.
//!
//! Each transfer is judged with those before it applied, so a batch may spend what it has just brought.
//! When one is refused, the accounts and holds touched so far get back what they were.

use super::{Account, AccountId, Ledger, Pending, PendingId, Refusal, Transfer};

/// Which transfer of a batch was refused, and why. Nothing of the batch was applied: the caller
/// handles `refusal` as for a single transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("transfer {index} of a linked batch: {refusal}")]
pub struct LinkRefused {
    pub index: usize,
    #[source]
    pub refusal: Refusal,
}

/// What accounts and holds were before a batch touched them, in the order of touching.
#[derive(Default)]
struct Undo {
    accounts: Vec<(AccountId, Account)>,
    pending: Vec<(PendingId, Option<Pending>)>,
}

impl Ledger {
    /// Applies a batch as a whole.
    ///
    /// # Errors
    /// The first transfer that is refused; the ledger is then as it was.
    pub fn apply_linked(&mut self, batch: &[Transfer]) -> Result<(), LinkRefused> {
        let mut undo = Undo::default();
        for (index, transfer) in batch.iter().enumerate() {
            undo.remember(self, transfer);
            if let Err(refusal) = self.apply(transfer) {
                undo.roll_back(self);
                return Err(LinkRefused { index, refusal });
            }
        }
        Ok(())
    }
}

impl Undo {
    fn remember(&mut self, ledger: &Ledger, transfer: &Transfer) {
        match *transfer {
            Transfer::Move { debit, credit, .. } => self.remember_accounts(ledger, debit, credit),
            Transfer::Hold { id, debit, credit, .. } => {
                self.pending.push((id, ledger.pending(id).copied()));
                self.remember_accounts(ledger, debit, credit);
            }
            Transfer::Post { id, .. } | Transfer::Void { id } => {
                let hold = ledger.pending(id).copied();
                self.pending.push((id, hold));
                if let Some(hold) = hold {
                    self.remember_accounts(ledger, hold.debit_id(id), hold.credit_id(id));
                }
            }
        }
    }

    fn remember_accounts(&mut self, ledger: &Ledger, debit: AccountId, credit: AccountId) {
        for id in [debit, credit] {
            self.accounts.extend(ledger.account(id).map(|account| (id, *account)));
        }
    }

    /// Newest first, so that the oldest value of each is the one that stays.
    fn roll_back(self, ledger: &mut Ledger) {
        for (id, account) in self.accounts.into_iter().rev() {
            *ledger.accounts.get_mut(&id).expect("a batch closes no account") = account;
        }
        for (id, hold) in self.pending.into_iter().rev() {
            match hold {
                Some(hold) => ledger.pending.insert(id, hold),
                None => drop(ledger.pending.remove(&id)),
            }
        }
    }
}
