//! The shipped mappings against what publishers really wrote: how many draws each file holds, one row of each by hand,
//! what doesn't fit, and where two sources disagree.

#![allow(clippy::unwrap_used)] // a test: what fails here fails the test

mod publishers;

use connectors::feed::{DrawResult, Mapped, Mapping, map};
use publishers::{
    FILES, MEGA_MILLIONS, NEWER_MEGA_MILLIONS, NEWER_POWERBALL, POWERBALL, VIETNAM, data, mapping,
};
use std::collections::BTreeMap;
use std::path::Path;

fn read(data: &Path, name: &str, file: &str) -> Mapped {
    map(&Mapping::load(&mapping(name)).unwrap(), &std::fs::read(data.join(file)).unwrap())
}

fn golden(result: &DrawResult) -> String {
    let jackpot = result.jackpot.as_ref().map(|(minor, currency)| (*minor, currency.as_str()));
    publishers::golden(&result.draw_id, (&result.numbers, &result.bonus), jackpot, result.drawn_at_ms)
}

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
