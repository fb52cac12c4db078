//! Who says what, and whether enough agree.
//!
//! Words are kept as they were said, and counted by the draw's row as it is: one counts while the row would take it at
//! the time at which it was said. So a row that changes may let words count that didn't, or set some aside until it
//! changes again; what counts follows from words and row alone, not from the way they came about.

use super::Published;
use super::result::{self, Drawn};
use runtime::Millis;
use schemas::Text;
use schemas::draws::{DigitPrize, Draw, ReportResult, SourceSaid};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The newest word of every source.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Quorum {
    words: BTreeMap<Text, Word>,
}

/// As it was said: another matrix may read it otherwise.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Word {
    numbers: Vec<i32>,
    bonus: Vec<i32>,
    prizes: Vec<DigitPrize>,
    jackpot_minor: Option<i64>,
    currency: Option<Text>,
    drawn_at_ms: i64,
    heard_ms: Millis,
}

/// The words that count by a row, by source, and what each means.
pub struct Standing<'a> {
    words: BTreeMap<&'a Text, (&'a Word, Drawn)>,
}

/// Who says what, of the words that count.
pub type Counted = BTreeMap<Text, Drawn>;

impl Quorum {
    /// Takes a source's word in the place of its last one.
    pub fn hear(&mut self, report: &ReportResult, heard_ms: Millis) {
        let word = Word {
            numbers: report.numbers.clone(),
            bonus: report.bonus.clone(),
            prizes: report.prizes.clone(),
            jackpot_minor: report.jackpot_minor,
            currency: report.currency.clone(),
            drawn_at_ms: report.drawn_at_ms,
            heard_ms,
        };
        self.words.insert(report.source.clone(), word);
    }

    /// Whether nobody has said anything.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Takes others' words in the place of those it has.
    pub fn take_over(&mut self, words: Quorum) {
        self.words.extend(words.words);
    }

    /// Whether a source has a word here.
    pub fn knows(&self, source: &Text) -> bool {
        self.words.contains_key(source)
    }

    /// What a source said, as the row reads it, whenever that was.
    pub fn said(&self, row: &Draw, source: &Text) -> Option<Drawn> {
        let word = self.words.get(source)?;
        result::drawn(row, &word.numbers, &word.bonus, &word.prizes).ok()
    }

    /// When a source said what it says.
    pub fn heard_of(&self, source: &Text) -> Option<Millis> {
        self.words.get(source).map(|word| word.heard_ms)
    }

    /// Takes a source's word away.
    pub fn forget(&mut self, source: &Text) {
        self.words.remove(source);
    }

    /// When the newest word was said.
    pub fn heard_ms(&self) -> Option<Millis> {
        self.words.values().map(|word| word.heard_ms).max()
    }

    /// What counts by `row`.
    pub fn standing(&self, row: &Draw, grace_ms: Millis) -> Standing<'_> {
        let meant =
            self.words.iter().filter_map(|(source, word)| Some((source, (word, word.meant(row, grace_ms)?))));
        Standing { words: meant.collect() }
    }
}

impl Word {
    /// What it means by a row that takes it.
    fn meant(&self, row: &Draw, grace_ms: Millis) -> Option<Drawn> {
        let closed = result::closed(row, self.heard_ms, grace_ms);
        result::drawn(row, &self.numbers, &self.bonus, &self.prizes).ok().filter(|_| closed)
    }
}

impl Standing<'_> {
    /// What a source says.
    pub fn says(&self, source: &Text) -> Option<&Drawn> {
        self.words.get(source).map(|(_, drawn)| drawn)
    }

    /// The result that is to be published: the only one with a quorum, if it isn't what is.
    pub fn agreed(&self, required: usize, current: Option<&Drawn>) -> Option<Published> {
        let mut results: BTreeMap<&Drawn, Vec<(&Text, &Word)>> = BTreeMap::new();
        for (source, (word, drawn)) in &self.words {
            results.entry(drawn).or_default().push((source, word));
        }
        let mut with_quorum = results.into_iter().filter(|(_, words)| words.len() >= required);
        let (drawn, words) = with_quorum.next()?;
        if with_quorum.next().is_some() || current == Some(drawn) {
            return None;
        }
        // What else they say: the first of them, by name, that says it.
        let jackpot = words.iter().find(|(_, word)| word.jackpot_minor.is_some());
        Some(Published {
            revision: 0,
            drawn: drawn.clone(),
            jackpot_minor: jackpot.and_then(|(_, word)| word.jackpot_minor),
            currency: jackpot.and_then(|(_, word)| word.currency.clone()),
            drawn_at_ms: words.first().map(|(_, word)| word.drawn_at_ms),
            sources: words.iter().map(|&(source, _)| source.clone()).collect(),
            at_ms: 0,
        })
    }

    /// Whether there is more than one result, what is published included.
    pub fn contradicts(&self, current: Option<&Drawn>) -> bool {
        let results: BTreeSet<&Drawn> = self.words.values().map(|(_, drawn)| drawn).chain(current).collect();
        results.len() > 1
    }

    /// Every source whose word counts.
    pub fn sources(&self) -> impl Iterator<Item = &Text> {
        self.words.keys().copied()
    }

    /// What each of them says.
    pub fn said(&self) -> Vec<SourceSaid> {
        let said = |(source, (_, drawn)): (&&Text, &(&Word, Drawn))| SourceSaid {
            source: (*source).clone(),
            numbers: drawn.numbers.clone(),
            bonus: drawn.bonus.clone(),
            prizes: drawn.prizes.clone(),
        };
        self.words.iter().map(said).collect()
    }

    /// The same, to be kept.
    pub fn counted(&self) -> Counted {
        self.words.iter().map(|(source, (_, drawn))| ((*source).clone(), drawn.clone())).collect()
    }
}
