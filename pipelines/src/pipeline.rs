//! Which jobs run together as one pipeline, where its state lies, what it reads and what it writes.
//!
//! ```text
//!   with sales     commands.*, oltp.public.* ─> sales, with the others inside ─> facts.*
//!                  state: DATA_DIR
//!   without sales  facts of sales, oltp.public.* ─> fraud, commissions ─> facts.fraud, facts.commissions
//!                  state: DATA_DIR/jobs/<names, joined by +>
//! ```
//!
//! All pipelines of a data directory share its log. Each has bindings, generations, snapshots, tables, frontier
//! and lock of its own, and topics of its own to write to.
//!
//! Invariant: all of them number the topics of sales alike, so that a place in the order of everything means
//! the same to each.

use crate::config::{Config, ConfigError, JOBS};
use crate::jobs::apart::{self, Apart};
use crate::jobs::draws;
use crate::jobs::sales::{self, Sales};
use connectors::decode::Input;
use operators::messages::Output;
use operators::settings::{Settings, TicketKey};
use runtime::run::Job;
use runtime::{Flow, Messages};
use schemas::Fact;
use std::cmp::Ordering;
use std::path::{Path, PathBuf};

/// The name of the pipeline that runs sales, whatever runs in it besides.
pub const SALES: &str = "sales";

/// The folder of a data directory that holds the state of pipelines without sales.
pub const APART: &str = "jobs";

/// Jobs that run as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    /// In the order of [`JOBS`], each once.
    jobs: Vec<&'static str>,
}

impl Pipeline {
    /// The one that the settings name.
    pub fn of(config: &Config) -> Self {
        Pipeline { jobs: JOBS.iter().copied().filter(|job| config.runs(job)).collect() }
    }

    /// Whether a job is one of its own.
    pub fn runs(&self, job: &str) -> bool {
        self.jobs.contains(&job)
    }

    /// Whether sales is among its jobs: orders are decided here.
    pub fn sells(&self) -> bool {
        self.runs(SALES)
    }

    /// What it is called in the log and in messages.
    pub fn name(&self) -> String {
        if self.sells() { SALES.to_owned() } else { self.jobs.join("+") }
    }

    /// Where its state lies.
    pub fn state_dir(&self, data_dir: &Path) -> PathBuf {
        state_dir(data_dir, &self.name())
    }

    /// Names of topics by `TopicId`.
    pub fn topics(&self) -> &'static [&'static str] {
        if self.sells() { &sales::TOPICS } else { &apart::TOPICS }
    }

    /// Whether it reads a topic.
    pub fn reads(&self, topic: &str) -> bool {
        if self.sells() {
            return sales::TOPICS.contains(&topic) && (self.runs("draws") || !draws::TOPICS.contains(&topic));
        }
        self.runs("fraud") && apart::FRAUD_READS.contains(&topic)
            || self.runs("commissions") && apart::COMMISSIONS_READ.contains(&topic)
    }

    /// Whether it writes to a topic of facts, with these settings.
    pub fn writes(&self, topic: &str, settings: &Settings) -> bool {
        match topic {
            "facts.fraud" => settings.fraud_screening,
            "facts.commissions" => settings.commission_statements,
            "facts.draws" | "facts.publications" | "facts.winnings" => settings.draws,
            "facts.screening" => self.sells() && !settings.fraud_screening,
            _ => self.sells() && Fact::TOPICS.contains(&topic),
        }
    }

    /// Every topic it writes to.
    pub fn outputs(&self, settings: &Settings) -> impl Iterator<Item = &'static str> {
        Fact::TOPICS.into_iter().filter(|topic| self.writes(topic, settings))
    }

    /// What changes its decisions. Only sales signs tickets.
    ///
    /// # Errors
    /// [`ConfigError::TicketKey`].
    pub fn settings(&self, config: &Config, data_dir: &Path) -> Result<Settings, ConfigError> {
        if self.sells() {
            return Ok(config.settings(self.topics(), &config.ticket_key(data_dir)?));
        }
        Ok(Settings { ticket_key: TicketKey::default(), ..config.settings(self.topics(), &[]) })
    }

    /// The jobs, to be run with these settings.
    pub fn job(&self, settings: Settings) -> Jobs {
        if self.sells() { Jobs::Sales(Sales { settings }) } else { Jobs::Apart(Apart { settings }) }
    }
}

/// Where the state of the pipeline of this name lies.
pub fn state_dir(data_dir: &Path, name: &str) -> PathBuf {
    if name == SALES { data_dir.to_owned() } else { data_dir.join(APART).join(name) }
}

/// What runs in one dataflow.
pub enum Jobs {
    Sales(Sales),
    Apart(Apart),
}

impl Job for Jobs {
    type Record = Input;
    type Item = Output;

    fn build<'s>(&self, flow: &mut Flow<'s, Output>, source: Messages<'s, Input>) {
        match self {
            Jobs::Sales(sales) => sales.build(flow, source),
            Jobs::Apart(apart) => apart.build(flow, source),
        }
    }

    fn beside(a: &Output, b: &Output) -> Ordering {
        a.about().cmp(&b.about())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipeline(jobs: &[&str]) -> Pipeline {
        let mut config = Config::default();
        config.pipeline.jobs = jobs.iter().map(|&job| job.to_owned()).collect();
        Pipeline::of(&config)
    }

    fn check(jobs: &[&str], name: &str, state: &str, reads: &[&str], writes: &[&str]) {
        let pipeline = pipeline(jobs);
        assert_eq!((pipeline.name().as_str(), pipeline.state_dir(Path::new("D"))), (name, state.into()));
        let read: Vec<&str> = apart::TOPICS.into_iter().filter(|topic| pipeline.reads(topic)).collect();
        assert_eq!(read, reads);
        let mut config = Config::default();
        config.pipeline.jobs = jobs.iter().map(|&job| job.to_owned()).collect();
        let written: Vec<&str> = pipeline.outputs(&config.settings(&[], b"")).collect();
        assert_eq!(written, writes);
    }

    #[test]
    fn a_pipeline_has_its_name_its_folder_and_its_topics() {
        let sales = ["facts.orders", "facts.stock", "facts.tickets", "dead-letters"];
        let all = [&sales[..], &["facts.commissions", "facts.fraud"]].concat();
        let undrawn = &sales::TOPICS[..8];
        check(&["sales", "fraud", "commissions"], "sales", "D", undrawn, &all);
        let drawn = [&all[..], &["facts.draws", "facts.publications", "facts.winnings"]].concat();
        check(&["sales", "fraud", "commissions", "draws"], "sales", "D", &sales::TOPICS, &drawn);
        check(&["sales"], "sales", "D", undrawn, &[&sales[..], &["facts.screening"]].concat());
        let fraud = ["oltp.public.velocity_rules", "facts.screening"];
        check(&["fraud"], "fraud", "D/jobs/fraud", &fraud, &["facts.fraud"]);
        let reads = [
            "oltp.public.partners",
            "oltp.public.commission_rates",
            "oltp.public.commission_periods",
            "oltp.public.velocity_rules",
            "facts.orders",
            "facts.screening",
        ];
        let both = ["facts.commissions", "facts.fraud"];
        check(
            &["commissions", "fraud", "fraud"],
            "fraud+commissions",
            "D/jobs/fraud+commissions",
            &reads,
            &both,
        );
    }

    #[test]
    fn the_topics_of_sales_have_the_same_numbers_everywhere() {
        assert_eq!(apart::TOPICS[..sales::TOPICS.len()], sales::TOPICS);
    }
}
