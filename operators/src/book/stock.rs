//! Stock: three ledger accounts per offer, and what is still to be taken from them.
//!
//! ```text
//!   issued ──restock──> available ··hold··> sold        held = available's pending debits
//!          <──shrink──            ──sell──>            (buy: at once, without a hold)
//!                                 <─return─
//! ```
//!
//! Invariants, asserted in release builds after every movement: available + held + sold = stock_total, which
//! is what was ever issued less what was withdrawn, and none of them is negative. At the end of every epoch:
//! where a shrink is due nothing is available, because whatever is released leaves at once.
//!
//! Units of a refund that doesn't restock stay in `sold`: they exist and can't be sold again. A deleted
//! offer is a shrink to nothing; its accounts stay while anything is held or sold, then they close.

use super::directory::{Directory, Key, Named, Tenant};
use super::order::Order;
use super::tell::{Movement, Teller, stock_row};
use crate::ledger::{AccountId, Ledger, Overdraft, PendingId, Refusal, Transfer, Unit};
use crate::messages::Output;
use runtime::{At, Ctx};
use rustc_hash::FxHashMap;
use schemas::facts::StockAccount::{self, Available, Held, Issued, Sold};
use schemas::rows::OrderStatus;
use schemas::{Text, reference};
use serde::{Deserialize, Serialize};

/// Accounts per offer, numbered from its first.
pub const ACCOUNTS: u64 = 3;

/// What the book needs of an offer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Offer {
    pub tenant: Text,
    pub offer_id: Text,
    pub kind: reference::OfferKind,
    pub max_per_customer: Option<i32>,
    pub restock_on_refund: bool,
    /// Whether its row exists.
    pub listed: bool,
    /// The number of its first account: its own number, too.
    pub number: u64,
    /// Units to be taken as soon as they are released.
    pub shrink_due: i64,
}

impl Named for Offer {
    fn tenant(&self) -> &str {
        &self.tenant
    }

    fn name(&self) -> &str {
        &self.offer_id
    }
}

/// An offer's stock as the ledger has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balances {
    pub total: i64,
    pub available: i64,
    pub held: i64,
    pub sold: i64,
}

/// There isn't enough available.
#[derive(Debug)]
pub struct SoldOut;

/// Every offer of this worker's tenants, and their ledger.
pub struct Stock {
    pub offers: Directory<Offer>,
    pub ledger: Ledger,
    /// Offers touched in this epoch in the order of their first touch, each with what touched it last.
    touched: Vec<(Key, At)>,
    /// Where in `touched` an offer stands.
    touched_at: FxHashMap<Key, usize>,
}

impl Stock {
    pub fn new() -> Self {
        Stock {
            offers: Directory::new("offers.v1"),
            ledger: Ledger::new(),
            touched: Vec::new(),
            touched_at: FxHashMap::default(),
        }
    }

    /// An offer that has a row.
    pub fn find_listed(&self, tenant: Tenant, offer_id: &str) -> Option<Key> {
        self.offers.find(tenant, offer_id).filter(|key| self.offers.at(*key).listed)
    }

    /// The offer of an order that holds or has bought some of it.
    pub fn offer_of(&self, order_key: Key, order: &Order) -> Key {
        let found = self.offers.find(order.tenant_at(order_key), order.offer_id());
        found.expect("an offer is kept while anything of it is held or sold")
    }

    /// Takes an offer's row. `draw` gives the first of some fresh numbers.
    pub fn upsert(&mut self, row: &reference::Offer, draw: impl FnOnce() -> u64, tell: &mut Teller) {
        let tenant = Tenant::of(&row.tenant);
        let key = match self.offers.find(tenant, &row.offer_id) {
            Some(key) => key,
            None => self.open(tenant, row, draw()),
        };
        let offer = self.offers.at_mut(key);
        offer.kind = row.kind;
        offer.max_per_customer = row.max_per_customer;
        offer.restock_on_refund = row.restock_on_refund;
        offer.listed = true;
        self.aim(key, row.stock_total.max(0), tell);
    }

    /// The offer's row is gone: whatever isn't held or sold goes with it.
    pub fn delete(&mut self, key: Key, tell: &mut Teller) {
        self.offers.at_mut(key).listed = false;
        self.aim(key, 0, tell);
        self.close_if_done(key, tell);
    }

    fn open(&mut self, tenant: Tenant, row: &reference::Offer, number: u64) -> Key {
        let offer = Offer {
            tenant: row.tenant.clone(),
            offer_id: row.offer_id.clone(),
            kind: row.kind,
            max_per_customer: None,
            restock_on_refund: false,
            listed: true,
            number,
            shrink_due: 0,
        };
        for account in [Issued, Available, Sold] {
            let overdraft = if account == Issued { Overdraft::Allowed } else { Overdraft::Refused };
            let opened =
                self.ledger.open(account_of(tenant.home, number, account), Unit::Stock(number), overdraft);
            opened.expect("numbers are drawn once");
        }
        self.offers.insert(tenant, offer)
    }

    /// Makes `target` the stock there is to be: a restock first calls off what was still to be taken, a
    /// shrink takes what is available and leaves the rest due.
    fn aim(&mut self, key: Key, target: i64, tell: &mut Teller) {
        let now = self.balances(key);
        let offer = self.offers.at_mut(key);
        let change = target - (now.total - offer.shrink_due);
        let called_off = change.clamp(0, offer.shrink_due);
        let restock = (change - called_off).max(0);
        offer.shrink_due += (-change).max(0) - called_off;
        self.touch(key, tell.at);
        if restock > 0 {
            self.movement(key, Issued, Available, restock, tell);
        }
        self.pay_shrink(key, tell);
    }

    /// Takes what is due from what is available.
    fn pay_shrink(&mut self, key: Key, tell: &mut Teller) {
        let account = self.account(key, Available);
        let free = self.ledger.account(account).expect("an offer's accounts are open").free();
        let taken = self.offers.at(key).shrink_due.min(narrow(free));
        if taken > 0 {
            self.offers.at_mut(key).shrink_due -= taken;
            self.movement(key, Available, Issued, taken, tell);
        }
    }

    /// A final movement that the caller knows to be possible.
    fn movement(
        &mut self,
        key: Key,
        debit: StockAccount,
        credit: StockAccount,
        quantity: i64,
        tell: &mut Teller,
    ) {
        let (from, to) = (self.account(key, debit), self.account(key, credit));
        let transfer = Transfer::Move { debit: from, credit: to, amount: quantity.unsigned_abs() };
        self.ledger.apply(&transfer).expect("the balances were looked at");
        self.tell(key, Movement { debit, credit, quantity, order_id: None }, tell);
    }

    /// Reserves units under `hold`. The caller tells it, after the order it is for.
    ///
    /// # Errors
    /// [`SoldOut`], with nothing changed.
    pub fn hold(&mut self, key: Key, hold: u64, units: u64) -> Result<(), SoldOut> {
        let (debit, credit) = (self.account(key, Available), self.account(key, Sold));
        let id = PendingId { home: key.home, number: hold };
        match self.ledger.apply(&Transfer::Hold { id, debit, credit, amount: units }) {
            Ok(()) => Ok(()),
            Err(Refusal::ExceedsCredits { .. }) => Err(SoldOut),
            Err(other) => panic!("stock and ledger have parted: {other}"),
        }
    }

    /// Sells units at once. The caller tells it, after the order it is for.
    ///
    /// # Errors
    /// [`SoldOut`], with nothing changed.
    pub fn buy(&mut self, key: Key, units: u64) -> Result<(), SoldOut> {
        let (debit, credit) = (self.account(key, Available), self.account(key, Sold));
        match self.ledger.apply(&Transfer::Move { debit, credit, amount: units }) {
            Ok(()) => Ok(()),
            Err(Refusal::ExceedsCredits { .. }) => Err(SoldOut),
            Err(other) => panic!("stock and ledger have parted: {other}"),
        }
    }

    /// Tells of units just held, or sold, for an order.
    pub fn tell_taken(&mut self, key: Key, order: &Order, tell: &mut Teller) {
        let to = if order.status == OrderStatus::Confirmed { Sold } else { Held };
        self.tell(key, Movement::of(order, Available, to), tell);
    }

    /// A paid order's hold becomes a sale.
    pub fn sell(&mut self, key: Key, order: &Order, tell: &mut Teller) {
        let post = Transfer::Post { id: order.hold_id(key.home), amount: order.units() };
        self.ledger.apply(&post).expect("a held order has a hold of all its units");
        self.tell(key, Movement::of(order, Held, Sold), tell);
    }

    /// An ended order's hold is released.
    pub fn release(&mut self, key: Key, order: &Order, tell: &mut Teller) {
        let void = Transfer::Void { id: order.hold_id(key.home) };
        self.ledger.apply(&void).expect("a held order has a hold");
        self.tell(key, Movement::of(order, Held, Available), tell);
        self.after_release(key, tell);
    }

    /// A refunded order's units go back on sale, if its offer wants them.
    pub fn take_back(&mut self, key: Key, order: &Order, tell: &mut Teller) {
        if !self.offers.at(key).restock_on_refund {
            return;
        }
        let (debit, credit) = (self.account(key, Sold), self.account(key, Available));
        let back = Transfer::Move { debit, credit, amount: order.units() };
        self.ledger.apply(&back).expect("a confirmed order's units are sold");
        self.tell(key, Movement::of(order, Sold, Available), tell);
        self.after_release(key, tell);
    }

    fn after_release(&mut self, key: Key, tell: &mut Teller) {
        self.pay_shrink(key, tell);
        self.close_if_done(key, tell);
    }

    /// Forgets an offer that is deleted and has nothing left, after a last row.
    fn close_if_done(&mut self, key: Key, tell: &mut Teller) {
        let balances = self.balances(key);
        if self.offers.at(key).listed || balances.total != 0 {
            return;
        }
        tell.say(stock_row(self.offers.at(key), balances));
        for account in [Issued, Available, Sold] {
            let id = self.account(key, account);
            self.ledger.close(id).expect("an offer with nothing left has empty accounts");
        }
        if let Some(moved) = self.offers.remove(key) {
            self.touch(moved, tell.at);
        }
    }

    /// Tells a movement just made.
    fn tell(&mut self, key: Key, movement: Movement, tell: &mut Teller) {
        self.touch(key, tell.at);
        tell.stock(self.offers.at(key), movement, self.balances(key));
    }

    fn touch(&mut self, key: Key, at: At) {
        match self.touched_at.get(&key) {
            Some(index) => self.touched[*index].1 = at,
            None => {
                self.touched_at.insert(key, self.touched.len());
                self.touched.push((key, at));
            }
        }
    }

    /// The rows of the offers touched in this epoch, each at the place of its last movement.
    pub fn tell_rows(&mut self, ctx: &mut Ctx<Output>) {
        self.touched_at.clear();
        for (key, at) in std::mem::take(&mut self.touched) {
            if let Some(offer) = self.offers.map.get(&key) {
                let balances = self.balances(key);
                balances.assert_at_rest(offer);
                ctx.emit(at, stock_row(offer, balances));
            }
        }
    }

    /// An offer's stock, proven.
    pub fn balances(&self, key: Key) -> Balances {
        let offer = self.offers.at(key);
        let account = |account| {
            self.ledger
                .account(account_of(key.home, offer.number, account))
                .expect("an offer's accounts are open")
        };
        let (issued, available, sold) = (account(Issued), account(Available), account(Sold));
        let balances = Balances {
            total: narrow(-issued.posted()),
            available: narrow(available.free()),
            held: narrow(available.debits_pending as i128),
            sold: narrow(sold.posted()),
        };
        balances.assert_sound(offer);
        balances
    }

    /// Proves every account and every offer, as after a restore.
    pub fn audit(&self) {
        self.ledger.audit();
        for (key, offer) in self.offers.map.iter() {
            self.balances(*key).assert_at_rest(offer);
        }
    }

    fn account(&self, key: Key, account: StockAccount) -> AccountId {
        account_of(key.home, self.offers.at(key).number, account)
    }
}

impl Balances {
    fn assert_sound(&self, offer: &Offer) {
        let Balances { total, available, held, sold } = *self;
        assert!(
            available >= 0
                && held >= 0
                && sold >= 0
                && i128::from(available) + i128::from(held) + i128::from(sold) == i128::from(total),
            "{}/{}: {available} available + {held} held + {sold} sold must be {total}",
            offer.tenant,
            offer.offer_id
        );
    }

    /// What holds once whatever was handled is done: units that are due to leave never lie available.
    fn assert_at_rest(&self, offer: &Offer) {
        assert!(
            offer.shrink_due == 0 || (offer.shrink_due > 0 && self.available == 0),
            "{}/{}: {} are due to leave while {} are available",
            offer.tenant,
            offer.offer_id,
            offer.shrink_due,
            self.available
        );
    }
}

fn account_of(home: u64, offer: u64, account: StockAccount) -> AccountId {
    let place = match account {
        Issued => 0,
        Available => 1,
        Sold => 2,
        Held => unreachable!("what is held is pending between available and sold"),
    };
    AccountId { home, number: offer + place }
}

fn narrow(balance: i128) -> i64 {
    i64::try_from(balance).expect("no offer is given more units than an i64 counts")
}
