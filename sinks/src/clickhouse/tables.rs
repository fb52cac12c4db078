//! Which table a topic's facts go to, and what is aggregated from it.

/// A topic and its table.
#[derive(Debug)]
pub(super) struct FactTable {
    pub topic: &'static str,
    pub table: &'static str,
    /// Tables that a materialized view fills from it; the view has the suffix `_mv`.
    pub aggregates: &'static [&'static str],
}

/// Every topic that can be loaded.
pub(super) const TABLES: &[FactTable] = &[
    FactTable {
        topic: "facts.orders",
        table: "facts_orders",
        aggregates: &["order_minutes", "refusal_minutes"],
    },
    FactTable { topic: "facts.stock", table: "facts_stock", aggregates: &["stock_minutes"] },
    FactTable { topic: "facts.tickets", table: "facts_tickets", aggregates: &[] },
    FactTable { topic: "facts.fraud", table: "facts_fraud", aggregates: &["fraud_minutes"] },
    FactTable { topic: "facts.screening", table: "facts_screening", aggregates: &[] },
    FactTable { topic: "facts.commissions", table: "facts_commissions", aggregates: &["statement_sums"] },
    FactTable { topic: "facts.draws", table: "facts_draws", aggregates: &[] },
    FactTable { topic: "facts.publications", table: "facts_publications", aggregates: &[] },
    FactTable { topic: "facts.winnings", table: "facts_winnings", aggregates: &[] },
    FactTable { topic: "dead-letters", table: "facts_dead_letters", aggregates: &[] },
];

/// The table of a topic.
pub(super) fn of_topic(topic: &str) -> Option<&'static FactTable> {
    TABLES.iter().find(|table| table.topic == topic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::Fact;

    #[test]
    fn every_topic_of_facts_has_its_table() {
        for topic in Fact::TOPICS {
            assert!(of_topic(topic).is_some(), "{topic} has no table");
        }
        assert_eq!(TABLES.len(), Fact::TOPICS.len());
    }
}
