//! Every setting there is, by component, each with its meaning, unit and default.
//!
//! What stands here is what `tombola config` prints. Settings that change decisions are recorded with each
//! generation (see [`super::Config::settings`]), so that a replay uses what held at the time.

use super::component::component;
use sinks::postgres::SslMode;
use std::collections::BTreeMap;
use std::path::PathBuf;

component! {
    /// Where the pipeline lives and how wide it is.
    pub struct Pipeline {
        /// The folder that holds everything: log.db (what producers append), tombola.db (bindings, progress,
        /// serving tables), snapshots/. Relative paths start at the current directory. `--data-dir` overrides it.
        data_dir: PathBuf = PathBuf::from("tombola-data");
        /// Worker threads. May change from one run to the next: results don't depend on it. 1 to 64.
        workers: usize = 1;
        /// Jobs to run as one pipeline. `sales` is order validation and inventory. `fraud` screens its valid orders by
        /// velocity rules; without it they pass unscreened. `commissions` keeps what partners earn of its confirmed
        /// sales. `draws` takes results of draws, settles prizes and publishes; it runs with `sales` only.
        /// Without `sales` the others run apart, on the facts it tells, with their state in data_dir/jobs/:
        /// rules that block or hold an order then only say so. `--jobs` overrides it.
        jobs: Vec<String> = ["sales", "fraud", "commissions", "draws"].map(str::to_owned).into();
    }
}

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogKind {
    Embedded,
    Kafka,
}

/// Which serving store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServingKind {
    Embedded,
    Postgres,
}

/// Which analytical store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnalyticsKind {
    None,
    Clickhouse,
}

component! {
    /// The log: input topics and facts.
    pub struct Log {
        /// "embedded": log.db in the data directory. "kafka": topics of the cluster that [kafka] names.
        kind: LogKind = LogKind::Embedded;
        /// Partitions of an input topic when it is first made; a topic that exists keeps its own. Records of one
        /// key share a partition. More than workers gain nothing. 1 to 1000.
        topic_partitions: u32 = 4;
    }
}

component! {
    /// Apache Kafka and the schema registry, where log.kind is "kafka".
    pub struct Kafka {
        /// Brokers to ask first: host:port, separated by commas.
        bootstrap: String = "127.0.0.1:9092".to_owned();
        /// Further properties of librdkafka, passed through: { "security.protocol" = "SASL_SSL", "ssl.ca.location" =
        /// "/etc/tombola/kafka-ca.pem", … }. TLS and SASL/SCRAM need a build with `--features kafka-tls`. Secrets: "${file:/path}" stands for a file's content.
        properties: BTreeMap<String, String> = BTreeMap::new();
        /// URL of a Confluent-compatible schema registry.
        registry_url: String = "http://127.0.0.1:8081".to_owned();
        /// User of the registry, if it asks for one.
        registry_user: Option<String> = None, example "\"tombola\"";
        /// File that holds the password of the registry's user.
        registry_password_file: Option<PathBuf> = None, example "\"/etc/tombola/registry.password\"";
        /// Copies of each partition of a topic that `tombola topics apply` makes, or a pipeline for itself. 1 to 9.
        replication: i32 = 1;
        /// How long input topics and facts are kept, in milliseconds; -1 for ever. A replay reaches as far back.
        retention_ms: i64 = -1;
        /// Partitions of a topic of facts when it is first made. 1 to 1000.
        facts_partitions: u32 = 4;
        /// How far apart transactions of facts begin at least, in milliseconds. More: brokers have less to do, and decisions are
        /// seen that much later. 0 to 1000; 0: as soon as the one before is done.
        commit_interval_ms: u64 = 25;
        /// Whether a pipeline, or its loader, that has read nothing of a partition yet begins where its log begins, though
        /// retention has taken what was before. Without it such a partition stops the run. What is bound is wanted either way.
        from_log_start: bool = false;
    }
}

component! {
    /// Serving: bindings, progress and the tables that answers are given from.
    pub struct Serving {
        /// "embedded": tombola.db in the data directory. "postgres": the database that [postgres] names.
        kind: ServingKind = ServingKind::Embedded;
    }
}

component! {
    /// PostgreSQL, where serving.kind is "postgres". `tombola migrate` makes the tables.
    pub struct Postgres {
        /// Connection string, as libpq takes it, without a password. Of several hosts (host:port,host:port) the first that takes
        /// writes is used: the primary, and the standby that is promoted in its place.
        url: String = "postgres://tombola_pipeline@127.0.0.1:5432/tombola".to_owned();
        /// File that holds the password; without it the variable TOMBOLA_POSTGRES_PASSWORD, if set.
        password_file: Option<PathBuf> = None, example "\"/etc/tombola/postgres.password\"";
        /// "disable": plaintext. "require": encrypted, to whoever answers. "verify-full": encrypted, and the server's
        /// certificate must be for the host in url, by a trusted authority. Without it "disable" to this machine,
        /// "verify-full" to any other. Nothing falls back to plaintext.
        sslmode: Option<SslMode> = None, example "\"verify-full\"";
        /// File of the authorities (PEM) that may sign the server's certificate; without it those the system trusts.
        ca_file: Option<PathBuf> = None, example "\"/etc/tombola/postgres-ca.pem\"";
        /// Schema of the tables of the pipeline with sales; one without it has `<schema>_<its jobs>`.
        schema: String = "tombola".to_owned();
    }
}

component! {
    /// Analytics: a copy of all facts for dashboards. Its store may be slow or away; no decision waits for it.
    pub struct Analytics {
        /// "none", or "clickhouse": the server that [clickhouse] names.
        kind: AnalyticsKind = AnalyticsKind::None;
    }
}

component! {
    /// ClickHouse, where analytics.kind is "clickhouse". `tombola migrate` makes tables and views.
    pub struct Clickhouse {
        /// URL of its HTTP interface; https:// for TLS. The server's certificate must be for the host in it.
        url: String = "http://127.0.0.1:8123".to_owned();
        /// Database of the tables.
        database: String = "tombola".to_owned();
        /// User.
        user: String = "default".to_owned();
        /// File that holds the password; without it the variable TOMBOLA_CLICKHOUSE_PASSWORD, if set.
        password_file: Option<PathBuf> = None, example "\"/etc/tombola/clickhouse.password\"";
        /// File of the authorities (PEM) that may sign the server's certificate; without it those the system trusts.
        ca_file: Option<PathBuf> = None, example "\"/etc/tombola/clickhouse-ca.pem\"";
        /// Time between two batches, in milliseconds: how far analysts are behind. 10 to 60000.
        batch_ms: u64 = 500;
        /// Name of the cluster, where tables are to be replicated; without it a single server's.
        cluster: Option<String> = None, example "\"main\"";
    }
}

component! {
    /// The mirror: tables that Debezium captures, in ClickHouse as they are in their source.
    pub struct Mirror {
        /// Topics to mirror, `*` standing for anything: ["oltp.public.*"]. Each becomes a table of the newest rows and
        /// a view `<table>_current` that shows what a SELECT in the source would. Empty: none. Needs analytics.kind.
        topics: Vec<String> = Vec::new();
        /// Database of its tables, on the server that [clickhouse] names. Its user makes and changes tables there.
        database: String = "mirror".to_owned();
        /// Shortest time between two batches, in milliseconds: how far analysts are behind. 10 to 60000.
        interval_ms: u64 = 200;
    }
}

component! {
    /// Where snapshots go.
    pub struct Snapshots {
        /// Without it the folder snapshots/ beside the pipeline's state; else an object store: s3://BUCKET/PREFIX.
        url: Option<String> = None, example "\"s3://tombola-snapshots/production\"";
        /// Settings of the object store: { "aws_endpoint" = "http://127.0.0.1:9000", "aws_region" = "eu-central-1", … };
        /// what is not given comes from the variables AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and so on.
        options: BTreeMap<String, String> = BTreeMap::new();
    }
}

component! {
    /// Epochs, back-pressure and snapshots. None of these changes a decision.
    pub struct Runtime {
        /// Length of an epoch while there is work, in milliseconds. Shorter: sooner decided, more commits. 1 to 10000.
        epoch_ms: i64 = 10;
        /// Length of an epoch while there is none, in milliseconds. Timers fire with this resolution when idle.
        idle_epoch_ms: i64 = 100;
        /// Most records of one epoch. Soft: records of one millisecond stay together.
        epoch_records_max: usize = 4_000;
        /// Most epochs that may be minted and not yet decided; beyond it minting waits (back-pressure).
        epochs_in_flight_max: u64 = 16;
        /// Time between snapshots, in milliseconds. Shorter: sooner live after a crash, more writing.
        snapshot_every_ms: i64 = 10_000;
        /// How far ahead of the clock a record may claim to be, in milliseconds; beyond it the claim is cut back
        /// to the clock and counted.
        claim_ahead_ms_max: i64 = 300_000;
    }
}

component! {
    /// Rules of orders and holds. All of these change decisions and are recorded with each generation.
    pub struct Orders {
        /// How long an order waits for its offer, partner or customer to become known, and a cancel, payment or
        /// refund for its order, in milliseconds of the pipeline's now.
        grace_ms: i64 = 5_000;
        /// How long stock is held for an order that is not paid, in milliseconds of the pipeline's now. A lottery's draws
        /// belong closed at least so long before the drawing, or customers see what is drawn before they pay: docs/draws.md.
        hold_ttl_ms: i64 = 600_000;
        /// How long an order is remembered after its end, in milliseconds. A refund after that is a dead letter.
        order_retention_ms: i64 = 2_592_000_000;
        /// How long a command_id is remembered, in milliseconds of record time. The same command_id later than
        /// that is a new command.
        idempotency_horizon_ms: i64 = 86_400_000;
        /// How long an order waits in review for a review_decision before it is refused, in milliseconds of the
        /// pipeline's now.
        review_timeout_ms: i64 = 86_400_000;
        /// Tenants whose customers must be registered: an order by an unknown customer is refused there.
        tenants_requiring_customers: Vec<String> = Vec::new();
        /// Tenants that bill their customers afterwards: an order that is accepted there is confirmed at once,
        /// without a hold. A payment that is captured all the same is due back.
        tenants_billing_later: Vec<String> = Vec::new();
    }
}

component! {
    /// Velocity rules: what is kept for them. All of these change decisions and are recorded with each generation.
    pub struct Fraud {
        /// How far behind its key's newest event time an order may come and still be counted exactly, in
        /// milliseconds of event time. Later ones are judged and counted by what is still kept, and told as late. An order
        /// that claims to be further ahead of its record than this counts as that far ahead.
        lateness_ms: i64 = 60_000;
        /// Least history kept of every customer, card, device, address and partner and every metric, whether
        /// there are rules for it or not, so that a rule added later has something to start from. In
        /// milliseconds of event time; after raising it, wait as long. 0: only what rules ask for.
        history_ms_min: i64 = 0;
        /// How long after its order a declined payment is counted by the order's keys, in milliseconds of
        /// record time.
        decline_horizon_ms: i64 = 3_600_000;
    }
}

component! {
    /// Results of draws on their way to the public. All of these change decisions and are recorded with each generation.
    pub struct Draws {
        /// A result that was drawn longer ago than this is stored and rendered, not posted, in milliseconds of the
        /// pipeline's now.
        publish_max_age_ms: i64 = 86_400_000;
        /// Templates in which an image of every result is made, whatever the channels want; in each of these locales.
        templates: Vec<String> = Vec::new();
        /// Locales of those images.
        locales: Vec<String> = Vec::new();
    }
}

component! {
    /// Publishing: images of results and posts about them. None of these changes a decision.
    pub struct Publishing {
        /// Whether this pipeline renders and posts. Without it everything that is asked for waits; what has
        /// waited longer than age_ms_max is not posted any more.
        enabled: bool = false;
        /// Folder of templates, themes.json, brands.json and locales/ that stand before those that ship with
        /// Tombola.
        templates: Option<PathBuf> = None, example "\"/etc/tombola/templates\"";
        /// Where images go. Without it DATA_DIR/images; else a folder, file:///PATH, or a bucket, s3://BUCKET/PREFIX.
        images_url: Option<String> = None, example "\"s3://tombola-images/production\"";
        /// Settings of the object store, as under [snapshots].
        images_options: BTreeMap<String, String> = BTreeMap::new();
        /// URL under which anybody finds the images, for webhooks: the image's path is appended.
        images_public_url: Option<String> = None, example "\"https://images.example\"";
        /// Tries of an image or post before it is a dead letter. 1 to 100.
        attempts: i64 = 8;
        /// Wait after the first failure, in milliseconds; twice as long after each further one, and at least as
        /// long as the network asks for.
        backoff_ms: u64 = 1_000;
        /// Longest wait between two tries, in milliseconds.
        backoff_ms_max: u64 = 300_000;
        /// How long connecting to a network may take, in milliseconds.
        connect_timeout_ms: u64 = 5_000;
        /// How long one request to a network may take, in milliseconds.
        timeout_ms: u64 = 30_000;
        /// Posts of a channel per minute in the long run. 1 to 6000.
        channel_posts_per_minute: u32 = 20;
        /// Posts of a channel that may follow one another at once. 1 to 1000.
        channel_burst: u32 = 10;
        /// Failures in a row after which a channel is left alone. 1 to 100.
        breaker_failures: u32 = 5;
        /// How long it is left alone, in milliseconds.
        breaker_pause_ms: u64 = 30_000;
        /// Requests older than this, in milliseconds, are not posted: they become dead letters.
        age_ms_max: i64 = 86_400_000;
        /// Where the secret of each channel is: { "TENANT/CHANNEL" = "file:/path", "TENANT/OTHER" = "env:VARIABLE" }.
        /// It is read for each post, and sent over TLS or to this machine only.
        secrets: BTreeMap<String, String> = BTreeMap::new();
    }
}

component! {
    /// Tickets and the key they are signed with. With neither setting, a random key is made at the first start
    /// and kept in DATA_DIR/ticket.key. A ticket's signature depends on the key, the rest of it doesn't.
    pub struct Tickets {
        /// The key itself, as text of at least 16 characters. Prefer key_file: configuration files get copied.
        key: Option<String> = None, example "\"sixteen characters or more\"";
        /// A file that holds the key (surrounding white space is dropped).
        key_file: Option<PathBuf> = None, example "\"/etc/tombola/ticket.key\"";
    }
}

component! {
    /// Feeds: draw results polled from their publishers. `tombola run` polls them, or `tombola feeds run` alone.
    pub struct Feeds {
        /// Mapping files, one for each source: where its documents are and how they become results. Relative paths
        /// start at the current directory; deploy/feeds has some, docs/feeds.md explains them.
        mappings: Vec<PathBuf> = Vec::new();
        /// Time between two polls of a source, in milliseconds; a mapping may say otherwise. 100 to one day.
        interval_ms: u64 = 60_000;
        /// Up to so much is added to every wait, in milliseconds, so that sources are not all polled at once.
        jitter_ms: u64 = 5_000;
        /// How long an answer may take in all, in milliseconds; a mapping may say otherwise.
        timeout_ms: u64 = 20_000;
        /// Most bytes of a document; a mapping may say otherwise.
        bytes_max: u64 = 33_554_432;
        /// Wait after a first failure, in milliseconds; doubled with each further one …
        backoff_ms: u64 = 5_000;
        /// … up to this.
        backoff_ms_max: u64 = 900_000;
    }
}

component! {
    /// The HTTP API, where it is served: `tombola demo`, `tombola run --api`, `tombola api`.
    pub struct Api {
        /// Address that `tombola api` and the demo listen on: host:port. TLS is the proxy's in front.
        listen: String = "127.0.0.1:8080".to_owned();
        /// Nobody has to say who they are, and everybody may do everything: for development, on a loopback
        /// address only. The demo sets it.
        open: bool = false;
        /// File of API keys: their SHA-256, and whose they are (docs/api.md shows one).
        keys_file: Option<PathBuf> = None, example "\"/etc/tombola/api-keys.toml\"";
        /// File of the public keys that tokens (JWT, RS256 or EdDSA) are verified with.
        jwks_file: Option<PathBuf> = None, example "\"/etc/tombola/jwks.json\"";
        /// URL of such keys; asked again when a token names one that isn't known, and every five minutes.
        jwks_url: Option<String> = None, example "\"https://login.example.com/.well-known/jwks.json\"";
        /// File of a secret that tokens (JWT, HS256) are verified with, for development. 32 characters or more.
        jwt_secret_file: Option<PathBuf> = None, example "\"/etc/tombola/jwt.secret\"";
        /// Issuer (`iss`) that tokens must name.
        jwt_issuer: Option<String> = None, example "\"https://login.example.com/\"";
        /// Audience (`aud`) that tokens must name.
        jwt_audience: Option<String> = None, example "\"tombola\"";
        /// Largest body of a request, in bytes.
        body_bytes_max: usize = 65_536;
        /// Longest time for a request, in milliseconds, waiting for its decision aside.
        request_ms_max: u64 = 10_000;
        /// Longest time a request may wait for its decision (`wait_ms`), in milliseconds.
        wait_ms_max: u64 = 30_000;
        /// Most requests handled at once; more are turned away with 503. At most three quarters of them wait for a decision, half of
        /// those of one key: a command beyond that is answered as one that doesn't wait. Well below connections_max: who waits to be accepted can't be told.
        in_flight_max: usize = 1_024;
        /// Most requests a second of one key or token; more are turned away with 429.
        requests_per_s_max: u32 = 20_000;
        /// Most open connections; more wait to be accepted.
        connections_max: usize = 4_096;
        /// Most clients that follow live.
        live_max: usize = 1_000;
        /// Most of them of one key or token; more are turned away with 429. Doesn't count where `open` is true.
        live_of_one_max: usize = 500;
        /// Connections that read tables, two at least. At most half of them look through rows that no key leads to.
        readers: usize = 4;
        /// How old the decided frontier may be before /readyz says no, in milliseconds.
        frontier_age_ms_max: u64 = 10_000;
    }
}

component! {
    /// Traces (OpenTelemetry), of the API and of the pipeline. No decision waits for them or depends on them.
    pub struct Tracing {
        /// URL of a collector that takes OTLP over HTTP; spans go to <URL>/v1/traces. Without it nothing is traced.
        /// Further headers for it: the variable OTEL_EXPORTER_OTLP_HEADERS, "name=value" separated by commas.
        otlp_url: Option<String> = None, example "\"http://127.0.0.1:4318\"";
        /// How many of the requests to the API that bring no `traceparent` are traced, in basis points: 10000 is all
        /// of them, 100 one in a hundred. One that brings a `traceparent` is traced where that says so.
        sampled_bps: u32 = 10_000;
        /// What the pipeline is called in traces; the API is called the same with `-api` behind it.
        service: String = "tombola".to_owned();
        /// Most spans that may wait for the collector; more are dropped and counted.
        spans_waiting_max: usize = 16_384;
        /// Traced commands remembered, the newest: what they bring about is told with their trace.
        commands_max: usize = 65_536;
    }
}
