//! `tombola feeds`: publishers' documents, tried out, sent from a file, or polled.

use super::place::Place;
use super::run::stop_on_signal;
use super::{Failure, output};
use crate::feeds::{self, FeedsError, Polling, ToLog};
use crate::metrics::{FeedMetrics, Metrics};
use connectors::feed::{Feed, Mapping, PollError, Polled, Problem, When, map};
use runtime::shared::Shared;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Draw results from their publishers' files: try a mapping out, send a file, or poll the configured sources.
///
/// A mapping is a TOML file that says how one publisher's documents become draw results; deploy/feeds has some and
/// docs/feeds.md explains every key. What doesn't fit a mapping becomes a dead letter with its bytes and the reason.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tombola feeds check deploy/feeds/ny-powerball.toml powerball.csv
  tombola feeds backfill deploy/feeds/ny-powerball.toml powerball.csv --event-time
  tombola feeds run --config tombola.toml

Exit codes: 0 done; 1 some rows don't fit, or it failed; 2 a mapping, the settings or an argument can't be used.")]
pub struct Feeds {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print what would be sent, as NDJSON for `produce commands.draws`, and on stderr what doesn't fit.
    Check { mapping: PathBuf, file: PathBuf },
    /// Send what a file says and was not sent before. Each result is reported as of its draw.
    Backfill {
        mapping: PathBuf,
        file: PathBuf,
        /// Stamp each record with the moment of its draw instead of now.
        #[arg(long)]
        event_time: bool,
        /// Send everything, though it was sent before.
        #[arg(long)]
        again: bool,
        #[command(flatten)]
        place: Place,
        /// Print one JSON object at the end.
        #[arg(long)]
        json: bool,
    },
    /// Poll every source that feeds.mappings lists, until Ctrl-C. `tombola run` does so, too.
    Run {
        #[command(flatten)]
        place: Place,
    },
}

/// What came of a file.
#[derive(serde::Serialize)]
struct Report<'a> {
    source: &'a str,
    results: usize,
    sent: usize,
    problems: usize,
    rejected: usize,
}

impl Feeds {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        match self.what {
            What::Check { mapping, file } => check(&mapping, &file),
            What::Backfill { mapping, file, event_time, again, place, json } => {
                backfill(&mapping, &file, event_time, again, &place, json)
            }
            What::Run { place } => run(&place),
        }
    }
}

fn load(path: &Path) -> Result<Mapping, Failure> {
    Mapping::load(path).map_err(|e| Failure::Usage(e.to_string()))
}

fn document(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|e| {
        Failure::Usage(format!("{}: {e}; name a file as its publisher wrote it", path.display()))
    })
}

fn check(mapping: &Path, file: &Path) -> Result<(), Failure> {
    let mapped = map(&load(mapping)?, &document(file)?);
    let mut lines = String::new();
    for result in &mapped.results {
        let command = result.report(&result.command_id(None), result.drawn_at_ms);
        lines.push_str(&schemas::ndjson::to_line(&command));
        lines.push('\n');
    }
    output::print(&lines);
    say(file, &mapped.problems);
    eprintln!("{} results, {} problems", mapped.results.len(), mapped.problems.len());
    if mapped.problems.is_empty() { Ok(()) } else { Err(Failure::Reported) }
}

fn say(file: &Path, problems: &[Problem]) {
    for Problem { place, reason, original } in problems {
        let row: String = String::from_utf8_lossy(original).chars().take(200).collect();
        eprintln!("{}: {place}: {reason}\n  {}", file.display(), row.replace('\n', " "));
    }
}

fn backfill(
    mapping: &Path,
    file: &Path,
    event_time: bool,
    again: bool,
    place: &Place,
    json: bool,
) -> Result<(), Failure> {
    let (mapping, document) = (load(mapping)?, document(file)?);
    let stores = place.stores()?;
    let ids = stores.prepare()?;
    let mut log = ToLog(stores.appender()?);
    let mut feed = Feed::open(stores.dir(), mapping, ids).map_err(|e| Failure::Runtime(e.to_string()))?;
    if again {
        feed.forget();
    }
    let when = When::History { now_ms: crate::clock_ms(), event_time };
    let polled = feed.backfill(&document, when, &mut log)?;
    say(file, &polled.problems);
    let Polled { results, sent, rejected, ref problems, .. } = polled;
    let report = Report { source: feed.source(), results, sent, problems: problems.len(), rejected };
    if json {
        output::print_json(&report);
    } else {
        let Report { source, problems, .. } = report;
        output::print(&format!(
            "{source}: {results} results, {sent} of them sent; {problems} problems, {rejected} of them sent as dead letters\n"
        ));
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::Reported) }
}

fn run(place: &Place) -> Result<(), Failure> {
    let config = place.load()?;
    if config.feeds.mappings.is_empty() {
        return Err(Failure::Usage(
            "feeds.mappings is empty; list mapping files there, such as those in deploy/feeds".to_owned(),
        ));
    }
    let mappings = feeds::mappings(&config)?;
    let stores = place.stores()?;
    let shared = Arc::new(Shared::default());
    stop_on_signal(&shared)?;
    let ids = stores.prepare()?;
    let dir = stores.dir().join("feeds");
    std::fs::create_dir_all(&dir).map_err(|e| Failure::Runtime(format!("{}: {e}", dir.display())))?;
    let metrics = FeedMetrics::default();
    let no_thread =
        |e| Failure::Runtime(format!("a feed's thread can't be started: {e}; raise the limit of threads"));
    let _polling = Polling::start(&config, mappings, &stores, ids, &metrics).map_err(no_thread)?;
    while !shared.stopping() {
        if let Err(problem) = Metrics::write_feeds(&metrics, &dir) {
            tracing::warn!(%problem, "metrics can't be written");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

impl From<FeedsError> for Failure {
    fn from(error: FeedsError) -> Self {
        Failure::Usage(error.to_string())
    }
}

impl From<PollError> for Failure {
    fn from(error: PollError) -> Self {
        Failure::Runtime(error.to_string())
    }
}
