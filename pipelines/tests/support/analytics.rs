//! ClickHouse as analysts have it: the settings that load it, and questions to it.

use super::captured::{clickhouse, try_clickhouse};
use super::services::{Services, env, records_in, script, well};
use schemas::Fact;
use std::path::Path;

/// An empty database on a server that runs, and the settings of a data directory whose facts go there.
pub fn empty(_turn: &Services, dir: &Path, database: &str) -> String {
    well(script(&["start", "clickhouse"]));
    forget(database);
    settings(dir, database)
}

/// The settings of a data directory whose facts go into this database.
pub fn settings(dir: &Path, database: &str) -> String {
    let password = dir.join("clickhouse.password");
    std::fs::write(&password, env("CLICKHOUSE_PASSWORD")).expect("the directory can be written");
    format!(
        "[analytics]\nkind = \"clickhouse\"\n[clickhouse]\nurl = \"{}\"\nuser = \"{}\"\ndatabase = \"{database}\"\n\
         password_file = \"{}\"\n",
        env("CLICKHOUSE_URL"),
        env("CLICKHOUSE_USER"),
        password.display()
    )
}

/// Takes a database away.
pub fn forget(database: &str) {
    clickhouse(&format!("DROP DATABASE IF EXISTS {database} SYNC"));
}

/// ClickHouse has every fact once that a consumer of committed records finds.
pub fn assert_loaded_once(database: &str) {
    for topic in Fact::TOPICS {
        let (records, loaded) = (records_in(topic), loaded(database, topic));
        assert_eq!(loaded, Ok([records; 2]), "{topic}");
    }
}

/// Whether it has all of a topic while more may come, and says so; a panic where it has some of it twice.
pub fn has_all_once(database: &str, topic: &str) -> bool {
    // One that has just been started may not have its tables at hand.
    let Ok([rows, places]) = loaded(database, topic).inspect_err(|problem| eprintln!("{topic}: {problem}"))
    else {
        return false;
    };
    assert_eq!(rows, places, "rows and places of {topic}");
    rows >= records_in(topic)
}

/// Rows, and places in the log that they come from.
fn loaded(database: &str, topic: &str) -> Result<[usize; 2], String> {
    let table = format!("facts_{}", topic.trim_start_matches("facts.").replace('-', "_"));
    let question = format!("SELECT count(), uniqExact(topic_partition, offset) FROM {database}.{table}");
    let answer = try_clickhouse(&question)?;
    let numbers = answer.split_once('\t').expect("two columns");
    Ok([numbers.0, numbers.1].map(|number| number.parse().expect("a number")))
}
