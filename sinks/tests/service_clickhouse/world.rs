//! A log of facts that follows from its size alone, so that another process has the same one.
//!
//! Every fifth epoch is empty; every order that isn't refused is held and confirmed in its own epoch, each with its
//! movement of stock. The hundredth epoch begins a new month.

use runtime::source::{Claim, Fetch, Fetched, LogError, LogReader};
use runtime::{Class, Offset, PartitionId, TopicId};
use schemas::facts::*;
use schemas::reference::{OfferKind, PeriodStatus};
use schemas::velocity::{FraudAction, FraudEvent, FraudFact, VelocityKey, VelocityMetric};
use schemas::{Fact, Text};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// 2024-12-01T00:00:00Z is epoch 100, at 100 ms an epoch.
const NEW_MONTH_MS: i64 = 1_733_011_200_000;

/// Facts by topic number and partition.
pub struct World {
    partitions: BTreeMap<(u16, u32), Vec<FactRecord>>,
    stock: BTreeMap<Text, (i64, i64)>,
    orders: u64,
}

pub fn record_time(epoch: u64) -> i64 {
    NEW_MONTH_MS + (epoch as i64 - 100) * 100
}

pub fn text(word: &str, n: u64) -> Text {
    format!("{word}-{n}").into()
}

impl World {
    /// Epochs 1 to `epochs`, each with this many orders.
    pub fn of(epochs: u64, orders: u64) -> World {
        let mut world = World { partitions: BTreeMap::new(), stock: BTreeMap::new(), orders: 0 };
        for epoch in (1..=epochs).filter(|epoch| epoch % 5 != 0) {
            (0..orders).for_each(|_| world.order(epoch));
        }
        world
    }

    fn order(&mut self, epoch: u64) {
        self.orders += 1;
        let n = self.orders;
        if n.is_multiple_of(7) {
            return self.order_fact(epoch, n, OrderEvent::Refused);
        }
        let (available, held, sold) = (StockAccount::Available, StockAccount::Held, StockAccount::Sold);
        for (event, debit, credit) in
            [(OrderEvent::Held, available, held), (OrderEvent::Confirmed, held, sold)]
        {
            self.order_fact(epoch, n, event);
            self.stock_fact(epoch, n, (debit, credit));
        }
        self.push(epoch, 0, ticket(epoch, n));
        if n.is_multiple_of(11) {
            self.push(epoch, 0, fraud(epoch, n));
        }
        if n.is_multiple_of(13) {
            self.push(epoch, 0, commission(epoch, n));
        }
        if n.is_multiple_of(17) {
            self.push(epoch, 0, dead_letter(epoch, n));
        }
        if n.is_multiple_of(19) {
            crate::draws::told(epoch, n).into_iter().for_each(|fact| self.push(epoch, 0, fact));
        }
    }

    fn push(&mut self, epoch: u64, partition: u32, fact: Fact) {
        let topic = Fact::TOPICS.iter().position(|topic| *topic == fact.topic()).unwrap() as u16;
        self.partitions.entry((topic, partition)).or_default().push(FactRecord { epoch, fact });
    }

    fn order_fact(&mut self, epoch: u64, n: u64, event: OrderEvent) {
        let reasons =
            if event == OrderEvent::Refused { vec![Reason::SoldOut, Reason::OfferClosed] } else { vec![] };
        let fact = OrderFact {
            event,
            tenant: "acme".into(),
            order_id: text("order", n),
            command_id: text("command", n),
            offer_id: text("offer", n % 10),
            offer_kind: Some(OfferKind::Ticket),
            partner_id: n.is_multiple_of(3).then(|| text("partner", n % 4)),
            customer_id: text("customer", n % 100),
            quantity: 1,
            amount_minor: 100 + n as i64,
            currency: "EUR".into(),
            reasons,
            placed_at_ms: record_time(epoch) - 5,
            at_ms: record_time(epoch),
            cause: cause(epoch, n),
        };
        self.push(epoch, n as u32 % 2, Fact::Order(Box::new(fact)));
    }

    fn stock_fact(&mut self, epoch: u64, n: u64, (debit, credit): (StockAccount, StockAccount)) {
        let offer_id = text("offer", n % 10);
        let (held, sold) = self.stock.entry(offer_id.clone()).or_default();
        (*held, *sold) =
            if credit == StockAccount::Held { (*held + 1, *sold) } else { (*held - 1, *sold + 1) };
        let fact = StockFact {
            tenant: "acme".into(),
            offer_id,
            order_id: Some(text("order", n)),
            debit,
            credit,
            quantity: 1,
            stock_total: 1_000_000,
            available: 1_000_000 - *held - *sold,
            held: *held,
            sold: *sold,
            shrink_due: 0,
            at_ms: record_time(epoch),
            cause: cause(epoch, n),
        };
        self.push(epoch, n as u32 % 2, Fact::Stock(Box::new(fact)));
    }

    /// Facts of a topic up to an epoch, with their offsets.
    pub fn facts(&self, topic: &str, through: u64) -> impl Iterator<Item = (u64, &FactRecord)> {
        let topic = Fact::TOPICS.iter().position(|known| *known == topic).unwrap() as u16;
        let of_topic = self.partitions.iter().filter(move |((known, _), _)| *known == topic);
        of_topic.flat_map(move |(_, facts)| (0..).zip(facts).filter(move |(_, fact)| fact.epoch <= through))
    }

    /// Sold of each offer up to an epoch.
    pub fn sold(&self, through: u64) -> BTreeMap<Text, i64> {
        let mut sold = BTreeMap::new();
        for (_, record) in self.facts("facts.stock", through) {
            let Fact::Stock(fact) = &record.fact else { unreachable!() };
            *sold.entry(fact.offer_id.clone()).or_default() += i64::from(fact.credit == StockAccount::Sold);
        }
        sold
    }
}

pub fn cause(epoch: u64, n: u64) -> Cause {
    let (topic, record_time_ms) = ("commands.orders".into(), record_time(epoch));
    Cause { command_id: text("command", n), topic, partition: 0, offset: n as i64, record_time_ms }
}

fn ticket(epoch: u64, n: u64) -> Fact {
    Fact::Ticket(Box::new(TicketFact {
        tenant: "acme".into(),
        ticket_id: text("ticket", n),
        order_id: text("order", n),
        offer_id: text("offer", n % 10),
        numbers: vec![1, n as i32],
        seat: None,
        payload: "signed".into(),
        at_ms: record_time(epoch),
        cause: cause(epoch, n),
    }))
}

fn fraud(epoch: u64, n: u64) -> Fact {
    Fact::Fraud(Box::new(FraudFact {
        event: FraudEvent::RuleFired,
        tenant: "acme".into(),
        order_id: text("order", n),
        command_id: text("command", n),
        rule_id: Some(text("rule", n % 2)),
        key: VelocityKey::Customer,
        key_value: text("customer", n % 100),
        metric: Some(VelocityMetric::Count),
        value: Some(4),
        threshold: Some(3),
        window_ms: Some(60_000),
        action: Some(FraudAction::Flag),
        exact_since_ms: None,
        late_by_ms: None,
        placed_at_ms: record_time(epoch) - 5,
        at_ms: record_time(epoch),
        cause: cause(epoch, n),
    }))
}

fn commission(epoch: u64, n: u64) -> Fact {
    let moved = CommissionCause {
        kind: CauseKind::Sales,
        month: "2024-12".into(),
        count: 1,
        amount_minor: 100,
        effect_minor: 3,
        topic: "facts.orders".into(),
        partition: 0,
        offset: n as i64,
        record_time_ms: record_time(epoch),
    };
    Fact::Commission(Box::new(CommissionFact {
        tenant: "acme".into(),
        partner_id: text("partner", n % 4),
        month: "2024-12".into(),
        currency: "EUR".into(),
        offer_kind: OfferKind::Ticket,
        base_delta_minor: 100,
        commission_delta_minor: 3,
        adjustment_delta_minor: 0,
        base_minor: 0,
        commission_minor: 0,
        adjustment_minor: 0,
        computed_minor: 0,
        status: PeriodStatus::Open,
        commission_base_minor: 0,
        plan: Some("gold".into()),
        valid_from: Some("2024-01-01".into()),
        tiers: vec![Tier { floor_minor: 0, rate_bps: 300 }],
        causes: vec![moved],
        at_ms: record_time(epoch),
        cause: cause(epoch, n),
    }))
}

fn dead_letter(epoch: u64, n: u64) -> Fact {
    Fact::DeadLetter(Box::new(DeadLetter {
        id: DeadLetter::id_of("commands.orders", 0, n as i64),
        topic: "commands.orders".into(),
        partition: 0,
        offset: n as i64,
        reason: "cut short".to_owned(),
        payload: vec![0, 0xff, n as u8],
        key: None,
        // What a broken record claims may be anything.
        record_time_ms: if n.is_multiple_of(2) { i64::MAX } else { record_time(epoch) },
    }))
}

/// The log up to an epoch that another thread moves.
#[derive(Clone)]
pub struct WorldLog {
    pub world: Arc<World>,
    pub appended: Arc<AtomicU64>,
}

impl WorldLog {
    pub fn new(world: World, appended: u64) -> WorldLog {
        WorldLog { world: Arc::new(world), appended: Arc::new(AtomicU64::new(appended)) }
    }
}

impl LogReader for WorldLog {
    type Record = FactRecord;

    fn partitions(&mut self) -> Result<Vec<PartitionId>, LogError> {
        let ids = self.world.partitions.keys();
        Ok(ids
            .map(|(topic, partition)| PartitionId { topic: TopicId(*topic), partition: *partition })
            .collect())
    }

    fn fetch(&mut self, id: PartitionId, from: Offset, max: usize) -> Result<Fetch<FactRecord>, LogError> {
        let facts = &self.world.partitions[&(id.topic.0, id.partition)];
        let appended = self.appended.load(Ordering::SeqCst);
        let end = facts.partition_point(|fact| fact.epoch <= appended);
        let to = end.min(from.0 as usize + max);
        let record = |(offset, body): (usize, &FactRecord)| Fetched {
            offset: Offset(offset as u64),
            claim: Claim::Nothing,
            class: Class::Command,
            body: body.clone(),
            unread: None,
        };
        let records = facts.iter().enumerate().take(to).skip(from.0 as usize).map(record).collect();
        Ok(Fetch::dense(from, records, Offset(end as u64)))
    }

    fn wait(&mut self, _: u64) {}
}
