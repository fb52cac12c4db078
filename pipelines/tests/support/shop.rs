//! A shop: a database of its own that Debezium follows as it is deployed, a pipeline behind it, and orders to ask that with.
//!
//! ```text
//!   SQL ──> reference tables, outbox ── deploy/debezium ──> oltp.public.*, commands.orders ─┐
//!   asked ────────────────────────────────────────────────> commands.orders ────────────────┴─> tombola run ──> held, refused
//! ```

use super::load::{self, Produced};
use super::process::{self, Running};
use super::services::{Services, env, script, sql, wait_until, well};
use super::{Folder, connector};
use connectors::kafka::{KafkaAppender, KafkaSettings};
use pipelines::demo::record::Body;
use schemas::commands::PlaceOrder;
use schemas::{Command, SchemaIds, Text};
use std::collections::BTreeMap;
use std::fmt::Write as _;

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);
const TENANT: &str = "shop";
const SETTINGS: &str = "[runtime]\nsnapshot_every_ms = 1000\n\
    [orders]\ngrace_ms = 300\nhold_ttl_ms = 86400000\ntenants_requiring_customers = [\"shop\"]\n\
    [tickets]\nkey = \"a key for tests, not for tickets\"\n";
const CONNECTORS: [&str; 2] = ["reference", "outbox"];

/// See the module.
pub struct Shop {
    pub services: Services,
    pub dir: Folder,
    /// Its database.
    pub url: String,
    /// All orders there are.
    pub produced: Produced,
    kafka: KafkaAppender,
    ids: SchemaIds,
}

impl Shop {
    /// Everything empty but the tables, in which these statements are done; Debezium has begun to follow them.
    pub fn open(rows: &str) -> Self {
        let (services, dir) = (Services::empty(), Folder::new());
        well(script(&["start", "connect"]));
        close();
        sql(&env("PG_URL"), "CREATE DATABASE shop");
        let url = env("PG_URL").rsplit_once('/').map(|(server, _)| format!("{server}/shop")).expect("a URL");
        services.configure(dir.path(), SETTINGS);
        process::end_of(process::tombola(dir.path(), &["migrate", "--oltp", "--url", &url])).assert(0, &[]);
        sql(&url, rows);
        connector::apply(&CONNECTORS, &url, |name| match name {
            "CONNECT_PG_DATABASE" => "shop".to_owned(),
            name => env(name),
        });
        let settings = KafkaSettings::new(env("KAFKA_BOOTSTRAP"));
        let kafka = KafkaAppender::open(&settings).expect("Kafka answers");
        let ids = load::schema_ids(dir.path());
        Shop { services, dir, url, produced: Produced::default(), kafka, ids }
    }

    /// A pipeline on it.
    pub fn run(&self) -> Running {
        Running::start(process::tombola(self.dir.path(), &["run", "--workers", "2"]))
    }

    /// Statements for its database.
    pub fn change(&self, statements: &str) {
        sql(&self.url, statements);
    }

    /// The next order: `OFFER PRICE`, then any of `xQUANTITY`, `by CUSTOMER` and `via PARTNER`.
    fn order(&mut self, asked: &str) -> Box<PlaceOrder> {
        let words: Vec<&str> = asked.split(' ').collect();
        let after = |word: &str| words.iter().position(|w| *w == word).map(|at| Text::from(words[at + 1]));
        let quantity = words.iter().find_map(|word| word.strip_prefix('x'));
        let order_id = Text::from(format!("order-{}", self.produced.orders.len()));
        self.produced.orders.insert((TENANT.to_owned(), order_id.to_string()));
        Box::new(PlaceOrder {
            command_id: order_id.clone(),
            tenant: TENANT.into(),
            order_id,
            customer_id: after("by").unwrap_or("anna".into()),
            partner_id: after("via"),
            offer_id: words[0].into(),
            quantity: quantity.map_or(1, |quantity| quantity.parse().expect("a number")),
            price_minor: words[1].parse().expect("a number"),
            currency: "EUR".into(),
            placed_at_ms: pipelines::clock_ms(),
            card: None,
            device: None,
            ip: None,
            numbers: Vec::new(),
            seat: None,
        })
    }

    /// What became of these orders, placed at once: `held`, or `refused` and why.
    fn ask(&mut self, all: &[&str]) -> Vec<String> {
        let orders: Vec<_> = all.iter().map(|asked| self.order(asked)).collect();
        let list = orders.iter().map(|order| order.order_id.to_string()).collect();
        let records = orders
            .into_iter()
            .map(|order| Body::Command(Command::PlaceOrder(order)).encode(&self.ids, pipelines::clock_ms()));
        let records: Vec<_> = records.collect();
        self.kafka.append("commands.orders", &records).expect("Kafka takes orders");
        outcomes(list)
    }

    /// Asks until the first answer is what is wanted, as a change takes its time; then for the others, once.
    pub fn check(&mut self, what: &str, wanted: &[(&str, &str)]) {
        self.wait_for(what, wanted[0]);
        let (asked, wanted): (Vec<&str>, Vec<&str>) = wanted[1..].iter().copied().unzip();
        if !asked.is_empty() {
            let found = self.ask(&asked);
            assert_eq!(found, wanted, "{what}: {asked:?}");
        }
    }

    /// Asks until the answer is what is wanted.
    pub fn wait_for(&mut self, what: &str, (asked, wanted): (&str, &str)) {
        let mut found = Vec::new();
        let began = std::time::Instant::now();
        while found != [wanted] {
            assert!(began.elapsed() < PATIENCE, "{what}: {asked}: {found:?}");
            found = self.ask(&[asked]);
        }
    }

    /// Orders for the outbox, each in a transaction of its own, some of which leave nothing behind; their ids.
    pub fn write_outbox(&mut self, asked: &str, count: usize) -> Vec<String> {
        let (mut statements, mut list) = (String::new(), Vec::new());
        for number in 0..count {
            let order = self.order(asked);
            list.push(order.order_id.to_string());
            let key = order.order_id.clone();
            let record = Body::Command(Command::PlaceOrder(order)).encode(&self.ids, 0);
            let hex = record.value.iter().flatten().fold(String::new(), |mut hex, byte| {
                write!(hex, "{byte:02x}").expect("a String takes it");
                hex
            });
            let gone = if number % 2 == 0 {
                format!("DELETE FROM outbox WHERE aggregateid = '{key}';")
            } else {
                String::new()
            };
            write!(
                statements,
                "BEGIN; INSERT INTO outbox (aggregatetype, aggregateid, type, payload)
                   VALUES ('orders', '{key}', 'place_order', '\\x{hex}'); {gone} COMMIT;"
            )
            .expect("a String takes it");
        }
        sql(&self.url, &statements);
        list
    }
}

/// What became of these orders.
pub fn outcomes(list: Vec<String>) -> Vec<String> {
    let quoted = list.iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(", ");
    let question = format!(
        "SELECT order_id, trim(status || ' ' || coalesce(reasons, '')) FROM tombola.orders WHERE tenant = '{TENANT}' AND order_id IN ({quoted})"
    );
    let mut found = BTreeMap::new();
    wait_until("decisions", PATIENCE, || {
        let text = sql(&env("PG_URL"), &question);
        let rows = text.lines().filter_map(|line| line.split_once('|'));
        found = rows.map(|(id, outcome)| (id.to_owned(), outcome.to_owned())).collect();
        found.len() == list.len()
    });
    list.iter().map(|id| found[id].clone()).collect()
}

/// Takes away what an earlier shop has left.
fn close() {
    for name in CONNECTORS {
        connector::forget(name);
        connector::drop_slot(name, &env("PG_URL"));
        connector::drop_slot(&format!("{name}_mark"), &env("PG_URL"));
    }
    sql(&env("PG_URL"), "DROP DATABASE IF EXISTS shop WITH (FORCE)");
}

impl Drop for Shop {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            close();
        }
    }
}
