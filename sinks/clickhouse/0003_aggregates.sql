-- What dashboards read: facts counted and summed as they come in, by minute or statement.
--
-- Rows of one batch become visible together, so `batch_epoch` in the key is enough to stop at the published
-- frontier, and costs at most one row per key and batch. Every table here has recorded_month, batch_epoch and
-- facts: by these the loader checks it against its facts after a failure. Its window makes an insert that is
-- repeated count once here too.

-- Orders: what happened to how many, and what they were worth.
CREATE TABLE IF NOT EXISTS order_minutes @on_cluster@ (
  recorded_month  UInt32,
  tenant          LowCardinality(String),
  minute          DateTime('UTC'),
  event           LowCardinality(String),
  offer_id        LowCardinality(String),
  partner_id      LowCardinality(String),
  currency        LowCardinality(String),
  quantity        SimpleAggregateFunction(sum, Int64),
  amount_minor    SimpleAggregateFunction(sum, Int64),
  facts           SimpleAggregateFunction(sum, UInt64),
  batch_epoch     UInt64
)
ENGINE = @AggregatingMergeTree@
PARTITION BY recorded_month
ORDER BY (tenant, minute, event, offer_id, partner_id, currency, batch_epoch)
SETTINGS @settings@;

CREATE MATERIALIZED VIEW IF NOT EXISTS order_minutes_mv @on_cluster@ TO order_minutes AS
SELECT toYYYYMM(recorded_at) AS recorded_month, tenant, toStartOfMinute(at) AS minute, event, offer_id,
  ifNull(facts_orders.partner_id, '') AS partner_id, currency, sum(facts_orders.quantity) AS quantity, sum(facts_orders.amount_minor) AS amount_minor, count() AS facts, batch_epoch
FROM facts_orders
GROUP BY recorded_month, tenant, minute, event, offer_id, partner_id, currency, batch_epoch;

CREATE OR REPLACE VIEW all_order_minutes @on_cluster@ AS SELECT * FROM order_minutes;
CREATE OR REPLACE VIEW orders_per_minute @on_cluster@ AS
SELECT tenant, minute, event, offer_id, partner_id, currency,
  sum(facts) AS orders, sum(all_order_minutes.quantity) AS quantity, sum(all_order_minutes.amount_minor) AS amount_minor
FROM all_order_minutes WHERE batch_epoch <= @frontier@['facts.orders']
GROUP BY tenant, minute, event, offer_id, partner_id, currency;

-- Confirmed sales less refunds.
CREATE OR REPLACE VIEW revenue_per_minute @on_cluster@ AS
SELECT tenant, minute, currency,
  sumIf(orders, event = 'confirmed') AS confirmed, sumIf(orders, event = 'refunded') AS refunded,
  sumIf(amount_minor, event = 'confirmed') - sumIf(amount_minor, event = 'refunded') AS revenue_minor
FROM orders_per_minute WHERE event IN ('confirmed', 'refunded')
GROUP BY tenant, minute, currency;

-- Refused orders, once per reason.
CREATE TABLE IF NOT EXISTS refusal_minutes @on_cluster@ (
  recorded_month  UInt32,
  tenant          LowCardinality(String),
  minute          DateTime('UTC'),
  offer_id        LowCardinality(String),
  reason          LowCardinality(String),
  facts           SimpleAggregateFunction(sum, UInt64),
  batch_epoch     UInt64
)
ENGINE = @AggregatingMergeTree@
PARTITION BY recorded_month
ORDER BY (tenant, minute, offer_id, reason, batch_epoch)
SETTINGS @settings@;

CREATE MATERIALIZED VIEW IF NOT EXISTS refusal_minutes_mv @on_cluster@ TO refusal_minutes AS
SELECT toYYYYMM(recorded_at) AS recorded_month, tenant, toStartOfMinute(at) AS minute, offer_id, reason, count() AS facts, batch_epoch
FROM facts_orders ARRAY JOIN reasons AS reason WHERE event = 'refused'
GROUP BY recorded_month, tenant, minute, offer_id, reason, batch_epoch;

CREATE OR REPLACE VIEW all_refusal_minutes @on_cluster@ AS SELECT * FROM refusal_minutes;
CREATE OR REPLACE VIEW refusals_per_minute @on_cluster@ AS
SELECT tenant, minute, offer_id, reason, sum(facts) AS refusals
FROM all_refusal_minutes WHERE batch_epoch <= @frontier@['facts.orders']
GROUP BY tenant, minute, offer_id, reason;

-- Commission: the deltas of a statement add up to it.
CREATE TABLE IF NOT EXISTS statement_sums @on_cluster@ (
  recorded_month  UInt32,
  tenant          LowCardinality(String),
  partner_id      LowCardinality(String),
  month           LowCardinality(String),
  currency        LowCardinality(String),
  offer_kind      LowCardinality(String),
  base_minor      SimpleAggregateFunction(sum, Int64),
  commission_minor SimpleAggregateFunction(sum, Int64),
  adjustment_minor SimpleAggregateFunction(sum, Int64),
  facts           SimpleAggregateFunction(sum, UInt64),
  batch_epoch     UInt64
)
ENGINE = @AggregatingMergeTree@
PARTITION BY recorded_month
ORDER BY (tenant, partner_id, month, currency, offer_kind, batch_epoch)
SETTINGS @settings@;

CREATE MATERIALIZED VIEW IF NOT EXISTS statement_sums_mv @on_cluster@ TO statement_sums AS
SELECT toYYYYMM(recorded_at) AS recorded_month, tenant, partner_id, month, currency, offer_kind,
  sum(base_delta_minor) AS base_minor, sum(commission_delta_minor) AS commission_minor,
  sum(adjustment_delta_minor) AS adjustment_minor, count() AS facts, batch_epoch
FROM facts_commissions
GROUP BY recorded_month, tenant, partner_id, month, currency, offer_kind, batch_epoch;

CREATE OR REPLACE VIEW all_statement_sums @on_cluster@ AS SELECT * FROM statement_sums;
CREATE OR REPLACE VIEW commission_statements @on_cluster@ AS
SELECT tenant, partner_id, month, currency, offer_kind,
  sum(all_statement_sums.base_minor) AS base_minor, sum(all_statement_sums.commission_minor) AS commission_minor,
  sum(all_statement_sums.adjustment_minor) AS adjustment_minor
FROM all_statement_sums WHERE batch_epoch <= @frontier@['facts.commissions']
GROUP BY tenant, partner_id, month, currency, offer_kind;

-- Fraud: rules that fired, and orders that came late (rule_id and action empty).
CREATE TABLE IF NOT EXISTS fraud_minutes @on_cluster@ (
  recorded_month  UInt32,
  tenant          LowCardinality(String),
  minute          DateTime('UTC'),
  event           LowCardinality(String),
  rule_id         LowCardinality(String),
  action          LowCardinality(String),
  facts           SimpleAggregateFunction(sum, UInt64),
  batch_epoch     UInt64
)
ENGINE = @AggregatingMergeTree@
PARTITION BY recorded_month
ORDER BY (tenant, minute, event, rule_id, action, batch_epoch)
SETTINGS @settings@;

CREATE MATERIALIZED VIEW IF NOT EXISTS fraud_minutes_mv @on_cluster@ TO fraud_minutes AS
SELECT toYYYYMM(recorded_at) AS recorded_month, tenant, toStartOfMinute(at) AS minute, event,
  ifNull(facts_fraud.rule_id, '') AS rule_id, ifNull(facts_fraud.action, '') AS action, count() AS facts, batch_epoch
FROM facts_fraud
GROUP BY recorded_month, tenant, minute, event, rule_id, action, batch_epoch;

CREATE OR REPLACE VIEW all_fraud_minutes @on_cluster@ AS SELECT * FROM fraud_minutes;
CREATE OR REPLACE VIEW fraud_alerts_per_minute @on_cluster@ AS
SELECT tenant, minute, event, rule_id, action, sum(facts) AS alerts
FROM all_fraud_minutes WHERE batch_epoch <= @frontier@['facts.fraud']
GROUP BY tenant, minute, event, rule_id, action;

-- Stock: the balances as the last fact of a minute left them. The facts of one offer lie in one partition.
CREATE TABLE IF NOT EXISTS stock_minutes @on_cluster@ (
  recorded_month  UInt32,
  tenant          LowCardinality(String),
  offer_id        LowCardinality(String),
  minute          DateTime('UTC'),
  last            SimpleAggregateFunction(max, Tuple(
    epoch UInt64, offset UInt64, stock_total Int64, available Int64, held Int64, sold Int64, shrink_due Int64)),
  facts           SimpleAggregateFunction(sum, UInt64),
  batch_epoch     UInt64
)
ENGINE = @AggregatingMergeTree@
PARTITION BY recorded_month
ORDER BY (tenant, offer_id, minute, batch_epoch)
SETTINGS @settings@;

CREATE MATERIALIZED VIEW IF NOT EXISTS stock_minutes_mv @on_cluster@ TO stock_minutes AS
SELECT toYYYYMM(recorded_at) AS recorded_month, tenant, offer_id, toStartOfMinute(at) AS minute,
  max((epoch, offset, stock_total, available, held, sold, shrink_due)) AS last, count() AS facts, batch_epoch
FROM facts_stock
GROUP BY recorded_month, tenant, offer_id, minute, batch_epoch;

CREATE OR REPLACE VIEW all_stock_minutes @on_cluster@ AS SELECT * FROM stock_minutes;
CREATE OR REPLACE VIEW stock_per_minute @on_cluster@ AS
SELECT tenant, offer_id, minute, max(last) AS newest,
  newest.3 AS stock_total, newest.4 AS available, newest.5 AS held, newest.6 AS sold, newest.7 AS shrink_due
FROM all_stock_minutes WHERE batch_epoch <= @frontier@['facts.stock']
GROUP BY tenant, offer_id, minute;

-- The newest balances of each offer.
CREATE OR REPLACE VIEW stock_per_offer @on_cluster@ AS
SELECT tenant, offer_id, max(newest) AS balances,
  balances.3 AS stock_total, balances.4 AS available, balances.5 AS held, balances.6 AS sold,
  balances.7 AS shrink_due
FROM stock_per_minute GROUP BY tenant, offer_id;
