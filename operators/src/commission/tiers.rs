//! Marginal tiers: each slice of a base pays at its own rate; rounded half to even, once, on the sum.
//!
//! ```text
//!   floors 0, 100,000   rates 10 %, 12 %   base 150,000 ──> 100,000 × 10 % + 50,000 × 12 % = 16,000
//! ```
//!
//! What lies below the lowest floor pays nothing. All in 128 bits: nothing overflows.

use runtime::relation::Amount;
use schemas::facts::Tier;

/// Basis points in the whole.
const WHOLE_BPS: Amount = 10_000;

/// The commission of a base. `tiers` are sorted by floor, each floor once.
pub fn commission(base: Amount, tiers: &[Tier]) -> Amount {
    debug_assert!(tiers.is_sorted_by(|a, b| a.floor_minor < b.floor_minor));
    let ends = tiers.iter().skip(1).map(|tier| Amount::from(tier.floor_minor)).chain([Amount::MAX]);
    let slice = |(tier, end): (&Tier, Amount)| {
        let floor = Amount::from(tier.floor_minor);
        (base.min(end) - floor).max(0) * Amount::from(tier.rate_bps)
    };
    half_to_even(tiers.iter().zip(ends).map(slice).sum())
}

/// Ten-thousandths to the nearest whole, halves to the even one.
fn half_to_even(parts: Amount) -> Amount {
    let (whole, rest) = (parts.div_euclid(WHOLE_BPS), parts.rem_euclid(WHOLE_BPS));
    let up = match (rest * 2).cmp(&WHOLE_BPS) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => whole % 2 != 0,
        std::cmp::Ordering::Greater => true,
    };
    whole + Amount::from(up)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tiers: &[(i64, i32)], table: &[(Amount, Amount)]) {
        let tiers: Vec<Tier> =
            tiers.iter().map(|&(floor_minor, rate_bps)| Tier { floor_minor, rate_bps }).collect();
        for (base, expected) in table {
            assert_eq!(commission(*base, &tiers), *expected, "{tiers:?} on {base}");
        }
    }

    #[test]
    fn each_slice_pays_at_its_own_rate() {
        let olist = [(0, 1_000), (100_000, 1_200)];
        check(&olist, &[(0, 0), (99_990, 9_999), (100_000, 10_000), (150_000, 16_000)]);
        check(&[(0, 500), (10, 1_000), (20, 2_000)], &[(10, 0), (100, 18), (1_000, 198)]);
    }

    #[test]
    fn halves_go_to_the_even_number_once_on_the_sum() {
        check(&[(0, 1_000)], &[(4, 0), (5, 0), (6, 1), (14, 1), (15, 2), (25, 2), (35, 4), (45, 4)]);
        // 0.5 + 1.0: rounded once, not slice by slice.
        check(&[(0, 500), (10, 1_000)], &[(20, 2), (30, 2)]);
    }

    #[test]
    fn below_the_lowest_floor_and_without_tiers_nothing_is_paid() {
        check(&[(1_000, 1_000)], &[(999, 0), (1_000, 0), (1_010, 1), (2_000, 100)]);
        check(&[], &[(1_000_000, 0)]);
        check(&[(0, 0)], &[(1_000_000, 0)]);
    }

    #[test]
    fn no_sum_of_money_overflows() {
        let most = Amount::from(i64::MAX) * 1_000_000;
        check(&[(0, 10_000)], &[(most, most)]);
    }
}
