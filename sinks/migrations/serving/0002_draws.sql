-- Draws, what they paid, and how their results got to the public.

CREATE TABLE draws (
  tenant        text   COLLATE "C" NOT NULL,
  draw_id       text   COLLATE "C" NOT NULL,
  revision      bigint NOT NULL,
  game          text   COLLATE "C" NOT NULL,
  numbers       text   COLLATE "C" NOT NULL,
  bonus         text   COLLATE "C" NOT NULL,
  prizes        text   COLLATE "C" NOT NULL,
  jackpot_minor bigint,
  currency      text   COLLATE "C" NOT NULL,
  drawn_at_ms   bigint,
  status        text   COLLATE "C" NOT NULL,
  sources       text   COLLATE "C" NOT NULL,
  tickets       bigint,
  winners       bigint,
  paid_minor    bigint,
  at_ms         bigint NOT NULL,
  epoch         bigint NOT NULL,
  PRIMARY KEY (tenant, draw_id)
) WITH (fillfactor = 50);

CREATE TABLE winning_tickets (
  tenant       text   COLLATE "C" NOT NULL,
  draw_id      text   COLLATE "C" NOT NULL,
  revision     bigint NOT NULL,
  ticket_id    text   COLLATE "C" NOT NULL,
  tier         text   COLLATE "C" NOT NULL,
  order_id     text   COLLATE "C" NOT NULL,
  amount_minor bigint NOT NULL,
  currency     text   COLLATE "C" NOT NULL,
  status       text   COLLATE "C" NOT NULL,
  epoch        bigint NOT NULL,
  PRIMARY KEY (tenant, draw_id, revision, ticket_id, tier)
);

CREATE TABLE publications (
  tenant      text   COLLATE "C" NOT NULL,
  draw_id     text   COLLATE "C" NOT NULL,
  revision    bigint NOT NULL,
  channel     text   COLLATE "C" NOT NULL,
  network     text   COLLATE "C" NOT NULL,
  template    text   COLLATE "C" NOT NULL,
  locale      text   COLLATE "C" NOT NULL,
  status      text   COLLATE "C" NOT NULL,
  round       bigint NOT NULL,
  attempts    bigint NOT NULL,
  external_id text   COLLATE "C",
  image       text   COLLATE "C" NOT NULL,
  reason      text   COLLATE "C",
  at_ms       bigint NOT NULL,
  epoch       bigint NOT NULL,
  PRIMARY KEY (tenant, draw_id, revision, channel)
) WITH (fillfactor = 50);
