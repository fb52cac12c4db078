//! The mirror's thread: batch by batch, for as long as it runs.
//!
//! After a failure nothing that it remembers is believed: document, server and log are asked again.

use super::ddl::{self, Columns, Ddl};
use super::deliver::{Delivered, Delivery, last_change};
use super::evolve;
use super::gather::{Gather, Taken, clock_ms};
use super::names::{CURRENT, is_wanted, table_of};
use super::rows::{self, Pieces};
use super::state::{Batch, MirrorState, Position, Range, Tables};
use super::status::MirrorStatus;
use super::untold;
use super::{MirrorLog, MirrorSettings, MirrorSources, MirrorStore, REMEDY_AGAIN};
use crate::clickhouse::client::Client;
use crate::clickhouse::error::ClickHouseError;
use crate::clickhouse::status::LoaderState;
use runtime::killpoint;
use runtime::sink::SinkError;
use runtime::source::LogError;
use schemas::captured::Captured;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const RETRY_FIRST: Duration = Duration::from_millis(100);
/// How often topics are looked for.
const TOPICS_EVERY: Duration = Duration::from_secs(3);

/// What to do about a failure.
pub(super) enum Failure {
    Retry(String),
    Stop(String),
}

/// Whether there is more to do at once.
enum Pace {
    GoOn,
    CaughtUp,
}

/// The thread's own.
pub(super) struct Work {
    settings: MirrorSettings,
    client: Client,
    log: Box<dyn MirrorLog>,
    store: Box<dyn MirrorStore>,
    stop: Arc<AtomicBool>,
    status: Arc<MirrorStatus>,
    /// Absent until everything has been asked, and after each failure.
    open: Option<Open>,
}

/// What is believed while all goes well.
struct Open {
    state: MirrorState,
    gather: Gather,
    looked_at: Instant,
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
        Ok(Work { settings, client, log, store, stop, status, open: None })
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
        let settings = &self.settings.clickhouse;
        let (taken, more) = open.gather.read(settings.batch_rows_max, settings.batch_bytes_max)?;
        let nothing = taken.is_empty();
        if !nothing {
            self.load(&mut open.state, &taken)?;
        }
        self.status.change(|figures| {
            figures.topics = open.gather.topics().len() as u64;
            figures.lag = open.gather.lag();
            figures.problem = open.gather.problem();
            figures.state = match &figures.problem {
                Some(_) => LoaderState::Waiting,
                None if figures.lag == 0 => LoaderState::Idle,
                None => LoaderState::Loading,
            };
        });
        self.open = Some(open);
        Ok(if more && !nothing { Pace::GoOn } else { Pace::CaughtUp })
    }

    /// Asks document, server and log where they stand, and finishes what was begun.
    fn open(&mut self) -> Result<Open, Failure> {
        self.ddl().own_tables()?;
        let mut state = self.read_state()?;
        self.heal(&mut state)?;
        let there = self.ddl().columns()?;
        // The pending batch's among them: they were recorded with it.
        for (topic, table) in &state.tables {
            self.ddl().bring_up(topic, table, &there)?;
        }
        let gather = self.gather(&state)?;
        // A topic that is no longer mirrored takes its batch with it: the others are read again from their positions.
        let is_read = |range: &Range| gather.topics().contains(&range.topic);
        state.pending = state.pending.filter(|batch| batch.ranges.iter().all(is_read));
        if let Some(batch) = state.pending.as_mut().filter(|batch| batch.attempt > 1) {
            // Only the first attempt's rows are looked for after they were sent: a later one needs a token never used.
            batch.attempt += 1;
            write(self.store.as_mut(), &state)?;
        }
        let mut open = Open { state, gather, looked_at: Instant::now() };
        if let Some(batch) = open.state.pending.clone() {
            let again = |range: &Range| open.gather.read_again(range);
            let taken: Vec<Taken> = batch.ranges.iter().map(again).collect::<Result<_, _>>()?;
            self.status.change(|figures| figures.resent += 1);
            self.deliver(&mut open.state, &taken, true)?;
            open.gather.restart(&open.state);
        }
        Ok(open)
    }

    fn ddl(&self) -> Ddl<'_> {
        Ddl { client: &self.client, stop: &self.stop, settings: &self.settings.clickhouse }
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
    fn heal(&self, state: &mut MirrorState) -> Result<(), Failure> {
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
                    state.pending = None;
                }
            }
        }
        Ok(())
    }

    fn gather(&mut self, state: &MirrorState) -> Result<Gather, Failure> {
        let topics = self.wanted_topics()?;
        let reader = self.log.reader(&topics)?;
        let mut gather = Gather::new(reader, topics);
        gather.restart(state);
        Ok(gather)
    }

    /// Topics of tables, in a fixed order; two that come to one name are an operator's to tell apart.
    fn wanted_topics(&mut self) -> Result<Vec<String>, Failure> {
        let mut topics: Vec<String> = self.log.topics()?;
        topics.retain(|topic| is_wanted(&self.settings.topics, topic));
        topics.sort();
        for (n, topic) in topics.iter().enumerate() {
            let name = table_of(topic);
            if let Some(other) = topics[..n].iter().find(|other| table_of(other) == name) {
                return Err(Failure::Stop(format!(
                    "topics {other} and {topic} would both be the table `{name}`; narrow mirror.topics"
                )));
            }
            // A table must not be taken for another one's view.
            let is_view = |other: &String| format!("{}{CURRENT}", table_of(other)) == name;
            if ddl::is_own(&name) || topics.iter().any(is_view) {
                return Err(Failure::Stop(format!(
                    "topic {topic}: the mirror calls a table or view of its own `{name}`; narrow mirror.topics"
                )));
            }
        }
        Ok(topics)
    }

    fn look_for_topics(&mut self, mut open: Open) -> Result<Open, Failure> {
        open.looked_at = Instant::now();
        if self.wanted_topics()? != open.gather.topics() {
            open.gather = self.gather(&open.state)?;
        }
        Ok(open)
    }

    /// Records and sends what is in hand. Its tables are recorded with it, before the server's are changed: a server that is
    /// ahead of the document would be taken back, and what it had in new columns would be lost.
    fn load(&mut self, state: &mut MirrorState, taken: &[Taken]) -> Result<(), Failure> {
        let before = std::mem::take(&mut state.tables);
        state.tables = self.followed(&before, taken)?;
        let ranges = taken.iter().map(|taken| taken.range.clone()).collect();
        state.batch += 1;
        state.pending = Some(Batch { attempt: 1, ranges });
        killpoint::reach("mirror.before_plan");
        write(self.store.as_mut(), state)?;
        killpoint::reach("mirror.after_plan");
        self.change_tables(&before, &state.tables)?;
        self.deliver(state, taken, false)
    }

    /// Sends the pending batch until it is there, and notes that it is.
    fn deliver(&mut self, state: &mut MirrorState, taken: &[Taken], doubtful: bool) -> Result<(), Failure> {
        let mut after = state.clone();
        let all = self.pieces(state, &mut after, taken)?;
        let all_of: Vec<(&Range, &Pieces)> = taken.iter().map(|t| &t.range).zip(&all).collect();
        loop {
            let batch = state.pending.clone().expect("a batch is recorded before it is sent");
            let delivery = Delivery { client: &self.client, stop: &self.stop, state, batch: &batch };
            if !doubtful {
                delivery.send_all(&all_of)?;
            } else if delivery.send_again(&all_of)? == Delivered::Lost {
                tracing::warn!(
                    batch = state.batch,
                    "ClickHouse lacks rows that it dropped as known: they are sent again"
                );
                state.pending = Some(Batch { attempt: batch.attempt + 1, ..batch });
                write(self.store.as_mut(), state)?;
                continue;
            }
            killpoint::reach("mirror.before_progress");
            delivery.tell_progress(taken, &after)?;
            break;
        }
        after.pending = None;
        killpoint::reach("mirror.before_done");
        write(self.store.as_mut(), &after)?;
        killpoint::reach("mirror.after_done");
        *state = after;
        self.count(taken, &all);
        Ok(())
    }

    /// The tables as this batch needs them.
    fn followed(&self, before: &Tables, taken: &[Taken]) -> Result<Tables, Failure> {
        let mut after = before.clone();
        for taken in taken {
            for record in &taken.records {
                let Captured::Rows { schema, rows } = &record.body else { continue };
                let Some(position) = rows.first().map(|row| row.position) else { continue };
                let topic = &taken.range.topic;
                let Some(table) = after.get_mut(topic) else {
                    after.insert(topic.clone(), evolve::first(table_of(topic), schema, position));
                    continue;
                };
                evolve::follow(table, schema, position).map_err(|changed| {
                    Failure::Stop(format!(
                        "{}, table {}: the source's key changed from ({}) to ({}); {REMEDY_AGAIN}",
                        self.client.place,
                        table.name,
                        changed.from.join(", "),
                        changed.to.join(", ")
                    ))
                })?;
            }
        }
        Ok(after)
    }

    /// Brings up those on the server that changed.
    fn change_tables(&self, before: &Tables, after: &Tables) -> Result<(), Failure> {
        let mut there: Option<Columns> = None;
        for (topic, table) in after {
            let same = before.get(topic).is_some_and(|before| before.columns == table.columns);
            if !same {
                let there = match &there {
                    Some(there) => there,
                    None => there.insert(self.ddl().columns()?),
                };
                killpoint::reach("mirror.before_table");
                self.ddl().bring_up(topic, table, there)?;
            }
        }
        Ok(())
    }

    /// The inserts of each range; positions move in `after`.
    fn pieces(
        &self,
        state: &MirrorState,
        after: &mut MirrorState,
        taken: &[Taken],
    ) -> Result<Vec<Pieces>, Failure> {
        let mut all = Vec::new();
        for taken in taken {
            let Range { topic, partition, .. } = &taken.range;
            let (rows, position) = rows::rows_of(taken, state.position(topic, *partition));
            let table = after.tables.get(topic);
            let found = match table {
                Some(table) => untold::find(&self.client, &self.stop, table, &rows)?,
                None => untold::Found::default(),
            };
            if found.missing > 0 {
                tracing::warn!(
                    topic,
                    values = found.missing,
                    "values that were not told are nowhere to be found: NULL"
                );
                self.status.change(|figures| figures.missing += found.missing);
            }
            let pieces = rows::pieces(taken, table, &rows, &found).map_err(|why| {
                Failure::Stop(format!(
                    "topic {topic}, partition {partition}, {why}; report this, with the table's definition"
                ))
            })?;
            all.push(pieces);
            after.positions.entry(topic.clone()).or_default().insert(*partition, position);
        }
        Ok(all)
    }

    fn count(&self, taken: &[Taken], all: &[Pieces]) {
        let newest = taken.iter().map(last_change).map(|(_, ms)| ms).max().unwrap_or(0);
        let rejected: u64 = all.iter().map(|pieces| pieces.rejected).sum();
        if rejected > 0 {
            tracing::warn!(rejected, "records that can't be read lie in mirror_rejected, with their reasons");
        }
        self.status.change(|figures| {
            figures.batches += 1;
            figures.rows += all.iter().flat_map(|pieces| &pieces.all).map(|piece| piece.rows).sum::<u64>();
            figures.rejected += rejected;
            figures.clamped += all.iter().map(|pieces| pieces.clamped).sum::<u64>();
            figures.behind_ms = clock_ms() - newest;
        });
    }
}

fn write(store: &mut dyn MirrorStore, state: &MirrorState) -> Result<(), Failure> {
    let document = serde_json::to_string(state).expect("the document is plain data");
    Ok(store.write(&document)?)
}

impl From<SinkError> for Failure {
    fn from(error: SinkError) -> Self {
        match error {
            SinkError::Retry { .. } => Failure::Retry(error.to_string()),
            _ => Failure::Stop(error.to_string()),
        }
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Retry(_) => Failure::Retry(error.to_string()),
            LogError::Stop { .. } => Failure::Stop(error.to_string()),
        }
    }
}

impl From<ClickHouseError> for Failure {
    fn from(error: ClickHouseError) -> Self {
        if error.is_passing() { Failure::Retry(error.to_string()) } else { Failure::Stop(error.to_string()) }
    }
}
