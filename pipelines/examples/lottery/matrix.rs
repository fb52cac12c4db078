//! What could be drawn in Powerball, and what it paid, over the years.

/// A matrix, from the day of its first draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    pub since: &'static str,
    /// Five are drawn of so many.
    pub main_max: i32,
    /// One is drawn of so many.
    pub bonus_max: i32,
    /// Main numbers, bonus numbers, and dollars, below the jackpot.
    pub prizes: [(u8, u8, i64); 8],
}

const BEFORE_2012: [(u8, u8, i64); 8] =
    [(5, 0, 200_000), (4, 1, 10_000), (4, 0, 100), (3, 1, 100), (3, 0, 7), (2, 1, 7), (1, 1, 4), (0, 1, 3)];
const SINCE_2012: [(u8, u8, i64); 8] =
    [(5, 0, 1_000_000), (4, 1, 10_000), (4, 0, 100), (3, 1, 100), (3, 0, 7), (2, 1, 7), (1, 1, 4), (0, 1, 4)];
const SINCE_2015: [(u8, u8, i64); 8] =
    [(5, 0, 1_000_000), (4, 1, 50_000), (4, 0, 100), (3, 1, 100), (3, 0, 7), (2, 1, 7), (1, 1, 4), (0, 1, 4)];

/// As the Multi-State Lottery Association changed it. Numbers above an older bound are first seen in the draws of
/// 1997-11-08, 2002-10-12, 2005-09-07, 2009-01-10 and 2015-10-10; in 2012 the bound of the bonus number fell.
pub const POWERBALL: [Matrix; 7] = [
    Matrix { since: "1992-04-22", main_max: 45, bonus_max: 45, prizes: BEFORE_2012 },
    Matrix { since: "1997-11-05", main_max: 49, bonus_max: 42, prizes: BEFORE_2012 },
    Matrix { since: "2002-10-09", main_max: 53, bonus_max: 42, prizes: BEFORE_2012 },
    Matrix { since: "2005-08-31", main_max: 55, bonus_max: 42, prizes: BEFORE_2012 },
    Matrix { since: "2009-01-07", main_max: 59, bonus_max: 39, prizes: BEFORE_2012 },
    Matrix { since: "2012-01-15", main_max: 59, bonus_max: 35, prizes: SINCE_2012 },
    Matrix { since: "2015-10-07", main_max: 69, bonus_max: 26, prizes: SINCE_2015 },
];

/// That of a day, as in `2010-02-03`.
pub fn of(day: &str) -> Option<&'static Matrix> {
    POWERBALL.iter().rev().find(|matrix| matrix.since <= day)
}
