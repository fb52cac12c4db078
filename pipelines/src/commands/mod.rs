//! The command line: one file per command, and what they share.
//!
//! ```text
//!   main ─ parse ─> Cli ─ dispatch ─> demo | run | produce | status | digest | query | …
//!                                        └─ Ok: exit 0   Failure: message on stderr, exit 1 or 2
//! ```
//!
//! Results go to stdout, everything said about them to stderr, so that output can be piped.

pub mod channels;
pub mod config;
pub mod dead_letters;
pub mod demo;
pub mod digest;
pub mod draws;
pub mod explain;
pub mod failure;
pub mod migrate;
pub mod output;
pub mod place;
pub mod produce;
pub mod query;
pub mod run;
pub mod schemas;
pub mod status;
pub mod topics;
pub mod verify;

use clap::{Parser, Subcommand};
pub use failure::Failure;
use std::process::ExitCode;

/// Exactly-once streaming for businesses that sell scarce things: tickets, seats, mystery boxes, vouchers.
///
/// Orders, payments and reference tables go into a log; decisions, stock and tickets come out of it, each
/// exactly once, whatever crashes. Everything lies in one folder, the data directory.
#[derive(Debug, Parser)]
#[command(name = "tombola", version, after_help = CLOSING)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const CLOSING: &str = "\
Start here:
  tombola demo --orders 100000            watch it work
  tombola config > tombola.toml           every setting, with its meaning and default
  tombola produce commands.orders FILE    put your own records in
  tombola run                             decide on them
  tombola query 'SELECT * FROM orders'    see what was decided

Exit codes: 0 done; 1 it failed, or found differences or bad lines; 2 bad arguments or settings.
Logs go to stderr; TOMBOLA_LOG sets what is logged (error, warn, info, debug, or per module).";

/// What `tombola` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    Demo(demo::Demo),
    Run(run::Run),
    Produce(produce::Produce),
    Status(status::Status),
    Verify(verify::Verify),
    Digest(digest::Digest),
    Query(query::Query),
    Explain(explain::Explain),
    DeadLetters(dead_letters::DeadLetters),
    Channels(channels::Channels),
    Draws(draws::Draws),
    Config(config::Config),
    Schemas(schemas::Schemas),
    Topics(topics::Topics),
    Migrate(migrate::Migrate),
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    crate::logging::start();
    abort_on_panic();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

impl Cli {
    /// Does what the command line says.
    ///
    /// # Errors
    /// See [`Failure`]: its message and its exit code.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Demo(command) => command.run(),
            Command::Run(command) => command.run(),
            Command::Produce(command) => command.run(),
            Command::Status(command) => command.run(),
            Command::Verify(command) => command.run(),
            Command::Digest(command) => command.run(),
            Command::Query(command) => command.run(),
            Command::Explain(command) => command.run(),
            Command::DeadLetters(command) => command.run(),
            Command::Channels(command) => command.run(),
            Command::Draws(command) => command.run(),
            Command::Config(command) => command.run(),
            Command::Schemas(command) => command.run(),
            Command::Topics(command) => command.run(),
            Command::Migrate(command) => command.run(),
        }
    }
}

/// A thread that panics would leave the others waiting for it, and the frontier standing still without an
/// error: the whole process goes instead, and the next one recovers.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        eprintln!("tombola: this is a defect; what was decided is safe, and the next run goes on from there");
        std::process::abort();
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_does_and_gives_an_example() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name} says nothing about itself");
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("tombola {name}")), "{name} gives no example");
        }
    }
}
