//! Fraud and commissions apart from sales: facts in instead of messages, the same facts and rows out.
//!
//! ```text
//!   facts.screening ── put in its turn ──> fraud (probe, velocity, screen) ──> facts.fraud, fraud_alerts
//!   facts.orders ── confirmed, refunded ──> commissions ──────────────────────> facts.commissions, statements
//!   oltp.public.* ── table ──↑────────────────↑
//! ```
//!
//! Both jobs are wired as sales wires them. What is screened has its old place again ([`screening::read`]);
//! a sale needs no more than its time (see `operators::commission::intake`). The orders that come out of fraud
//! go nowhere: sales has decided on them, so a rule that would block or hold one only says so.
//!
//! A change that can't be decoded is a dead letter of sales, which reads the same topics.

use super::sales::changes;
use super::{commissions, draws, fraud};
use connectors::decode::Input;
use operators::commission::Sale;
use operators::messages::Output;
use operators::screening;
use operators::settings::Settings;
use operators::table::Table;
use operators::velocity::messages::ProbeIn;
use runtime::run::Job;
use runtime::{Flow, Messages};
use schemas::Fact;
use schemas::screening::ScreeningFact;

/// Topics by `TopicId`: those of sales, so that places mean the same, then what sales says. Append only.
pub const TOPICS: [&str; 14] = [
    "oltp.public.offers",
    "oltp.public.partners",
    "oltp.public.customers",
    "commands.orders",
    "commands.payments",
    commissions::TOPICS[0],
    commissions::TOPICS[1],
    fraud::TOPIC,
    draws::TOPICS[0],
    draws::TOPICS[1],
    draws::TOPICS[2],
    draws::TOPICS[3],
    "facts.orders",
    "facts.screening",
];

/// What fraud reads.
pub const FRAUD_READS: [&str; 2] = [fraud::TOPIC, "facts.screening"];

/// What commissions read.
pub const COMMISSIONS_READ: [&str; 4] =
    ["oltp.public.partners", commissions::TOPICS[0], commissions::TOPICS[1], "facts.orders"];

/// Fraud, commissions, or both.
pub struct Apart {
    pub settings: Settings,
}

impl Job for Apart {
    type Record = Input;
    type Item = Output;

    fn build<'s>(&self, flow: &mut Flow<'s, Output>, source: Messages<'s, Input>) {
        let (others, facts) = flow.branch(source, |input| matches!(input, Input::Fact(_)));
        let (orders, screened) = flow.branch(facts, is_screening);
        let others = flow.flat_map(others, |_, input| changes(input));
        let rows = flow.stateful(Table::default(), others);

        if self.settings.fraud_screening {
            let screened = flow.flat_map(screened, |_, input| screening_fact(input));
            let settings = self.settings.clone();
            let judged = flow.put_in_turn(screened, move |_, fact| {
                let (at, message) = screening::read(*fact, &settings);
                (at, ProbeIn::Judged(message))
            });
            fraud::wire(flow, &self.settings, judged, rows.clone());
        }
        if self.settings.commission_statements {
            let sales = flow.flat_map(orders, |_, input| sale(input));
            commissions::wire(flow, &self.settings, sales, rows);
        }
    }
}

fn is_screening(input: &Input) -> bool {
    matches!(input, Input::Fact(fact) if matches!(**fact, Fact::Screening(_)))
}

fn screening_fact(input: Input) -> Option<Box<ScreeningFact>> {
    match input {
        Input::Fact(fact) => match *fact {
            Fact::Screening(fact) => Some(fact),
            _ => None,
        },
        _ => None,
    }
}

fn sale(input: Input) -> Option<Box<Sale>> {
    match input {
        Input::Fact(fact) => commissions::sale(&Output::Fact(*fact)),
        _ => None,
    }
}
