//! One batch's way: its tables are followed, it is recorded, tables are changed, its inserts sent, its progress told.
//!
//! What is one table's fault takes that table out of the batch, at whichever step; the others go on.

use super::REMEDY_AGAIN;
use super::deliver::{Delivered, Delivery, Parcel, Refusal, last_change};
use super::evolve;
use super::fault::{Blame, Failure, blame, of_table, of_topic, told};
use super::gather::{Gather, Taken, clock_ms};
use super::names::table_of;
use super::notes;
use super::park::{REFUSED_MAX, Whose, in_a_row};
use super::rows::{self, Kind, Pieces};
use super::state::{Batch, MirrorState, Range, Table, Tables};
use super::untold;
use super::work::{Work, write};
use runtime::killpoint;
use schemas::captured::Captured;
use std::collections::{BTreeMap, BTreeSet};

/// A recorded batch on its way.
struct Sending {
    taken: Vec<Taken>,
    /// It may have been sent before.
    doubtful: bool,
    /// Tokens of inserts that are there.
    there: BTreeSet<String>,
}

impl Sending {
    /// Goes on with what is still recorded, as it is recorded.
    fn keep(&mut self, batch: Option<&Batch>) {
        self.taken.retain_mut(|taken| {
            let range = batch.and_then(|batch| batch.range(&taken.range.topic, taken.range.partition));
            range.inspect(|range| taken.range = (*range).clone()).is_some()
        });
    }
}

impl Work {
    /// Records and sends what is in hand. Its tables are recorded with it, before the server's are changed: a server that is
    /// ahead of the document would be taken back, and what it had in new columns would be lost.
    pub(super) fn load(&mut self, state: &mut MirrorState, mut taken: Vec<Taken>) -> Result<(), Failure> {
        let before = state.tables.clone();
        let topics: BTreeSet<String> = taken.iter().map(|taken| taken.range.topic.clone()).collect();
        for topic in &topics {
            let of_it = taken.iter().filter(|taken| taken.range.topic == *topic);
            match followed(before.get(topic), topic, of_it) {
                Ok(Some(table)) => {
                    state.tables.insert(topic.clone(), table);
                }
                Ok(None) => {}
                Err(why) => {
                    self.park(state, topic, &format!("{}, {why}", self.client.place))?;
                    taken.retain(|taken| taken.range.topic != *topic);
                }
            }
        }
        if taken.is_empty() {
            return Ok(());
        }
        let ranges = taken.iter().map(|taken| taken.range.clone()).collect();
        state.batch += 1;
        state.pending = Some(Batch { attempt: 1, ranges });
        killpoint::reach("mirror.before_plan");
        write(self.store.as_mut(), state)?;
        killpoint::reach("mirror.after_plan");
        self.change_tables(&before, state)?;
        self.deliver(state, Whose::All, taken, false)
    }

    /// Brings up those on the server that changed.
    fn change_tables(&mut self, before: &Tables, state: &mut MirrorState) -> Result<(), Failure> {
        let same = |topic: &String, table: &Table| {
            before.get(topic).is_some_and(|before| before.columns == table.columns)
        };
        let changed: Vec<String> = state
            .tables
            .iter()
            .filter(|(topic, table)| !same(topic, table))
            .map(|(topic, _)| topic.clone())
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        let there = self.ddl().columns()?;
        for topic in changed {
            killpoint::reach("mirror.before_table");
            let brought = self.bring_up(&topic, &state.tables[&topic], &there);
            self.spare(state, brought)?;
        }
        Ok(())
    }

    /// Parks a table at fault, and goes on.
    pub(super) fn spare(
        &mut self,
        state: &mut MirrorState,
        outcome: Result<(), Failure>,
    ) -> Result<(), Failure> {
        match outcome {
            Err(Failure::Table { topic, reason }) => self.park(state, &topic, &reason),
            other => other,
        }
    }

    /// Sends a recorded batch until it is there, and notes that it is. Of the pending one, tables at fault are
    /// parked; the fault of a parked one is told.
    pub(super) fn deliver(
        &mut self,
        state: &mut MirrorState,
        whose: Whose<'_>,
        taken: Vec<Taken>,
        doubtful: bool,
    ) -> Result<(), Failure> {
        let mut sending = Sending { taken, doubtful, there: BTreeSet::new() };
        loop {
            sending.keep(state.recorded(whose).map(|(_, batch)| batch));
            if sending.taken.is_empty() {
                return Ok(());
            }
            match self.send(state, whose, &mut sending) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(Failure::Table { topic, reason }) if whose == Whose::All => {
                    self.park(state, &topic, &reason)?;
                }
                Err(other) => return Err(other),
            }
        }
    }

    /// Sends what isn't there yet; whether all of it is there now.
    fn send(
        &mut self,
        state: &mut MirrorState,
        whose: Whose<'_>,
        sending: &mut Sending,
    ) -> Result<bool, Failure> {
        let mut after = state.clone();
        let all = self.pieces(state, &mut after, &sending.taken)?;
        // What is refused is told once everything else is there: it might still be the table's fault.
        for refused in [false, true] {
            let delivery = self.delivery(state, whose);
            let mut parcels = parcels(&sending.taken, &all, refused);
            parcels.retain(|parcel| !sending.there.contains(&delivery.token(*parcel)));
            let Delivered { there, refused, lost } = match sending.doubtful {
                true => delivery.send_again(&parcels)?,
                false => delivery.send_all(&parcels)?,
            };
            sending.there.extend(there);
            if lost {
                tracing::warn!(
                    batch = delivery.number,
                    "ClickHouse lacks rows that it dropped as known: they are sent again"
                );
                sending.there.clear();
                self.raise(state, whose)?;
                return Ok(false);
            }
            if !refused.is_empty() {
                self.take_up(state, whose, refused)?;
                return Ok(false);
            }
        }
        killpoint::reach("mirror.before_progress");
        self.delivery(state, whose).tell_progress(&sending.taken, &after)?;
        self.finish(state, after, whose, &sending.taken, &all)?;
        Ok(true)
    }

    fn delivery<'a>(&'a self, state: &'a MirrorState, whose: Whose<'_>) -> Delivery<'a> {
        let (number, batch) = state.recorded(whose).expect("a batch is recorded before it is sent");
        Delivery { client: &self.client, stop: &self.stop, mirror_id: &state.mirror_id, number, batch }
    }

    /// From now on under tokens that were never used.
    pub(super) fn raise(&mut self, state: &mut MirrorState, whose: Whose<'_>) -> Result<(), Failure> {
        if let Some(batch) = state.recorded_mut(whose) {
            batch.attempt += 1;
        }
        write(self.store.as_mut(), state)
    }

    /// Inserts were refused: those that hold values at fault are cut, and that is recorded; else it is their table's fault.
    fn take_up(
        &mut self,
        state: &mut MirrorState,
        whose: Whose<'_>,
        mut refusals: Vec<Refusal>,
    ) -> Result<(), Failure> {
        // Whichever came first, the same is told of the same.
        refusals
            .sort_by(|a, b| (&a.topic, a.partition, &a.offsets).cmp(&(&b.topic, b.partition, &b.offsets)));
        let mut inserts: BTreeMap<String, usize> = BTreeMap::new();
        refusals.iter().for_each(|refusal| *inserts.entry(refusal.topic.clone()).or_default() += 1);
        let (mut at_fault, mut cut) = (None, false);
        for Refusal { topic, partition, kind, offsets, error } in refusals {
            let Some(range) = state.recorded_mut(whose).and_then(|batch| batch.range_mut(&topic, partition))
            else {
                continue;
            };
            let before = self.in_a_row.get(&topic).copied().unwrap_or(0);
            let many = before + range.refused.len() + inserts[&topic] > REFUSED_MAX;
            let reason = told(&error);
            match kind {
                Kind::Rows(insert) if blame(&error) == Blame::Record && !many => {
                    range.narrow(insert, &offsets, &reason);
                    cut = true;
                }
                _ => {
                    let several =
                        if many { "more records are refused than single ones would be: " } else { "" };
                    let reason = format!("{several}{reason}");
                    at_fault.get_or_insert(Failure::Table { topic, reason });
                }
            }
        }
        if cut {
            write(self.store.as_mut(), state)?;
            killpoint::reach("mirror.after_cut");
        }
        at_fault.map_or(Ok(()), Err)
    }

    /// All of it is there: notes that.
    fn finish(
        &mut self,
        state: &mut MirrorState,
        mut after: MirrorState,
        whose: Whose<'_>,
        taken: &[Taken],
        all: &[Pieces],
    ) -> Result<(), Failure> {
        if whose == Whose::All {
            after.pending = None;
        }
        for (taken, pieces) in taken.iter().zip(all) {
            let Range { topic, refused, .. } = &taken.range;
            in_a_row(&mut self.in_a_row, topic, refused.len(), pieces.has_rows());
            if let Some(table) = after.tables.get_mut(topic) {
                table.dropping.clear();
            }
            self.cured(&mut after, topic);
        }
        killpoint::reach("mirror.before_done");
        write(self.store.as_mut(), &after)?;
        killpoint::reach("mirror.after_done");
        *state = after;
        self.count(taken, all);
        Ok(())
    }

    /// The inserts of each range; positions move in `after`.
    fn pieces(
        &mut self,
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
                Some(table) => untold::find(&self.client, &self.stop, table, &rows)
                    .map_err(|error| of_table(topic, error))?,
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
            let mut pieces = rows::pieces(taken, table, &rows, &found).map_err(|why| Failure::Table {
                topic: topic.clone(),
                reason: format!("partition {partition}: {why}; report this, with the table's definition"),
            })?;
            self.add_rejected(taken, &mut pieces)?;
            all.push(pieces);
            after.positions.entry(topic.clone()).or_default().insert(*partition, position);
        }
        Ok(all)
    }

    /// The records that can't be written, as they came: their bytes are read again, from the log.
    fn add_rejected(&mut self, taken: &Taken, pieces: &mut Pieces) -> Result<(), Failure> {
        let range = &taken.range;
        let wanted: BTreeSet<u64> = pieces.unfit.keys().chain(range.refused.keys()).copied().collect();
        let mut bytes = BTreeMap::new();
        if !wanted.is_empty() {
            let topics = [range.topic.clone()];
            let mut gather = Gather::new(self.log.bytes(&topics)?, topics.into());
            bytes = gather.read_some(range, &wanted).map_err(|error| of_topic(&range.topic, error))?;
        }
        notes::add_rejected(pieces, taken, &bytes);
        Ok(())
    }

    fn count(&self, taken: &[Taken], all: &[Pieces]) {
        let newest = taken.iter().map(last_change).map(|(_, ms)| ms).max().unwrap_or(0);
        let rejected: u64 = all.iter().map(|pieces| pieces.rejected).sum();
        if rejected > 0 {
            tracing::warn!(
                rejected,
                "records that can't be read or written lie in mirror_rejected, with their reasons and bytes; once \
                 their cause is mended, change their rows at the source: the change brings them whole"
            );
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

/// The inserts of ranges: those of records that were refused, or the others.
fn parcels<'a>(taken: &'a [Taken], all: &'a [Pieces], refused: bool) -> Vec<Parcel<'a>> {
    let of_range = |(taken, pieces): (&'a Taken, &'a Pieces)| {
        let wanted = pieces.all.iter().filter(move |piece| (piece.kind == Kind::Refused) == refused);
        wanted.map(move |piece| Parcel { range: &taken.range, piece })
    };
    taken.iter().zip(all).flat_map(of_range).collect()
}

/// A topic's table as this batch needs it; none where it has no rows yet. Else what can't be followed.
fn followed<'a>(
    before: Option<&Table>,
    topic: &str,
    taken: impl Iterator<Item = &'a Taken>,
) -> Result<Option<Table>, String> {
    let mut after = before.cloned();
    for record in taken.flat_map(|taken| &taken.records) {
        let Captured::Rows { schema, rows } = &record.body else { continue };
        let Some(position) = rows.first().map(|row| row.position) else { continue };
        let Some(table) = &mut after else {
            after = Some(evolve::first(table_of(topic), schema, position));
            continue;
        };
        evolve::follow(table, schema, position).map_err(|changed| {
            let [from, to] = [changed.from, changed.to].map(|key| key.join(", "));
            let name = &table.name;
            format!("table {name}: the source's key changed from ({from}) to ({to}); {REMEDY_AGAIN}")
        })?;
    }
    Ok(after)
}
