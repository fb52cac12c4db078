//! `tombola config`: the whole settings file with its documentation, at its defaults.

use super::{Failure, output};

/// Print every setting with its meaning, unit and default, as a settings file.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tombola config > tombola.toml       start from the defaults
  tombola config --check my.toml      say what is wrong with a file; exit code 2 if something is")]
pub struct Config {
    /// Check this file instead of printing the defaults.
    #[arg(long, value_name = "FILE")]
    check: Option<std::path::PathBuf>,
}

impl Config {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        match &self.check {
            None => output::print(&crate::config::Config::default().describe()),
            Some(path) => {
                crate::config::Config::load(Some(path))?;
                output::print(&format!("{}: good\n", path.display()));
            }
        }
        Ok(())
    }
}
