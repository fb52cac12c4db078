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
use schemas::{Command, NdjsonRecord, parse_line};
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
        let NdjsonRecord::Command(Command::ReportResult(report)) =
            parse_line("commands.draws", line).unwrap()
        else {
            panic!("{line}")
        };
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

#[test]
fn the_replay_settles_every_draw_by_the_word_of_every_source_that_has_it() {
    let Some(data) = data() else { return };
    let replay = replay::read(&data).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (topic, lines) in [("oltp.public.draws", &replay.draws), ("commands.draws", &replay.commands)] {
        let file = dir.path().join("lines.ndjson");
        std::fs::write(&file, lines.join("\n")).unwrap();
        tombola(dir.path(), &["produce", topic, file.to_str().unwrap(), "--event-time"]);
    }
    tombola(dir.path(), &["run", "--until-drained"]);
    let counts = "SELECT status, sources, revision, count(*) AS n FROM draws GROUP BY 1, 2, 3 ORDER BY n";
    let rows = tombola(dir.path(), &["query", counts, "--json"]);
    let rows: Vec<serde_json::Value> = rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    let wanted =
        |sources: &str, n: u64| json!({"status": "settled", "sources": sources, "revision": 1, "n": n});
    assert_eq!(rows, [wanted("ny_2026", 208), wanted("ny_2025,ny_2026", 1_757)]);
    assert!(tombola(dir.path(), &["dead-letters", "list", "--json"]).is_empty());
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
