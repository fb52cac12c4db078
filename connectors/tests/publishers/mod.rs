//! The publishers' real files, what is in them, and where they are looked for: for the tests that read them.
//!
//! The data is looked for under `$TOMBOLA_DATA/lottery`, else `../shared/data/lottery` beside the workspace;
//! where it is absent the tests that need it say so and pass.

#![allow(dead_code)] // each test program uses a part of it

use std::path::{Path, PathBuf};

pub fn data() -> Option<PathBuf> {
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

/// A shipped mapping.
pub fn mapping(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/feeds").join(format!("{name}.toml"))
}

/// `draw_id numbers bonus jackpot drawn_at`, the jackpot where there is one.
pub fn golden(
    draw_id: &str,
    (numbers, bonus): (&[i32], &[i32]),
    jackpot: Option<(i64, &str)>,
    drawn_at_ms: i64,
) -> String {
    let list = |numbers: &[i32]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let jackpot = jackpot.map(|(minor, currency)| format!(" {minor}{currency}")).unwrap_or_default();
    format!("{draw_id} [{}] [{}]{jackpot} {drawn_at_ms}", list(numbers), list(bonus))
}

pub const POWERBALL: &str = "Lottery_Powerball_Winning_Numbers__Beginning_2010.csv";
pub const MEGA_MILLIONS: &str = "Lottery_Mega_Millions_Winning_Numbers__Beginning_2002.csv";
pub const NEWER_POWERBALL: &str = "newer_Lottery_Powerball_Winning_Numbers__Beginning_2010.csv";
pub const NEWER_MEGA_MILLIONS: &str = "newer_Lottery_Mega_Millions_Winning_Numbers__Beginning_2002.csv";

/// Mapping, file, draws in it, and one of them as a person reads it there.
pub const FILES: [(&str, &str, usize, &str); 13] = [
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

pub const VIETNAM: &str = "vietnam_xoso_results_json.tar.gz";
