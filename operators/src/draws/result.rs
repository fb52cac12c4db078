//! What a draw brought, as its game counts it.
//!
//! Main and bonus numbers are sorted, whatever order they were drawn in. In a game of digits (one whose tiers are of
//! digits) order is what counts: either each tier has its own numbers, or one number is drawn for all.

use runtime::Millis;
use schemas::Text;
use schemas::draws::{DigitPrize, Draw, PrizeTier, TierRule, prize_tiers};
use serde::{Deserialize, Serialize};

/// A result. Two that are equal say the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Drawn {
    pub numbers: Vec<i32>,
    pub bonus: Vec<i32>,
    pub prizes: Vec<DigitPrize>,
}

/// Whether a result may be told at `at_ms`: from the closing on, or the grace before it, as clocks differ.
pub fn closed(draw: &Draw, at_ms: Millis, grace_ms: Millis) -> bool {
    at_ms.saturating_add(grace_ms) >= draw.closes_at_ms
}

/// A result that fits the draw's matrix.
///
/// # Errors
/// What doesn't fit.
pub fn drawn(draw: &Draw, numbers: &[i32], bonus: &[i32], prizes: &[DigitPrize]) -> Result<Drawn, String> {
    let tiers = prize_tiers(&draw.prize_tiers)?;
    if tiers.iter().any(|tier| matches!(tier.rule, TierRule::Digits { .. })) && !prizes.is_empty() {
        if !numbers.is_empty() || !bonus.is_empty() {
            return Err("a result has numbers or prizes, not both".to_owned());
        }
        return Ok(Drawn { numbers: Vec::new(), bonus: Vec::new(), prizes: of_tiers(&tiers, prizes)? });
    }
    if !prizes.is_empty() {
        return Err(format!("game {} draws numbers, not prizes of digits", draw.game));
    }
    let ordered = tiers.iter().any(|tier| matches!(tier.rule, TierRule::Digits { .. }));
    let numbers =
        drum("numbers", numbers, draw.main_count, (draw.main_min, draw.main_max), draw.repeats, ordered)?;
    tiers.iter().try_for_each(|tier| of_one_number(tier, &numbers))?;
    let range = if draw.bonus_in_main { (draw.main_min, draw.main_max) } else { (1, draw.bonus_max) };
    let bonus = drum("bonus", bonus, draw.bonus_count, range, draw.repeats, false)?;
    let both = bonus.iter().find(|number| numbers.contains(number));
    if let Some(both) = both.filter(|_| draw.bonus_in_main && !draw.repeats) {
        return Err(format!("bonus {both} is one of the main numbers"));
    }
    Ok(Drawn { numbers, bonus, prizes: Vec::new() })
}

fn drum(
    name: &str,
    numbers: &[i32],
    count: i32,
    (min, max): (i32, i32),
    repeats: bool,
    ordered: bool,
) -> Result<Vec<i32>, String> {
    if numbers.len() != count as usize {
        return Err(format!("{name} has {} of {count}", numbers.len()));
    }
    if let Some(other) = numbers.iter().find(|number| !(min..=max).contains(number)) {
        return Err(format!("{name} has {other}, which is not {min} to {max}"));
    }
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]).filter(|_| !repeats) {
        return Err(format!("{name} has {} twice", pair[0]));
    }
    Ok(if ordered { numbers.to_vec() } else { sorted })
}

/// Whether a tier can be looked for at the end of the one number that is drawn for all.
fn of_one_number(tier: &PrizeTier, drawn: &[i32]) -> Result<(), String> {
    match tier.rule {
        TierRule::Digits { numbers: 2.., .. } => {
            Err(format!("prize {} has numbers of its own; send `prizes`, one for each tier", tier.tier))
        }
        TierRule::Digits { digits, .. } if usize::from(digits) > drawn.len() => {
            Err(format!("prize {} has {digits} digits, and the number {}", tier.tier, drawn.len()))
        }
        _ => Ok(()),
    }
}

/// One entry for each tier, in the order of the tiers, its numbers sorted.
fn of_tiers(tiers: &[PrizeTier], prizes: &[DigitPrize]) -> Result<Vec<DigitPrize>, String> {
    if let Some(other) = prizes.iter().find(|prize| !tiers.iter().any(|tier| tier.tier == prize.tier)) {
        return Err(format!("there is no prize {}", other.tier));
    }
    tiers.iter().map(|tier| of_tier(tier, prizes)).collect()
}

fn of_tier(tier: &PrizeTier, prizes: &[DigitPrize]) -> Result<DigitPrize, String> {
    let TierRule::Digits { digits, numbers: count } = tier.rule else {
        return Err(format!("prize {} is not one of digits", tier.tier));
    };
    let own = prizes.iter().filter(|prize| prize.tier == tier.tier);
    let mut numbers: Vec<Text> = own.flat_map(|prize| prize.numbers.iter().cloned()).collect();
    if numbers.len() != usize::from(count) {
        return Err(format!("prize {} has {} numbers of {count}", tier.tier, numbers.len()));
    }
    if let Some(other) = numbers.iter().find(|number| number.len() != usize::from(digits)) {
        return Err(format!("prize {} has {other}, which has not {digits} digits", tier.tier));
    }
    numbers.sort_unstable();
    Ok(DigitPrize { tier: tier.tier.clone(), numbers })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::draw;

    #[test]
    fn results_fit_or_it_is_said_why_not() {
        let mut lotto = draw("d");
        (lotto.main_count, lotto.main_max, lotto.bonus_count, lotto.bonus_max) = (3, 9, 1, 5);
        let check = |draw: &Draw, numbers: &[i32], bonus: &[i32], wanted: &str| match drawn(
            draw,
            numbers,
            bonus,
            &[],
        ) {
            Ok(drawn) => assert_eq!(format!("{:?} {:?}", drawn.numbers, drawn.bonus), wanted),
            Err(why) => assert!(why.contains(wanted) && !wanted.is_empty(), "{why:?} should say {wanted:?}"),
        };
        check(&lotto, &[9, 1, 4], &[5], "[1, 4, 9] [5]");
        check(&lotto, &[9, 1], &[5], "numbers has 2 of 3");
        check(&lotto, &[9, 1, 10], &[5], "10, which is not 1 to 9");
        check(&lotto, &[9, 1, 0], &[5], "0, which is not 1 to 9");
        check(&lotto, &[9, 1, 9], &[5], "9 twice");
        check(&lotto, &[9, 1, 4], &[], "bonus has 0 of 1");
        check(&lotto, &[9, 1, 4], &[6], "6, which is not 1 to 5");
        check(&lotto, &[9, 1, 4], &[4], "[1, 4, 9] [4]");
        lotto.bonus_in_main = true;
        check(&lotto, &[9, 1, 4], &[8], "[1, 4, 9] [8]");
        check(&lotto, &[9, 1, 4], &[4], "bonus 4 is one of the main numbers");
        lotto.repeats = true;
        check(&lotto, &[9, 9, 4], &[4], "[4, 9, 9] [4]");
    }

    #[test]
    fn digits_keep_their_order_and_prizes_do_not() {
        let mut digits = draw("d");
        (digits.main_count, digits.main_min, digits.repeats) = (3, 0, true);
        digits.prize_tiers =
            r#"[{"tier":"a","digits":3,"fixed_minor":1},{"tier":"b","digits":2,"numbers":2,"fixed_minor":1}]"#.into();
        let why = drawn(&digits, &[2, 1, 2], &[], &[]).unwrap_err();
        assert!(why.contains("prize b has numbers of its own"), "{why}");
        let one_for_all =
            r#"[{"tier":"a","digits":3,"fixed_minor":1},{"tier":"b","digits":2,"fixed_minor":1}]"#;
        let shared = Draw { prize_tiers: one_for_all.into(), ..digits.clone() };
        assert_eq!(drawn(&shared, &[2, 1, 2], &[], &[]).unwrap().numbers, [2, 1, 2]);
        let why = drawn(&Draw { main_count: 2, ..shared.clone() }, &[1, 2], &[], &[]).unwrap_err();
        assert!(why.contains("prize a has 3 digits, and the number 2"), "{why}");
        let why = drawn(&Draw { main_count: 0, ..shared }, &[], &[], &[]).unwrap_err();
        assert!(why.contains("prize a has 3 digits, and the number 0"), "{why}");
        let prize = |tier: &str, numbers: &[&str]| DigitPrize {
            tier: tier.into(),
            numbers: numbers.iter().map(|&text| text.into()).collect(),
        };
        let one = drawn(&digits, &[], &[], &[prize("b", &["21", "10"]), prize("a", &["001"])]).unwrap();
        let other = drawn(&digits, &[], &[], &[prize("a", &["001"]), prize("b", &["10", "21"])]).unwrap();
        assert_eq!(one, other);
        for (prizes, wanted) in [
            (vec![prize("a", &["001"])], "prize b has 0 numbers of 2"),
            (vec![prize("a", &["01"]), prize("b", &["10", "21"])], "01, which has not 3 digits"),
            (vec![prize("c", &["01"])], "no prize c"),
        ] {
            assert!(drawn(&digits, &[], &[], &prizes).unwrap_err().contains(wanted), "{wanted}");
        }
        assert!(drawn(&digits, &[1, 2, 3], &[], &[prize("a", &["001"])]).unwrap_err().contains("not both"));
    }
}
