//! `tombola query`: one question in SQL, answered from the serving tables, read-only and bounded in time.

use super::place::Place;
use super::{Failure, output};
use sinks::embedded::Found;

/// Ask the serving tables one question in SQL (SQLite's dialect). Nothing can be changed this way.
///
/// Tables: orders, stock, tickets, commission_statements, fraud_alerts, draws, winning_tickets, publications,
/// dead_letters; each row carries the epoch that wrote it. Money is in the currency's minor unit, times are UTC milliseconds. What is shown is whole epochs, never
/// half of one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tombola query 'SELECT status, count(*) AS orders FROM orders GROUP BY status'
  tombola query 'SELECT * FROM stock WHERE available = 0' --json
  tombola query 'SELECT reasons, count(*) FROM orders GROUP BY 1 ORDER BY 2 DESC' --limit 5")]
pub struct Query {
    /// One SELECT.
    sql: String,
    #[command(flatten)]
    place: Place,
    /// Print one JSON object per row.
    #[arg(long)]
    json: bool,
    /// Most rows printed.
    #[arg(long, default_value_t = 1_000, value_name = "ROWS")]
    limit: usize,
    /// The query is stopped after this many milliseconds.
    #[arg(long, default_value_t = 30_000, value_name = "MS")]
    timeout_ms: u64,
}

impl Query {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let found = self.place.tables()?.query(&self.sql, self.limit, self.timeout_ms)?;
        output::print(&if self.json { lines(&found) } else { table(&found) });
        if found.more {
            eprintln!("tombola: more rows than --limit {} were found; the rest is not shown", self.limit);
        }
        Ok(())
    }
}

fn table(found: &Found) -> String {
    let head: Vec<&str> = found.columns.iter().map(String::as_str).collect();
    let rows: Vec<Vec<String>> =
        found.rows.iter().map(|row| row.iter().map(output::text).collect()).collect();
    output::table(&head, &rows)
}

fn lines(found: &Found) -> String {
    let object = |row: &Vec<schemas::Value>| {
        let pairs = found.columns.iter().cloned().zip(row.iter().map(output::json));
        format!("{}\n", serde_json::Value::Object(pairs.collect()))
    };
    found.rows.iter().map(object).collect()
}
