//! `tombola topics`: the topics in Kafka, planned first and then made.

use super::place::Place;
use super::{Failure, output};
use crate::config::LogKind;
use crate::stores::kafka;

/// Make the topics that the pipelines use, with the partitions and retention that the settings say.
///
/// Topics are never deleted, and partitions never taken away: what would need that is refused. Adding partitions to a
/// topic moves keys to other partitions, so it is best done while nothing is in flight.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tombola topics plan --config tombola.toml
  tombola topics apply --config tombola.toml

Exit codes: 0 all topics are as declared; 1 `plan` found something to do, or it failed; 2 bad arguments or settings.")]
pub struct Topics {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show what `apply` would change; change nothing.
    Plan {
        #[command(flatten)]
        place: Place,
    },
    /// Show what is to be changed, and change it.
    Apply {
        #[command(flatten)]
        place: Place,
    },
}

impl Topics {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let (place, apply) = match self.what {
            What::Plan { place } => (place, false),
            What::Apply { place } => (place, true),
        };
        let config = place.load()?;
        if config.log.kind == LogKind::Embedded {
            return Err(Failure::Usage(
                "the embedded log makes its topics itself; set log.kind = \"kafka\" to have them in Kafka"
                    .to_owned(),
            ));
        }
        let plan = kafka::plan(&config)?;
        output::print(&plan.to_string());
        match (plan.is_empty(), apply) {
            (true, _) => Ok(()),
            (false, true) => Ok(kafka::apply(&config, &plan)?),
            (false, false) => Err(Failure::Reported),
        }
    }
}
