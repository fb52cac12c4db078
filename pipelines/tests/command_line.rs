//! The program from outside: what it says, where it says it, and the exit code a script goes by.

#![allow(clippy::unwrap_used)] // a test: what fails here fails the test

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs `tombola` with these arguments (split at spaces, `DIR` replaced) and this stdin.
fn tombola(dir: &Path, line: &str, stdin: &str) -> Output {
    let arguments = line.split(' ').map(|word| word.replace("DIR", dir.to_str().unwrap()));
    let mut child = Command::new(env!("CARGO_BIN_EXE_tombola"))
        .args(arguments)
        .current_dir(dir)
        .env_remove("TOMBOLA_KILL_AT")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A child that refuses its arguments doesn't read.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

/// One call: exit code, and what stdout and stderr must contain.
fn check(dir: &Path, line: &str, stdin: &str, code: i32, stdout: &[&str], stderr: &[&str]) -> String {
    let output = tombola(dir, line, stdin);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "tombola {line}\nstdout: {out}\nstderr: {err}");
    for wanted in stdout {
        assert!(out.contains(wanted), "tombola {line}: stdout lacks {wanted:?}: {out}");
    }
    for wanted in stderr {
        assert!(err.contains(wanted), "tombola {line}: stderr lacks {wanted:?}: {err}");
    }
    out.into_owned()
}

/// An order placed at millisecond `number`, 0 to 9.
fn order(number: u32) -> String {
    format!(
        "{{\"type\":\"place_order\",\"command_id\":\"c{number}\",\"tenant\":\"t\",\"order_id\":\"o{number}\",\
         \"customer_id\":\"anna\",\"offer_id\":\"box\",\"quantity\":1,\"price_minor\":500,\"currency\":\"EUR\",\
         \"placed_at_ms\":170000000000{number}}}\n"
    )
}

const OFFER: &str = "{\"before\":null,\"after\":{\"tenant\":\"t\",\"offer_id\":\"box\",\"kind\":\"box\",\
    \"price_minor\":500,\"currency\":\"EUR\",\"stock_total\":1,\"max_per_order\":1,\"restock_on_refund\":true,\
    \"status\":\"open\"},\"source\":{\"connector\":\"postgresql\",\"schema\":\"public\",\"table\":\"offers\",\
    \"ts_ms\":1700000000000,\"lsn\":1,\"snapshot\":\"false\"},\"op\":\"c\",\"ts_ms\":1700000000000}\n";

#[test]
fn bad_arguments_and_settings_end_with_2_and_name_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("bad.toml"), "[runtime]\nepoch_ms = 0\n").unwrap();
    for (line, wanted) in [
        ("sell", "unrecognized subcommand"),
        ("produce facts.orders", "there is no topic facts.orders; there are commands.orders"),
        ("produce commands.orders DIR/absent.ndjson", "name a file of NDJSON"),
        ("produce commands.orders --config DIR/bad.toml", "bad.toml:2: runtime.epoch_ms must be 1 to 10000"),
        ("run --config DIR/absent.toml", "name an existing file with --config"),
        ("run --workers 0", "0 is not in 1..=64"),
        ("config --check DIR/bad.toml", "`tombola config`"),
        ("digest --data-dir DIR/absent", "start one with `tombola run`"),
        ("status --data-dir DIR/absent", "put records in with `tombola produce`"),
        ("schemas nothing", "there is no record nothing; there are place_order"),
        ("dead-letters retry --data-dir DIR", "<IDS>"),
    ] {
        check(dir.path(), line, "", 2, &[], &[wanted]);
    }
}

#[test]
fn good_lines_go_in_and_bad_ones_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let lines = format!("{}\nnot json\n{}{{\"type\":\"place_order\"}}\n", order(1), order(2));
    let said = ["stdin:3: not a JSON object", "stdin:5: missing field"];
    let line = "produce commands.orders --data-dir DIR";
    check(dir.path(), line, &lines, 1, &["2 records in", "2 bad lines left out"], &said);
    check(
        dir.path(),
        "status --data-dir DIR --json",
        "",
        0,
        &["\"topic\":\"commands.orders\",\"records\":2"],
        &[],
    );
}

#[test]
fn what_was_produced_is_decided_and_can_be_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let orders = format!("{}{}{}", order(1), order(2), order(1));
    check(dir.path(), "produce oltp.public.offers --data-dir DIR", OFFER, 0, &["1 records in"], &[]);
    check(
        dir.path(),
        "produce commands.orders - --event-time --data-dir DIR",
        &orders,
        0,
        &["3 records in"],
        &[],
    );
    check(dir.path(), "run --until-drained --workers 2 --data-dir DIR", "", 0, &[], &[]);
    let sold_out = "{\"order_id\":\"o2\",\"reasons\":\"sold_out\"}";
    let query = "SELECT\u{a0}order_id,reasons\u{a0}FROM\u{a0}orders\u{a0}WHERE\u{a0}status='refused'";
    let line = format!("query --json --data-dir DIR {}", query.replace('\u{a0}', "\t"));
    check(dir.path(), &line, "", 0, &[sold_out], &[]);
    let digests = check(dir.path(), "digest --data-dir DIR", "", 0, &["orders"], &[]);
    assert!(digests.lines().any(|line| line.starts_with("stock") && line.contains(" 1  ")), "{digests}");
    check(dir.path(), "verify --data-dir DIR --workers 3", "", 0, &[], &[]);
    check(dir.path(), "query --data-dir DIR DELETE\tFROM\torders", "", 2, &[], &["the query is refused"]);
}

#[test]
fn a_dead_letter_is_listed_shown_and_sent_in_again_once() {
    let dir = tempfile::tempdir().unwrap();
    let cancel = "{\"type\":\"cancel_order\",\"command_id\":\"x\",\"tenant\":\"t\",\"order_id\":\"o9\",\
                  \"requested_at_ms\":1700000000000}\n";
    let pay = "{\"type\":\"payment_captured\",\"command_id\":\"p\",\"tenant\":\"t\",\"order_id\":\"o9\",\
               \"payment_id\":\"p\",\"amount_minor\":1,\"currency\":\"EUR\",\"captured_at_ms\":1700000100000}\n";
    check(dir.path(), "produce commands.orders --event-time --data-dir DIR", cancel, 0, &[], &[]);
    check(dir.path(), "produce commands.payments --event-time --data-dir DIR", pay, 0, &[], &[]);
    check(dir.path(), "run --until-drained --data-dir DIR", "", 0, &[], &[]);
    let list = check(dir.path(), "dead-letters list --data-dir DIR", "", 0, &["unknown_order"], &[]);
    let id = list.split_whitespace().find(|word| word.starts_with("commands.orders/")).unwrap();
    check(dir.path(), &format!("dead-letters show {id} --data-dir DIR"), "", 0, &["status      open"], &[]);
    let retry = format!("dead-letters retry {id} --data-dir DIR");
    check(dir.path(), &retry, "", 0, &["appended again at offset"], &[]);
    check(dir.path(), &retry, "", 0, &["was retried before; nothing done"], &[]);
    check(
        dir.path(),
        "status --data-dir DIR --json",
        "",
        0,
        &["\"topic\":\"commands.orders\",\"records\":2"],
        &[],
    );
    check(dir.path(), "dead-letters list --all --data-dir DIR", "", 0, &["retried"], &[]);
}

#[test]
fn a_short_demo_sells_and_keeps_its_books() {
    let dir = tempfile::tempdir().unwrap();
    let line = "demo --orders 2000 --seed 5 --workers 2 --data-dir DIR/demo";
    let wanted = ["2,000 orders", "confirmed", "price_mismatch", "for 329 of 329 offers", "tombola verify"];
    check(dir.path(), line, "", 0, &wanted, &["decided"]);
    check(dir.path(), line, "", 2, &[], &["holds a log already"]);
    let metrics =
        ["tombola_refusals_total{job=\"sales\",reason=\"price_mismatch\"}", "tombola_snapshot_size_bytes"];
    check(dir.path(), "status --metrics --data-dir DIR/demo", "", 0, &metrics, &[]);
    check(dir.path(), "verify --data-dir DIR/demo", "", 0, &[], &[]);
    assert_draws_have_images(&dir.path().join("demo/images"));
}

/// Some draws close in a demo, and a picture of each result lies in its folder.
fn assert_draws_have_images(images: &Path) {
    let mut folders = vec![images.to_owned()];
    let mut drawn = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else {
                assert!(std::fs::read(&entry).unwrap().starts_with(b"\x89PNG"), "{}", entry.display());
                drawn += 1;
            }
        }
    }
    assert!(drawn > 0, "no image in {}", images.display());
}

#[test]
fn the_default_settings_are_printed_whole_and_are_good() {
    let dir = tempfile::tempdir().unwrap();
    let printed = check(dir.path(), "config", "", 0, &["epoch_ms = 10", "hold_ttl_ms = 600000"], &[]);
    std::fs::write(dir.path().join("tombola.toml"), printed).unwrap();
    check(dir.path(), "config --check DIR/tombola.toml", "", 0, &["good"], &[]);
}
