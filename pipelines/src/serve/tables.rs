//! Pages of the serving tables, as the stores' own SQL asks for them.
//!
//! Embedded and Postgres take the same text: comparison of whole keys, double quotes around names, single
//! ones around values. Everything a client says is a quoted value; names come from the declared tables.

use super::failed;
use super::letters::Letters;
use crate::commands::Failure;
use crate::explain;
use crate::stores::{LogView, Stores, Tables};
use api::backend::{self, Failed, Question, Select, Selected};
use schemas::rows::{Column, ColumnType, Value};
use schemas::tables::DEAD_LETTERS;
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
    letters: Letters,
}

impl Reading {
    /// Opens the tables.
    pub fn new(stores: &Stores) -> Result<Self, Failed> {
        let tables = stores.tables().map_err(failed)?;
        Ok(Reading { stores: stores.clone(), tables, log: None, letters: Letters::default() })
    }
}

impl backend::Tables for Reading {
    fn select(&mut self, select: &Select) -> Result<Selected, Failed> {
        if select.table.name == DEAD_LETTERS.name {
            return self.letters.select(&self.stores, self.tables.as_mut(), select);
        }
        one_page(self.tables.as_mut(), select)
    }

    fn explain(&mut self, question: &Question) -> Result<(u64, Vec<serde_json::Value>), Failed> {
        let log = match self.log.take() {
            Some(log) => log,
            None => self.stores.log().map_err(failed)?,
        };
        let log = self.log.insert(log);
        let Question { tenant, partner, month } = question;
        let question = explain::Question { partner, month, tenant: tenant.as_deref() };
        let until = Instant::now() + EXPLAIN_MAX;
        let accounts = explain::accounts(self.tables.as_mut(), log.as_mut(), question, Some(until));
        let (decided, accounts) = accounts.map_err(|failure| match failure {
            Failure::Usage(problem) => Failed::Refused(problem),
            other if Instant::now() >= until => Failed::TooLong(other.to_string()),
            other => Failed::Away(other.to_string()),
        })?;
        let json = |account| serde_json::to_value(account).unwrap_or_default();
        Ok((decided.0, accounts.iter().map(json).collect()))
    }
}

/// A page of rows as they lie in their table.
pub fn one_page(tables: &mut dyn Tables, select: &Select) -> Result<Selected, Failed> {
    let found = tables.query_at(&sql(select), select.limit, QUERY_MS_MAX);
    let (epoch, found) = found.map_err(failed)?;
    Ok(Selected { frontier: epoch.0, rows: found.rows, more: found.more })
}

/// The question, for one row more than the page holds: to know whether there are more.
fn sql(select: &Select) -> String {
    let spec = select.table;
    let joined = |columns: &[Column], shown: &dyn Fn(&Column) -> String| {
        columns.iter().map(shown).collect::<Vec<_>>().join(", ")
    };
    let name = |column: &Column| format!("\"{}\"", column.name);
    let all = joined(spec.columns, &|column| match column.ty {
        ColumnType::Bytes => format!("substr({}, 1, {})", name(column), select.bytes_max),
        ColumnType::Int | ColumnType::Text => name(column),
    });
    let key = joined(&spec.columns[..spec.key], &name);
    let mut wanted: Vec<String> =
        select.filters.iter().map(|(name, value)| format!("\"{name}\" = {}", literal(value))).collect();
    if let Some((name, [low, high])) = &select.between {
        wanted.push(format!("\"{name}\" > {} AND \"{name}\" < {}", quoted(low), quoted(high)));
    }
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
    use operators::book::ticket_id;
    use schemas::tables::{STOCK, TICKETS};

    #[test]
    fn what_a_client_says_stays_a_value() {
        let filters = vec![("tenant", Value::Text("a' OR '1'='1".into()))];
        let after = Some(vec![Value::Text("t".into()), Value::Text("o'".into())]);
        let select = Select { after, limit: 2, ..Select::of(&STOCK, filters) };
        let wanted = "SELECT \"tenant\", \"offer_id\", \"stock_total\", \"available\", \"held\", \"sold\", \
                      \"shrink_due\", epoch FROM stock WHERE \"tenant\" = 'a'' OR ''1''=''1' AND \
                      (\"tenant\", \"offer_id\") > ('t', 'o''') ORDER BY \"tenant\", \"offer_id\" LIMIT 3";
        assert_eq!(sql(&select), wanted);
    }

    #[test]
    fn tickets_of_an_order_are_found_by_their_names() {
        let filters = vec![("tenant", Value::Text("t".into())), ("order_id", Value::Text("o-1".into()))];
        let select = Select { limit: 9, ..Select::of(&TICKETS, filters) };
        let wanted = "WHERE \"tenant\" = 't' AND \"order_id\" = 'o-1' AND \"ticket_id\" > 'o-1-' AND \
                      \"ticket_id\" < 'o-1.' ORDER BY";
        assert!(sql(&select).contains(wanted), "{}", sql(&select));
        let (_, [low, high]) = select.between.expect("names follow from the order's");
        for nth in [1, 9, 10, 4_000_000] {
            assert!((&low..&high).contains(&&ticket_id("o-1", nth)), "{nth}");
        }
    }
}
