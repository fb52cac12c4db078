//! Two sources' histories as reference rows and reports, both in the order of their record time.

use super::matrix;
use connectors::feed::mapping::Name;
use connectors::feed::{DrawResult, Mapping, map};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// The lines of both topics.
pub struct Replay {
    pub draws: Vec<String>,
    pub commands: Vec<String>,
}

/// Each source, its file, and how long after a draw it reports.
const SOURCES: [(&str, &str, i64); 2] = [
    ("ny_2025", "Lottery_Powerball_Winning_Numbers__Beginning_2010.csv", 10 * MINUTE_MS),
    ("ny_2026", "newer_Lottery_Powerball_Winning_Numbers__Beginning_2010.csv", 12 * MINUTE_MS),
];

const MINUTE_MS: i64 = 60_000;
/// Sales close at 22:00 and the draw is at 22:59.
const CLOSED_MS: i64 = 59 * MINUTE_MS;
/// A draw is made known so long before it closes.
const KNOWN_MS: i64 = 7 * 86_400_000;

/// Reads both files of the folder.
///
/// # Errors
/// Where one is absent or doesn't fit its mapping.
pub fn read(data: &Path) -> Result<Replay, Box<dyn std::error::Error>> {
    let text = include_str!("../../../deploy/feeds/ny-powerball.toml");
    let mut mapping = Mapping::parse(Path::new("ny-powerball.toml"), text)?;
    let mut told: Vec<(i64, DrawResult)> = Vec::new();
    for (source, file, delay_ms) in SOURCES {
        mapping.source = Name(source.to_owned());
        let path = data.join(file);
        let document = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let mapped = map(&mapping, &document);
        if let Some(problem) = mapped.problems.first() {
            return Err(format!("{}: {}: {}", path.display(), problem.place, problem.reason).into());
        }
        told.extend(mapped.results.into_iter().map(|result| (result.drawn_at_ms + delay_ms, result)));
    }
    told.sort_by(|a, b| (a.0, &a.1.draw_id).cmp(&(b.0, &b.1.draw_id)));
    Ok(Replay {
        draws: draws(&told)?,
        commands: told.iter().map(|(at_ms, result)| report(result, *at_ms)).collect(),
    })
}

fn report(result: &DrawResult, reported_at_ms: i64) -> String {
    schemas::ndjson::to_line(&result.report(&result.command_id(None), reported_at_ms))
}

/// A row for each draw; one that several sources have needs all of them.
fn draws(told: &[(i64, DrawResult)]) -> Result<Vec<String>, String> {
    let mut sources: BTreeMap<(i64, &str), (&DrawResult, i32)> = BTreeMap::new();
    for (_, result) in told {
        sources.entry((result.drawn_at_ms, &result.draw_id)).or_insert((result, 0)).1 += 1;
    }
    let numbered = sources.into_values().zip(1_u64..);
    numbered.map(|((result, sources), number)| Ok(draw(result, sources, number * 8)?.to_string())).collect()
}

fn draw(result: &DrawResult, sources: i32, lsn: u64) -> Result<Value, String> {
    let DrawResult { tenant, draw_id, game, drawn_at_ms, .. } = result;
    let day = draw_id.strip_prefix("powerball-").ok_or_else(|| format!("{draw_id} is of another game"))?;
    let matrix = matrix::of(day).ok_or_else(|| format!("{draw_id}: there was no Powerball"))?;
    let mut tiers = vec![json!({"tier": "jackpot", "main": 5, "bonus": 1, "pool_bps": 10_000})];
    tiers.extend(matrix.prizes.iter().map(|(main, bonus, dollars)| {
        json!({"tier": format!("{main}+{bonus}"), "main": main, "bonus": bonus, "fixed_minor": dollars * 100})
    }));
    let row = json!({
        "tenant": tenant,
        "draw_id": draw_id,
        "game": game,
        "main_count": 5,
        "main_min": 1,
        "main_max": matrix.main_max,
        "bonus_count": 1,
        "bonus_max": matrix.bonus_max,
        "bonus_in_main": false,
        "repeats": false,
        "closes_at_ms": drawn_at_ms - CLOSED_MS,
        "sources_required": sources,
        "currency": "USD",
        // Jackpots are not in the files: the pool is the least that was guaranteed for most of these years.
        "pool_minor": 2_000_000_000_i64,
        "prize_tiers": Value::Array(tiers).to_string(),
    });
    let ts_ms = drawn_at_ms - CLOSED_MS - KNOWN_MS;
    Ok(json!({
        "before": null,
        "after": row,
        "source": {
            "version": "3.0.0.Final",
            "connector": "postgresql",
            "name": "oltp",
            "ts_ms": ts_ms,
            "snapshot": "false",
            "db": "lottery",
            "schema": "public",
            "table": "draws",
            "txId": lsn / 8,
            "lsn": lsn,
        },
        "op": "c",
        "ts_ms": ts_ms,
    }))
}
