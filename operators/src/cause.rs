//! What facts and dead letters say of the record they go back to.
//!
//! A fact's cause is the record its message started as ([`At::origin`]), not what made it happen now: an
//! order that waited for a row, or expired by a timer, still names its own record in the log.

use crate::messages::{CommandMsg, Output};
use crate::settings::Settings;
use runtime::{At, Position};
use schemas::commands::PlaceOrder;
use schemas::facts::{Cause, DeadLetter, OrderEvent, OrderFact, Reason};
use schemas::reference::OfferKind;
use schemas::{Command, Fact, Text};

/// The cause of what follows from `command` at `at`.
pub fn cause_of(at: At, command: &Command, settings: &Settings) -> Cause {
    cause_at(at, command.command_id().clone(), settings)
}

/// The cause of what follows from the record behind `at`; `command_id` is empty for a reference change.
pub fn cause_at(at: At, command_id: Text, settings: &Settings) -> Cause {
    let record = record_behind(at);
    let place = record.partition().expect("whatever happens goes back to a record of the log");
    Cause {
        command_id,
        topic: topic_name(settings, place.topic),
        partition: i32::try_from(place.partition).expect("partitions are numbered from 0, as i32"),
        offset: i64::try_from(record.offset().0).expect("offsets are counted from 0, as i64"),
        record_time_ms: record.time(),
    }
}

/// The origin, or the cause where the origin only tells apart the many effects of one record (rows that it removes).
fn record_behind(at: At) -> Position {
    if at.origin.partition().is_some() { at.origin } else { at.cause }
}

/// The name of a topic; its number where the settings don't list it.
pub fn topic_name(settings: &Settings, topic: runtime::TopicId) -> Text {
    settings.topics.get(usize::from(topic.0)).map_or_else(|| unnamed(topic), Text::from)
}

fn unnamed(topic: runtime::TopicId) -> Text {
    Text::from(format!("topic-{}", topic.0))
}

/// What an order costs; a sum that money can't hold is as much as it can hold (no offer has that price).
pub fn amount_minor(order: &PlaceOrder) -> i64 {
    i64::from(order.quantity).saturating_mul(order.price_minor)
}

/// A fact about an order at the moment `at` it is placed or refused: the order itself is the cause.
pub fn order_fact(
    event: OrderEvent,
    order: &PlaceOrder,
    offer_kind: Option<OfferKind>,
    reasons: Vec<Reason>,
    at: At,
    settings: &Settings,
) -> Output {
    let fact = OrderFact {
        event,
        tenant: order.tenant.clone(),
        order_id: order.order_id.clone(),
        command_id: order.command_id.clone(),
        offer_id: order.offer_id.clone(),
        offer_kind,
        partner_id: order.partner_id.clone(),
        customer_id: order.customer_id.clone(),
        quantity: order.quantity,
        amount_minor: amount_minor(order),
        currency: order.currency.clone(),
        reasons,
        placed_at_ms: order.placed_at_ms,
        at_ms: at.time(),
        cause: cause_at(at, order.command_id.clone(), settings),
    };
    Output::Fact(Fact::Order(Box::new(fact)))
}

/// A command nothing could be done with, whole. `reason` says what is wrong and what to do.
pub fn dead_letter(at: At, command: CommandMsg, reason: String, settings: &Settings) -> Output {
    let cause = cause_of(at, &command.command, settings);
    Output::DeadLetter(Box::new(DeadLetter {
        id: Text::from(format!("{}/{}/{}", cause.topic, cause.partition, cause.offset)),
        topic: cause.topic,
        partition: cause.partition,
        offset: cause.offset,
        reason,
        payload: command.raw.map(Vec::from).unwrap_or_default(),
        key: None,
        record_time_ms: cause.record_time_ms,
    }))
}
