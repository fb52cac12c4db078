//! The publisher's ledger in Postgres.

use super::*;
use crate::postgres::PostgresLedger;
use crate::publishing::{Change, Ledger, conformance};
use runtime::sink::SinkError;

#[test]
#[ignore = "needs services"]
fn service_steps_live_as_every_ledger_has_them() {
    let place = Place::migrated();
    conformance::check(&mut PostgresLedger::open(&place.settings, place.begin()).unwrap());
}

#[test]
#[ignore = "needs services"]
fn service_an_older_generation_records_no_step() {
    let place = Place::migrated();
    let mut older = PostgresLedger::open(&place.settings, place.begin()).unwrap();
    place.begin();
    let refused = older.apply(&[Change::Cancel { step: "a".to_owned() }]);
    assert!(matches!(refused, Err(SinkError::Fenced { .. })), "{refused:?}");
}

#[test]
#[ignore = "needs services"]
fn service_a_lost_connection_is_a_retry_and_the_next_call_goes_through() {
    let place = Place::migrated();
    let mut ledger = PostgresLedger::open(&place.settings, place.begin()).unwrap();
    place.terminate("publisher");
    let position = [Change::Position { topic: "t".to_owned(), partition: 0, next: 1 }];
    assert!(matches!(ledger.apply(&position), Err(SinkError::Retry { .. })));
    assert_eq!(ledger.apply(&position).unwrap(), [true]);
}
