//! Which tiers a ticket's numbers meet.
//!
//! A ticket has the main numbers, then the bonus numbers where those have a drum of their own; in a game of digits,
//! its digits. One that doesn't fit the game's matrix wins nothing.

use crate::draws::result::Drawn;
use schemas::draws::{Draw, PrizeTier, TierRule, prize_tiers};

/// Looks at tickets for one result.
pub struct Tiers {
    tiers: Vec<PrizeTier>,
    main_count: usize,
    main: std::ops::RangeInclusive<i32>,
    /// Bonus numbers of a ticket, where they have a drum of their own.
    bonus_count: usize,
    bonus_max: i32,
    repeats: bool,
    /// How often each number was drawn.
    drawn_main: [u8; 256],
    drawn_bonus: [u8; 256],
    bonus_in_main: bool,
    /// By tier: the numbers drawn for it, digit by digit.
    digits: Vec<Vec<Vec<u8>>>,
}

impl Tiers {
    /// For a draw whose row was checked, and what it brought.
    pub fn new(draw: &Draw, drawn: &Drawn) -> Self {
        let tiers = prize_tiers(&draw.prize_tiers).expect("a draw's tiers are checked when its row comes in");
        let digits = tiers.iter().map(|tier| digits_of(tier, drawn)).collect();
        let own_bonus = if draw.bonus_in_main { 0 } else { draw.bonus_count };
        Tiers {
            tiers,
            main_count: draw.main_count as usize,
            main: draw.main_min..=draw.main_max,
            bonus_count: own_bonus as usize,
            bonus_max: draw.bonus_max,
            repeats: draw.repeats,
            drawn_main: counts(&drawn.numbers),
            drawn_bonus: counts(&drawn.bonus),
            bonus_in_main: draw.bonus_in_main,
            digits,
        }
    }

    /// The tiers, highest first.
    pub fn tiers(&self) -> &[PrizeTier] {
        &self.tiers
    }

    /// Calls `won` with the number of every tier a ticket wins.
    pub fn each(&self, numbers: &[u8], mut won: impl FnMut(u16)) {
        if numbers.len() != self.main_count + self.bonus_count || numbers.is_empty() {
            return;
        }
        let (main, bonus) = numbers.split_at(self.main_count);
        if !self.fits(main, &self.main) || !self.fits(bonus, &(1..=self.bonus_max)) {
            return;
        }
        let main_hits = hits(main, &self.drawn_main);
        let bonus_hits = hits(if self.bonus_in_main { main } else { bonus }, &self.drawn_bonus);
        for (number, tier) in self.tiers.iter().enumerate() {
            match tier.rule {
                TierRule::Hits { main, bonus } if main_hits >= main && bonus_hits >= bonus => {
                    return won(number as u16);
                }
                TierRule::Hits { .. } => {}
                TierRule::Digits { .. } => {
                    if self.digits[number].iter().any(|drawn| main.ends_with(drawn)) {
                        won(number as u16);
                    }
                }
            }
        }
    }

    fn fits(&self, numbers: &[u8], range: &std::ops::RangeInclusive<i32>) -> bool {
        let mut seen = [0u64; 4];
        numbers.iter().all(|&number| {
            let (word, bit) = (usize::from(number >> 6), 1u64 << (number & 63));
            let again = seen[word] & bit != 0;
            seen[word] |= bit;
            range.contains(&i32::from(number)) && (self.repeats || !again)
        })
    }
}

fn counts(drawn: &[i32]) -> [u8; 256] {
    let mut counts = [0u8; 256];
    for number in drawn.iter().filter_map(|&number| u8::try_from(number).ok()) {
        counts[usize::from(number)] += 1;
    }
    counts
}

/// How many of a ticket's numbers were drawn; one that was drawn once counts once.
fn hits(numbers: &[u8], drawn: &[u8; 256]) -> u8 {
    let mut hits = 0;
    for (place, number) in numbers.iter().enumerate() {
        let before = numbers[..place].iter().filter(|other| *other == number).count();
        hits += u8::from(usize::from(drawn[usize::from(*number)]) > before);
    }
    hits
}

fn digits_of(tier: &PrizeTier, drawn: &Drawn) -> Vec<Vec<u8>> {
    let TierRule::Digits { digits, .. } = tier.rule else { return Vec::new() };
    if drawn.prizes.is_empty() {
        // One number is drawn for all tiers: each looks at its end.
        let all: Vec<u8> = drawn.numbers.iter().filter_map(|&digit| u8::try_from(digit).ok()).collect();
        let from = all.len().saturating_sub(usize::from(digits));
        return vec![all[from..].to_vec()];
    }
    let own = drawn.prizes.iter().filter(|prize| prize.tier == tier.tier);
    own.flat_map(|prize| &prize.numbers).map(|text| text.bytes().map(|b| b - b'0').collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draws::result::drawn;
    use crate::fixtures::draw;
    use schemas::draws::DigitPrize;

    fn won(draw: &Draw, drawn: &Drawn, numbers: &[u8]) -> Vec<u16> {
        let mut tiers = Vec::new();
        Tiers::new(draw, drawn).each(numbers, |tier| tiers.push(tier));
        tiers
    }

    #[test]
    fn a_ticket_wins_the_first_tier_it_meets() {
        let mut lotto = draw("d");
        (lotto.main_count, lotto.main_max, lotto.bonus_count, lotto.bonus_max) = (3, 9, 1, 5);
        lotto.prize_tiers =
            r#"[{"tier":"1","main":3,"bonus":1,"fixed_minor":9},{"tier":"2","main":3,"fixed_minor":8},
            {"tier":"3","main":2,"fixed_minor":7},{"tier":"4","bonus":1,"fixed_minor":1}]"#
                .into();
        let result = drawn(&lotto, &[7, 1, 4], &[2], &[]).unwrap();
        for (numbers, wanted) in [
            (&[1, 4, 7, 2][..], &[0][..]),
            (&[7, 4, 1, 3], &[1]),
            (&[7, 4, 2, 2], &[2]),
            (&[8, 9, 2, 2], &[3]),
            (&[8, 9, 2, 3], &[]),
            (&[7, 7, 7, 2], &[]),
            (&[7, 4, 1], &[]),
            (&[7, 4, 10, 2], &[]),
            (&[7, 4, 1, 6], &[]),
            (&[], &[]),
        ] {
            assert_eq!(won(&lotto, &result, numbers), wanted, "{numbers:?}");
        }
    }

    #[test]
    fn a_bonus_of_the_main_drum_is_looked_for_among_the_main_numbers() {
        let mut lotto = draw("d");
        (lotto.main_count, lotto.main_max, lotto.bonus_count, lotto.bonus_in_main) = (3, 9, 1, true);
        lotto.prize_tiers =
            r#"[{"tier":"1","main":3,"fixed_minor":9},{"tier":"2","main":2,"bonus":1,"fixed_minor":8}]"#
                .into();
        let result = drawn(&lotto, &[7, 1, 4], &[2], &[]).unwrap();
        assert_eq!(won(&lotto, &result, &[1, 4, 7]), [0]);
        assert_eq!(won(&lotto, &result, &[1, 4, 2]), [1]);
        assert!(won(&lotto, &result, &[1, 4, 3]).is_empty());
    }

    #[test]
    fn digits_are_looked_for_at_the_end_and_every_prize_counts() {
        let mut digits = draw("d");
        (digits.main_count, digits.main_min, digits.main_max, digits.repeats) = (4, 0, 9, true);
        digits.prize_tiers = r#"[{"tier":"special","digits":4,"fixed_minor":9},
            {"tier":"8","digits":2,"numbers":2,"fixed_minor":1}]"#
            .into();
        let prize = |tier: &str, numbers: &[&str]| DigitPrize {
            tier: tier.into(),
            numbers: numbers.iter().map(|&text| text.into()).collect(),
        };
        let prizes = [prize("8", &["77", "21"]), prize("special", &["0021"])];
        let result = drawn(&digits, &[], &[], &prizes).unwrap();
        assert_eq!(won(&digits, &result, &[0, 0, 2, 1]), [0, 1]);
        assert_eq!(won(&digits, &result, &[5, 7, 7, 7]), [1]);
        assert!(won(&digits, &result, &[2, 1, 0, 0]).is_empty());
        digits.prize_tiers =
            r#"[{"tier":"a","digits":4,"fixed_minor":9},{"tier":"b","digits":1,"fixed_minor":1}]"#.into();
        let one = drawn(&digits, &[5, 0, 7, 7], &[], &[]).unwrap();
        assert_eq!(won(&digits, &one, &[5, 0, 7, 7]), [0, 1]);
        assert_eq!(won(&digits, &one, &[1, 1, 1, 7]), [1]);
    }
}
