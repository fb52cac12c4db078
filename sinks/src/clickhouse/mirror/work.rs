//! The mirror's thread: batch by batch, for as long as it runs.
//!
//! After a failure nothing that it remembers is believed: document, server and log are asked again.

use super::ddl::{self, Ddl};
use super::fault::{Failure, of_topic};
use super::gather::{Gather, Taken};
use super::names::is_wanted;
use super::park::Whose;
use super::parked::Turns;
use super::state::{MirrorState, Position};
use super::status::MirrorStatus;
use super::{MirrorLog, MirrorSettings, MirrorSources, MirrorStore, REMEDY_AGAIN};
use crate::clickhouse::client::Client;
use crate::clickhouse::error::ClickHouseError;
use crate::clickhouse::status::LoaderState;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const RETRY_FIRST: Duration = Duration::from_millis(100);
/// How often topics are looked for.
const TOPICS_EVERY: Duration = Duration::from_secs(3);

/// Whether there is more to do at once.
enum Pace {
    GoOn,
    CaughtUp,
}

/// The thread's own.
pub(super) struct Work {
    pub(super) settings: MirrorSettings,
    pub(super) client: Client,
    pub(super) log: Box<dyn MirrorLog>,
    pub(super) store: Box<dyn MirrorStore>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) status: Arc<MirrorStatus>,
    pub(super) turns: Turns,
    /// By topic: records that the server refused since it took one.
    pub(super) in_a_row: BTreeMap<String, usize>,
    /// Absent until everything has been asked, and after each failure.
    open: Option<Open>,
}

/// What is believed while all goes well.
pub(super) struct Open {
    pub state: MirrorState,
    pub gather: Gather,
    pub looked_at: Instant,
}

impl Work {
    pub fn new(
        settings: MirrorSettings,
        sources: MirrorSources,
        stop: Arc<AtomicBool>,
        status: Arc<MirrorStatus>,
    ) -> Result<Work, ClickHouseError> {
        let client = Client::new(&settings.clickhouse)?;
        let MirrorSources { log, store } = sources;
        let (turns, in_a_row) = Default::default();
        Ok(Work { settings, client, log, store, stop, status, turns, in_a_row, open: None })
    }

    pub fn run(mut self) {
        let mut pause = RETRY_FIRST;
        while !self.stopping() {
            let begun = Instant::now();
            match self.step() {
                Ok(Pace::GoOn) => pause = RETRY_FIRST,
                Ok(Pace::CaughtUp) => {
                    pause = RETRY_FIRST;
                    self.rest(begun + Duration::from_millis(self.settings.clickhouse.batch_interval_ms));
                }
                Err(Failure::Retry(problem)) => {
                    let wait = self.retry_after(problem, &mut pause);
                    self.sleep_until(Instant::now() + wait);
                }
                Err(Failure::Stop(problem)) => return super::stopped(&self.status, &problem),
                // Whoever deals with one table parks it; there is none here.
                Err(Failure::Table { topic, reason }) => {
                    return super::stopped(&self.status, &format!("topic {topic}: {reason}"));
                }
            }
        }
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn sleep_until(&self, until: Instant) {
        while !self.stopping() && Instant::now() < until {
            std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
        }
    }

    /// Not sooner than `until`, so that batches don't get too many; then as soon as something comes.
    fn rest(&mut self, until: Instant) {
        self.sleep_until(until);
        if let Some(open) = &mut self.open {
            open.gather.wait(self.settings.clickhouse.batch_interval_ms.min(100));
        }
    }

    fn retry_after(&mut self, problem: String, pause: &mut Duration) -> Duration {
        if self.stopping() {
            return Duration::ZERO;
        }
        self.open = None;
        // With an authority that has been renewed meanwhile, if that is what's wrong.
        if let Ok(client) = Client::new(&self.settings.clickhouse) {
            self.client = client;
        }
        tracing::warn!(problem, "changes wait to be mirrored into ClickHouse");
        self.status.change(|figures| {
            figures.retries += 1;
            figures.state = LoaderState::Waiting;
            figures.problem = Some(problem);
        });
        let wait = *pause;
        *pause = (*pause * 2).min(Duration::from_millis(self.settings.clickhouse.retry_ms_max));
        wait
    }

    fn step(&mut self) -> Result<Pace, Failure> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open()?,
        };
        if open.looked_at.elapsed() >= TOPICS_EVERY {
            open = self.look_for_topics(open)?;
        }
        self.retry_parked(&mut open)?;
        let settings = &self.settings.clickhouse;
        // What one topic has to answer for is found out where all are opened anew: here it would stop the others.
        let read = open.gather.read(settings.batch_rows_max, settings.batch_bytes_max);
        let (mut taken, more) = read.map_err(|error| Failure::Retry(error.to_string()))?;
        for (topic, lost) in open.gather.take_faults() {
            self.park(&mut open.state, &topic, &lost)?;
            taken.retain(|taken| taken.range.topic != topic);
        }
        if !more {
            self.acquit(&mut open.state, &taken)?;
        }
        let nothing = taken.is_empty();
        if !nothing {
            self.load(&mut open.state, taken)?;
        }
        if std::mem::take(&mut self.turns.changed) {
            open.gather.restart(&open.state);
        }
        self.tell(&open);
        self.open = Some(open);
        Ok(if more && !nothing { Pace::GoOn } else { Pace::CaughtUp })
    }

    fn tell(&self, open: &Open) {
        let parked = open.state.parked.iter().next();
        let parked = parked.map(|(topic, parked)| format!("topic {topic} is parked: {}", parked.reason));
        self.status.change(|figures| {
            figures.topics = open.gather.topics().len() as u64;
            figures.parked = open.state.parked.len() as u64;
            figures.lag = open.gather.lag();
            figures.problem = open.gather.problem().or(parked);
            figures.state = match &figures.problem {
                Some(_) => LoaderState::Waiting,
                None if figures.lag == 0 => LoaderState::Idle,
                None => LoaderState::Loading,
            };
        });
    }

    /// Asks document, server and log where they stand, and finishes what was begun.
    fn open(&mut self) -> Result<Open, Failure> {
        self.turns.restart();
        self.store.check()?;
        self.ddl().own_tables()?;
        let mut state = self.read_state()?;
        self.heal(&mut state)?;
        let there = self.ddl().columns()?;
        // The pending batch's among them: they were recorded with it.
        for (topic, table) in state.tables.clone() {
            if !state.parked.contains_key(&topic) {
                let brought = self.bring_up(&topic, &table, &there);
                self.spare(&mut state, brought)?;
            }
        }
        let mut gather = self.open_gather(&mut state)?;
        // A topic that is no longer mirrored takes its batch with it: it is read again from its position, should it come back.
        self.drop_unread(&mut state, gather.topics());
        let taken = self.read_pending(&mut state, &mut gather)?;
        if !taken.is_empty() {
            self.status.change(|figures| figures.resent += 1);
            self.deliver(&mut state, Whose::All, taken, true)?;
        }
        gather.restart(&state);
        Ok(Open { state, gather, looked_at: Instant::now() })
    }

    fn drop_unread(&self, state: &mut MirrorState, topics: &[String]) {
        let of_batch = state.pending.iter().flat_map(|batch| &batch.ranges).map(|range| &range.topic);
        let is_unread = |topic: &&String| !topics.contains(topic);
        let unread: BTreeSet<String> =
            of_batch.chain(state.parked.keys()).filter(is_unread).cloned().collect();
        for topic in unread {
            if !is_wanted(&self.settings.topics, &topic) {
                state.parked.remove(&topic);
            }
            // What is parked has taken its batch along, and keeps it.
            if !state.parked.contains_key(&topic) {
                state.give_up(&topic);
            }
        }
    }

    /// The pending batch's records, read again.
    fn read_pending(&mut self, state: &mut MirrorState, gather: &mut Gather) -> Result<Vec<Taken>, Failure> {
        // Only the first attempt's rows are looked for after they were sent: a later one needs a token never used.
        if state.pending.as_ref().is_some_and(|batch| batch.attempt > 1) {
            self.raise(state, Whose::All)?;
        }
        let ranges = state.pending.as_ref().map_or(Vec::new(), |batch| batch.ranges.clone());
        let mut all = Vec::new();
        for range in ranges {
            match gather.read_again(&range) {
                Ok(taken) => all.push(taken),
                Err(error) => self.spare(state, Err(of_topic(&range.topic, error)))?,
            }
        }
        Ok(all)
    }

    pub(super) fn ddl(&self) -> Ddl<'_> {
        Ddl { client: &self.client, stop: &self.stop, settings: &self.settings.clickhouse }
    }

    pub(super) fn plan(&self) -> ddl::Plan<'_> {
        ddl::Plan { settings: &self.settings.clickhouse, place: &self.client.place }
    }

    fn read_state(&mut self) -> Result<MirrorState, Failure> {
        if let Some(document) = self.store.read()? {
            let read = serde_json::from_str(&document);
            return read.map_err(|e| {
                Failure::Stop(format!("the mirror's document can't be read: {e}; {REMEDY_AGAIN}"))
            });
        }
        let id = self.client.rows::<String>(
            "make an id",
            Some(&self.stop),
            "SELECT toString(generateUUIDv4())",
        )?;
        let mirror_id = id.into_iter().next().unwrap_or_default();
        let state = MirrorState { mirror_id, ..MirrorState::default() };
        write(self.store.as_mut(), &state)?;
        Ok(state)
    }

    /// A server that has less than it acknowledged was emptied or restored from a backup: what it lacks is mirrored again.
    /// The topics of which it has anything.
    pub(super) fn heal(&self, state: &mut MirrorState) -> Result<BTreeSet<String>, Failure> {
        let sql = "SELECT topic, `partition`, argMax(mirror_id, batch), argMax(next, batch), argMax(snapshot, batch)
                   FROM mirror_progress GROUP BY topic, `partition` SETTINGS select_sequential_consistency = 1";
        type Row = (String, u32, String, u64, u64);
        let rows = self.client.rows::<Row>("ask how far it is", Some(&self.stop), sql)?;
        if let Some((topic, ..)) = rows.iter().find(|(_, _, id, ..)| *id != state.mirror_id) {
            return Err(Failure::Stop(format!(
                "{}: topic {topic} is mirrored by another data directory; give each a database of its own, or, to take \
                 this one over, empty its table mirror_progress: everything is mirrored again, and nothing twice",
                self.client.place
            )));
        }
        let mut behind = BTreeSet::new();
        for (topic, partitions) in &mut state.positions {
            for (partition, position) in partitions {
                let theirs = rows.iter().find(|row| row.0 == *topic && row.1 == *partition);
                let theirs =
                    theirs.map_or(Position::default(), |row| Position { next: row.3, snapshot: row.4 });
                if theirs.next < position.next {
                    tracing::warn!(
                        topic,
                        partition,
                        from = theirs.next,
                        "ClickHouse lacks what it had: mirrored again"
                    );
                    *position = theirs;
                    behind.insert(topic.clone());
                }
            }
        }
        behind.iter().for_each(|topic| state.give_up(topic));
        Ok(rows.into_iter().map(|(topic, ..)| topic).collect())
    }
}

pub(super) fn write(store: &mut dyn MirrorStore, state: &MirrorState) -> Result<(), Failure> {
    let document = serde_json::to_string(state).expect("the document is plain data");
    Ok(store.write(&document)?)
}
