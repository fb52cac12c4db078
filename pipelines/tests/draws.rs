//! Draws from outside: tickets, reports that disagree, a correction, a publisher's answers, at any number of workers,
//! against a plain count; then what an operator can do about it.
#![allow(clippy::unwrap_used)] // a test may

use schemas::commands::{PaymentCaptured, PlaceOrder, RefundOrder};
use schemas::debezium::{Op, envelope};
use schemas::draws::{
    Channel, ChannelStatus, CorrectResult, Draw, ImageRendered, Network, PostFailed, ReportResult,
    prize_tiers,
};
use schemas::reference::{Offer, OfferKind, OfferStatus};
use schemas::{Command, Reference, Text, to_line};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const START_MS: i64 = 1_700_000_000_000;
const CLOSES_MS: i64 = START_MS + 10_000;
const ORDERS: i64 = 400;
/// Orders that are late have the numbers 1, 2 and 3.
const LATE: i64 = 49 * 105;
const POOL: i64 = 1_000_000;
const TIERS: &str = r#"[{"tier":"3","main":3,"pool_bps":5000},{"tier":"2","main":2,"pool_bps":3333},{"tier":"1","main":1,"fixed_minor":7}]"#;
const CONFIG: &str = "[tickets]\nkey = \"a key for tests, not for tickets\"\n[orders]\ntenants_billing_later = [\"t\"]\norder_retention_ms = 315000000000\n";

fn ended(dir: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tombola"))
        .args(arguments)
        .args(["--data-dir", "data"])
        .current_dir(dir)
        .env_remove("TOMBOLA_KILL_AT")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn tombola(dir: &Path, arguments: &[&str]) -> String {
    let (code, said, problem) = ended(dir, arguments);
    assert_eq!(code, Some(0), "tombola {arguments:?}: {problem}");
    said
}

fn offer() -> Reference {
    Reference::Offer(Box::new(Offer {
        tenant: "t".into(),
        offer_id: "lotto".into(),
        kind: OfferKind::Ticket,
        price_minor: 100,
        currency: "EUR".into(),
        stock_total: 100_000,
        sale_opens_at_ms: None,
        sale_closes_at_ms: None,
        max_per_order: 9,
        max_per_customer: None,
        draw_id: Some("d".into()),
        restock_on_refund: false,
        status: OfferStatus::Open,
    }))
}

fn draw() -> Reference {
    Reference::Draw(Box::new(Draw {
        tenant: "t".into(),
        draw_id: "d".into(),
        game: "3of9".into(),
        main_count: 3,
        main_min: 1,
        main_max: 9,
        bonus_count: 0,
        bonus_max: 0,
        bonus_in_main: false,
        repeats: false,
        closes_at_ms: CLOSES_MS,
        sources_required: 2,
        currency: "EUR".into(),
        pool_minor: Some(POOL),
        prize_tiers: TIERS.into(),
    }))
}

fn channel() -> Reference {
    Reference::Channel(Box::new(Channel {
        tenant: "t".into(),
        channel_id: "hook".into(),
        network: Network::Webhook,
        endpoint: "http://127.0.0.1/".into(),
        target: "all".into(),
        template: "result".into(),
        locale: "en".into(),
        games: Text::default(),
        status: ChannelStatus::Active,
    }))
}

/// Three of nine, or, now and then, what is no ticket of the game.
fn chosen(n: i64) -> Vec<i32> {
    let first = n % 7 + 1;
    let second = first + 1 + (n / 7) % (8 - first);
    let third = if second == 8 { 9 } else { second + 1 + (n / 49) % (9 - second) };
    if n % 50 == 49 { vec![1, 1, 2] } else { vec![third as i32, first as i32, second as i32] }
}

fn order(n: i64, at_ms: i64) -> PlaceOrder {
    PlaceOrder {
        command_id: format!("place-{n}").into(),
        tenant: "t".into(),
        order_id: format!("o{n}").into(),
        customer_id: format!("c{n}").into(),
        partner_id: None,
        offer_id: "lotto".into(),
        quantity: (n % 3 + 1) as i32,
        price_minor: 100,
        currency: "EUR".into(),
        placed_at_ms: at_ms,
        card: None,
        device: None,
        ip: None,
        numbers: chosen(n),
        seat: None,
    }
}

fn refund(n: i64, at_ms: i64) -> Command {
    Command::RefundOrder(Box::new(RefundOrder {
        command_id: format!("refund-{n}").into(),
        tenant: "t".into(),
        order_id: format!("o{n}").into(),
        reason: None,
        requested_at_ms: at_ms,
    }))
}

fn report(source: &str, numbers: [i32; 3], at_ms: i64) -> Command {
    Command::ReportResult(Box::new(ReportResult {
        command_id: format!("{source}-{at_ms}").into(),
        tenant: "t".into(),
        draw_id: "d".into(),
        source: source.into(),
        numbers: numbers.into(),
        bonus: vec![],
        prizes: vec![],
        jackpot_minor: None,
        currency: None,
        drawn_at_ms: CLOSES_MS,
        reported_at_ms: at_ms,
    }))
}

fn refunded_before(n: i64) -> bool {
    n % 17 == 3
}

fn orders() -> Vec<Command> {
    let placed = |n: i64| order(n, START_MS + 20 * n);
    let mut commands: Vec<Command> = (0..ORDERS).map(|n| Command::PlaceOrder(Box::new(placed(n)))).collect();
    commands.extend((0..ORDERS).filter(|n| refunded_before(*n)).map(|n| refund(n, START_MS + 9_000 + n)));
    // Accepted when its numbers were drawn, which it has, and before they were published.
    commands.push(Command::PlaceOrder(Box::new(order(LATE, START_MS + 11_150))));
    // Confirmed too late for any revision, and refunded too late to leave.
    commands.push(Command::PlaceOrder(Box::new(order(ORDERS, START_MS + 12_000))));
    commands.push(refund(0, START_MS + 12_100));
    commands
}

fn results() -> Vec<Command> {
    let correct = Command::CorrectResult(Box::new(CorrectResult {
        command_id: "correct".into(),
        tenant: "t".into(),
        draw_id: "d".into(),
        numbers: vec![2, 1, 4],
        bonus: vec![],
        prizes: vec![],
        jackpot_minor: None,
        currency: None,
        reason: "typo".into(),
        requested_at_ms: START_MS + 13_000,
    }));
    vec![
        report("a", [1, 2, 3], START_MS + 2_000),
        report("a", [1, 2, 3], START_MS + 11_000),
        report("b", [4, 2, 3], START_MS + 11_100),
        report("b", [3, 2, 1], START_MS + 11_200),
        correct,
    ]
}

fn outcomes() -> Vec<Command> {
    let (tenant, draw_id) = (Text::from("t"), Text::from("d"));
    let at_ms = START_MS + 13_500;
    vec![
        Command::ImageRendered(Box::new(ImageRendered {
            command_id: "image".into(),
            tenant: tenant.clone(),
            draw_id: draw_id.clone(),
            revision: 2,
            template: "result".into(),
            locale: "en".into(),
            round: 1,
            path: "t/3of9/d/result/en/r2.png".into(),
            sha256: "00".into(),
            bytes: 1,
            at_ms,
        })),
        Command::PostFailed(Box::new(PostFailed {
            command_id: "post".into(),
            tenant,
            draw_id,
            revision: 2,
            channel: "hook".into(),
            round: 1,
            reason: "away".into(),
            attempts: 5,
            at_ms: at_ms + 100,
        })),
    ]
}

fn fill(dir: &Path) {
    let lines = |mut commands: Vec<Command>| {
        commands.sort_by_key(Command::event_time_ms);
        commands.iter().map(to_line).collect::<Vec<_>>().join("\n")
    };
    let read = |row: Reference| envelope(Op::Read, None, Some(&row), START_MS, 1);
    for (topic, text) in [
        ("oltp.public.offers", read(offer())),
        ("oltp.public.draws", read(draw())),
        ("oltp.public.channels", read(channel())),
        ("commands.orders", lines(orders())),
        ("commands.draws", lines(results())),
        ("commands.publication_results", lines(outcomes())),
    ] {
        std::fs::write(dir.join("lines.ndjson"), text).unwrap();
        tombola(dir, &["produce", topic, "lines.ndjson", "--event-time"]);
    }
}

fn rows(dir: &Path, query: &str) -> Vec<Value> {
    let said = tombola(dir, &["query", "--json", "--limit", "100000", query]);
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Ticket and tier → prize, of a result, by looking at every ticket.
fn wins(drawn: [i32; 3]) -> BTreeMap<(String, String), i64> {
    let mut winners: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for n in (0..ORDERS).filter(|n| !refunded_before(*n)) {
        let numbers: BTreeSet<i32> = chosen(n).into_iter().collect();
        let hits = numbers.intersection(&drawn.into()).count();
        if numbers.len() == 3 && hits > 0 {
            winners.entry(hits).or_default().extend((1..=n % 3 + 1).map(|nth| format!("o{n}-{nth}")));
        }
    }
    let mut wins = BTreeMap::new();
    for (hits, tickets) in winners {
        let count = tickets.len() as i64;
        let prize = [7, POOL * 3_333 / 10_000 / count, POOL / 2 / count][hits - 1];
        wins.extend(tickets.into_iter().map(|ticket| ((ticket, hits.to_string()), prize)));
    }
    wins
}

fn check(workers: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    std::fs::write(dir.join("tombola.toml"), CONFIG).unwrap();
    fill(dir);
    tombola(dir, &["run", "--until-drained", "--workers", workers]);
    for (revision, status, drawn) in [(1, "superseded", [1, 2, 3]), (2, "won", [1, 2, 4])] {
        let sql = format!(
            "SELECT ticket_id, tier, amount_minor FROM winning_tickets WHERE revision = {revision} AND status = '{status}'"
        );
        let told = rows(dir, &sql).into_iter().map(|row| {
            let text = |column: &str| row[column].as_str().unwrap().to_owned();
            ((text("ticket_id"), text("tier")), row["amount_minor"].as_i64().unwrap())
        });
        let wanted = wins(drawn);
        assert!(
            (1..=3).all(|tier: i32| wanted.keys().any(|(_, t)| *t == tier.to_string())),
            "a tier is empty"
        );
        assert_eq!(told.collect::<BTreeMap<_, _>>(), wanted, "revision {revision}");
    }
    let took_part: i64 = (0..ORDERS).filter(|n| !refunded_before(*n)).map(|n| n % 3 + 1).sum();
    assert_eq!(rows(dir, "SELECT tickets FROM draws")[0]["tickets"], took_part);
    let letters = rows(dir, "SELECT reason FROM dead_letters ORDER BY id");
    let letters: Vec<&str> = letters.iter().map(|row| row["reason"].as_str().unwrap()).collect();
    assert_eq!(letters.len(), 2, "{letters:?}");
    assert!(letters[0].starts_with("draw_open") && letters[1].starts_with("post_failed"), "{letters:?}");
    tombola(dir, &["verify", "--workers", "2"]);
    let digest = tombola(dir, &["digest"]);
    (folder, digest)
}

#[test]
fn prizes_are_what_a_plain_count_says_at_any_number_of_workers() {
    let (_, one) = check("1");
    let (_, three) = check("3");
    assert_eq!(one, three);
}

#[test]
fn an_operator_sees_retries_and_corrects() {
    let (folder, _) = check("2");
    let dir = folder.path();
    let show =
        || -> Value { serde_json::from_str(&tombola(dir, &["draws", "show", "d", "--json"])).unwrap() };
    let shown = show();
    assert_eq!(
        (&shown["revision"], &shown["numbers"], &shown["status"]),
        (&json!(2), &json!("1,2,4"), &json!("settled"))
    );
    assert_eq!(shown["publications"][0]["status"], "failed", "{shown}");
    assert!(tombola(dir, &["draws", "list"]).contains("3of9"));
    assert!(tombola(dir, &["draws", "show", "d", "--tenant", "t"]).contains("superseded"));
    let post = rows(dir, "SELECT id FROM dead_letters WHERE reason LIKE 'post_failed%'").remove(0);
    tombola(dir, &["dead-letters", "retry", post["id"].as_str().unwrap()]);
    tombola(dir, &["run", "--until-drained"]);
    let post = &show()["publications"][0];
    assert_eq!((&post["status"], &post["round"]), (&json!("requested"), &json!(2)), "{post}");
    tombola(dir, &["draws", "correct", "d", "--numbers", "7,8,9", "--reason", "again"]);
    tombola(dir, &["draws", "republish", "d", "--channel", "hook"]);
    tombola(dir, &["run", "--until-drained", "--workers", "2"]);
    let shown = show();
    assert_eq!((&shown["revision"], &shown["numbers"]), (&json!(3), &json!("7,8,9")));
    let sql = "SELECT count(*) AS n FROM winning_tickets WHERE status = 'won' AND revision < 3";
    assert_eq!(rows(dir, sql)[0]["n"], 0);
    let jackpot = ["--jackpot", "4200", "--reason", "a misprint"];
    tombola(dir, &[&["draws", "correct", "d", "--numbers", "7,8,9"], &jackpot[..]].concat());
    tombola(dir, &["run", "--until-drained", "--workers", "2"]);
    let shown = show();
    let told = (&shown["revision"], &shown["numbers"], &shown["jackpot_minor"]);
    assert_eq!(told, (&json!(4), &json!("7,8,9"), &json!(4200)));
    tombola(dir, &["verify"]);
    let (code, _, problem) = ended(dir, &["draws", "show", "e"]);
    assert!(code == Some(2) && problem.contains("draws list"), "{code:?} {problem}");
    let (code, _, problem) = ended(dir, &["draws", "correct", "d", "--prize", "8", "--reason", "r"]);
    assert!(code == Some(2) && problem.contains("TIER=NUMBER"), "{code:?} {problem}");
}

#[test]
fn a_row_that_asks_for_fewer_sources_publishes_and_settles_and_a_replay_agrees() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    std::fs::write(dir.join("tombola.toml"), CONFIG).unwrap();
    let asking = |sources_required: i32| match draw() {
        Reference::Draw(draw) => Reference::Draw(Box::new(Draw { sources_required, ..*draw })),
        other => other,
    };
    let put = |topic: &str, text: &str| put(dir, topic, text);
    put("oltp.public.offers", &envelope(Op::Read, None, Some(&offer()), START_MS, 1));
    put("oltp.public.draws", &envelope(Op::Read, None, Some(&asking(3)), START_MS, 1));
    let orders: Vec<String> =
        (0..60).map(|n| to_line(&Command::PlaceOrder(Box::new(order(n, START_MS + 20 * n))))).collect();
    put("commands.orders", &orders.join("\n"));
    let said = ["a", "b"].map(|source| to_line(&report(source, [1, 2, 3], START_MS + 11_000)));
    put("commands.draws", &said.join("\n"));
    tombola(dir, &["run", "--until-drained"]);
    let stands = || rows(dir, "SELECT status, revision, sources FROM draws").remove(0);
    assert_eq!(stands(), json!({"status": "waiting", "revision": 0, "sources": "a,b"}));
    assert!(tombola(dir, &["status"]).contains("wait for more sources: 1 (since"));
    let change = envelope(Op::Update, Some(&asking(3)), Some(&asking(2)), START_MS + 20_000, 2);
    put("oltp.public.draws", &change);
    tombola(dir, &["run", "--until-drained", "--workers", "3"]);
    assert_eq!(stands(), json!({"status": "settled", "revision": 1, "sources": "a,b"}));
    assert_ne!(rows(dir, "SELECT count(*) AS n FROM winning_tickets WHERE status = 'won'")[0]["n"], 0);
    tombola(dir, &["verify", "--workers", "2"]);
}

fn put(dir: &Path, topic: &str, text: &str) {
    std::fs::write(dir.join("lines.ndjson"), text).unwrap();
    tombola(dir, &["produce", topic, "lines.ndjson", "--event-time"]);
}

fn offer_for(draw: &str) -> Reference {
    let Reference::Offer(offer) = offer() else { unreachable!() };
    Reference::Offer(Box::new(Offer { draw_id: Some(draw.into()), ..*offer }))
}

fn draw_of(id: &str, closes_at_ms: i64) -> Reference {
    let Reference::Draw(draw) = draw() else { unreachable!() };
    Reference::Draw(Box::new(Draw { draw_id: id.into(), closes_at_ms, sources_required: 1, ..*draw }))
}

/// One offer for draw after draw, as a shop sells it: each is moved on when its draw closes, or a little later. Of each
/// draw an order is paid at once, one when the offer is for the next draw, one comes when the draw is closed, and one is never paid.
fn week_by_week(workers: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    std::fs::write(dir.join("tombola.toml"), CONFIG.replace("tenants_billing_later = [\"t\"]\n", ""))
        .unwrap();
    let (mut offers, mut orders, mut payments, mut reports) =
        (vec![envelope(Op::Read, None, Some(&offer_for("d0")), START_MS, 1)], vec![], vec![], vec![]);
    let mut rows_of_draws = vec![];
    for week in 0..5_i64 {
        let (begins, closes) = (START_MS + week * 10_000, START_MS + week * 10_000 + 8_000);
        let (this, next) = (format!("d{week}"), format!("d{}", week + 1));
        rows_of_draws.push(envelope(
            Op::Read,
            None,
            Some(&draw_of(&this, closes)),
            START_MS,
            1 + week as u64,
        ));
        let (before, after) = (offer_for(&this), offer_for(&next));
        offers.push(envelope(Op::Update, Some(&before), Some(&after), closes + 500, 2 + week as u64));
        for (nth, after_ms, paid_ms) in
            [(0, 100, Some(200)), (1, 7_000, Some(9_000)), (2, 8_000, Some(8_100)), (3, 300, None)]
        {
            let n = LATE + 343 * (week * 4 + nth);
            orders.push(to_line(&Command::PlaceOrder(Box::new(PlaceOrder {
                quantity: 1,
                ..order(n, begins + after_ms)
            }))));
            if let Some(paid_ms) = paid_ms {
                payments.push(to_line(&Command::PaymentCaptured(Box::new(PaymentCaptured {
                    command_id: format!("pay-{n}").into(),
                    tenant: "t".into(),
                    order_id: format!("o{n}").into(),
                    payment_id: format!("p{n}").into(),
                    amount_minor: 100,
                    currency: "EUR".into(),
                    captured_at_ms: begins + paid_ms,
                }))));
            }
        }
        let Command::ReportResult(said) = report("a", [1, 2, 3], closes + 1_900) else { unreachable!() };
        reports
            .push(to_line(&Command::ReportResult(Box::new(ReportResult { draw_id: this.into(), ..*said }))));
    }
    let sorted = |mut lines: Vec<String>, topic: &str| {
        lines.sort_by_key(|line| schemas::parse_line(topic, line).unwrap().event_time_ms());
        put(dir, topic, &lines.join("\n"));
    };
    put(dir, "oltp.public.offers", &offers.join("\n"));
    put(dir, "oltp.public.draws", &rows_of_draws.join("\n"));
    sorted(orders, "commands.orders");
    sorted(payments, "commands.payments");
    sorted(reports, "commands.draws");
    tombola(dir, &["run", "--until-drained", "--workers", workers]);
    let told = rows(dir, "SELECT draw_id, tickets, status FROM draws ORDER BY draw_id");
    let wanted = |week: i64| json!({"draw_id": format!("d{week}"), "tickets": 2, "status": "settled"});
    assert_eq!(told, (0..5).map(wanted).collect::<Vec<_>>());
    let won = rows(dir, "SELECT draw_id, order_id FROM winning_tickets ORDER BY draw_id, order_id");
    let wanted = (0..5).flat_map(|week| {
        let ids = [0, 1].map(|nth| format!("o{}", LATE + 343 * (week * 4 + nth)));
        ids.map(|order| json!({"draw_id": format!("d{week}"), "order_id": order}))
    });
    assert_eq!(won, wanted.collect::<Vec<_>>());
    tombola(dir, &["verify", "--workers", "2"]);
    tombola(dir, &["digest"])
}

#[test]
fn a_ticket_is_in_the_draw_its_offer_was_for_when_it_was_ordered() {
    assert_eq!(week_by_week("1"), week_by_week("3"));
}

#[test]
fn an_operator_enters_a_result_that_no_source_has_reported() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    std::fs::write(dir.join("tombola.toml"), CONFIG).unwrap();
    put(dir, "oltp.public.draws", &envelope(Op::Read, None, Some(&draw()), START_MS, 1));
    tombola(dir, &["run", "--until-drained"]);
    let word = ["draws", "correct", "d", "--reason", "by phone", "--numbers"];
    let (code, _, problem) = ended(dir, &[&word[..], &["1,2,3"]].concat());
    assert!(code == Some(2) && problem.contains("by hand, say whose it is with --tenant"), "{problem}");
    for numbers in ["1,2,10", "3,2,1"] {
        tombola(dir, &[&word[..], &[numbers, "--tenant", "t"]].concat());
    }
    tombola(dir, &["run", "--until-drained", "--workers", "2"]);
    let told = rows(dir, "SELECT status, revision, numbers, sources FROM draws");
    assert_eq!(told, [json!({"status": "settled", "revision": 1, "numbers": "1,2,3", "sources": ""})]);
    let letters = rows(dir, "SELECT reason FROM dead_letters ORDER BY reason");
    let letters: Vec<&str> = letters.iter().map(|row| row["reason"].as_str().unwrap()).collect();
    assert!(letters.len() == 1 && letters[0].starts_with("does_not_fit"), "{letters:?}");
    let (code, _, problem) = ended(dir, &["draws", "republish", "e", "--tenant", "t"]);
    assert!(code == Some(2) && problem.contains("nothing was reported"), "{problem}");
}

/// Whoever copies a row or tiers from the page has them taken.
#[test]
fn what_the_page_on_draws_shows_is_good() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/draws.md")).unwrap();
    let shown: Vec<&str> =
        page.split("```json\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0)).collect();
    let [row, tiers, digits] = shown[..] else { panic!("{shown:?}") };
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "oltp.public.draws", row);
    let row: Value = serde_json::from_str(row).unwrap();
    let of_row = prize_tiers(row["after"]["prize_tiers"].as_str().unwrap()).unwrap();
    assert_eq!(of_row, prize_tiers(tiers).unwrap());
    assert_eq!(prize_tiers(digits).unwrap().len(), 2);
}
