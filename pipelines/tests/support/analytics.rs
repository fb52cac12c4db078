//! ClickHouse as analysts have it: the settings that load it, and questions to it.

use super::captured::clickhouse;
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
        let table = format!("facts_{}", topic.trim_start_matches("facts.").replace('-', "_"));
        let question = format!("SELECT count(), uniqExact(topic_partition, offset) FROM {database}.{table}");
        let records = records_in(topic);
        assert_eq!(clickhouse(&question), format!("{records}\t{records}"), "{topic}");
    }
}
