//! What readers see: whole epochs, answers of one moment, nothing that writes.

use super::*;
use runtime::sink::Sink;
use schemas::tables::ORDERS;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Each epoch sells three of one offer in three orders: what is held is what was ordered, and the epoch of the
/// stock's row is the frontier. Half an epoch would break either.
#[test]
#[ignore = "needs services"]
fn service_postgres_a_reader_under_load_sees_whole_epochs_a_thousand_times() {
    let place = Place::migrated();
    let mut sink = place.serving(place.begin());
    let sell = |number: u64| {
        let orders = (0..3).map(|n| order(&format!("{number:06}-{n}"), OrderStatus::Held));
        let rows: Vec<Row> = orders.chain([stock("s", 3 * number as i64)]).collect();
        epoch(number, &rows)
    };
    sink.commit(&[sell(1)]).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&done);
    let seller = std::thread::spawn(move || {
        let mut number = 1;
        while !told.load(Ordering::Relaxed) {
            sink.commit(&[sell(number + 1), sell(number + 2)]).unwrap();
            number += 2;
        }
        number
    });
    let mut reader = place.reader();
    let (start, mut seen, mut last) = (Instant::now(), 0, Value::Null);
    // Until there was load enough, however slow the machine: fifty epochs have sold three each.
    while seen < 1_000 || (last <= Value::Int(3 * 50) && start.elapsed() < Duration::from_secs(180)) {
        let sql = "SELECT (SELECT count(*) FROM orders), (SELECT available FROM stock),
                          3 * (SELECT epoch FROM progress WHERE name = 'decided'), 3 * (SELECT epoch FROM stock)";
        let row = reader.query(sql, 1, 5_000).unwrap().rows.remove(0);
        assert!(row.iter().all(|value| *value == row[0]), "half an epoch: {row:?}");
        assert!(row[0] >= last, "time went backwards: {last:?}, {row:?}");
        (seen, last) = (seen + 1, row[0].clone());
    }
    // Several statements of one answer see one moment, too.
    for _ in 0..50 {
        let counts = reader.answer(|session| {
            let count =
                || session.row("test", "SELECT count(*) FROM orders", &[]).map(|row| row.get::<_, i64>(0));
            let first = count()?;
            std::thread::sleep(Duration::from_millis(10));
            Ok((first, count()?))
        });
        let (first, second) = counts.unwrap();
        assert_eq!(first, second, "one answer, one moment");
    }
    done.store(true, Ordering::Relaxed);
    let number = seller.join().unwrap();
    assert!(number > 50, "there was no load: {number} epochs");
    assert_eq!(reader.digest(&ORDERS).unwrap().rows, 3 * number);
}

#[test]
#[ignore = "needs services"]
fn service_postgres_a_query_may_only_read_and_only_for_a_while() {
    let place = Place::migrated();
    let mut sink = place.serving(place.begin());
    let rows = [order("a", OrderStatus::Held), order("b\0c", OrderStatus::Held)];
    sink.commit(&[epoch(1, &rows)]).unwrap();
    let mut reader = place.reader();
    for (sql, expected) in [
        ("DELETE FROM orders", "refused"),
        ("UPDATE frontiers SET epoch = 9 RETURNING epoch", "refused"),
        ("WITH gone AS (DELETE FROM orders RETURNING *) SELECT * FROM gone", "refused"),
        ("DROP TABLE orders", "refused"),
        ("SELECT order_id INTO TEMP t FROM orders", "refused"),
        ("COMMIT", "refused"),
        ("SELECT 1; DELETE FROM orders", "refused"),
        ("SELECT order_id FROM orders WHERE order_id = $1", "parameters"),
        ("SELECT nextval('nope')", "refused"),
        ("SELEKT 1", "syntax error"),
        ("SELECT nope FROM orders", "does not exist"),
        ("SELECT 1 / 0", "division by zero"),
        ("", "refused"),
        ("SELECT pg_sleep(60)", "took longer than 2000 ms"),
        ("SELECT count(*) FROM generate_series(1, 1e12)", "took longer than 2000 ms"),
    ] {
        let refused = reader.query(sql, 10, 2_000).unwrap_err().to_string();
        assert!(refused.contains(expected), "{sql}: {refused}");
    }
    let found = reader.query("SELECT order_id FROM orders ORDER BY 1", 1, 10_000).unwrap();
    assert_eq!(
        (found.columns.as_slice(), found.rows.len(), found.more),
        (&["order_id".to_owned()][..], 1, true)
    );
    let sql =
        "SELECT 1.5, NULL, sum(amount_minor), true, '\\x00ff'::bytea, max(order_id), count(*) FROM orders";
    let found = reader.query(sql, usize::MAX, 10_000).unwrap();
    let text = |text: &str| Value::Text(text.into());
    let expected = [
        text("1.5"),
        Value::Null,
        Value::Int(200),
        text("true"),
        Value::Bytes(vec![0, 255]),
        text("b\0c"),
        Value::Int(2),
    ];
    assert_eq!((&found.rows[0][..], found.more), (&expected[..], false));
    assert_eq!(reader.digest(&ORDERS).unwrap().rows, 2, "nothing was changed");
    place.terminate("reader");
    assert!(reader.progress().unwrap_err().is_passing(), "a lost connection is told once");
    assert_eq!(reader.progress().unwrap().decided, Epoch(1), "and opened again");
}
