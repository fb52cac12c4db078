//! `tombola dead-letters`: records nothing could be done with: look at them, and send them in again.

use super::place::Place;
use super::{Failure, output};
use crate::retry::{self, RecordId};
use schemas::Value;
use std::collections::HashSet;

/// Look at records nothing could be done with, and send them in again once their cause is mended.
///
/// A dead letter's id is TOPIC/PARTITION/OFFSET of its record. Its bytes stay in the log, as they came.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tombola dead-letters list
  tombola dead-letters show commands.orders/0/1234
  tombola dead-letters retry commands.orders/0/1234
  tombola dead-letters retry --all")]
pub struct DeadLetters {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List them, newest first.
    List {
        #[command(flatten)]
        place: Place,
        /// Print one JSON object per dead letter.
        #[arg(long)]
        json: bool,
        /// Those that were retried, too.
        #[arg(long)]
        all: bool,
        /// Most dead letters listed.
        #[arg(long, default_value_t = 1_000, value_name = "ROWS")]
        limit: usize,
    },
    /// Show one whole: why, when, its key and its bytes.
    Show {
        /// TOPIC/PARTITION/OFFSET
        id: String,
        #[command(flatten)]
        place: Place,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Append the original bytes to their topic once more. The same id again does nothing.
    Retry {
        /// TOPIC/PARTITION/OFFSET of each
        #[arg(required_unless_present = "all")]
        ids: Vec<String>,
        /// Every dead letter that was not retried yet.
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        #[command(flatten)]
        place: Place,
    },
}

/// A row of `dead_letters`, its status as of the retries.
#[derive(serde::Serialize)]
struct Letter {
    id: String,
    reason: String,
    first_seen: String,
    attempts: i64,
    status: &'static str,
    payload: String,
}

impl DeadLetters {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        match self.what {
            What::List { place, json, all, limit } => list(&place, json, all, limit),
            What::Show { id, place, json } => show(&place, &id, json),
            What::Retry { ids, all, place } => retry_ids(&place, ids, all),
        }
    }
}

fn list(place: &Place, json: bool, all: bool, limit: usize) -> Result<(), Failure> {
    let mut letters = letters(place, "", limit)?;
    letters.retain(|letter| all || letter.status == "open");
    letters.truncate(limit);
    if json {
        letters.iter().for_each(output::print_json);
        return Ok(());
    }
    let rows: Vec<Vec<String>> =
        letters.into_iter().map(|l| vec![l.id, l.first_seen, l.status.to_owned(), l.reason]).collect();
    output::print(&output::table(&["id", "first seen", "status", "reason"], &rows));
    Ok(())
}

fn show(place: &Place, id: &str, json: bool) -> Result<(), Failure> {
    let id = RecordId::parse(id)?;
    let found = letters(place, &format!("WHERE id = '{}'", id.to_string().replace('\'', "''")), 1)?;
    let letter = found.into_iter().next().ok_or_else(|| unknown(&id))?;
    if json {
        output::print_json(&letter);
        return Ok(());
    }
    output::print(&format!(
        "id          {}\nfirst seen  {}\nattempts    {}\nstatus      {}\nreason      {}\nbytes       {}\n",
        letter.id, letter.first_seen, letter.attempts, letter.status, letter.reason, letter.payload
    ));
    Ok(())
}

fn retry_ids(place: &Place, ids: Vec<String>, all: bool) -> Result<(), Failure> {
    let known = letters(place, "", usize::MAX)?;
    let ids =
        if all { known.iter().filter(|l| l.status == "open").map(|l| l.id.clone()).collect() } else { ids };
    let parsed = ids.iter().map(|id| RecordId::parse(id)).collect::<Result<Vec<_>, _>>()?;
    let known: HashSet<&str> = known.iter().map(|l| l.id.as_str()).collect();
    if let Some(stranger) = parsed.iter().find(|id| !known.contains(id.to_string().as_str())) {
        return Err(unknown(stranger));
    }
    for (id, outcome) in parsed.iter().zip(retry::retry(&place.stores()?, &parsed)?) {
        output::print(&match outcome {
            retry::Outcome::Appended { offset } => format!("{id}: appended again at offset {offset}\n"),
            retry::Outcome::Already => format!("{id}: was retried before; nothing done\n"),
        });
    }
    Ok(())
}

fn unknown(id: &RecordId) -> Failure {
    Failure::Usage(format!("{id} is no dead letter; `tombola dead-letters list --all` shows them"))
}

/// Dead letters, newest first: `limit`, and as many more as were sent in again, which a listing may leave out.
fn letters(place: &Place, filter: &str, limit: usize) -> Result<Vec<Letter>, Failure> {
    let sql = format!(
        "SELECT id, reason, first_seen_ms, attempts, status, payload FROM dead_letters {filter}
         ORDER BY first_seen_ms DESC, id"
    );
    let retried = retry::retried(place.log()?.as_mut())?;
    let found = place.tables()?.query(&sql, limit.saturating_add(retried.len()), 60_000)?;
    Ok(found.rows.into_iter().map(|row| letter(&row, &retried)).collect())
}

fn letter(row: &[Value], retried: &HashSet<String>) -> Letter {
    let int = |value: &Value| if let Value::Int(int) = value { *int } else { 0 };
    let id = output::text(&row[0]);
    let open = output::text(&row[4]) == "open" && !retried.contains(&id);
    Letter {
        id,
        reason: output::text(&row[1]),
        first_seen: output::time(int(&row[2])),
        attempts: int(&row[3]),
        status: if open { "open" } else { "retried" },
        payload: output::text(&row[5]),
    }
}
