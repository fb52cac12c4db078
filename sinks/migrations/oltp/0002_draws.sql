-- Draws and where their results are posted.

CREATE TABLE draws (
  tenant           tombola_id NOT NULL,
  draw_id          tombola_id NOT NULL,
  game             tombola_id NOT NULL,
  main_count       integer NOT NULL CHECK (main_count BETWEEN 0 AND 64), -- digits of a ticket, in a game of digits
  main_min         integer NOT NULL DEFAULT 1 CHECK (main_min BETWEEN 0 AND 255),
  main_max         integer NOT NULL CHECK (main_max BETWEEN main_min AND 255),
  bonus_count      integer NOT NULL DEFAULT 0 CHECK (bonus_count BETWEEN 0 AND 64),
  bonus_max        integer NOT NULL DEFAULT 0 CHECK (bonus_max BETWEEN 0 AND 255),
  bonus_in_main    boolean NOT NULL DEFAULT false, -- bonus numbers come from the main drum
  repeats          boolean NOT NULL DEFAULT false,
  closes_at_ms     tombola_time_ms NOT NULL,
  sources_required integer NOT NULL DEFAULT 1 CHECK (sources_required BETWEEN 1 AND 64),
  currency         tombola_currency NOT NULL,
  pool_minor       bigint CHECK (pool_minor >= 0),
  prize_tiers      text NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(prize_tiers::jsonb) = 'array'),
  updated_at       timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, draw_id)
);

CREATE TABLE channels (
  tenant     tombola_id NOT NULL,
  channel_id tombola_id NOT NULL,
  network    text NOT NULL CHECK (network IN ('mastodon', 'telegram', 'webhook')),
  endpoint   text NOT NULL CHECK (endpoint <> ''),
  target     text NOT NULL DEFAULT '',  -- chat id, visibility and the like
  template   tombola_id NOT NULL,
  locale     tombola_id NOT NULL,
  games      text NOT NULL DEFAULT '',  -- separated by commas; empty: all
  status     text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'paused')),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, channel_id)
);

DO $$
DECLARE followed text;
BEGIN
  FOREACH followed IN ARRAY ARRAY['draws', 'channels'] LOOP
    EXECUTE format('ALTER TABLE %I REPLICA IDENTITY FULL', followed);
    EXECUTE format('CREATE TRIGGER touch BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION tombola_touch()', followed);
    IF NOT EXISTS (SELECT FROM pg_publication_tables WHERE pubname = 'tombola_reference' AND tablename = followed) THEN
      EXECUTE format('ALTER PUBLICATION tombola_reference ADD TABLE %I', followed);
    END IF;
  END LOOP;
END $$;
