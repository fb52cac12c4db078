-- A pipeline's own tables and the serving tables. Run inside the pipeline's schema; owned by whoever migrates.
-- Texts compare by their bytes (collation C), as in the embedded database: keys have one order everywhere.

CREATE TABLE generations (
  generation   bigint PRIMARY KEY,
  code_version text   NOT NULL,
  settings     text   NOT NULL, -- the settings that change decisions, JSON
  workers      bigint NOT NULL,
  started_ms   bigint NOT NULL,
  first_after  bigint NOT NULL  -- the last epoch bound before it began
);

CREATE TABLE bindings (
  epoch      bigint PRIMARY KEY,
  generation bigint NOT NULL REFERENCES generations,
  now_ms     bigint NOT NULL,
  bound_ms   bigint,            -- record-time bound; NULL where it was open
  places     bytea  NOT NULL    -- postcard: partition ends and clamps
);

-- One row per kind of writer. Whoever moves a row holds it locked until it commits, and only the row's
-- generation may: this is the fence.
CREATE TABLE frontiers (
  name       text COLLATE "C" PRIMARY KEY,
  epoch      bigint NOT NULL,
  now_ms     bigint NOT NULL,
  generation bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO frontiers (name, epoch, now_ms, generation)
VALUES ('bound', 0, 0, 0), ('decided', 0, 0, 0), ('published', 0, 0, 0);

-- Running digest of the serving rows, for epochs that have any.
CREATE TABLE epoch_digests (
  epoch  bigint PRIMARY KEY,
  digest bytea NOT NULL CHECK (octet_length(digest) = 32)
);

-- Rows that change in place leave room on their page, so that no index has to be touched.
CREATE TABLE orders (
  tenant       text   COLLATE "C" NOT NULL,
  order_id     text   COLLATE "C" NOT NULL,
  command_id   text   COLLATE "C" NOT NULL,
  offer_id     text   COLLATE "C" NOT NULL,
  partner_id   text   COLLATE "C",
  customer_id  text   COLLATE "C" NOT NULL,
  quantity     bigint NOT NULL,
  amount_minor bigint NOT NULL,
  currency     text   COLLATE "C" NOT NULL,
  status       text   COLLATE "C" NOT NULL,
  reasons      text   COLLATE "C" NOT NULL,
  placed_at_ms bigint NOT NULL,
  epoch        bigint NOT NULL,
  PRIMARY KEY (tenant, order_id)
) WITH (fillfactor = 85);

CREATE TABLE stock (
  tenant      text   COLLATE "C" NOT NULL,
  offer_id    text   COLLATE "C" NOT NULL,
  stock_total bigint NOT NULL,
  available   bigint NOT NULL,
  held        bigint NOT NULL,
  sold        bigint NOT NULL,
  shrink_due  bigint NOT NULL,
  epoch       bigint NOT NULL,
  PRIMARY KEY (tenant, offer_id)
) WITH (fillfactor = 50);

CREATE TABLE tickets (
  tenant    text COLLATE "C" NOT NULL,
  ticket_id text COLLATE "C" NOT NULL,
  order_id  text COLLATE "C" NOT NULL,
  offer_id  text COLLATE "C" NOT NULL,
  payload   text COLLATE "C" NOT NULL,
  epoch     bigint NOT NULL,
  PRIMARY KEY (tenant, ticket_id)
);

CREATE TABLE dead_letters (
  id            text   COLLATE "C" NOT NULL,
  topic         text   COLLATE "C" NOT NULL,
  partition     bigint NOT NULL,
  "offset"      bigint NOT NULL,
  reason        text   COLLATE "C" NOT NULL,
  payload       bytea  NOT NULL,
  first_seen_ms bigint NOT NULL,
  attempts      bigint NOT NULL,
  status        text   COLLATE "C" NOT NULL,
  epoch         bigint NOT NULL,
  PRIMARY KEY (id)
);

CREATE TABLE commission_statements (
  tenant           text   COLLATE "C" NOT NULL,
  partner_id       text   COLLATE "C" NOT NULL,
  month            text   COLLATE "C" NOT NULL,
  currency         text   COLLATE "C" NOT NULL,
  offer_kind       text   COLLATE "C" NOT NULL,
  base_minor       bigint NOT NULL,
  commission_minor bigint NOT NULL,
  adjustment_minor bigint NOT NULL,
  status           text   COLLATE "C" NOT NULL,
  epoch            bigint NOT NULL,
  PRIMARY KEY (tenant, partner_id, month, currency, offer_kind)
) WITH (fillfactor = 50);

CREATE TABLE fraud_alerts (
  tenant         text   COLLATE "C" NOT NULL,
  rule_id        text   COLLATE "C" NOT NULL,
  command_id     text   COLLATE "C" NOT NULL,
  key            text   COLLATE "C" NOT NULL,
  order_id       text   COLLATE "C" NOT NULL,
  metric         text   COLLATE "C" NOT NULL,
  value          bigint NOT NULL,
  threshold      bigint NOT NULL,
  window_ms      bigint NOT NULL,
  action         text   COLLATE "C" NOT NULL,
  exact_since_ms bigint,
  placed_at_ms   bigint NOT NULL,
  at_ms          bigint NOT NULL,
  epoch          bigint NOT NULL,
  PRIMARY KEY (tenant, rule_id, command_id)
);

-- The plans of the pipeline's loader into analytical stores: what it has sent, and what it is sending.
CREATE TABLE loader (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  id  text NOT NULL -- random, made once
);
INSERT INTO loader (id) VALUES (replace(gen_random_uuid()::text, '-', ''));
CREATE TABLE loader_positions (
  topic     text   COLLATE "C" NOT NULL,
  partition bigint NOT NULL,
  next      bigint NOT NULL, -- everything before it has been sent
  PRIMARY KEY (topic, partition)
);
CREATE TABLE loader_batch (
  one     boolean PRIMARY KEY DEFAULT true CHECK (one),
  number  bigint  NOT NULL,
  batch   text    NOT NULL, -- JSON
  pending boolean NOT NULL
);

-- What a reader may know of the run itself.
CREATE VIEW progress AS SELECT name, epoch, now_ms FROM frontiers;
CREATE VIEW runs AS SELECT generation, code_version, settings, workers, started_ms, first_after FROM generations;
