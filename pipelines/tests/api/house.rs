//! A pipeline in this process with as many instances of the API in front of it as a test wants.

use super::http::{Answer, ask};
use crate::support::Folder;
use api::{Server, Shop};
use connectors::embedded::NewRecord;
use pipelines::config::Config;
use pipelines::engine::{self, EngineOptions};
use pipelines::serve::{self, Beside, Pulse};
use pipelines::stores::Stores;
use runtime::shared::Shared;
use schemas::Reference;
use schemas::debezium::{Op, envelope, key_of};
use schemas::draws::Draw;
use schemas::reference::{Offer, OfferKind, OfferStatus, Partner, Standing};
use sha2::{Digest as _, Sha256};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Tenants of every house. Each sells `box` at 100 EUR cents, through the partners `p1` and `p2`.
pub const TENANTS: [&str; 2] = ["acme", "other"];
/// Who may ask, by key: role, tenant, partner.
pub const KEYS: [(&str, &str, Option<&str>, Option<&str>); 8] = [
    ("acme-producer-key", "producer", Some("acme"), None),
    ("acme-analyst-key", "analyst", Some("acme"), None),
    ("acme-operator-key", "operator", Some("acme"), None),
    ("acme-partner-key", "partner", Some("acme"), Some("p1")),
    ("acme-seller-key", "producer", Some("acme"), Some("p1")),
    ("other-producer-key", "producer", Some("other"), None),
    ("other-partner-key", "partner", Some("other"), Some("p1")),
    ("everywhere-key", "operator", None, None),
];
/// Nothing that is waited for takes longer.
const STUCK: Duration = Duration::from_secs(300);

/// How long a request may wait: longer than any decision takes on a busy machine.
pub const WAIT_MS_MAX: u64 = 120_000;

/// See the module.
pub struct House {
    pub folder: Folder,
    pub stores: Stores,
    pub config: Config,
    shared: Arc<Shared>,
    pulse: Arc<Pulse>,
    engine: Option<JoinHandle<()>>,
}

impl House {
    /// A house whose pipeline runs.
    pub fn new() -> House {
        House::with(|_| {})
    }

    /// One with other settings.
    pub fn with(change: impl FnOnce(&mut Config)) -> House {
        let mut house = House::empty(change);
        let options = EngineOptions {
            config: house.config.clone(),
            data_dir: house.folder.path().to_owned(),
            workers: 1,
            until_drained: false,
            shared: Arc::clone(&house.shared),
            progress: None,
            pulse: Some(Arc::clone(&house.pulse)),
        };
        house.engine = Some(std::thread::spawn(move || engine::run(&options).expect("the pipeline runs")));
        // On a busy machine the first decision takes its time, which is none of those who wait for theirs.
        wait_for("the first decision", || {
            let progress = house.stores.tables().ok().and_then(|mut tables| tables.progress().ok());
            progress.is_some_and(|progress| progress.decided.0 > 0)
        });
        house
    }

    /// One whose stores nobody works on.
    pub fn empty(change: impl FnOnce(&mut Config)) -> House {
        let folder = Folder::new();
        let mut config = Config::default();
        config.tickets.key = Some("a key for tests, not for tickets".to_owned());
        config.pipeline.data_dir = folder.path().to_owned();
        config.api.keys_file = Some(folder.path().join("keys.toml"));
        config.api.wait_ms_max = WAIT_MS_MAX;
        change(&mut config);
        std::fs::write(folder.path().join("keys.toml"), keys_file()).expect("the folder can be written");
        std::fs::write(folder.path().join("tombola.toml"), config.describe()).expect("it can be written");
        let stores = Stores::of(&config, folder.path());
        stock(&stores);
        let (shared, pulse) = (Arc::default(), Arc::default());
        House { folder, stores, config, shared, pulse, engine: None }
    }

    /// An instance in the pipeline's own process.
    pub fn beside(&self) -> Server {
        let beside = Beside { pulse: Arc::clone(&self.pulse), shared: Arc::clone(&self.shared) };
        self.serve(Some(beside))
    }

    /// An instance that looks at the stores from outside, as another process would.
    pub fn apart(&self) -> Server {
        self.serve(None)
    }

    /// One that sells boxes of `acme` at `/api/ticket/buy`.
    pub fn shop(&self) -> Server {
        let shop = Shop {
            tenant: "acme".to_owned(),
            offer_id: "box".to_owned(),
            customer_id: "anna".to_owned(),
            price_minor: 100,
            currency: "EUR".to_owned(),
            numbers: 6,
            number_max: 49,
        };
        self.serve_with(None, Some(shop))
    }

    fn serve(&self, beside: Option<Beside>) -> Server {
        self.serve_with(beside, None)
    }

    fn serve_with(&self, beside: Option<Beside>, shop: Option<Shop>) -> Server {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = serve::start(any, serve::settings(&self.config, shop), &self.stores, beside);
        server.expect("the API can be served")
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.shared.stop();
        let ended = self.engine.take().map_or(Ok(()), JoinHandle::join);
        if !std::thread::panicking() {
            ended.expect("the pipeline ends well");
        }
    }
}

/// Waits until something is so.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < STUCK, "stuck: waited for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What `api.keys_file` holds.
pub fn keys_file() -> String {
    let entry = |(key, role, tenant, partner): &(&str, &str, Option<&str>, Option<&str>)| {
        let hash = Sha256::digest(key.as_bytes());
        let hash = hash.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        let optional = |name: &str, value: &Option<&str>| {
            value.map_or(String::new(), |value| format!("{name} = \"{value}\"\n"))
        };
        format!(
            "[[key]]\nname = \"{key}\"\nsha256 = \"{hash}\"\nroles = [\"{role}\"]\n{}{}",
            optional("tenant", tenant),
            optional("partner", partner)
        )
    };
    KEYS.iter().map(entry).collect()
}

/// Makes the topics, and gives every tenant something to sell.
pub fn stock(stores: &Stores) {
    stores.prepare().expect("topics can be made");
    let mut records = [Vec::new(), Vec::new()];
    for tenant in TENANTS {
        records[0].push(row(Reference::Offer(Box::new(offer(tenant)))));
        for partner in ["p1", "p2"] {
            records[1].push(row(Reference::Partner(Box::new(Partner {
                tenant: tenant.into(),
                partner_id: partner.into(),
                status: Standing::Active,
                plan: "standard".into(),
            }))));
        }
    }
    let topics = [("oltp.public.offers", &records[0][..]), ("oltp.public.partners", &records[1][..])];
    stores.appender().expect("the log opens").append_many(&topics).expect("rows can be appended");
}

fn offer(tenant: &str) -> Offer {
    Offer {
        tenant: tenant.into(),
        offer_id: "box".into(),
        kind: OfferKind::Box,
        price_minor: 100,
        currency: "EUR".into(),
        stock_total: 1_000_000,
        sale_opens_at_ms: None,
        sale_closes_at_ms: None,
        max_per_order: 10,
        max_per_customer: None,
        draw_id: None,
        restock_on_refund: true,
        status: OfferStatus::Open,
    }
}

/// A reference row as the database tells it.
pub fn row(row: Reference) -> NewRecord {
    let (key, now_ms) = (key_of(&row.key()), pipelines::clock_ms());
    let value = envelope(Op::Read, None, Some(&row), now_ms, 8);
    NewRecord {
        key: Some(key.into_bytes()),
        value: Some(value.into_bytes()),
        timestamp_ms: now_ms,
        ..NewRecord::default()
    }
}

/// An order of one box.
pub fn order(more: &str) -> String {
    format!(
        r#"{{"customer_id":"anna","offer_id":"box","quantity":1,"price_minor":100,"currency":"EUR"{more}}}"#
    )
}

/// Places an order with a key of its own and waits for its decision.
pub fn place(at: SocketAddr, who: &str, key: &str, more: &str) -> Answer {
    let bearer = format!("Bearer {who}");
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
    ask(at, "POST /v1/orders?wait_ms=120000", &headers, &order(more))
}

/// GET.
pub fn get(at: SocketAddr, who: &str, path: &str) -> Answer {
    ask(at, &format!("GET {path}"), &[("authorization", &format!("Bearer {who}"))], "")
}

/// A figure of the API's own.
pub fn figure(at: SocketAddr, name: &str) -> u64 {
    let text = get(at, "", "/metrics").text;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name}: {text}")).parse().expect("a figure is a number")
}

/// A draw of `acme`, closed a minute ago, that one source decides.
pub fn six_of_49(draw_id: &str, game: &str) -> Reference {
    Reference::Draw(Box::new(Draw {
        tenant: "acme".into(),
        draw_id: draw_id.into(),
        game: game.into(),
        main_count: 6,
        main_min: 1,
        main_max: 49,
        bonus_count: 0,
        bonus_max: 0,
        bonus_in_main: false,
        repeats: false,
        closes_at_ms: pipelines::clock_ms() - 60_000,
        sources_required: 1,
        currency: "EUR".into(),
        pool_minor: None,
        prize_tiers: "[]".into(),
    }))
}
