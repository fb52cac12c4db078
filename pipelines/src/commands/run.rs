//! `tombola run`: the pipeline itself, until it is told to stop.
//!
//! Ctrl-C or SIGTERM ends it in order, with a last snapshot; a second one at once. Killing it does no harm:
//! the next run goes on where everything was decided.

use super::Failure;
use super::place::Place;
use crate::engine::{self, EngineError, EngineOptions};
use crate::serve::{self, Beside};
use crate::stores::Stores;
use runtime::shared::Shared;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Decide on everything in the log, and on everything that comes, exactly once.
///
/// Needs the data directory for itself; producers and readers may come and go meanwhile. The number of
/// workers may change from run to run: it doesn't change a single result.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tombola run                                      until Ctrl-C
  tombola run --workers 2 --data-dir /srv/tombola
  tombola run --until-drained                      decide on what the log holds now, then stop
  tombola run --jobs sales                         orders only; the other jobs may run apart:
  tombola run --jobs fraud,commissions             on the facts sales tells, with their own state in DATA_DIR/jobs/

With --until-drained time is the log's own: holds whose time ran out after the last record are left held, so
that a log has one answer, whenever it is run.

Exit codes: 0 stopped or drained; 1 it failed (the message says what to do; nothing is lost); 2 bad arguments or settings.")]
pub struct Run {
    #[command(flatten)]
    place: Place,
    /// Worker threads; overrides pipeline.workers of the settings.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=64))]
    workers: Option<u64>,
    /// Stop once everything in the log has been decided.
    #[arg(long)]
    until_drained: bool,
    /// Serve the HTTP API, too, on this address: host:port.
    #[arg(long, value_name = "ADDR")]
    api: Option<SocketAddr>,
}

impl Run {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let config = self.place.load()?;
        let shared = Arc::new(Shared::default());
        stop_on_signal(&shared)?;
        let stores = Stores::of(&config, &config.pipeline.data_dir);
        let beside = self.api.map(|_| Beside { pulse: Arc::default(), shared: Arc::clone(&shared) });
        let settings = serve::settings(&config, None);
        let options = EngineOptions {
            workers: self.workers.map_or(config.pipeline.workers, |workers| workers as usize),
            data_dir: config.pipeline.data_dir.clone(),
            config,
            until_drained: self.until_drained,
            shared,
            progress: None,
            pulse: beside.as_ref().map(|beside| Arc::clone(&beside.pulse)),
        };
        let server = self.api.map(|address| serve::start(address, settings, &stores, beside)).transpose()?;
        if let Some(server) = &server {
            eprintln!("tombola: the API is served on http://{}", server.address);
        }
        engine::run(&options).map_err(Failure::from)
    }
}

/// The first signal ends the run in order, the second one at once.
///
/// # Errors
/// Where the system refuses the handler.
pub fn stop_on_signal(shared: &Arc<Shared>) -> Result<(), Failure> {
    let shared = Arc::clone(shared);
    let asked = AtomicBool::new(false);
    let handler = move || {
        if asked.swap(true, Ordering::SeqCst) {
            std::process::exit(1);
        }
        shared.stop();
    };
    ctrlc::set_handler(handler)
        .map_err(|error| Failure::Runtime(format!("the handler of Ctrl-C can't be set: {error}")))
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Config(_)
            | EngineError::Settings(_)
            | EngineError::Feeds(_)
            | EngineError::JobAdded { .. }
            | EngineError::Tracing(_) => Failure::Usage(error.to_string()),
            EngineError::Store(error) => (*error).into(),
            other => Failure::Runtime(other.to_string()),
        }
    }
}
