//! How a command ends when it doesn't end well: a message, and the exit code that tells a script what to do.

use crate::config::ConfigError;
use std::process::ExitCode;

/// Why a command did not do all it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Exit code 2: change the arguments or the settings and try again.
    #[error("{0}")]
    Usage(String),
    /// Exit code 1: it failed while running.
    #[error("{0}")]
    Runtime(String),
    /// Exit code 1: what is wrong has been said already (bad lines, differences).
    #[error("said already")]
    Reported,
}

impl Failure {
    /// Says it on stderr; the exit code.
    pub fn report(&self) -> ExitCode {
        match self {
            Failure::Usage(message) | Failure::Runtime(message) => eprintln!("tombola: {message}"),
            Failure::Reported => {}
        }
        self.exit_code()
    }

    /// What a script sees.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Usage(_) => ExitCode::from(2),
            Failure::Runtime(_) | Failure::Reported => ExitCode::from(1),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Failure::Usage(error.to_string())
    }
}

impl From<connectors::embedded::EmbeddedError> for Failure {
    fn from(error: connectors::embedded::EmbeddedError) -> Self {
        use connectors::embedded::EmbeddedError as E;
        match error {
            E::Claimed { .. } => Failure::Usage(error.to_string()),
            other => Failure::Runtime(other.to_string()),
        }
    }
}

impl From<sinks::embedded::EmbeddedError> for Failure {
    fn from(error: sinks::embedded::EmbeddedError) -> Self {
        use sinks::embedded::EmbeddedError as E;
        match error {
            E::Refused { .. } => Failure::Usage(error.to_string()),
            other => Failure::Runtime(other.to_string()),
        }
    }
}
