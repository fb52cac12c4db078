//! The Postgres stores against a real server: PG_URL names it, its user may make schemas and roles.
//!
//! Every test has a schema of its own, which is dropped at its end.

mod failures;
mod ledger;
mod load;
mod reading;
mod rights;
mod store;
mod tls;

use super::session::Session;
use super::{
    MigrationSet, PostgresBindings, PostgresError, PostgresReader, PostgresServing, PostgresSettings, migrate,
};
use crate::conformance::binding;
use runtime::bindings::{Binding, BindingStore};
use runtime::sink::{EpochItems, Item};
use runtime::{At, Class, Epoch, Generation, Offset, PartitionId, Position, TopicId};
use schemas::rows::{OrderRow, OrderStatus, Row, StockRow, Value};
use std::sync::atomic::{AtomicU32, Ordering};

static SCHEMAS: AtomicU32 = AtomicU32::new(0);

/// A schema of one test.
struct Place {
    settings: PostgresSettings,
}

impl Place {
    /// An empty one that doesn't exist yet.
    fn bare() -> Place {
        let url =
            std::env::var("PG_URL").expect("PG_URL names a Postgres whose user may make schemas and roles");
        let number = SCHEMAS.fetch_add(1, Ordering::Relaxed);
        let schema = format!("test_{}_{number}", std::process::id());
        Place { settings: PostgresSettings { url, schema, ..PostgresSettings::default() } }
    }

    fn migrated() -> Place {
        let place = Place::bare();
        migrate(&place.settings, MigrationSet::Serving).unwrap();
        place
    }

    fn begin(&self) -> Generation {
        self.bindings().1
    }

    fn bindings(&self) -> (PostgresBindings, Generation) {
        let mut store = PostgresBindings::open(&self.settings).unwrap();
        let begun = store.begin_generation("1.0", "{}", 1, 0).unwrap();
        (store, begun.generation)
    }

    fn serving(&self, generation: Generation) -> PostgresServing<Row> {
        PostgresServing::open(&self.settings, generation, |row| Some(row)).unwrap()
    }

    fn reader(&self) -> PostgresReader {
        PostgresReader::open(&self.settings).unwrap()
    }

    fn session(&self) -> Session {
        Session::open(&self.settings, "test").unwrap()
    }

    /// Ends every other session of this test at the server, as a failing server would.
    fn terminate(&self, purpose: &str) {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE $1";
        let name = format!("tombola {} {purpose} %", self.settings.schema);
        self.session().rows("end sessions", sql, &[&name]).unwrap();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let drop = format!("DROP SCHEMA IF EXISTS \"{}\" CASCADE", self.settings.schema);
            self.session().run("drop the test's schema", &drop).unwrap();
        }
    }
}

fn order(id: &str, status: OrderStatus) -> Row {
    Row::Order(Box::new(OrderRow {
        tenant: "t".into(),
        order_id: id.into(),
        command_id: id.into(),
        offer_id: "o".into(),
        partner_id: None,
        customer_id: "c".into(),
        quantity: 1,
        amount_minor: 100,
        currency: "EUR".into(),
        status,
        reasons: "".into(),
        placed_at_ms: 1,
    }))
}

fn stock(id: &str, available: i64) -> Row {
    let (tenant, offer_id) = ("t".into(), id.into());
    let row = StockRow { tenant, offer_id, stock_total: 9, available, held: 0, sold: 0, shrink_due: 0 };
    Row::Stock(Box::new(row))
}

fn epoch(number: u64, rows: &[Row]) -> EpochItems<Row> {
    let place = PartitionId { topic: TopicId(0), partition: 0 };
    let at = At::record(Position::record(1, Class::Command, place, Offset(0)));
    let items = rows.iter().map(|row| Item { at, stage: 0, body: row.clone() }).collect();
    EpochItems { epoch: Epoch(number), now: number as i64 * 10, items }
}

fn text(value: &Value) -> &str {
    match value {
        Value::Text(text) => text,
        other => panic!("not text: {other:?}"),
    }
}
