//! `tombola verify`: is what was committed what the log says?

use super::place::Place;
use super::{Failure, output};
use crate::verify::{self, Options, Report};

/// Replay the log with the recorded bindings and settings, and compare with what was committed.
///
/// Facts are compared record by record, serving tables row by row, digests epoch by epoch. The number of
/// workers may be any: it must not matter, and this is one way to see that. Only reads the data directory
/// (a scratch copy goes to the system's folder for temporary files) and may run beside the pipeline.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tombola verify --data-dir D
  tombola verify --data-dir D --workers 4
  tombola verify --data-dir D --from-snapshot      only what came after the newest snapshot

Exit codes: 0 all is as the log says; 1 there is a difference (the first epoch and row are named), or it failed; 2 bad arguments or settings.")]
pub struct Verify {
    #[command(flatten)]
    place: Place,
    /// Worker threads; any number gives the same answer.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    workers: u64,
    /// Begin with the newest snapshot instead of the beginning of the log.
    #[arg(long)]
    from_snapshot: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let config = self.place.load()?;
        self.place.tables()?;
        let scratch = scratch()?;
        let options = Options {
            config: &config,
            data_dir: &config.pipeline.data_dir,
            scratch: scratch.path(),
            workers: self.workers as usize,
            from_snapshot: self.from_snapshot,
        };
        let report = verify::verify(&options)?;
        if self.json {
            output::print_json(&report);
        } else {
            say(&report);
        }
        if report.differences.is_empty() { Ok(()) } else { Err(Failure::Reported) }
    }
}

fn scratch() -> Result<tempfile::TempDir, Failure> {
    let made = tempfile::Builder::new().prefix("tombola-verify-").tempdir();
    made.map_err(|error| Failure::Runtime(format!("no scratch directory can be made: {error}; set TMPDIR")))
}

fn say(report: &Report) {
    let (from, through) = (report.from, report.through);
    let facts = output::thousands(report.facts);
    if report.differences.is_empty() {
        return output::print(&format!(
            "epochs after {from} up to {through}: {facts} facts, the serving tables and the digests are as the log says\n"
        ));
    }
    let mut text = format!("epochs after {from} up to {through}: NOT as the log says. By epoch:\n");
    for difference in &report.differences {
        text += &format!(
            "  epoch {}, {} {}\n    committed: {}\n    replayed:  {}\n",
            difference.epoch, difference.place, difference.key, difference.committed, difference.replayed
        );
    }
    output::print(&text);
}
