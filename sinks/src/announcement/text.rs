//! What a post says: the result in a few lines, and a reference by which the post can be found again.

use super::{Announcement, Locale};
use jiff::tz::TimeZone;

/// A result in words, a line each, the most important first.
pub fn plain(result: &Announcement, title: &str, locale: &Locale, zone: &TimeZone) -> Vec<String> {
    let mut lines = vec![format!("{title} · {}", locale.date(result.drawn_at_ms, zone))];
    if result.supersedes.is_some() {
        lines.push(format!("{} ({} {})", locale.word("corrected"), locale.word("revision"), result.revision));
    }
    let joined = |numbers: &[i64]| numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(" ");
    if !result.numbers.is_empty() {
        lines.push(format!("{}: {}", locale.word("numbers"), joined(&result.numbers)));
    }
    if !result.bonus.is_empty() {
        lines.push(format!("{}: {}", locale.word("bonus"), joined(&result.bonus)));
    }
    for prize in &result.prizes {
        lines.push(format!("{}: {}", locale.tier(&prize.tier), prize.numbers.join(" · ")));
    }
    if let (Some(minor), Some(currency)) = (result.jackpot_minor, &result.currency) {
        lines.push(format!("{}: {}", locale.word("jackpot"), locale.money(minor, currency)));
    }
    lines
}

/// The lines of [`plain`] as far as they fit into `chars_max`, and the reference, which always does.
pub fn post_text(lines: &[String], reference: &str, chars_max: usize) -> String {
    let mut left = chars_max.saturating_sub(reference.chars().count() + 1);
    let mut text = String::new();
    for line in lines {
        let needs = line.chars().count() + 1;
        if needs > left {
            break;
        }
        left -= needs;
        text.push_str(line);
        text.push('\n');
    }
    text + "\n" + reference
}

#[cfg(test)]
mod tests {
    use super::super::{Locales, PrizeTier};
    use super::*;

    fn result() -> Announcement {
        Announcement {
            tenant: "acme".into(),
            draw_id: "PB-7".into(),
            revision: 2,
            supersedes: Some(1),
            game: "powerball".into(),
            numbers: vec![3, 14, 15],
            bonus: vec![9],
            prizes: vec![PrizeTier { tier: "special".into(), numbers: vec!["01234".into()] }],
            drawn_at_ms: 1_795_319_940_000,
            jackpot_minor: Some(200_000_000),
            currency: Some("USD".into()),
        }
    }

    #[test]
    fn a_result_is_told_in_lines_of_its_language() {
        let locale = Locales::default().get("en").unwrap();
        let lines = plain(&result(), "Powerball", &locale, &TimeZone::UTC);
        assert_eq!(
            lines,
            [
                "Powerball · Sunday, November 22, 2026",
                "Corrected result (revision 2)",
                "Numbers: 3 14 15",
                "Bonus: 9",
                "Special prize: 01234",
                "Jackpot: $2,000,000",
            ]
        );
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_the_reference_never() {
        let lines = ["one".to_owned(), "two".to_owned(), "three".to_owned()];
        for (chars_max, expected) in
            [(100, "one\ntwo\nthree\n\nref"), (12, "one\ntwo\n\nref"), (5, "\nref"), (0, "\nref")]
        {
            assert_eq!(post_text(&lines, "ref", chars_max), expected, "{chars_max}");
        }
    }
}
