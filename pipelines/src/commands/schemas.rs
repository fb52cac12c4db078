//! `tombola schemas`: the contracts of every record, to write producers and consumers by.

use super::place::Place;
use super::{Failure, output};
use crate::config::LogKind;
use crate::stores::{StoreError, kafka};
use connectors::kafka::{ConfluentRegistry, Standing};
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
  tombola schemas place_order     its contract
  tombola schemas check           against the registry of the settings (log.kind = \"kafka\")
  tombola schemas apply           registers there what is missing

Exit codes: 0 done; 1 `check` found something missing or incompatible, or it failed; 2 bad arguments or settings.")]
#[command(args_conflicts_with_subcommands = true)]
pub struct Schemas {
    #[command(subcommand)]
    what: Option<What>,
    /// Print this record's contract.
    record: Option<String>,
    /// Print the list as one JSON array.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Say how each of our contracts stands against the schema registry; change nothing.
    Check {
        #[command(flatten)]
        place: Place,
    },
    /// Register what is missing; an incompatible contract is refused, and nothing is changed then.
    Apply {
        #[command(flatten)]
        place: Place,
    },
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
        match &self.what {
            Some(What::Check { place }) => return check(place),
            Some(What::Apply { place }) => return apply(place),
            None => {}
        }
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

fn registry(place: &Place) -> Result<ConfluentRegistry, Failure> {
    let config = place.load()?;
    if config.log.kind == LogKind::Embedded {
        return Err(Failure::Usage(
            "the embedded registry takes our contracts by itself; set log.kind = \"kafka\" for one of your own"
                .to_owned(),
        ));
    }
    Ok(kafka::registry(&config.kafka)?)
}

fn check(place: &Place) -> Result<(), Failure> {
    let states = registry(place)?.check().map_err(StoreError::from)?;
    states.iter().for_each(|state| output::print(&format!("{state}\n")));
    let fine = states.iter().all(|state| state.standing == Standing::Registered);
    if fine { Ok(()) } else { Err(Failure::Reported) }
}

fn apply(place: &Place) -> Result<(), Failure> {
    let registry = registry(place)?;
    for state in registry.check().map_err(StoreError::from)? {
        output::print(&format!("{state}\n"));
    }
    registry.register_own().map_err(StoreError::from)?;
    output::print("every contract is registered\n");
    Ok(())
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
