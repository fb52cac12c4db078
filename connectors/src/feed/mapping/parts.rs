//! The values of a mapping's keys, each checked where it is read, so that a refusal knows its line.

use serde::Deserialize;

/// A short name: source, tenant, game.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Name(pub String);

/// Longest name, in bytes: names are parts of ids, which have 128.
const NAME_BYTES_MAX: usize = 40;

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(plain) {
            return Err(format!(
                "{name:?} can't be a name; use 1 to {NAME_BYTES_MAX} letters (a-z, A-Z), digits, _ and -"
            ));
        }
        Ok(Name(name))
    }
}

/// `[poll]`: where the documents are. What is left out is as `[feeds]` of the settings says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Poll {
    pub url: Option<Url>,
    pub interval_ms: Option<Positive>,
    pub timeout_ms: Option<Positive>,
    pub bytes_max: Option<Positive>,
}

/// An address of HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Url(pub String);

impl TryFrom<String> for Url {
    type Error = String;

    fn try_from(url: String) -> Result<Self, String> {
        let parsed = reqwest::Url::parse(&url).map_err(|e| format!("{url:?} is no URL: {e}"))?;
        match parsed.scheme() {
            "http" | "https" => Ok(Url(url)),
            other => Err(format!("{url:?} is of {other}; give one of http or https")),
        }
    }
}

/// A number that isn't zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct Positive(pub u64);

impl TryFrom<u64> for Positive {
    type Error = String;

    fn try_from(number: u64) -> Result<Self, String> {
        if number > 0 { Ok(Positive(number)) } else { Err("must be at least 1".to_owned()) }
    }
}

/// What a document is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Csv,
    Json,
}

/// What several documents are packed into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Archive {
    #[serde(rename = "tar.gz")]
    TarGz,
}

/// What becomes of fields nobody named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Extra {
    /// The row, in CSV the document, doesn't fit.
    #[default]
    Refuse,
    Ignore,
}

/// One byte between two fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Delimiter(pub u8);

impl Default for Delimiter {
    fn default() -> Self {
        Delimiter(b',')
    }
}

impl TryFrom<String> for Delimiter {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_bytes() {
            [byte] if byte.is_ascii() && *byte != b'"' && *byte != b'\n' => Ok(Delimiter(*byte)),
            _ => Err(format!("{text:?} can't separate fields; give one ASCII character, such as \",\"")),
        }
    }
}

/// A format of dates, tried on a day so that a misspelt one is found at once.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DateFormat(pub String);

impl TryFrom<String> for DateFormat {
    type Error = String;

    fn try_from(format: String) -> Result<Self, String> {
        let day = jiff::civil::date(2013, 11, 9);
        let again = jiff::fmt::strtime::format(&format, day)
            .and_then(|text| jiff::civil::Date::strptime(&format, &text))
            .map_err(|e| format!("{format:?} is no format of dates: {e}; an example is \"%m/%d/%Y\""))?;
        if again == day {
            return Ok(DateFormat(format));
        }
        Err(format!("{format:?} doesn't give a date whole; an example is \"%m/%d/%Y\""))
    }
}

/// A time of day: `22:59`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct TimeOfDay(pub jiff::civil::Time);

impl TryFrom<String> for TimeOfDay {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let time = jiff::civil::Time::strptime("%H:%M", &text);
        time.map(TimeOfDay).map_err(|_| format!("{text:?} is no time of day; write it as in \"22:59\""))
    }
}

/// A time zone by its name in the IANA database, which is part of the program.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Zone(pub jiff::tz::TimeZone);

impl TryFrom<String> for Zone {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        // The program's own: what a document says must not depend on the machine that reads it.
        let database = jiff::tz::TimeZoneDatabase::bundled();
        let zone = database.get(&name);
        zone.map(Zone).map_err(|e| format!("{e}; name one as in \"America/New_York\""))
    }
}

/// Which fields hold numbers, and which of what they hold are meant.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Numbers {
    /// One field with all of them …
    pub field: Option<String>,
    /// … or one field for each.
    #[serde(default)]
    pub fields: Vec<String>,
    /// What separates them within a text.
    pub split: Option<String>,
    /// How many there are in all; without it as many as `take`, or as `fields`.
    pub items: Option<usize>,
    /// Which of them are meant, from 1; without it all.
    #[serde(default)]
    pub take: Vec<usize>,
    /// There may be none at all.
    #[serde(default)]
    pub optional: bool,
    /// As drawn; without it from the lowest to the highest.
    #[serde(default)]
    pub keep_order: bool,
}

impl Numbers {
    /// The fields it reads.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.field.iter().chain(&self.fields).map(String::as_str)
    }

    /// How many items the fields must hold.
    pub fn expected(&self) -> usize {
        self.items.unwrap_or(if self.take.is_empty() { self.fields.len() } else { self.take.len() })
    }

    pub(super) fn problem(&self) -> Option<&'static str> {
        let expected = self.expected();
        if self.field.is_some() != self.fields.is_empty() {
            Some("needs either `field`, with all numbers, or `fields`, with one each")
        } else if expected == 0 {
            Some("doesn't say how many numbers there are: set `items`")
        } else if self.split.as_deref() == Some("") {
            Some("can't be split by nothing: leave `split` out, or name what separates the numbers")
        } else if self.take.iter().any(|&position| position == 0 || position > expected) {
            Some("takes a position that `items` doesn't have; positions begin with 1")
        } else if (1..self.take.len()).any(|at| self.take[..at].contains(&self.take[at])) {
            Some("takes a position twice")
        } else {
            None
        }
    }
}

/// One prize of a game whose result are digits.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    pub tier: Name,
    pub field: String,
    /// How many numbers it has.
    pub count: usize,
    /// How many digits each of them has.
    pub digits: usize,
    /// What separates them within a text.
    pub split: Option<String>,
}

/// The highest prize.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jackpot {
    pub field: String,
    pub currency: Currency,
    /// Digits of the currency's minor unit: 2 for cents and pence, 0 where there is none.
    #[serde(default = "two")]
    pub minor_digits: u32,
    /// It may be left empty.
    #[serde(default)]
    pub optional: bool,
}

fn two() -> u32 {
    2
}

/// Three capital letters of ISO 4217.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Currency(pub String);

impl TryFrom<String> for Currency {
    type Error = String;

    fn try_from(code: String) -> Result<Self, String> {
        if code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase()) {
            return Ok(Currency(code));
        }
        Err(format!("{code:?} is no currency; give three capital letters, such as \"USD\""))
    }
}
