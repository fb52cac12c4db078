-- Facts, append-only, one table per topic, and how far they are published.
-- Names between at signs are filled in: the engine, whether there is a cluster, the settings that make inserts
-- exactly once (deduplication is off by default on a single server) and durable (so is fsync).
-- Money is in the currency's minor unit.

CREATE TABLE IF NOT EXISTS facts_orders @on_cluster@ (
  tenant          LowCardinality(String),
  order_id        String,
  event           LowCardinality(String),
  command_id      String,
  offer_id        LowCardinality(String),
  offer_kind      LowCardinality(Nullable(String)),
  partner_id      LowCardinality(Nullable(String)),
  customer_id     String,
  quantity        Int32,
  amount_minor    Int64,
  currency        LowCardinality(String),
  reasons         Array(LowCardinality(String)),
  placed_at       DateTime64(3, 'UTC'),
  at              DateTime64(3, 'UTC'),   -- when it happened in the pipeline's order of time
  recorded_at     DateTime64(3, 'UTC'),   -- effective record time of its cause
  cause_command_id String,
  cause_topic     LowCardinality(String),
  cause_partition Int32,
  cause_offset    Int64,
  epoch           UInt64,                 -- decided it
  batch_epoch     UInt64,                 -- publishes it, with everything else of its batch
  topic_partition LowCardinality(String), -- of the fact: `facts.orders/0`
  offset          UInt64,
  INDEX offsets (offset) TYPE minmax GRANULARITY 8,
  INDEX batches (batch_epoch) TYPE minmax GRANULARITY 8
)
ENGINE = @MergeTree@
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (tenant, offer_id, at, order_id)
SETTINGS @settings@;

CREATE TABLE IF NOT EXISTS facts_stock @on_cluster@ (
  tenant          LowCardinality(String),
  offer_id        LowCardinality(String),
  order_id        Nullable(String),
  debit           LowCardinality(String),
  credit          LowCardinality(String),
  quantity        Int64,
  stock_total     Int64,
  available       Int64,
  held            Int64,
  sold            Int64,
  shrink_due      Int64,
  at              DateTime64(3, 'UTC'),   -- when it happened in the pipeline's order of time
  recorded_at     DateTime64(3, 'UTC'),   -- effective record time of its cause
  cause_command_id String,
  cause_topic     LowCardinality(String),
  cause_partition Int32,
  cause_offset    Int64,
  epoch           UInt64,                 -- decided it
  batch_epoch     UInt64,                 -- publishes it, with everything else of its batch
  topic_partition LowCardinality(String), -- of the fact: `facts.orders/0`
  offset          UInt64,
  INDEX offsets (offset) TYPE minmax GRANULARITY 8,
  INDEX batches (batch_epoch) TYPE minmax GRANULARITY 8
)
ENGINE = @MergeTree@
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (tenant, offer_id, at, offset)
SETTINGS @settings@;

CREATE TABLE IF NOT EXISTS facts_tickets @on_cluster@ (
  tenant          LowCardinality(String),
  ticket_id       String,
  order_id        String,
  offer_id        LowCardinality(String),
  numbers         Array(Int32),
  seat            Nullable(String),
  payload         String,
  at              DateTime64(3, 'UTC'),   -- when it happened in the pipeline's order of time
  recorded_at     DateTime64(3, 'UTC'),   -- effective record time of its cause
  cause_command_id String,
  cause_topic     LowCardinality(String),
  cause_partition Int32,
  cause_offset    Int64,
  epoch           UInt64,                 -- decided it
  batch_epoch     UInt64,                 -- publishes it, with everything else of its batch
  topic_partition LowCardinality(String), -- of the fact: `facts.orders/0`
  offset          UInt64,
  INDEX offsets (offset) TYPE minmax GRANULARITY 8,
  INDEX batches (batch_epoch) TYPE minmax GRANULARITY 8
)
ENGINE = @MergeTree@
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (tenant, offer_id, order_id, ticket_id)
SETTINGS @settings@;

CREATE TABLE IF NOT EXISTS facts_fraud @on_cluster@ (
  event           LowCardinality(String),
  tenant          LowCardinality(String),
  order_id        String,
  command_id      String,
  rule_id         LowCardinality(Nullable(String)),
  key             LowCardinality(String),
  key_value       String,
  metric          LowCardinality(Nullable(String)),
  value           Nullable(Int64),
  threshold       Nullable(Int64),
  window_ms       Nullable(Int64),
  action          LowCardinality(Nullable(String)),
  exact_since     Nullable(DateTime64(3, 'UTC')),
  late_by_ms      Nullable(Int64),
  placed_at       DateTime64(3, 'UTC'),
  at              DateTime64(3, 'UTC'),   -- when it happened in the pipeline's order of time
  recorded_at     DateTime64(3, 'UTC'),   -- effective record time of its cause
  cause_command_id String,
  cause_topic     LowCardinality(String),
  cause_partition Int32,
  cause_offset    Int64,
  epoch           UInt64,                 -- decided it
  batch_epoch     UInt64,                 -- publishes it, with everything else of its batch
  topic_partition LowCardinality(String), -- of the fact: `facts.orders/0`
  offset          UInt64,
  INDEX offsets (offset) TYPE minmax GRANULARITY 8,
  INDEX batches (batch_epoch) TYPE minmax GRANULARITY 8
)
ENGINE = @MergeTree@
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (tenant, at, order_id)
SETTINGS @settings@;

CREATE TABLE IF NOT EXISTS facts_screening @on_cluster@ (
  event           LowCardinality(String),
  tenant          LowCardinality(String),
  order_id        String,
  customer_id     Nullable(String),
  partner_id      LowCardinality(Nullable(String)),
  card            Nullable(String),
  device          Nullable(String),
  ip              Nullable(String),
  amount_minor    Nullable(Int64),
  currency        LowCardinality(Nullable(String)),
  event_at        DateTime64(3, 'UTC'),
  at              DateTime64(3, 'UTC'),   -- when it happened in the pipeline's order of time
  recorded_at     DateTime64(3, 'UTC'),   -- effective record time of its cause
  cause_command_id String,
  cause_topic     LowCardinality(String),
  cause_partition Int32,
  cause_offset    Int64,
  epoch           UInt64,                 -- decided it
  batch_epoch     UInt64,                 -- publishes it, with everything else of its batch
  topic_partition LowCardinality(String), -- of the fact: `facts.orders/0`
  offset          UInt64,
  INDEX offsets (offset) TYPE minmax GRANULARITY 8,
  INDEX batches (batch_epoch) TYPE minmax GRANULARITY 8
)
ENGINE = @MergeTree@
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (tenant, at, order_id)
SETTINGS @settings@;

CREATE TABLE IF NOT EXISTS facts_commissions @on_cluster@ (
  tenant          LowCardinality(String),
  partner_id      LowCardinality(String),
  month           LowCardinality(String),
  currency        LowCardinality(String),
  offer_kind      LowCardinality(String),
  base_delta_minor Int64,
  commission_delta_minor Int64,
  adjustment_delta_minor Int64,
  base_minor      Int64,
  commission_minor Int64,
  adjustment_minor Int64,
  computed_minor  Int64,
  status          LowCardinality(String),
  commission_base_minor Int64,
  plan            LowCardinality(Nullable(String)),
  valid_from      LowCardinality(Nullable(String)),
  -- floor_minor, rate_bps
  tiers           Array(Tuple(Int64, Int32)),
  -- kind, month, count, amount_minor, effect_minor, topic, partition, offset, recorded_at
  causes          Array(Tuple(String, String, Int64, Int64, Int64, String, Int32, Int64, DateTime64(3, 'UTC'))),
  at              DateTime64(3, 'UTC'),   -- when it happened in the pipeline's order of time
  recorded_at     DateTime64(3, 'UTC'),   -- effective record time of its cause
  cause_command_id String,
  cause_topic     LowCardinality(String),
  cause_partition Int32,
  cause_offset    Int64,
  epoch           UInt64,                 -- decided it
  batch_epoch     UInt64,                 -- publishes it, with everything else of its batch
  topic_partition LowCardinality(String), -- of the fact: `facts.orders/0`
  offset          UInt64,
  INDEX offsets (offset) TYPE minmax GRANULARITY 8,
  INDEX batches (batch_epoch) TYPE minmax GRANULARITY 8
)
ENGINE = @MergeTree@
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (tenant, partner_id, month, at)
SETTINGS @settings@;

CREATE TABLE IF NOT EXISTS facts_dead_letters @on_cluster@ (
  id              String,
  source_topic    LowCardinality(String),
  source_partition Int32,
  source_offset   Int64,
  reason          String,
  payload         String,
  key             Nullable(String),
  recorded_at     DateTime64(3, 'UTC'),   -- what the record itself claims, from 1970 to 2199
  epoch           UInt64,                 -- decided it
  batch_epoch     UInt64,                 -- publishes it, with everything else of its batch
  topic_partition LowCardinality(String), -- of the fact: `facts.orders/0`
  offset          UInt64,
  INDEX offsets (offset) TYPE minmax GRANULARITY 8,
  INDEX batches (batch_epoch) TYPE minmax GRANULARITY 8
)
ENGINE = @MergeTree@
PARTITION BY toYYYYMM(recorded_at)
ORDER BY (source_topic, source_partition, source_offset)
SETTINGS @settings@;

-- One block per pipeline and move, so that the frontiers of its topics move together.
CREATE TABLE IF NOT EXISTS frontiers @on_cluster@ (
  topic    LowCardinality(String),
  pipeline LowCardinality(String),
  epoch    UInt64,
  moved_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = @ReplacingMergeTree(epoch)@
ORDER BY topic;

-- Whose plans the facts here follow: a loader with another id doesn't touch them.
CREATE TABLE IF NOT EXISTS loaders @on_cluster@ (
  pipeline   LowCardinality(String),
  loader_id  String,
  started_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = @MergeTree@
ORDER BY pipeline;
