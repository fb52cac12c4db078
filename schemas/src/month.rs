//! Months of the calendar, UTC: what commission statements are kept by.

use crate::Text;
use serde::{Deserialize, Serialize};

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// A month, counted from January 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Month(pub i32);

impl Month {
    /// The month a moment lies in. Moments are within the years 1970 to 9999, as the contracts check.
    pub fn of_ms(ms: i64) -> Month {
        Month::of_day(ms.div_euclid(DAY_MS))
    }

    /// The month of a day since 1970-01-01 (civil-from-days over 400-year cycles that begin in March).
    fn of_day(day: i64) -> Month {
        let day = day + 719_468;
        let cycle = day.div_euclid(146_097);
        let of_cycle = day.rem_euclid(146_097);
        let year = (of_cycle - of_cycle / 1_460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
        let of_year = of_cycle - (365 * year + year / 4 - year / 100);
        let from_march = (5 * of_year + 2) / 153;
        // March of the cycle's year 0 is month 2 of the calendar year 0.
        let months = (cycle * 400 + year) * 12 + from_march + 2;
        Month(i32::try_from(months - 1970 * 12).expect("within 64 bits of milliseconds, months fit 32 bits"))
    }

    /// `YYYY-MM`, of the years 1970 to 9999.
    pub fn parse(text: &str) -> Option<Month> {
        let (year, month) = text.split_once('-')?;
        let digits = |part: &str, len| part.len() == len && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(year, 4) || !digits(month, 2) {
            return None;
        }
        let (year, month): (i32, i32) = (year.parse().ok()?, month.parse().ok()?);
        ((1970..).contains(&year) && (1..=12).contains(&month)).then(|| Month((year - 1970) * 12 + month - 1))
    }

    /// The month of its first day, `YYYY-MM-01`.
    pub fn parse_first_day(text: &str) -> Option<Month> {
        Month::parse(text.strip_suffix("-01")?)
    }

    /// The one after.
    pub fn next(self) -> Month {
        Month(self.0 + 1)
    }

    /// `YYYY-MM`.
    pub fn text(self) -> Text {
        compact_str::format_compact!("{self}")
    }
}

impl std::fmt::Display for Month {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}", 1970 + self.0.div_euclid(12), self.0.rem_euclid(12) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_eight_thousand_years_is_in_its_month() {
        let mut day = jiff::civil::date(1970, 1, 1);
        for since in 0..2_932_896_i64 {
            let expected = i32::from(day.year() - 1970) * 12 + i32::from(day.month()) - 1;
            assert_eq!(Month::of_day(since), Month(expected), "{day}");
            day = day.tomorrow().unwrap_or(day);
        }
    }

    #[test]
    fn months_end_at_midnight_utc() {
        for (ms, month) in [
            (0, "1970-01"),
            (1_499_637_425_000, "2017-07"),
            (1_512_086_399_999, "2017-11"),
            (1_512_086_400_000, "2017-12"),
        ] {
            assert_eq!(Month::of_ms(ms).to_string(), month);
            assert_eq!(Month::parse(month), Some(Month::of_ms(ms)));
        }
        assert_eq!(Month::parse_first_day("2016-01-01"), Month::parse("2016-01"));
    }

    #[test]
    fn what_is_no_month_is_refused() {
        for text in ["", "2017", "2017-13", "2017-00", "2017-1", "17-01", "1969-12", "2017-+1", "2017-01-01"]
        {
            assert_eq!(Month::parse(text), None, "{text:?}");
        }
        for text in ["2017-01", "2017-01-02", "2017-01-01 ", "2017-13-01"] {
            assert_eq!(Month::parse_first_day(text), None, "{text:?}");
        }
    }
}
