//! What velocity counts, on its way through a topic: told where sales runs without fraud, read back where fraud runs alone.
//!
//! ```text
//!   desk ── judged ──> fact_of ──> facts.screening ──> read ──> probe, as if it came from the desk
//! ```
//!
//! Invariant: what is read back has the place it was told at, to the last bit, so that velocity meets orders,
//! declines and changes of rules in the order in which it would have met them behind the desk. Topics are
//! named in facts and numbered in places; both sides number the topics of sales alike.

use crate::cause::{amount_minor, cause_at, topic_name};
use crate::messages::{BookIn, CommandMsg};
use crate::settings::Settings;
use runtime::{At, Class, Offset, PartitionId, Position, TopicId};
use schemas::commands::{PaymentDeclined, PlaceOrder};
use schemas::reference::ReferenceTable;
use schemas::screening::{Place, ScreeningEvent, ScreeningFact, Turn};
use schemas::{Command, Fact, Text};

/// What velocity would count of what the desk sends to the book.
pub fn fact_of(at: At, message: &BookIn, settings: &Settings) -> Option<Fact> {
    let fact = match message {
        BookIn::Order { order, reasons, .. } if reasons.is_empty() => valid(at, order, settings),
        BookIn::Settle(command) => declined(at, at, &command.command, settings)?,
        BookIn::SettleEarly { command, origin } => {
            declined(at, At { origin: *origin, ..at }, &command.command, settings)?
        }
        BookIn::Order { .. } | BookIn::Change(_) => return None,
    };
    Some(Fact::Screening(Box::new(fact)))
}

fn valid(at: At, order: &PlaceOrder, settings: &Settings) -> ScreeningFact {
    ScreeningFact {
        event: ScreeningEvent::OrderValid,
        tenant: order.tenant.clone(),
        order_id: order.order_id.clone(),
        customer_id: Some(order.customer_id.clone()),
        partner_id: order.partner_id.clone(),
        card: order.card.clone(),
        device: order.device.clone(),
        ip: order.ip.clone(),
        amount_minor: Some(amount_minor(order)),
        currency: Some(order.currency.clone()),
        event_at_ms: order.placed_at_ms,
        at_ms: at.time(),
        turn: turn_of(at, at, settings),
        cause: cause_at(at, order.command_id.clone(), settings),
    }
}

/// `source` names the record of the decline, which may travel in its order's turn.
fn declined(at: At, source: At, command: &Command, settings: &Settings) -> Option<ScreeningFact> {
    let Command::PaymentDeclined(declined) = command else { return None };
    Some(ScreeningFact {
        event: ScreeningEvent::PaymentDeclined,
        tenant: declined.tenant.clone(),
        order_id: declined.order_id.clone(),
        customer_id: None,
        partner_id: None,
        card: None,
        device: None,
        ip: None,
        amount_minor: None,
        currency: None,
        event_at_ms: declined.declined_at_ms,
        at_ms: at.time(),
        turn: turn_of(at, source, settings),
        cause: cause_at(source, declined.command_id.clone(), settings),
    })
}

fn turn_of(at: At, source: At, settings: &Settings) -> Option<Turn> {
    let own = at.cause == at.origin && at == source;
    let place = |position| place_of(position, settings);
    (!own).then(|| Turn { cause: place(at.cause), origin: place(at.origin) })
}

fn place_of(position: Position, settings: &Settings) -> Place {
    let (topic, partition) = match (position.partition(), position.operator()) {
        (Some(place), _) => {
            let number = i32::try_from(place.partition);
            (topic_name(settings, place.topic), number.expect("partitions are numbered from 0, as i32"))
        }
        (None, operator) => (Text::default(), operator.map_or(0, i32::from)),
    };
    Place { time_ms: position.time(), topic, partition, offset: position.offset().0 as i64 }
}

/// The place a fact was told at, and what the desk sent then: as much of it as velocity looks at.
pub fn read(fact: ScreeningFact, settings: &Settings) -> (At, BookIn) {
    let at = match &fact.turn {
        Some(turn) => {
            At { cause: position_of(&turn.cause, settings), origin: position_of(&turn.origin, settings) }
        }
        None => At::record(own_position(&fact, settings)),
    };
    (at, message(fact))
}

fn own_position(fact: &ScreeningFact, settings: &Settings) -> Position {
    let (topic, partition, offset) = (fact.cause.topic.clone(), fact.cause.partition, fact.cause.offset);
    position_of(&Place { time_ms: fact.at_ms, topic, partition, offset }, settings)
}

fn position_of(place: &Place, settings: &Settings) -> Position {
    let Place { time_ms, topic, partition, offset } = place;
    if topic.is_empty() {
        return Position::timer(*time_ms, *partition as u16, *offset as u64);
    }
    let number = settings.topics.iter().position(|name| name == topic).unwrap_or_else(|| {
        panic!("facts.screening names topic {topic}, which this program doesn't know: run the version that wrote it")
    });
    let class = if ReferenceTable::of_topic(topic).is_some() { Class::Reference } else { Class::Command };
    let partition = PartitionId { topic: TopicId(number as u16), partition: *partition as u32 };
    Position::record(*time_ms, class, partition, Offset(*offset as u64))
}

fn message(fact: ScreeningFact) -> BookIn {
    match fact.event {
        ScreeningEvent::OrderValid => {
            BookIn::Order { order: Box::new(order(fact)), reasons: Vec::new(), screening: None }
        }
        ScreeningEvent::PaymentDeclined => BookIn::Settle(CommandMsg {
            command: Command::PaymentDeclined(Box::new(PaymentDeclined {
                command_id: fact.cause.command_id,
                tenant: fact.tenant,
                order_id: fact.order_id,
                payment_id: Text::default(),
                reason: None,
                declined_at_ms: fact.event_at_ms,
            })),
            payload_hash: 0,
            raw: None,
            retry_of: None,
        }),
    }
}

/// One unit at the price of all: velocity looks at what an order costs, not at what it is for.
fn order(fact: ScreeningFact) -> PlaceOrder {
    PlaceOrder {
        command_id: fact.cause.command_id,
        tenant: fact.tenant,
        order_id: fact.order_id,
        customer_id: fact.customer_id.unwrap_or_default(),
        partner_id: fact.partner_id,
        offer_id: Text::default(),
        quantity: 1,
        price_minor: fact.amount_minor.unwrap_or_default(),
        currency: fact.currency.unwrap_or_default(),
        placed_at_ms: fact.event_at_ms,
        card: fact.card,
        device: fact.device,
        ip: fact.ip,
        numbers: Vec::new(),
        seat: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn settings() -> Settings {
        let topics = ["oltp.public.offers", "commands.orders", "commands.payments"];
        Settings { topics: topics.map(String::from).into(), ..Settings::default() }
    }

    fn record(time: i64, class: Class, topic: u16, offset: u64) -> Position {
        Position::record(time, class, PartitionId { topic: TopicId(topic), partition: 2 }, Offset(offset))
    }

    fn told(at: At, message: &BookIn) -> ScreeningFact {
        match fact_of(at, message, &settings()) {
            Some(Fact::Screening(fact)) => *fact,
            other => panic!("{other:?}"),
        }
    }

    fn check(at: At, message: &BookIn, own_turn: bool) {
        let fact = told(at, message);
        assert_eq!((fact.turn.is_none(), fact.at_ms), (own_turn, at.time()), "{fact:?}");
        let (read_at, read) = read(fact.clone(), &settings());
        assert_eq!(read_at, at, "it is read at the place it was told at");
        // One that travelled in its order's turn isn't told apart any more from one that came then.
        let again =
            ScreeningFact { turn: fact.turn.clone(), cause: fact.cause.clone(), ..told(read_at, &read) };
        assert_eq!(again, fact, "velocity sees in it what was told");
    }

    #[test]
    fn what_is_read_stands_where_it_was_told() {
        let order = |reasons| BookIn::Order {
            order: Box::new(fixtures::order("acme", "o", "f")),
            reasons,
            screening: None,
        };
        let declined = || fixtures::decline("acme", "o");
        let own = At::record(record(1_000, Class::Command, 1, 7));
        let woken = own.because(record(1_500, Class::Reference, 0, 3));
        let graced = own.because(Position::timer(6_000, 2, u64::MAX - 5));
        for (at, own_turn) in [(own, true), (woken, false), (graced, false)] {
            check(at, &order(vec![]), own_turn);
            check(at, &BookIn::Settle(declined()), own_turn);
            let origin = record(900, Class::Command, 2, 1);
            check(at, &BookIn::SettleEarly { command: Box::new(declined()), origin }, false);
        }
        let refused = order(vec![schemas::facts::Reason::OfferClosed]);
        assert_eq!(fact_of(own, &refused, &settings()), None, "velocity doesn't count it");
    }
}
