//! Migrations and roles: tables as declared, and nobody may do more than their work.

use super::*;
use crate::postgres::columns::sql_type;
use crate::postgres::{PostgresError, grant_roles, plan};
use runtime::sink::Sink;
use schemas::tables::ALL_TABLES;

#[test]
#[ignore = "needs services"]
fn service_postgres_tables_are_as_the_specs_declare_them() {
    let place = Place::migrated();
    let session = place.session();
    for table in ALL_TABLES {
        let sql = "SELECT column_name::text, data_type::text, is_nullable = 'YES', coalesce(collation_name::text, '')
                   FROM information_schema.columns
                   WHERE table_schema = current_schema() AND table_name = $1 ORDER BY ordinal_position";
        let rows = session.rows("test", sql, &[&table.name]).unwrap();
        let found: Vec<(String, String, bool, String)> =
            rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect();
        let column = |c: &schemas::rows::Column| {
            let collation = if sql_type(c) == "text" { "C" } else { "" };
            (c.name.to_owned(), sql_type(c).to_owned(), c.nullable, collation.to_owned())
        };
        let epoch = ("epoch".to_owned(), "bigint".to_owned(), false, String::new());
        let declared: Vec<_> = table.columns.iter().map(column).chain([epoch]).collect();
        assert_eq!(found, declared, "{}", table.name);
        let sql =
            "SELECT attname::text FROM pg_index JOIN unnest(indkey) WITH ORDINALITY AS k(attnum, n) ON true
                   JOIN pg_attribute a ON a.attrelid = indrelid AND a.attnum = k.attnum
                   WHERE indrelid = $1::text::regclass AND indisprimary ORDER BY n";
        let rows = session.rows("test", sql, &[&table.name]).unwrap();
        let key: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let declared: Vec<&str> = table.columns[..table.key].iter().map(|c| c.name).collect();
        assert_eq!(key, declared, "{}", table.name);
    }
}

#[test]
#[ignore = "needs services"]
fn service_postgres_migrations_are_planned_applied_once_and_not_changed_afterwards() {
    let place = Place::bare();
    let states = |place: &Place| -> Vec<bool> {
        plan(&place.settings, MigrationSet::Serving).unwrap().iter().map(|file| file.applied).collect()
    };
    assert!(states(&place).iter().all(|applied| !applied));
    let refused = PostgresBindings::open(&place.settings).map(drop).unwrap_err();
    assert!(matches!(refused, PostgresError::NotMigrated { .. }), "{refused}");
    assert!(refused.to_string().contains("run `tombola migrate`"), "{refused}");
    // Two at once take turns.
    let settings = || place.settings.clone();
    let both = [settings(), settings()]
        .map(|settings| std::thread::spawn(move || migrate(&settings, MigrationSet::Serving).unwrap().len()));
    let applied: usize = both.map(|one| one.join().unwrap()).iter().sum();
    assert_eq!(applied, states(&place).len());
    assert!(states(&place).iter().all(|applied| *applied));
    assert_eq!(migrate(&place.settings, MigrationSet::Serving).unwrap(), []);
    for (change, expected) in [
        ("UPDATE tombola_migrations SET sha256 = 'x' WHERE number = 1", "applied from another file"),
        ("UPDATE tombola_migrations SET number = 99 WHERE number = 2", "applied from another file"),
        ("INSERT INTO tombola_migrations VALUES ('serving', 100, 'later', 'x')", "this program knows"),
    ] {
        let place = Place::migrated();
        place.session().run("test", change).unwrap();
        let refused = PostgresBindings::open(&place.settings).map(drop).unwrap_err().to_string();
        assert!(refused.contains(expected) && refused.contains("or a newer one"), "{refused}");
    }
}

/// What a role is told when it tries each of these.
fn tries(place: &Place, role: &str, statements: &[&str]) -> Vec<bool> {
    let session = place.session();
    session.run("test", &format!("SET ROLE {role}")).unwrap();
    let mut allowed = |sql: &&str| match session.run("test", sql) {
        Ok(()) => true,
        Err(error) => {
            let told = error.to_string();
            assert!(told.contains("(42501)") && told.contains("grant tombola_pipeline"), "{sql}: {told}");
            false
        }
    };
    statements.iter().map(&mut allowed).collect()
}

#[test]
#[ignore = "needs services"]
fn service_postgres_roles_may_do_their_work_and_no_more() {
    let place = Place::migrated();
    grant_roles(&place.settings, MigrationSet::Serving).unwrap();
    grant_roles(&place.settings, MigrationSet::Serving).unwrap();
    let generation = place.begin();
    place.serving(generation).commit(&[epoch(1, &[order("a", OrderStatus::Held)])]).unwrap();
    let reads = [
        "SELECT * FROM orders",
        "SELECT * FROM stock, tickets, dead_letters, commission_statements, fraud_alerts, draws, winning_tickets, publications",
        "SELECT * FROM progress, runs",
    ];
    let writes = [
        "INSERT INTO stock VALUES ('t', 'o', 1, 1, 0, 0, 0, 1)",
        "UPDATE orders SET status = 'held'",
        "UPDATE frontiers SET epoch = 9",
        "INSERT INTO generations VALUES (9, '', '', 1, 0, 0)",
    ];
    let never = [
        "DELETE FROM orders",
        "TRUNCATE orders",
        "UPDATE bindings SET now_ms = 0",
        "DELETE FROM bindings",
        "UPDATE generations SET settings = ''",
        "UPDATE epoch_digests SET epoch = 9",
        "DELETE FROM frontiers",
        "INSERT INTO tombola_migrations VALUES ('serving', 9, '', '')",
        "DROP TABLE orders",
        "ALTER TABLE orders ADD COLUMN x int",
        "CREATE TABLE mine (x int)",
        "CREATE INDEX ON orders (status)",
        "ALTER TABLE orders DISABLE TRIGGER ALL",
    ];
    assert!(tries(&place, "tombola_pipeline", &reads).iter().all(|may| *may));
    assert!(tries(&place, "tombola_pipeline", &writes).iter().all(|may| *may));
    assert!(tries(&place, "tombola_pipeline", &never).iter().all(|may| !may));
    assert!(tries(&place, "tombola_reader", &reads).iter().all(|may| *may));
    assert!(tries(&place, "tombola_reader", &writes).iter().all(|may| !may));
    assert!(tries(&place, "tombola_reader", &never).iter().all(|may| !may));
    let inner = ["SELECT * FROM bindings", "SELECT * FROM frontiers FOR UPDATE"];
    assert!(tries(&place, "tombola_reader", &inner).iter().all(|may| !may));
}

/// The stores themselves, logged in with no more than the roles' rights.
#[test]
#[ignore = "needs services"]
fn service_postgres_the_stores_need_no_more_than_their_roles() {
    let place = Place::migrated();
    grant_roles(&place.settings, MigrationSet::Serving).unwrap();
    let logins = ["tombola_pipeline", "tombola_reader"].map(|role| {
        let login = format!("{}_{role}", place.settings.schema);
        place
            .session()
            .run("test", &format!("CREATE ROLE {login} LOGIN PASSWORD 'pw' IN ROLE {role}"))
            .unwrap();
        let (scheme, rest) = place.settings.url.split_once("://").unwrap();
        let (_, server) = rest.split_once('@').unwrap();
        PostgresSettings { url: format!("{scheme}://{login}:pw@{server}"), ..place.settings.clone() }
    });
    let mut store = PostgresBindings::open(&logins[0]).unwrap();
    let generation = store.begin_generation("1.0", "{}", 1, 0).unwrap().generation;
    store.append(&[binding(1, generation)]).unwrap();
    let mut sink = PostgresServing::open(&logins[0], generation, |row: &Row| Some(row)).unwrap();
    sink.commit(&[epoch(1, &[order("a", OrderStatus::Held)])]).unwrap();
    crate::postgres::PostgresPublished::open(&logins[0], generation)
        .unwrap()
        .set_published(Epoch(1))
        .unwrap();
    let lock = crate::postgres::PostgresLock::take(&logins[0]).unwrap();
    let mut reader = PostgresReader::open(&logins[1]).unwrap();
    assert_eq!(reader.progress().unwrap().decided, Epoch(1));
    assert_eq!(reader.generations().unwrap().len(), 1);
    assert_eq!(reader.digests().unwrap()[0].rows, 1);
    let holder = crate::postgres::PostgresLock::holder(&logins[1]).unwrap().unwrap();
    assert!(holder.contains(&format!("(process {})", std::process::id())), "{holder}");
    let refused = PostgresServing::open(&logins[1], generation, |row: &Row| Some(row))
        .map(|mut sink| sink.commit(&[epoch(2, &[])]).unwrap_err().to_string());
    assert!(refused.unwrap().contains("permission denied"), "a reader commits nothing");
    drop((store, sink, reader, lock));
    for login in logins {
        let (user, _) = login.url.split_once("://").unwrap().1.split_once(':').unwrap();
        place.session().run("test", &format!("DROP ROLE {user}")).unwrap();
    }
}

/// What the reference tables take.
const TAKEN: &[&str] = &[
    "INSERT INTO offers (tenant, offer_id, kind, price_minor, currency, stock_total) VALUES ('t', 'o', 'ticket', 500, 'EUR', 10)",
    "UPDATE offers SET price_minor = 600, sale_closes_at_ms = 1700000000000 WHERE offer_id = 'o'",
    "INSERT INTO partners (tenant, partner_id, plan) VALUES ('t', 'p', 'standard')",
    "INSERT INTO customers (tenant, customer_id, daily_spend_limit_minor) VALUES ('t', 'c', 10000)",
    "INSERT INTO commission_rates (tenant, plan, offer_kind, currency, tier_floor_minor, rate_bps, valid_from) VALUES ('t', 'standard', 'ticket', 'EUR', 0, 500, '2026-01-01')",
    "INSERT INTO commission_periods (tenant, month, status) VALUES ('t', '2026-01', 'closed')",
    "INSERT INTO velocity_rules (tenant, rule_id, key, metric, window_ms, threshold, action) VALUES ('t', 'r', 'card', 'count', 60000, 5, 'block')",
    "INSERT INTO draws (tenant, draw_id, game, main_count, main_max, closes_at_ms, currency) VALUES ('t', 'd', 'lotto', 6, 49, 0, 'EUR')",
    "INSERT INTO channels (tenant, channel_id, network, endpoint, template, locale) VALUES ('t', 'c', 'webhook', 'http://127.0.0.1/', 'result', 'en')",
    "INSERT INTO box_prizes (tenant, offer_id, item_id, weight, stock) VALUES ('t', 'o', 'i', 5, 100)",
    "INSERT INTO trips (tenant, trip_id, stops, departs_at_ms) VALUES ('t', 'p', '[\"Basel\", \"Olten\"]', 0)",
    "INSERT INTO trip_seats (tenant, trip_id, seat_id, offer_id) VALUES ('t', 'p', '12A', 'o')",
    "INSERT INTO outbox (aggregatetype, aggregateid, type, payload) VALUES ('orders', 'o', 'place_order', '\\x00')",
];

/// What their checks refuse.
const REFUSED: &[&str] = &[
    "UPDATE offers SET price_minor = -1",
    "UPDATE offers SET currency = 'eur'",
    "UPDATE offers SET kind = 'lottery'",
    "UPDATE offers SET sale_opens_at_ms = 253402300800000",
    "UPDATE offers SET offer_id = repeat('x', 129)",
    "UPDATE partners SET status = 'gone'",
    "UPDATE customers SET customer_id = ''",
    "UPDATE commission_rates SET valid_from = '2026-01-02'",
    "UPDATE commission_rates SET rate_bps = 10001",
    "UPDATE commission_periods SET month = '2026-13'",
    "UPDATE velocity_rules SET window_ms = 0",
    "UPDATE velocity_rules SET metric = 'sum'",
    "UPDATE draws SET main_max = 256",
    "UPDATE channels SET network = 'fax'",
    "UPDATE box_prizes SET weight = -1",
    "UPDATE trips SET stops = '[\"Basel\"]'",
    "UPDATE trip_seats SET seat_id = ''",
];

/// The reference tables take what the decoder takes and refuse what it refuses, and say whole rows.
#[test]
#[ignore = "needs services"]
fn service_postgres_reference_tables_hold_what_the_jobs_follow() {
    let place = Place::bare();
    // A database of its own: these tables live in `public`.
    let (name, admin) = (place.settings.schema.clone(), place.settings.clone());
    let admin = Session::open(&PostgresSettings { schema: "public".to_owned(), ..admin }, "test").unwrap();
    admin.run("test", &format!("CREATE DATABASE {name}")).unwrap();
    let (server, _) = place.settings.url.rsplit_once('/').unwrap();
    let settings = PostgresSettings { url: format!("{server}/{name}"), ..place.settings.clone() };
    assert_eq!(migrate(&settings, MigrationSet::Oltp).unwrap().len(), 3);
    grant_roles(&settings, MigrationSet::Oltp).unwrap();
    let session =
        Session::open(&PostgresSettings { schema: "public".to_owned(), ..settings }, "test").unwrap();
    for sql in TAKEN {
        session.run("test", sql).unwrap();
    }
    for sql in REFUSED {
        let refused = session.run("test", sql).unwrap_err().to_string();
        assert!(refused.contains("(23514)"), "{sql}: {refused}");
    }
    let sql = "SELECT relname::text FROM pg_class WHERE relreplident = 'f' ORDER BY 1";
    let full: Vec<String> = session.rows("test", sql, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    let followed = [
        "box_prizes",
        "channels",
        "commission_periods",
        "commission_rates",
        "customers",
        "draws",
        "offers",
        "partners",
        "trip_seats",
        "trips",
        "velocity_rules",
    ];
    assert_eq!(full, followed);
    let sql = "SELECT pubname || '.' || tablename FROM pg_publication_tables ORDER BY 1";
    let told: Vec<String> = session.rows("test", sql, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!((told.len(), told[0].as_str()), (13, "tombola_outbox.outbox"), "{told:?}");
    session.run("test", "SET ROLE tombola_capture; SELECT * FROM offers, outbox").unwrap();
    session.run("test", "INSERT INTO debezium_heartbeat VALUES ('reference', now())").unwrap();
    assert!(
        session.run("test", "UPDATE offers SET price_minor = 0").is_err(),
        "whoever captures changes nothing"
    );
    drop(session);
    admin.run("test", &format!("DROP DATABASE {name} WITH (FORCE)")).unwrap();
}
