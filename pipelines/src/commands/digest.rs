//! `tombola digest`: each serving table in one line, to compare two data directories by.

use super::place::Place;
use super::{Failure, output};
use schemas::ALL_TABLES;

/// Print rows and SHA-256 of every serving table.
///
/// The digest is over the business columns in key order, without epochs: two data directories in which the
/// same was decided have the same digests, whatever the number of workers or the length of epochs.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tombola digest --data-dir D
  diff <(tombola digest --data-dir A) <(tombola digest --data-dir B)")]
pub struct Digest {
    #[command(flatten)]
    place: Place,
    /// Print one JSON array of {table, rows, sha256}.
    #[arg(long)]
    json: bool,
}

impl Digest {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let mut reader = self.place.tables()?;
        let digests = ALL_TABLES.iter().map(|table| reader.digest(table)).collect::<Result<Vec<_>, _>>()?;
        if self.json {
            output::print_json(&digests);
            return Ok(());
        }
        let rows: Vec<Vec<String>> =
            digests.into_iter().map(|d| vec![d.table.to_owned(), d.rows.to_string(), d.sha256]).collect();
        output::print(&output::table(&["table", "rows", "sha256"], &rows));
        Ok(())
    }
}
