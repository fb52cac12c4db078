//! Bounds of the settings, each component's in one list.

use super::JOBS;
use super::sections::{
    Analytics, AnalyticsKind, Api, Clickhouse, Draws, Feeds, Fraud, Kafka, Log, Mirror, Orders, Pipeline,
    Postgres, Publishing, Runtime, Snapshots, Tickets, Tracing,
};

/// A setting out of its bounds.
pub struct Problem {
    pub section: &'static str,
    pub key: &'static str,
    pub problem: &'static str,
    pub remedy: &'static str,
}

type Checks = Vec<Option<Problem>>;

const YEAR_MS: i64 = 366 * 86_400_000;
const HORIZON_MS_MAX: i64 = 300 * 86_400_000;

/// Refuses `section.key` unless it is fine.
fn check(section: &'static str, key: &'static str, fine: bool, problem: &'static str) -> Option<Problem> {
    let remedy = "change it, or leave it out to get the default that `tombola config` shows";
    (!fine).then_some(Problem { section, key, problem, remedy })
}

impl Pipeline {
    pub(super) fn checks(&self) -> Checks {
        let jobs = !self.jobs.is_empty() && self.jobs.iter().all(|job| JOBS.contains(&job.as_str()));
        let named = |job: &str| self.jobs.iter().any(|named| named == job);
        let within = !named("draws") || named("sales");
        vec![
            check(
                "pipeline",
                "jobs",
                within,
                "names draws, which runs only in one dataflow with sales: name both",
            ),
            check("pipeline", "workers", (1..=64).contains(&self.workers), "must be 1 to 64"),
            check(
                "pipeline",
                "jobs",
                jobs,
                "may only name jobs that exist: sales, fraud, commissions, draws",
            ),
        ]
    }
}

impl Log {
    pub(super) fn checks(&self) -> Checks {
        let partitions = (1..=1_000).contains(&self.topic_partitions);
        vec![check("log", "topic_partitions", partitions, "must be 1 to 1000")]
    }
}

impl Kafka {
    pub(super) fn checks(&self) -> Checks {
        let partitions = (1..=1_000).contains(&self.facts_partitions);
        vec![
            check("kafka", "bootstrap", !self.bootstrap.is_empty(), "must name a broker: host:port"),
            check(
                "kafka",
                "registry_url",
                is_http(&self.registry_url),
                "must begin with http:// or https://",
            ),
            check("kafka", "replication", (1..=9).contains(&self.replication), "must be 1 to 9"),
            check("kafka", "retention_ms", self.retention_ms >= -1, "must be -1 (for ever) or more"),
            check("kafka", "facts_partitions", partitions, "must be 1 to 1000"),
            check("kafka", "commit_interval_ms", self.commit_interval_ms <= 1_000, "must be 0 to 1000"),
        ]
    }
}

impl Postgres {
    pub(super) fn checks(&self) -> Checks {
        vec![check(
            "postgres",
            "schema",
            is_name(&self.schema),
            "must be of a-z, 0-9 and _, and begin with a letter",
        )]
    }
}

impl Clickhouse {
    pub(super) fn checks(&self) -> Checks {
        let check = |key, fine, problem| check("clickhouse", key, fine, problem);
        vec![
            check("url", is_http(&self.url), "must begin with http:// or https://"),
            check("database", is_name(&self.database), "must be of a-z, 0-9 and _, and begin with a letter"),
            check("batch_ms", (10..=60_000).contains(&self.batch_ms), "must be 10 to 60000"),
        ]
    }
}

impl Mirror {
    pub(super) fn checks(&self, analytics: &Analytics) -> Checks {
        let check = |key, fine, problem| check("mirror", key, fine, problem);
        let there = self.topics.is_empty() || analytics.kind == AnalyticsKind::Clickhouse;
        vec![
            check("topics", there, "needs analytics.kind = \"clickhouse\""),
            check("database", is_name(&self.database), "must be of a-z, 0-9 and _, and begin with a letter"),
            check("interval_ms", (10..=60_000).contains(&self.interval_ms), "must be 10 to 60000"),
        ]
    }
}

impl Snapshots {
    pub(super) fn checks(&self) -> Checks {
        let known =
            self.url.as_ref().is_none_or(|url| url.starts_with("s3://") || url.starts_with("file:///"));
        vec![check("snapshots", "url", known, "must begin with s3:// or file:///")]
    }
}

fn is_http(url: &str) -> bool {
    url.starts_with("http://") || url.starts_with("https://")
}

/// What needs no quoting in SQL.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 40
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

impl Runtime {
    pub(super) fn checks(&self) -> Checks {
        let check = |key, fine, problem| check("runtime", key, fine, problem);
        let idle = (self.epoch_ms..=10_000).contains(&self.idle_epoch_ms);
        let in_flight = (1..=10_000).contains(&self.epochs_in_flight_max);
        vec![
            check("epoch_ms", (1..=10_000).contains(&self.epoch_ms), "must be 1 to 10000"),
            check("idle_epoch_ms", idle, "must be epoch_ms to 10000"),
            check("epoch_records_max", self.epoch_records_max > 0, "must be at least 1"),
            check("epochs_in_flight_max", in_flight, "must be 1 to 10000"),
            check("snapshot_every_ms", self.snapshot_every_ms >= 100, "must be at least 100"),
            check(
                "claim_ahead_ms_max",
                (0..=1_000 * YEAR_MS).contains(&self.claim_ahead_ms_max),
                "must be between 0 and 1,000 years",
            ),
        ]
    }
}

impl Orders {
    pub(super) fn checks(&self) -> Checks {
        let check =
            |key, ms: i64, min, max, problem| check("orders", key, (min..=max).contains(&ms), problem);
        let ten_years = 10 * YEAR_MS;
        let horizon_ms = self.idempotency_horizon_ms;
        vec![
            check("grace_ms", self.grace_ms, 0, ten_years, "must be 0 to ten years"),
            check("hold_ttl_ms", self.hold_ttl_ms, 1, ten_years, "must be 1 to ten years"),
            check("order_retention_ms", self.order_retention_ms, 0, ten_years, "must be 0 to ten years"),
            check("idempotency_horizon_ms", horizon_ms, 0, HORIZON_MS_MAX, "must be 0 to 300 days"),
            check("review_timeout_ms", self.review_timeout_ms, 1, ten_years, "must be 1 to ten years"),
        ]
    }
}

impl Fraud {
    pub(super) fn checks(&self) -> Checks {
        let check = |key, ms: i64| check("fraud", key, (0..=YEAR_MS).contains(&ms), "must be 0 to one year");
        vec![
            check("lateness_ms", self.lateness_ms),
            check("history_ms_min", self.history_ms_min),
            check("decline_horizon_ms", self.decline_horizon_ms),
        ]
    }
}

impl Draws {
    pub(super) fn checks(&self) -> Checks {
        let age = (1..=10 * YEAR_MS).contains(&self.publish_max_age_ms);
        let named = |names: &[String]| names.iter().all(|name| (1..=128).contains(&name.len()));
        vec![
            check("draws", "publish_max_age_ms", age, "must be 1 to ten years"),
            check("draws", "templates", named(&self.templates), "must have 1 to 128 bytes each"),
            check("draws", "locales", named(&self.locales), "must have 1 to 128 bytes each"),
        ]
    }
}

impl Publishing {
    pub(super) fn checks(&self) -> Checks {
        let check = |key, fine, problem| check("publishing", key, fine, problem);
        let known = self.images_url.as_ref();
        let known = known.is_none_or(|url| url.starts_with("s3://") || url.starts_with("file:///"));
        let public = self.images_public_url.as_ref().is_none_or(|url| is_http(url));
        let named = |source: &String| source.starts_with("file:") || source.starts_with("env:");
        vec![
            check("images_url", known, "must begin with s3:// or file:///"),
            check("images_public_url", public, "must begin with http:// or https://"),
            check("attempts", (1..=100).contains(&self.attempts), "must be 1 to 100"),
            check("backoff_ms", (1..=3_600_000).contains(&self.backoff_ms), "must be 1 ms to an hour"),
            check("backoff_ms_max", self.backoff_ms_max >= self.backoff_ms, "must be backoff_ms or more"),
            check("connect_timeout_ms", self.connect_timeout_ms > 0, "must be at least 1"),
            check("timeout_ms", (100..=600_000).contains(&self.timeout_ms), "must be 100 to 600000"),
            check(
                "channel_posts_per_minute",
                (1..=6_000).contains(&self.channel_posts_per_minute),
                "must be 1 to 6000",
            ),
            check("channel_burst", (1..=1_000).contains(&self.channel_burst), "must be 1 to 1000"),
            check("breaker_failures", (1..=100).contains(&self.breaker_failures), "must be 1 to 100"),
            check("age_ms_max", self.age_ms_max > 0, "must be at least 1"),
            check(
                "secrets",
                self.secrets.values().all(named),
                "may only hold \"file:/path\" and \"env:VARIABLE\"",
            ),
        ]
    }
}

impl Tickets {
    pub(super) fn checks(&self) -> Checks {
        let long = self.key.as_ref().is_none_or(|key| key.len() >= 16);
        let one = self.key.is_none() || self.key_file.is_none();
        vec![
            check("tickets", "key", long, "must have at least 16 characters"),
            check("tickets", "key_file", one, "can't be given together with key: leave one of them out"),
        ]
    }
}

impl Feeds {
    pub(super) fn checks(&self) -> Checks {
        let check = |key, fine, problem| check("feeds", key, fine, problem);
        let day_ms = 86_400_000;
        vec![
            check("interval_ms", (100..=day_ms).contains(&self.interval_ms), "must be 100 to one day"),
            check("jitter_ms", self.jitter_ms <= day_ms, "must be 0 to one day"),
            check("timeout_ms", (1..=3_600_000).contains(&self.timeout_ms), "must be 1 to one hour"),
            check("bytes_max", (1..=1 << 30).contains(&self.bytes_max), "must be 1 to 1073741824"),
            check("backoff_ms", (1..=day_ms).contains(&self.backoff_ms), "must be 1 to one day"),
            check(
                "backoff_ms_max",
                (self.backoff_ms..=day_ms).contains(&self.backoff_ms_max),
                "must be backoff_ms to one day",
            ),
        ]
    }
}

impl Api {
    pub(super) fn checks(&self) -> Checks {
        let check = |key, fine, problem| check("api", key, fine, problem);
        let listen = self.listen.parse::<std::net::SocketAddr>().is_ok();
        let url = self.jwks_url.as_ref().is_none_or(|url| is_http(url));
        vec![
            check("listen", listen, "must be an address and a port, such as 127.0.0.1:8080"),
            check("jwks_url", url, "must begin with http:// or https://"),
            check(
                "body_bytes_max",
                (1_024..=16_777_216).contains(&self.body_bytes_max),
                "must be 1024 to 16777216",
            ),
            check("request_ms_max", (100..=600_000).contains(&self.request_ms_max), "must be 100 to 600000"),
            check("wait_ms_max", (1..=600_000).contains(&self.wait_ms_max), "must be 1 to 600000"),
            check("in_flight_max", (1..=1_000_000).contains(&self.in_flight_max), "must be 1 to 1000000"),
            check("requests_per_s_max", self.requests_per_s_max > 0, "must be at least 1"),
            check("connections_max", (1..=1_000_000).contains(&self.connections_max), "must be 1 to 1000000"),
            check("live_max", self.live_max <= 1_000_000, "must be at most 1000000"),
            check("live_of_one_max", self.live_of_one_max > 0, "must be at least 1"),
            check("readers", (1..=256).contains(&self.readers), "must be 1 to 256"),
            check("frontier_age_ms_max", self.frontier_age_ms_max >= 1_500, "must be at least 1500"),
        ]
    }
}

impl Tracing {
    pub(super) fn checks(&self) -> Checks {
        let url = |url: &String| url.starts_with("http://") || url.starts_with("https://");
        let otlp_url = self.otlp_url.as_ref().is_none_or(url);
        let waiting = (512..=1_000_000).contains(&self.spans_waiting_max);
        let commands = (1..=10_000_000).contains(&self.commands_max);
        vec![
            check("tracing", "otlp_url", otlp_url, "must begin with http:// or https://"),
            check("tracing", "sampled_bps", self.sampled_bps <= 10_000, "must be 0 to 10000"),
            check("tracing", "service", !self.service.is_empty(), "must not be empty"),
            check("tracing", "spans_waiting_max", waiting, "must be 512 to 1000000"),
            check("tracing", "commands_max", commands, "must be 1 to 10000000"),
        ]
    }
}
