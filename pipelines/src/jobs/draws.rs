//! The draws job: results reported by sources in, publications and prizes out.
//!
//! ```text
//!   commands.draws, .publication_results ──> draws ── Settle ──┬───────────────> pool ── amounts ──┐
//!   oltp.public.draws, .channels ───────────↑  │               └─> tickets ── counts ──↑           ↓
//!   book ── orders, tickets, refunds ──────────┼────────────────────↑ └── winners ───────────────> pay
//!   oltp.public.offers, .draws ────────────────┼────────────────────┘                              │
//!                                              └──> facts.draws, facts.publications                └──> facts.winnings
//! ```
//!
//! It runs in the dataflow of sales: a ticket is in a draw or not by its place among the results, which a topic of
//! tickets doesn't tell to the millisecond. Nothing flows back.

use operators::draws::{Draws, DrawsIn, DrawsOut};
use operators::messages::{CommandMsg, Output, TableChange};
use operators::settings::Settings;
use operators::settlement::pay::{Pay, PayIn};
use operators::settlement::pool::{Pool, PoolIn, PoolOut};
use operators::settlement::tickets::{Tickets, TicketsIn, TicketsOut};
use runtime::{Flow, Messages};
use schemas::Fact;
use schemas::facts::{OrderEvent, OrderFact, Reason};
use schemas::reference::{OfferKind, ReferenceTable};

/// What it reads besides the topics of sales.
pub const TOPICS: [&str; 4] =
    ["oltp.public.draws", "oltp.public.channels", "commands.draws", "commands.publication_results"];

/// Items of the same cause come after those of sales and commissions: what is decided, what it pays, to whom.
mod stage {
    pub const DRAWS: u8 = 6;
    pub const POOL: u8 = 7;
    pub const TICKETS: u8 = 8;
    pub const PAY: u8 = 9;
}

/// Wires the job. `rows` may be of any table; what it tells is still to be told apart into letters, facts and rows.
pub fn wire<'s>(
    flow: &mut Flow<'s, Output>,
    settings: &Settings,
    commands: Messages<'s, CommandMsg>,
    sold: Messages<'s, TicketsIn>,
    rows: Messages<'s, TableChange>,
    tell: fn(&mut Output) -> Option<Output>,
) {
    let commands = flow.flat_map(commands, |_, command| Some(DrawsIn::Command(command)));
    let tables = flow.flat_map(rows.clone(), |_, change| table(change));
    let draws_in = flow.merge(vec![commands, tables]);
    let decided = flow.stateful(Draws::new(settings.clone()), draws_in);
    let (told, results) = flow.branch(decided, |out| matches!(out, DrawsOut::Settle(_)));

    let for_tickets = flow.flat_map(rows, |_, change| of_sales(change));
    let to_look = flow.flat_map(results.clone(), |_, out| settle(out).map(TicketsIn::Settle));
    let tickets_in = flow.merge(vec![sold, for_tickets, to_look]);
    let looked = flow.stateful(Tickets::new(settings.clone()), tickets_in);

    let counts = flow.flat_map(looked.clone(), |_, out| match out {
        TicketsOut::Counted(counted) => Some(PoolIn::Counted(counted)),
        _ => None,
    });
    let to_share = flow.flat_map(results, |_, out| settle(out).map(PoolIn::Settle));
    let pool_in = flow.merge(vec![counts, to_share]);
    let shared = flow.stateful(Pool::default(), pool_in);

    let winners = flow.flat_map(looked.clone(), |_, out| match out {
        TicketsOut::Winners(winners) => Some(PayIn::Winners(winners)),
        _ => None,
    });
    let amounts = flow.flat_map(shared.clone(), |_, out| match out {
        PoolOut::Amounts(amounts) => Some(PayIn::Amounts(amounts)),
        PoolOut::Out(_) => None,
    });
    let pay_in = flow.merge(vec![winners, amounts]);
    let paid = flow.stateful(Pay::new(settings.clone()), pay_in);

    let told = flow.flat_map(told, |_, out| match out {
        DrawsOut::Out(output) => Some(output),
        DrawsOut::Settle(_) => None,
    });
    let settled = flow.flat_map(shared, |_, out| match out {
        PoolOut::Out(output) => Some(output),
        PoolOut::Amounts(_) => None,
    });
    let late = flow.flat_map(looked, |_, out| match out {
        TicketsOut::Out(output) => Some(output),
        _ => None,
    });
    let outputs = [(stage::DRAWS, told), (stage::POOL, settled), (stage::TICKETS, late), (stage::PAY, paid)];
    for (stage, outputs) in outputs {
        let told = flow.amend(outputs, tell);
        flow.deliver(stage, told);
    }
}

/// What an output of the book says of tickets that may be in a draw.
pub fn sold(output: &Output) -> Option<TicketsIn> {
    match output {
        Output::Fact(Fact::Ticket(ticket)) => Some(TicketsIn::Ticket {
            tenant: ticket.tenant.clone(),
            order_id: ticket.order_id.clone(),
            offer_id: ticket.offer_id.clone(),
            numbers: ticket.numbers.clone(),
            command_id: ticket.cause.command_id.clone(),
        }),
        Output::Fact(Fact::Order(order)) => of_order(order),
        _ => None,
    }
}

/// An order is accepted by its own command: held, put under review or sold at once. What follows, a release from
/// review say, has another cause, but for timers.
fn of_order(order: &OrderFact) -> Option<TicketsIn> {
    // Anything else issues no tickets.
    if !matches!(order.offer_kind, Some(OfferKind::Ticket | OfferKind::Seat)) {
        return None;
    }
    let (tenant, order_id) = (order.tenant.clone(), order.order_id.clone());
    let by_itself = order.cause.command_id == order.command_id;
    match order.event {
        OrderEvent::Held | OrderEvent::InReview | OrderEvent::Confirmed if by_itself => {
            Some(TicketsIn::Placed { tenant, order_id, offer_id: order.offer_id.clone() })
        }
        OrderEvent::Cancelled | OrderEvent::Expired => Some(TicketsIn::Ended { tenant, order_id }),
        // One that is refused at once was never accepted; nor was another of the same id.
        OrderEvent::Refused if !by_itself || order.reasons.contains(&Reason::ReviewTimeout) => {
            Some(TicketsIn::Ended { tenant, order_id })
        }
        OrderEvent::Refunded => Some(TicketsIn::Refund { tenant, order_id }),
        _ => None,
    }
}

fn table(change: TableChange) -> Option<DrawsIn> {
    match change.key.table() {
        ReferenceTable::Draws => Some(DrawsIn::Draw(change)),
        ReferenceTable::Channels => Some(DrawsIn::Channel(change)),
        _ => None,
    }
}

fn of_sales(change: TableChange) -> Option<TicketsIn> {
    match change.key.table() {
        ReferenceTable::Offers => Some(TicketsIn::Offer(change)),
        ReferenceTable::Draws => Some(TicketsIn::Draw(change)),
        _ => None,
    }
}

fn settle(out: DrawsOut) -> Option<Box<operators::settlement::Settle>> {
    match out {
        DrawsOut::Settle(settle) => Some(settle),
        DrawsOut::Out(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::facts::Cause;

    fn said(event: OrderEvent, caused_by: &str, reason: Option<Reason>, kind: OfferKind) -> &'static str {
        let cause = Cause {
            command_id: caused_by.into(),
            topic: "commands.orders".into(),
            partition: 0,
            offset: 0,
            record_time_ms: 0,
        };
        let order = OrderFact {
            event,
            tenant: "t".into(),
            order_id: "o".into(),
            command_id: "place".into(),
            offer_id: "of".into(),
            offer_kind: Some(kind),
            partner_id: None,
            customer_id: "c".into(),
            quantity: 1,
            amount_minor: 1,
            currency: "EUR".into(),
            reasons: reason.into_iter().collect(),
            placed_at_ms: 0,
            at_ms: 0,
            cause,
        };
        match sold(&Output::Fact(Fact::Order(Box::new(order)))) {
            Some(TicketsIn::Placed { .. }) => "placed",
            Some(TicketsIn::Ended { .. }) => "ended",
            Some(TicketsIn::Refund { .. }) => "refund",
            Some(other) => panic!("{other:?}"),
            None => "nothing",
        }
    }

    #[test]
    fn an_order_is_placed_by_its_own_command_and_ends_once() {
        use OrderEvent::{Cancelled, Confirmed, Expired, Held, InReview, RefundDue, Refunded, Refused};
        for (event, caused_by, reason, wanted) in [
            (Held, "place", None, "placed"),
            (InReview, "place", None, "placed"),
            // Where bills are sent afterwards.
            (Confirmed, "place", None, "placed"),
            // Paid, and released from review: it was accepted before.
            (Confirmed, "pay", None, "nothing"),
            (Held, "release", None, "nothing"),
            (Cancelled, "cancel", Some(Reason::CancelRequested), "ended"),
            (Expired, "place", Some(Reason::HoldExpired), "ended"),
            (Refused, "release", Some(Reason::SoldOut), "ended"),
            (Refused, "place", Some(Reason::ReviewTimeout), "ended"),
            // Never accepted; the second is of an order with another's id.
            (Refused, "place", Some(Reason::SoldOut), "nothing"),
            (Refused, "place", Some(Reason::DuplicateOrder), "nothing"),
            (Refunded, "refund", None, "refund"),
            (RefundDue, "pay", None, "nothing"),
        ] {
            assert_eq!(said(event, caused_by, reason, OfferKind::Ticket), wanted, "{event} by {caused_by}");
            assert_eq!(said(event, caused_by, reason, OfferKind::Box), "nothing", "boxes are in no draw");
        }
    }
}
