//! `tombola status`: where the pipeline and its log stand.

use super::place::Place;
use super::{Failure, output};
use crate::stores::{StoreError, Stores};
use sinks::embedded::{PipelineLock, Progress};
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
    topics: Vec<Topic>,
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
    let age_ms = if progress.decided_now == 0 { 0 } else { crate::clock_ms() - progress.decided_now };
    Ok(Report {
        data_dir: dir.display().to_string(),
        process: PipelineLock::holder(dir),
        generation: generation.as_ref().map(|g| g.generation.0),
        workers: generation.as_ref().map(|g| g.workers),
        code_version: generation.map(|g| g.code_version),
        epoch_bound: progress.bound.0,
        epoch_decided: progress.decided.0,
        decided_now_ms: progress.decided_now,
        frontier_age_ms: age_ms.max(0),
        topics: topics
            .into_iter()
            .map(|t| Topic { topic: t.topic, records: t.ends.iter().sum(), partition_ends: t.ends })
            .collect(),
    })
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
    let row = |t: &Topic| vec![t.topic.clone(), t.records.to_string(), format!("{:?}", t.partition_ends)];
    let rows: Vec<Vec<String>> = report.topics.iter().map(row).collect();
    let _ = write!(out, "\n{}", output::table(&["topic", "records", "partition ends"], &rows));
    out
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
