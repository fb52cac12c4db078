//! Stock and sales of the workload, on the ledger: what stands between velocity and commission in [`super::parts`].
//!
//! ```text
//!   Order ───┐ same place
//!   Blocked ─┴─> decision ── accepted: available ──> sold (ledger) ──> sales by statement ── every hour ──> Sale
//!   Offer ─────> accounts of the offer                └─ at the epoch's end: what is left of each offer touched
//! ```
//!
//! An order and its verdict have one `At`, so they come one after the other, in whatever order, as in
//! `operators::screen`. All offers are one tenant's, so all of it is on one worker: one sequence. Invariants: no
//! account is overdrawn, asserted by the ledger; a sale is told once. Sales that wait for the hour are in no
//! snapshot: the workload takes none.

use super::outcome::Code;
use operators::commission::{Sale, StatementKey};
use operators::ledger::{AccountId, Ledger, Overdraft, Refusal, Transfer, Unit};
use runtime::{At, Ctx, Millis, Offset, Operator, Position, Route, State, stable_hash};
use rustc_hash::FxHashMap;
use schemas::facts::Cause;
use schemas::reference::OfferKind;
use schemas::{Month, Text};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How often sales go to commission, in record time.
pub const SALES_EVERY_MS: Millis = 3_600_000;
/// Orders timers among those of the operators.
const STAGE: u16 = 9;
/// Accounts of an offer: what was issued, is available, was sold.
const ACCOUNTS: u64 = 3;

/// An order as it leaves validation, without what nobody asks for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub order_id: u64,
    pub offer: u64,
    pub partner: u32,
    pub quantity: u32,
    pub price_minor: i64,
    pub placed_at_ms: Millis,
    /// Why it is refused already: then no verdict comes.
    pub refused: Option<Code>,
}

/// Into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TillIn {
    Order(Order),
    /// The verdict on the order of this place: whether a rule blocks it.
    Blocked(bool),
    Offer {
        offer: u64,
        kind: OfferKind,
        currency: Text,
        stock: u64,
    },
}

/// Out of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TillOut {
    Decided { order_id: u64, code: Code },
    Left { offer: u64, left: i64 },
    Sale(Box<Sale>),
}

/// What the till knows of an offer besides its accounts.
struct Shelf {
    wares: u8,
    touched: bool,
}

/// Sales of one statement since the last hour.
struct Sold {
    amount_minor: i64,
    last: At,
    order_id: u64,
}

/// A statement: partner, wares, month.
type Statement = (u32, u8, i32);

/// The operator. See the module.
pub struct Till {
    tenant: Text,
    home: u64,
    ledger: Ledger,
    shelves: FxHashMap<u64, Shelf>,
    /// Kinds of offers, with their currency, by number: there are few.
    wares: Vec<(OfferKind, Text)>,
    touched: Vec<(u64, At)>,
    sold: FxHashMap<Statement, Sold>,
    due_ms: Option<Millis>,
    /// Of the order or the verdict that came first.
    at: Option<At>,
    order: Option<Order>,
    blocked: Option<bool>,
}

impl Till {
    /// Without offers.
    pub fn new(tenant: &str) -> Self {
        Till {
            tenant: tenant.into(),
            home: stable_hash(tenant.as_bytes()),
            ledger: Ledger::new(),
            shelves: FxHashMap::default(),
            wares: Vec::new(),
            touched: Vec::new(),
            sold: FxHashMap::default(),
            due_ms: None,
            at: None,
            order: None,
            blocked: None,
        }
    }

    fn account(&self, offer: u64, nth: u64) -> AccountId {
        AccountId { home: self.home, number: offer * ACCOUNTS + nth }
    }

    fn open(&mut self, at: At, offer: u64, kind: OfferKind, currency: Text, stock: u64) {
        for nth in 0..ACCOUNTS {
            let overdraft = if nth == 0 { Overdraft::Allowed } else { Overdraft::Refused };
            let opened = self.ledger.open(self.account(offer, nth), Unit::Stock(offer), overdraft);
            opened.expect("an offer comes once");
        }
        let (debit, credit) = (self.account(offer, 0), self.account(offer, 1));
        let issued = self.ledger.apply(&Transfer::Move { debit, credit, amount: stock });
        issued.expect("the accounts were just opened");
        let wares = (kind, currency);
        let known = self.wares.iter().position(|known| *known == wares).unwrap_or_else(|| {
            self.wares.push(wares);
            self.wares.len() - 1
        });
        self.shelves.insert(offer, Shelf { wares: known as u8, touched: true });
        self.touched.push((offer, at));
    }

    /// One half of an order at its place; decides where the other half is there.
    fn half(&mut self, at: At, order: Option<Order>, blocked: Option<bool>, ctx: &mut Ctx<TillOut>) {
        match self.at {
            None => (self.at, self.order, self.blocked) = (Some(at), order, blocked),
            Some(first) => {
                assert_eq!(first, at, "an order's verdict stands at its place");
                let order = order.or(self.order.take()).expect("one half is the order");
                let blocked = blocked.or(self.blocked.take()).expect("the other is its verdict");
                self.at = None;
                let code = if blocked { Code::Velocity } else { self.sell(at, &order) };
                ctx.emit(at, TillOut::Decided { order_id: order.order_id, code });
            }
        }
    }

    fn sell(&mut self, at: At, order: &Order) -> Code {
        let (debit, credit) = (self.account(order.offer, 1), self.account(order.offer, 2));
        let amount = u64::from(order.quantity);
        match self.ledger.apply(&Transfer::Move { debit, credit, amount }) {
            Ok(()) => {}
            Err(Refusal::ExceedsCredits { .. }) => return Code::SoldOut,
            Err(other) => panic!("stock and ledger have parted: {other}"),
        }
        let shelf = self.shelves.get_mut(&order.offer).expect("validation knows the offer");
        if !std::mem::replace(&mut shelf.touched, true) {
            self.touched.push((order.offer, at));
        }
        let Month(month) = Month::of_ms(order.placed_at_ms);
        let statement = (order.partner, shelf.wares, month);
        let first = || Sold { amount_minor: 0, last: at, order_id: 0 };
        let sold = self.sold.entry(statement).or_insert_with(first);
        sold.amount_minor += i64::from(order.quantity) * order.price_minor;
        (sold.last, sold.order_id) = (at, order.order_id);
        self.due_ms.get_or_insert((at.time().div_euclid(SALES_EVERY_MS) + 1) * SALES_EVERY_MS);
        Code::Accepted
    }

    fn sale(&self, due: Millis, statement: Statement, sold: &Sold) -> (At, Sale) {
        let (partner, wares, month) = statement;
        let (kind, currency) = self.wares[usize::from(wares)].clone();
        let month = Month(month);
        let Offset(offset) = sold.last.origin.offset();
        let cause = Cause {
            command_id: Text::from(sold.order_id.to_string()),
            topic: Text::const_new(super::folder::TOPICS[1]),
            partition: 0,
            offset: offset as i64,
            record_time_ms: sold.last.time(),
        };
        let (tenant, partner) = (self.tenant.clone(), Text::from(partner.to_string()));
        let key = StatementKey { tenant, partner, currency, kind, month };
        let at = At { cause: Position::timer(due, STAGE, key.route()), origin: sold.last.origin };
        (at, Sale { key, amount_minor: sold.amount_minor, refund: false, at_ms: due, cause })
    }
}

impl Operator for Till {
    type In = TillIn;
    type Out = TillOut;
    const NAME: &'static str = "till";

    fn route(_: &TillIn) -> Route {
        Route::Key(0)
    }

    fn on_record(&mut self, at: At, input: TillIn, ctx: &mut Ctx<TillOut>) {
        match input {
            TillIn::Order(Order { order_id, refused: Some(code), .. }) => {
                ctx.emit(at, TillOut::Decided { order_id, code });
            }
            TillIn::Order(order) => self.half(at, Some(order), None, ctx),
            TillIn::Blocked(blocked) => self.half(at, None, Some(blocked), ctx),
            TillIn::Offer { offer, kind, currency, stock } => self.open(at, offer, kind, currency, stock),
        }
    }

    fn next_timer(&self) -> Option<Millis> {
        self.due_ms
    }

    fn on_timer(&mut self, due: Millis, ctx: &mut Ctx<TillOut>) {
        self.due_ms = None;
        let sold: BTreeMap<Statement, Sold> = self.sold.drain().collect();
        for (statement, sold) in sold {
            let (at, sale) = self.sale(due, statement, &sold);
            ctx.emit(at, TillOut::Sale(Box::new(sale)));
        }
    }

    fn on_epoch_end(&mut self, ctx: &mut Ctx<TillOut>) {
        assert!(self.at.is_none(), "an order has its verdict within its epoch");
        for (offer, at) in std::mem::take(&mut self.touched) {
            let available = self.ledger.account(self.account(offer, 1)).expect("opened with its offer");
            let left = i64::try_from(available.free()).expect("stock fits an i64");
            self.shelves.get_mut(&offer).expect("it was touched").touched = false;
            ctx.emit(at, TillOut::Left { offer, left });
        }
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        self.ledger.states().into()
    }
}
