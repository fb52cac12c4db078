//! Configuration: one TOML file, one section per component, every key with a default.
//!
//! ```text
//!   tombola.toml ─ parse (unknown keys refused) ─> Config ─ check (bounds) ─> Config
//! ```
//!
//! A bad file stops the program before it touches anything, with exit code 2 and a message that names the
//! file, the line, what is wrong and what to do. A crash can't leave anything here: the file is only read.

mod bounds;
pub mod component;
pub mod sections;
mod ticket_key;

use bounds::Problem;
use operators::settings::{Settings, TicketKey};
pub use sections::{
    Analytics, AnalyticsKind, Api, Clickhouse, Draws, Feeds, Fraud, Kafka, Log, LogKind, Mirror, Orders,
    Pipeline, Postgres, Publishing, Runtime, Serving, ServingKind, Snapshots, Tickets, Tracing,
};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The jobs this build knows.
pub const JOBS: &[&str] = &["sales", "fraud", "commissions", "draws"];

/// Name of the file that is read from the current directory where no `--config` is given.
pub const DEFAULT_FILE: &str = "tombola.toml";

/// Everything that can be configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub pipeline: Pipeline,
    pub log: Log,
    pub kafka: Kafka,
    pub serving: Serving,
    pub postgres: Postgres,
    pub analytics: Analytics,
    pub clickhouse: Clickhouse,
    pub mirror: Mirror,
    pub snapshots: Snapshots,
    pub runtime: Runtime,
    pub orders: Orders,
    pub fraud: Fraud,
    pub draws: Draws,
    pub publishing: Publishing,
    pub tickets: Tickets,
    pub feeds: Feeds,
    pub api: Api,
    pub tracing: Tracing,
}

/// A configuration that can't be used. The program ends with exit code 2.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    #[error(
        "{}: can't be read: {problem}; name an existing file with --config, or write one with `tombola config > {DEFAULT_FILE}`",
        path.display()
    )]
    Unreadable { path: PathBuf, problem: String },
    #[error("{}:{line}: {problem}; {remedy}", path.display())]
    Invalid { path: PathBuf, line: usize, problem: String, remedy: String },
    #[error(
        "--jobs names draws without sales; tickets are in a draw by their place among orders, so name sales, too"
    )]
    DrawsApart,
    #[error("{}: the ticket key can't be used: {problem}; {remedy}", path.display())]
    TicketKey { path: PathBuf, problem: String, remedy: &'static str },
}

impl Config {
    /// Reads `path`; without one, `tombola.toml` of the current directory where there is one, else the defaults.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
        let path = match path {
            Some(path) => path,
            None if Path::new(DEFAULT_FILE).exists() => Path::new(DEFAULT_FILE),
            None => return Ok(Config::default()),
        };
        let text = std::fs::read_to_string(path)
            .map_err(|e| ConfigError::Unreadable { path: path.to_owned(), problem: e.to_string() })?;
        Config::parse(path, &text)
    }

    /// Parses and checks `text`, which came from `path`.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with the line.
    pub fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
        let config: Config = toml::from_str(text).map_err(|e| invalid_syntax(path, text, &e))?;
        match config.first_problem() {
            None => Ok(config),
            Some(Problem { section, key, problem, remedy }) => Err(ConfigError::Invalid {
                path: path.to_owned(),
                line: line_of_key(text, section, key),
                problem: format!("{section}.{key} {problem}"),
                remedy: remedy.to_owned(),
            }),
        }
    }

    /// The whole file with every setting at its present value and documented: `tombola config`.
    pub fn describe(&self) -> String {
        let mut out = String::from(
            "# Tombola's settings, each with its default. A key that is left out takes its default;\n\
             # a key that isn't known is refused. Times are in milliseconds (_ms), bounds end in _max.\n",
        );
        type Describe<'a> = &'a dyn Fn(&mut String);
        let sections: [(&str, &str, Describe); 18] = [
            ("pipeline", "Where the pipeline lives and how wide it is.", &|o| self.pipeline.describe(o)),
            ("log", "The log: what producers append, and facts.", &|o| self.log.describe(o)),
            ("kafka", "Apache Kafka and its schema registry, for log.kind = \"kafka\".", &|o| {
                self.kafka.describe(o)
            }),
            ("serving", "Bindings, progress and serving tables.", &|o| self.serving.describe(o)),
            ("postgres", "PostgreSQL, for serving.kind = \"postgres\".", &|o| self.postgres.describe(o)),
            ("analytics", "A copy of all facts for dashboards; no decision waits for it.", &|o| {
                self.analytics.describe(o)
            }),
            ("clickhouse", "ClickHouse, for analytics.kind = \"clickhouse\".", &|o| {
                self.clickhouse.describe(o)
            }),
            (
                "mirror",
                "Captured tables in ClickHouse, as they are in their source; no decision waits for it.",
                &|o| self.mirror.describe(o),
            ),
            ("snapshots", "Where snapshots go.", &|o| self.snapshots.describe(o)),
            ("runtime", "Epochs, back-pressure, snapshots. None changes a decision.", &|o| {
                self.runtime.describe(o)
            }),
            (
                "orders",
                "Rules of orders and holds. All change decisions; a replay uses what was recorded.",
                &|o| self.orders.describe(o),
            ),
            (
                "fraud",
                "What is kept for velocity rules. All change decisions; a replay uses what was recorded.",
                &|o| self.fraud.describe(o),
            ),
            (
                "draws",
                "How results get to the public. All change decisions; a replay uses what was recorded.",
                &|o| self.draws.describe(o),
            ),
            ("publishing", "Images of draw results and posts about them; no decision waits for it.", &|o| {
                self.publishing.describe(o)
            }),
            (
                "tickets",
                "Without key or key_file a random key is made at the first start: DATA_DIR/ticket.key.",
                &|o| self.tickets.describe(o),
            ),
            ("feeds", "Draw results polled from their publishers. None changes a decision.", &|o| {
                self.feeds.describe(o)
            }),
            ("api", "The HTTP API. Somebody must be able to say who they are: keys or tokens.", &|o| {
                self.api.describe(o)
            }),
            ("tracing", "Traces of the API and the pipeline, to an OpenTelemetry collector.", &|o| {
                self.tracing.describe(o)
            }),
        ];
        for (name, about, describe) in sections {
            let _ = writeln!(out, "\n# {about}\n[{name}]\n");
            describe(&mut out);
            out.truncate(out.trim_end().len());
            out.push('\n');
        }
        out
    }

    /// What changes decisions, as the operators take it and a generation records it. `topics` are the
    /// inputs in the order in which the job declares them.
    pub fn settings(&self, topics: &[&str], ticket_key: &[u8]) -> Settings {
        let orders = &self.orders;
        Settings {
            grace_ms: orders.grace_ms,
            hold_ttl_ms: orders.hold_ttl_ms,
            order_retention_ms: orders.order_retention_ms,
            idempotency_horizon_ms: orders.idempotency_horizon_ms,
            review_timeout_ms: orders.review_timeout_ms,
            fraud_screening: self.runs("fraud"),
            fraud_lateness_ms: self.fraud.lateness_ms,
            fraud_history_ms_min: self.fraud.history_ms_min,
            fraud_decline_horizon_ms: self.fraud.decline_horizon_ms,
            commission_statements: self.runs("commissions"),
            draws: self.runs("draws"),
            publish_max_age_ms: self.draws.publish_max_age_ms,
            publish_templates: self.draws.templates.iter().map(Into::into).collect(),
            publish_locales: self.draws.locales.iter().map(Into::into).collect(),
            tenants_requiring_customers: orders.tenants_requiring_customers.iter().map(Into::into).collect(),
            tenants_billing_later: orders.tenants_billing_later.iter().map(Into::into).collect(),
            topics: topics.iter().map(|&topic| topic.to_owned()).collect(),
            ticket_key: TicketKey::new(ticket_key),
        }
    }

    /// Whether a job is configured.
    pub fn runs(&self, job: &str) -> bool {
        self.pipeline.jobs.iter().any(|name| name == job)
    }

    /// The key tickets are signed with; made and kept under `data_dir` where none is configured.
    ///
    /// # Errors
    /// [`ConfigError::TicketKey`].
    pub fn ticket_key(&self, data_dir: &Path) -> Result<Vec<u8>, ConfigError> {
        ticket_key::load(&self.tickets, data_dir)
    }

    fn first_problem(&self) -> Option<Problem> {
        let checks = [
            self.pipeline.checks(),
            self.log.checks(),
            self.kafka.checks(),
            self.postgres.checks(),
            self.clickhouse.checks(),
            self.mirror.checks(&self.analytics),
            self.snapshots.checks(),
            self.runtime.checks(),
            self.orders.checks(),
            self.fraud.checks(),
            self.draws.checks(),
            self.publishing.checks(),
            self.tickets.checks(),
            self.feeds.checks(),
            self.api.checks(),
            self.tracing.checks(),
        ];
        checks.into_iter().flatten().flatten().next()
    }
}

fn invalid_syntax(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    ConfigError::Invalid {
        path: path.to_owned(),
        line: text[..start].matches('\n').count() + 1,
        problem: error.message().trim().replace('\n', ", "),
        remedy: "`tombola config` prints every key with its type and default".to_owned(),
    }
}

/// The line (from 1) on which `key` of `[section]` is set; the section's where the key is not found.
fn line_of_key(text: &str, section: &str, key: &str) -> usize {
    let mut inside = "";
    let mut section_line = 1;
    for (index, line) in text.lines().enumerate().map(|(i, line)| (i + 1, line.trim())) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.split(']').next()) {
            inside = name.trim();
            section_line = if inside == section { index } else { section_line };
        } else if inside == section && line.split('=').next().is_some_and(|k| k.trim() == key) {
            return index;
        }
    }
    section_line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        Config::parse(Path::new("t.toml"), text).expect_err("must be refused").to_string()
    }

    #[test]
    fn the_printed_default_parses_to_the_default() {
        let text = Config::default().describe();
        assert_eq!(Config::parse(Path::new("default"), &text), Ok(Config::default()), "{text}");
    }

    #[test]
    fn settings_that_were_changed_are_printed_as_they_are() {
        let mut config = Config::default();
        config.orders.tenants_requiring_customers = vec!["a".to_owned(), "b".to_owned()];
        config.tickets.key = Some("a key of \"some\" length".to_owned());
        assert_eq!(Config::parse(Path::new("changed"), &config.describe()), Ok(config));
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(Config::parse(Path::new("empty"), ""), Ok(Config::default()));
    }

    #[test]
    fn the_committed_tombola_toml_is_what_tombola_config_prints() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tombola.toml");
        let text = std::fs::read_to_string(&path).expect("tombola.toml lies at the root");
        assert_eq!(text, Config::default().describe(), "run `tombola config > tombola.toml`");
    }

    #[test]
    fn every_refusal_names_file_line_problem_and_remedy() {
        for (text, wanted) in [
            ("[runtime]\nepoch_millis = 3\n", "t.toml:2: unknown field `epoch_millis`"),
            ("[runtime]\nepoch_ms = \"ten\"\n", "t.toml:2: invalid type: string \"ten\""),
            ("[runtime\n", "t.toml:1: "),
            ("[orders]\n\n[pipeline]\nworkers = 0\n", "t.toml:4: pipeline.workers must be 1 to 64"),
            (
                "[pipeline]\njobs = [\"sells\"]\n",
                "t.toml:2: pipeline.jobs may only name jobs that exist: sales, fraud, commissions, draws",
            ),
            ("[orders]\nhold_ttl_ms = -1\n", "t.toml:2: orders.hold_ttl_ms must be 1 to ten years"),
            ("[tickets]\nkey = \"short\"\n", "t.toml:2: tickets.key must have at least 16 characters"),
            ("workers = 2\n", "t.toml:1: unknown field `workers`"),
        ] {
            let message = message(text);
            assert!(message.starts_with(wanted), "{text:?}: {message}");
            assert!(message.contains("tombola config"), "{text:?} has no remedy: {message}");
        }
    }

    #[test]
    fn an_absent_file_is_refused_with_a_remedy() {
        let error = Config::load(Some(Path::new("/nowhere/t.toml"))).expect_err("absent");
        assert!(error.to_string().contains("name an existing file with --config"), "{error}");
    }

    #[test]
    fn the_defaults_are_the_operators_own() {
        let settings = Config::default().settings(&["commands.orders"], b"a very secret key");
        assert_eq!(settings.check(), Ok(()));
        let theirs = Settings::default();
        assert_eq!((settings.grace_ms, settings.hold_ttl_ms), (theirs.grace_ms, theirs.hold_ttl_ms));
        assert_eq!(settings.order_retention_ms, theirs.order_retention_ms);
        assert_eq!(settings.idempotency_horizon_ms, theirs.idempotency_horizon_ms);
        assert_eq!(settings.review_timeout_ms, theirs.review_timeout_ms);
        assert_eq!(settings.fraud_screening, theirs.fraud_screening);
        assert_eq!(settings.draws, theirs.draws);
        assert_eq!(settings.publish_max_age_ms, theirs.publish_max_age_ms);
        assert_eq!(settings.fraud_lateness_ms, theirs.fraud_lateness_ms);
        assert_eq!(settings.fraud_history_ms_min, theirs.fraud_history_ms_min);
        assert_eq!(settings.fraud_decline_horizon_ms, theirs.fraud_decline_horizon_ms);
    }
}
