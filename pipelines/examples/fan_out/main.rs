//! One draw to the public: 4 templates in 3 locales and 20 channels, one of which takes connections and never answers.
//!
//! ```text
//!   cargo run --release -p tombola --example fan_out -- [DRAWS, default 3]
//!
//!   report appended ─ decided: published ─ 12 images drawn ─ 19 channels posted ─ the dead one parked ─ resumed
//! ```
//!
//! The whole pipeline on the embedded stores, in this process, with its own publisher; the networks are servers here, on
//! real sockets, that speak Mastodon's, Telegram's and a webhook's interface. Draws come one after the other, each once all
//! of the last one is over. Times are from the moment at which the result's epoch is decided; the 19 posts are
//! to be out within two seconds of it, and it says and exits with 1 where they aren't.

#![allow(clippy::unwrap_used)] // the servers are the tests'

#[path = "../../tests/publishing/server.rs"]
#[allow(dead_code)] // they know more tricks than are played here
mod server;

use connectors::embedded::{Log, Registry};
use pipelines::config::Config;
use pipelines::demo::record::Body;
use pipelines::engine::{self, EngineOptions, Progress};
use pipelines::retry::{RecordId, retry};
use pipelines::stores::Stores;
use runtime::shared::Shared;
use schemas::debezium::Op;
use schemas::draws::{Channel, ChannelStatus, Draw, Network, ReportResult};
use schemas::rows::Value;
use schemas::{Command, Reference};
use server::{Kind, Server};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const CHANNELS: usize = 20;
const DEAD: usize = 7;
const TEMPLATES: [&str; 4] = ["card", "square", "story", "banner"];
const LOCALES: [&str; 3] = ["en", "vi", "pt"];
/// What the 19 others have, from the published result on.
const POSTED_MAX: Duration = Duration::from_secs(2);
/// Nothing that is waited for takes longer.
const STUCK: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let draws = std::env::args().nth(1).map_or(3, |text| text.parse().expect("a number of draws"));
    let dir = tempfile::tempdir().expect("a folder can be made");
    let kinds = [Kind::Mastodon, Kind::Telegram, Kind::Webhook];
    let servers: Vec<Server> = (0..CHANNELS).map(|n| Server::start(kinds[n % kinds.len()])).collect();
    let mut fan = Fan::new(dir.path(), &servers);
    println!(
        "{:>6} {:>12} {:>12} {:>12} {:>12} {:>12}",
        "draw", "published", "12 images", "19 posts", "parked", "resumed"
    );
    let slowest = (1..=draws).map(|number| fan.publish(number)).max().unwrap_or_default();
    fan.end();
    if slowest > POSTED_MAX {
        println!("the 19 others took {slowest:.2?}; they are to be done within {POSTED_MAX:?}");
        return ExitCode::FAILURE;
    }
    println!("the 19 others were done within {slowest:.2?} of the published result");
    ExitCode::SUCCESS
}

struct Fan<'a> {
    dir: &'a Path,
    servers: &'a [Server],
    stores: Stores,
    shared: Arc<Shared>,
    progress: Receiver<Progress>,
    engine: Option<std::thread::JoinHandle<()>>,
}

impl<'a> Fan<'a> {
    /// A pipeline that runs and knows every channel.
    fn new(dir: &'a Path, servers: &'a [Server]) -> Fan<'a> {
        let mut config = Config::default();
        config.pipeline.data_dir = dir.to_owned();
        config.tickets.key = Some("a key for measuring, not for tickets".to_owned());
        config.publishing.enabled = true;
        (config.publishing.attempts, config.publishing.timeout_ms) = (2, 1_000);
        config.draws.templates = TEMPLATES.map(str::to_owned).to_vec();
        config.draws.locales = LOCALES.map(str::to_owned).to_vec();
        for (n, server) in servers.iter().enumerate() {
            let secret = dir.join(format!("secret-{n}"));
            std::fs::write(&secret, server.secret()).expect("the folder can be written");
            config
                .publishing
                .secrets
                .insert(format!("acme/{}", name(n)), format!("file:{}", secret.display()));
        }
        let stores = Stores::of(&config, dir);
        stores.prepare().expect("topics can be made");
        servers.iter().enumerate().for_each(|(n, server)| row(dir, channel_row(n, server), 1 + n as u64));
        let (told, progress) = channel();
        let shared = Arc::new(Shared::default());
        let options = EngineOptions {
            config,
            data_dir: dir.to_owned(),
            workers: 1,
            until_drained: false,
            shared: Arc::clone(&shared),
            progress: Some(told),
            pulse: None,
        };
        let run = move || engine::run(&options).expect("the pipeline runs");
        let engine = Some(std::thread::spawn(run));
        Fan { dir, servers, stores, shared, progress, engine }
    }

    /// One draw, from its report to the last post; how long the 19 took.
    fn publish(&mut self, number: usize) -> Duration {
        let draw_id = format!("D-{number}");
        self.servers[DEAD].die(true);
        row(self.dir, draw(&draw_id), 100 + number as u64);
        let before: Vec<usize> = self.servers.iter().map(|server| server.shown().len()).collect();
        let began = Instant::now();
        let place = append(self.dir, &report(&draw_id));
        let published = self.decided(place);
        let (mut drawn, mut posted) = (None, None);
        wait_for("the posts", || {
            let images = self.dir.join(format!("images/acme/powerball/{draw_id}"));
            if drawn.is_none() && count(&images) == TEMPLATES.len() * LOCALES.len() {
                drawn = Some(published.elapsed());
            }
            let out = |n: &usize| *n != DEAD && self.servers[*n].shown().len() > before[*n];
            if posted.is_none() && (0..CHANNELS).filter(out).count() == CHANNELS - 1 {
                posted = Some(published.elapsed());
            }
            drawn.is_some() && posted.is_some()
        });
        let letters = "SELECT id FROM dead_letters ORDER BY first_seen_ms, id";
        let mut parked = Vec::new();
        wait_for("the dead channel to be parked", || {
            parked = self.ids(letters);
            parked.len() == number
        });
        let was_parked = published.elapsed();
        self.servers[DEAD].die(false);
        let id = RecordId::parse(parked.last().expect("there is one")).expect("it is an id");
        let resumed = Instant::now();
        retry(&self.stores, &[id]).expect("it can be sent in again");
        wait_for("the parked post", || self.servers[DEAD].shown().len() > before[DEAD]);
        let (drawn, posted) = (drawn.expect("waited for"), posted.expect("waited for"));
        println!(
            "{draw_id:>6} {:>12.2?} {drawn:>12.2?} {posted:>12.2?} {was_parked:>12.2?} {:>12.2?}",
            published - began,
            resumed.elapsed()
        );
        posted
    }

    /// When the epoch with this report was decided.
    fn decided(&self, (partition, offset): (u32, u64)) -> Instant {
        loop {
            let moved = self.progress.recv_timeout(STUCK).expect("the frontier moves");
            let is_past =
                |end: &(&str, u32, u64)| end.0 == "commands.draws" && end.1 == partition && end.2 > offset;
            if moved.ends.iter().any(is_past) {
                return moved.at;
            }
        }
    }

    fn ids(&self, sql: &str) -> Vec<String> {
        let mut tables = self.stores.tables().expect("the pipeline has begun");
        let found = tables.query(sql, 1_000, 10_000).expect("the tables can be asked");
        let text = |row: Vec<Value>| match row.into_iter().next() {
            Some(Value::Text(id)) => id.to_string(),
            other => panic!("no id: {other:?}"),
        };
        found.rows.into_iter().map(text).collect()
    }

    fn end(&mut self) {
        self.shared.stop();
        self.engine
            .take()
            .map(std::thread::JoinHandle::join)
            .expect("it runs")
            .expect("the pipeline ends well");
    }
}

fn name(n: usize) -> String {
    format!("channel-{n:02}")
}

fn count(images: &Path) -> usize {
    let within = |dir: &Path| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let locales = within(images).into_iter().flat_map(|template| within(&template));
    let images = locales.flat_map(|locale| within(&locale));
    images.filter(|path| path.extension().is_some_and(|extension| extension == "png")).count()
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < STUCK, "stuck: waited for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn append(dir: &Path, body: &Body) -> (u32, u64) {
    let ids = Registry::open(dir).expect("the log opens").register_own().expect("contracts are known");
    let record = body.encode(&ids, pipelines::clock_ms());
    let placed = Log::appender(dir).expect("the log opens").append(body.topic(), &[record]);
    placed.expect("it can be appended")[0]
}

fn row(dir: &Path, row: Reference, lsn: u64) {
    append(dir, &Body::Change { op: Op::Create, before: None, after: Box::new(row), lsn });
}

fn channel_row(n: usize, server: &Server) -> Reference {
    Reference::Channel(Box::new(Channel {
        tenant: "acme".into(),
        channel_id: name(n).into(),
        network: Network::parse(server.network()).expect("it is a network"),
        endpoint: server.url().into(),
        target: if server.kind == Kind::Telegram { "@draws".into() } else { "".into() },
        template: TEMPLATES[n % TEMPLATES.len()].into(),
        locale: LOCALES[n % LOCALES.len()].into(),
        games: "".into(),
        status: ChannelStatus::Active,
    }))
}

fn draw(draw_id: &str) -> Reference {
    Reference::Draw(Box::new(Draw {
        tenant: "acme".into(),
        draw_id: draw_id.into(),
        game: "powerball".into(),
        main_count: 5,
        main_min: 1,
        main_max: 69,
        bonus_count: 1,
        bonus_max: 26,
        bonus_in_main: false,
        repeats: false,
        closes_at_ms: pipelines::clock_ms() - 60_000,
        sources_required: 1,
        currency: "USD".into(),
        pool_minor: None,
        prize_tiers: "[]".into(),
    }))
}

fn report(draw_id: &str) -> Body {
    let now = pipelines::clock_ms();
    Body::Command(Command::ReportResult(Box::new(ReportResult {
        command_id: format!("report-{draw_id}").into(),
        tenant: "acme".into(),
        draw_id: draw_id.into(),
        source: "feed".into(),
        numbers: vec![7, 19, 28, 41, 66],
        bonus: vec![23],
        prizes: Vec::new(),
        jackpot_minor: Some(24_300_000_000),
        currency: Some("USD".into()),
        drawn_at_ms: now - 1_000,
        reported_at_ms: now,
    })))
}
