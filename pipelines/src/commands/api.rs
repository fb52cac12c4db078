//! `tombola api`: the HTTP API alone, in front of a pipeline that runs elsewhere.
//!
//! It keeps nothing: any number of instances may serve the same stores, and any may be killed. What it answered
//! is durable; what it didn't, its client sends again, to whichever instance.

use super::Failure;
use super::place::Place;
use super::run::stop_on_signal;
use crate::serve;
use crate::stores::Stores;
use runtime::shared::Shared;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Serve the HTTP API of a pipeline that runs in another process.
///
/// Any number of instances may serve one pipeline. Commands are durable when they are answered and safe to send again, with
/// their Idempotency-Key, to any instance.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tombola api                                       on api.listen of the settings
  tombola api --listen 127.0.0.1:8081 --data-dir /srv/tombola

Who may ask is for the settings to say: api.keys_file, api.jwks_file, api.jwks_url or api.jwt_secret_file.
docs/api.md describes the API; GET /openapi.json lists it.")]
pub struct Api {
    #[command(flatten)]
    place: Place,
    /// Address and port; overrides api.listen of the settings.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
}

impl Api {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let config = self.place.load()?;
        let stores = Stores::of(&config, &config.pipeline.data_dir);
        let shared = Arc::new(Shared::default());
        stop_on_signal(&shared)?;
        let address = self.listen.map_or_else(|| listen(&config), Ok)?;
        let server = serve::start(address, serve::settings(&config, None), &stores, None)?;
        eprintln!("tombola: the API is served on http://{}", server.address);
        while !shared.stopping() {
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

/// The address that the settings name.
pub fn listen(config: &crate::config::Config) -> Result<SocketAddr, Failure> {
    let parsed = config.api.listen.parse();
    parsed.map_err(|_| Failure::Usage(format!("api.listen: {} is no address and port", config.api.listen)))
}
