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
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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
