//! A draw's result as it is announced: what images show and posts say, in the reader's language.
//!
//! Everything here is a pure function of the announcement and of files that ship with the program, so that
//! the same result looks and reads the same each time.

use percent_encoding::percent_decode_str;

mod locale;
mod text;

pub use locale::{Locale, LocaleError, Locales};
pub use text::{plain, post_text};

/// The prizes of one tier, for games whose result is a list of digit strings.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PrizeTier {
    pub tier: String,
    pub numbers: Vec<String>,
}

/// One revision of a draw's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    pub tenant: String,
    pub draw_id: String,
    /// 1, and one more with each correction.
    pub revision: i64,
    /// The revision this one corrects.
    pub supersedes: Option<i64>,
    pub game: String,
    pub numbers: Vec<i64>,
    pub bonus: Vec<i64>,
    pub prizes: Vec<PrizeTier>,
    pub drawn_at_ms: i64,
    pub jackpot_minor: Option<i64>,
    /// ISO 4217.
    pub currency: Option<String>,
}

impl Announcement {
    /// What the game is called where no theme says: `mega-sena` is Mega Sena.
    pub fn game_title(&self) -> String {
        let word = |word: &str| {
            let mut letters = word.chars();
            letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
        };
        self.game.split(['-', '_', ' ']).filter(|w| !w.is_empty()).map(word).collect::<Vec<_>>().join(" ")
    }
}

/// A part of a path or key in which only the writer's own slashes count.
pub fn escaped(part: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(part.len());
    for byte in part.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => out.push(byte as char),
            // A part of dots alone would mean a folder, and one that begins with a dot is hidden.
            b'.' if !out.is_empty() => out.push('.'),
            _ => write!(out, "%{byte:02X}").expect("writing into a string can't fail"),
        }
    }
    out
}

/// The part as it was; none where it isn't UTF-8.
pub fn unescaped(part: &str) -> Option<String> {
    Some(percent_decode_str(part).decode_utf8().ok()?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_path_stays_one_part() {
        for (part, expected) in
            [("acme", "acme"), ("a/b", "a%2Fb"), ("..", "%2E."), ("r1.5", "r1.5"), ("số", "s%E1%BB%91")]
        {
            assert_eq!(escaped(part), expected);
            assert_eq!(unescaped(expected).as_deref(), Some(part));
        }
    }
}
