//! `tombola status`: where the pipeline and its log stand.

use super::place::Place;
use super::{Failure, output};
use crate::publishing::standing::{self, ChannelPosts, Undecided, Waiting};
use crate::stores::Tables;
use crate::stores::{StoreError, Stores};
use sinks::clickhouse::mirror::ParkedTable;
use sinks::embedded::{PipelineLock, Progress};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// Show where the pipeline and its log stand; works while it runs and while it doesn't.
///
/// The frontier's age is how long ago the last decision became visible, as of the pipeline's own time. It
/// is the one figure to watch: it grows when anything is stuck, whatever it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tombola status
  tombola status --json
  tombola status --metrics        Prometheus text, as the running pipeline last wrote it (once a second)")]
pub struct Status {
    #[command(flatten)]
    place: Place,
    /// Print one JSON object.
    #[arg(long, conflicts_with = "metrics")]
    json: bool,
    /// Print the pipeline's metrics in Prometheus' text format.
    #[arg(long)]
    metrics: bool,
}

#[derive(serde::Serialize)]
struct Report {
    data_dir: String,
    /// Process id, where a pipeline runs.
    process: Option<String>,
    generation: Option<u64>,
    workers: Option<usize>,
    code_version: Option<String>,
    epoch_bound: u64,
    epoch_decided: u64,
    /// The pipeline's now at the decided frontier, UTC milliseconds.
    decided_now_ms: i64,
    /// How far that is behind the clock.
    frontier_age_ms: i64,
    /// Where the pipeline decides on draws.
    publishing: Option<Publishing>,
    /// Where the pipeline mirrors captured tables.
    mirror: Option<Mirror>,
    topics: Vec<Topic>,
}

#[derive(serde::Serialize)]
struct Mirror {
    /// A running mirror has stopped: its log says why.
    stopped: bool,
    parked: Vec<Parked>,
}

/// A table of which nothing more is mirrored until it is mended.
#[derive(serde::Serialize)]
struct Parked {
    topic: String,
    since_ms: i64,
    reason: String,
}

#[derive(serde::Serialize)]
struct Publishing {
    draws: Undecided,
    /// By `TENANT/CHANNEL`.
    channels: BTreeMap<String, ChannelPosts>,
    /// Those that a running publisher leaves alone for a while, because they failed again and again.
    left_alone: BTreeSet<String>,
    /// A running publisher has stopped: its log says why.
    stopped: bool,
}

#[derive(serde::Serialize)]
struct Topic {
    topic: String,
    records: u64,
    partition_ends: Vec<u64>,
}

impl Status {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let stores = self.place.stores()?;
        let dir = stores.state_dir();
        if self.metrics {
            return metrics(&dir);
        }
        let report = report(&stores)?;
        if self.json {
            output::print_json(&report);
        } else {
            output::print(&text(&report));
        }
        Ok(())
    }
}

fn report(stores: &Stores) -> Result<Report, Failure> {
    let topics = stores.log()?.topics()?;
    let dir = &stores.state_dir();
    let mut tables = match stores.tables() {
        Ok(tables) => Some(tables),
        Err(StoreError::Nothing { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let none = Progress { bound: runtime::Epoch(0), decided: runtime::Epoch(0), decided_now: 0 };
    let progress = tables.as_mut().map_or(Ok(none), |tables| tables.progress())?;
    let generation = tables.as_mut().map_or(Ok(Vec::new()), |tables| tables.generations())?.pop();
    let publishing = tables.as_mut().filter(|_| stores.pipeline().runs("draws"));
    let process = PipelineLock::holder(dir);
    let publishing = publishing.map(|tables| publishing_of(tables.as_mut(), dir, process.is_some()));
    let mirror = stores.mirrors().then(|| mirror_of(stores, process.is_some()));
    let age_ms = if progress.decided_now == 0 { 0 } else { crate::clock_ms() - progress.decided_now };
    Ok(Report {
        data_dir: dir.display().to_string(),
        process,
        generation: generation.as_ref().map(|g| g.generation.0),
        workers: generation.as_ref().map(|g| g.workers),
        code_version: generation.map(|g| g.code_version),
        epoch_bound: progress.bound.0,
        epoch_decided: progress.decided.0,
        decided_now_ms: progress.decided_now,
        frontier_age_ms: age_ms.max(0),
        publishing: publishing.transpose()?,
        mirror: mirror.transpose()?,
        topics: topics
            .into_iter()
            .map(|t| Topic { topic: t.topic, records: t.ends.iter().sum(), partition_ends: t.ends })
            .collect(),
    })
}

/// What only a running pipeline knows it tells once a second; what an ended one told last is no news.
fn told(dir: &Path, runs: bool) -> String {
    if runs {
        std::fs::read_to_string(dir.join(crate::metrics::FILE)).unwrap_or_default()
    } else {
        String::new()
    }
}

fn mirror_of(stores: &Stores, runs: bool) -> Result<Mirror, Failure> {
    let parked = |table: ParkedTable| {
        let ParkedTable { topic, reason, since_ms } = table;
        Parked { topic, since_ms, reason }
    };
    Ok(Mirror {
        stopped: told(&stores.state_dir(), runs).lines().any(|line| line == "tombola_mirror_stopped 1"),
        parked: stores.parked_tables()?.into_iter().map(parked).collect(),
    })
}

fn publishing_of(tables: &mut dyn Tables, dir: &Path, runs: bool) -> Result<Publishing, Failure> {
    let told = told(dir, runs);
    Ok(Publishing {
        draws: standing::undecided(tables)?,
        channels: standing::channels(tables)?,
        left_alone: told.lines().filter_map(open_channel).map(str::to_owned).collect(),
        stopped: told.lines().any(|line| line == "tombola_publisher_stopped 1"),
    })
}

/// The channel of a line of metrics that says its breaker is open.
fn open_channel(line: &str) -> Option<&str> {
    line.strip_prefix("tombola_channel_open{channel=\"")?.strip_suffix("\"} 1")
}

fn text(report: &Report) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "data directory  {}", report.data_dir);
    let _ = writeln!(out, "pipeline        {}", pipeline(report));
    let _ = writeln!(out, "epochs          bound {}, decided {}", report.epoch_bound, report.epoch_decided);
    if report.decided_now_ms > 0 {
        let (now, age_s) = (output::time(report.decided_now_ms), report.frontier_age_ms as f64 / 1_000.0);
        let _ = writeln!(out, "frontier        {now}, {age_s:.1} s behind the clock");
    }
    if let Some(publishing) = &report.publishing {
        publishing_text(publishing, &mut out);
    }
    if let Some(mirror) = &report.mirror {
        mirror_text(mirror, &mut out);
    }
    let row = |t: &Topic| vec![t.topic.clone(), t.records.to_string(), format!("{:?}", t.partition_ends)];
    let rows: Vec<Vec<String>> = report.topics.iter().map(row).collect();
    let _ = write!(out, "\n{}", output::table(&["topic", "records", "partition ends"], &rows));
    out
}

fn mirror_text(mirror: &Mirror, out: &mut String) {
    if mirror.stopped {
        let _ = writeln!(out, "mirror          has stopped; the log says why, and the next run goes on");
    }
    for Parked { topic, since_ms, reason } in &mirror.parked {
        let since = output::time(*since_ms);
        let _ = writeln!(out, "mirror          {topic} is parked since {since}: {reason}");
    }
    if !mirror.parked.is_empty() {
        let _ = writeln!(
            out,
            "                parked tables go on from where they were once that is mended; the others go on now"
        );
    }
}

fn publishing_text(publishing: &Publishing, out: &mut String) {
    let Publishing { draws, channels, left_alone, stopped } = publishing;
    let draw = |waiting: &Waiting| match waiting.oldest_ms {
        Some(oldest_ms) => format!("{} (since {})", waiting.draws, output::time(oldest_ms)),
        None => waiting.draws.to_string(),
    };
    let (few, disagree) = (draw(&draws.waiting), draw(&draws.disagreement));
    let _ = writeln!(out, "draws           wait for more sources: {few}; sources disagree: {disagree}");
    if *stopped {
        let _ = writeln!(out, "publishing      has stopped; the log says why, and the next run goes on");
    }
    if channels.is_empty() {
        return;
    }
    let row = |(name, posts): (&String, &ChannelPosts)| {
        let since = posts.oldest_ms.map(output::time).unwrap_or_default();
        let how =
            if left_alone.contains(name) { "left alone for a while: it fails again and again" } else { "" };
        let counts = [posts.posted, posts.waiting, posts.parked, posts.left_out].map(|n| n.to_string());
        [vec![name.clone()], counts.into(), vec![since, how.to_owned()]].concat()
    };
    let rows: Vec<Vec<String>> = channels.iter().map(row).collect();
    let heads = ["channel", "posted", "waiting", "parked", "left out", "waiting since", ""];
    let _ = write!(out, "\n{}", output::table(&heads, &rows));
    if channels.values().any(|posts| posts.parked > 0) {
        let _ = writeln!(out, "parked posts are dead letters: tombola dead-letters list, then retry");
    }
}

fn pipeline(report: &Report) -> String {
    let run = match (report.generation, report.workers, &report.code_version) {
        (Some(generation), Some(workers), Some(version)) => {
            format!("generation {generation}, {workers} workers, version {version}")
        }
        _ => return "has never run here".to_owned(),
    };
    match &report.process {
        Some(process) => format!("runs as process {process}: {run}"),
        None => format!("stopped; last was {run}"),
    }
}

fn metrics(dir: &Path) -> Result<(), Failure> {
    let path = dir.join(crate::metrics::FILE);
    let text = std::fs::read_to_string(&path).map_err(|e| {
        let path = path.display();
        Failure::Usage(format!(
            "{path}: {e}; a pipeline writes it while it runs: start one with `tombola run`"
        ))
    })?;
    output::print(&text);
    Ok(())
}
