//! Games of the mappings that ship with the program: each has a look, a time zone and names for its prizes.

use sinks::announcement::{Announcement, PrizeTier};
use sinks::images::{ImageRequest, Templates, draw};
use std::collections::BTreeMap;
use std::path::Path;
use toml::{Table, Value};

fn int(table: &Table, key: &str) -> Option<usize> {
    table.get(key)?.as_integer().map(|n| n as usize)
}

/// So many numbers as a mapping takes of a field, or of several.
fn numbers(from: Option<&Value>) -> Vec<i64> {
    let Some(from) = from.and_then(Value::as_table) else { return Vec::new() };
    let length = |key: &str| from.get(key).and_then(Value::as_array).map(Vec::len);
    let count = length("take").or(length("fields")).or(int(from, "items")).unwrap_or(0);
    (1..=count as i64).map(|n| n * 3 + 1).collect()
}

fn prize(from: &Value) -> PrizeTier {
    let from = from.as_table().unwrap();
    let digits = int(from, "digits").unwrap();
    let number =
        |n: usize| (0..digits).map(|digit| char::from(b'0' + ((n * 7 + digit * 3) % 10) as u8)).collect();
    let tier = from["tier"].as_str().unwrap().to_owned();
    PrizeTier { tier, numbers: (0..int(from, "count").unwrap()).map(number).collect() }
}

/// One result of each game, as its mapping would read it.
fn results() -> BTreeMap<String, Announcement> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/feeds");
    let mut results = BTreeMap::new();
    for file in std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let mapping: Table = std::fs::read_to_string(&file).unwrap().parse().unwrap();
        for draw in mapping["draws"].as_array().unwrap() {
            let game = draw["game"].as_str().unwrap().to_owned();
            let prizes = draw.get("prizes").and_then(Value::as_array);
            let result = Announcement {
                tenant: mapping["tenant"].as_str().unwrap().to_owned(),
                draw_id: format!("{game}-2026-11-21"),
                revision: 1,
                supersedes: None,
                game: game.clone(),
                numbers: numbers(draw.get("main")),
                bonus: numbers(draw.get("bonus")),
                prizes: prizes.into_iter().flatten().map(prize).collect(),
                drawn_at_ms: 1_795_319_940_000,
                jackpot_minor: draw.get("jackpot").map(|_| 412_345_600),
                currency: draw.get("jackpot").map(|jackpot| jackpot["currency"].as_str().unwrap().to_owned()),
            };
            results.insert(game, result);
        }
    }
    results
}

#[test]
fn every_game_of_a_shipped_mapping_has_a_title_a_time_zone_and_names_for_its_prizes() {
    let (templates, results) = (Templates::new(None).unwrap(), results());
    assert!(results.len() >= 10, "{:?}", results.keys());
    for (game, result) in &results {
        let zone = templates.zone(game);
        assert!(zone.iana_name().is_some_and(|zone| zone != "UTC"), "{game}: no time zone in themes.json");
        for locale in ["en", "vi", "pt"] {
            let locale = templates.locales().get(locale).unwrap();
            for prize in &result.prizes {
                assert_ne!(locale.tier(&prize.tier), prize.tier, "{game}: a prize without a name");
            }
        }
        assert!(!result.numbers.is_empty() || !result.prizes.is_empty(), "{game}: nothing was read");
    }
}

#[test]
#[ignore = "writes an image of each game into the folder TOMBOLA_IMAGES_OUT, to be looked at"]
fn images_of_all_games_to_look_at() {
    let Ok(out) = std::env::var("TOMBOLA_IMAGES_OUT") else { return };
    let templates = Templates::new(None).unwrap();
    for (game, result) in results() {
        let locale = if result.prizes.is_empty() { "en" } else { "vi" };
        let request = ImageRequest { result, template: "card".into(), locale: locale.into() };
        std::fs::write(Path::new(&out).join(format!("{game}.png")), draw(&request, &templates).unwrap().png)
            .unwrap();
    }
}
