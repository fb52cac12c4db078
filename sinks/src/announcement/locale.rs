//! How dates, money and words are written in a language: one JSON file each.
//!
//! ```text
//!   assets/locales/vi.json ─┐
//!   FOLDER/locales/vi.json ─┴─(the folder's wins)─> Locale ─> money(), date(), word()
//! ```
//!
//! A locale that isn't there falls back to its language (`pt-BR` to `pt`), never silently to another one.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Shipped with the program.
const SHIPPED: &[(&str, &str)] = &[
    ("en", include_str!("../../assets/locales/en.json")),
    ("pt", include_str!("../../assets/locales/pt.json")),
    ("vi", include_str!("../../assets/locales/vi.json")),
];

/// Digits after the decimal point, by ISO 4217, where they aren't two.
const MINOR_DIGITS: &[(usize, &[&str])] = &[
    (
        0,
        &[
            "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV",
            "XAF", "XOF", "XPF",
        ],
    ),
    (3, &["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"]),
    (4, &["CLF", "UYW"]),
];

/// A locale that can't be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LocaleError {
    #[error("there is no locale {name:?}; put {name}.json into the folder `locales` of publishing.templates")]
    Unknown { name: String },
    #[error("{}: {problem}; compare it with the locales that ship with Tombola", path.display())]
    File { path: PathBuf, problem: String },
}

/// One language's conventions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locale {
    group: String,
    decimal: String,
    /// With `{symbol}` and `{amount}`.
    money: String,
    /// With `{weekday}`, `{day}`, `{day2}`, `{month}`, `{month2}` and `{year}`.
    date: String,
    /// With `{hour2}` and `{minute2}`.
    time: String,
    /// From Monday.
    weekdays: [String; 7],
    months: [String; 12],
    /// By ISO 4217; a currency that isn't named is written as its code.
    symbols: BTreeMap<String, String>,
    words: BTreeMap<String, String>,
}

/// The locales there are.
#[derive(Clone, Debug, Default)]
pub struct Locales {
    folder: Option<Arc<PathBuf>>,
}

impl Locales {
    /// Those of a folder, and behind them those that ship with the program.
    pub fn new(folder: Option<&Path>) -> Self {
        Locales { folder: folder.map(|folder| Arc::new(folder.to_owned())) }
    }

    /// The locale of this name, or of its language.
    ///
    /// # Errors
    /// See [`LocaleError`].
    pub fn get(&self, name: &str) -> Result<Locale, LocaleError> {
        let language = name.split(['-', '_']).next().unwrap_or(name);
        for name in [name, language] {
            if let Some(found) = self.find(name)? {
                return Ok(found);
            }
        }
        Err(LocaleError::Unknown { name: name.to_owned() })
    }

    fn find(&self, name: &str) -> Result<Option<Locale>, LocaleError> {
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        let path = self.folder.as_ref().map(|folder| folder.join("locales").join(format!("{name}.json")));
        if let Some(path) = path.filter(|path| plain && path.exists()) {
            let text = std::fs::read_to_string(&path).map_err(|e| e.to_string());
            let locale = text.and_then(|text| serde_json::from_str(&text).map_err(|e| e.to_string()));
            return locale.map(Some).map_err(|problem| LocaleError::File { path, problem });
        }
        let shipped = SHIPPED.iter().find(|(known, _)| *known == name);
        Ok(shipped.map(|(_, text)| serde_json::from_str(text).expect("a shipped locale is whole")))
    }
}

impl Locale {
    /// A word of this language; one that isn't translated is given as it is.
    pub fn word(&self, key: &str) -> String {
        self.words.get(key).cloned().unwrap_or_else(|| key.to_owned())
    }

    /// The words of this language.
    pub fn words(&self) -> &BTreeMap<String, String> {
        &self.words
    }

    /// A prize's name: as the words have it under `tier_…`, else as it stands.
    pub fn tier(&self, tier: &str) -> String {
        self.words.get(&format!("tier_{}", tier.to_lowercase())).cloned().unwrap_or_else(|| tier.to_owned())
    }

    /// An amount in minor units: `$1,234.50`. Minor digits are left out where all are zero.
    pub fn money(&self, minor: i64, currency: &str) -> String {
        let digits =
            MINOR_DIGITS.iter().find(|(_, codes)| codes.contains(&currency)).map_or(2, |(digits, _)| *digits);
        let unit = 10u64.pow(digits as u32);
        let (whole, rest) = (minor.unsigned_abs() / unit, minor.unsigned_abs() % unit);
        let mut amount = self.grouped(whole);
        if rest != 0 {
            amount.push_str(&format!("{}{rest:0digits$}", self.decimal));
        }
        let symbol = self.symbols.get(currency).map_or(currency, String::as_str);
        // Letters don't run into digits.
        let gap =
            if symbol.ends_with(char::is_alphabetic) { "{symbol}\u{a0}{amount}" } else { "{symbol}{amount}" };
        let written = self.money.replace("{symbol}{amount}", gap);
        let sign = if minor < 0 { "-" } else { "" };
        format!("{sign}{}", written.replace("{symbol}", symbol).replace("{amount}", &amount))
    }

    fn grouped(&self, whole: u64) -> String {
        let digits = whole.to_string();
        let mut out = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                out.push_str(&self.group);
            }
            out.push(digit);
        }
        out
    }

    /// A day in a time zone: `Saturday, November 21, 2026`.
    pub fn date(&self, at_ms: i64, zone: &TimeZone) -> String {
        let Ok(at) = Timestamp::from_millisecond(at_ms) else { return String::new() };
        let at = at.to_zoned(zone.clone());
        let weekday = &self.weekdays[at.weekday().to_monday_zero_offset() as usize];
        let month = &self.months[at.month() as usize - 1];
        self.date
            .replace("{weekday}", weekday)
            .replace("{day}", &at.day().to_string())
            .replace("{day2}", &format!("{:02}", at.day()))
            .replace("{month}", month)
            .replace("{month2}", &format!("{:02}", at.month()))
            .replace("{year}", &at.year().to_string())
    }

    /// The time of day in a time zone, with the zone's abbreviation.
    pub fn time(&self, at_ms: i64, zone: &TimeZone) -> String {
        let Ok(at) = Timestamp::from_millisecond(at_ms) else { return String::new() };
        let abbreviation = zone.to_offset_info(at).abbreviation().to_owned();
        let at = at.to_zoned(zone.clone());
        let (hour, minute) = (format!("{:02}", at.hour()), format!("{:02}", at.minute()));
        let time = self.time.replace("{hour2}", &hour).replace("{minute2}", &minute);
        // A zone without letters has an offset for a name: it says so with UTC before it.
        let named = abbreviation.chars().any(char::is_alphabetic);
        if named { format!("{time} {abbreviation}") } else { format!("{time} UTC{abbreviation}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locale(name: &str) -> Locale {
        Locales::default().get(name).unwrap()
    }

    #[test]
    fn money_is_written_as_each_language_writes_it() {
        for (name, minor, currency, expected) in [
            ("en", 123_456_789, "USD", "$1,234,567.89"),
            ("en", 12_000_000_000, "USD", "$120,000,000"),
            ("en", 5, "USD", "$0.05"),
            ("en", -5, "USD", "-$0.05"),
            ("en", 1_234_500, "KWD", "KWD\u{a0}1,234.500"),
            ("vi", 61_234_567_000, "VND", "61.234.567.000 ₫"),
            ("pt", 123_456_789, "BRL", "R$ 1.234.567,89"),
            ("pt-BR", 100, "USD", "US$ 1"),
            ("en", 999, "JPY", "¥999"),
        ] {
            let money = locale(name).money(minor, currency);
            assert_eq!(money.replace('\u{a0}', " "), expected.replace('\u{a0}', " "), "{name} {currency}");
        }
    }

    #[test]
    fn a_day_is_the_day_of_the_place_where_it_was_drawn() {
        // 2026-11-22 03:59 UTC is still Saturday evening in New York.
        let at = 1_795_319_940_000;
        let new_york = TimeZone::get("America/New_York").unwrap();
        let hanoi = TimeZone::get("Asia/Ho_Chi_Minh").unwrap();
        assert_eq!(locale("en").date(at, &new_york), "Saturday, November 21, 2026");
        assert_eq!(locale("en").time(at, &new_york), "22:59 EST");
        assert_eq!(locale("vi").date(at, &hanoi), "Chủ Nhật, 22/11/2026");
        assert_eq!(locale("vi").time(at, &hanoi), "10:59 UTC+07");
        assert_eq!(locale("pt").date(at, &TimeZone::UTC), "domingo, 22 de novembro de 2026");
    }

    #[test]
    fn a_folder_adds_and_replaces_locales() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("locales")).unwrap();
        let changed = SHIPPED[0].1.replace("Jackpot", "Top prize");
        std::fs::write(dir.path().join("locales/en.json"), changed).unwrap();
        std::fs::write(dir.path().join("locales/xx.json"), "{}").unwrap();
        let locales = Locales::new(Some(dir.path()));
        assert_eq!(locales.get("en").unwrap().word("jackpot"), "Top prize");
        assert_eq!(locales.get("vi").unwrap().word("bonus"), locale("vi").word("bonus"));
        assert!(locales.get("xx").unwrap_err().to_string().contains("xx.json: missing field"));
        assert!(locales.get("../en").unwrap_err().to_string().contains("there is no locale"));
    }

    #[test]
    fn the_shipped_locales_have_the_same_words() {
        let words = |name: &str| locale(name).words.keys().cloned().collect::<Vec<_>>();
        for (name, _) in SHIPPED {
            assert_eq!(words(name), words("en"), "{name}");
        }
    }
}
