//! `tombola migrate`: tables in PostgreSQL and ClickHouse, planned first and then made.

use super::place::Place;
use super::{Failure, output};
use crate::config::{AnalyticsKind, Config, ServingKind};
use crate::pipeline::Pipeline;
use crate::stores::{StoreError, clickhouse, mirror, postgres};
use sinks::clickhouse as ch;
use sinks::migration::Migration;
use sinks::postgres::{self as pg, MigrationSet, PostgresSettings};

/// Make the tables that the settings call for: serving tables in PostgreSQL, facts in ClickHouse.
///
/// Run it as the owner of the schema, before the first start and after each update; it is idempotent, and one
/// transaction. With --oltp it makes the reference tables instead (offers, partners, customers, commission rates and
/// periods, velocity rules, draws, channels, prizes of boxes, trips and seats) and an outbox in schema `public` of a database of yours, for Debezium to capture.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tombola migrate --config tombola.toml --plan
  tombola migrate --config tombola.toml
  tombola migrate --config tombola.toml --roles             roles with least rights, as an administrator
  tombola migrate --oltp --url postgres://postgres@127.0.0.1:5432/shop")]
pub struct Migrate {
    #[command(flatten)]
    place: Place,
    /// Show what is still to be applied; change nothing.
    #[arg(long)]
    plan: bool,
    /// Make the reference tables, the outbox and the publications that Debezium reads.
    #[arg(long)]
    oltp: bool,
    /// Make the roles and their grants, too: an administrator's step.
    #[arg(long)]
    roles: bool,
    /// Connect with this instead of postgres.url: migrations are the owner's, not the pipeline's.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

impl Migrate {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let config = self.place.load()?;
        if !self.oltp
            && config.serving.kind == ServingKind::Embedded
            && config.analytics.kind == AnalyticsKind::None
        {
            return Err(Failure::Usage(
                "nothing to migrate: the embedded stores make their tables themselves; set serving.kind or \
                 analytics.kind, or name --oltp"
                    .to_owned(),
            ));
        }
        if self.oltp {
            return self.postgres(&config, MigrationSet::Oltp);
        }
        if config.serving.kind == ServingKind::Postgres {
            self.postgres(&config, MigrationSet::Serving)?;
        }
        if config.analytics.kind == AnalyticsKind::Clickhouse {
            self.clickhouse(&config)?;
        }
        Ok(())
    }

    fn clickhouse(&self, config: &Config) -> Result<(), Failure> {
        let settings = clickhouse::settings(&config.clickhouse);
        let done = if self.plan { ch::plan(&settings) } else { ch::migrate(&settings) };
        self.say(&settings.place(), &done.map_err(StoreError::from)?);
        if !config.mirror.topics.is_empty() && !self.plan {
            // Its tables the mirror makes itself: it follows their sources.
            ch::create_database(&mirror::settings(config)).map_err(StoreError::from)?;
        }
        Ok(())
    }

    fn postgres(&self, config: &Config, set: MigrationSet) -> Result<(), Failure> {
        let settings = self.settings(config);
        let done = if self.plan { pg::plan(&settings, set) } else { pg::migrate(&settings, set) };
        self.say(&settings.place(), &done.map_err(StoreError::from)?);
        if self.roles && !self.plan {
            pg::grant_roles(&settings, set).map_err(StoreError::from)?;
            output::print(&format!("{}: roles are there, with their grants\n", settings.place()));
        }
        Ok(())
    }

    fn settings(&self, config: &Config) -> PostgresSettings {
        let mut settings = postgres::settings(config, &Pipeline::of(config).name());
        if let Some(url) = &self.url {
            settings.url = url.clone();
        }
        settings
    }

    /// What was applied, or is still to be.
    fn say(&self, place: &str, migrations: &[Migration]) {
        let what = if self.plan { "to be applied" } else { "applied" };
        let told = migrations.iter().filter(|migration| !(self.plan && migration.applied));
        let lines: String = told.map(|m| format!("{place}: {what}: {:04} {}\n", m.number, m.name)).collect();
        output::print(&if lines.is_empty() { format!("{place}: nothing to apply\n") } else { lines });
    }
}
