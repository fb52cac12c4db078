//! The desk against a plain sequential program, over random logs, epoch cuts, crashes and worker counts.
//!
//! The model keeps lists and looks through all of them every time: no index, no timers, no hashes.

use super::Desk;
use super::judge::{Observed, judge};
use crate::cause;
use crate::fixtures::*;
use crate::harness::{Course, Harness};
use crate::keys::{Scoped, stage};
use crate::messages::{BookIn, CommandMsg, DeskIn, DeskOut, TableChange};
use crate::settings::Settings;
use proptest::prelude::*;
use runtime::{At, Class, Envelope, Millis, Position};
use schemas::commands::PlaceOrder;
use schemas::facts::{OrderEvent, Reason};
use schemas::reference::Standing;
use schemas::{Command, Reference, ReferenceKey};
use std::collections::BTreeMap;

type Said = Vec<(At, DeskOut)>;

/// Something that waits, until its deadline.
struct Waits {
    origin: Position,
    deadline: Millis,
    message: CommandMsg,
}

impl Waits {
    fn is_order(&self) -> bool {
        matches!(self.message.command, Command::PlaceOrder(_))
    }

    fn key(&self) -> Scoped {
        key(&self.message.command)
    }
}

fn key(command: &Command) -> Scoped {
    Scoped { tenant: command.tenant().clone(), id: command.subject_id().clone() }
}

fn as_order(message: &CommandMsg) -> &PlaceOrder {
    let Command::PlaceOrder(order) = &message.command else { panic!("only orders are judged") };
    order
}

struct Model {
    settings: Settings,
    rows: BTreeMap<ReferenceKey, Reference>,
    /// Judged orders and when they are forgotten.
    judged: Vec<(Scoped, Millis)>,
    waits: Vec<Waits>,
    before: Millis,
    said: Said,
}

impl Model {
    fn new() -> Self {
        let (rows, judged, waits) = (BTreeMap::new(), Vec::new(), Vec::new());
        Model { settings: settings(), rows, judged, waits, before: Millis::MIN, said: Vec::new() }
    }

    fn epoch(&mut self, mut records: Vec<Envelope<DeskIn>>, now: Millis) {
        records.sort_by_key(|record| record.at);
        for record in records {
            self.deadlines(record.at.time());
            match record.body {
                DeskIn::Change(change) => self.change(record.at, *change),
                DeskIn::Command(message) => self.command(record.at, message),
            }
        }
        self.deadlines(now);
        self.before = self.before.max(now);
    }

    fn deadlines(&mut self, until: Millis) {
        while let Some((due, key)) = self.next_due(until) {
            let cause = Position::timer(due, stage::DESK, key.route());
            if self.waits.iter().any(|w| w.is_order() && w.key() == key) {
                self.judge(&key, cause);
                continue;
            }
            let late = |w: &mut Waits| w.key() == key && w.deadline <= due;
            for follower in self.waits.extract_if(.., late).collect::<Vec<_>>() {
                let at = At { cause, origin: follower.origin };
                let reason = super::unknown_order(&key, self.settings.grace_ms);
                let letter = cause::dead_letter(at, follower.message, reason, &self.settings);
                self.said.push((at, DeskOut::Out(letter)));
            }
        }
    }

    /// The first deadline that counts: a settlement's doesn't while its order waits.
    fn next_due(&self, until: Millis) -> Option<(Millis, Scoped)> {
        let has_order = |key: &Scoped| self.waits.iter().any(|w| w.is_order() && w.key() == *key);
        let counts = |w: &&Waits| w.is_order() || !has_order(&w.key());
        let due = self.waits.iter().filter(counts).map(|w| (w.deadline, w.key())).min()?;
        (due.0 <= until).then_some(due)
    }

    fn change(&mut self, at: At, change: TableChange) {
        let came = change.row.is_some().then(|| change.key.clone());
        match change.row {
            Some(row) => drop(self.rows.insert(change.key, row)),
            None => drop(self.rows.remove(&change.key)),
        }
        let Some(row) = came else { return };
        let mut woken: Vec<(Position, Scoped)> = Vec::new();
        for waits in self.waits.iter().filter(|w| w.is_order()) {
            let order = as_order(&waits.message);
            if named(order).contains(&row) && !self.lacks(order) {
                woken.push((waits.origin, waits.key()));
            }
        }
        woken.sort();
        woken.into_iter().for_each(|(_, key)| self.judge(&key, at.cause));
    }

    fn command(&mut self, at: At, message: CommandMsg) {
        let (now, key) = (self.before.max(at.time()), key(&message.command));
        let judged = self.judged.iter().any(|(known, until)| *known == key && now < *until);
        let order_waits = self.waits.iter().any(|w| w.is_order() && w.key() == key);
        let is_order = matches!(message.command, Command::PlaceOrder(_));
        if is_order && (judged || order_waits) {
            return self.duplicate(at, as_order(&message));
        }
        if !is_order && judged {
            return self.said.push((at, DeskOut::ToBook(BookIn::Settle(message))));
        }
        let ready = is_order && !self.lacks(as_order(&message));
        let deadline = now + self.settings.grace_ms;
        self.waits.push(Waits { origin: at.origin, deadline, message });
        if ready {
            self.judge(&key, at.cause);
        }
    }

    fn duplicate(&mut self, at: At, order: &PlaceOrder) {
        let mut reasons = judge(order, self.observe(order), at.time());
        reasons.push(Reason::DuplicateOrder);
        let kind = self.observe(order).offer.map(|offer| offer.kind);
        let event = OrderEvent::Refused;
        let fact = cause::order_fact(event, order, kind, reasons, at, &self.settings);
        self.said.push((at, DeskOut::Out(fact)));
    }

    fn judge(&mut self, key: &Scoped, cause: Position) {
        let mut here: Vec<Waits> = self.waits.extract_if(.., |w| w.key() == *key).collect();
        let order = here.iter().position(Waits::is_order).expect("only where an order waits");
        let order = here.remove(order);
        let at = At { cause, origin: order.origin };
        let Settings { order_retention_ms, hold_ttl_ms, review_timeout_ms, grace_ms, .. } = self.settings;
        let kept = order_retention_ms + hold_ttl_ms + review_timeout_ms + grace_ms;
        let forget = self.before.max(at.time()) + kept;
        self.judged.retain(|(known, _)| known != key);
        self.judged.push((key.clone(), forget));
        let reasons = judge(as_order(&order.message), self.observe(as_order(&order.message)), at.time());
        let body = Box::new(as_order(&order.message).clone());
        self.said.push((at, DeskOut::ToBook(BookIn::Order { order: body, reasons, screening: None })));
        here.sort_by_key(|waits| waits.origin);
        for Waits { origin, message, .. } in here {
            let own = At { cause, origin };
            if own > at {
                self.said.push((own, DeskOut::ToBook(BookIn::Settle(message))));
            } else {
                let early = BookIn::SettleEarly { command: Box::new(message), origin };
                self.said.push((at, DeskOut::ToBook(early)));
            }
        }
    }

    fn lacks(&self, order: &PlaceOrder) -> bool {
        let required = self.settings.tenants_requiring_customers.contains(&order.tenant);
        let needed = |key: &ReferenceKey| required || !matches!(key, ReferenceKey::Customer { .. });
        named(order).iter().filter(|key| needed(key)).any(|key| !self.rows.contains_key(key))
    }

    fn observe(&self, order: &PlaceOrder) -> Observed<'_> {
        let mut seen = Observed {
            offer: None,
            partner: None,
            customer: None,
            customer_required: self.settings.tenants_requiring_customers.contains(&order.tenant),
        };
        for key in named(order) {
            match self.rows.get(&key) {
                Some(Reference::Offer(row)) => seen.offer = Some(row),
                Some(Reference::Partner(row)) => seen.partner = Some(row),
                Some(Reference::Customer(row)) => seen.customer = Some(row),
                _ => {}
            }
        }
        seen
    }
}

fn named(order: &PlaceOrder) -> Vec<ReferenceKey> {
    let tenant = order.tenant.clone();
    let mut keys = vec![
        ReferenceKey::Offer { tenant: tenant.clone(), offer_id: order.offer_id.clone() },
        ReferenceKey::Customer { tenant: tenant.clone(), customer_id: order.customer_id.clone() },
    ];
    if let Some(partner_id) = order.partner_id.clone() {
        keys.push(ReferenceKey::Partner { tenant, partner_id });
    }
    keys
}

/// A record without its place: how far the log's time moves on before it, and what it says.
fn step() -> impl Strategy<Value = (Millis, DeskIn)> {
    let gap = prop_oneof![6 => 0..20i64, 2 => Just(0), 1 => Just(50), 1 => 0..400i64];
    (
        gap,
        prop_oneof![3 => command().prop_map(DeskIn::Command), 2 => change().prop_map(|change| DeskIn::Change(Box::new(change)))],
    )
}

fn tenant() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just(TENANT), Just("clubs")]
}

fn command() -> impl Strategy<Value = CommandMsg> {
    let parts = (tenant(), 0..4u8, 0..3u8, 0..3u8, -1..7i32, 0..5u8);
    parts.prop_map(|(tenant, id, offer_id, via, quantity, kind)| {
        let id = format!("order-{id}");
        let mut wanted = order(tenant, &id, &format!("offer-{offer_id}"));
        wanted.partner_id = (via > 0).then(|| format!("partner-{via}").into());
        wanted.quantity = quantity;
        match kind {
            0 => cancel(tenant, &id),
            1 => pay(tenant, &id),
            _ => place(wanted),
        }
    })
}

fn change() -> impl Strategy<Value = TableChange> {
    let standing = prop_oneof![3 => Just(Standing::Active), 1 => Just(Standing::Suspended)];
    (tenant(), 0..3u8, 0..3u8, standing, any::<bool>(), 90..110i64).prop_map(
        |(tenant, table, id, standing, gone, price)| {
            let row = match table {
                0 => Reference::Offer(Box::new(schemas::reference::Offer {
                    price_minor: price.max(100),
                    ..offer(tenant, &format!("offer-{id}"))
                })),
                1 => partner(tenant, &format!("partner-{id}"), standing),
                _ => customer(tenant, "eve", standing),
            };
            if gone && id == 0 { delete(row.key()) } else { upsert(row) }
        },
    )
}

/// The steps as a log, each at its time.
fn log_of(steps: Vec<(Millis, DeskIn)>) -> Vec<Envelope<DeskIn>> {
    let mut time = 1_000;
    let place = |(offset, (gap, body)): (usize, (Millis, DeskIn))| {
        time += gap;
        let class = if matches!(body, DeskIn::Change(_)) { Class::Reference } else { Class::Command };
        record(time, class, offset as u64, body)
    };
    steps.into_iter().enumerate().map(place).collect()
}

fn pairs(out: Vec<Envelope<DeskOut>>) -> Said {
    out.into_iter().map(|envelope| (envelope.at, envelope.body)).collect()
}

fn sorted(mut said: Said) -> Said {
    said.sort_by_key(|(at, _)| *at);
    said
}

proptest! {
    #[test]
    fn whatever_the_cuts_crashes_and_workers_a_log_leads_to_what_a_plain_program_says(
        steps in proptest::collection::vec(step(), 1..120),
        cuts in proptest::collection::btree_set(1_000..4_000i64, 0..12),
        crashes in proptest::collection::btree_map(0..12usize, 1..5usize, 0..6),
        workers in 1..5usize,
    ) {
        let log = log_of(steps);
        let end_ms = log.last().unwrap().at.time() + 100;
        let mut model = Model::new();
        model.epoch(log.clone(), end_ms);
        let cuts = cuts.into_iter().filter(|cut| *cut < end_ms).collect();
        let course = Course { cuts, crashes, workers, end_ms };
        prop_assert_eq!(pairs(course.run(|| Desk::new(settings()), &log)), sorted(model.said));
    }

    #[test]
    fn live_too_where_epochs_take_what_has_arrived_and_some_records_are_late(
        epochs in proptest::collection::vec((proptest::collection::vec((step(), 0..200i64), 0..6), 0..60i64), 1..40),
        crash_after in 0..40usize,
    ) {
        let (mut model, mut harness) = (Model::new(), Harness::new(3, || Desk::new(settings())));
        let (mut now, mut offset) = (1_000, 0);
        for (index, (steps, pause)) in epochs.into_iter().enumerate() {
            now += pause;
            let mut records = Vec::new();
            for ((_, body), late) in steps {
                offset += 1;
                let class = if matches!(body, DeskIn::Change(_)) { Class::Reference } else { Class::Command };
                records.push(record(now - late, class, offset, body));
            }
            harness.freeze();
            let got = harness.epoch(records.clone(), now);
            while !harness.write_slice(2) {}
            model.epoch(records, now);
            prop_assert_eq!(pairs(got), sorted(std::mem::take(&mut model.said)), "epoch {}", index);
            if index == crash_after {
                harness.snapshot(5);
                harness = harness.restored(2);
            }
        }
    }
}
