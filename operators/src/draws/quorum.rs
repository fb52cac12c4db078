//! Who says what, and whether enough agree.

use super::Published;
use super::result::Drawn;
use schemas::Text;
use schemas::draws::{ReportResult, SourceSaid};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The newest word of every source.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Quorum {
    words: BTreeMap<Text, Word>,
}

/// What doesn't belong to the result is no part of what sources must agree on.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Word {
    drawn: Drawn,
    jackpot_minor: Option<i64>,
    currency: Option<Text>,
    drawn_at_ms: i64,
}

impl Quorum {
    /// Takes a source's word. Nothing where it says so already; else what it said before.
    pub fn hear(&mut self, report: &ReportResult, drawn: &Drawn) -> Option<Option<Drawn>> {
        if self.words.get(&report.source).is_some_and(|word| word.drawn == *drawn) {
            return None;
        }
        let word = Word {
            drawn: drawn.clone(),
            jackpot_minor: report.jackpot_minor,
            currency: report.currency.clone(),
            drawn_at_ms: report.drawn_at_ms,
        };
        Some(self.words.insert(report.source.clone(), word).map(|before| before.drawn))
    }

    fn by_result(&self) -> BTreeMap<&Drawn, Vec<&Text>> {
        let mut results: BTreeMap<&Drawn, Vec<&Text>> = BTreeMap::new();
        for (source, word) in &self.words {
            results.entry(&word.drawn).or_default().push(source);
        }
        results
    }

    /// The result that is to be published: the only one with a quorum, if it isn't what is.
    pub fn agreed(&self, required: usize, current: Option<&Drawn>) -> Option<Published> {
        let results = self.by_result();
        let mut with_quorum = results.into_iter().filter(|(_, sources)| sources.len() >= required);
        let (drawn, sources) = with_quorum.next()?;
        if with_quorum.next().is_some() || current == Some(drawn) {
            return None;
        }
        // What else they say: the first of them, by name, that says it.
        let words = || sources.iter().map(|source| &self.words[*source]);
        let jackpot = words().find(|word| word.jackpot_minor.is_some());
        Some(Published {
            revision: 0,
            drawn: drawn.clone(),
            jackpot_minor: jackpot.and_then(|word| word.jackpot_minor),
            currency: jackpot.and_then(|word| word.currency.clone()),
            drawn_at_ms: words().next().map(|word| word.drawn_at_ms),
            sources: sources.iter().map(|&source| source.clone()).collect(),
            at_ms: 0,
        })
    }

    /// Whether there is more than one result, what is published included.
    pub fn contradicts(&self, current: Option<&Drawn>) -> bool {
        let results: BTreeSet<&Drawn> = self.words.values().map(|word| &word.drawn).chain(current).collect();
        results.len() > 1
    }

    /// Every source that has spoken.
    pub fn sources(&self) -> impl Iterator<Item = &Text> {
        self.words.keys()
    }

    /// What each of them says.
    pub fn said(&self) -> Vec<SourceSaid> {
        let said = |(source, word): (&Text, &Word)| SourceSaid {
            source: source.clone(),
            numbers: word.drawn.numbers.clone(),
            bonus: word.drawn.bonus.clone(),
            prizes: word.drawn.prizes.clone(),
        };
        self.words.iter().map(said).collect()
    }
}
