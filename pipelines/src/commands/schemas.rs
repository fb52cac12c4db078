//! `tombola schemas`: the contracts of every record, to write producers and consumers by.

use super::{Failure, output};
use schemas::Record;

/// List the contracts of all records, or print one of them (Avro, .avsc).
///
/// Commands and facts travel as Avro in the Confluent wire format (a zero byte, four bytes of schema id, the
/// record); in NDJSON the same field names are used and `type` names the record. Reference tables come as
/// Debezium change events in JSON.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tombola schemas                 every record, its topic and its id in the embedded registry
  tombola schemas place_order     its contract")]
pub struct Schemas {
    /// Print this record's contract.
    record: Option<String>,
    /// Print the list as one JSON array.
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Line {
    id: u32,
    record: &'static str,
    topic: &'static str,
    subject: String,
}

impl Schemas {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        if let Some(name) = &self.record {
            output::print(find(name)?.avsc());
            return Ok(());
        }
        let ids = schemas::SchemaIds::fresh();
        let lines: Vec<Line> = Record::ALL
            .iter()
            .map(|&r| Line { id: ids.of(r), record: r.as_str(), topic: r.topic(), subject: r.subject() })
            .collect();
        if self.json {
            output::print_json(&lines);
        } else {
            output::print(&table(lines));
        }
        Ok(())
    }
}

fn find(name: &str) -> Result<Record, Failure> {
    let named = |record: &&Record| record.as_str() == name || record.full_name() == name;
    Record::ALL.iter().find(named).copied().ok_or_else(|| {
        let known: Vec<&str> = Record::ALL.iter().map(|r| r.as_str()).collect();
        Failure::Usage(format!("there is no record {name}; there are {}", known.join(", ")))
    })
}

fn table(lines: Vec<Line>) -> String {
    let rows: Vec<Vec<String>> = lines
        .into_iter()
        .map(|l| vec![l.id.to_string(), l.record.to_owned(), l.topic.to_owned(), l.subject])
        .collect();
    output::table(&["id", "record", "topic", "subject"], &rows)
}
