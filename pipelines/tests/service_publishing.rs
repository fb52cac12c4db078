//! Results over real services: reported in Kafka, settled in Postgres, drawn into a bucket that speaks S3, posted to
//! servers that speak the networks' interfaces, with the pipeline killed at every step in between.
//!
//! ```text
//!   commands.draws ─ Kafka ─> tombola run · killed · run · killed … ─┬─> Postgres: winning_tickets, publications
//!                                                                    ├─> S3: an image for each result
//!                                                                    └─> Mastodon, Telegram, webhook: a post for each
//! ```
#![allow(clippy::unwrap_used)] // a test: what fails here fails the test

#[allow(dead_code)] // its tricks are for the tests that it belongs to
#[path = "publishing/server.rs"]
mod server;
mod support;

use connectors::kafka::{KafkaAppender, KafkaSettings};
use pipelines::demo::record::Body;
use schemas::commands::PlaceOrder;
use schemas::debezium::Op;
use schemas::draws::{Channel, ChannelStatus, Draw, Network, ReportResult};
use schemas::reference::{Offer, OfferKind, OfferStatus};
use schemas::{Command, Reference, SchemaIds};
use server::{Kind, Server};
use sinks::images::ImageStore;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use support::process::{self, Running};
use support::services::{Services, env, sql, wait_until};
use support::{Folder, load};

/// Generous: the machine may be busy with other things.
const PATIENCE: Duration = Duration::from_secs(240);
/// Each kills the run in which the result of one more draw is reported, of this game.
const POINTS: [(&str, &str); 14] = [
    ("facts.after_commit", LOTTO),
    ("serving.before_commit", LOTTO),
    ("serving.after_commit", LOTTO),
    ("image.before_store", LOTTO),
    ("image.after_store", LOTTO),
    ("publish.before_take", LOTTO),
    ("publish.after_take", LOTTO),
    ("publish.before_intent", LOTTO),
    ("publish.after_intent", LOTTO),
    ("publish.after_call", LOTTO),
    ("publish.after_record", LOTTO),
    ("publish.after_tell", LOTTO),
    ("publish.after_intent", TELEGRAM_ONLY),
    ("publish.after_call", TELEGRAM_ONLY),
];
const LOTTO: &str = "3of49";
/// A game that goes to the one network where nobody can find out what a lost answer was.
const TELEGRAM_ONLY: &str = "3of49-chat";
const KINDS: [Kind; 3] = [Kind::Mastodon, Kind::Telegram, Kind::Webhook];
const ORDERS: usize = 20;
const TIERS: &str = r#"[{"tier":"3","main":3,"fixed_minor":100000},{"tier":"2","main":2,"fixed_minor":500}]"#;

struct World {
    services: Services,
    dir: Folder,
    servers: [Server; 3],
    kafka: KafkaAppender,
    ids: SchemaIds,
    bucket: (String, BTreeMap<String, String>),
    /// Of the last row that was told.
    lsn: u64,
}

fn bucket() -> (String, BTreeMap<String, String>) {
    let options = [
        ("aws_endpoint", env("S3_URL")),
        ("aws_region", env("S3_REGION")),
        ("aws_access_key_id", env("S3_ACCESS_KEY")),
        ("aws_secret_access_key", env("S3_SECRET_KEY")),
        ("allow_http", "true".to_owned()),
    ];
    let url = format!("s3://{}/results-{}", env("S3_BUCKET"), std::process::id());
    (url, options.map(|(key, value)| (key.to_owned(), value)).into())
}

fn settings(
    dir: &Path,
    servers: &[Server; 3],
    (url, options): &(String, BTreeMap<String, String>),
) -> String {
    let options: String = options.iter().map(|(key, value)| format!("{key} = {value:?}\n")).collect();
    let secrets = servers.iter().map(|server| {
        let path = dir.join(format!("{}.secret", server.network()));
        std::fs::write(&path, server.secret()).unwrap();
        format!("\"acme/{}\" = \"file:{}\"\n", server.network(), path.display())
    });
    let secrets: String = secrets.collect();
    format!(
        "[runtime]\nsnapshot_every_ms = 1000\n[orders]\ntenants_billing_later = [\"acme\"]\n\
         [tickets]\nkey = \"a key for tests, not for tickets\"\n\
         [publishing]\nenabled = true\nbackoff_ms = 50\nimages_url = {url:?}\n\
         [publishing.images_options]\n{options}[publishing.secrets]\n{secrets}"
    )
}

fn draw_id(number: usize) -> String {
    format!("D-{number}")
}

/// What a draw brings: no two the same.
fn numbers(number: usize) -> [i32; 3] {
    [number as i32 + 1, number as i32 + 2, 40]
}

/// What an order chose: all of them, two of them, none of them.
fn chosen(number: usize, order: usize) -> [i32; 3] {
    let [a, b, c] = numbers(number);
    [[a, b, c], [a, b, 41], [44, 45, 46], [47, 48, 49]][order % 4]
}

fn offer(number: usize) -> Reference {
    Reference::Offer(Box::new(Offer {
        tenant: "acme".into(),
        offer_id: format!("lotto-{number}").into(),
        kind: OfferKind::Ticket,
        price_minor: 100,
        currency: "EUR".into(),
        stock_total: 1_000,
        sale_opens_at_ms: None,
        sale_closes_at_ms: None,
        max_per_order: 9,
        max_per_customer: None,
        draw_id: Some(draw_id(number).into()),
        restock_on_refund: false,
        status: OfferStatus::Open,
    }))
}

fn draw(number: usize, closes_at_ms: i64) -> Reference {
    Reference::Draw(Box::new(Draw {
        tenant: "acme".into(),
        draw_id: draw_id(number).into(),
        game: POINTS[number].1.into(),
        main_count: 3,
        main_min: 1,
        main_max: 49,
        bonus_count: 0,
        bonus_max: 0,
        bonus_in_main: false,
        repeats: false,
        closes_at_ms,
        sources_required: 1,
        currency: "EUR".into(),
        pool_minor: None,
        prize_tiers: TIERS.into(),
    }))
}

fn channel(server: &Server) -> Reference {
    Reference::Channel(Box::new(Channel {
        tenant: "acme".into(),
        channel_id: server.network().into(),
        network: Network::parse(server.network()).unwrap(),
        endpoint: server.url().into(),
        target: if server.kind == Kind::Telegram { "@draws".into() } else { "".into() },
        template: "card".into(),
        locale: "en".into(),
        games: if server.kind == Kind::Telegram { "".into() } else { LOTTO.into() },
        status: ChannelStatus::Active,
    }))
}

fn order(number: usize, order: usize) -> Command {
    let id = format!("o{number}-{order}");
    Command::PlaceOrder(Box::new(PlaceOrder {
        command_id: format!("place-{id}").into(),
        tenant: "acme".into(),
        order_id: id.into(),
        customer_id: "eve".into(),
        partner_id: None,
        offer_id: format!("lotto-{number}").into(),
        quantity: 1,
        price_minor: 100,
        currency: "EUR".into(),
        placed_at_ms: pipelines::clock_ms(),
        card: None,
        device: None,
        ip: None,
        numbers: chosen(number, order).into(),
        seat: None,
    }))
}

fn report(number: usize) -> Command {
    let now = pipelines::clock_ms();
    Command::ReportResult(Box::new(ReportResult {
        command_id: format!("report-{number}").into(),
        tenant: "acme".into(),
        draw_id: draw_id(number).into(),
        source: "feed".into(),
        numbers: numbers(number).into(),
        bonus: Vec::new(),
        prizes: Vec::new(),
        jackpot_minor: None,
        currency: None,
        drawn_at_ms: now,
        reported_at_ms: now,
    }))
}

/// A post's row.
struct Row {
    draw: String,
    channel: String,
    status: String,
    external_id: String,
    reason: String,
}

fn rows(revision: i32) -> Vec<Row> {
    let table = sql(
        &env("PG_URL"),
        &format!(
            "SELECT draw_id, channel, status, coalesce(external_id, ''), coalesce(reason, '') \
             FROM tombola.publications WHERE revision = {revision} ORDER BY draw_id, channel"
        ),
    );
    let row = |line: &str| {
        let mut cells = line.splitn(5, '|').map(str::to_owned);
        let mut cell = || cells.next().unwrap();
        Row { draw: cell(), channel: cell(), status: cell(), external_id: cell(), reason: cell() }
    };
    table.lines().map(row).collect()
}

/// Of the first so many results.
fn posts(results: usize) -> usize {
    POINTS[..results].iter().map(|(_, game)| if *game == LOTTO { KINDS.len() } else { 1 }).sum()
}

fn wait_ended(revision: i32, posts: usize) {
    wait_until(&format!("revision {revision}: {posts} posts out or given up"), PATIENCE, || {
        rows(revision).iter().filter(|row| ["posted", "failed"].contains(&row.status.as_str())).count()
            == posts
    });
}

impl World {
    fn new() -> World {
        let (services, dir, servers) = (Services::empty(), Folder::new(), KINDS.map(Server::start));
        let bucket = bucket();
        services.configure(dir.path(), &settings(dir.path(), &servers, &bucket));
        let kafka = KafkaSettings::new(env("KAFKA_BOOTSTRAP"));
        let ids = load::schema_ids(dir.path());
        World { services, dir, servers, kafka: KafkaAppender::open(&kafka).unwrap(), ids, bucket, lsn: 0 }
    }

    fn append(&mut self, body: &Body) {
        let record = body.encode(&self.ids, pipelines::clock_ms());
        self.kafka.append(body.topic(), &[record]).unwrap();
    }

    fn run(&self, workers: usize, kill_at: Option<&str>) -> Running {
        let mut command = process::tombola(self.dir.path(), &["run", "--workers", &workers.to_string()]);
        let log = std::fs::File::options().create(true).append(true).open(self.dir.path().join("run.log"));
        command.stderr(log.unwrap()).envs(kill_at.map(|point| ("TOMBOLA_KILL_AT", point)));
        Running::start(command)
    }

    fn command(&self, arguments: &[&str]) {
        process::end_of(process::tombola(self.dir.path(), arguments)).assert(0, &[]);
    }

    /// Rows, as they come to be or change.
    fn tell(&mut self, op: Op, rows: Vec<Reference>) {
        for row in rows {
            self.lsn += 1;
            self.append(&Body::Change { op, before: None, after: Box::new(row), lsn: self.lsn });
        }
    }

    /// Rows, and tickets that are sold before the draws close; results come after that.
    fn open(&mut self) {
        let closes_at_ms = pipelines::clock_ms() + 3_600_000;
        let rows = (0..POINTS.len()).flat_map(|number| [offer(number), draw(number, closes_at_ms)]);
        let rows = rows.chain(self.servers.iter().map(channel)).collect();
        self.tell(Op::Create, rows);
        for number in 0..POINTS.len() {
            (0..ORDERS).for_each(|n| self.append(&Body::Command(order(number, n))));
        }
        let running = self.run(2, None);
        wait_until("tickets are sold", PATIENCE, || {
            sql(&env("PG_URL"), "SELECT count(*) FROM tombola.tickets") == (POINTS.len() * ORDERS).to_string()
        });
        drop(running);
        let closes_at_ms = pipelines::clock_ms();
        self.tell(Op::Update, (0..POINTS.len()).map(|number| draw(number, closes_at_ms)).collect());
    }

    fn server(&self, channel: &str) -> &Server {
        self.servers.iter().find(|server| server.network() == channel).unwrap()
    }

    /// Posts of a result that a network shows.
    fn shown(&self, channel: &str, numbers: [i32; 3]) -> Vec<String> {
        let [a, b, c] = numbers;
        let (words, json) = (format!(": {a} {b} {c}"), format!("[{a},{b},{c}]"));
        let shown = self.server(channel).shown().into_iter();
        let of = |text: &str| text.contains(&words) || text.contains(&json);
        shown.filter(|shown| of(&shown.text)).map(|shown| shown.id).collect()
    }

    /// Every post is there once, and its row says so; where nobody can know, it is there once at most and was given
    /// up. The draws whose post isn't there.
    fn check_posts(&self, revision: i32, numbers_of: impl Fn(usize) -> [i32; 3]) -> Vec<String> {
        let mut missing = Vec::new();
        for row in rows(revision) {
            let number = row.draw.trim_start_matches("D-").parse().unwrap();
            let shown = self.shown(&row.channel, numbers_of(number));
            let what = format!("{} on {}: {} {}", row.draw, row.channel, row.status, row.reason);
            if row.status == "posted" {
                assert_eq!(shown, [row.external_id], "{what}");
                continue;
            }
            assert!(row.channel == "telegram" && row.reason.starts_with("unknown:"), "{what}");
            assert!(shown.len() <= 1, "{what} is shown {} times", shown.len());
            missing.extend(shown.is_empty().then_some(row.draw));
        }
        missing
    }

    fn check_image(&self, number: usize, revision: i32) {
        let store = ImageStore::s3(&self.bucket.0, &self.bucket.1).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let path = format!("acme/{}/{}/card/en/r{revision}.png", POINTS[number].1, draw_id(number));
        let png = runtime.block_on(store.get(&path, None)).unwrap();
        assert!(png.starts_with(b"\x89PNG") && png.len() > 10_000, "{path}: {} bytes", png.len());
    }

    /// By looking at every order.
    fn check_winners(&self, number: usize, revision: i32, drawn: [i32; 3]) {
        let hits = |order: usize| {
            let own: BTreeSet<i32> = chosen(number, order).into();
            own.intersection(&drawn.into()).count()
        };
        let wins: BTreeSet<String> = (0..ORDERS)
            .filter(|order| hits(*order) >= 2)
            .map(|order| format!("o{number}-{order}-1|{}", if hits(order) == 3 { 100_000 } else { 500 }))
            .collect();
        assert!(!wins.is_empty());
        let question = format!(
            "SELECT ticket_id, amount_minor FROM tombola.winning_tickets \
             WHERE draw_id = '{}' AND revision = {revision} AND status = 'won'",
            draw_id(number)
        );
        let told: BTreeSet<String> = sql(&env("PG_URL"), &question).lines().map(str::to_owned).collect();
        assert_eq!(told, wins, "{} revision {revision}", draw_id(number));
    }
}

#[test]
#[ignore = "needs services"]
fn service_publishing_of_results_survives_kills_between_any_two_steps() {
    let mut world = World::new();
    world.open();
    for (number, (point, game)) in POINTS.into_iter().enumerate() {
        if game == TELEGRAM_ONLY {
            // Nothing else is to be posted: the kill hits the post of this result.
            let _running = world.run(2, None);
            wait_ended(1, posts(number));
        }
        world.append(&Body::Command(report(number)));
        let ended = world.run(1 + number % 3, Some(point)).wait();
        assert!(ended.was_killed(), "{point}: {ended:?}, see {}/run.log", world.dir.path().display());
    }
    let mut running = world.run(2, None);
    wait_ended(1, posts(POINTS.len()));
    let missing = world.check_posts(1, numbers);
    eprintln!("{} kills; {missing:?} were not posted, and said to be unknown", POINTS.len());
    assert!(missing.contains(&draw_id(12)) && !missing.contains(&draw_id(13)), "{missing:?}");
    // As an operator does who has looked at the channel.
    for draw in &missing {
        world.command(&["draws", "republish", draw, "--channel", "telegram"]);
    }
    let corrected = [1, 2, 41];
    world.command(&["draws", "correct", "D-0", "--numbers", "1,2,41", "--reason", "misread"]);
    wait_ended(2, 3);
    wait_until("what was missing is posted", PATIENCE, || {
        rows(1).iter().all(|row| row.status == "posted" || !missing.contains(&row.draw))
    });
    assert_eq!(world.check_posts(1, numbers), [""; 0], "nothing is missing");
    assert_eq!(world.check_posts(2, |_| corrected), [""; 0]);
    assert!(running.runs(), "see {}/run.log", world.dir.path().display());
    running.signal("TERM");
    running.wait().assert(0, &[]);
    for number in 1..POINTS.len() {
        world.check_image(number, 1);
        world.check_winners(number, 1, numbers(number));
    }
    [1, 2].into_iter().for_each(|revision| world.check_image(0, revision));
    world.check_winners(0, 2, corrected);
    let calls = world.servers.each_ref().map(|server| server.calls().len());
    process::verify(world.dir.path(), 3);
    assert_eq!(world.servers.each_ref().map(|server| server.calls().len()), calls, "a replay calls nobody");
    drop(world.services);
}
