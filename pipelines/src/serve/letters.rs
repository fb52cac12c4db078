//! Dead letters as the API lists them: each with whether it was sent in again.
//!
//! ```text
//!   dead_letters         a row for each, written once, when its record is decided: `open`
//!   dead-letters.retries an id for each that was sent in again, in one transaction with the record's second coming
//! ```
//!
//! The topic alone knows, so a page asks it: `retried` is true from the moment the record lies in its topic again. Rows
//! never change once they are written, so those up to an epoch are those of one moment, however many
//! questions it takes to fill a page.

use super::failed;
use super::tables::one_page;
use crate::retry::SentAgain;
use crate::stores::{LogView, Stores, Tables};
use api::backend::{Failed, Select, Selected};
use schemas::rows::Value;
use schemas::tables::DEAD_LETTERS;
use std::time::{Duration, Instant};

/// Rows asked for at once where only some count.
const PAGE: usize = 500;
const FILL_MAX: Duration = Duration::from_secs(10);

/// What has been read of the retries so far.
#[derive(Default)]
pub struct Letters {
    log: Option<Box<dyn LogView>>,
    sent: SentAgain,
}

impl Letters {
    /// A page of `dead_letters`.
    pub fn select(
        &mut self,
        stores: &Stores,
        tables: &mut dyn Tables,
        select: &Select,
    ) -> Result<Selected, Failed> {
        self.look(stores)?;
        let (wanted, filters) = select.filters.iter().cloned().partition(|(name, _)| *name == "status");
        let wanted: Vec<(&str, Value)> = wanted;
        let size = if wanted.is_empty() { select.limit } else { select.limit.max(PAGE) };
        let mut question = Select { filters, limit: size, ..select.clone() };
        let (began, mut frontier, mut rows) = (Instant::now(), None, Vec::new());
        loop {
            let page = one_page(tables, &question)?;
            let as_of = *frontier.get_or_insert(page.frontier);
            question.after = page.rows.last().map(|row| row[..DEAD_LETTERS.key].to_vec());
            let marked = page.rows.into_iter().filter(|row| epoch(row) <= as_of).map(|row| self.marked(row));
            rows.extend(marked.filter(|row| wanted.iter().all(|(_, status)| row[STATUS] == *status)));
            let full = rows.len() > select.limit;
            if full || !page.more || wanted.is_empty() {
                rows.truncate(select.limit);
                return Ok(Selected { frontier: as_of, rows, more: full || page.more });
            }
            if began.elapsed() > FILL_MAX {
                return Err(Failed::TooLong("too few of many dead letters are such ones".to_owned()));
            }
        }
    }

    /// Reads what was sent in again meanwhile.
    fn look(&mut self, stores: &Stores) -> Result<(), Failed> {
        let mut log = match self.log.take() {
            Some(log) => log,
            None => stores.log().map_err(failed)?,
        };
        self.sent.look(log.as_mut()).map_err(failed)?;
        self.log = Some(log);
        Ok(())
    }

    fn marked(&self, mut row: Vec<Value>) -> Vec<Value> {
        if matches!(&row[0], Value::Text(id) if self.sent.has(id)) {
            row[STATUS] = Value::Text("retried".into());
        }
        row
    }
}

/// Where a row has its status.
const STATUS: usize = 8;

/// The epoch that wrote a row comes behind its columns.
fn epoch(row: &[Value]) -> u64 {
    match row.last() {
        Some(Value::Int(epoch)) => epoch.unsigned_abs(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_and_status_are_where_they_are_looked_for() {
        assert_eq!(DEAD_LETTERS.columns[STATUS].name, "status");
        assert_eq!(DEAD_LETTERS.columns[0].name, "id");
    }
}
