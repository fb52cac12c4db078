//! Generators of well-formed commands and facts for the codec tests.

#![allow(dead_code, reason = "each test file uses its part")]

mod draws;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use schemas::commands::*;
use schemas::facts::*;
use schemas::reference::*;
use schemas::screening::*;
use schemas::velocity::*;
use schemas::{Command, Fact, Reference, Text};

pub fn id() -> impl Strategy<Value = Text> {
    prop_oneof!["[a-z0-9-]{1,40}", "\\PC{1,30}"].prop_map(Text::from)
}

fn free() -> impl Strategy<Value = Text> {
    "\\PC{0,60}".prop_map(Text::from)
}

fn currency() -> impl Strategy<Value = Text> {
    "[A-Z]{3}".prop_map(Text::from)
}

fn time() -> impl Strategy<Value = i64> {
    0..4_102_444_800_000_i64
}

prop_compose! {
    fn place_order()(
        (command_id, tenant, order_id, customer_id, partner_id, offer_id) in (id(), id(), id(), id(), of(id()), id()),
        (quantity, price_minor, currency, placed_at_ms) in (any::<i32>(), any::<i64>(), currency(), time()),
        (card, device, ip, numbers, seat) in (of(id()), of(id()), of(id()), vec(any::<i32>(), 0..8), of(id())),
    ) -> Command {
        Command::PlaceOrder(Box::new(PlaceOrder {
            command_id, tenant, order_id, customer_id, partner_id, offer_id, quantity, price_minor, currency,
            placed_at_ms, card, device, ip, numbers, seat,
        }))
    }
}

prop_compose! {
    fn cancel_order()(
        command_id in id(), tenant in id(), order_id in id(), reason in of(free()), requested_at_ms in time(),
    ) -> CancelOrder {
        CancelOrder { command_id, tenant, order_id, reason, requested_at_ms }
    }
}

prop_compose! {
    fn captured()(
        command_id in id(), tenant in id(), order_id in id(), payment_id in id(), amount_minor in any::<i64>(),
        currency in currency(), captured_at_ms in time(),
    ) -> Command {
        Command::PaymentCaptured(Box::new(PaymentCaptured {
            command_id, tenant, order_id, payment_id, amount_minor, currency, captured_at_ms,
        }))
    }
}

prop_compose! {
    fn declined()(
        command_id in id(), tenant in id(), order_id in id(), payment_id in id(), reason in of(free()),
        declined_at_ms in time(),
    ) -> Command {
        Command::PaymentDeclined(Box::new(PaymentDeclined {
            command_id, tenant, order_id, payment_id, reason, declined_at_ms,
        }))
    }
}

prop_compose! {
    fn reviewed()(
        command_id in id(), tenant in id(), order_id in id(), decision in select(ReviewVerdict::ALL),
        decided_by in id(), decided_at_ms in time(),
    ) -> Command {
        Command::ReviewDecision(Box::new(ReviewDecision {
            command_id, tenant, order_id, decision, decided_by, decided_at_ms,
        }))
    }
}

pub fn command() -> impl Strategy<Value = Command> {
    let refund = cancel_order().prop_map(|c| {
        let CancelOrder { command_id, tenant, order_id, reason, requested_at_ms } = c;
        Command::RefundOrder(Box::new(RefundOrder { command_id, tenant, order_id, reason, requested_at_ms }))
    });
    prop_oneof![
        3 => place_order(),
        1 => cancel_order().prop_map(|c| Command::CancelOrder(Box::new(c))),
        1 => refund,
        1 => captured(),
        1 => declined(),
        1 => reviewed(),
        3 => draws::command(),
    ]
}

prop_compose! {
    fn cause()(
        command_id in free(), topic in id(), partition in any::<i32>(), offset in any::<i64>(), record_time_ms in time(),
    ) -> Cause {
        Cause { command_id, topic, partition, offset, record_time_ms }
    }
}

prop_compose! {
    fn order_fact()(
        (event, tenant, order_id, command_id, offer_id) in (select(OrderEvent::ALL), id(), id(), id(), id()),
        (offer_kind, partner_id, customer_id) in (of(select(OfferKind::ALL)), of(id()), id()),
        (quantity, amount_minor, currency) in (any::<i32>(), any::<i64>(), currency()),
        (reasons, placed_at_ms, at_ms, cause) in (vec(select(Reason::ALL), 0..5), time(), time(), cause()),
    ) -> Fact {
        Fact::Order(Box::new(OrderFact {
            event, tenant, order_id, command_id, offer_id, offer_kind, partner_id, customer_id, quantity,
            amount_minor, currency, reasons, placed_at_ms, at_ms, cause,
        }))
    }
}

prop_compose! {
    fn stock_fact()(
        (tenant, offer_id, order_id) in (id(), id(), of(id())),
        (debit, credit) in (select(StockAccount::ALL), select(StockAccount::ALL)),
        figures in any::<[i64; 6]>(), at_ms in time(), cause in cause(),
    ) -> Fact {
        let [quantity, stock_total, available, held, sold, shrink_due] = figures;
        Fact::Stock(Box::new(StockFact {
            tenant, offer_id, order_id, debit, credit, quantity, stock_total, available, held, sold, shrink_due,
            at_ms, cause,
        }))
    }
}

prop_compose! {
    fn ticket_fact()(
        tenant in id(), ticket_id in id(), order_id in id(), offer_id in id(), numbers in vec(any::<i32>(), 0..8),
        seat in of(id()), payload in free(), at_ms in time(), cause in cause(),
    ) -> Fact {
        Fact::Ticket(Box::new(TicketFact {
            tenant, ticket_id, order_id, offer_id, numbers, seat, payload, at_ms, cause,
        }))
    }
}

prop_compose! {
    fn dead_letter()(
        topic in id(), partition in 0..9_i32, offset in 0..i64::MAX, reason in "\\PC{0,60}",
        payload in vec(any::<u8>(), 0..60), key in of(vec(any::<u8>(), 0..20)), record_time_ms in time(),
    ) -> Fact {
        let id = DeadLetter::id_of(&topic, partition, offset);
        Fact::DeadLetter(Box::new(DeadLetter { id, topic, partition, offset, reason, payload, key, record_time_ms }))
    }
}

prop_compose! {
    fn commission_cause()(
        (kind, month, topic) in (select(CauseKind::ALL), month(), id()), figures in any::<[i64; 4]>(),
        partition in 0..9_i32, record_time_ms in time(),
    ) -> CommissionCause {
        let [count, amount_minor, effect_minor, offset] = figures;
        CommissionCause { kind, month, count, amount_minor, effect_minor, topic, partition, offset, record_time_ms }
    }
}

prop_compose! {
    fn commission_fact()(
        (tenant, partner_id, month, currency) in (id(), id(), month(), currency()),
        (offer_kind, status) in (select(OfferKind::ALL), select(PeriodStatus::ALL)),
        deltas in any::<[i64; 3]>(), after in any::<[i64; 5]>(),
        (plan, valid_from, tiers) in (of(id()), of(id()), vec(any::<(i64, i32)>(), 0..4)),
        (causes, at_ms, cause) in (vec(commission_cause(), 0..4), time(), cause()),
    ) -> Fact {
        let [base_delta_minor, commission_delta_minor, adjustment_delta_minor] = deltas;
        let [base_minor, commission_minor, adjustment_minor, computed_minor, commission_base_minor] = after;
        let tiers = tiers.into_iter().map(|(floor_minor, rate_bps)| Tier { floor_minor, rate_bps }).collect();
        Fact::Commission(Box::new(CommissionFact {
            tenant, partner_id, month, currency, offer_kind, base_delta_minor, commission_delta_minor,
            adjustment_delta_minor, base_minor, commission_minor, adjustment_minor, computed_minor, status, commission_base_minor, plan,
            valid_from, tiers, causes, at_ms, cause,
        }))
    }
}

prop_compose! {
    fn fraud_fact()(
        (event, tenant, order_id, command_id, rule_id) in (select(FraudEvent::ALL), id(), id(), id(), of(id())),
        (key, key_value, metric) in (select(VelocityKey::ALL), id(), of(select(VelocityMetric::ALL))),
        figures in any::<[Option<i64>; 4]>(), action in of(select(FraudAction::ALL)),
        (exact_since_ms, placed_at_ms, at_ms, cause) in (of(time()), time(), time(), cause()),
    ) -> Fact {
        let [value, threshold, window_ms, late_by_ms] = figures;
        Fact::Fraud(Box::new(FraudFact {
            event, tenant, order_id, command_id, rule_id, key, key_value, metric, value, threshold, window_ms,
            action, exact_since_ms, late_by_ms, placed_at_ms, at_ms, cause,
        }))
    }
}

fn turn() -> impl Strategy<Value = Turn> {
    let place = || {
        let place = (time(), id(), any::<i32>(), any::<i64>());
        place.prop_map(|(time_ms, topic, partition, offset)| Place { time_ms, topic, partition, offset })
    };
    (place(), place()).prop_map(|(cause, origin)| Turn { cause, origin })
}

prop_compose! {
    fn screening_fact()(
        (event, tenant, order_id) in (select(ScreeningEvent::ALL), id(), id()),
        (customer_id, partner_id, card, device, ip) in (of(id()), of(id()), of(id()), of(id()), of(id())),
        (amount_minor, currency) in (any::<Option<i64>>(), of(currency())),
        (event_at_ms, at_ms, turn, cause) in (time(), time(), of(turn()), cause()),
    ) -> Fact {
        Fact::Screening(Box::new(ScreeningFact {
            event, tenant, order_id, customer_id, partner_id, card, device, ip, amount_minor, currency,
            event_at_ms, at_ms, turn, cause,
        }))
    }
}

pub fn fact() -> impl Strategy<Value = Fact> {
    let of_sales = prop_oneof![order_fact(), stock_fact(), ticket_fact(), dead_letter(), screening_fact()];
    prop_oneof![4 => of_sales, 1 => commission_fact(), 1 => fraud_fact(), 2 => draws::fact()]
}

fn month() -> impl Strategy<Value = Text> {
    (0..1_200_i32).prop_map(|month| schemas::Month(month).text())
}

fn rate() -> impl Strategy<Value = Reference> {
    let key = (id(), id(), select(OfferKind::ALL), currency(), 0..i64::MAX, month());
    (key, 0..=10_000_i32).prop_map(
        |((tenant, plan, offer_kind, currency, tier_floor_minor, month), rate_bps)| {
            let valid_from = format!("{month}-01").into();
            Reference::CommissionRate(Box::new(CommissionRate {
                tenant,
                plan,
                offer_kind,
                currency,
                tier_floor_minor,
                rate_bps,
                valid_from,
            }))
        },
    )
}

prop_compose! {
    fn offer()(
        (tenant, offer_id, kind, price_minor) in (id(), id(), select(OfferKind::ALL), any::<i64>()),
        (currency, stock_total) in (currency(), any::<i64>()),
        (sale_opens_at_ms, sale_closes_at_ms) in (of(time()), of(time())),
        (max_per_order, max_per_customer, draw_id) in (any::<i32>(), of(any::<i32>()), of(id())),
        (restock_on_refund, status) in (any::<bool>(), select(OfferStatus::ALL)),
    ) -> Reference {
        Reference::Offer(Box::new(Offer {
            tenant, offer_id, kind, price_minor, currency, stock_total, sale_opens_at_ms, sale_closes_at_ms,
            max_per_order, max_per_customer, draw_id, restock_on_refund, status,
        }))
    }
}

prop_compose! {
    fn velocity_rule()(
        (tenant, rule_id, key) in (id(), id(), select(VelocityKey::ALL)),
        (metric, action) in (select(VelocityMetric::ALL), select(FraudAction::ALL)),
        (window_ms, threshold) in (1..=WINDOW_MS_MAX, 0..i64::MAX), status in select(RuleStatus::ALL),
    ) -> Reference {
        Reference::VelocityRule(Box::new(VelocityRule {
            tenant, rule_id, key, metric, window_ms, threshold, action, status,
        }))
    }
}

pub fn reference() -> impl Strategy<Value = Reference> {
    let partner =
        (id(), id(), select(Standing::ALL), free()).prop_map(|(tenant, partner_id, status, plan)| {
            Reference::Partner(Box::new(Partner { tenant, partner_id, status, plan }))
        });
    let customer = (id(), id(), select(Standing::ALL), of(any::<i64>())).prop_map(
        |(tenant, customer_id, status, daily_spend_limit_minor)| {
            Reference::Customer(Box::new(Customer { tenant, customer_id, status, daily_spend_limit_minor }))
        },
    );
    let period = (id(), month(), select(PeriodStatus::ALL)).prop_map(|(tenant, month, status)| {
        Reference::CommissionPeriod(Box::new(CommissionPeriod { tenant, month, status }))
    });
    prop_oneof![offer(), partner, customer, rate(), period, velocity_rule(), draws::reference()]
}

/// One realistic order with most fields set.
pub fn an_order() -> PlaceOrder {
    let text = Text::const_new;
    PlaceOrder {
        command_id: text("0f8b2c1e-6a57-4f0a-9c52-7d1e33a0b9c4"),
        tenant: text("acme"),
        order_id: text("order-000000012345"),
        customer_id: text("customer-0004711"),
        partner_id: Some(text("partner-12")),
        offer_id: text("offer-000815"),
        quantity: 2,
        price_minor: 2_590,
        currency: text("EUR"),
        placed_at_ms: 1_760_000_000_123,
        card: Some(text("tok_9f2ab4d1")),
        device: Some(text("dev_77aa01")),
        ip: Some(text("203.0.113.7")),
        numbers: vec![],
        seat: None,
    }
}
