//! Order validation: judges every order once, and holds back what comes before its time.
//!
//! ```text
//!   command ── order, all rows known ──────────────────> Order{reasons}  ─┐
//!           ── order, a row missing ──> waits ─ row ───> Order at the row's moment
//!           │                                └ grace ──> Order as it is   ├─> book
//!           ── order id used before ──> refused here                      │
//!           ── settlement, order judged ───────────────> Settle          ─┤
//!           ── settlement, order waits ──> queues ─────> Settle behind it ┘
//!           ── settlement, no order ──> waits ─ grace ─> dead letter
//!   change ──> tables (on every worker) ──> wakes the orders that wait for the row
//! ```
//!
//! Invariants: an order id leads to one judgement as long as it is remembered; an order's reasons are those
//! of one moment, judged entirely anew at that moment; nothing settles an order before the order itself has
//! gone to the book. Refused orders go there too: the book adds its own reasons and writes the row.
//! A crash loses nothing: tables, waiting commands and used ids are state; timers and the index of missing
//! rows are rebuilt from it. Not promised: an order id that is used again after it was forgotten
//! (`order_retention_ms` + `hold_ttl_ms` + `review_timeout_ms` + `grace_ms` after its judgement) is a new order.

mod judge;
#[cfg(test)]
mod model;
mod pending;
mod registry;
mod tables;
#[cfg(test)]
mod tests;

use crate::cause;
use crate::keys::{Scoped, ScopedRef, stage};
use crate::messages::{BookIn, CommandMsg, DeskIn, DeskOut, TableChange};
use crate::settings::Settings;
use pending::{Follower, Pending, WaitingOrder, WaitingRoom};
use registry::{OrderHash, Registry};
use runtime::{At, Ctx, Envelope, Millis, Operator, Position, Route, State, stable_hash2};
use schemas::Command;
use schemas::commands::PlaceOrder;
use schemas::facts::{OrderEvent, Reason};
use std::collections::VecDeque;
use tables::Tables;

/// The operator. See the module.
pub struct Desk {
    settings: Settings,
    tables: Tables,
    judged: Registry,
    waiting: WaitingRoom,
    /// Of the commands about to be handled.
    coming: VecDeque<OrderHash>,
}

impl Desk {
    /// A desk that has seen nothing.
    pub fn new(settings: Settings) -> Self {
        Desk {
            settings,
            tables: Tables::default(),
            judged: Registry::default(),
            waiting: WaitingRoom::default(),
            coming: VecDeque::new(),
        }
    }

    fn on_command(&mut self, at: At, message: CommandMsg, ctx: &mut Ctx<DeskOut>) {
        let hash = self.coming.pop_front().unwrap_or_else(|| order_hash(&message.command));
        match message.command {
            Command::PlaceOrder(order) => self.place(at, hash, order, ctx),
            _ => self.settle(at, hash, message, ctx),
        }
    }

    fn place(&mut self, at: At, hash: OrderHash, order: Box<PlaceOrder>, ctx: &mut Ctx<DeskOut>) {
        let key = ScopedRef { tenant: &order.tenant, id: &order.order_id };
        if self.judged.knows(hash, ctx.now()) || self.waiting.has_order(key) {
            return self.refuse_duplicate(at, &order, ctx);
        }
        let seen = self.tables.observe(&order, &self.settings.tenants_requiring_customers);
        let missing = tables::missing(&order, seen);
        if missing.is_empty() {
            let reasons = judge::judge(&order, seen, at.time());
            let early = self.waiting.take(key).unwrap_or_default();
            return self.send(at, (hash, order), reasons, early.followers, ctx);
        }
        let deadline_ms = ctx.now() + self.settings.grace_ms;
        self.waiting.add_order(WaitingOrder { origin: at.origin, deadline_ms, order }, missing);
    }

    fn missing(&self, order: &PlaceOrder) -> Vec<schemas::ReferenceKey> {
        tables::missing(order, self.tables.observe(order, &self.settings.tenants_requiring_customers))
    }

    fn reasons(&self, order: &PlaceOrder, time: Millis) -> Vec<Reason> {
        let seen = self.tables.observe(order, &self.settings.tenants_requiring_customers);
        judge::judge(order, seen, time)
    }

    /// Which rows the waiting orders lack follows from the settings, too. A generation's are told at its
    /// first epoch, also in a replay: so the index is the same whether it goes on or is restored there.
    fn index_waiting(&mut self) {
        let (tables, requiring) = (&self.tables, &self.settings.tenants_requiring_customers);
        self.waiting.index_all(|order| tables::missing(order, tables.observe(order, requiring)));
    }

    /// The row belongs to the order that used the id first: this one leaves nothing but a fact.
    fn refuse_duplicate(&self, at: At, order: &PlaceOrder, ctx: &mut Ctx<DeskOut>) {
        let mut reasons = self.reasons(order, at.time());
        reasons.push(Reason::DuplicateOrder);
        let seen = self.tables.observe(order, &self.settings.tenants_requiring_customers);
        let kind = seen.offer.map(|offer| offer.kind);
        let fact = cause::order_fact(OrderEvent::Refused, order, kind, reasons, at, &self.settings);
        ctx.emit(at, DeskOut::Out(fact));
    }

    /// Judges an order anew as of now.
    fn judge(&mut self, at: At, order: Box<PlaceOrder>, followers: Vec<Follower>, ctx: &mut Ctx<DeskOut>) {
        let reasons = self.reasons(&order, at.time());
        let hash = OrderHash::new(&order.tenant, &order.order_id);
        self.send(at, (hash, order), reasons, followers, ctx);
    }

    /// Sends an order to the book with its reasons, and what waited for it directly behind it.
    fn send(
        &mut self,
        at: At,
        (hash, order): (OrderHash, Box<PlaceOrder>),
        reasons: Vec<Reason>,
        followers: Vec<Follower>,
        ctx: &mut Ctx<DeskOut>,
    ) {
        let Settings { order_retention_ms, hold_ttl_ms, review_timeout_ms, grace_ms, .. } = self.settings;
        let kept_ms = order_retention_ms + hold_ttl_ms + review_timeout_ms + grace_ms;
        self.judged.remember(hash, ctx.now() + kept_ms);
        ctx.emit(at, DeskOut::ToBook(BookIn::Order { order, reasons, screening: None }));
        for follower in followers {
            follow(at, follower, ctx);
        }
    }

    /// Judges what waits under an order id, because of `cause`.
    fn judge_waiting(&mut self, key: &Scoped, cause: Position, ctx: &mut Ctx<DeskOut>) {
        let Some(Pending { order: Some(waiting), followers }) = self.waiting.take(key.borrowed()) else {
            unreachable!("only orders that wait are woken or due");
        };
        self.judge(At { cause, origin: waiting.origin }, waiting.order, followers, ctx);
    }

    fn settle(&mut self, at: At, order: OrderHash, message: CommandMsg, ctx: &mut Ctx<DeskOut>) {
        if self.judged.knows(order, ctx.now()) {
            return ctx.emit(at, DeskOut::ToBook(BookIn::Settle(message)));
        }
        let deadline_ms = ctx.now() + self.settings.grace_ms;
        self.waiting.add_follower(Follower { origin: at.origin, deadline_ms, command: message });
    }

    fn on_change(&mut self, at: At, change: TableChange, ctx: &mut Ctx<DeskOut>) {
        let Some(row) = self.tables.apply(change) else { return };
        for (origin, key) in self.waiting.woken_by(&row) {
            let waiting = self.waiting.order(&key).expect("the index names orders that wait");
            let missing = self.missing(&waiting.order);
            if missing.is_empty() {
                self.judge_waiting(&key, at.cause, ctx);
            } else {
                self.waiting.index(missing, origin, &key);
            }
        }
    }

    /// The grace of something under this order id may be over at `due`.
    fn on_deadline(&mut self, due: Millis, key: &Scoped, ctx: &mut Ctx<DeskOut>) {
        let cause = Position::timer(due, stage::DESK, key.route());
        if self.waiting.order(key).is_some_and(|waiting| waiting.deadline_ms <= due) {
            return self.judge_waiting(key, cause, ctx);
        }
        for follower in self.waiting.take_overdue(key, due) {
            let at = At { cause, origin: follower.origin };
            let reason = unknown_order(key, self.settings.grace_ms);
            let letter = cause::dead_letter(at, follower.command, reason, &self.settings);
            ctx.emit(at, DeskOut::Out(letter));
        }
    }
}

fn order_hash(command: &Command) -> OrderHash {
    OrderHash::new(command.tenant(), command.subject_id())
}

/// Sends a command behind its order, at its own place where that comes later.
fn follow(order: At, follower: Follower, ctx: &mut Ctx<DeskOut>) {
    let Follower { origin, command, .. } = follower;
    let at = At { cause: order.cause, origin };
    if at > order {
        ctx.emit(at, DeskOut::ToBook(BookIn::Settle(command)));
    } else {
        ctx.emit(order, DeskOut::ToBook(BookIn::SettleEarly { command: Box::new(command), origin }));
    }
}

fn unknown_order(key: &Scoped, grace_ms: Millis) -> String {
    format!(
        "unknown_order: tenant {} has no order {}, and none came within {grace_ms} ms; retry once it is there",
        key.tenant, key.id
    )
}

impl Operator for Desk {
    type In = DeskIn;
    type Out = DeskOut;
    const NAME: &'static str = "desk";

    fn configure(&mut self, settings: &str) {
        self.settings = Settings::recorded_or_stop(settings);
        self.index_waiting();
    }

    fn route(input: &DeskIn) -> Route {
        match input {
            DeskIn::Change(_) => Route::All,
            DeskIn::Command(CommandMsg { command, .. }) => {
                Route::Key(stable_hash2(command.tenant().as_bytes(), command.subject_id().as_bytes()))
            }
        }
    }

    /// As in dedup: every order is somewhere else, and reads that need nothing of each other wait together.
    fn foresee(&mut self, coming: &[Envelope<DeskIn>]) {
        debug_assert!(self.coming.is_empty(), "what was foreseen was handled");
        for message in coming {
            if let DeskIn::Command(CommandMsg { command, .. }) = &message.body {
                self.coming.push_back(order_hash(command));
            }
        }
        let glances = self.coming.iter().map(|order| self.judged.glance(*order));
        std::hint::black_box(glances.fold(0, std::ops::BitXor::bitxor));
    }

    fn on_record(&mut self, at: At, input: DeskIn, ctx: &mut Ctx<DeskOut>) {
        match input {
            DeskIn::Command(message) => self.on_command(at, message, ctx),
            DeskIn::Change(change) => self.on_change(at, *change, ctx),
        }
    }

    fn next_timer(&self) -> Option<Millis> {
        self.waiting.next_deadline().into_iter().chain(self.judged.next_sweep()).min()
    }

    fn on_timer(&mut self, due: Millis, ctx: &mut Ctx<DeskOut>) {
        for key in self.waiting.due(due) {
            self.on_deadline(due, &key, ctx);
        }
        self.judged.sweep(due);
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        let mut states: Vec<&mut dyn State> = self.tables.states().into();
        states.extend([self.judged.state(), self.waiting.state()]);
        states
    }

    fn on_restored(&mut self) {
        self.waiting.on_restored();
        self.index_waiting();
        self.judged.on_restored();
    }
}
