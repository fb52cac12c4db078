//! Every Avro contract, its subject and its place in a registry.
//!
//! ```text
//!   Record ── avsc text (schemas/avro/*.avsc, compiled in)
//!          ├─ subject: topic "-" full name (TopicRecordNameStrategy)
//!          └─ id, given by a registry: SchemaIds
//! ```
//!
//! Invariant: [`Record::ALL`] only ever grows at its end, because an embedded registry numbers a fresh
//! store's subjects 1, 2, 3 … in this order.

use crate::names::words;
use crate::{Command, Fact};
use serde_avro_fast::Schema;
use std::sync::OnceLock;

/// A record with a contract of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Record {
    PlaceOrder,
    CancelOrder,
    RefundOrder,
    PaymentCaptured,
    PaymentDeclined,
    Offer,
    Partner,
    Customer,
    OrderFact,
    StockFact,
    TicketFact,
    DeadLetter,
    CommissionRate,
    CommissionPeriod,
    CommissionFact,
    VelocityRule,
    FraudFact,
    ReviewDecision,
    ScreeningFact,
    Draw,
    Channel,
    ReportResult,
    CorrectResult,
    RepublishDraw,
    ImageRendered,
    ImageFailed,
    PostSucceeded,
    PostFailed,
    DrawFact,
    PublicationFact,
    WinningFact,
}

words!(Record {
    PlaceOrder => "place_order",
    CancelOrder => "cancel_order",
    RefundOrder => "refund_order",
    PaymentCaptured => "payment_captured",
    PaymentDeclined => "payment_declined",
    Offer => "offers",
    Partner => "partners",
    Customer => "customers",
    OrderFact => "order_fact",
    StockFact => "stock_fact",
    TicketFact => "ticket_fact",
    DeadLetter => "dead_letter",
    CommissionRate => "commission_rates",
    CommissionPeriod => "commission_periods",
    CommissionFact => "commission_fact",
    VelocityRule => "velocity_rules",
    FraudFact => "fraud_fact",
    ReviewDecision => "review_decision",
    ScreeningFact => "screening_fact",
    Draw => "draws",
    Channel => "channels",
    ReportResult => "report_result",
    CorrectResult => "correct_result",
    RepublishDraw => "republish_draw",
    ImageRendered => "image_rendered",
    ImageFailed => "image_failed",
    PostSucceeded => "post_succeeded",
    PostFailed => "post_failed",
    DrawFact => "draw_fact",
    PublicationFact => "publication_fact",
    WinningFact => "winning_fact",
});

/// How many contracts there are.
const RECORDS: usize = Record::ALL.len();

static PARSED: [OnceLock<Schema>; RECORDS] = [const { OnceLock::new() }; RECORDS];

/// One entry of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub subject: String,
    pub record: Record,
    pub avsc: &'static str,
}

/// Every subject, in the order in which a fresh registry numbers them from 1.
pub fn subjects() -> Vec<Subject> {
    Record::ALL.iter().map(|&r| Subject { subject: r.subject(), record: r, avsc: r.avsc() }).collect()
}

impl Record {
    /// Text of the contract: `schemas/avro/<name>.avsc`.
    pub const fn avsc(self) -> &'static str {
        match self {
            Record::PlaceOrder => include_str!("../avro/place_order.avsc"),
            Record::CancelOrder => include_str!("../avro/cancel_order.avsc"),
            Record::RefundOrder => include_str!("../avro/refund_order.avsc"),
            Record::PaymentCaptured => include_str!("../avro/payment_captured.avsc"),
            Record::PaymentDeclined => include_str!("../avro/payment_declined.avsc"),
            Record::Offer => include_str!("../avro/offers.avsc"),
            Record::Partner => include_str!("../avro/partners.avsc"),
            Record::Customer => include_str!("../avro/customers.avsc"),
            Record::OrderFact => include_str!("../avro/order_fact.avsc"),
            Record::StockFact => include_str!("../avro/stock_fact.avsc"),
            Record::TicketFact => include_str!("../avro/ticket_fact.avsc"),
            Record::DeadLetter => include_str!("../avro/dead_letter.avsc"),
            Record::CommissionRate => include_str!("../avro/commission_rates.avsc"),
            Record::CommissionPeriod => include_str!("../avro/commission_periods.avsc"),
            Record::CommissionFact => include_str!("../avro/commission_fact.avsc"),
            Record::VelocityRule => include_str!("../avro/velocity_rules.avsc"),
            Record::FraudFact => include_str!("../avro/fraud_fact.avsc"),
            Record::ReviewDecision => include_str!("../avro/review_decision.avsc"),
            Record::ScreeningFact => include_str!("../avro/screening_fact.avsc"),
            Record::Draw => include_str!("../avro/draws.avsc"),
            Record::Channel => include_str!("../avro/channels.avsc"),
            Record::ReportResult => include_str!("../avro/report_result.avsc"),
            Record::CorrectResult => include_str!("../avro/correct_result.avsc"),
            Record::RepublishDraw => include_str!("../avro/republish_draw.avsc"),
            Record::ImageRendered => include_str!("../avro/image_rendered.avsc"),
            Record::ImageFailed => include_str!("../avro/image_failed.avsc"),
            Record::PostSucceeded => include_str!("../avro/post_succeeded.avsc"),
            Record::PostFailed => include_str!("../avro/post_failed.avsc"),
            Record::DrawFact => include_str!("../avro/draw_fact.avsc"),
            Record::PublicationFact => include_str!("../avro/publication_fact.avsc"),
            Record::WinningFact => include_str!("../avro/winning_fact.avsc"),
        }
    }

    /// The record's Avro name with its namespace.
    pub const fn full_name(self) -> &'static str {
        match self {
            Record::PlaceOrder => "tombola.commands.PlaceOrder",
            Record::CancelOrder => "tombola.commands.CancelOrder",
            Record::RefundOrder => "tombola.commands.RefundOrder",
            Record::PaymentCaptured => "tombola.commands.PaymentCaptured",
            Record::PaymentDeclined => "tombola.commands.PaymentDeclined",
            Record::Offer => "tombola.reference.Offer",
            Record::Partner => "tombola.reference.Partner",
            Record::Customer => "tombola.reference.Customer",
            Record::OrderFact => "tombola.facts.OrderFact",
            Record::StockFact => "tombola.facts.StockFact",
            Record::TicketFact => "tombola.facts.TicketFact",
            Record::DeadLetter => "tombola.facts.DeadLetter",
            Record::CommissionRate => "tombola.reference.CommissionRate",
            Record::CommissionPeriod => "tombola.reference.CommissionPeriod",
            Record::CommissionFact => "tombola.facts.CommissionFact",
            Record::VelocityRule => "tombola.reference.VelocityRule",
            Record::FraudFact => "tombola.facts.FraudFact",
            Record::ReviewDecision => "tombola.commands.ReviewDecision",
            Record::ScreeningFact => "tombola.facts.ScreeningFact",
            Record::Draw => "tombola.reference.Draw",
            Record::Channel => "tombola.reference.Channel",
            Record::ReportResult => "tombola.commands.ReportResult",
            Record::CorrectResult => "tombola.commands.CorrectResult",
            Record::RepublishDraw => "tombola.commands.RepublishDraw",
            Record::ImageRendered => "tombola.commands.ImageRendered",
            Record::ImageFailed => "tombola.commands.ImageFailed",
            Record::PostSucceeded => "tombola.commands.PostSucceeded",
            Record::PostFailed => "tombola.commands.PostFailed",
            Record::DrawFact => "tombola.facts.DrawFact",
            Record::PublicationFact => "tombola.facts.PublicationFact",
            Record::WinningFact => "tombola.facts.WinningFact",
        }
    }

    /// The topic its records go to.
    pub const fn topic(self) -> &'static str {
        match self {
            Record::PlaceOrder | Record::CancelOrder | Record::RefundOrder | Record::ReviewDecision => {
                "commands.orders"
            }
            Record::PaymentCaptured | Record::PaymentDeclined => "commands.payments",
            Record::Offer => "oltp.public.offers",
            Record::Partner => "oltp.public.partners",
            Record::Customer => "oltp.public.customers",
            Record::OrderFact => Fact::TOPICS[0],
            Record::StockFact => Fact::TOPICS[1],
            Record::TicketFact => Fact::TOPICS[2],
            Record::DeadLetter => Fact::TOPICS[3],
            Record::CommissionRate => "oltp.public.commission_rates",
            Record::CommissionPeriod => "oltp.public.commission_periods",
            Record::CommissionFact => Fact::TOPICS[4],
            Record::VelocityRule => "oltp.public.velocity_rules",
            Record::FraudFact => Fact::TOPICS[5],
            Record::ScreeningFact => Fact::TOPICS[6],
            Record::Draw => "oltp.public.draws",
            Record::Channel => "oltp.public.channels",
            Record::ReportResult | Record::CorrectResult | Record::RepublishDraw => "commands.draws",
            Record::ImageRendered | Record::ImageFailed | Record::PostSucceeded | Record::PostFailed => {
                "commands.publication_results"
            }
            Record::DrawFact => Fact::TOPICS[7],
            Record::PublicationFact => Fact::TOPICS[8],
            Record::WinningFact => Fact::TOPICS[9],
        }
    }

    /// Its subject by TopicRecordNameStrategy.
    pub fn subject(self) -> String {
        format!("{}-{}", self.topic(), self.full_name())
    }

    /// The record of an Avro name with its namespace.
    pub fn of_full_name(full_name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|record| record.full_name() == full_name)
    }

    /// Whether it is one of the commands.
    pub fn is_command(self) -> bool {
        self.full_name().starts_with("tombola.commands.")
    }

    /// Whether it is one of the facts.
    pub fn is_fact(self) -> bool {
        self.full_name().starts_with("tombola.facts.")
    }

    /// The parsed contract; parsed once.
    pub fn schema(self) -> &'static Schema {
        PARSED[self as usize].get_or_init(|| {
            self.avsc().parse().expect("the compiled-in contracts are valid Avro; a test parses each")
        })
    }
}

impl Command {
    /// Its contract.
    pub fn record(&self) -> Record {
        match self {
            Command::PlaceOrder(_) => Record::PlaceOrder,
            Command::CancelOrder(_) => Record::CancelOrder,
            Command::RefundOrder(_) => Record::RefundOrder,
            Command::PaymentCaptured(_) => Record::PaymentCaptured,
            Command::PaymentDeclined(_) => Record::PaymentDeclined,
            Command::ReviewDecision(_) => Record::ReviewDecision,
            Command::ReportResult(_) => Record::ReportResult,
            Command::CorrectResult(_) => Record::CorrectResult,
            Command::RepublishDraw(_) => Record::RepublishDraw,
            Command::ImageRendered(_) => Record::ImageRendered,
            Command::ImageFailed(_) => Record::ImageFailed,
            Command::PostSucceeded(_) => Record::PostSucceeded,
            Command::PostFailed(_) => Record::PostFailed,
        }
    }
}

impl Fact {
    /// Its contract.
    pub fn record(&self) -> Record {
        match self {
            Fact::Order(_) => Record::OrderFact,
            Fact::Stock(_) => Record::StockFact,
            Fact::Ticket(_) => Record::TicketFact,
            Fact::DeadLetter(_) => Record::DeadLetter,
            Fact::Commission(_) => Record::CommissionFact,
            Fact::Fraud(_) => Record::FraudFact,
            Fact::Screening(_) => Record::ScreeningFact,
            Fact::Draw(_) => Record::DrawFact,
            Fact::Publication(_) => Record::PublicationFact,
            Fact::Winning(_) => Record::WinningFact,
        }
    }
}

/// The ids a registry gave to our own contracts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaIds([u32; RECORDS]);

impl SchemaIds {
    /// As a fresh embedded registry numbers them: 1, 2, 3 … in the order of [`Record::ALL`].
    pub fn fresh() -> Self {
        SchemaIds(std::array::from_fn(|index| index as u32 + 1))
    }

    /// As asked of a registry, one record after the other.
    ///
    /// # Errors
    /// The first error of `id_of`.
    pub fn try_new<E>(mut id_of: impl FnMut(Record) -> Result<u32, E>) -> Result<Self, E> {
        let mut ids = Self::fresh();
        for &record in Record::ALL {
            ids.0[record as usize] = id_of(record)?;
        }
        Ok(ids)
    }

    /// The id of a record's contract.
    pub fn of(&self, record: Record) -> u32 {
        self.0[record as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contract_parses_and_bears_its_name() {
        for (subject, &record) in subjects().iter().zip(Record::ALL) {
            assert_eq!(subject.record, record);
            let json: serde_json::Value = serde_json::from_str(subject.avsc).unwrap();
            let name = format!("{}.{}", json["namespace"].as_str().unwrap(), json["name"].as_str().unwrap());
            assert_eq!(name, record.full_name());
            assert_eq!(Record::of_full_name(&name), Some(record));
            record.schema();
        }
        assert_eq!(Record::PlaceOrder.subject(), "commands.orders-tombola.commands.PlaceOrder");
        assert_eq!(SchemaIds::fresh().of(Record::DeadLetter), 12);
    }

    #[test]
    fn every_field_of_every_contract_is_documented_and_every_option_defaults_to_null() {
        for &record in Record::ALL {
            let json: serde_json::Value = serde_json::from_str(record.avsc()).unwrap();
            for field in json["fields"].as_array().unwrap() {
                let place = format!("{record}.{}", field["name"]);
                assert!(field["doc"].as_str().is_some_and(|doc| !doc.is_empty()), "{place} has no doc");
                if let Some(union) = field["type"].as_array() {
                    assert_eq!(union[0], "null", "{place}");
                    assert_eq!(field.get("default"), Some(&serde_json::Value::Null), "{place}");
                }
                let name = field["name"].as_str().unwrap();
                let duration = matches!(name, "window_ms" | "late_by_ms");
                assert_eq!(
                    name.ends_with("_ms") && !duration,
                    field["type"].to_string().contains("timestamp-millis")
                        && !matches!(name, "cause" | "causes" | "turn"),
                    "{place}: times are timestamp-millis and named _ms, as durations are"
                );
            }
        }
    }
}
