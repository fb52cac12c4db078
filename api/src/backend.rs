//! What the API stands in front of, as traits: whoever runs a pipeline implements them over its stores.
//!
//! ```text
//!   commands  ─> Append ─> log         tables ─> Tables ─> reads
//!   reference ─> Change ─> log         facts  ─> Follow ─> waiters, live
//! ```
//!
//! Everything here may block; the API calls it on threads of its own and never on those that serve sockets.

use runtime::trace::Tracer;
use schemas::rows::{TableSpec, Value};
use schemas::tables::TICKETS;
use schemas::{Fact, SchemaIds, Text};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A record to append; its timestamp is the moment it is appended at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRecord {
    pub topic: &'static str,
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub topic: &'static str,
    pub partition: u32,
    pub offset: u64,
}

/// Why something could not be done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failed {
    /// Ask again later: a store is away or busy. What was sent may or may not have arrived.
    #[error("{0}")]
    Away(String),
    /// It makes no sense as it was asked.
    #[error("{0}")]
    Refused(String),
    /// It took longer than it may.
    #[error("{0}")]
    TooLong(String),
}

/// Appends records for good.
pub trait Append: Send {
    /// Durable on return, where each went, in order.
    ///
    /// # Errors
    /// [`Failed::Away`]: some of them may have arrived.
    fn append(&mut self, records: &[NewRecord]) -> Result<Vec<Place>, Failed>;
}

/// A change of a reference row, to be appended once.
pub struct NewChange {
    /// Its sender's; a change that is sent again has the same.
    pub id: String,
    /// Of what was asked for.
    pub hash: u64,
    pub topic: &'static str,
    pub key: Vec<u8>,
    /// The record's value, by the position that the change gets.
    pub value: Box<dyn FnOnce(u64) -> Vec<u8> + Send>,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is in the log there, since now or since it was sent before.
    At(Place),
    /// Another change has its id.
    Conflict,
}

/// Appends changes of reference rows.
pub trait Change: Send {
    /// Durable on return. Positions grow in the order of the log.
    ///
    /// # Errors
    /// [`Failed::Away`]: it may have arrived all the same, and is to be sent again as it is.
    fn change(&mut self, change: NewChange) -> Result<Changed, Failed>;
}

/// A page of a table, in the order of its key.
#[derive(Clone, Debug)]
pub struct Select {
    pub table: &'static TableSpec,
    /// Columns that must have these values.
    pub filters: Vec<(&'static str, Value)>,
    /// A column of the key whose values must lie between these two, where that follows from the filters.
    pub between: Option<(&'static str, [Text; 2])>,
    /// Rows whose key is larger.
    pub after: Option<Vec<Value>>,
    pub limit: usize,
    /// As many bytes of each value in bytes; what is behind them stays in the store.
    pub bytes_max: usize,
}

/// Bytes of a value that a list shows: a dead letter has up to 16 MiB, and a page 500 of them.
pub const SHOWN_BYTES_MAX: usize = 1_024;

impl Select {
    /// The first row that has these values.
    pub fn of(table: &'static TableSpec, filters: Vec<(&'static str, Value)>) -> Select {
        let order = filters.iter().find_map(|(name, value)| match value {
            Value::Text(order) if *name == "order_id" => Some(order),
            _ => None,
        });
        // Tickets are called after their order: `ORDER-1`, `ORDER-2`. What follows `-` is `.`.
        let between = order
            .filter(|_| table.name == TICKETS.name)
            .map(|order| ("ticket_id", [Text::from(format!("{order}-")), Text::from(format!("{order}."))]));
        Select { table, filters, between, after: None, limit: 1, bytes_max: SHOWN_BYTES_MAX }
    }

    /// Whether rows are looked through one by one for those that are wanted: the key doesn't lead to them.
    pub fn scans(&self) -> bool {
        let filtered = |name: &str| self.filters.iter().any(|(known, _)| *known == name);
        let key = &self.table.columns[..self.table.key];
        let led = key.iter().take_while(|column| filtered(column.name)).count();
        let ranged = key.get(led).is_some_and(|next| self.between.as_ref().is_some_and(|b| b.0 == next.name));
        let leads = |name: &str| key[..led].iter().any(|column| column.name == name);
        led < key.len() && !ranged && self.filters.iter().any(|(name, _)| !leads(name))
    }
}

/// What a page holds: each row's columns as declared, its epoch last.
#[derive(Clone, Debug)]
pub struct Selected {
    /// The decided epoch that the rows are as of.
    pub frontier: u64,
    pub rows: Vec<Vec<Value>>,
    pub more: bool,
}

/// Which statements are to be explained.
#[derive(Clone, Debug)]
pub struct Question {
    pub tenant: Option<Text>,
    pub partner: Text,
    pub month: Text,
}

/// Reads the serving tables.
pub trait Tables: Send {
    /// One page, as of one moment.
    ///
    /// # Errors
    /// See [`Failed`].
    fn select(&mut self, select: &Select) -> Result<Selected, Failed>;

    /// How commission statements came about, each as JSON; the frontier they are as of.
    ///
    /// # Errors
    /// See [`Failed`].
    fn explain(&mut self, question: &Question) -> Result<(u64, Vec<serde_json::Value>), Failed>;
}

/// A decided fact and where it lies.
#[derive(Clone, Debug)]
pub struct Told {
    pub place: Place,
    pub epoch: u64,
    pub fact: Fact,
}

/// How far everything is decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    pub epoch: u64,
    /// The pipeline's now at that epoch, UTC milliseconds.
    pub now_ms: i64,
    /// How long it has stood still while something waited; 0 where nothing does.
    pub age_ms: i64,
}

/// The next offset of each partition.
pub type Positions = BTreeMap<(&'static str, u32), u64>;

/// What has become decided since the last step.
#[derive(Debug, Default)]
pub struct Step {
    pub frontier: Frontier,
    /// In the order of epochs, and whole epochs; a bounded number of them.
    pub facts: Vec<Told>,
    /// Ends (exclusive) of inputs' partitions up to which everything is decided; those that moved.
    pub ends: Vec<(String, u32, u64)>,
    /// The epoch as of which the ends are: the frontier may be behind it where facts are told bit by bit.
    pub decided: u64,
}

/// Follows what is decided, from when it was opened.
pub trait Follow: Send {
    /// Where it stands: the place after every fact it has told; none while facts are passed over.
    fn positions(&self) -> Option<Positions>;

    /// Waits up to `wait` for the frontier to move, and tells what is decided since the last step. Facts are told
    /// where `listening` says so, which is asked once the frontier is known; else they are passed over, at no cost.
    ///
    /// # Errors
    /// See [`Failed`]. It may be asked again.
    fn next(&mut self, wait: Duration, listening: &dyn Fn() -> bool) -> Result<Step, Failed>;
}

/// Reads facts that were told before.
pub trait History: Send {
    /// Whether the log holds everything from `at` on, where `head` is known to be in it: it may have been emptied, or
    /// be another one than `at` is of.
    ///
    /// # Errors
    /// See [`Failed`].
    fn holds(&mut self, at: &Positions, head: &Positions) -> Result<bool, Failed>;

    /// Facts from `from` up to `to`, about `max` in all.
    ///
    /// # Errors
    /// See [`Failed`].
    fn read(&mut self, from: &Positions, to: &Positions, max: usize) -> Result<Vec<Told>, Failed>;
}

/// A draw, as images lie under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrawOf {
    pub tenant: Text,
    pub game: Text,
    pub draw_id: Text,
}

/// An image of a draw, by what tells it from the draw's others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrawImage {
    pub revision: i64,
    pub template: String,
    pub locale: String,
}

/// Finds images of draws.
pub trait Images: Send {
    /// Those that are there of each draw, in the order of the draws; the newest revision first.
    ///
    /// # Errors
    /// See [`Failed`].
    fn of(&mut self, draws: &[DrawOf]) -> Result<Vec<Vec<DrawImage>>, Failed>;

    /// A PNG; none where there is no such image.
    ///
    /// # Errors
    /// See [`Failed`].
    fn bytes(&mut self, draw: &DrawOf, image: &DrawImage) -> Result<Option<Vec<u8>>, Failed>;
}

/// What became of a dead letter that was to be sent in again.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Retried {
    pub id: String,
    /// `appended`, or `already` where it was before.
    pub outcome: &'static str,
    pub offset: Option<u64>,
}

/// A pipeline's stores.
pub trait Backend: Send + Sync + 'static {
    /// The ids our contracts have.
    ///
    /// # Errors
    /// See [`Failed`].
    fn ids(&self) -> Result<SchemaIds, Failed>;

    /// Something that appends.
    ///
    /// # Errors
    /// See [`Failed`].
    fn appender(&self) -> Result<Box<dyn Append>, Failed>;

    /// Something that reads tables.
    ///
    /// # Errors
    /// See [`Failed`].
    fn tables(&self) -> Result<Box<dyn Tables>, Failed>;

    /// Something that follows.
    ///
    /// # Errors
    /// See [`Failed`].
    fn follow(&self) -> Result<Box<dyn Follow>, Failed>;

    /// Something that looks back.
    ///
    /// # Errors
    /// See [`Failed`].
    fn history(&self) -> Result<Box<dyn History>, Failed>;

    /// Something that finds images. It may be used within the API's own runtime only.
    ///
    /// # Errors
    /// See [`Failed`].
    fn images(&self) -> Result<Box<dyn Images>, Failed>;

    /// How many partitions each input topic has.
    ///
    /// # Errors
    /// See [`Failed`].
    fn partitions(&self) -> Result<BTreeMap<String, u32>, Failed>;

    /// The end (exclusive) of a partition up to which everything is decided, out of the bindings.
    ///
    /// # Errors
    /// See [`Failed`].
    fn decided_end(&self, topic: &str, partition: u32) -> Result<u64, Failed>;

    /// Sends dead letters in again, each once.
    ///
    /// # Errors
    /// See [`Failed`].
    fn retry(&self, ids: &[String]) -> Result<Vec<Retried>, Failed>;

    /// The pipelines' metrics, as Prometheus text.
    fn metrics(&self) -> String;

    /// Who takes the spans of requests; nobody, unless told otherwise.
    ///
    /// # Errors
    /// [`Failed::Refused`] where it can't be used as configured.
    fn tracer(&self) -> Result<Option<Arc<dyn Tracer>>, Failed> {
        Ok(None)
    }

    /// Whether reference rows may be written by way of the API.
    fn takes_reference(&self) -> bool;

    /// Something that writes them.
    ///
    /// # Errors
    /// See [`Failed`]. Where none may be written, it is refused.
    fn changes(&self) -> Result<Box<dyn Change>, Failed>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::tables::{COMMISSION_STATEMENTS, ORDERS, STOCK};

    #[test]
    fn a_question_scans_where_the_key_does_not_lead_to_its_rows() {
        for (table, filters, scans) in [
            (&ORDERS, "", false),
            (&ORDERS, "tenant", false),
            (&ORDERS, "tenant order_id", false),
            // One row is found, then looked at.
            (&ORDERS, "tenant order_id partner_id", false),
            (&ORDERS, "order_id", true),
            (&ORDERS, "status", true),
            (&ORDERS, "tenant customer_id", true),
            (&STOCK, "offer_id", true),
            (&TICKETS, "tenant order_id", false),
            (&TICKETS, "tenant order_id offer_id", false),
            (&TICKETS, "order_id", true),
            (&TICKETS, "tenant offer_id", true),
            (&COMMISSION_STATEMENTS, "tenant partner_id month", false),
            (&COMMISSION_STATEMENTS, "tenant month", true),
        ] {
            let columns = table.columns.iter().filter(|column| filters.split(' ').any(|f| f == column.name));
            let filters: Vec<_> = columns.map(|column| (column.name, Value::Text("x".into()))).collect();
            assert_eq!(Select::of(table, filters.clone()).scans(), scans, "{} {filters:?}", table.name);
        }
    }
}
