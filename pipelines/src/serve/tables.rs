//! Pages of the serving tables, as the stores' own SQL asks for them.
//!
//! Embedded and Postgres take the same text: comparison of whole keys, double quotes around names, single
//! ones around values. Everything a client says is a quoted value; names come from the declared tables.

use super::failed;
use crate::commands::Failure;
use crate::explain;
use crate::stores::{LogView, Stores, Tables};
use api::backend::{self, Failed, Question, Select, Selected};
use schemas::rows::Value;
use std::time::{Duration, Instant};

/// Longest time for a page.
const QUERY_MS_MAX: u64 = 10_000;

/// Longest time for an explanation: the longer the log, the more of it is read.
const EXPLAIN_MAX: Duration = Duration::from_secs(20);

/// A connection to the tables, and to the log where an explanation needs it.
pub struct Reading {
    stores: Stores,
    tables: Box<dyn Tables>,
    log: Option<Box<dyn LogView>>,
}

impl Reading {
    /// Opens the tables.
    pub fn new(stores: &Stores) -> Result<Self, Failed> {
        Ok(Reading { stores: stores.clone(), tables: stores.tables().map_err(failed)?, log: None })
    }
}

impl backend::Tables for Reading {
    fn select(&mut self, select: &Select) -> Result<Selected, Failed> {
        let found = self.tables.query_at(&sql(select), select.limit, QUERY_MS_MAX);
        let (epoch, found) = found.map_err(failed)?;
        Ok(Selected { frontier: epoch.0, rows: found.rows, more: found.more })
    }

    fn explain(&mut self, question: &Question) -> Result<(u64, Vec<serde_json::Value>), Failed> {
        let decided = self.tables.progress().map_err(failed)?.decided.0;
        let log = match self.log.take() {
            Some(log) => log,
            None => self.stores.log().map_err(failed)?,
        };
        let log = self.log.insert(log);
        let Question { tenant, partner, month } = question;
        let question = explain::Question { partner, month, tenant: tenant.as_deref() };
        let until = Instant::now() + EXPLAIN_MAX;
        let accounts = explain::accounts(self.tables.as_mut(), log.as_mut(), question, Some(until));
        let accounts = accounts.map_err(|failure| match failure {
            Failure::Usage(problem) => Failed::Refused(problem),
            other if Instant::now() >= until => Failed::TooLong(other.to_string()),
            other => Failed::Away(other.to_string()),
        })?;
        let json = |account| serde_json::to_value(account).unwrap_or_default();
        Ok((decided, accounts.iter().map(json).collect()))
    }
}

/// The question, for one row more than the page holds: to know whether there are more.
fn sql(select: &Select) -> String {
    let spec = select.table;
    let names = |columns: &[schemas::rows::Column]| {
        columns.iter().map(|column| format!("\"{}\"", column.name)).collect::<Vec<_>>().join(", ")
    };
    let (all, key) = (names(spec.columns), names(&spec.columns[..spec.key]));
    let mut wanted: Vec<String> =
        select.filters.iter().map(|(name, value)| format!("\"{name}\" = {}", literal(value))).collect();
    if let Some(after) = &select.after {
        let values: Vec<String> = after.iter().map(literal).collect();
        wanted.push(format!("({key}) > ({})", values.join(", ")));
    }
    let wanted = if wanted.is_empty() { String::new() } else { format!("WHERE {}", wanted.join(" AND ")) };
    format!("SELECT {all}, epoch FROM {} {wanted} ORDER BY {key} LIMIT {}", spec.name, select.limit + 1)
}

fn literal(value: &Value) -> String {
    match value {
        Value::Int(int) => int.to_string(),
        Value::Text(text) => quoted(text),
        // Keys and filters are neither; nothing equals it.
        Value::Null | Value::Bytes(_) => "NULL".to_owned(),
    }
}

/// A value between quotes.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::tables::STOCK;

    #[test]
    fn what_a_client_says_stays_a_value() {
        let select = Select {
            table: &STOCK,
            filters: vec![("tenant", Value::Text("a' OR '1'='1".into()))],
            after: Some(vec![Value::Text("t".into()), Value::Text("o'".into())]),
            limit: 2,
        };
        let wanted = "SELECT \"tenant\", \"offer_id\", \"stock_total\", \"available\", \"held\", \"sold\", \
                      \"shrink_due\", epoch FROM stock WHERE \"tenant\" = 'a'' OR ''1''=''1' AND \
                      (\"tenant\", \"offer_id\") > ('t', 'o''') ORDER BY \"tenant\", \"offer_id\" LIMIT 3";
        assert_eq!(sql(&select), wanted);
    }
}
