//! Logging to stderr: what happens to the pipeline, never a line per record at `info`.
//!
//! `TOMBOLA_LOG` sets the filter (`error`, `warn`, `info`, `debug`, or per module, `runtime=debug,info`);
//! `TOMBOLA_LOG_FORMAT=json` prints one JSON object per line, with the fields as they were given.

use tracing_subscriber::EnvFilter;

/// Starts logging for this process. A filter that can't be read is said and replaced by the default.
pub fn start() {
    let filter = match std::env::var("TOMBOLA_LOG") {
        Ok(spec) => EnvFilter::try_new(&spec).unwrap_or_else(|problem| {
            eprintln!("tombola: TOMBOLA_LOG={spec}: {problem}; logging warnings only");
            EnvFilter::new("warn")
        }),
        Err(_) => EnvFilter::new("warn"),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let json = std::env::var("TOMBOLA_LOG_FORMAT").is_ok_and(|format| format == "json");
    let started = if json { builder.json().try_init() } else { builder.try_init() };
    if let Err(problem) = started {
        eprintln!("tombola: logging was started before: {problem}");
    }
}
