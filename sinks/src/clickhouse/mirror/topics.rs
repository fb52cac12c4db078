//! Which topics are read: those that match, are there and can be opened.
//!
//! ```text
//!   topics of the log ─ match? ─ have a table of their own? ─ can be opened? ─> gathered
//!                                        └───────── no: parked, with the reason, and looked at again ─────────┘
//! ```
//!
//! A topic that can't be opened (it was compacted, it was deleted, it may not be read) is its own table's fault: the others are read
//! without it. One that a table stands for and that is gone from the log parks its table, too, until it is back.

use super::MirrorLog;
use super::fault::Failure;
use super::gather::Gather;
use super::names::{is_wanted, tell_apart};
use super::state::MirrorState;
use super::work::{Open, Work, write};
use runtime::source::{LogError, LogReader};
use schemas::captured::Captured;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Why a table is parked whose topic was deleted.
pub(super) const GONE: &str = "the log has no such topic any more: restore it, and its table goes on; or delete the table's rows from \
                               mirror_progress, then drop it: it is forgotten";

/// A reader, and what it reads.
struct Opened {
    reader: Box<dyn LogReader<Record = Captured>>,
    topics: Vec<String>,
    /// What speaks against each of the others.
    shut: BTreeMap<String, String>,
}

/// Opens those of the topics that can be opened.
fn open_readable(log: &mut dyn MirrorLog, mut topics: Vec<String>) -> Result<Opened, LogError> {
    let mut shut = BTreeMap::new();
    loop {
        match log.reader(&topics) {
            Ok(reader) => return Ok(Opened { reader, topics, shut }),
            Err(error @ LogError::Retry(_)) => return Err(error),
            Err(stop) => {
                // What is wrong without any topic is wrong with none of them.
                log.reader(&[])?;
                let found = faults(log, &topics)?;
                if found.is_empty() {
                    return Err(LogError::Retry(stop.to_string().into()));
                }
                topics.retain(|topic| !found.contains_key(topic));
                shut.extend(found);
            }
        }
    }
}

/// Those that can't be opened each by itself, and why.
fn faults(log: &mut dyn MirrorLog, topics: &[String]) -> Result<BTreeMap<String, String>, LogError> {
    let mut found = BTreeMap::new();
    for topic in topics {
        match log.reader(std::slice::from_ref(topic)) {
            Ok(_) => {}
            Err(error @ LogError::Retry(_)) => return Err(error),
            Err(stop) => {
                found.insert(topic.clone(), stop.to_string());
            }
        }
    }
    Ok(found)
}

impl Work {
    /// Begins to read everything that can be read.
    pub(super) fn open_gather(&mut self, state: &mut MirrorState) -> Result<Gather, Failure> {
        let topics = self.wanted_topics(state)?;
        self.gather_of(state, topics)
    }

    fn gather_of(&mut self, state: &mut MirrorState, topics: Vec<String>) -> Result<Gather, Failure> {
        let Opened { reader, topics, shut } = open_readable(self.log.as_mut(), topics)?;
        for (topic, why) in shut {
            self.park(state, &topic, &why)?;
            self.turns.shut.insert(topic);
        }
        Ok(Gather::new(reader, topics))
    }

    /// Topics of tables, in a fixed order, without those that can't be opened. Those that can't have a table of their own are parked.
    fn wanted_topics(&mut self, state: &mut MirrorState) -> Result<Vec<String>, Failure> {
        let mut topics: Vec<String> = self.log.topics()?;
        topics.retain(|topic| is_wanted(&self.settings.topics, topic));
        self.miss(state, &topics)?;
        topics.retain(|topic| !self.turns.shut.contains(topic));
        let (topics, nameless) = tell_apart(topics, |topic| state.tables.contains_key(topic));
        for (topic, why) in nameless {
            if state.parked.get(&topic).is_none_or(|parked| parked.reason != why) {
                self.park(state, &topic, &why)?;
            }
        }
        Ok(topics)
    }

    /// Parks tables whose topics are gone, and forgets what was parked where no table is left either.
    fn miss(&mut self, state: &mut MirrorState, there: &[String]) -> Result<(), Failure> {
        let wanted = &self.settings.topics;
        let is_gone = |topic: &&String| is_wanted(wanted, topic) && !there.contains(topic);
        let gone: BTreeSet<String> =
            state.tables.keys().chain(state.parked.keys()).filter(is_gone).cloned().collect();
        for topic in gone {
            self.turns.shut.remove(&topic);
            if !state.tables.contains_key(&topic) {
                self.cured(state, &topic);
                write(self.store.as_mut(), state)?;
            } else if state.parked.get(&topic).is_none_or(|parked| parked.reason != GONE) {
                self.park(state, &topic, GONE)?;
            }
        }
        Ok(())
    }

    /// Looks whether topics have come or gone, and whether those that couldn't be opened can be by now.
    pub(super) fn look_for_topics(&mut self, mut open: Open) -> Result<Open, Failure> {
        open.looked_at = Instant::now();
        let due = self.turns.shut_and_due(open.looked_at);
        let found = faults(self.log.as_mut(), &due)?;
        for topic in due {
            match found.get(&topic) {
                Some(why) => self.park(&mut open.state, &topic, why)?,
                None => drop(self.turns.shut.remove(&topic)),
            }
        }
        let topics = self.wanted_topics(&mut open.state)?;
        if topics != open.gather.topics() {
            open.gather = self.gather_of(&mut open.state, topics)?;
            open.gather.restart(&open.state);
        }
        Ok(open)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test: what fails here fails the test
mod tests {
    use super::super::state::Table;
    use super::super::{MirrorSettings, MirrorSources, MirrorStore};
    use super::*;
    use runtime::sink::SinkError;
    use runtime::source::Fetch;
    use runtime::{Offset, PartitionId};
    use std::sync::{Arc, Mutex};

    /// A log of these topics, some of which can't be opened; `""` stands for the log itself.
    #[derive(Default)]
    struct Log {
        there: Arc<Mutex<Vec<&'static str>>>,
        bad: Arc<Mutex<Vec<&'static str>>>,
    }

    struct Nothing;

    impl LogReader for Nothing {
        type Record = Captured;

        fn partitions(&mut self) -> Result<Vec<PartitionId>, LogError> {
            Ok(Vec::new())
        }

        fn fetch(&mut self, _: PartitionId, from: Offset, _: usize) -> Result<Fetch<Captured>, LogError> {
            Ok(Fetch::dense(from, Vec::new(), from))
        }

        fn wait(&mut self, _: u64) {}
    }

    impl MirrorLog for Log {
        fn topics(&mut self) -> Result<Vec<String>, LogError> {
            Ok(self.there.lock().unwrap().iter().map(|topic| (*topic).to_owned()).collect())
        }

        fn reader(&mut self, topics: &[String]) -> Result<Box<dyn LogReader<Record = Captured>>, LogError> {
            let is_read = |bad: &&&str| bad.is_empty() || topics.iter().any(|topic| topic == **bad);
            let [problem, remedy] = ["it is compacted", "mend it"].map(str::to_owned);
            match self.bad.lock().unwrap().iter().find(is_read) {
                Some(bad) => Err(LogError::Stop { place: (*bad).to_owned(), problem, remedy }),
                None => Ok(Box::new(Nothing)),
            }
        }

        fn bytes(&mut self, topics: &[String]) -> Result<Box<dyn LogReader<Record = Captured>>, LogError> {
            self.reader(topics)
        }
    }

    fn log(there: &[&'static str], bad: &[&'static str]) -> Log {
        let [there, bad] = [there, bad].map(|topics| Arc::new(Mutex::new(topics.to_vec())));
        Log { there, bad }
    }

    /// Of the topics a, b and c: those that are read, and what speaks against the others.
    fn opened(bad: &[&'static str]) -> Result<(String, String), LogError> {
        let opened = open_readable(&mut log(&[], bad), ["a", "b", "c"].map(str::to_owned).into())?;
        let shut: Vec<String> =
            opened.shut.into_iter().map(|(topic, why)| format!("{topic}: {why}")).collect();
        Ok((opened.topics.join(" "), shut.join(", ")))
    }

    #[test]
    fn a_topic_that_cannot_be_opened_is_left_out_with_the_reason_and_the_others_are_read() {
        assert_eq!(opened(&[]).unwrap(), ("a b c".to_owned(), String::new()));
        let b = "b: b: it is compacted; mend it";
        assert_eq!(opened(&["b"]).unwrap(), ("a c".to_owned(), b.to_owned()));
        let c = "c: c: it is compacted; mend it";
        assert_eq!(opened(&["b", "c"]).unwrap(), ("a".to_owned(), format!("{b}, {c}")));
    }

    #[test]
    fn what_is_wrong_with_the_log_itself_is_no_topics_fault() {
        assert!(matches!(opened(&[""]), Err(LogError::Stop { .. })));
    }

    struct Store;

    impl MirrorStore for Store {
        fn read(&mut self) -> Result<Option<String>, SinkError> {
            Ok(None)
        }

        fn write(&mut self, _: &str) -> Result<(), SinkError> {
            Ok(())
        }

        fn check(&mut self) -> Result<(), SinkError> {
            Ok(())
        }
    }

    /// A mirror of everything in this log; it has a table for the topic b.
    fn mirror(log: Log) -> (Work, MirrorState) {
        let settings = MirrorSettings { clickhouse: Default::default(), topics: vec!["*".to_owned()] };
        let sources = MirrorSources { log: Box::new(log), store: Box::new(Store) };
        let work = Work::new(settings, sources, Arc::default(), Arc::default());
        let (name, key, columns) = ("b".to_owned(), Vec::new(), Vec::new());
        let table =
            Table { name, key, columns, position: 0, gone: BTreeSet::new(), dropping: BTreeSet::new() };
        let tables = [("b".to_owned(), table)].into();
        (work.unwrap_or_else(|error| panic!("{error}")), MirrorState { tables, ..MirrorState::default() })
    }

    fn reason(state: &MirrorState, topic: &str) -> Option<String> {
        state.parked.get(topic).map(|parked| parked.reason.clone())
    }

    fn open(work: &mut Work, state: &mut MirrorState) -> Open {
        let gather = work.open_gather(state).unwrap_or_else(|failure| panic!("{failure:?}"));
        Open { state: std::mem::take(state), gather, looked_at: Instant::now() }
    }

    #[test]
    fn a_topic_that_is_mended_is_read_again() {
        let log = log(&["a", "b"], &["b"]);
        let bad = Arc::clone(&log.bad);
        let (mut work, mut state) = mirror(log);
        let open = open(&mut work, &mut state);
        assert_eq!(open.gather.topics(), ["a"]);
        assert_eq!(reason(&open.state, "b").unwrap(), "b: it is compacted; mend it");
        let open = work.look_for_topics(open).unwrap();
        assert_eq!(open.gather.topics(), ["a"], "it isn't mended");
        bad.lock().unwrap().clear();
        // Its turn comes after a pause.
        std::thread::sleep(std::time::Duration::from_millis(1_100));
        let open = work.look_for_topics(open).unwrap();
        assert_eq!(open.gather.topics(), ["a", "b"]);
    }

    #[test]
    fn a_table_whose_topic_is_gone_is_parked_until_it_is_back_or_the_table_is_forgotten() {
        let log = log(&["a", "b"], &[]);
        let there = Arc::clone(&log.there);
        let (mut work, mut state) = mirror(log);
        let open = open(&mut work, &mut state);
        assert_eq!((open.gather.topics().len(), reason(&open.state, "b")), (2, None));
        *there.lock().unwrap() = vec!["a"];
        let mut open = work.look_for_topics(open).unwrap();
        assert_eq!(
            (open.gather.topics(), reason(&open.state, "b").unwrap().as_str()),
            (&["a".to_owned()][..], GONE)
        );
        *there.lock().unwrap() = vec!["a", "b"];
        open = work.look_for_topics(open).unwrap();
        assert_eq!(open.gather.topics(), ["a", "b"]);
        assert!(reason(&open.state, "b").is_some(), "until it has been tried");
        *there.lock().unwrap() = vec!["a"];
        open.state.tables.clear();
        open = work.look_for_topics(open).unwrap();
        assert_eq!((open.gather.topics(), reason(&open.state, "b")), (&["a".to_owned()][..], None));
    }
}
