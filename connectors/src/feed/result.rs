//! A draw's result as one source tells it, and the ids its reports get.
//!
//! A source has one word on a draw, its newest. So a report's `command_id` follows from what the source said before
//! (`after`) and what it says now: told again, it is the same command; taken back to an earlier word, it is a new one.

use schemas::draws::{DigitPrize, ReportResult};
use schemas::{Command, Text};
use xxhash_rust::xxh3::xxh3_128;

/// What a source says a draw brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrawResult {
    pub tenant: String,
    pub source: String,
    pub game: String,
    pub draw_id: String,
    pub numbers: Vec<i32>,
    pub bonus: Vec<i32>,
    pub prizes: Vec<Prize>,
    /// Amount in the currency's minor unit, and the currency.
    pub jackpot: Option<(i64, String)>,
    pub drawn_at_ms: i64,
}

/// The numbers drawn for one prize, with their leading zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prize {
    pub tier: String,
    pub numbers: Vec<String>,
}

impl DrawResult {
    /// Of everything it says: equal results have equal digests on every machine.
    pub fn digest(&self) -> String {
        let mut said = Vec::with_capacity(128);
        let mut text = |text: &str| {
            said.extend_from_slice(&(text.len() as u64).to_le_bytes());
            said.extend_from_slice(text.as_bytes());
        };
        [&self.tenant, &self.source, &self.draw_id].into_iter().for_each(|part| text(part));
        text(&format!("{:?}/{:?}", self.numbers, self.bonus));
        for prize in &self.prizes {
            text(&prize.tier);
            text(&prize.numbers.join(" "));
        }
        text(&format!("{:?}/{}", self.jackpot, self.drawn_at_ms));
        format!("{:032x}", xxh3_128(&said))
    }

    /// The id of its report, where `after` is the id of what the source said of the draw before.
    pub fn command_id(&self, after: Option<&str>) -> String {
        let said = format!("{}>{}", after.unwrap_or_default(), self.digest());
        format!("feed:{}/{}/{:032x}", self.source, self.draw_id, xxh3_128(said.as_bytes()))
    }

    /// Its report.
    pub fn report(&self, command_id: &str, reported_at_ms: i64) -> Command {
        let prize = |prize: &Prize| DigitPrize {
            tier: prize.tier.as_str().into(),
            numbers: prize.numbers.iter().map(Text::from).collect(),
        };
        Command::ReportResult(Box::new(ReportResult {
            command_id: command_id.into(),
            tenant: self.tenant.as_str().into(),
            draw_id: self.draw_id.as_str().into(),
            source: self.source.as_str().into(),
            numbers: self.numbers.clone(),
            bonus: self.bonus.clone(),
            prizes: self.prizes.iter().map(prize).collect(),
            jackpot_minor: self.jackpot.as_ref().map(|(minor, _)| *minor),
            currency: self.jackpot.as_ref().map(|(_, currency)| currency.as_str().into()),
            drawn_at_ms: self.drawn_at_ms,
            reported_at_ms,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(number: i32) -> DrawResult {
        DrawResult {
            tenant: "lotto".to_owned(),
            source: "a".to_owned(),
            game: "g".to_owned(),
            draw_id: "g-1".to_owned(),
            numbers: vec![number],
            bonus: Vec::new(),
            prizes: Vec::new(),
            jackpot: None,
            drawn_at_ms: 0,
        }
    }

    #[test]
    fn a_word_taken_back_is_a_new_command_and_a_word_repeated_is_the_same() {
        let first = result(1).command_id(None);
        assert_eq!(result(1).command_id(None), first);
        let second = result(2).command_id(Some(&first));
        let third = result(1).command_id(Some(&second));
        assert!(first != second && first != third && second != third);
    }

    #[test]
    fn results_that_differ_in_anything_have_other_digests() {
        let base = result(12);
        let mut others = vec![base.clone(); 4];
        (others[0].numbers, others[0].bonus) = (vec![1], vec![2]);
        others[1].jackpot = Some((5, "GBP".to_owned()));
        others[2].drawn_at_ms = 1;
        others[3].prizes = vec![Prize { tier: "1".to_owned(), numbers: vec!["012".to_owned()] }];
        assert!(others.iter().all(|other| other.digest() != base.digest()));
    }
}
