-- Draws, prizes and publications. What is said at the head of facts and views holds for these, too.

CREATE TABLE IF NOT EXISTS facts_draws @on_cluster@ (
  event           LowCardinality(String),
  tenant          LowCardinality(String),
  draw_id         String,
  revision        Int32,
  supersedes      Nullable(Int32),
  game            LowCardinality(Nullable(String)),
  numbers         Array(Int32),
  bonus           Array(Int32),
  prizes          Array(Tuple(String, Array(String))),
  jackpot_minor   Nullable(Int64),
  currency        LowCardinality(Nullable(String)),
  drawn_at        Nullable(DateTime64(3, 'UTC')),
  source          LowCardinality(Nullable(String)),
  sources         Array(String),
  said            Array(Tuple(String, Array(Int32), Array(Int32), Array(Tuple(String, Array(String))))),
  tiers           Array(Tuple(String, Int64, Int64, Int64, Nullable(Int64))),
  tickets         Nullable(Int64),
  reason          Nullable(String),
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
ORDER BY (tenant, draw_id, at, offset)
SETTINGS @settings@;

CREATE TABLE IF NOT EXISTS facts_publications @on_cluster@ (
  event           LowCardinality(String),
  tenant          LowCardinality(String),
  draw_id         String,
  revision        Int32,
  kind            LowCardinality(String),
  template        LowCardinality(String),
  locale          LowCardinality(String),
  channel         LowCardinality(Nullable(String)),
  round           Int32,
  attempts        Int32,
  game            LowCardinality(String),
  image           String,
  sha256          Nullable(String),
  bytes           Nullable(Int64),
  network         LowCardinality(Nullable(String)),
  target          Nullable(String),
  supersedes      Nullable(Int32),
  external_id     Nullable(String),
  reason          Nullable(String),
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
ORDER BY (tenant, draw_id, at, offset)
SETTINGS @settings@;

CREATE TABLE IF NOT EXISTS facts_winnings @on_cluster@ (
  status          LowCardinality(String),
  tenant          LowCardinality(String),
  draw_id         String,
  revision        Int32,
  ticket_id       String,
  tier            LowCardinality(String),
  order_id        String,
  amount_minor    Int64,
  currency        LowCardinality(String),
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
ORDER BY (tenant, draw_id, revision, ticket_id)
SETTINGS @settings@;

CREATE OR REPLACE VIEW all_draws @on_cluster@ AS SELECT * FROM facts_draws;
CREATE OR REPLACE VIEW draws @on_cluster@ AS
SELECT * EXCEPT (batch_epoch) FROM all_draws
WHERE epoch <= @frontier@['facts.draws'];

CREATE OR REPLACE VIEW all_publications @on_cluster@ AS SELECT * FROM facts_publications;
CREATE OR REPLACE VIEW publications @on_cluster@ AS
SELECT * EXCEPT (batch_epoch) FROM all_publications
WHERE epoch <= @frontier@['facts.publications'];

CREATE OR REPLACE VIEW all_winnings @on_cluster@ AS SELECT * FROM facts_winnings;
CREATE OR REPLACE VIEW winnings @on_cluster@ AS
SELECT * EXCEPT (batch_epoch) FROM all_winnings
WHERE epoch <= @frontier@['facts.winnings'];
