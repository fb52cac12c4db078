//! What the server has, asked before anything is sent: is it the one our plans are about, and as we left it?

use super::client::{Client, quoted};
use super::error::{ClickHouseError, Result};
use super::plan::PlanState;
use super::tables::of_topic;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

/// What speaks against loading.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Objection {
    /// Its facts follow another loader's plans.
    Foreign { theirs: String },
    /// Our plans are under way, and it knows nothing of them.
    Emptied,
    /// It has offsets that our plans don't know: they are older than it is.
    Ahead { topic: String, partition: u32, offset: u64 },
    /// It lacks offsets that it has acknowledged.
    Behind { topic: String, partition: u32, offset: u64 },
}

/// Checks the server against the plans, and enters the loader where it is new here.
pub(super) fn check(client: &Client, stop: &AtomicBool, pipeline: &str, state: &PlanState) -> Result<()> {
    let find = format!("SELECT DISTINCT loader_id FROM loaders WHERE pipeline = {}", quoted(pipeline));
    let find = || client.rows::<String>("read its loaders", Some(stop), &find);
    let mut loaders = find()?;
    if loaders.is_empty() && state.last == 0 {
        let (pipeline, id) = (quoted(pipeline), quoted(&state.loader_id));
        let enter = format!(
            "INSERT INTO loaders (pipeline, loader_id) SETTINGS async_insert = 0 VALUES ({pipeline}, {id})"
        );
        client.run("enter this loader", Some(stop), &enter)?;
        loaders = find()?;
    }
    let newest = newest_offsets(client, stop, state)?;
    match object(&loaders, &newest, state) {
        None => Ok(()),
        Some(objection) => Err(objection.into_error(client, pipeline)),
    }
}

/// The newest offset the server has of each partition we know.
fn newest_offsets(client: &Client, stop: &AtomicBool, state: &PlanState) -> Result<BTreeMap<String, u64>> {
    let mut topics: Vec<&str> = state.positions.iter().map(|(topic, ..)| topic.as_str()).collect();
    topics.extend(state.pending.iter().flat_map(|batch| &batch.ranges).map(|range| range.topic.as_str()));
    topics.sort_unstable();
    topics.dedup();
    let mut newest = BTreeMap::new();
    for table in topics.into_iter().filter_map(of_topic) {
        let sql = format!(
            "SELECT toString(topic_partition), max(offset) FROM {} GROUP BY topic_partition
             SETTINGS select_sequential_consistency = 1",
            table.table
        );
        newest.extend(client.rows::<(String, u64)>("ask for the newest facts", Some(stop), &sql)?);
    }
    Ok(newest)
}

fn object(loaders: &[String], newest: &BTreeMap<String, u64>, state: &PlanState) -> Option<Objection> {
    if let Some(theirs) = loaders.iter().find(|id| **id != state.loader_id) {
        return Some(Objection::Foreign { theirs: theirs.clone() });
    }
    if loaders.is_empty() {
        return Some(Objection::Emptied);
    }
    ends(state).into_iter().find_map(|((topic, partition), (done, planned))| {
        // None at all: the months it lay in have been dropped.
        let offset = *newest.get(&format!("{topic}/{partition}"))?;
        let place = (topic.to_owned(), partition);
        let (topic, partition) = place;
        match offset + 1 {
            end if end > planned => Some(Objection::Ahead { topic, partition, offset }),
            end if end < done => Some(Objection::Behind { topic, partition, offset }),
            _ => None,
        }
    })
}

/// Of each partition, where what is done ends, and where what is planned ends.
fn ends(state: &PlanState) -> BTreeMap<(&str, u32), (u64, u64)> {
    let done = state.positions.iter().map(|(topic, partition, next)| ((topic.as_str(), *partition), *next));
    let mut ends: BTreeMap<_, _> = done.map(|(place, next)| (place, (next, next))).collect();
    for range in state.pending.iter().flat_map(|batch| &batch.ranges) {
        ends.entry((range.topic.as_str(), range.partition)).or_default().1 = range.to;
    }
    ends
}

impl Objection {
    fn into_error(self, client: &Client, pipeline: &str) -> ClickHouseError {
        let (problem, remedy) = match self {
            Objection::Foreign { theirs } => (
                format!("its facts of the pipeline `{pipeline}` were loaded by another loader ({theirs})"),
                "give each data directory a database of its own, or restore the data directory that belongs to it",
            ),
            Objection::Emptied => (
                format!("it knows nothing of the pipeline `{pipeline}`, which has loaded into it before"),
                "check clickhouse.url and clickhouse.database; if it was emptied, restore it from a backup",
            ),
            Objection::Ahead { topic, partition, offset } => (
                format!(
                    "it has offset {offset} of topic {topic}, partition {partition}, which was never planned"
                ),
                "the data directory was restored from before that: restore ClickHouse from the same moment",
            ),
            Objection::Behind { topic, partition, offset } => (
                format!(
                    "it has topic {topic}, partition {partition} only up to offset {offset}, after more was acknowledged"
                ),
                "it has lost facts: restore it together with the data directory, from one moment",
            ),
        };
        ClickHouseError::Stop { place: client.place.clone(), problem, remedy: remedy.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Batch, BatchRange};
    use super::*;

    /// Done up to 10, 10 to 15 pending; the server's newest is `newest`.
    fn check(loader: &[&str], newest: Option<u64>, expected: Option<Objection>) {
        let range = BatchRange {
            topic: "facts.orders".into(),
            partition: 0,
            from: 10,
            to: 15,
            rows: 5,
            insert: None,
        };
        let batch = Batch { number: 3, through: runtime::Epoch(7), attempt: 1, ranges: vec![range] };
        let state = PlanState {
            loader_id: "ours".to_owned(),
            last: 3,
            positions: vec![("facts.orders".to_owned(), 0, 10)],
            pending: Some(batch),
        };
        let loaders: Vec<String> = loader.iter().map(|id| (*id).to_owned()).collect();
        let newest = newest.map(|offset| ("facts.orders/0".to_owned(), offset)).into_iter().collect();
        assert_eq!(object(&loaders, &newest, &state), expected);
    }

    #[test]
    fn a_server_that_has_the_batch_or_not_is_loaded_into() {
        check(&["ours"], Some(9), None);
        check(&["ours"], Some(14), None);
    }

    #[test]
    fn months_that_were_dropped_are_no_objection() {
        check(&["ours"], None, None);
    }

    #[test]
    fn a_server_of_other_plans_or_none_is_left_alone() {
        check(&["theirs"], Some(9), Some(Objection::Foreign { theirs: "theirs".to_owned() }));
        check(&["ours", "theirs"], Some(9), Some(Objection::Foreign { theirs: "theirs".to_owned() }));
        check(&[], Some(9), Some(Objection::Emptied));
    }

    #[test]
    fn a_server_that_has_more_or_less_than_was_left_there_is_left_alone() {
        let (topic, partition) = ("facts.orders".to_owned(), 0);
        check(&["ours"], Some(15), Some(Objection::Ahead { topic: topic.clone(), partition, offset: 15 }));
        check(&["ours"], Some(8), Some(Objection::Behind { topic, partition, offset: 8 }));
    }
}
