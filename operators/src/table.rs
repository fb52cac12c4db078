//! Newest row wins: drops redelivered changes of the reference tables by source position (LSN).
//!
//! ```text
//!   upsert ── lsn above what its key and its table have seen ──> TableChange{row}
//!   delete ── the same, and the row was there ────────────────> TableChange{no row}, behind what its record puts
//!   truncate (to every worker) ── each row this worker owns ──> TableChange{no row}, in one order
//! ```
//!
//! Invariants: changes of a key leave in LSN order, each once; a row once deleted stays away however often
//! its older versions are delivered again. For that a deleted key's LSN is kept, 100 bytes or so, until its
//! table is truncated. A crash loses nothing: both states are in the snapshot. Rows themselves are not kept
//! here but where they are used.

#[cfg(test)]
mod tests;

use crate::keys::{reference_route, stage};
use crate::messages::TableChange;
use runtime::{At, Ctx, KeyedState, Operator, Position, Route, State, slot_of};
use schemas::reference::{Change, ReferenceTable};
use schemas::{Reference, ReferenceKey};
use serde::{Deserialize, Serialize};

/// What is known of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Latest {
    lsn: u64,
    /// False: deleted, and remembered so that it stays so.
    exists: bool,
}

/// The operator. See the module.
pub struct Table {
    latest: KeyedState<ReferenceKey, Latest>,
    /// LSN of each table's last truncate: everything at or below it is gone.
    truncated: KeyedState<ReferenceTable, u64>,
}

impl Default for Table {
    fn default() -> Self {
        Table {
            latest: KeyedState::new("latest.v1", |key| slot_of(reference_route(key))),
            truncated: KeyedState::new_replicated("truncated.v1", |_| 0),
        }
    }
}

impl Table {
    /// Takes a change of `key` if it is news: whether the row existed before.
    fn advance(&mut self, key: &ReferenceKey, lsn: u64, exists: bool) -> Option<bool> {
        let before = self.latest.get(key).copied();
        let seen = before.map(|latest| latest.lsn).max(self.truncated.get(&key.table()).copied());
        if seen.is_some_and(|seen| lsn <= seen) {
            return None;
        }
        self.latest.insert(key.clone(), Latest { lsn, exists });
        Some(before.is_some_and(|latest| latest.exists))
    }

    fn upsert(&mut self, at: At, lsn: u64, row: Reference, ctx: &mut Ctx<TableChange>) {
        let key = row.key();
        if self.advance(&key, lsn, true).is_some() {
            ctx.emit(at, TableChange { key, row: Some(row) });
        }
    }

    /// Removes a row. An update that moves a row to another key puts one and removes one, on different workers.
    fn delete(&mut self, at: At, lsn: u64, key: ReferenceKey, ctx: &mut Ctx<TableChange>) {
        if self.advance(&key, lsn, false) == Some(true) {
            remove(at, key, ctx);
        }
    }

    /// Removes the table's older rows.
    fn truncate(&mut self, at: At, lsn: u64, table: ReferenceTable, ctx: &mut Ctx<TableChange>) {
        if self.truncated.get(&table).is_some_and(|seen| lsn <= *seen) {
            return;
        }
        self.truncated.insert(table, lsn);
        let older = |(key, latest): &(&ReferenceKey, &Latest)| key.table() == table && latest.lsn <= lsn;
        let mut gone: Vec<ReferenceKey> =
            self.latest.iter().filter(older).map(|(key, _)| key.clone()).collect();
        gone.sort_unstable_by_key(reference_route);
        for key in gone {
            let known = self.latest.remove(&key).expect("listed above");
            if known.exists {
                remove(at, key, ctx);
            }
        }
    }
}

/// Every delete has a place of its own behind its record's, so that what a record does on all workers has one order.
fn remove(at: At, key: ReferenceKey, ctx: &mut Ctx<TableChange>) {
    let origin = Position::timer(at.time(), stage::TABLE, reference_route(&key));
    ctx.emit(At { cause: at.cause, origin }, TableChange { key, row: None });
}

impl Operator for Table {
    type In = Change;
    type Out = TableChange;
    const NAME: &'static str = "table";

    fn route(input: &Change) -> Route {
        match input {
            Change::Upsert { row, .. } => Route::Key(reference_route(&row.key())),
            Change::Delete { key, .. } => Route::Key(reference_route(key)),
            Change::Truncate { .. } => Route::All,
            Change::Nothing => Route::Key(0),
        }
    }

    fn on_record(&mut self, at: At, input: Change, ctx: &mut Ctx<TableChange>) {
        match input {
            Change::Upsert { lsn, row } => self.upsert(at, lsn, row, ctx),
            Change::Delete { lsn, key } => self.delete(at, lsn, key, ctx),
            Change::Truncate { lsn, table } => self.truncate(at, lsn, table, ctx),
            Change::Nothing => {}
        }
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        vec![&mut self.latest, &mut self.truncated]
    }
}
