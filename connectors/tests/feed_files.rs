//! The shipped mappings against what publishers really wrote: how many draws each file holds, one row of each by hand,
//! what doesn't fit, and where two sources disagree.
//!
//! The data is looked for under `$TOMBOLA_DATA/lottery`, else `../shared/data/lottery` beside the workspace;
//! where it is absent the tests that need it say so and pass.

#![allow(clippy::unwrap_used)] // a test: what fails here fails the test

use connectors::feed::{DrawResult, Mapped, Mapping, map};
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

fn read(data: &Path, mapping: &str, file: &str) -> Mapped {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/feeds");
    let mapping = Mapping::load(&folder.join(format!("{mapping}.toml"))).unwrap();
    map(&mapping, &std::fs::read(data.join(file)).unwrap())
}

/// `draw_id numbers bonus jackpot drawn_at`, the jackpot where there is one.
fn golden(result: &DrawResult) -> String {
    let list = |numbers: &[i32]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let jackpot =
        result.jackpot.as_ref().map(|(minor, currency)| format!(" {minor}{currency}")).unwrap_or_default();
    let drawn_at = result.drawn_at_ms;
    format!("{} [{}] [{}]{jackpot} {drawn_at}", result.draw_id, list(&result.numbers), list(&result.bonus))
}

const POWERBALL: &str = "Lottery_Powerball_Winning_Numbers__Beginning_2010.csv";
const MEGA_MILLIONS: &str = "Lottery_Mega_Millions_Winning_Numbers__Beginning_2002.csv";
const NEWER_POWERBALL: &str = "newer_Lottery_Powerball_Winning_Numbers__Beginning_2010.csv";
const NEWER_MEGA_MILLIONS: &str = "newer_Lottery_Mega_Millions_Winning_Numbers__Beginning_2002.csv";

/// Mapping, file, draws in it, and one of them as a person reads it there.
const FILES: [(&str, &str, usize, &str); 13] = [
    ("ny-powerball", POWERBALL, 1_757, "powerball-2020-09-26 [11 21 27 36 62] [24] 1601175540000"),
    // Drawn as 12 61 30 29 33.
    ("ny-powerball", NEWER_POWERBALL, 1_965, "powerball-2018-01-06 [12 29 30 33 61] [26] 1515297540000"),
    (
        "ny-mega-millions",
        MEGA_MILLIONS,
        2_379,
        "mega_millions-2020-09-25 [20 36 37 48 67] [16] 1601089200000",
    ),
    (
        "ny-mega-millions",
        NEWER_MEGA_MILLIONS,
        2_518,
        "mega_millions-2026-07-10 [2 39 44 46 56] [23] 1783738800000",
    ),
    // 10,185 in the evening, 108 of them with a bonus number, and 1,321 at midday.
    (
        "ny-take-5",
        "Lottery_Take_5_Winning_Numbers__Beginning_1992.csv",
        11_506,
        "take_5_midday-2025-03-13 [3 8 9 16 36] [] 1741890600000",
    ),
    (
        "ny-take-5",
        "Lottery_Take_5_Winning_Numbers__Beginning_1992.csv",
        11_506,
        "take_5_evening-2008-05-10 [1 11 12 31 37] [29] 1210473000000",
    ),
    (
        "ny-cash-4-life",
        "Lottery_Cash_4_Life_Winning_Numbers__Beginning_2014.csv",
        2_604,
        "cash_4_life-2020-09-24 [18 20 43 45 60] [2] 1600995600000",
    ),
    (
        "ny-pick-10",
        "Lottery_Pick_10_Winning_Numbers__Beginning_1987.csv",
        13_896,
        "pick_10-2020-09-24 [6 15 17 20 22 23 27 31 32 40 43 48 49 53 55 60 62 73 74 76] [] 1600993800000",
    ),
    (
        "uk-lotto",
        "uk_lotto-draw-history_2021.csv",
        364,
        "uk_lotto-2021-07-07 [2 3 7 20 40 52] [14] 1313776000GBP 1625684400000",
    ),
    (
        "uk-euromillions",
        "uk_euromillions-draw-history_2023.csv",
        51,
        "euromillions-2023-08-11 [4 6 10 13 34] [3 5] 1691783100000",
    ),
    (
        "uk-euromillions",
        "crosellim_euromillions-draw-history.csv",
        53,
        "euromillions-2023-03-24 [5 12 25 36 46] [6 10] 1679690700000",
    ),
    (
        "json-powerball",
        "thisarray_powerball.json",
        2_981,
        "powerball-1997-11-01 [22 25 28 33 37] [20] 878443140000",
    ),
    (
        "json-mega-millions",
        "thisarray_mega_millions.json",
        1_537,
        "mega_millions-2024-10-22 [8 43 48 58 60] [4] 1729652400000",
    ),
];

#[test]
fn every_file_maps_completely() {
    let Some(data) = data() else { return };
    for (mapping, file, draws, wanted) in FILES {
        let mapped = read(&data, mapping, file);
        assert!(mapped.problems.is_empty(), "{file}: {:?}", mapped.problems.first());
        assert_eq!(mapped.results.len(), draws, "{file}");
        let draw_id = wanted.split(' ').next().unwrap();
        let found = mapped.results.iter().find(|result| result.draw_id == draw_id).unwrap();
        assert_eq!(golden(found), wanted, "{file}");
        assert!(mapped.results.is_sorted_by_key(|result| result.drawn_at_ms), "{file}");
    }
}

#[test]
fn take_5_has_two_draws_in_a_row_and_a_bonus_for_a_while() {
    let Some(data) = data() else { return };
    let mapped = read(&data, "ny-take-5", "Lottery_Take_5_Winning_Numbers__Beginning_1992.csv");
    let count = |game: &str| mapped.results.iter().filter(|result| result.game == game).count();
    assert_eq!((count("take_5_evening"), count("take_5_midday")), (10_185, 1_321));
    assert_eq!(mapped.results.iter().filter(|result| !result.bonus.is_empty()).count(), 108);
}

/// Draws that both have, and the ids of those they tell differently.
fn compare(a: &Mapped, b: &Mapped) -> (usize, Vec<String>) {
    let theirs: BTreeMap<&str, &DrawResult> = b.results.iter().map(|r| (r.draw_id.as_str(), r)).collect();
    let both: Vec<_> = a.results.iter().filter_map(|r| Some((r, *theirs.get(r.draw_id.as_str())?))).collect();
    let differ = |(a, b): &&(&DrawResult, &DrawResult)| (&a.numbers, &a.bonus) != (&b.numbers, &b.bonus);
    (both.len(), both.iter().filter(differ).map(|(a, _)| a.draw_id.clone()).collect())
}

#[test]
fn two_exports_of_one_publisher_agree_and_another_publisher_errs_twice() {
    let Some(data) = data() else { return };
    let powerball = read(&data, "ny-powerball", NEWER_POWERBALL);
    let mega_millions = read(&data, "ny-mega-millions", NEWER_MEGA_MILLIONS);
    assert_eq!(compare(&read(&data, "ny-powerball", POWERBALL), &powerball), (1_757, vec![]));
    assert_eq!(compare(&read(&data, "ny-mega-millions", MEGA_MILLIONS), &mega_millions), (2_379, vec![]));
    assert_eq!(
        compare(&read(&data, "json-powerball", "thisarray_powerball.json"), &powerball),
        (1_696, vec![])
    );
    let json = read(&data, "json-mega-millions", "thisarray_mega_millions.json");
    let errs = ["mega_millions-2011-09-23", "mega_millions-2022-05-10"].map(str::to_owned).to_vec();
    assert_eq!(compare(&json, &mega_millions), (1_536, errs));
}

const VIETNAM: &str = "vietnam_xoso_results_json.tar.gz";

#[test]
fn vietnam_has_prizes_with_leading_zeros() {
    let Some(data) = data() else { return };
    let mapped = read(&data, "vietnam-xoso", VIETNAM);
    let count = |game: &str| mapped.results.iter().filter(|result| result.game == game).count();
    assert_eq!((count("xsmb"), count("xsmt"), count("xsmn")), (107, 296, 383));
    let found = mapped.results.iter().find(|result| result.draw_id == "xsmn-Đồng Tháp-2026-04-20").unwrap();
    assert_eq!((found.drawn_at_ms, found.numbers.len()), (1_776_676_500_000, 0));
    let prize = |tier: &str| found.prizes.iter().find(|prize| prize.tier == tier).unwrap().numbers.join(" ");
    assert_eq!(prize("special"), "789922");
    assert_eq!(prize("third"), "06168 05023");
    assert_eq!(prize("fourth"), "96690 25408 65465 79608 23595 00460 83899");
    assert_eq!(prize("sixth"), "3984 0602 8027");
    assert_eq!((prize("seventh").len(), prize("eighth").as_str()), (3, "18"));
}

#[test]
fn vietnams_incomplete_results_are_problems_with_their_rows() {
    let Some(data) = data() else { return };
    let mapped = read(&data, "vietnam-xoso", VIETNAM);
    let count = |reason: &str| mapped.problems.iter().filter(|p| p.reason.contains(reason)).count();
    assert_eq!(mapped.problems.len(), 14, "{:?}", mapped.problems);
    // Three of one file have a digit too many.
    assert_eq!(count("prize seventh has"), 3);
    // Eleven are headings and tables of the north's results, taken for provinces.
    assert_eq!(count("prize special has") + count("prize first has 0 numbers, not 1"), 11);
    for problem in &mapped.problems {
        let row: serde_json::Value = serde_json::from_slice(&problem.original).unwrap();
        assert!(row["prizes"].is_object(), "{}: {row}", problem.place);
        assert!(problem.place.contains(".json: results["), "{}", problem.place);
    }
}
