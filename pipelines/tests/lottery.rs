//! The lottery example: the matrix of every real draw, and the counts of what is written.
//!
//! The data is looked for under `$TOMBOLA_DATA/lottery`, else `../shared/data/lottery` beside the workspace;
//! where it is absent the tests that need it say so and pass.

#![allow(clippy::unwrap_used)] // a test: what fails here fails the test

#[path = "../examples/lottery/matrix.rs"]
mod matrix;
#[path = "../examples/lottery/replay.rs"]
mod replay;

use connectors::feed::{DrawResult, Mapping, map};
use schemas::commands::{PaymentCaptured, PlaceOrder};
use schemas::debezium::{Op, envelope};
use schemas::draws::{Channel, ChannelStatus, CorrectResult, ImageRendered, Network, ReportResult};
use schemas::reference::{Offer, OfferKind, OfferStatus};
use schemas::{Command, NdjsonRecord, Reference, Text, parse_line, to_line};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

fn data() -> Option<PathBuf> {
    let root = std::env::var_os("TOMBOLA_DATA")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"));
    let folder = root.join("lottery");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no lottery data at {} (set TOMBOLA_DATA)", folder.display());
    None
}

fn results(data: &Path, mapping: &str, file: &str) -> Vec<DrawResult> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/feeds");
    let mapping = Mapping::load(&folder.join(mapping)).unwrap();
    map(&mapping, &std::fs::read(data.join(file)).unwrap()).results
}

#[test]
fn every_real_draw_since_1997_fits_the_matrix_of_its_day_and_reaches_its_bounds() {
    let Some(data) = data() else { return };
    let mut all = results(&data, "json-powerball.toml", "thisarray_powerball.json");
    all.extend(results(
        &data,
        "ny-powerball.toml",
        "newer_Lottery_Powerball_Winning_Numbers__Beginning_2010.csv",
    ));
    let mut reached: BTreeMap<&str, (i32, i32)> = BTreeMap::new();
    for draw in &all {
        let matrix = matrix::of(draw.draw_id.strip_prefix("powerball-").unwrap()).unwrap();
        let (main, bonus) = (*draw.numbers.last().unwrap(), draw.bonus[0]);
        assert!(main <= matrix.main_max && bonus <= matrix.bonus_max, "{draw:?} is not of {matrix:?}");
        let best = reached.entry(matrix.since).or_default();
        *best = (best.0.max(main), best.1.max(bonus));
    }
    for matrix in &matrix::POWERBALL[1..] {
        assert_eq!(
            reached[matrix.since],
            (matrix.main_max, matrix.bonus_max),
            "a bound too wide: {matrix:?}"
        );
    }
}

#[test]
fn the_replay_has_1965_draws_of_which_1757_need_two_sources() {
    let Some(data) = data() else { return };
    let replay = replay::read(&data).unwrap();
    assert_eq!((replay.draws.len(), replay.commands.len()), (1_965, 1_757 + 1_965));
    let rows: Vec<serde_json::Value> =
        replay.draws.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let needing = |count: i64| rows.iter().filter(|row| row["after"]["sources_required"] == count).count();
    assert_eq!((needing(2), needing(1)), (1_757, 208));
    let mut last_ms = i64::MIN;
    for line in &replay.draws {
        let record = parse_line("oltp.public.draws", line).unwrap();
        let at_ms = record.event_time_ms().unwrap();
        assert!(last_ms < at_ms, "in the order of record time");
        last_ms = at_ms;
    }
    let mut ids = std::collections::BTreeSet::new();
    last_ms = i64::MIN;
    for line in &replay.commands {
        let report = report_of(line);
        assert!(ids.insert(report.command_id.clone()), "{line}");
        assert!(last_ms <= report.reported_at_ms && report.drawn_at_ms < report.reported_at_ms, "{line}");
        last_ms = report.reported_at_ms;
    }
}

/// Runs `tombola` on this data directory; what it prints.
fn tombola(dir: &Path, arguments: &[&str]) -> String {
    let mut command = Process::new(env!("CARGO_BIN_EXE_tombola"));
    command.args(arguments).arg("--data-dir").arg(dir).current_dir(dir).env_remove("TOMBOLA_KILL_AT");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || arguments[0] == "feeds", "tombola {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Draws whose result an operator corrects, by their place in the replay: of those that two sources know.
const CORRECTED: [usize; 3] = [10, 900, 1_700];

fn report_of(line: &str) -> ReportResult {
    match parse_line("commands.draws", line).unwrap() {
        NdjsonRecord::Command(Command::ReportResult(report)) => *report,
        _ => panic!("{line}"),
    }
}

/// The reports in their order, and behind the last one of some draws an operator's other word.
fn with_corrections(replay: &replay::Replay) -> Vec<String> {
    let ids: Vec<String> = CORRECTED
        .iter()
        .map(|place| {
            let row: serde_json::Value = serde_json::from_str(&replay.draws[*place]).unwrap();
            row["after"]["draw_id"].as_str().unwrap().to_owned()
        })
        .collect();
    let mut lines = Vec::new();
    let mut heard: BTreeMap<String, usize> = BTreeMap::new();
    for line in &replay.commands {
        let report = report_of(line);
        lines.push(line.clone());
        let words = heard.entry(report.draw_id.to_string()).or_default();
        *words += 1;
        if *words == 2 && ids.iter().any(|id| *id == report.draw_id.as_str()) {
            lines.push(to_line(&Command::CorrectResult(Box::new(CorrectResult {
                command_id: format!("correct-{}", report.draw_id).into(),
                tenant: report.tenant,
                draw_id: report.draw_id,
                numbers: vec![1, 2, 3, 4, 5],
                bonus: vec![1],
                prizes: Vec::new(),
                jackpot_minor: None,
                currency: None,
                reason: "a try".into(),
                requested_at_ms: report.reported_at_ms,
            }))));
        }
    }
    lines
}

fn channel() -> String {
    let channel = Channel {
        tenant: "lotto".into(),
        channel_id: "hook".into(),
        network: Network::Webhook,
        endpoint: "http://127.0.0.1:9/".into(),
        target: "".into(),
        template: "card".into(),
        locale: "en".into(),
        games: "".into(),
        status: ChannelStatus::Active,
    };
    envelope(Op::Read, None, Some(&Reference::Channel(Box::new(channel))), 0, 1)
}

fn produce(dir: &Path, topic: &str, lines: &[String], further: &[&str]) {
    let file = dir.join("lines.ndjson");
    std::fs::write(&file, lines.join("\n")).unwrap();
    tombola(dir, &[&["produce", topic, file.to_str().unwrap()], further].concat());
}

fn rows(dir: &Path, question: &str) -> Vec<serde_json::Value> {
    let said = tombola(dir, &["query", "--json", "--limit", "10000", question]);
    said.lines().map(|row| serde_json::from_str(row).unwrap()).collect()
}

const MINUTE_MS: i64 = 60_000;

/// What one shop sells: an offer that is for draw after draw, and is moved on three minutes after each has closed. Two tickets of each:
/// one ordered a minute before the closing and paid when the offer is for the next draw, one ordered and paid in between.
struct Shop {
    offers: Vec<String>,
    orders: Vec<String>,
    payments: Vec<String>,
}

fn shop(replay: &replay::Replay) -> Shop {
    let draws: Vec<(String, i64)> = replay.draws.iter().map(|line| closing(line)).collect();
    let first = envelope(Op::Read, None, Some(&offer_for(&draws[0].0)), 0, 1);
    let mut shop = Shop { offers: vec![first], orders: Vec::new(), payments: Vec::new() };
    for (number, (draw, closes_ms)) in draws.iter().enumerate() {
        if let Some((next, _)) = draws.get(number + 1) {
            let (before, after) = (offer_for(draw), offer_for(next));
            let (at_ms, lsn) = (closes_ms + 3 * MINUTE_MS, 2 + number as u64);
            shop.offers.push(envelope(Op::Update, Some(&before), Some(&after), at_ms, lsn));
        }
        for (order, ordered, paid) in [("in", -1, 5), ("late", 1, 2)] {
            let (order, tenant) = (Text::from(format!("{order}-{draw}")), Text::from("lotto"));
            shop.orders.push(to_line(&Command::PlaceOrder(Box::new(PlaceOrder {
                command_id: format!("place-{order}").into(),
                tenant: tenant.clone(),
                order_id: order.clone(),
                customer_id: format!("of-{order}").into(),
                partner_id: None,
                offer_id: "ticket".into(),
                quantity: 1,
                price_minor: 200,
                currency: "USD".into(),
                placed_at_ms: closes_ms + ordered * MINUTE_MS,
                card: None,
                device: None,
                ip: None,
                numbers: vec![1, 2, 3, 4, 5, 1],
                seat: None,
            }))));
            shop.payments.push(to_line(&Command::PaymentCaptured(Box::new(PaymentCaptured {
                command_id: format!("pay-{order}").into(),
                tenant,
                payment_id: format!("for-{order}").into(),
                order_id: order,
                amount_minor: 200,
                currency: "USD".into(),
                captured_at_ms: closes_ms + paid * MINUTE_MS,
            }))));
        }
    }
    shop.payments.sort_by_key(|line| parse_line("commands.payments", line).unwrap().event_time_ms());
    shop
}

fn closing(line: &str) -> (String, i64) {
    let row: serde_json::Value = serde_json::from_str(line).unwrap();
    (row["after"]["draw_id"].as_str().unwrap().to_owned(), row["after"]["closes_at_ms"].as_i64().unwrap())
}

fn offer_for(draw: &str) -> Reference {
    Reference::Offer(Box::new(Offer {
        tenant: "lotto".into(),
        offer_id: "ticket".into(),
        kind: OfferKind::Ticket,
        price_minor: 200,
        currency: "USD".into(),
        stock_total: 100_000,
        sale_opens_at_ms: None,
        sale_closes_at_ms: None,
        max_per_order: 1,
        max_per_customer: None,
        draw_id: Some(draw.into()),
        restock_on_refund: false,
        status: OfferStatus::Open,
    }))
}

/// What a publisher tells today of images of results from years ago.
fn rendered(dir: &Path) -> Vec<String> {
    let told = |row: serde_json::Value| {
        let (draw, revision) = (row["draw_id"].as_str().unwrap(), row["revision"].as_i64().unwrap());
        to_line(&Command::ImageRendered(Box::new(ImageRendered {
            command_id: format!("image-{draw}").into(),
            tenant: "lotto".into(),
            draw_id: draw.into(),
            revision: revision as i32,
            template: "card".into(),
            locale: "en".into(),
            round: 1,
            path: format!("{draw}.png").into(),
            sha256: "00".into(),
            bytes: 1,
            at_ms: pipelines::clock_ms(),
        })))
    };
    rows(dir, "SELECT draw_id, revision FROM draws ORDER BY draw_id").into_iter().map(told).collect()
}

#[test]
fn the_replay_publishes_every_draw_once_counts_corrections_and_posts_nothing_for_its_age() {
    let Some(data) = data() else { return };
    let replay = replay::read(&data).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    produce(dir, "oltp.public.channels", &[channel()], &["--event-time"]);
    produce(dir, "oltp.public.draws", &replay.draws, &["--event-time"]);
    produce(dir, "commands.draws", &with_corrections(&replay), &["--event-time"]);
    std::fs::write(dir.join("tombola.toml"), "[tickets]\nkey = \"a key for tests, not for tickets\"\n")
        .unwrap();
    let Shop { offers, orders, payments } = shop(&replay);
    produce(dir, "oltp.public.offers", &offers, &["--event-time"]);
    produce(dir, "commands.orders", &orders, &["--event-time"]);
    produce(dir, "commands.payments", &payments, &["--event-time"]);
    tombola(dir, &["run", "--until-drained"]);
    let tickets = rows(dir, "SELECT tickets, count(*) AS n FROM draws GROUP BY 1");
    assert_eq!(tickets, [json!({"tickets": 1, "n": 1_965})], "those ordered in time, each in its own draw");
    let sold = rows(dir, "SELECT count(*) AS n FROM tickets");
    assert_eq!(sold, [json!({"n": 2 * 1_965})]);
    tombola(dir, &["verify", "--workers", "3"]);
    let counts = "SELECT status, sources, revision, count(*) AS n FROM draws GROUP BY 1, 2, 3 ORDER BY n";
    let wanted = |sources: &str, revision: u64, n: u64| json!({"status": "settled", "sources": sources, "revision": revision, "n": n});
    assert_eq!(
        rows(dir, counts),
        [wanted("", 2, 3), wanted("ny_2026", 1, 208), wanted("ny_2025,ny_2026", 1, 1_757 - 3)]
    );
    assert!(tombola(dir, &["dead-letters", "list", "--json"]).is_empty());
    produce(dir, "commands.publication_results", &rendered(dir), &[]);
    tombola(dir, &["run", "--until-drained", "--workers", "2"]);
    let counts = "SELECT status, revision, count(*) AS n FROM publications GROUP BY 1, 2 ORDER BY 1, 2";
    let wanted =
        |status: &str, revision: u64, n: u64| json!({"status": status, "revision": revision, "n": n});
    assert_eq!(
        rows(dir, counts),
        [wanted("skipped", 1, 1_965 - 3), wanted("skipped", 2, 3), wanted("superseded", 1, 3)],
        "nothing is requested of a publisher"
    );
}

#[test]
fn rows_that_do_not_fit_are_dead_letters_with_the_reason_and_the_row() {
    let Some(data) = data() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mapping = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/feeds/vietnam-xoso.toml");
    let file = data.join("vietnam_xoso_results_json.tar.gz");
    let (mapping, file) = (mapping.to_str().unwrap(), file.to_str().unwrap());
    tombola(dir.path(), &["feeds", "backfill", mapping, file, "--event-time"]);
    tombola(dir.path(), &["run", "--until-drained"]);
    let letters = tombola(dir.path(), &["dead-letters", "list", "--json"]);
    let letters = letters.lines().filter(|line| line.contains("feed vietnam_xoso: "));
    let rows: Vec<serde_json::Value> = letters.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 14);
    let province: String = "\"province\"".bytes().map(|byte| format!("{byte:02x}")).collect();
    for row in &rows {
        let (reason, payload) = (row["reason"].as_str().unwrap(), row["payload"].as_str().unwrap());
        assert!(reason.contains(".json: results[") && reason.contains(": prize "), "{reason}");
        assert!(payload.contains(&province), "the row is there as it came: {payload}");
    }
}
