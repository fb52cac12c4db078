//! A mapping: one TOML file that says how one publisher's documents become draw results.
//!
//! ```text
//!   source, tenant, [poll] where and how often, [rows] how a document comes apart, [date] when a row's draw was,
//!   [[draws]] what a row says: one entry for each draw that a row may hold
//! ```
//!
//! Unknown keys are refused. Every refusal names the file, the line, what is wrong and what to do. What a mapping
//! can't say of a row is a problem of the row, found when it is mapped (see [`super::map`]).

mod parts;

pub use parts::{
    Archive, Currency, DateFormat, Delimiter, Extra, Format, Jackpot, Name, Numbers, Poll, Tier, TimeOfDay,
    Zone,
};

use super::template::Template;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A mapping file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// Who says so: each source has one word on a draw.
    pub source: Name,
    pub tenant: Name,
    #[serde(default)]
    pub poll: Poll,
    pub rows: RowsOf,
    pub date: DateOf,
    pub draws: Vec<DrawOf>,
    /// Of the file's text: what was read under another mapping is to be read again.
    #[serde(skip)]
    pub digest: String,
}

/// `[rows]`: how a document comes apart into rows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowsOf {
    pub format: Format,
    /// CSV: between two fields.
    #[serde(default)]
    pub delimiter: Delimiter,
    /// The document is an archive of documents.
    pub archive: Option<Archive>,
    /// Files of the archive, by their name without folders, that hold no rows.
    #[serde(default)]
    pub skip_files: Vec<String>,
    /// Most bytes an archive may unpack to.
    #[serde(default = "unpacked_bytes_max")]
    pub unpacked_bytes_max: u64,
    /// JSON: where in the document the rows are, names separated by dots; without it at the top.
    pub at: Option<String>,
    /// JSON: the rows are an object's members; this field holds their keys. Without it they are a list.
    pub key: Option<String>,
    /// Fields that the publisher sends and nothing here needs.
    #[serde(default)]
    pub ignore: BTreeSet<String>,
    /// What becomes of fields that neither the mapping nor `ignore` names.
    #[serde(default)]
    pub extra_columns: Extra,
}

/// `[date]`: on which day a row's draws were.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DateOf {
    pub value: Template,
    pub format: DateFormat,
    pub time_zone: Zone,
}

/// `[[draws]]`: one draw that a row may hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrawOf {
    pub game: Name,
    pub draw_id: Template,
    /// When it is drawn, local time.
    pub time: TimeOfDay,
    /// The draw is in the row only where this field isn't empty.
    pub present: Option<String>,
    /// The draw is in the row only where these fields have these values.
    #[serde(default)]
    pub when: BTreeMap<String, String>,
    pub main: Option<Numbers>,
    pub bonus: Option<Numbers>,
    #[serde(default)]
    pub prizes: Vec<Tier>,
    pub jackpot: Option<Jackpot>,
}

fn unpacked_bytes_max() -> u64 {
    256 << 20
}

/// A mapping that can't be used. The program ends with exit code 2.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MappingError {
    #[error(
        "{}: can't be read: {problem}; name a mapping file, such as those in deploy/feeds",
        path.display()
    )]
    Unreadable { path: PathBuf, problem: String },
    #[error("{}:{line}: {problem}; docs/feeds.md explains every key", path.display())]
    Invalid { path: PathBuf, line: usize, problem: String },
}

impl Mapping {
    /// Reads a mapping file.
    ///
    /// # Errors
    /// See [`MappingError`].
    pub fn load(path: &Path) -> Result<Mapping, MappingError> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| MappingError::Unreadable { path: path.to_owned(), problem: e.to_string() })?;
        Mapping::parse(path, &text)
    }

    /// Parses and checks `text`, which came from `path`.
    ///
    /// # Errors
    /// [`MappingError::Invalid`] with the line.
    pub fn parse(path: &Path, text: &str) -> Result<Mapping, MappingError> {
        let invalid =
            |line: usize, problem: String| MappingError::Invalid { path: path.to_owned(), line, problem };
        let mut mapping: Mapping = toml::from_str(text).map_err(|e| {
            let start = e.span().map_or(0, |span| span.start.min(text.len()));
            let line = text[..start].matches('\n').count() + 1;
            let key = key_of(text, line).map(|key| format!("`{key}`: ")).unwrap_or_default();
            invalid(line, format!("{key}{}", e.message().trim().replace('\n', ", ")))
        })?;
        if let Some((section, nth, problem)) = mapping.first_problem() {
            return Err(invalid(line_of(text, section, nth), problem));
        }
        mapping.digest = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes()));
        Ok(mapping)
    }

    /// What no single key shows: the section, which of its kind (from 0), and the problem.
    fn first_problem(&self) -> Option<(&'static str, usize, String)> {
        if let Some(problem) = self.rows.problem() {
            return Some(("[rows]", 0, problem));
        }
        if self.draws.is_empty() {
            return Some(("[[draws]]", 0, "there is no [[draws]]: say what a row holds".to_owned()));
        }
        let problem = |(nth, draw): (usize, &DrawOf)| Some(("[[draws]]", nth, draw.problem()?));
        self.draws.iter().enumerate().find_map(problem)
    }

    /// The fields that the mapping reads. Placeholders of its own are none of the publisher's.
    pub fn fields_needed(&self) -> impl Iterator<Item = &str> {
        self.date.value.fields().chain(self.draws.iter().flat_map(DrawOf::fields))
    }

    /// Refuses a field that a publisher sends and nobody has thought of.
    ///
    /// # Errors
    /// Where neither the mapping nor `ignore` names it, and `extra_columns` doesn't let it pass.
    pub fn check_known(&self, what: &str, name: &str) -> Result<(), String> {
        let known = self.rows.extra_columns == Extra::Ignore
            || self.rows.ignore.contains(name)
            || self.rows.key.as_deref() == Some(name)
            || self.fields_needed().any(|needed| needed == name);
        if known {
            return Ok(());
        }
        Err(format!(
            "the mapping doesn't know the {what} {name:?}; use it, list it in rows.ignore, or set rows.extra_columns = \"ignore\""
        ))
    }
}

impl RowsOf {
    /// Whether a file of an archive holds no rows.
    pub fn skips(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        self.skip_files.iter().any(|skipped| skipped == name)
    }

    fn problem(&self) -> Option<String> {
        let json_only = self.at.is_some() || self.key.is_some();
        match self.format {
            Format::Csv if json_only => {
                Some("`at` and `key` are of JSON; leave them out, or set format = \"json\"".to_owned())
            }
            _ if self.archive.is_none() && !self.skip_files.is_empty() => {
                Some("`skip_files` needs `archive`".to_owned())
            }
            _ => None,
        }
    }
}

impl DrawOf {
    /// Placeholders of `draw_id` that are no fields.
    const OWN: [&str; 2] = ["game", "date"];

    fn fields(&self) -> impl Iterator<Item = &str> {
        let numbers = self.main.iter().chain(&self.bonus).flat_map(Numbers::fields);
        let id = self.draw_id.fields().filter(|name| !Self::OWN.contains(name));
        let when = self.present.iter().chain(self.when.keys()).map(String::as_str);
        let prizes = self.prizes.iter().map(|tier| tier.field.as_str());
        let jackpot = self.jackpot.iter().map(|jackpot| jackpot.field.as_str());
        numbers.chain(id).chain(when).chain(prizes).chain(jackpot)
    }

    fn problem(&self) -> Option<String> {
        if self.main.is_none() && self.prizes.is_empty() {
            return Some(
                "a draw has neither `main` nor `prizes`: say which fields hold its numbers".to_owned(),
            );
        }
        if !self.draw_id.fields().any(|name| name != "game") {
            return Some("`draw_id` is the same for every draw: put {date} into it".to_owned());
        }
        let numbers = self.main.iter().map(|n| ("main", n)).chain(self.bonus.iter().map(|n| ("bonus", n)));
        numbers.filter_map(|(key, n)| n.problem().map(|problem| format!("`{key}` {problem}"))).next()
    }
}

/// The key that is set on a line, if one is.
fn key_of(text: &str, line: usize) -> Option<&str> {
    let (key, _) = text.lines().nth(line - 1)?.split_once('=')?;
    Some(key.trim()).filter(|key| !key.is_empty() && !key.starts_with(['#', '[', '{']))
}

/// The line (from 1) of the nth section of this head; the last line where there is none.
fn line_of(text: &str, section: &str, nth: usize) -> usize {
    let heads = text.lines().enumerate().filter(|(_, line)| line.trim() == section);
    heads.map(|(index, _)| index + 1).nth(nth).unwrap_or(text.lines().count().max(1))
}

#[cfg(test)]
mod tests;
