-- The reference tables that the jobs follow by change data capture (topics oltp.public.<table>), an outbox for
-- commands, and what Debezium needs beside them. Money is in the currency's minor unit, times are UTC
-- milliseconds, rates are basis points. The checks are those of the pipeline: what they let through, it takes.
--
-- REPLICA IDENTITY FULL: a change carries the whole row before it, so that a mirror can drop the row it
-- replaces, and no long value is ever left out as unchanged.

CREATE DOMAIN tombola_id AS text CHECK (octet_length(VALUE) BETWEEN 1 AND 128);
CREATE DOMAIN tombola_currency AS text CHECK (VALUE ~ '^[A-Z]{3}$');
CREATE DOMAIN tombola_time_ms AS bigint CHECK (VALUE BETWEEN 0 AND 253402300799999); -- 1970 to 9999

CREATE TABLE offers (
  tenant            tombola_id NOT NULL,
  offer_id          tombola_id NOT NULL,
  kind              text NOT NULL CHECK (kind IN ('ticket', 'seat', 'box', 'voucher')),
  price_minor       bigint NOT NULL CHECK (price_minor >= 0),
  currency          tombola_currency NOT NULL,
  stock_total       bigint NOT NULL CHECK (stock_total >= 0), -- a change restocks or shrinks
  sale_opens_at_ms  tombola_time_ms,                          -- the sale is [opens, closes); NULL: open-ended
  sale_closes_at_ms tombola_time_ms,
  max_per_order     integer NOT NULL DEFAULT 10 CHECK (max_per_order >= 0),
  max_per_customer  integer CHECK (max_per_customer >= 0),    -- NULL: unlimited
  draw_id           tombola_id,
  restock_on_refund boolean NOT NULL DEFAULT true,
  status            text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'closed')),
  updated_at        timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, offer_id)
);

CREATE TABLE partners (
  tenant     tombola_id NOT NULL,
  partner_id tombola_id NOT NULL,
  status     text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended', 'blocked')),
  plan       tombola_id NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, partner_id)
);

CREATE TABLE customers (
  tenant                  tombola_id NOT NULL,
  customer_id             tombola_id NOT NULL,
  status                  text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended', 'blocked')),
  daily_spend_limit_minor bigint CHECK (daily_spend_limit_minor >= 0), -- per UTC day and currency; NULL: unlimited
  updated_at              timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, customer_id)
);

CREATE TABLE commission_rates (
  tenant           tombola_id NOT NULL,
  plan             tombola_id NOT NULL,
  offer_kind       text NOT NULL CHECK (offer_kind IN ('ticket', 'seat', 'box', 'voucher')),
  currency         tombola_currency NOT NULL,
  tier_floor_minor bigint NOT NULL CHECK (tier_floor_minor >= 0),
  rate_bps         integer NOT NULL CHECK (rate_bps BETWEEN 0 AND 10000),
  valid_from       date NOT NULL CHECK (extract(day FROM valid_from) = 1), -- the first month it is good for
  updated_at       timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, plan, offer_kind, currency, tier_floor_minor, valid_from)
);

CREATE TABLE commission_periods (
  tenant     tombola_id NOT NULL,
  month      text NOT NULL CHECK (month ~ '^[0-9]{4}-(0[1-9]|1[0-2])$'),
  status     text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'closed')),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, month)
);

CREATE TABLE velocity_rules (
  tenant     tombola_id NOT NULL,
  rule_id    tombola_id NOT NULL,
  key        text NOT NULL CHECK (key IN ('customer', 'card', 'device', 'ip', 'partner')),
  metric     text NOT NULL CHECK (metric IN ('count', 'amount', 'distinct_cards', 'distinct_customers', 'declines')),
  window_ms  bigint NOT NULL CHECK (window_ms BETWEEN 1 AND 31622400000), -- at most 366 days
  threshold  bigint NOT NULL CHECK (threshold >= 0),                      -- it fires above it
  action     text NOT NULL CHECK (action IN ('flag', 'review', 'block')),
  status     text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled')),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, rule_id)
);

-- When a row was last touched by hand or by program. The pipeline goes by the log's own time.
CREATE FUNCTION tombola_touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.updated_at := now();
  RETURN NEW;
END $$;

DO $$
DECLARE followed text;
BEGIN
  FOREACH followed IN ARRAY ARRAY['offers', 'partners', 'customers', 'commission_rates', 'commission_periods', 'velocity_rules'] LOOP
    EXECUTE format('ALTER TABLE %I REPLICA IDENTITY FULL', followed);
    EXECUTE format('CREATE TRIGGER touch BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION tombola_touch()', followed);
  END LOOP;
END $$;

-- An application writes its commands here, in the transaction that is their reason, and may delete them in the same
-- one: the insert is in the log, and that is what counts.
CREATE TABLE IF NOT EXISTS outbox (
  id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  aggregatetype text  NOT NULL, -- which topic: 'orders' goes to commands.orders
  aggregateid   text  NOT NULL, -- the record's key
  type          text  NOT NULL, -- the command's name, for people
  payload       bytea NOT NULL  -- the record's value: Avro in the Confluent wire format
);

-- Each connector writes here now and then, so that its slot moves on while nothing else does.
CREATE TABLE IF NOT EXISTS debezium_heartbeat (
  connector text PRIMARY KEY,
  beaten_at timestamptz NOT NULL
);

-- What each connector is told. One that may alter publications itself keeps them as it is configured.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = 'tombola_reference') THEN
    CREATE PUBLICATION tombola_reference FOR TABLE
      offers, partners, customers, commission_rates, commission_periods, velocity_rules, debezium_heartbeat;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = 'tombola_outbox') THEN
    CREATE PUBLICATION tombola_outbox FOR TABLE outbox;
  END IF;
END $$;
